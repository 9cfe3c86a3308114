//! One control plane a data directory, and the name it keeps for ever.

use model::{Fault, Layout};
use rustix::fs::{FlockOperation, flock};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// Held while the process lives; the kernel lets go of it when it dies, however it dies.
pub struct InstanceLock {
    _lock: File,
}

pub fn acquire(layout: &Layout) -> Result<InstanceLock, Fault> {
    let path = layout.run().join("serve.lock");
    private_dir(&layout.run())?;
    let mut lock =
        OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path).map_err(|e| disk(&path, &e))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let mut pid = String::new();
        // Who holds it is only told to help; the lock itself is what counts.
        let _ = (&lock).take(20).read_to_string(&mut pid);
        let by = if pid.trim().is_empty() { String::new() } else { format!(" (process {})", pid.trim()) };
        return Err(Fault::yours(
            "already-served",
            format!("{}: another `afresh serve` has this data directory{by}", layout.root().display()),
        )
        .hint("stop that one, or choose another --data-dir"));
    }
    // The lock is what counts; on a full disk nobody is told whose it is.
    if let Err(e) = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id())) {
        tracing::warn!("{}: {e}", path.display());
    }
    Ok(InstanceLock { _lock: lock })
}

/// Puts the backup of the database in its place, while no control plane runs; gives what was done.
pub fn restore(layout: &Layout) -> Result<journal::Restored, Fault> {
    let _only = acquire(layout)?;
    journal::restore(&layout.database())
}

/// Whether [`restore`] could be done now: no control plane runs, and the backup is whole.
pub fn check_backup(layout: &Layout) -> Result<journal::Backup, Fault> {
    let _only = acquire(layout)?;
    journal::check_backup(&layout.database())
}

/// The name under which this data directory's control plane takes leases: made once, kept in the directory.
pub fn lease_holder(layout: &Layout) -> Result<String, Fault> {
    let control = layout.root().join("control");
    let path = control.join("node");
    if let Some(name) = read_name(&path)? {
        return Ok(name);
    }
    private_dir(&control)?;
    let uuid = std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_err(|e| disk(Path::new("/proc/sys/kernel/random/uuid"), &e))?;
    let name = format!("node-{}", uuid.trim());
    disk::write(&path, name.as_bytes(), 0o600, disk::Lasting::Now).map_err(|e| self::disk(&path, &e))?;
    Ok(name)
}

/// None: there is no whole name. Then a new one is made: it costs one lease's rest, no more.
fn read_name(path: &Path) -> Result<Option<String>, Fault> {
    let mut text = String::new();
    match File::open(path).and_then(|f| f.take(200).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(e) if matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::InvalidData) => return Ok(None),
        Err(e) => return Err(disk(path, &e)),
    }
    let whole =
        text.len() == "node-".len() + 36 && text.starts_with("node-") && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    Ok(whole.then_some(text))
}

pub fn private_dir(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| disk(path, &e))
}

pub fn disk(path: &Path, error: &std::io::Error) -> Fault {
    let told = format!("{}: {error}", path.display());
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
            Fault::world("disk-full", told).hint("make room on the disk of the data directory")
        }
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            Fault::world("disk-read-only", told).hint("the data directory must be writable by the user that runs `afresh serve`")
        }
        _ => Fault::world("disk-error", told),
    }
}
