//! Makes a backup: whole or not at all, beside a control plane that works, or without one.

use super::archive::{Manifest, Writer};
use super::contents::{self, DATABASE, MACHINE_KEY, SIGNING_KEY};
use super::last::{self, Last};
use super::restore;
use crate::in_use;
use disk::files;
use disk::lock::Lock;
use model::{Digest, Fault, Layout, SecretName};
use secret::Value;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use store::{Repository, Store};

/// What goes into a backup.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Leave out images that can be baked again.
    pub without_objects: bool,
    /// Put the machine's keys into it, encrypted for this recipient of age.
    pub keys_for: Option<String>,
}

/// A backup that was written and read again.
#[derive(Clone, Debug)]
pub struct Made {
    pub last: Last,
    pub files: usize,
    pub left_out: Vec<String>,
}

/// What no backup has, and a machine that takes over needs all the same.
const OUTSIDE: [&str; 3] = [
    "volumes: the data of services in directories of this host; back them up with what knows them",
    "/etc/afresh: the host policy, and files with passwords and authorities of registries",
    "service files (afresh.hcl), and the files that their secrets are read from",
];

/// Removed when dropped, unless it was renamed.
struct Part(PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes the backup to `to`, which is a file or does not exist yet.
pub fn make(layout: &Layout, to: &Path, options: &Options) -> Result<Made, Fault> {
    make_unless(layout, to, options, &|| false)
}

/// As [`make`]; gives up when `is_stopping`, however large the file is that it writes.
pub(super) fn make_unless(layout: &Layout, to: &Path, options: &Options, is_stopping: &dyn Fn() -> bool) -> Result<Made, Fault> {
    if !layout.root().join("afresh.json").exists() {
        let text = format!("{} is not a data directory of Afresh that was started once", layout.root().display());
        return Err(Fault::yours("foreign-dir", text).hint("is --data-dir right?"));
    }
    let store = Store::open(layout)?;
    // Until the end no object is collected that is listed here.
    let _objects_stay = Lock::shared(&store.dir("locks").join("store.lock"))?;
    let work = store.work("backup")?;
    let at = files::now();
    let snapshot = work.path().join("afresh.db");
    let (held, mut used) = if layout.database().exists() {
        journal::snapshot(&layout.database(), &snapshot, || contents::declared(layout), in_use::objects_in_use)?
    } else {
        (contents::declared(layout)?, BTreeSet::new())
    };
    used.extend(contents::named(&held));
    used.extend(newest(&store)?);
    let (objects, mut left_out) = contents::objects(&store, &used, options.without_objects)?;
    let others = contents::others(layout)?;
    left_out.extend(missing_keys(layout, options));
    left_out.extend(OUTSIDE.map(str::to_string));

    let part = part_of(to)?;
    let size = |path: &Path| std::fs::symlink_metadata(path).map_or(0, |about| about.len());
    let listed: u64 = others.iter().chain(&objects).map(|path| size(&layout.root().join(path))).sum();
    let held_bytes: u64 = held.iter().map(|held| held.bytes.len() as u64).sum();
    files::want_space(folder(to), size(&snapshot) + held_bytes + listed, "the backup")?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part.0);
    let file = opened.map_err(files::at("cannot write", &part.0))?;
    // For [`sweep`](super::keep): a file system without locks keeps what a killed one left.
    let _ = file.try_lock();
    let mut writer = Writer::begin(&file, &part.0, is_stopping)?;
    if snapshot.exists() {
        add(&mut writer, DATABASE, 0o600, &snapshot)?;
    }
    for held in &held {
        writer.add(&held.path, held.mode, held.bytes.len() as u64, &held.bytes[..])?;
    }
    for path in others.iter().chain(&objects) {
        if let Some((mode, bytes, from)) = contents::open(layout, path)? {
            writer.add(path, mode, bytes, from)?;
        }
    }
    for (path, key) in enclosed(layout, options)? {
        writer.add(&path, 0o600, key.len() as u64, &key[..])?;
    }
    let about = Manifest {
        version: env!("CARGO_PKG_VERSION").to_string(),
        made: at,
        of: layout.root().display().to_string(),
        entries: Vec::new(),
        left_out: left_out.clone(),
        keys_for: options.keys_for.clone(),
    };
    let (manifest, digest, bytes) = writer.end(about)?;
    file.sync_all().map_err(files::at("cannot sync", &part.0))?;
    // What a restore would say of it is said now.
    let (read, found) = restore::read(&part.0, |_, _, _| Ok(()))?;
    if read != manifest || found != digest {
        let text = format!("{}: it reads otherwise than it was written", part.0.display());
        return Err(Fault::world("io", text).hint("is the disk healthy? `dmesg` may say more"));
    }
    std::fs::rename(&part.0, to).map_err(files::at("cannot rename to", to))?;
    files::sync_dir(folder(to))?;
    let last = Last { at, path: to.to_path_buf(), bytes, digest };
    last::note(layout, &last)?;
    Ok(Made { last, files: manifest.entries.len(), left_out })
}

