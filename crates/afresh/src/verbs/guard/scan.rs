//! `guard scan`: what is exposed. Each kind of place has its verb; findings of all of them are shown by one `Report`.

use super::report::Report;
use super::scan_aws::Aws;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use crate::show;
use clap::{Args, Subcommand};
use guard::root::Purpose;
use model::Fault;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Find what is exposed, reading only
#[derive(Args, Debug)]
#[command(after_help = "\
With --json each exposure is one object on one line: type, id, verdict (public, unknown; of AWS also not_public), via, documented, effective, cross_account, severity, why, fix, fingerprint. \
The last line has calls, seconds and unknown.

Example:
  sudo afresh guard scan root /
  afresh guard scan aws --region eu-central-1")]
pub struct ScanVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Root(Root),
    Aws(Aws),
}

impl ScanVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Root(verb) => verb.run(context),
            Verb::Aws(verb) => verb.run(context),
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
        Ok(report.end(serde_json::json!({}), &so_far(&totals)))
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
