//! Makes a data directory from a backup: it is read whole first, unpacked beside its place, and put there in one step.

use super::archive::{self, Manifest};
use super::contents::{self, DATABASE, MACHINE_KEY, SIGNING_KEY};
use disk::files;
use disk::lock::Lock;
use disk::within::Root;
use model::{Digest, Fault, Layout, RotationId, SecretName};
use std::ffi::OsString;
use std::fs::Permissions;
use std::io::Read;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// A backup whose every digest is right.
#[derive(Clone, Debug)]
pub struct Checked {
    pub manifest: Manifest,
    /// Of the whole file.
    pub digest: Digest,
}

/// Reads all of it. Changes nothing.
pub fn check(file: &Path) -> Result<Checked, Fault> {
    let (manifest, digest) = read(file, |_, _, _| Ok(()))?;
    Ok(Checked { manifest, digest })
}

/// As [`archive::read`]. Its names are only those that a backup has: what else lies in a data directory means something to somebody, as
/// `afresh.db-journal` does to SQLite.
pub(super) fn read(file: &Path, mut take: impl FnMut(&str, u32, &mut dyn Read) -> Result<(), Fault>) -> Result<(Manifest, Digest), Fault> {
    archive::read(file, |path, mode, from| {
        if contents::has(path) { take(path, mode, from) } else { Err(archive::bad(file, format_args!("{path} is in no backup"))) }
    })
}

/// Unpacked beside the data directory, and removed again when it is dropped before [`Unpacked::put_in_place`].
pub struct Unpacked {
    stage: PathBuf,
    target: PathBuf,
    /// Rotations that were open then.
    pub open: Vec<RotationId>,
    lock: Option<(Lock, PathBuf)>,
}

impl Drop for Unpacked {
    fn drop(&mut self) {
        let _ = files::remove_tree(&self.stage);
        if let Some((_held, path)) = self.lock.take() {
            let _ = files::remove_file(&path);
        }
    }
}

/// The directory that is to be made does not exist, or is empty.
pub fn unpack(file: &Path, checked: &Checked, target: &Layout, identities: &[secret::Identity]) -> Result<Unpacked, Fault> {
    let root = target.root();
    must_be_free(root)?;
    let parent = root.parent().ok_or_else(|| {
        Fault::yours("backup-place", format!("{} cannot be a data directory", root.display())).hint("name another with --data-dir")
    })?;
    must_be_ours(parent)?;
    files::make_dir(parent)?;
    let beside = |end: &str| {
        let mut name = OsString::from(".");
        name.push(root.file_name().unwrap_or_default());
        name.push(end);
        parent.join(name)
    };
    let (stage, lock_path) = (beside(".restoring"), beside(".restoring.lock"));
    let Some(lock) = Lock::try_exclusive(&lock_path)? else {
        return Err(Fault::yours("busy", format!("another restore to {} is at work", root.display())).hint("wait until it has ended"));
    };
    // Of one that was killed.
    files::remove_tree(&stage)?;
    let mut unpacked = Unpacked { stage: stage.clone(), target: root.to_path_buf(), open: Vec::new(), lock: Some((lock, lock_path)) };
    files::want_space(parent, checked.manifest.bytes(), "the restored data directory")?;
    std::fs::DirBuilder::new().mode(0o700).create(&stage).map_err(files::at("cannot make", &stage))?;
    let tree = Root::open(&stage)?;
    let (manifest, digest) = read(file, |path, mode, from| put(&tree, path, mode, from))?;
    if (&manifest, &digest) != (&checked.manifest, &checked.digest) {
        return Err(
            Fault::world("changed-meanwhile", format!("{}: it was changed while it was unpacked", file.display())).hint("restore it again")
        );
    }
    let database = stage.join(DATABASE);
    if database.exists() {
        unpacked.open = journal::check_copy(&database)?;
    }
    open_keys(&tree, identities)?;
    Ok(unpacked)
}

