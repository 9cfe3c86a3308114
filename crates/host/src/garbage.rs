//! Finds and removes what has no owner. Only things that carry this data directory's mark are considered: names with its hash,
//! paths below it.
//!
//! Things are listed first and owners second, so that nothing which is being created meanwhile seems unowned.

use crate::keeper::Keeper;
use crate::log_list::logs;
use crate::state_files;
use crate::{cgroup, command, log_file, mounts, net, process, removal, runtime};
use model::{Digest, Fault, GroupName, InstanceId, Layout};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Logs of instances that are gone are kept: the last few of each group, so that a crash loop does not displace another group's,
const LOGS_OF_GROUP: usize = 5;
/// this many in total,
const LOGS_KEPT: usize = 60;
/// and this many bytes.
const LOGS_BYTES_KEPT: u64 = 256 << 20;
/// Those of runs and jobs are counted by themselves: a thousand jobs displace no server's.
const RUN_LOGS_KEPT: usize = 500;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Garbage {
    /// A directory of an instance that was partly created or partly removed.
    Dir(String),
    Cgroup(String),
    Container(String),
    Veth(String),
    /// By hex digest.
    Mount(String),
    /// A mount over another at the same place: its program outlived a keeper that was killed, and the next keeper mounted as well.
    Doubled(PathBuf),
    Loop(String),
    Drained(String),
    Log(String),
    /// By pid and start.
    Shim(i32, u64),
    Target(String),
}

/// Everything that could be garbage.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    pub dirs: Vec<String>,
    pub cgroups: Vec<String>,
    pub containers: Vec<String>,
    pub veths: Vec<String>,
    pub mounts: Vec<String>,
    pub doubled: Vec<PathBuf>,
    /// Device and object file's name, of loop devices that no mount of ours uses.
    pub loops: Vec<(String, String)>,
    pub drained: Vec<String>,
    /// Oldest first, with their bytes.
    pub logs: Vec<(String, u64)>,
    /// Pid, start, and the directory's name.
    pub shims: Vec<(i32, u64, String)>,
    pub targets: Vec<String>,
}

/// The owners.
pub struct Owners {
    pub instances: BTreeSet<String>,
    pub veths: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    /// Objects that a group or an instance may need, by hex digest.
    pub objects: BTreeSet<String>,
    /// Instances run that cannot be followed: what they use is unknown, so no object, interface or container is removed.
    pub strays: bool,
}

/// Pure.
pub fn select(candidates: &Candidates, owners: &Owners) -> Vec<Garbage> {
    let orphan = |id: &String| !owners.instances.contains(id);
    let mut garbage = Vec::new();
    if owners.strays {
        return garbage;
    }
    garbage.extend(candidates.shims.iter().filter(|(_, _, id)| orphan(id)).map(|&(pid, start, _)| Garbage::Shim(pid, start)));
    garbage.extend(candidates.containers.iter().filter(|id| orphan(id)).cloned().map(Garbage::Container));
    garbage.extend(candidates.cgroups.iter().filter(|id| orphan(id)).cloned().map(Garbage::Cgroup));
    garbage.extend(candidates.veths.iter().filter(|name| !owners.veths.contains(*name)).cloned().map(Garbage::Veth));
    garbage.extend(candidates.dirs.iter().filter(|id| orphan(id)).cloned().map(Garbage::Dir));
    garbage.extend(candidates.drained.iter().filter(|id| orphan(id)).cloned().map(Garbage::Drained));
    garbage.extend(candidates.mounts.iter().filter(|hex| !owners.objects.contains(*hex)).cloned().map(Garbage::Mount));
    garbage.extend(candidates.doubled.iter().cloned().map(Garbage::Doubled));
    let unused = |(_, hex): &&(String, String)| !candidates.mounts.contains(hex) && !owners.objects.contains(hex);
    garbage.extend(candidates.loops.iter().filter(unused).map(|(device, _)| Garbage::Loop(device.clone())));
    garbage.extend(candidates.targets.iter().filter(|group| !owners.groups.contains(*group)).cloned().map(Garbage::Target));
    let old: Vec<&(String, u64)> = candidates.logs.iter().filter(|(id, _)| orphan(id)).collect();
    garbage.extend(too_many(&old).into_iter().map(Garbage::Log));
    garbage
}

