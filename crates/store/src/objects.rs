//! Objects by digest, and what is known of each. An object is never changed, only added and removed whole.
//! It must not know how an object was made.
//!
//! ```text
//! store/
//!   objects/<hex>          the bytes, mode 0444: images, artifacts, and trees that several images begin with
//!   manifests/<hex>.json   what they are; written after the bytes, removed before them
//!   inputs/<hex>.json      what went in -> the digest that came out: equal inputs need no work
//!   locked/<hex>.lock      every package of an image, by inputs
//!   asked/<hex>.json       what the mirrors had signed -> the lock that was chosen from it
//!   packages/<sha256>.deb  what was fetched
//!   layers/<hex>           of container images, as they were transferred, for the next image of the same registry that has them
//!   kits/                  locks of what disks boot with, see kit_locks.rs
//!   attested/<hex>/        bill of materials, provenance, signature
//!   sequence               the number of the last look at the mirrors, so that of two locks the newer is known
//!   current/<image>.json   the newest image of a recipe
//!   locks/  work/          see `disk::lock`
//! ```

use crate::lockfile::Lock as PackageLock;
use crate::manifest::Manifest;
use disk::files;
use disk::lock::{Lock, Work, sweep};
use model::{Digest, Fault, ImageName, Layout, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// A manifest of ten thousand packages is below this; what is larger is not ours.
const MANIFEST_LIMIT: u64 = 32 << 20;
/// What tells one state of a file from another without reading it.
type Mark = (u64, u64, u64, i64, i64, i64, i64);

#[derive(Debug)]
pub struct Store {
    pub(crate) layout: Layout,
    /// Where locks and what is half-made lie, if not in the store itself.
    apart: Option<PathBuf>,
    /// Objects whose bytes were read and were right, as they were then.
    seen: Mutex<BTreeMap<Digest, Mark>>,
}

/// The file `current/<image>.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    pub digest: Digest,
    pub since: Time,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
/// What making an object took.
pub enum Did {
    /// The object was there already, from the same inputs.
    Nothing,
    Baked,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) digest: Digest,
}

impl Store {
    /// Makes what is missing and removes what dead processes left half-made.
    pub fn open(layout: &Layout) -> Result<Store, Fault> {
        let store = Store { layout: layout.clone(), apart: None, seen: Mutex::new(BTreeMap::new()) };
        for part in ["", "objects", "manifests", "inputs", "current", "locks", "work"] {
            let dir = store.dir(part);
            if !files::exists(&dir) {
                files::make_dir(&dir)?;
                files::set_mode(&dir, 0o755)?;
            }
        }
        sweep(&store.dir("work"), &store.gate())?;
        Ok(store)
    }

