//! `guard scan`: what is exposed. Each kind of place has its verb; findings of all of them are shown by one [`Report`].

use super::words;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::processes::interrupt;
use crate::show;
use clap::{Args, Subcommand};
use console::Term;
use guard::root::Purpose;
use guard::{Finding, Severity, Verdict};
use model::Fault;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Find what is exposed, reading only
#[derive(Args, Debug)]
#[command(after_help = "\
With --json each exposure is one object on one line: type, id, verdict (public, unknown), via, documented, effective, cross_account, severity, why, fix, fingerprint. \
The last line has calls, seconds and unknown.

Example:
  sudo afresh guard scan root /")]
pub struct ScanVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Root(Root),
}

impl ScanVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Root(verb) => verb.run(context),
        }
    }
}

/// Find secrets, private keys and services without authentication in a directory
#[derive(Args, Debug)]
#[command(after_help = "\
The directory is taken for the root of a system: /etc/passwd in it is PATH/etc/passwd. Links out of it are not followed, and nothing is changed.
In an image any secret is exposed, as everybody who has the image has it. On a host only what other accounts can read is; / is taken for a host.

Example:
  afresh guard scan root ./build
  sudo afresh guard scan root / --json")]
struct Root {
    /// The root directory: of an image, of a host, or of code
    path: PathBuf,
    /// Judge it as a host, or as an image (the default for any directory but /)
    #[arg(long = "as", value_enum, value_name = "KIND")]
    purpose: Option<Kind>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Image,
    Host,
}

impl Root {
    fn run(self, context: &Context) -> Result<Exit, Failure> {
        let _interruptible = interrupt::interruptible("the scan");
        let purpose = match self.purpose {
            Some(Kind::Image) => Purpose::Image,
            Some(Kind::Host) => Purpose::Host,
            None if is_own_root(&self.path)? => Purpose::Host,
            None => Purpose::Image,
        };
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let mut report = Report::new(context);
        let mut shown = Instant::now();
        let totals = scan::scan(&self.path, &scan::Options { purpose, threads }, &mut |event| match event {
            scan::Event::Finding(finding) => report.finding(finding),
            scan::Event::Progress(totals) if shown.elapsed() >= Duration::from_millis(100) => {
                shown = Instant::now();
                report.progress(&so_far(&totals));
            }
            scan::Event::Progress(_) => {}
        })?;
        Ok(report.end(0, &so_far(&totals)))
    }
}

fn so_far(totals: &scan::Totals) -> String {
    format!(
        "{}, {}, {}",
        show::times(totals.files, "file"),
        if totals.directories == 1 { "1 directory".to_string() } else { format!("{} directories", totals.directories) },
        show::bytes(totals.bytes)
    )
}

/// Whether it is the root directory of this process, whatever its name.
fn is_own_root(path: &Path) -> Result<bool, Fault> {
    use std::os::unix::fs::MetadataExt;
    let look = |path: &Path| std::fs::metadata(path).map_err(|e| crate::failure::io("cannot scan", path, &e));
    let (named, own) = (look(path)?, look(Path::new("/"))?);
    if !named.is_dir() {
        let fault = Fault::yours("no-directory", format!("{} is no directory", path.display()));
        return Err(fault.hint("name the directory that holds it: afresh guard scan root DIR"));
    }
    Ok((named.dev(), named.ino()) == (own.dev(), own.ino()))
}

/// More rows than these are no table to read: the worst are shown, and --json has all.
const ROWS_MAX: usize = 1000;

/// Findings as they come: lines of JSON at once, a table when the scan is over.
pub(super) struct Report {
    is_json: bool,
    begun: Instant,
    term: Option<Term>,
    rows: Vec<Row>,
    public: u64,
    unknown: u64,
}

struct Row {
    severity: Severity,
    cells: Vec<String>,
    fix: String,
}

impl Report {
    pub(super) fn new(context: &Context) -> Report {
        let term = Term::stderr();
        let term = (!context.json && term.is_term()).then_some(term);
        Report { is_json: context.json, begun: Instant::now(), term, rows: Vec::new(), public: 0, unknown: 0 }
    }

    pub(super) fn finding(&mut self, finding: &Finding) {
        match finding.verdict {
            Verdict::Public => self.public += 1,
            Verdict::Unknown => self.unknown += 1,
            Verdict::NotPublic => {}
        }
        if self.is_json {
            show::json(finding);
            return;
        }
        if finding.verdict == Verdict::NotPublic {
            return;
        }
        let severity =
            if finding.verdict == Verdict::Unknown { "unknown".to_string() } else { words::severity(finding.severity).to_string() };
        let cells = vec![severity, finding.via.clone(), finding.id.clone(), finding.why.clone()];
        self.rows.push(Row { severity: finding.severity, cells, fix: finding.fix.clone() });
        if self.rows.len() >= 2 * ROWS_MAX {
            self.keep_worst();
        }
    }

    fn keep_worst(&mut self) {
        self.rows.sort_by_key(|row| (row.cells[0] == "unknown", std::cmp::Reverse(row.severity)));
        self.rows.truncate(ROWS_MAX);
    }

    /// One line that is written over, on a terminal.
    pub(super) fn progress(&self, text: &str) {
        if let Some(term) = &self.term {
            let width = usize::from(term.size().1).saturating_sub(1);
            let text = show::safe_line(&format!("scanned {text}; {} exposed, {} unknown", self.public, self.unknown));
            let _ = term.clear_line().and_then(|()| term.write_str(&console::truncate_str(&text, width, "…")));
        }
    }

    /// `calls`: of an API that was asked. `scanned`: "12 files, 3.4 MB".
    pub(super) fn end(mut self, calls: u64, scanned: &str) -> Exit {
        if let Some(term) = &self.term {
            let _ = term.clear_line();
        }
        let seconds = (self.begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0;
        let code = exit::of_guard(if self.public > 0 {
            1
        } else if self.unknown > 0 {
            2
        } else {
            0
        });
        if self.is_json {
            show::json(&serde_json::json!({ "calls": calls, "seconds": seconds, "unknown": self.unknown }));
            return code;
        }
        self.keep_worst();
        for row in &self.rows {
            let [severity, via, id, why] = &row.cells[..] else { continue };
            let style = if severity == "unknown" { show::YELLOW } else { show::RED };
            show::line(format!(
                "{}  {}  {}",
                show::paint(style, format!("{severity:<8}")),
                show::paint(show::BOLD, show::safe_line(id)),
                via
            ));
            show::line(format!("          {}", show::safe_line(why)));
            show::line(format!("          fix: {}", show::safe_line(&row.fix)));
        }
        let left_out = (self.public + self.unknown).saturating_sub(self.rows.len() as u64);
        if left_out > 0 {
            show::line(format!("and {left_out} more: --json has all of them"));
        }
        let verdict = match (self.public, self.unknown) {
            (0, 0) => "nothing is exposed".to_string(),
            (public, unknown) => format!("{public} exposed, {unknown} unknown"),
        };
        show::line(format!("{verdict}: {scanned} in {seconds:.1} s"));
        code
    }
}
