//! Private directories, files that only root writes, and I/O errors as faults.

use model::Fault;
use std::fs::{DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A file by which root decides what others may do: nobody but root, and the user that serve runs as, may be able to write it. None: it is
/// not there. An error says why it is not used.
pub fn read_trusted(path: &Path, bytes_max: u64) -> Result<Option<String>, String> {
    // Every request would wait for a pipe in its place.
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(format!("cannot read it: {e}")),
    };
    let seen = file.metadata().map_err(|e| e.to_string())?;
    if !seen.is_file() {
        return Err("it is not a regular file".to_string());
    }
    if seen.uid() != 0 && seen.uid() != rustix::process::geteuid().as_raw() {
        return Err(format!("it belongs to uid {}, not to root", seen.uid()));
    }
    if seen.mode() & 0o022 != 0 {
        return Err(format!("it has mode {:04o}: users other than root can write it", seen.mode() & 0o7777));
    }
    let mut text = String::new();
    Read::by_ref(&mut file).take(bytes_max + 1).read_to_string(&mut text).map_err(|e| e.to_string())?;
    if text.len() as u64 > bytes_max {
        return Err(format!("it has more than {bytes_max} bytes"));
    }
    Ok(Some(text))
}

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
