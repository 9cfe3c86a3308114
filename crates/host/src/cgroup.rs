//! Control groups that carry our mark, on version 2, version 1 and hybrid hosts. The runtime makes them; we only look and remove.

use crate::disk;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Unified,
    Hybrid,
    Legacy,
    Missing,
}

pub fn mode() -> Mode {
    mode_of(&mountinfo())
}

fn mountinfo() -> String {
    std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()
}

fn mode_of(mountinfo: &str) -> Mode {
    let (mut one, mut two) = (false, false);
    for line in mountinfo.lines() {
        match line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next()) {
            Some("cgroup") => one = true,
            Some("cgroup2") => two = true,
            _ => {}
        }
    }
    match (one, two) {
        (true, true) => Mode::Hybrid,
        (true, false) => Mode::Legacy,
        (false, true) => Mode::Unified,
        (false, false) => Mode::Missing,
    }
}

/// Mount points of every hierarchy, each once.
fn hierarchies() -> BTreeSet<PathBuf> {
    let info = mountinfo();
    let lines = info.lines().filter(|line| line.contains(" - cgroup ") || line.contains(" - cgroup2 "));
    lines.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect()
}

/// The name below which everything of this data directory lies.
pub fn parent(mark: &str) -> String {
    format!("afresh-{mark}")
}

/// Instances that have a group in any hierarchy.
pub fn children(mark: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for hierarchy in hierarchies() {
        let ours = hierarchy.join(parent(mark));
        all.extend(disk::names(&ours).into_iter().filter(|name| ours.join(name).is_dir()));
    }
    all
}

/// Kills what is in the group, in every hierarchy, and removes it. False: something is still in it; try again.
pub fn remove(mark: &str, child: Option<&str>) -> bool {
    let mut clean = true;
    for hierarchy in hierarchies() {
        let ours = hierarchy.join(parent(mark));
        let group = child.map_or_else(|| ours.clone(), |child| ours.join(child));
        if group.is_dir() {
            clean &= remove_tree(&group);
        }
    }
    clean
}

/// Removes the data directory's own group where nothing is in it.
pub fn remove_empty_parent(mark: &str) {
    for hierarchy in hierarchies() {
        let _ = std::fs::remove_dir(hierarchy.join(parent(mark)));
    }
}

/// Groups are removed from the inside; the files in them go with them.
fn remove_tree(group: &Path) -> bool {
    for name in disk::names(group) {
        let inner = group.join(&name);
        if inner.is_dir() {
            remove_tree(&inner);
        }
    }
    for pid in std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines().filter_map(|p| p.parse().ok()) {
        if let Some(process) = crate::process::start_of(pid).and_then(|start| crate::process::open(pid, start)) {
            crate::process::send(&process, rustix::process::Signal::KILL);
        }
    }
    match std::fs::remove_dir(group) {
        Ok(()) => true,
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_is_read_off_the_mounts() {
        let one = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let two = "31 29 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw";
        assert_eq!(mode_of(one), Mode::Legacy);
        assert_eq!(mode_of(two), Mode::Unified);
        assert_eq!(mode_of(&format!("{one}\n{two}")), Mode::Hybrid);
        assert_eq!(mode_of("1 2 3 / / rw - ext4 x rw"), Mode::Missing);
    }
}
