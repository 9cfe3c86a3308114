//! The last backup of the data directory that was written and read again: `control/backup.json`.

use super::settings::Backups;
use disk::files;
use model::{Fault, Layout, Time};
use std::path::PathBuf;

pub use api::paths::LastBackup as Last;

fn place(layout: &Layout) -> PathBuf {
    layout.root().join("control/backup.json")
}

pub(super) fn note(layout: &Layout, last: &Last) -> Result<(), Fault> {
    let text = serde_json::to_vec(last).map_err(|e| Fault::ours("unwritable-record", e.to_string()))?;
    let path = place(layout);
    crate::files::private_dir(path.parent().unwrap_or(layout.root()))?;
    disk::write(&path, &text, 0o600, disk::Lasting::Now).map_err(files::at("cannot write", &path))
}

/// None: none was ever made, as far as is known here.
pub fn last(layout: &Layout) -> Option<Last> {
    serde_json::from_slice(&files::read_limited(&place(layout), 64 << 10).ok()?).ok()
}

/// Why somebody must look after the backups. `now` before the last one: the clock was set back, and its age is not known.
pub fn trouble(layout: &Layout, settings: &Backups, started: Time, now: Time) -> Option<String> {
    let limit = settings.max_age_ms;
    let (since, what) = match last(layout) {
        None => (started, "no backup of the data directory was ever made".to_string()),
        Some(last) => {
            if !std::fs::metadata(&last.path).is_ok_and(|about| about.len() == last.bytes) {
                return Some(format!(
                    "the last good backup, {}, is not there any more: afresh backup {}",
                    last.path.display(),
                    settings.dir.display()
                ));
            }
            (last.at, format!("the last good backup is {} h old", now.since(last.at) / 3_600_000))
        }
    };
    let is_old = now.since(since) > limit || since > now.plus(limit);
    is_old.then(|| format!("{what}; the limit is {} h: afresh backup {}", limit / 3_600_000, settings.dir.display()))
}
