//! A database that was restored from a backup knows smaller fences and rotation numbers than were used since. Backups are marked; whoever
//! opens a marked file moves both far ahead, once, so that no stamp is stale and no group name is used twice.

use crate::records::Tx;
use model::Fault;

const FENCES_AHEAD: u64 = 1_000_000;
const ROTATIONS_AHEAD: u64 = 1_000;
const RUNS_AHEAD: u64 = 100_000;

/// The statement that marks a backup.
pub(crate) const MARK: &str = "INSERT OR REPLACE INTO meta (key, value) VALUES ('backup', 1)";

/// Whether the database was a backup.
pub(crate) fn jump_ahead_if_restored(tx: &Tx<'_>) -> Result<bool, Fault> {
    if tx.run("DELETE FROM meta WHERE key = 'backup'", &[])? == 0 {
        return Ok(false);
    }
    for name in &tx.every_service_name()? {
        if let Some(mut head) = tx.head(name)? {
            head.rotation_last += ROTATIONS_AHEAD;
            tx.put_head(name, &head)?;
        }
        if let Some(mut lease) = tx.lease(name)? {
            lease.fence.0 += FENCES_AHEAD;
            tx.put_lease(&lease)?;
        }
    }
    tx.runs_ahead(RUNS_AHEAD)?;
    Ok(true)
}
