//! Files that hold what nobody else may know: opened without waiting, and refused where others can read them.

use model::Fault;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// An ordinary file: a named pipe would wait for a writer, a device might never end.
pub fn open(what: &str, path: &Path) -> Result<File, Fault> {
    let no = |why: String| Fault::yours("secret-source", format!("{what}: {}: {why}", path.display()));
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(path);
    let file = opened.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            no("there is no such file".to_string()).hint("is the path right? Paths in a service file are relative to it")
        }
        std::io::ErrorKind::PermissionDenied => {
            no("you may not read it".to_string()).hint("deploy as a user who may, or with --keep-secrets to keep the value that is active")
        }
        _ => no(e.to_string()),
    })?;
    let about = file.metadata().map_err(|e| no(e.to_string()))?;
    if about.is_dir() {
        return Err(no("this is a directory".to_string()).hint("name the file in it"));
    }
    if !about.is_file() {
        return Err(no("this is no ordinary file".to_string()).hint("what a program gives is read with `command = [...]`"));
    }
    Ok(file)
}

/// Whoever has an account on the machine would know the secret.
pub fn must_be_closed_to_others(what: &str, path: &Path, file: &File) -> Result<(), Fault> {
    let mode = file.metadata().map(|about| about.mode()).unwrap_or(0o777);
    if mode & 0o007 == 0 {
        return Ok(());
    }
    let text = format!("{what}: {} has mode {:04o}: everybody on this machine may use it", path.display(), mode & 0o7777);
    Err(Fault::yours("secret-open-to-others", text).hint(format!("chmod o= {}", path.display())))
}
