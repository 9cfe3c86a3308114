//! Objects of the store, prepared for instances: bytes verified against the digest, then mounted.
//!
//! An object is hashed before its first use and whenever its file is not the one that was hashed (inode, size, times); the result is
//! kept on disk, so that a restarted keeper need not read a hundred megabytes.

use crate::admit::{Admit, Launch, Role};
use crate::{mounts, state_files};
use model::{Digest, Fault, Layout};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Identifies the bytes that were hashed, as far as possible without reading the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Identity {
    inode: u64,
    bytes: u64,
    modified_ns: i128,
    changed_ns: i128,
}

#[derive(Default)]
struct State {
    /// By hex digest.
    verified: BTreeMap<String, Identity>,
    locks: BTreeMap<String, Arc<Mutex<()>>>,
}

pub struct Objects {
    layout: Layout,
    state: Mutex<State>,
}

impl Objects {
    pub fn open(layout: &Layout) -> Self {
        let verified = state_files::read_json(&cache(layout)).good().unwrap_or_default();
        Self { layout: layout.clone(), state: Mutex::new(State { verified, ..State::default() }) }
    }

    /// Verifies and mounts; true: it was mounted now. Reads the whole object where needed. `admit` is called after the bytes were
    /// verified, so that it may rely on the digest, and before the mount.
    pub fn ensure(&self, digest: &Digest, role: Role<'_>, launch: Launch, admit: &Admit) -> Result<bool, Fault> {
        let lock = self.lock_of(digest);
        let _held = held(&lock);
        self.verify(digest)?;
        if launch == Launch::First {
            admit.ask(role, digest, launch)?;
        }
        mounts::ensure(&self.layout, digest)
    }

    /// Unmounts the object unless `used` says, under the object's lock, that it is needed.
    pub fn release(&self, digest: &Digest, used: impl FnOnce() -> bool) -> Result<bool, Fault> {
        let lock = self.lock_of(digest);
        let _held = held(&lock);
        if used() {
            return Ok(false);
        }
        let place = mounts::place(&self.layout, digest);
        let mounted = mounts::mounted(&self.layout).contains(digest.hex());
        if mounted {
            mounts::unmount(&place)?;
        }
        let _ = std::fs::remove_dir(&place);
        Ok(mounted)
    }

    /// Whether the file is still the one that was verified. Cheap.
    pub fn unchanged(&self, digest: &Digest) -> bool {
        let now = identity(&self.layout.object(digest)).ok();
        now.is_some() && held(&self.state).verified.get(digest.hex()) == now.as_ref()
    }

    fn lock_of(&self, digest: &Digest) -> Arc<Mutex<()>> {
        held(&self.state).locks.entry(digest.hex().to_string()).or_default().clone()
    }

    fn verify(&self, digest: &Digest) -> Result<(), Fault> {
        if self.unchanged(digest) {
            return Ok(());
        }
        let path = self.layout.object(digest);
        let before = identity(&path).map_err(|e| missing(digest, &path, &e))?;
        let found = hash(&path).map_err(|e| state_files::at(&path, "reading", e))?;
        if found != digest.hex() {
            held(&self.state).verified.remove(digest.hex());
            return Err(Fault::world(
                "object-corrupt",
                format!("{}: the object {} is corrupt: its bytes have sha256 {}", path.display(), digest.short(), &found[..12]),
            )
            .hint("remove that file and bake or deploy again: it is stored again from its source"));
        }
        let kept = {
            let mut state = held(&self.state);
            state.verified.insert(digest.hex().to_string(), before);
            state.verified.clone()
        };
        // Only saves time; on a full disk the next keeper reads the object again.
        let _ = state_files::write_json_quick(&cache(&self.layout), &kept);
        Ok(())
    }
}

fn cache(layout: &Layout) -> PathBuf {
    layout.host().join("verified.json")
}

fn missing(digest: &Digest, path: &Path, error: &std::io::Error) -> Fault {
    Fault::world("object-missing", format!("{}: the object {} cannot be opened: {error}", path.display(), digest.short()))
        .hint("bake the image or deploy the artifact again")
}

fn identity(path: &Path) -> std::io::Result<Identity> {
    let m = std::fs::metadata(path)?;
    let ns = |s: i64, ns: i64| i128::from(s) * 1_000_000_000 + i128::from(ns);
    Ok(Identity { inode: m.ino(), bytes: m.size(), modified_ns: ns(m.mtime(), m.mtime_nsec()), changed_ns: ns(m.ctime(), m.ctime_nsec()) })
}

fn hash(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex::encode(hasher.finalize())),
            n => hasher.update(&buffer[..n]),
        }
    }
}

/// A panic elsewhere leaves nothing partly changed under these locks.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_object_is_found_and_an_unchanged_one_not_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let bytes = b"some bytes";
        let digest = Digest::new(format!("sha256:{}", hex::encode(Sha256::digest(bytes)))).unwrap();
        let path = layout.object(&digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::create_dir_all(layout.host()).unwrap();
        assert_eq!(Objects::open(&layout).verify(&digest).unwrap_err().code, "object-missing");
        std::fs::write(&path, bytes).unwrap();
        Objects::open(&layout).verify(&digest).unwrap();
        let objects = Objects::open(&layout);
        assert!(objects.unchanged(&digest), "the result is kept on disk");
        std::fs::write(&path, b"some bytez").unwrap();
        assert!(!objects.unchanged(&digest));
        let fault = objects.verify(&digest).unwrap_err();
        assert!(fault.code == "object-corrupt" && fault.hint.is_some(), "{fault:?}");
    }

    #[test]
    fn what_is_not_admitted_is_not_mounted() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let digest = Digest::new(format!("sha256:{}", hex::encode(Sha256::digest(b"root")))).unwrap();
        let path = layout.object(&digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::create_dir_all(layout.host()).unwrap();
        std::fs::write(&path, b"other").unwrap();
        let image = model::ImageName::new("base").unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let seen = asked.clone();
        let admit = Admit::new(move |role, object, _| {
            seen.lock().unwrap().push((role == Role::Code, object.clone()));
            Err(Fault::world("signature-refused", "nobody signed it"))
        });
        let objects = Objects::open(&layout);
        assert_eq!(objects.ensure(&digest, Role::Root(&image), Launch::First, &admit).unwrap_err().code, "object-corrupt");
        assert!(asked.lock().unwrap().is_empty(), "it is asked about whole objects only");
        std::fs::write(&path, b"root").unwrap();
        for role in [Role::Root(&image), Role::Code] {
            assert_eq!(objects.ensure(&digest, role, Launch::First, &admit).unwrap_err().code, "signature-refused");
        }
        // A group that has had a server is not admitted again: its count is kept, whoever is distrusted since. (The mount fails: it is not an image.)
        for role in [Role::Root(&image), Role::Code] {
            assert_ne!(objects.ensure(&digest, role, Launch::More, &admit).unwrap_err().code, "signature-refused");
        }
        assert_eq!(*asked.lock().unwrap(), [(false, digest.clone()), (true, digest.clone())]);
        assert!(mounts::mounted(&layout).is_empty());
    }
}