/// Of logs of instances that are gone, oldest first, those beyond the bounds.
fn too_many(logs: &[&(String, u64)]) -> Vec<String> {
    let mut of_group = BTreeMap::<&str, usize>::new();
    // Of servers, and of runs.
    let (mut kept, mut bytes) = ([0; 2], [0u64; 2]);
    let mut gone = Vec::new();
    for (id, size) in logs.iter().rev() {
        let group = id.rsplit_once('-').map_or(id.as_str(), |(group, _)| group);
        let kind = usize::from(GroupName::new(group).is_ok_and(|group| group.run().is_some()));
        let in_group = of_group.entry(group).or_default();
        if *in_group == LOGS_OF_GROUP || kept[kind] == [LOGS_KEPT, RUN_LOGS_KEPT][kind] || bytes[kind] + size > LOGS_BYTES_KEPT {
            gone.push(id.clone());
            continue;
        }
        *in_group += 1;
        kept[kind] += 1;
        bytes[kind] += size;
    }
    gone.reverse();
    gone
}

pub fn collect(keeper: &Keeper) {
    let candidates = look(&keeper.layout, &keeper.mark, &keeper.network.bridge);
    let owners = {
        let state = keeper.state();
        let veth = |id: &InstanceId| net::veth_name(&keeper.mark, id);
        let mut groups: BTreeSet<String> = state.groups.keys().map(ToString::to_string).collect();
        groups.extend(state.instances.values().map(|i| i.record.group.to_string()));
        Owners {
            instances: state.instances.keys().map(ToString::to_string).collect(),
            veths: state.instances.keys().map(veth).collect(),
            groups,
            objects: candidates
                .mounts
                .iter()
                .chain(candidates.loops.iter().map(|(_, hex)| hex))
                .filter(|hex| state.uses(hex, None))
                .cloned()
                .collect(),
            strays: !state.strays.is_empty(),
        }
    };
    // Until the groups were read once, every instance's group seems unknown; instances themselves are adopted before.
    for garbage in select(&candidates, &owners) {
        let result = dispose(keeper, &garbage);
        match result {
            Ok(true) => tracing::info!(?garbage, "removed garbage"),
            Ok(false) => {}
            Err(fault) => tracing::warn!(?garbage, "cannot be removed: {fault}"),
        }
    }
}

fn look(layout: &Layout, mark: &str, bridge: &str) -> Candidates {
    let instances = layout.instances();
    let prefix = format!("{}/", instances.display());
    let json = |dir: &Path| disk::state::names(dir, ".json").unwrap_or_default().into_iter().collect();
    Candidates {
        dirs: state_files::names(&instances).into_iter().filter(|name| !name.starts_with(".new-")).collect(),
        cgroups: cgroup::children(mark).into_iter().filter(|name| !name.starts_with("probe-")).collect(),
        containers: state_files::names(&runtime::state(layout)).into_iter().filter(|name| !name.starts_with("probe-")).collect(),
        veths: net::on_bridge(bridge),
        mounts: mounts::mounted(layout).into_iter().collect(),
        doubled: mounts::doubled(layout),
        loops: mounts::loops(&layout.store().canonicalize().unwrap_or_else(|_| layout.store()))
            .into_iter()
            .filter_map(|(device, file)| Some((device, file.file_name()?.to_str()?.to_string())))
            .collect(),
        drained: state_files::names(&layout.targets().join("drained")),
        logs: logs(layout).into_iter().map(|log| (log.id, log.bytes)).collect(),
        shims: process::with_last_argument(&prefix)
            .into_iter()
            .filter(|(pid, _, _)| is_shim(*pid))
            .map(|(pid, start, dir)| (pid, start, dir[prefix.len()..].to_string()))
            .collect(),
        targets: json(&layout.targets()),
    }
}

/// Other processes may name the directory as well (`ls DIR`); only one that runs our own binary is a shim.
fn is_shim(pid: i32) -> bool {
    let exe = |pid: &str| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .ok()
            .map(|p| p.file_name().map(|n| n.to_string_lossy().trim_end_matches(" (deleted)").to_string()))
    };
    exe(&pid.to_string()).flatten() == exe("self").flatten()
}

