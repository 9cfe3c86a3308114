//! Control groups that carry our mark, on version 2, version 1 and hybrid hosts. The runtime creates them; this only reads and removes.

use crate::state_files;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

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

/// Whether memory and swap can be bounded together here. Version 1 may have its accounting of swap switched off; version 2 has it
/// wherever the kernel has swap.
pub fn bounds_swap() -> bool {
    match mode() {
        Mode::Unified => Path::new("/proc/swaps").exists(),
        Mode::Hybrid | Mode::Legacy => hierarchies().iter().any(|h| h.join("memory.memsw.limit_in_bytes").exists()),
        Mode::Missing => false,
    }
}

/// The parent group of everything of this data directory.
pub fn parent(mark: &str) -> String {
    format!("afresh-{mark}")
}

/// Instances that have a group in any hierarchy.
pub fn children(mark: &str) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for hierarchy in hierarchies() {
        let ours = hierarchy.join(parent(mark));
        all.extend(state_files::names(&ours).into_iter().filter(|name| ours.join(name).is_dir()));
    }
    all
}

/// Kills all processes in the group, in every hierarchy, and removes it. False: some process is still in it; try again.
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

/// Processes of this group that the kernel killed because of the memory limit, since the group was created; None: no hierarchy counts them.
pub fn oom_kills(group: &str) -> Option<u64> {
    let group = group.trim_start_matches('/');
    hierarchies().iter().find_map(|hierarchy| {
        // Version 1, version 2.
        ["memory.oom_control", "memory.events"].iter().find_map(|file| {
            let text = std::fs::read_to_string(hierarchy.join(group).join(file)).ok()?;
            text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        })
    })
}

/// The directories of a group, in every hierarchy that has it.
pub fn dirs(group: &str) -> Vec<PathBuf> {
    let group = group.trim_start_matches('/');
    hierarchies().into_iter().map(|hierarchy| hierarchy.join(group)).filter(|dir| dir.is_dir()).collect()
}

/// A group inside an instance's own, for a command that runs beside its program: whatever the command starts stays in it, so that
/// all of it can be ended. The instance's limits apply to it as well.
#[derive(Clone)]
pub struct Inner {
    dir: PathBuf,
    /// How the runtime's `exec --cgroup` names it.
    pub argument: String,
}

const INNER: &str = "exec";

impl Inner {
    /// For probes. `group`: the instance's own, as the runtime got it. None: this host has no hierarchy in which processes can be counted.
    pub fn make(group: &str) -> Option<Self> {
        Self::named(group, INNER)
    }

    pub fn named(group: &str, name: &str) -> Option<Self> {
        let (hierarchy, controller) = counting(&mountinfo())?;
        let dir = hierarchy.join(group.trim_start_matches('/')).join(name);
        match std::fs::create_dir(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => None,
            _ => {
                // A kill left it at none.
                set(&dir, "pids.max", "max");
                Some(Self { dir, argument: format!("{controller}{name}") })
            }
        }
    }

    /// Those of an instance whose names begin with this.
    pub fn all(group: &str, prefix: &str) -> Vec<Self> {
        let Some((hierarchy, controller)) = counting(&mountinfo()) else { return Vec::new() };
        let own = hierarchy.join(group.trim_start_matches('/'));
        let names = state_files::names(&own).into_iter().filter(|name| name.starts_with(prefix));
        names.map(|name| Self { dir: own.join(&name), argument: format!("{controller}{name}") }).collect()
    }

    /// Once nothing is in it.
    pub fn remove(&self) {
        let _ = std::fs::remove_dir(&self.dir);
    }

    /// Kills everything in it until nothing is left, or the time has passed: then false. Nothing in it starts anything any more.
    pub fn kill(&self, within: Duration) -> bool {
        let until = Instant::now() + within;
        while kill_all(&self.dir) > 0 {
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        true
    }
}

/// Where processes are counted: the hierarchy of version 2 where it is the only one, else that of the controller `pids`; and the
/// prefix that the runtime needs before the group's name.
fn counting(mountinfo: &str) -> Option<(PathBuf, &'static str)> {
    let unified = mode_of(mountinfo) == Mode::Unified;
    mountinfo.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let (kind, options) = (after.split(' ').next()?, after.split(' ').nth(2)?);
        let here = if unified { kind == "cgroup2" } else { kind == "cgroup" && options.split(',').any(|o| o == "pids") };
        let point = PathBuf::from(before.split(' ').nth(4)?);
        here.then_some((point, if unified { "" } else { "pids:" }))
    })
}

