//! Exchanges the machine's key. Killed at any point it can be run again, and everything can be read meanwhile.
//!
//! ```text
//! machine.key.new made ─▶ version.key and each value encrypted for it ─▶ renamed over machine.key
//!   both keys are read    what is done already opens with the new key       the old key is gone
//! ```

use crate::age_file;
use crate::machine_key;
use crate::store::{Secrets, names};
use disk::files;
use model::{Fault, SecretName};
use std::path::PathBuf;

/// What was encrypted for the new key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rekeyed {
    pub values: usize,
}

pub fn rekey(secrets: &Secrets) -> Result<Rekeyed, Fault> {
    let _alone = secrets.lock()?;
    let (path, next_path) = (machine_key::path(&secrets.dir), machine_key::next_path(&secrets.dir));
    if secrets.is_empty()? {
        return Err(Fault::yours("no-secrets", "this machine holds no secret and has no key to exchange"));
    }
    machine_key::all(&secrets.dir)?;
    if machine_key::read(&next_path)?.is_none() {
        machine_key::write_new(&next_path)?;
    }
    let keys = machine_key::all(&secrets.dir)?;
    let Some(next) = keys.first() else { return Err(Fault::ours("no-key", "there is no machine key")) };
    let name = SecretName::new("value").map_err(|e| Fault::ours("bad-name", e.to_string()))?;
    let mut files_of_values: Vec<PathBuf> = Vec::new();
    for service in names(&secrets.values())? {
        let dir = secrets.values().join(service);
        files_of_values.extend(names(&dir)?.into_iter().filter(|name| !name.starts_with('.')).map(|name| dir.join(name)));
    }
    for file in files_of_values.iter().chain([&secrets.version_key_path()]) {
        let damaged = || {
            Fault::world("secret-damaged", format!("{}: it opens with no key of this machine, and would be lost", file.display()))
                .hint("the old key stays; remove the file if it is not needed, or put it back from a backup, and run this again")
                .again(false)
        };
        let bytes = files::read_limited(file, 1 << 20)?;
        let value = age_file::decrypt_with(&name, &keys, &bytes).ok().flatten().ok_or_else(damaged)?;
        let encrypted = age_file::encrypt(&next.to_public(), value.bytes())?;
        disk::write(file, &encrypted, 0o600, disk::Lasting::Now).map_err(files::at("cannot write", file))?;
    }
    std::fs::rename(&next_path, &path).map_err(files::at("cannot replace", &path))?;
    files::sync_dir(&secrets.dir)?;
    Ok(Rekeyed { values: files_of_values.len() })
}
