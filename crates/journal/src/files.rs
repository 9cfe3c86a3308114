//! The database's file, the files beside it, and I/O errors as faults.

use model::Fault;
use std::io::ErrorKind;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// `DATABASE` with a suffix: `-wal`, `-shm`, `.backup`.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

pub(crate) fn backup_of(database: &Path) -> PathBuf {
    beside(database, ".backup")
}

/// An empty file that only its owner may read: journals hold the environments of services.
pub(crate) fn create_private(path: &Path) -> Result<(), Fault> {
    std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map(drop).map_err(|e| io_fault(path, &e))
}

/// A file that was not there is removed too.
pub(crate) fn remove(path: &Path) -> Result<(), Fault> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io_fault(path, &e)),
        _ => Ok(()),
    }
}

pub(crate) fn sync(path: &Path) -> Result<(), Fault> {
    std::fs::File::open(path).and_then(|f| f.sync_all()).map_err(|e| io_fault(path, &e))
}

/// Puts a synced file in the place of another, durable when it returns.
pub(crate) fn replace(from: &Path, to: &Path) -> Result<(), Fault> {
    std::fs::rename(from, to).map_err(|e| io_fault(to, &e))?;
    sync(to.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn io_fault(path: &Path, error: &std::io::Error) -> Fault {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            Fault::world("disk-full", text).hint("free some space on the disk of the data directory")
        }
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => {
            Fault::world("disk-read-only", text).hint("the data directory must be writable by the user that runs `afresh serve`")
        }
        _ => Fault::world("disk-error", text),
    }
}
