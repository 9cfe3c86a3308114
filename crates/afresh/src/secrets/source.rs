//! The sources of secrets: a file, what a command prints, a file of age. Bounded in time and size; no message has a byte of a value.

use super::IdentityArgs;
use super::command;
use super::identity;
use crate::context::Context;
use model::{Fault, SECRET_BYTES_MAX, SecretSource, SecretSpec};
use secret::Value;
use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Armour makes a file of age a third larger.
const AGE_BYTES_MAX: usize = 2 * SECRET_BYTES_MAX;

pub enum Source {
    Clear(Value),
    /// None of the caller's identities opens it: it may be for the service.
    Sealed(Vec<u8>),
}

pub fn read(context: &Context, spec: &SecretSpec, args: &IdentityArgs) -> Result<Source, Fault> {
    let name = &spec.name;
    let what = format!("secret {name}");
    match &spec.source {
        SecretSource::File { path } => {
            let path = context.beside_file(path);
            let file = open(&what, &path)?;
            must_be_closed_to_others(&what, &path, &file)?;
            let bytes = read_bounded(&what, &path, file, SECRET_BYTES_MAX)?;
            Value::new(name, bytes).map(Source::Clear)
        }
        SecretSource::Command { command } => {
            let dir = context.file.parent().filter(|dir| !dir.as_os_str().is_empty()).map_or(PathBuf::from("."), Path::to_path_buf);
            command::run(name, command, &dir).and_then(|bytes| Value::new(name, bytes)).map(Source::Clear)
        }
        SecretSource::Age { path } => {
            let path = context.beside_file(path);
            let file = read_bounded(&what, &path, open(&what, &path)?, AGE_BYTES_MAX)?;
            let own = identity::own(args)?;
            Ok(match secret::decrypt_with(name, &own, &file)? {
                Some(value) => Source::Clear(value),
                None => Source::Sealed(file),
            })
        }
    }
}

/// An ordinary file: a named pipe would wait for a writer, a device might never end.
pub fn open(what: &str, path: &Path) -> Result<File, Fault> {
    let no = |why: String| Fault::yours("secret-source", format!("{what}: {}: {why}", path.display()));
    let opened = OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK | nix::libc::O_NOCTTY).open(path);
    let file = opened.map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => no("there is no such file".to_string()).hint("paths are relative to the service file"),
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

fn read_bounded(what: &str, path: &Path, file: File, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let most = u64::try_from(bytes_max + 1).unwrap_or(u64::MAX);
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    file.take(most).read_to_end(&mut bytes).map_err(|e| Fault::world("io", format!("{what}: {}: {e}", path.display())))?;
    Ok(std::mem::take(&mut *bytes))
}