/// Inner groups are removed first; the files in a group disappear with it.
fn remove_tree(group: &Path) -> bool {
    for name in state_files::names(group) {
        let inner = group.join(&name);
        if inner.is_dir() {
            remove_tree(&inner);
        }
    }
    kill_all(group);
    match std::fs::remove_dir(group) {
        Ok(()) => true,
        Err(e) => e.kind() == std::io::ErrorKind::NotFound,
    }
}

/// Writes a file of a group, where its hierarchy has one of this name.
fn set(group: &Path, name: &str, value: &str) {
    if let Ok(mut file) = std::fs::File::options().write(true).open(group.join(name)) {
        let _ = file.write_all(value.as_bytes());
    }
}

/// How many processes there were. What forks faster than a list of it can be read and killed would never end: so version 2 kills the group
/// as a whole, and where the controller `pids` is nothing more begins in it.
fn kill_all(group: &Path) -> usize {
    set(group, "pids.max", "0");
    set(group, "cgroup.kill", "1");
    let text = std::fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids: Vec<i32> = text.lines().filter_map(|p| p.parse().ok()).collect();
    for pid in &pids {
        if let Some(process) = crate::process::start_of(*pid).and_then(|start| crate::process::open(*pid, start)) {
            crate::process::send(&process, rustix::process::Signal::KILL);
        }
    }
    pids.len()
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

    #[test]
    fn processes_are_counted_where_the_runtime_counts_them() {
        let two = "31 29 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
        let memory = "30 29 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory";
        let pids = "32 29 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids";
        assert_eq!(counting(two), Some(("/sys/fs/cgroup".into(), "")));
        assert_eq!(counting(&format!("{two}\n{memory}\n{pids}")), Some(("/sys/fs/cgroup/pids".into(), "pids:")));
        assert_eq!(counting(memory), None);
    }

    /// Twenty that fork and exit, again and again, so that the pids of any list are gone before they are killed. `bounding`: a group of `pids`,
    /// the limit of the whole; `group`: where they are.
    fn fork_bomb(bounding: &Path, group: &Path) {
        set(bounding, "pids.max", "300");
        let bomb = "for (1..20) { last if !fork } while (1) { my $pid = fork; exit 0 if $pid }";
        let script = format!("for group in \"$@\"; do echo $$ > $group/cgroup.procs; done; exec perl -e '{bomb}'");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", &script, "sh"]).arg(bounding).arg(group).stdin(std::process::Stdio::null());
        let mut child = shell.spawn().unwrap();
        child.wait().unwrap();
        let until = Instant::now() + Duration::from_secs(10);
        let pids = || std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
        let first = pids();
        while pids() == first {
            assert!(Instant::now() < until, "it does not fork");
        }
    }

    /// Found by a reader: what forks faster than it is killed outlived its session.
    #[test]
    #[ignore = "needs root"]
    fn a_fork_bomb_ends() {
        let name = format!("afresh-test-bomb-{}", std::process::id());
        let Some((pids, _)) = counting(&mountinfo()) else { panic!("no hierarchy counts processes here") };
        let bounding = pids.join(&name);
        std::fs::create_dir(&bounding).unwrap();
        let inner = Inner::named(&name, "session").unwrap();
        let mut groups = vec![inner.dir.clone()];
        // Version 2 beside version 1, without controllers: `cgroup.kill` is there all the same.
        let mounted = tempfile::tempdir().unwrap();
        let is_mounted =
            std::process::Command::new("mount").args(["-t", "cgroup2", "none"]).arg(mounted.path()).status().unwrap().success();
        if is_mounted && mode() != Mode::Unified {
            let two = mounted.path().join(&name);
            std::fs::create_dir(&two).unwrap();
            groups.push(two);
        }
        for group in groups {
            fork_bomb(if group == inner.dir { &inner.dir } else { &bounding }, &group);
            let one = Inner { dir: group.clone(), argument: String::new() };
            let begun = Instant::now();
            let has_ended = one.kill(Duration::from_secs(20));
            let left = std::fs::read_to_string(group.join("cgroup.procs")).unwrap();
            println!("{}: ended: {has_ended}, after {} ms", group.display(), begun.elapsed().as_millis());
            // Whatever the code does, nothing is left on the machine of whoever runs the tests.
            set(&bounding, "pids.max", "0");
            set(&inner.dir, "pids.max", "0");
            while kill_all(&group) > 0 {}
            set(&bounding, "pids.max", "max");
            assert!(has_ended && left.is_empty(), "left: {left:?}");
            assert!(
                Inner::named(&name, "session").is_some_and(|inner| std::fs::read_to_string(inner.dir.join("pids.max")).unwrap() == "max\n")
            );
            one.remove();
            assert!(!group.exists(), "it is empty");
        }
        inner.remove();
        std::fs::remove_dir(&bounding).unwrap();
        if is_mounted {
            std::process::Command::new("umount").arg(mounted.path()).status().unwrap();
        }
    }
}
