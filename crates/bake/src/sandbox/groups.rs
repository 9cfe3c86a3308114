//! Control groups that bound what all processes of a sandbox use together. Where the host gives none, the limits of each process remain.

use crate::sandbox::request::{MEMORY, PROCESSES};
use std::path::{Path, PathBuf};
use std::time::Duration;

const NAME: &str = "afresh-bake-";

/// A hierarchy that can bound something, and where in it we are.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    mount: PathBuf,
    own: PathBuf,
    /// Version 2 has all controllers in one.
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Memory,
    Pids,
    Unified,
}

pub struct Groups(Vec<PathBuf>);

impl Groups {
    /// A group in each hierarchy that has what is needed, as far as this process may make one.
    pub fn make(tree_limit: u64) -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let found = hierarchies(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"));
        Self(found.iter().filter_map(|h| make(h, MEMORY.saturating_add(tree_limit))).collect())
    }

    pub fn dirs(&self) -> Vec<PathBuf> {
        self.0.clone()
    }

    /// What was in them has ended; the kernel may need a moment to know it.
    pub fn remove(self) {
        for dir in &self.0 {
            for _ in 0..50 {
                if std::fs::remove_dir(dir).is_ok() || !dir.exists() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

fn make(hierarchy: &Hierarchy, memory: u64) -> Option<PathBuf> {
    for parent in [&hierarchy.own, &hierarchy.mount] {
        sweep(parent);
        let dir = parent.join(format!("{NAME}{}", std::process::id()));
        if std::fs::create_dir(&dir).is_err() {
            continue;
        }
        let set = |name: &str, value: u64| std::fs::write(dir.join(name), value.to_string()).is_ok();
        let is_bound = match hierarchy.kind {
            Kind::Memory => {
                let is_bound = set("memory.limit_in_bytes", memory);
                let _ = set("memory.memsw.limit_in_bytes", memory);
                is_bound
            }
            Kind::Pids => set("pids.max", PROCESSES),
            Kind::Unified => {
                let _ = set("memory.swap.max", 0);
                set("memory.max", memory) & set("pids.max", PROCESSES)
            }
        };
        if is_bound {
            return Some(dir);
        }
        let _ = std::fs::remove_dir(&dir);
    }
    None
}

/// Of sandboxes that were killed: a group that has processes cannot be removed.
fn sweep(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let id = entry.file_name().to_str().and_then(|n| n.strip_prefix(NAME)?.parse::<u32>().ok());
        if id.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists()) {
            let _ = std::fs::remove_dir(entry.path());
        }
    }
}

fn hierarchies(mountinfo: &str, own: &str) -> Vec<Hierarchy> {
    let mut all = Vec::new();
    for line in mountinfo.lines() {
        let Some((place, fs)) = line.split_once(" - ") else { continue };
        let mut place = place.split(' ').skip(3);
        let (Some(root), Some(mount)) = (place.next(), place.next()) else { continue };
        let mut fs = fs.split(' ');
        let (kind, options) = (fs.next().unwrap_or(""), fs.nth(1).unwrap_or(""));
        let has = |name: &str| options.split(',').any(|o| o == name);
        let (kind, name) = match kind {
            "cgroup2" => (Kind::Unified, ""),
            "cgroup" if has("memory") => (Kind::Memory, "memory"),
            "cgroup" if has("pids") => (Kind::Pids, "pids"),
            _ => continue,
        };
        let path = own.lines().find_map(|l| {
            let (_, rest) = l.split_once(':')?;
            let (names, path) = rest.split_once(':')?;
            names.split(',').any(|n| n == name).then_some(path)
        });
        let path = path.unwrap_or("/");
        let below = path.strip_prefix(root.trim_end_matches('/')).unwrap_or("").trim_start_matches('/');
        all.push(Hierarchy { mount: PathBuf::from(mount), own: Path::new(mount).join(below), kind });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions() {
        let two = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        let one = "34 31 0:29 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n35 31 0:30 /docker/x /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n36 31 0:31 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
        let is = |mount: &str, own: &str, kind| Hierarchy { mount: mount.into(), own: own.into(), kind };
        assert_eq!(
            hierarchies(two, "0::/system.slice/afresh.service\n"),
            [is("/sys/fs/cgroup", "/sys/fs/cgroup/system.slice/afresh.service", Kind::Unified)]
        );
        assert_eq!(
            hierarchies(one, "8:pids:/docker/x/y\n4:memory:/a\n0::/\n"),
            [
                is("/sys/fs/cgroup/memory", "/sys/fs/cgroup/memory/a", Kind::Memory),
                is("/sys/fs/cgroup/pids", "/sys/fs/cgroup/pids/y", Kind::Pids)
            ]
        );
    }
}
