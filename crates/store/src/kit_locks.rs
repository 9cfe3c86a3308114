//! Locks of what disks boot with (`emit` makes them): which there are, which is the current one of a recipe, which nobody needs.
//!
//! ```text
//! store/kits/<lock's digest>.lock      every package of a kit, a line each, as in an image's lock
//! store/kits/current/<recipe>.json     the lock that disks of this release get, until a newer one is asked for
//! ```

use crate::lockfile::Lock;
use crate::objects::{Current, Store, to_json};
use disk::files;
use model::{Digest, Fault};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Where the lock of this digest lies.
pub fn kit_lock_path(store: &Store, lock: &Digest) -> PathBuf {
    store.dir("kits").join(format!("{}.lock", lock.hex()))
}

fn current_path(store: &Store, recipe: &Digest) -> PathBuf {
    store.dir("kits/current").join(format!("{}.json", recipe.hex()))
}

/// The current lock of a kit's recipe. None: none yet, or it cannot be read any more.
pub fn current_kit_lock(store: &Store, recipe: &Digest) -> Option<Lock> {
    let bytes = files::read_limited(&current_path(store, recipe), 4096).ok()?;
    let current: Current = serde_json::from_slice(&bytes).ok()?;
    let lock = Lock::read(&kit_lock_path(store, &current.digest)).ok()?;
    (lock.digest() == current.digest).then_some(lock)
}

/// Keeps the lock and makes it the current one of its recipe.
pub fn keep_kit_lock(store: &Store, lock: &Lock) -> Result<(), Fault> {
    let digest = lock.digest();
    files::make_dir(&store.dir("kits/current"))?;
    lock.write(&kit_lock_path(store, &digest))?;
    files::write_atomic(&current_path(store, &lock.head.recipe), &to_json(&Current { digest, since: files::now() }))
}

/// Every lock of a kit that can be read, by path.
pub fn kit_locks(store: &Store) -> Vec<(PathBuf, Lock)> {
    let Ok(entries) = std::fs::read_dir(store.dir("kits")) else { return Vec::new() };
    let paths = entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "lock"));
    let mut found: Vec<(PathBuf, Lock)> = paths.filter_map(|path| Lock::read(&path).ok().map(|lock| (path, lock))).collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

/// Removes the locks of kits that are neither in use for new disks nor among the newest `keep_last_n` of their recipe, nor `young`;
/// says which packages the others need.
pub fn sweep(store: &Store, keep_last_n: usize, young: impl Fn(&Path) -> bool) -> Result<BTreeSet<String>, Fault> {
    let mut locks = kit_locks(store);
    locks.sort_by_key(|(_, lock)| std::cmp::Reverse(lock.head.asked));
    let (mut named, mut count) = (BTreeSet::new(), BTreeMap::<Digest, usize>::new());
    for (path, lock) in locks {
        let n = count.entry(lock.head.recipe.clone()).or_default();
        *n += 1;
        let is_current = current_kit_lock(store, &lock.head.recipe).is_some_and(|kept| kept.digest() == lock.digest());
        if *n <= keep_last_n || is_current || young(&path) {
            named.extend(lock.packages.into_iter().map(|p| format!("{}.deb", p.sha256)));
        } else {
            files::remove_file(&path)?;
        }
    }
    Ok(named)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Layout, Time};

    fn lock_of(asked: u64, version: &str) -> Lock {
        let mut lock = crate::testing::sample(&[("dmsetup", "1"), ("linux-image-cloud-amd64", version)]);
        lock.head.asked = Time(asked);
        lock
    }

    #[test]
    fn old_locks_go_and_the_one_in_use_stays() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Layout::new(dir.path())).unwrap();
        let locks: Vec<Lock> = (1..=4).map(|n| lock_of(n, &n.to_string())).collect();
        locks.iter().for_each(|l| keep_kit_lock(&store, l).unwrap());
        keep_kit_lock(&store, &locks[0]).unwrap();
        assert_eq!(sweep(&store, 1, |_| true).unwrap().len(), 5, "four kernels and one dmsetup; all are young");
        let named = sweep(&store, 1, |_| false).unwrap();
        let is_there = |n: usize| kit_lock_path(&store, &locks[n].digest()).exists();
        assert_eq!([is_there(0), is_there(1), is_there(2), is_there(3)], [true, false, false, true], "the one in use and the newest");
        assert_eq!(named.len(), 3);
    }
}