fn must_be_free(root: &Path) -> Result<(), Fault> {
    let full = |why: &str| {
        Fault::yours("not-empty", format!("{}: {why}; nothing was changed", root.display()))
            .hint("name a directory that does not exist yet: --data-dir DIR; or move this one away, after `afresh down`")
    };
    match std::fs::symlink_metadata(root) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(files::fault("cannot look at", root, &e)),
        Ok(about) if !about.is_dir() => Err(full("it is not a directory")),
        Ok(_) => match std::fs::read_dir(root).map_err(files::at("cannot list", root))?.next() {
            Some(_) => Err(full("it is not empty")),
            None => Ok(()),
        },
    }
}

/// Everything here is done by path, as root: nobody else may replace a directory on the path, or make a link beside the stage.
fn must_be_ours(parent: &Path) -> Result<(), Fault> {
    let there = parent.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let there = there.canonicalize().map_err(files::at("cannot look at", there))?;
    let us = rustix::process::geteuid().as_raw();
    for dir in there.ancestors() {
        let about = std::fs::metadata(dir).map_err(files::at("cannot look at", dir))?;
        // Below a sticky directory, as /tmp is, what is ours stays where it is.
        let is_sticky = about.mode() & 0o1000 != 0 && dir != there;
        if us == 0 && about.uid() != 0 || about.mode() & 0o022 != 0 && !is_sticky {
            let text = format!("{}: others can write into it (owner {}, mode {:o})", dir.display(), about.uid(), about.mode() & 0o7777);
            return Err(Fault::yours("open-dir", text).hint("name a place where only root can write: --data-dir /var/lib/afresh"));
        }
    }
    Ok(())
}

fn put(tree: &Root, path: &str, mode: u32, from: &mut dyn Read) -> Result<(), Fault> {
    let place = Path::new(path);
    if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        tree.make_dir(parent)?;
    }
    let mut to = tree.create(place)?;
    let at = tree.path_of(place);
    std::io::copy(from, &mut to).map_err(files::at("cannot write", &at))?;
    to.set_permissions(Permissions::from_mode(mode & 0o755)).map_err(files::at("cannot set the mode of", &at))
}

/// With no identity of theirs, keys stay as they are in the backup.
fn open_keys(tree: &Root, identities: &[secret::Identity]) -> Result<(), Fault> {
    let name = SecretName::new("key").map_err(|e| Fault::ours("bad-name", e.to_string()))?;
    for path in [MACHINE_KEY, SIGNING_KEY] {
        let encrypted = format!("{path}.age");
        let encrypted = Path::new(&encrypted);
        if identities.is_empty() || !tree.is_file(encrypted) {
            continue;
        }
        let bytes = tree.read(encrypted, 256 << 10)?;
        let value = secret::decrypt_with(&name, identities, &bytes)?.ok_or_else(|| {
            Fault::yours("bad-identity", format!("the key {path} in the backup is encrypted for another identity"))
                .hint("name the file with the private key of the recipient that --keys-for had: --identity FILE")
        })?;
        tree.write(Path::new(path), value.bytes(), 0o600)?;
        tree.remove_file(encrypted)?;
    }
    Ok(())
}

impl Unpacked {
    /// Where it lies until it is put in place.
    pub fn layout(&self) -> Layout {
        Layout::new(&self.stage)
    }

    /// On the disk when this returns.
    pub fn put_in_place(self) -> Result<(), Fault> {
        for part in ["secrets", "control", "store/keys", "host", "audit"] {
            let dir = self.stage.join(part);
            if dir.is_dir() {
                files::set_mode(&dir, 0o700)?;
            }
        }
        let synced = std::fs::File::open(&self.stage).and_then(|dir| rustix::fs::syncfs(&dir).map_err(Into::into));
        synced.map_err(files::at("cannot sync", &self.stage))?;
        must_be_free(&self.target)?;
        std::fs::rename(&self.stage, &self.target).map_err(|e| match e.raw_os_error() {
            Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => {
                Fault::yours("backup-place", format!("{} is a mount point, which cannot be replaced", self.target.display()))
                    .hint("name a directory below it that does not exist yet, with --data-dir")
            }
            _ => files::fault("cannot rename to", &self.target, &e),
        })?;
        files::sync_dir(self.target.parent().unwrap_or(Path::new("/")))
    }
}