fn folder(to: &Path) -> &Path {
    to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Beside the file, so that the rename is one step. What a killed one of this name left is replaced.
fn part_of(to: &Path) -> Result<Part, Fault> {
    let name = to
        .file_name()
        .ok_or_else(|| Fault::yours("backup-place", format!("{}: it has no name", to.display())).hint("name a file or a directory"))?;
    if std::fs::symlink_metadata(to).is_ok_and(|about| !about.is_file()) {
        let text = format!("{}: it is there and no plain file", to.display());
        return Err(Fault::yours("backup-place", text).hint("name a file, which is replaced when the backup is whole, or a directory"));
    }
    let mut part = std::ffi::OsString::from(".");
    part.push(name);
    part.push(".part");
    let part = folder(to).join(part);
    files::remove_file(&part)?;
    Ok(Part(part))
}

fn add(writer: &mut Writer<'_>, path: &str, mode: u32, from: &Path) -> Result<(), Fault> {
    let file = File::open(from).map_err(files::at("cannot read", from))?;
    let bytes = file.metadata().map_err(files::at("cannot read", from))?.len();
    writer.add(path, mode, bytes, file)
}

/// What the next deploy begins with, and what is being looked after.
fn newest(store: &Store) -> Result<BTreeSet<Digest>, Fault> {
    let mut all = BTreeSet::new();
    for name in Repository::open(store.layout())?.names()? {
        all.extend(store.current(&name)?);
    }
    Ok(all)
}

const KEYS: &[(&str, &str)] =
    &[(MACHINE_KEY, "without it no secret in this backup can be read"), (SIGNING_KEY, "without it this machine signs with another")];

fn missing_keys(layout: &Layout, options: &Options) -> Vec<String> {
    let there = KEYS.iter().filter(|(path, _)| options.keys_for.is_none() && layout.root().join(path).exists());
    there.map(|(path, why)| format!("{path}: {why}; --keys-for age1... puts it in, encrypted")).collect()
}

fn enclosed(layout: &Layout, options: &Options) -> Result<Vec<(String, Vec<u8>)>, Fault> {
    let Some(recipient) = &options.keys_for else { return Ok(Vec::new()) };
    let name = SecretName::new("key").map_err(|e| Fault::ours("bad-name", e.to_string()))?;
    let mut all = Vec::new();
    for (path, _) in KEYS {
        if let Some((_, _, file)) = contents::open(layout, path)? {
            let mut bytes = Vec::with_capacity(64 << 10);
            std::io::Read::read_to_end(&mut std::io::Read::take(file, 64 << 10), &mut bytes)
                .map_err(files::at("cannot read", Path::new(path)))?;
            all.push((format!("{path}.age"), secret::encrypt_for(recipient, &Value::new(&name, bytes)?)?));
        }
    }
    Ok(all)
}
