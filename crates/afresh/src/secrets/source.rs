//! The sources of secrets: a file, what a command prints, a file of age. Bounded in time and size; no message has a byte of a value.

use super::command;
use super::identity::{self, IdentityArgs};
use super::open::{must_be_closed_to_others, open};
use crate::context::Context;
use model::{Fault, SECRET_BYTES_MAX, SecretSource, SecretSpec};
use secret::Value;
use std::fs::File;
use std::io::Read;
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

fn read_bounded(what: &str, path: &Path, file: File, bytes_max: usize) -> Result<Vec<u8>, Fault> {
    let most = u64::try_from(bytes_max + 1).unwrap_or(u64::MAX);
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(bytes_max + 1));
    file.take(most).read_to_end(&mut bytes).map_err(|e| Fault::world("io", format!("{what}: {}: {e}", path.display())))?;
    Ok(std::mem::take(&mut *bytes))
}
