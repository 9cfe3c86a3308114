//! What of an instance must not lie on a disk: the OCI config, in which variables stand, and the secrets that it gets as files. Both are on
//! a ramfs of the shim's own mount namespace, which is never swapped out and goes with the shim.
//!
//! ```text
//! /run/afresh/private (ramfs, root alone)     config.json ◀── /proc/SHIM/fd/N ◀── config.json of the instance's directory, a link
//! /run/afresh/secrets (ramfs, the service's)  NAME, mode 0400 ──▶ /run/secrets/NAME, read-only
//! ```
//! The runtime reads the config also when it runs something inside later, from outside of these mounts: through the shim's descriptor.

use crate::record::Record;
use crate::state_files;
use model::Fault;
use nix::mount::{MsFlags, mount};
use secret::{Secrets, Value};
use serde_json::Value as Json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use zeroize::{Zeroize, Zeroizing};

/// More than a config has, but for large variables.
const CONFIG_BYTES: usize = 512 << 10;

/// The values that a release pins, as an instance gets them.
#[derive(Default)]
pub struct Given {
    pub env: Vec<(String, Zeroizing<String>)>,
    pub files: Vec<(String, Value)>,
}

/// Read again for each launch, with the machine's key: it needs no other process.
pub fn read(record: &Record) -> Result<Given, Fault> {
    let (pinned, service) = (&record.release.secrets, &record.release.service);
    let mut given = Given::default();
    if pinned.is_empty() {
        return Ok(given);
    }
    let dir = record.placement.secrets.as_ref();
    let dir = dir.ok_or_else(|| Fault::world("secret-missing", "an older version wrote this instance down, without a place of secrets"))?;
    let secrets = Secrets::at(dir);
    let value = |name| match pinned.versions.get(name) {
        Some(version) => secrets.get(service, name, version),
        None => Err(Fault::ours("secret-not-pinned", format!("the release of {service} pins no version of secret {name}"))),
    };
    for (variable, name) in &pinned.used.env {
        given.env.push((variable.clone(), value(name)?.variable(name)?));
    }
    for name in &pinned.used.files {
        given.files.push((name.to_string(), value(name)?));
    }
    Ok(given)
}

/// On the stage, in the shim's own mount namespace. `owner`: the service's user and group as the host has them. None: it gets no files.
pub fn mount_secrets(stage: &Path, given: &Given, owner: (u32, u32)) -> Result<Option<PathBuf>, Fault> {
    if given.files.is_empty() {
        return Ok(None);
    }
    let dir = ramfs(stage, "secrets")?;
    for (name, value) in &given.files {
        let path = dir.join(name);
        let mut file = create(&path)?;
        file.write_all(value.bytes()).map_err(|e| state_files::at(&path, "writing", e))?;
        chown(&path, Some(owner.0), Some(owner.1)).map_err(|e| state_files::at(&path, "giving it to the service", e))?;
    }
    chown(&dir, Some(owner.0), Some(owner.1)).map_err(|e| state_files::at(&dir, "giving it to the service", e))?;
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o500)).map_err(|e| state_files::at(&dir, "setting its mode", e))?;
    Ok(Some(dir))
}

/// The config, readable by root through this process for as long as the result is held; `link` leads there.
pub fn write_config(stage: &Path, link: &Path, mut config: Json) -> Result<File, Fault> {
    let path = ramfs(stage, "private")?.join("config.json");
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(CONFIG_BYTES));
    let encoded = serde_json::to_writer(&mut *text, &config).map_err(|e| Fault::ours("encode", e.to_string()));
    forget(&mut config);
    encoded?;
    create(&path)?.write_all(&text).map_err(|e| state_files::at(&path, "writing", e))?;
    let file = File::open(&path).map_err(|e| state_files::at(&path, "opening", e))?;
    let named = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
    symlink(&named, link).map_err(|e| state_files::at(link, "linking", e))?;
    Ok(file)
}

/// Wipes the variables.
fn forget(config: &mut Json) {
    for variable in config["process"]["env"].as_array_mut().into_iter().flatten() {
        if let Json::String(text) = variable {
            text.zeroize();
        }
    }
}

fn create(path: &Path) -> Result<File, Fault> {
    let made = OpenOptions::new().write(true).create_new(true).mode(0o400).open(path);
    made.map_err(|e| state_files::at(path, "making", e))
}

fn ramfs(stage: &Path, name: &str) -> Result<PathBuf, Fault> {
    let dir = stage.join(name);
    state_files::make_dir(&dir)?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some(name), &dir, Some("ramfs"), flags, Some("mode=0700")).map_err(|e| state_files::at(&dir, "mounting a ramfs", e))?;
    Ok(dir)
}
