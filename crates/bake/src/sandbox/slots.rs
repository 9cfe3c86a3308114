//! Which user ids of the host a sandbox has: a range that no service and no other sandbox has at the same time. What the kernel counts
//! by user (processes, inotify, pipes, epoll) is then counted for each bake by itself.

use crate::sandbox::request::at;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// For root alone. Gone with the next boot, as all who could hold one are.
const DIR: &str = "/run/afresh-bakes";
const SIZE: u32 = 65_536;

#[derive(Debug)]
pub struct Slot {
    number: u32,
    /// Held until dropped, or until this process ends.
    _lock: File,
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
        let open = |n: u32| {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path(n))
                .map_err(at("cannot open a lock of its user ids"))
        };
        for number in 0..model::BAKE_RANGES {
            let file = open(number)?;
            match file.try_lock() {
                Ok(()) => return Ok(Slot { number, _lock: file }),
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(e)) => return Err(format!("cannot lock its user ids: {e}")),
            }
        }
        let number = waits_for % model::BAKE_RANGES;
        let file = open(number)?;
        file.lock().map_err(at("cannot lock its user ids"))?;
        Ok(Slot { number, _lock: file })
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