/// False: nothing was done, because it has an owner after all.
fn dispose(keeper: &Keeper, garbage: &Garbage) -> Result<bool, Fault> {
    let layout = &keeper.layout;
    let gone = |path: PathBuf| match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(state_files::at(&path, "removing", e)),
        _ => Ok(true),
    };
    let done = match garbage {
        Garbage::Dir(name) => {
            removal::remove_instance(keeper, &layout.instances().join(name), name);
            return Ok(true);
        }
        Garbage::Cgroup(id) => Ok(cgroup::remove(&keeper.mark, Some(id))),
        Garbage::Container(id) => {
            runtime::delete(&keeper.runtime, &runtime::state(layout), id);
            Ok(true)
        }
        Garbage::Veth(name) => net::delete(name).map(|()| true),
        Garbage::Mount(hex) => {
            let digest = Digest::new(format!("sha256:{hex}")).map_err(|e| Fault::ours("garbage", e.to_string()))?;
            let done = keeper.objects.release(&digest, || keeper.state().uses(hex, None))?;
            keeper.counters.change(|c| c.unmounted += u64::from(done));
            return Ok(done);
        }
        Garbage::Doubled(point) => mounts::unmount(point).map(|()| true),
        Garbage::Loop(device) => mounts::detach_loop(device).map(|()| true),
        Garbage::Drained(id) => gone(layout.targets().join("drained").join(id)),
        Garbage::Target(group) => {
            let path = layout.targets().join(format!("{group}.json"));
            disk::state::remove(&path).map(|()| true).map_err(|e| state_files::at(&path, "removing", e))
        }
        Garbage::Log(id) => {
            let log = layout.host().join("logs").join(format!("{id}.log"));
            // The log itself last: it is listed by its name, so a later pass can remove it if this one is interrupted.
            return log_file::files(&log).into_iter().map(gone).collect::<Result<Vec<_>, _>>().map(|_| true);
        }
        Garbage::Shim(pid, start) => {
            if let Some(shim) = process::open(*pid, *start) {
                process::send(&shim, Signal::KILL);
                command::wait_readable(&shim, Duration::from_secs(5));
            }
            Ok(true)
        }
    }?;
    keeper.counters.change(|c| c.removed += u64::from(done));
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_nobody_owns_is_junk() {
        let candidates = Candidates {
            dirs: texts(&["web-1", "web-2", ".gone-web-0"]),
            cgroups: texts(&["web-1", "web-9"]),
            containers: texts(&["web-1", "web-8"]),
            veths: texts(&["v1", "v7"]),
            mounts: texts(&["aa", "bb"]),
            doubled: vec!["/mounts/aa".into()],
            loops: vec![("/dev/loop0".into(), "aa".into()), ("/dev/loop1".into(), "bb".into()), ("/dev/loop2".into(), "cc".into())],
            drained: texts(&["web-2", "web-6"]),
            logs: vec![("web-1".into(), 1), ("old".into(), 1)],
            shims: vec![(10, 1, "web-1".into()), (11, 2, "web-5".into())],
            targets: texts(&["web", "ghost"]),
        };
        let set = |list: &[&str]| list.iter().map(ToString::to_string).collect();
        let owners = Owners {
            instances: set(&["web-1", "web-2"]),
            veths: set(&["v1"]),
            groups: set(&["web"]),
            objects: set(&["aa"]),
            strays: false,
        };
        let mut garbage = select(&candidates, &owners);
        garbage.sort();
        assert_eq!(select(&candidates, &Owners { strays: true, ..owners }), [], "something runs of which too little is known");
        let mut want = vec![
            Garbage::Dir(".gone-web-0".into()),
            Garbage::Cgroup("web-9".into()),
            Garbage::Container("web-8".into()),
            Garbage::Veth("v7".into()),
            Garbage::Mount("bb".into()),
            Garbage::Doubled("/mounts/aa".into()),
            Garbage::Loop("/dev/loop2".into()),
            Garbage::Drained("web-6".into()),
            Garbage::Shim(11, 2),
            Garbage::Target("ghost".into()),
        ];
        want.sort();
        assert_eq!(garbage, want);
    }

    #[test]
    fn logs_of_the_dead_are_kept_up_to_bounds_and_the_oldest_go() {
        let garbage = |logs: Vec<(String, u64)>| {
            let none = BTreeSet::new;
            let owners = Owners { instances: none(), veths: none(), groups: none(), objects: none(), strays: false };
            select(&Candidates { logs, ..Candidates::default() }, &owners)
        };
        let gone = |ids: &[&str]| ids.iter().map(|id| Garbage::Log(id.to_string())).collect::<Vec<_>>();
        assert_eq!(garbage((0..LOGS_KEPT + 2).map(|i| (format!("x{i}-0"), 1)).collect()), gone(&["x0-0", "x1-0"]));
        // A group in a crash loop does not displace another's logs.
        let mut logs = vec![("quiet-1".to_string(), 1)];
        logs.extend((0..LOGS_OF_GROUP + 2).map(|i| (format!("loop-{i}"), 1)));
        assert_eq!(garbage(logs), gone(&["loop-0", "loop-1"]));
        // A thousand runs displace each other's alone.
        let mut logs = vec![("web-r1-2-1".to_string(), LOGS_BYTES_KEPT)];
        logs.extend((0..RUN_LOGS_KEPT + 2).map(|i| (format!("web-r1-x{i}-1"), 1)));
        assert_eq!(garbage(logs), gone(&["web-r1-x0-1", "web-r1-x1-1"]));
        let large = LOGS_BYTES_KEPT / 2;
        assert_eq!(garbage(vec![("a-1".into(), large), ("b-1".into(), large), ("c-1".into(), large)]), gone(&["a-1"]));
    }
}
