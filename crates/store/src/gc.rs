//! Removes what nothing uses: objects, then notes and locks of them, then packages.

use crate::kit_locks;
use crate::lockfile::Lock as PackageLock;
use crate::manifest::{Kind, Manifest};
use crate::objects::{Known, Store, entries};
use disk::files;
use disk::lock::{Lock, retry};
use model::{Container, Digest, Fault, ImageName, ImageSource};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `gc` spares what was made or asked for within this time: a release that pins it may not be written yet.
const GRACE_MS: u64 = 10 * 60 * 1000;

/// Longer than whoever puts an object into the store holds its lock.
const WAIT: Duration = Duration::from_secs(2);

/// A kept tree that nothing was built on for this time is not worth its room.
const BASE_MS: u64 = 7 * 24 * 3600 * 1000;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removed {
    pub digest: Digest,
    pub name: String,
    pub bytes: u64,
}

impl Store {
    /// Removes objects that are not in `keep`, not current, not among the newest `keep_last_n` of their name and kind,
    /// and were not made or asked for in the last ten minutes. Of kept trees the newest of each name stays for a week after its last use.
    pub fn gc(&self, keep: &BTreeSet<Digest>, keep_last_n: usize) -> Result<Vec<Removed>, Fault> {
        self.gc_after(keep, keep_last_n, GRACE_MS)
    }

    /// As [`Store::gc`], with another time of grace.
    pub fn gc_after(&self, keep: &BTreeSet<Digest>, keep_last_n: usize, grace_ms: u64) -> Result<Vec<Removed>, Fault> {
        // A backup holds it until it is written, and whoever waits here holds up deploys and rollbacks.
        let place = self.dir("locks").join("store.lock");
        let Some(_alone) = retry(WAIT, || Lock::try_exclusive(&place))? else {
            return Err(Fault::yours("busy", "objects are held in the store, as by a backup that is being made")
                .hint("run `afresh gc` again when it has ended"));
        };
        let mut keep = keep.clone();
        keep.extend(self.all_current()?);
        let (manifests, _) = self.list()?;
        let mut count: BTreeMap<(Kind, &str), usize> = BTreeMap::new();
        for m in manifests.iter().rev() {
            let n = count.entry((m.kind, &m.name)).or_default();
            *n += 1;
            // Of each kept tree the newest, while it is used: it saves time, and nothing is lost with it.
            let spared = m.kind == Kind::Base && *n == 1 && self.is_recent(&m.digest, BASE_MS);
            if *n <= keep_last_n && m.kind != Kind::Base || spared {
                keep.insert(m.digest.clone());
            }
        }
        let known: BTreeMap<&Digest, &Manifest> = manifests.iter().map(|m| (&m.digest, m)).collect();
        let mut removed = Vec::new();
        for (digest, bytes) in self.objects()? {
            if keep.contains(&digest) || self.is_recent(&digest, grace_ms) {
                continue;
            }
            files::remove_tree(&self.attested(&digest))?;
            files::remove_file(&self.layout.manifest(&digest))?;
            files::remove_file(&self.layout.object(&digest))?;
            let name = known.get(&digest).map_or(String::new(), |m| m.name.clone());
            removed.push(Removed { digest, name, bytes });
        }
        self.drop_dead_inputs()?;
        self.drop_dead_packages(keep_last_n, grace_ms)?;
        self.drop_dead_layers(grace_ms)?;
        Ok(removed)
    }

