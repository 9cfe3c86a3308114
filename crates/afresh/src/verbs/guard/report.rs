//! What every scan shows: lines of JSON as they come, or a table of what is exposed, the worst first.

use super::words;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::show;
use console::Term;
use guard::{Finding, Severity, Verdict};
use serde_json::{Value, json};
use std::time::Instant;

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

    /// `rest`: what the last line of JSON has of this kind of place. `scanned`: "12 files, 3.4 MB".
    pub(super) fn end(mut self, rest: Value, scanned: &str) -> Exit {
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
            let mut last = serde_json::Map::from_iter([("calls".to_string(), json!(0)), ("unknown".to_string(), json!(self.unknown))]);
            last.insert("seconds".into(), json!(seconds));
            last.extend(rest.as_object().cloned().unwrap_or_default());
            show::json(&last);
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