    /// A store that is only read, such as a copy on a read-only disk: what is half-made lies in `apart`, which must be a place of ours.
    pub fn open_to_read(layout: &Layout, apart: &Path) -> Result<Store, Fault> {
        if !layout.store().is_dir() {
            return Err(Fault::yours("no-such-file", format!("there is no store in {}", layout.root().display()))
                .hint("name the copied data directory with --data-dir"));
        }
        let store = Store { layout: layout.clone(), apart: Some(apart.to_path_buf()), seen: Mutex::new(BTreeMap::new()) };
        files::make_dir(&store.dir("work"))?;
        sweep(&store.dir("work"), &store.gate())?;
        Ok(store)
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    pub fn dir(&self, part: &str) -> PathBuf {
        match &self.apart {
            Some(apart) if matches!(part, "work" | "locks") => apart.join(part),
            _ => self.layout.store().join(part),
        }
    }

    fn gate(&self) -> PathBuf {
        self.dir("locks").join("work.lock")
    }

    /// A place on the store's own filesystem for what is half-made.
    pub fn work(&self, label: &str) -> Result<Work, Fault> {
        Work::begin(&self.dir("work"), &self.gate(), label)
    }

    /// Waits for whoever holds it; `waits` is called first if somebody does.
    pub fn lock(&self, name: &str, waits: impl FnOnce()) -> Result<Lock, Fault> {
        let path = self.dir("locks").join(format!("{name}.lock"));
        match Lock::try_exclusive(&path)? {
            Some(lock) => Ok(lock),
            None => {
                waits();
                Lock::exclusive(&path)
            }
        }
    }

    fn mark(path: &Path) -> Result<Option<Mark>, Fault> {
        match fs::symlink_metadata(path) {
            Ok(m) => Ok(Some((m.dev(), m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(files::fault("cannot look at", path, &e)),
        }
    }

    /// Reads the bytes, unless they were read and have not changed since, and says whether they have this digest.
    pub(crate) fn sound(&self, object: &Digest) -> Result<Sound, Fault> {
        let path = self.layout.object(object);
        let Some(mark) = Self::mark(&path)? else { return Ok(Sound::Missing) };
        if self.seen.lock().expect("nobody panics with it").get(object) == Some(&mark) {
            return Ok(Sound::Whole);
        }
        let (found, bytes) = match files::digest_file(&path) {
            Ok(found) => found,
            Err(f) if f.code == "no-such-file" => return Ok(Sound::Missing),
            Err(f) => return Err(f),
        };
        if &found != object {
            return Ok(Sound::Corrupt { found, bytes });
        }
        self.seen.lock().expect("nobody panics with it").insert(object.clone(), mark);
        Ok(Sound::Whole)
    }

    /// As [`rotation::ImageStore::has`], but says what is wrong.
    pub fn verify(&self, object: &Digest) -> Result<(), Fault> {
        let path = self.layout.object(object);
        match self.sound(object)? {
            Sound::Whole => Ok(()),
            Sound::Missing => {
                Err(Fault::yours("object-missing", format!("{object} is not in the store {}", self.layout.store().display()))
                    .hint("bake the image or pack the artifact again; `afresh image list` shows what is there"))
            }
            Sound::Corrupt { found, bytes } => Err(Fault::world(
                "object-corrupt",
                format!("{} was changed on disk: it now holds {bytes} bytes with digest {found}", path.display()),
            )
            .hint("run `afresh bake IMAGE --fresh`, or deploy the artifact again: it is put in place again; then check the disk")
            .again(false)),
        }
    }

    /// The object's bytes, checked.
    pub fn path(&self, object: &Digest) -> Result<PathBuf, Fault> {
        self.verify(object)?;
        Ok(self.layout.object(object))
    }

    /// Takes a finished file from a [`Work`] of this store into it. An object that is already there and whole stays as it is.
    pub fn put(&self, file: &Path, manifest: &Manifest) -> Result<(), Fault> {
        let _shared = Lock::shared(&self.dir("locks").join("store.lock"))?;
        let digest = &manifest.digest;
        if !matches!(self.sound(digest)?, Sound::Whole) {
            let target = self.layout.object(digest);
            files::set_mode(file, 0o444)?;
            fs::File::open(file).and_then(|f| f.sync_all()).map_err(files::at("cannot sync", file))?;
            fs::rename(file, &target).map_err(files::at("cannot rename to", &target))?;
            files::sync_dir(&self.dir("objects"))?;
            // The writer has just hashed these bytes; they are read again when somebody else opens the store.
            if let Some(mark) = Self::mark(&target)? {
                self.seen.lock().expect("nobody panics with it").insert(digest.clone(), mark);
            }
        }
        files::write_atomic(&self.layout.manifest(digest), &to_json(manifest))?;
        files::write_atomic(&self.inputs_path(&manifest.inputs), &to_json(&Known { digest: digest.clone() }))
    }

    /// Writes what is known of an object again.
    pub fn note(&self, manifest: &Manifest) -> Result<(), Fault> {
        files::write_atomic(&self.layout.manifest(&manifest.digest), &to_json(manifest))
    }

    /// Another set of inputs that is known to give this object.
    pub fn remember(&self, inputs: &Digest, digest: &Digest) -> Result<(), Fault> {
        files::write_atomic(&self.inputs_path(inputs), &to_json(&Known { digest: digest.clone() }))
    }

    /// What was chosen when the mirrors signed this.
    pub fn remember_signed(&self, signed: &Digest, lock: &Digest) -> Result<(), Fault> {
        files::make_dir(&self.dir("asked"))?;
        files::write_atomic(&self.signed_path(signed), &to_json(&Known { digest: lock.clone() }))
    }

    /// None: never seen, or the note or its lock is damaged or gone. Then it is chosen again.
    pub fn lock_of_signed(&self, signed: &Digest) -> Option<PackageLock> {
        let bytes = files::read_limited(&self.signed_path(signed), 4096).ok()?;
        let known: Known = serde_json::from_slice(&bytes).ok()?;
        PackageLock::read(&self.lock_path(&known.digest)).ok().filter(|lock| lock.digest() == known.digest)
    }

    /// Each answer is larger than every one before, in this process or another.
    pub fn next_sequence(&self) -> Result<u64, Fault> {
        let _alone = self.lock("sequence", || {})?;
        let path = self.dir("sequence");
        let kept = files::read_limited(&path, 64).ok().and_then(|b| String::from_utf8(b).ok()?.trim().parse::<u64>().ok());
        let last = match kept {
            Some(last) => last,
            // Missing or damaged: no lock that is there may come to be the newer one.
            None => {
                entries(&self.dir("locked"))?.iter().filter_map(|p| PackageLock::read(p).ok()).map(|l| l.head.sequence).max().unwrap_or(0)
            }
        };
        let next = last.saturating_add(1);
        files::write_atomic(&path, format!("{next}\n").as_bytes())?;
        Ok(next)
    }

    fn signed_path(&self, signed: &Digest) -> PathBuf {
        self.dir("asked").join(format!("{}.json", signed.hex()))
    }

    /// Where the lock of these inputs lies.
    pub fn lock_path(&self, inputs: &Digest) -> PathBuf {
        self.dir("locked").join(format!("{}.lock", inputs.hex()))
    }

    /// The lock an image was built from.
    pub fn lock_of(&self, digest: &Digest) -> Result<PackageLock, Fault> {
        let manifest = self.manifest(digest)?;
        if manifest.container.is_some() {
            return Err(no_lock(&manifest.name));
        }
        let path = self.lock_path(&manifest.inputs);
        let bad = |why: String| {
            Fault::world("lock-damaged", format!("the lock that image {} was built from {why}", digest.short()))
                .hint(format!(
                    "`afresh bake {}` writes it again while the mirrors still give these packages; or put back a copy of it",
                    manifest.name
                ))
                .again(false)
        };
        let lock = match PackageLock::read(&path) {
            Err(f) if f.code == "no-such-file" => return Err(bad(format!("is not in the store: {}", path.display()))),
            Err(f) if f.code == "bad-lock" => return Err(bad(format!("was damaged on disk: {}", f.message))),
            other => other?,
        };
        if lock.digest() == manifest.inputs {
            Ok(lock)
        } else {
            Err(bad(format!("was changed on disk: {} locks other packages", path.display())))
        }
    }

    pub(crate) fn inputs_path(&self, inputs: &Digest) -> PathBuf {
        self.dir("inputs").join(format!("{}.json", inputs.hex()))
    }

    /// The whole object that came from exactly these inputs, if there is one. A damaged note of it means only that the work is done again.
    pub fn from_inputs(&self, inputs: &Digest) -> Result<Option<Manifest>, Fault> {
        let path = self.inputs_path(inputs);
        let Ok(bytes) = files::read_limited(&path, 4096) else { return Ok(None) };
        let Ok(known) = serde_json::from_slice::<Known>(&bytes) else { return Ok(None) };
        if !matches!(self.sound(&known.digest)?, Sound::Whole) {
            return Ok(None);
        }
        let Ok(manifest) = self.manifest(&known.digest) else { return Ok(None) };
        // So that `gc` knows somebody asked for it just now.
        let touched = fs::File::open(self.layout.manifest(&known.digest)).and_then(|f| f.set_modified(std::time::SystemTime::now()));
        Ok(touched.is_ok().then_some(manifest))
    }

    pub fn manifest(&self, digest: &Digest) -> Result<Manifest, Fault> {
        let path = self.layout.manifest(digest);
        let bytes = match files::read_limited(&path, MANIFEST_LIMIT) {
            Err(f) if f.code == "no-such-file" => {
                return Err(Fault::yours("object-missing", format!("the store knows nothing of {digest}"))
                    .hint("`afresh image list` shows what is there; `afresh bake` makes a recipe's image again"));
            }
            other => other?,
        };
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|e| damaged(&path, &e))?;
        if &manifest.digest == digest { Ok(manifest) } else { Err(damaged(&path, &format!("it tells of {}", manifest.digest))) }
    }

    /// Everything that is known, oldest first, and what could not be read.
    pub fn list(&self) -> Result<(Vec<Manifest>, Vec<Fault>), Fault> {
        let dir = self.dir("manifests");
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for entry in fs::read_dir(&dir).map_err(files::at("cannot list", &dir))?.flatten() {
            let name = entry.file_name();
            let Some(hex) = name.to_str().and_then(|n| n.strip_suffix(".json")) else { continue };
            let Ok(digest) = Digest::new(format!("sha256:{hex}")) else { continue };
            match self.manifest(&digest) {
                Ok(manifest) => good.push(manifest),
                Err(fault) => bad.push(fault),
            }
        }
        good.sort_by(|a, b| (a.made, &a.digest).cmp(&(b.made, &b.digest)));
        Ok((good, bad))
    }

    /// What a list cannot show: manifests that cannot be read, and objects that are gone. Their bytes are not read for it.
    pub fn damage(&self) -> Result<Vec<Fault>, Fault> {
        let (good, mut bad) = self.list()?;
        for one in good {
            let path = self.layout.object(&one.digest);
            if !path.exists() {
                let told = format!("{} {}: its bytes are not at {}", one.name, one.digest.short(), path.display());
                bad.push(Fault::world("object-missing", told).hint("the next bake or deploy of it makes it again"));
            }
        }
        Ok(bad)
    }

    fn current_path(&self, image: &ImageName) -> PathBuf {
        self.dir("current").join(format!("{image}.json"))
    }

    pub fn current(&self, image: &ImageName) -> Result<Option<Digest>, Fault> {
        let path = self.current_path(image);
        match files::read_limited(&path, 4096) {
            Ok(bytes) => serde_json::from_slice::<Current>(&bytes).map(|c| Some(c.digest)).map_err(|e| damaged(&path, &e)),
            Err(f) if f.code == "no-such-file" => Ok(None),
            Err(f) => Err(f),
        }
    }

    /// Refuses an object that is not there whole.
    pub fn set_current(&self, image: &ImageName, digest: &Digest) -> Result<(), Fault> {
        self.verify(digest)?;
        if matches!(self.current(image), Ok(Some(d)) if &d == digest) {
            return Ok(());
        }
        files::write_atomic(&self.current_path(image), &to_json(&Current { digest: digest.clone(), since: files::now() }))
    }

    /// Where a layer is kept that came from this registry. Another registry's images never find it, whoever learned its digest.
    pub fn layer(&self, registry: &str, digest: &Digest) -> PathBuf {
        self.dir("layers").join(files::digest_of(format!("{registry} {digest}").as_bytes()).hex())
    }

    /// Where an object's attestations lie.
    pub fn attested(&self, digest: &Digest) -> PathBuf {
        self.dir("attested").join(digest.hex())
    }
}

/// Of what is done with the packages that an image was built from.
pub fn no_lock(image: impl std::fmt::Display) -> Fault {
    Fault::yours("container-image", format!("{image} is a container image: it was pulled as it is, and has no lock of packages"))
        .hint(format!("`afresh bake {image}` pulls what its name leads to now; `afresh image list` shows the digest that pins it"))
}

/// What lies in a directory; nothing if that is not there.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, Fault> {
    match fs::read_dir(dir) {
        Ok(found) => Ok(found.flatten().map(|e| e.path()).collect()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(files::fault("cannot list", dir, &e)),
    }
}

pub(crate) enum Sound {
    Whole,
    Missing,
    Corrupt { found: Digest, bytes: u64 },
}

pub fn to_json(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("our types hold nothing that JSON cannot");
    bytes.push(b'\n');
    bytes
}

fn damaged(path: &Path, why: &dyn std::fmt::Display) -> Fault {
    Fault::world("store-damaged", format!("{} cannot be read: {why}", path.display()))
        .hint("remove that file; bake the image or pack the artifact again and it is written again")
        .again(false)
}
