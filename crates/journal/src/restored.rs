//! A database that was restored from a backup knows smaller fences and rotation numbers than were used since. Backups are marked; whoever
//! opens a marked file moves both far ahead, once, so that no stamp is stale and no group name is used twice.
//!
//! The original gave out fences by its wall clock after the backup was made, and this machine's clock may be behind that one. So fences
//! go ahead by more than any clock is behind, also those of services that the backup does not know yet.

use crate::records::{FENCE_MAX, Tx, nat};
use model::Fault;

/// A hundred years: fences are milliseconds of a wall clock or above.
const FENCES_AHEAD: u64 = 100 * 365 * 24 * 3_600_000;
const ROTATIONS_AHEAD: u64 = 1_000;
const RUNS_AHEAD: u64 = 100_000;

/// The statement that marks a backup, with the wall clock of the machine where it is made in milliseconds. (Older versions wrote 1.)
pub(crate) const MARK: &str = "INSERT OR REPLACE INTO meta (key, value) VALUES ('backup', CAST(unixepoch('subsec') * 1000 AS INTEGER))";

/// Whether the database was a backup.
pub(crate) fn jump_ahead_if_restored(tx: &Tx<'_>) -> Result<bool, Fault> {
    let Some(backed_up_at) = tx.row("SELECT value FROM meta WHERE key = 'backup'", &[], |r| r.get::<_, i64>(0))?.map(nat) else {
        return Ok(false);
    };
    tx.run("DELETE FROM meta WHERE key = 'backup'", &[])?;
    let mut newest = tx.fence_floor()?;
    for name in &tx.every_service_name()? {
        if let Some(mut head) = tx.head(name)? {
            head.rotation_last += ROTATIONS_AHEAD;
            tx.put_head(name, &head)?;
        }
        if let Some(mut lease) = tx.lease(name)? {
            newest = newest.max(lease.fence.0);
            lease.fence.0 = ahead(lease.fence.0);
            tx.put_lease(&lease)?;
        }
    }
    tx.set_fence_floor(ahead(newest.max(backed_up_at)))?;
    tx.runs_ahead(RUNS_AHEAD)?;
    Ok(true)
}

fn ahead(fence: u64) -> u64 {
    fence.saturating_add(FENCES_AHEAD).min(FENCE_MAX - 1)
}
