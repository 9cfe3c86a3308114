//! One control plane a data directory: the lock that it holds, and what may be done only while none holds it.

use crate::files::private_dir;
use disk::lock::{self, Lock};
use model::{Fault, Layout};

/// Held while the process lives; the kernel releases it when the process ends, however it ends.
pub struct InstanceLock {
    _lock: Lock,
}

pub fn acquire(layout: &Layout) -> Result<InstanceLock, Fault> {
    let path = layout.run().join("serve.lock");
    private_dir(&layout.run())?;
    let Some(mut lock) = Lock::try_exclusive(&path)? else {
        let by = lock::holder(&path).map(|pid| format!(" (process {pid})")).unwrap_or_default();
        let text = format!("another `afresh serve` uses the data directory {}{by}", layout.root().display());
        return Err(Fault::yours("already-served", text).hint("stop that one, or choose another --data-dir"));
    };
    // On a full disk the next process cannot say who holds it.
    if let Err(e) = lock.write_holder() {
        tracing::warn!("{}: {e}", path.display());
    }
    Ok(InstanceLock { _lock: lock })
}

/// Restores the backup of the database, while no control plane runs; returns what was done.
pub fn restore(layout: &Layout) -> Result<journal::Restored, Fault> {
    let _lock = acquire(layout)?;
    journal::restore(&layout.database())
}

/// Whether [`restore`] could be done now: no control plane runs, and the backup is intact.
pub fn check_backup(layout: &Layout) -> Result<journal::Backup, Fault> {
    let _lock = acquire(layout)?;
    journal::check_backup(&layout.database())
}
