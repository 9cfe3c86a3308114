//! Which user ids of the host a sandbox has: a range that no service and no other sandbox has at the same time. What the kernel counts
//! by user (processes, inotify, pipes, epoll) is then counted for each bake by itself.

use crate::sandbox::request::at;
use disk::lock::Lock;
use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// For root alone. Gone with the next boot, as all who could hold one are.
const DIR: &str = "/run/afresh-bakes";
const SIZE: u32 = 65_536;

#[derive(Debug)]
pub struct Slot {
    number: u32,
    /// Held until dropped, or until this process ends.
    _lock: Lock,
}

impl Slot {
    /// Above every id of every slot.
    pub const END: u32 = model::BAKE_IDS + model::BAKE_RANGES * SIZE;

    /// A free one. Where there is none, waits for one.
    pub fn take() -> Result<Slot, String> {
        Self::take_in(Path::new(DIR), std::process::id())
    }

    fn take_in(dir: &Path, waits_for: u32) -> Result<Slot, String> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at("cannot make the directory of its user ids"))?;
        let path = |n: u32| -> PathBuf { dir.join(n.to_string()) };
        for number in 0..model::BAKE_RANGES {
            if let Some(lock) = Lock::try_exclusive(&path(number)).map_err(|e| e.to_string())? {
                return Ok(Slot { number, _lock: lock });
            }
        }
        let number = waits_for % model::BAKE_RANGES;
        let lock = Lock::exclusive(&path(number)).map_err(|e| e.to_string())?;
        Ok(Slot { number, _lock: lock })
    }

    /// The host's number of its root.
    pub fn first(&self) -> u32 {
        model::BAKE_IDS + self.number * SIZE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_two_at_once_have_the_same_users_and_one_too_many_waits() {
        let dir = tempfile::tempdir().unwrap();
        let take = || Slot::take_in(dir.path(), 1).unwrap();
        let mut all: Vec<Slot> = (0..model::BAKE_RANGES).map(|_| take()).collect();
        let firsts: BTreeSet<u32> = all.iter().map(Slot::first).collect();
        assert_eq!(firsts.len(), all.len());
        let all_apart = firsts.iter().zip(firsts.iter().skip(1)).all(|(a, b)| b - a >= SIZE);
        assert!(all_apart && firsts.last().unwrap() + SIZE == Slot::END);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| take().first());
            assert!(!waits.is_finished());
            let freed = all.remove(1).first();
            assert_eq!(waits.join().unwrap(), freed);
        });
        assert_eq!(take().first(), model::BAKE_IDS + SIZE, "it is free again");
    }
}
