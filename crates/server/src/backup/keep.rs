//! Backups that `serve` makes by itself, in a directory of the administrator's.

use super::last::last;
use super::make::{Options, make_unless};
use super::settings::Backups;
use crate::app::App;
use disk::files;
use disk::lock::Lock;
use model::{Fault, Time};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Between two attempts of which the first failed.
const AGAIN_AFTER: Duration = Duration::from_secs(600);
const BEGIN: &str = "afresh-";
const TIME: &str = "%Y%m%dT%H%M%SZ";
const END: &str = ".backup.tar";

/// Of one that is made by hand: `serve` never removes it.
pub fn named(dir: &Path, at: Time) -> PathBuf {
    dir.join(dated("manual-", at))
}

/// A name that says when it was made, in UTC: names sort as times do.
fn dated(begin: &str, at: Time) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    format!("{begin}{}{END}", at.strftime(TIME))
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
            if app.is_stopping() {
                return;
            }
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
    sweep(&settings.dir)?;
    let options = Options { without_objects: false, keys_for: settings.keys_for.clone() };
    let newest = dated(BEGIN, app.now());
    let made = make_unless(&app.layout, &settings.dir.join(&newest), &options, &|| app.is_stopping())?;
    tracing::info!(path = %made.last.path.display(), bytes = made.last.bytes, "backed up the data directory");
    // The oldest go only when a newer one is whole.
    let old = superseded(names(&settings.dir)?, &newest, settings.keep);
    old.iter().try_for_each(|name| files::remove_file(&settings.dir.join(name)))
}

/// Of plain files.
fn names(dir: &Path) -> Result<Vec<String>, Fault> {
    let entries = std::fs::read_dir(dir).map_err(files::at("cannot list", dir))?.flatten();
    Ok(entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter_map(|e| e.file_name().into_string().ok())
        .collect())
}

/// Removes what killed processes left half-made. A live one holds its lock.
fn sweep(dir: &Path) -> Result<(), Fault> {
    for name in names(dir)?.iter().filter(|name| name.starts_with('.') && name.ends_with(".backup.tar.part")) {
        let path = dir.join(name);
        if let Ok(Some(_dead)) = Lock::try_existing(&path) {
            files::remove_file(&path)?;
        }
    }
    Ok(())
}

/// Which of them go. One that is dated after the newest, when a clock was wrong, neither counts nor goes.
fn superseded(mut all: Vec<String>, newest: &str, keep: usize) -> Vec<String> {
    let is_dated = |name: &str| {
        let time = name.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END));
        time.is_some_and(|time| jiff::civil::DateTime::strptime(TIME, time).is_ok())
    };
    all.retain(|name| is_dated(name) && name.as_str() <= newest);
    all.sort();
    all.truncate(all.len().saturating_sub(keep.max(1)));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dated_ones_of_ours_go_and_none_that_a_wrong_clock_dated() {
        let day = |n: u64| dated(BEGIN, Time(1_795_000_000_000 + n * 86_400_000));
        let by_hand = named(Path::new("/b"), Time(0)).file_name().unwrap().to_str().unwrap().to_string();
        assert_eq!(by_hand, "manual-19700101T000000Z.backup.tar");
        let mut all = vec![by_hand, "afresh-before.backup.tar".into(), "afresh-20261129T.backup.tar".into(), "x".into()];
        all.extend((1000..1007).map(day));
        all.extend((0..5).rev().map(day));
        assert_eq!(superseded(all.clone(), &day(4), 3), [day(0), day(1)]);
        assert_eq!(superseded(all.clone(), &day(4), 0), [day(0), day(1), day(2), day(3)]);
        assert!(superseded(all, &day(4), 5).is_empty());
    }

    #[test]
    fn what_a_killed_one_left_is_removed_and_what_is_being_written_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (dead, live) = (dir.path().join(".afresh-1.backup.tar.part"), dir.path().join(".manual-2.backup.tar.part"));
        let others = [dir.path().join("afresh-1.backup.tar.part"), dir.path().join(".x.part")];
        std::fs::write(&dead, "").unwrap();
        others.iter().for_each(|path| std::fs::write(path, "").unwrap());
        let held = Lock::try_exclusive(&live).unwrap().unwrap();
        sweep(dir.path()).unwrap();
        assert!(!dead.exists() && live.exists() && others.iter().all(|path| path.exists()));
        drop(held);
        sweep(dir.path()).unwrap();
        assert!(!live.exists());
    }
}
