//! Keeps the database safe: checkpoints of its write-ahead log and backups.

use crate::app::App;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);
const BACKUP_EVERY: Duration = Duration::from_secs(3600);
/// Between two backups of a database that changes.
const BACKUP_REST: Duration = Duration::from_secs(60);
/// A backup takes at most this share of the time.
const BACKUP_SHARE: u32 = 100;

/// The log is copied into the database every few seconds, so that little of what was acknowledged is in the log alone. A backup is made
/// when the database changed, and so that copying takes at most a hundredth of the time.
pub fn keep(app: &App) {
    let (mut rest, mut saved) = (BACKUP_REST, None);
    let (mut tried, mut checkpointed): (Option<Instant>, Option<Instant>) = (None, None);
    while !app.is_stopping() {
        let count = app.notifier.count();
        let changes = *app.changes.borrow();
        if checkpointed.is_none_or(|t| t.elapsed() > CHECKPOINT_EVERY) {
            checkpointed = Some(Instant::now());
            let done = app.database.checkpoint();
            app.parts.attempted("checkpoints", done.as_ref().err().map(|f| f.message.clone()));
        }
        let due = age(&app.database.backup_path()).is_none_or(|age| age > BACKUP_EVERY) || (saved != Some(changes) && changes > 0);
        if due && tried.is_none_or(|t| t.elapsed() > rest) {
            let begun = Instant::now();
            let made = app.database.backup();
            app.parts.attempted("backup", made.as_ref().err().map(|f| f.message.clone()));
            match made {
                Ok(()) => saved = Some(changes),
                Err(fault) => tracing::warn!(code = fault.code, "cannot back up the database: {}", fault.message),
            }
            rest = BACKUP_REST.max(begun.elapsed().saturating_mul(BACKUP_SHARE));
            tried = Some(Instant::now());
        }
        app.notifier.wait(count, CHECKPOINT_EVERY);
    }
}

fn age(path: &Path) -> Option<Duration> {
    let made = std::fs::metadata(path).and_then(|m| m.modified()).ok()?;
    Some(SystemTime::now().duration_since(made).unwrap_or_default())
}
