//! The scan of one tree, shown by a `Report`: a directory, an image, the root of a server or of this host.

use super::report::Report;
use crate::show;
use guard::root::Purpose;
use model::Fault;
use std::path::Path;
use std::time::{Duration, Instant};

/// How often progress is written.
const EVERY: Duration = Duration::from_millis(100);

pub fn tree(report: &mut Report, root: &Path, purpose: Purpose) -> Result<scan::Totals, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut shown = Instant::now();
    scan::scan(root, &scan::Options { purpose, threads, until: None }, &mut |event| match event {
        scan::Event::Finding(finding) => report.finding(finding),
        scan::Event::Progress(totals) if shown.elapsed() >= EVERY => {
            shown = Instant::now();
            report.progress(&so_far(&totals));
        }
        scan::Event::Progress(_) => {}
    })
}

pub fn so_far(totals: &scan::Totals) -> String {
    format!(
        "{}, {}, {}",
        show::times(totals.files, "file"),
        if totals.directories == 1 { "1 directory".to_string() } else { format!("{} directories", totals.directories) },
        show::bytes(totals.bytes)
    )
}
