//! Private directories, and I/O errors as faults.

use model::Fault;
use std::fs::DirBuilder;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

pub fn private_dir(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| io_fault(path, &e))
}

pub fn io_fault(path: &Path, error: &std::io::Error) -> Fault {
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
