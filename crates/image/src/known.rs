//! Which lock somebody means: a file, the first digits of one in the store, or a recipe's name for its newest.

use crate::io;
use crate::lockfile::Lock;
use crate::recipe;
use crate::store::Store;
use model::Fault;
use std::path::Path;

/// What cannot be read in the store is passed over: it is no lock any more.
pub fn find_lock(store: &Store, text: &str) -> Result<Lock, Fault> {
    let path = Path::new(text);
    if path.is_file() {
        return Lock::read(path);
    }
    let dir = store.dir("locked");
    let hex = text.strip_prefix("sha256:").unwrap_or(text);
    let (mut by_digest, mut by_name): (Vec<Lock>, Vec<Lock>) = (Vec::new(), Vec::new());
    for entry in std::fs::read_dir(&dir).map_err(io::at("cannot list", &dir))?.flatten() {
        let Ok(lock) = Lock::read(&entry.path()) else { continue };
        if hex.len() >= 6 && lock.digest().hex().starts_with(hex) {
            by_digest.push(lock);
        } else if lock.head.spec.name.as_str() == text {
            by_name.push(lock);
        }
    }
    by_digest.dedup_by_key(|l| l.digest());
    match (by_digest.len(), by_name.into_iter().max_by_key(|l| (signed_at(l), l.head.asked))) {
        (0, Some(newest)) => Ok(newest),
        (1, _) => Ok(by_digest.remove(0)),
        (0, None) => Err(Fault::yours("no-such-lock", format!("{text} is no lock file, no lock in the store and no recipe with one"))
            .hint("`afresh image lock NAME` makes one")),
        _ => Err(Fault::yours("no-such-lock", format!("several locks have a digest that begins with {hex}")).hint("give more digits")),
    }
}

/// When the newest of its indexes was signed: this machine's clock may have gone back since, the mirrors' does not.
fn signed_at(lock: &Lock) -> Option<u64> {
    lock.head.indexes.iter().filter_map(|i| recipe::parse_date(&i.date)).max()
}
