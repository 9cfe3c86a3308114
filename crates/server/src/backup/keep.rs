//! Backups that `serve` makes by itself, in a directory of the administrator's.

use super::last::last;
use super::make::{Options, make};
use super::settings::Backups;
use crate::app::App;
use disk::files;
use model::{Fault, Time};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two attempts of which the first failed.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
const BEGIN: &str = "afresh-";
const END: &str = ".backup.tar";

/// A name that says when it was made, in UTC: names sort as times do.
pub fn named(dir: &Path, at: Time) -> PathBuf {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    dir.join(format!("{BEGIN}{}{END}", at.strftime("%Y%m%dT%H%M%SZ")))
}

pub fn keep(app: &App) {
    let Some(settings) = &app.backups else { return };
    let mut failed: Option<Instant> = None;
    while !app.is_stopping() {
        let count = app.notifier.count();
        let now = app.now();
        let is_due = last(&app.layout).is_none_or(|last| last.at > now || now.since(last.at) >= settings.every_ms);
        if is_due && failed.is_none_or(|at| at.elapsed() > AGAIN_AFTER) {
            let made = take(app, settings);
            app.parts.attempted("backups", made.as_ref().err().map(|f| f.message.clone()));
            failed = made.is_err().then(Instant::now);
            if let Err(fault) = made {
                tracing::error!(code = fault.code, alarm = true, "cannot back up the data directory: {}", fault.message);
            }
        }
        app.notifier.wait(count, LOOK_EVERY);
    }
}

fn take(app: &App, settings: &Backups) -> Result<(), Fault> {
    let options = Options { without_objects: false, keys_for: settings.keys_for.clone() };
    let made = make(&app.layout, &named(&settings.dir, app.now()), &options)?;
    tracing::info!(path = %made.last.path.display(), bytes = made.last.bytes, "backed up the data directory");
    // The oldest go only when a newer one is whole.
    let mut all: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(&settings.dir).map_err(files::at("cannot list", &settings.dir))?.flatten() {
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(BEGIN) && name.ends_with(END))
            && entry.file_type().is_ok_and(|kind| kind.is_file())
        {
            all.push(entry.path());
        }
    }
    all.sort();
    let old = all.len().saturating_sub(settings.keep.max(1));
    all.iter().take(old).filter(|path| **path != made.last.path).try_for_each(|path| files::remove_file(path))
}