    /// Layers that no container image of the store has.
    fn drop_dead_layers(&self, grace_ms: u64) -> Result<(), Fault> {
        let (manifests, _) = self.list()?;
        let named: BTreeSet<PathBuf> = manifests.iter().filter_map(|m| m.container.as_ref()).flat_map(|c| self.layers_of(c)).collect();
        for path in entries(&self.dir("layers"))? {
            if !named.contains(&path) && !is_young(&path, grace_ms) {
                files::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn layers_of(&self, container: &Container) -> Vec<PathBuf> {
        let Ok(ImageSource::Registry(reference)) = container.reference.parse() else { return Vec::new() };
        container.layers.iter().map(|digest| self.layer(&reference.registry, digest)).collect()
    }

    /// Locks that no image is known to come from, locks of old kits, and then packages that no lock names. A young lock may be of a bake that is still at work.
    fn drop_dead_packages(&self, keep_last_n: usize, grace_ms: u64) -> Result<(), Fault> {
        let young = |path: &Path| is_young(path, grace_ms);
        let mut named = kit_locks::sweep(self, keep_last_n, young)?;
        for path in entries(&self.dir("locked"))? {
            let inputs = path.file_stem().and_then(|s| Digest::new(format!("sha256:{}", s.to_string_lossy())).ok());
            let lives = inputs.is_some_and(|i| files::exists(&self.inputs_path(&i))) || young(&path);
            // One that cannot be read keeps nothing alive, and is kept itself for whoever wants to know why.
            match PackageLock::read(&path) {
                Ok(lock) if lives => named.extend(lock.packages.into_iter().map(|p| format!("{}.deb", p.sha256))),
                Ok(_) => files::remove_file(&path)?,
                Err(_) => {}
            }
        }
        for path in entries(&self.dir("asked"))? {
            let known = files::read_limited(&path, 4096).ok().and_then(|b| serde_json::from_slice::<Known>(&b).ok());
            if known.is_none_or(|k| !files::exists(&self.lock_path(&k.digest))) {
                files::remove_file(&path)?;
            }
        }
        for path in entries(&self.dir("packages"))? {
            let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            if path.is_file() && !named.contains(&name) && !young(&path) {
                files::remove_file(&path)?;
            }
        }
        Ok(())
    }

    fn all_current(&self) -> Result<Vec<Digest>, Fault> {
        let dir = self.dir("current");
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).map_err(files::at("cannot list", &dir))?.flatten() {
            let name = entry.file_name();
            let Some(image) = name.to_str().and_then(|n| n.strip_suffix(".json")).and_then(|n| ImageName::new(n).ok()) else { continue };
            all.extend(self.current(&image)?);
        }
        Ok(all)
    }

    fn objects(&self) -> Result<Vec<(Digest, u64)>, Fault> {
        let dir = self.dir("objects");
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).map_err(files::at("cannot list", &dir))?.flatten() {
            let name = entry.file_name();
            let Ok(digest) = Digest::new(format!("sha256:{}", name.to_string_lossy())) else { continue };
            all.push((digest, entry.metadata().map_or(0, |m| m.len())));
        }
        all.sort();
        Ok(all)
    }

    fn is_recent(&self, digest: &Digest, grace_ms: u64) -> bool {
        let newest = [self.layout.manifest(digest), self.layout.object(digest)]
            .iter()
            .filter_map(|p| fs::metadata(p).and_then(|m| m.modified()).ok())
            .max();
        // Made after now: the clock was set back, and nobody knows how old it is.
        newest.is_some_and(|t| t.elapsed().map_or(grace_ms > 0, |age| age.as_millis() < u128::from(grace_ms)))
    }

    fn drop_dead_inputs(&self) -> Result<(), Fault> {
        let dir = self.dir("inputs");
        for entry in fs::read_dir(&dir).map_err(files::at("cannot list", &dir))?.flatten() {
            let known = files::read_limited(&entry.path(), 4096).ok().and_then(|b| serde_json::from_slice::<Known>(&b).ok());
            if known.is_none_or(|k| !files::exists(&self.layout.object(&k.digest))) {
                files::remove_file(&entry.path())?;
            }
        }
        Ok(())
    }
}

/// Made within this time; also if nobody knows when.
fn is_young(path: &Path, grace_ms: u64) -> bool {
    let age = fs::metadata(path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
    age.is_none_or(|a| a.as_millis() < u128::from(grace_ms))
}
