//! Which user ids of the host a sandbox has: a range that no service and no other sandbox has at the same time. What the kernel counts
//! by user (processes, inotify, pipes, epoll) is then counted for each bake by itself.

use crate::sandbox::request::at;
use disk::lock::Lock;
use std::collections::BTreeSet;
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

    /// A free one. Where there is none, waits for one. One whose ids processes have although no bake holds it is passed over: a service
    /// that an older version gave ids of this range still runs.
    pub fn take() -> Result<Slot, String> {
        Self::take_in(Path::new(DIR), std::process::id(), &users_of_processes())
    }

    fn take_in(dir: &Path, waits_for: u32, used: &BTreeSet<u32>) -> Result<Slot, String> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at("cannot make the directory of its user ids"))?;
        let path = |n: u32| -> PathBuf { dir.join(n.to_string()) };
        let is_used = |number: u32| used.range(first(number)..first(number + 1)).next().is_some();
        let mut held = Vec::new();
        for number in 0..model::BAKE_RANGES {
            match Lock::try_exclusive(&path(number)).map_err(|e| e.to_string())? {
                Some(_) if is_used(number) => {}
                Some(lock) => return Ok(Slot { number, _lock: lock }),
                None => held.push(number),
            }
        }
        if held.is_empty() {
            return Err("processes that are no bake's have user ids of every range that bakes have".to_string());
        }
        let number = held[waits_for as usize % held.len()];
        let lock = Lock::exclusive(&path(number)).map_err(|e| e.to_string())?;
        Ok(Slot { number, _lock: lock })
    }

    /// The host's number of its root.
    pub fn first(&self) -> u32 {
        first(self.number)
    }
}

fn first(number: u32) -> u32 {
    model::BAKE_IDS + number * SIZE
}

/// Real, effective, saved and filesystem user ids of all processes, in numbers of this user namespace.
fn users_of_processes() -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let processes = entries.filter(|e| e.file_name().to_str().is_some_and(|name| name.bytes().all(|b| b.is_ascii_digit())));
    // One that has ended meanwhile has none.
    processes.flat_map(|e| std::fs::read_to_string(e.path().join("status")).map(|status| users(&status)).unwrap_or_default()).collect()
}

fn users(status: &str) -> Vec<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    line.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_at_once_have_the_same_users_and_one_too_many_waits() {
        let dir = tempfile::tempdir().unwrap();
        let none = BTreeSet::new();
        let take = || Slot::take_in(dir.path(), 1, &none).unwrap();
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

    #[test]
    fn ids_that_processes_of_others_have_are_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let used = BTreeSet::from([model::BAKE_IDS - 1, first(0), first(1) + SIZE - 1, first(3)]);
        let take = |used: &BTreeSet<u32>| Slot::take_in(dir.path(), 1, used);
        let slot = take(&used).unwrap();
        assert_eq!(slot.first(), first(2), "of 0 the first id is used, of 1 the last");
        assert_eq!(take(&used).unwrap().first(), first(4), "of 3 the first");
        drop(slot);
        let all = (0..model::BAKE_RANGES).map(first).collect();
        assert!(take(&all).unwrap_err().contains("every range"));
        assert_eq!(users("Name:\tsh\nUid:\t0\t42\t42\t7\nGid:\t9\t9\t9\t9\n"), [0, 42, 42, 7]);
        assert!(users_of_processes().contains(&nix::unistd::Uid::effective().as_raw()), "this one is among them");
    }
}
