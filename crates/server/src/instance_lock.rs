//! One control plane a data directory: the lock that it holds, and what may be done only while none holds it.

use crate::files::{io_fault, private_dir};
use model::{Fault, Layout};
use rustix::fs::{FlockOperation, flock};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;

/// Held while the process lives; the kernel releases it when the process ends, however it ends.
pub struct InstanceLock {
    _file: File,
}

pub fn acquire(layout: &Layout) -> Result<InstanceLock, Fault> {
    let path = layout.run().join("serve.lock");
    private_dir(&layout.run())?;
    let mut file =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path).map_err(|e| io_fault(&path, &e))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        // The holder's pid is in the message only as help; the lock itself is what counts.
        let _ = (&file).take(20).read_to_string(&mut pid);
        let by = if pid.trim().is_empty() { String::new() } else { format!(" (process {})", pid.trim()) };
        let text = format!("another `afresh serve` uses the data directory {}{by}", layout.root().display());
        return Err(Fault::yours("already-served", text).hint("stop that one, or choose another --data-dir"));
    }
    // On a full disk the next process cannot say who holds it.
    if let Err(e) = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id())) {
        tracing::warn!("{}: {e}", path.display());
    }
    Ok(InstanceLock { _file: file })
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
