//! Which lock somebody means: a file, the first digits of one in the store, or a recipe's name for its newest.

use crate::recipe;
use disk::files;
use model::Fault;
use std::path::Path;
use store::Store;
use store::lockfile::Lock;

/// What cannot be read in the store is passed over: it is no lock any more.
pub fn find_lock(store: &Store, text: &str) -> Result<Lock, Fault> {
    let path = Path::new(text);
    if path.is_file() {
        return Lock::read(path);
    }
    let dir = store.dir("locked");
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let (mut by_digest, mut by_name): (Vec<Lock>, Vec<Lock>) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&dir).map_err(files::at("cannot list", &dir))?.flatten() {
        let Ok(lock) = Lock::read(&entry.path()) else { continue };
        if hex.len() >= 6 && lock.digest().hex().starts_with(hex) {
            by_digest.push(lock);
        } else if lock.head.spec.name.as_str() == text {
            by_name.push(lock);
        }
    }
    by_digest.dedup_by_key(|l| l.digest());
    match (by_digest.len(), by_name.into_iter().max_by_key(|l| (l.head.sequence, signed_at(l), l.head.asked))) {
        (0, Some(newest)) => Ok(newest),
        (1, _) => Ok(by_digest.remove(0)),
        (0, None) => Err(Fault::yours("no-such-lock", format!("{text} is no lock file, no lock in the store and no recipe with one"))
            .hint("`afresh image lock NAME` makes one")),
        _ => Err(Fault::yours("no-such-lock", format!("several locks have a digest that begins with {hex}")).hint("give more digits")),
    }
}

/// When the newest of its indexes was signed; tells apart only locks that were made before they were numbered.
fn signed_at(lock: &Lock) -> Option<u64> {
    lock.head.indexes.iter().filter_map(|i| recipe::parse_date(&i.date)).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Layout, Time};
    use store::lockfile::Index;
    use store::testing::sample;

    /// Every order of two locks whose dates tie or disagree, and a damaged counter between them.
    #[test]
    fn the_lock_of_the_last_look_is_the_newest_whatever_clocks_say() {
        for (signed, asked, damage) in [(0, 0, false), (0, -2, false), (-2, -2, false), (0, 0, true)] {
            for swapped in [false, true] {
                let dir = tempfile::tempdir().unwrap();
                let store = Store::open(&Layout::new(dir.path())).unwrap();
                let mut locks = [sample(&[("a", "1")]), sample(&[("a", "2")])];
                if swapped {
                    locks.reverse();
                }
                for (n, lock) in locks.iter_mut().enumerate() {
                    let days = |d: i64| u64::try_from(20 + d * i64::try_from(n).unwrap()).unwrap();
                    lock.head.indexes = vec![Index {
                        origin: String::new(),
                        suite: String::new(),
                        date: format!("Sat, {} Nov 2026 00:53:02 UTC", days(signed)),
                        valid_until: None,
                        digest: lock.digest(),
                    }];
                    lock.head.asked = Time(days(asked));
                    if damage {
                        std::fs::write(store.dir("sequence"), b"x").unwrap();
                    }
                    lock.head.sequence = store.next_sequence().unwrap();
                    lock.write(&store.lock_path(&lock.digest())).unwrap();
                }
                assert_eq!(find_lock(&store, "base").unwrap().digest(), locks[1].digest(), "{signed} {asked} {damage} {swapped}");
            }
        }
    }
}
