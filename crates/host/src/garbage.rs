//! Finds and removes what nobody owns. Only things that carry this data directory's mark are looked at: names with its hash,
//! paths below it.
//!
//! What is there is listed first and the owners are asked second, so that nothing which is being made meanwhile looks unowned.

use crate::disk::{self, Place};
use crate::keeper::Keeper;
use crate::log_list::logs;
use crate::{cgroup, command, instance, log_file, mounts, net, process, runtime};
use model::{Digest, Fault, InstanceId, Layout};
use rustix::process::Signal;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Logs of instances that are gone are kept for people: the last few of each group, so that one that crashes in a loop displaces no other's,
const LOGS_OF_GROUP: usize = 5;
/// so many of all together,
const LOGS_KEPT: usize = 60;
/// and so many bytes.
const LOGS_BYTES_KEPT: u64 = 256 << 20;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Junk {
    /// A directory of an instance that was half made or half removed.
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

/// Everything there is that could be junk.
#[derive(Clone, Debug, Default)]
pub struct Lying {
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

/// Who owns what.
pub struct Owners {
    pub instances: BTreeSet<String>,
    pub veths: BTreeSet<String>,
    pub groups: BTreeSet<String>,
    /// Objects that a group or an instance may need, by hex digest.
    pub objects: BTreeSet<String>,
    /// Instances run that cannot be followed: what they use is not known, so no object, interface or container is taken away.
    pub strays: bool,
}

/// Pure.
pub fn sort_out(lying: &Lying, owners: &Owners) -> Vec<Junk> {
    let orphan = |id: &String| !owners.instances.contains(id);
    let mut junk = Vec::new();
    if owners.strays {
        return junk;
    }
    junk.extend(lying.shims.iter().filter(|(_, _, id)| orphan(id)).map(|&(pid, start, _)| Junk::Shim(pid, start)));
    junk.extend(lying.containers.iter().filter(|id| orphan(id)).cloned().map(Junk::Container));
    junk.extend(lying.cgroups.iter().filter(|id| orphan(id)).cloned().map(Junk::Cgroup));
    junk.extend(lying.veths.iter().filter(|name| !owners.veths.contains(*name)).cloned().map(Junk::Veth));
    junk.extend(lying.dirs.iter().filter(|id| orphan(id)).cloned().map(Junk::Dir));
    junk.extend(lying.drained.iter().filter(|id| orphan(id)).cloned().map(Junk::Drained));
    junk.extend(lying.mounts.iter().filter(|hex| !owners.objects.contains(*hex)).cloned().map(Junk::Mount));
    junk.extend(lying.doubled.iter().cloned().map(Junk::Doubled));
    let unused = |(_, hex): &&(String, String)| !lying.mounts.contains(hex) && !owners.objects.contains(hex);
    junk.extend(lying.loops.iter().filter(unused).map(|(device, _)| Junk::Loop(device.clone())));
    junk.extend(lying.targets.iter().filter(|group| !owners.groups.contains(*group)).cloned().map(Junk::Target));
    let old: Vec<&(String, u64)> = lying.logs.iter().filter(|(id, _)| orphan(id)).collect();
    junk.extend(too_many(&old).into_iter().map(Junk::Log));
    junk
}

/// Of logs of instances that are gone, oldest first, those beyond the bounds.
fn too_many(logs: &[&(String, u64)]) -> Vec<String> {
    let (mut of_group, mut kept, mut bytes) = (BTreeMap::<&str, usize>::new(), 0, 0u64);
    let mut gone = Vec::new();
    for (id, size) in logs.iter().rev() {
        let in_group = of_group.entry(id.rsplit_once('-').map_or(id.as_str(), |(group, _)| group)).or_default();
        if *in_group == LOGS_OF_GROUP || kept == LOGS_KEPT || bytes + size > LOGS_BYTES_KEPT {
            gone.push(id.clone());
            continue;
        }
        *in_group += 1;
        kept += 1;
        bytes += size;
    }
    gone.reverse();
    gone
}

pub fn collect(keeper: &Keeper) {
    let lying = look(&keeper.layout, &keeper.mark, &keeper.network.bridge);
    let owners = {
        let state = keeper.state();
        let veth = |id: &InstanceId| net::veth_name(&keeper.mark, id);
        let mut groups: BTreeSet<String> = state.groups.keys().map(ToString::to_string).collect();
        groups.extend(state.instances.values().map(|i| i.record.group.to_string()));
        Owners {
            instances: state.instances.keys().map(ToString::to_string).collect(),
            veths: state.instances.keys().map(veth).collect(),
            groups,
            objects: lying
                .mounts
                .iter()
                .chain(lying.loops.iter().map(|(_, hex)| hex))
                .filter(|hex| state.uses(hex, None))
                .cloned()
                .collect(),
            strays: !state.strays.is_empty(),
        }
    };
    // Until the groups were read once, every instance's group looks unknown; instances themselves are adopted before.
    for junk in sort_out(&lying, &owners) {
        let result = dispose(keeper, &junk);
        match result {
            Ok(true) => tracing::info!(?junk, "removed what nobody owns"),
            Ok(false) => {}
            Err(fault) => tracing::warn!(?junk, "cannot be removed: {fault}"),
        }
    }
}

fn look(layout: &Layout, mark: &str, bridge: &str) -> Lying {
    let instances = layout.instances();
    let prefix = format!("{}/", instances.display());
    let json = |dir: &Path| ::disk::state::names(dir, ".json").unwrap_or_default().into_iter().collect();
    Lying {
        dirs: disk::names(&instances).into_iter().filter(|name| !name.starts_with(".new-")).collect(),
        cgroups: cgroup::children(mark).into_iter().filter(|name| !name.starts_with("probe-")).collect(),
        containers: disk::names(&runtime::state(layout)).into_iter().filter(|name| !name.starts_with("probe-")).collect(),
        veths: net::on_bridge(bridge),
        mounts: mounts::mounted(layout).into_iter().collect(),
        doubled: mounts::doubled(layout),
        loops: mounts::loops(&layout.store().canonicalize().unwrap_or_else(|_| layout.store()))
            .into_iter()
            .filter_map(|(device, file)| Some((device, file.file_name()?.to_str()?.to_string())))
            .collect(),
        drained: disk::names(&layout.targets().join("drained")),
        logs: logs(layout).into_iter().map(|log| (log.id, log.bytes)).collect(),
        shims: process::with_last_argument(&prefix)
            .into_iter()
            .filter(|(pid, _, _)| is_shim(*pid))
            .map(|(pid, start, dir)| (pid, start, dir[prefix.len()..].to_string()))
            .collect(),
        targets: json(&layout.targets()),
    }
}

/// Others may name the directory as well (`ls DIR`); only what runs our own binary is a shim.
fn is_shim(pid: i32) -> bool {
    let exe = |pid: &str| {
        std::fs::read_link(format!("/proc/{pid}/exe"))
            .ok()
            .map(|p| p.file_name().map(|n| n.to_string_lossy().trim_end_matches(" (deleted)").to_string()))
    };
    exe(&pid.to_string()).flatten() == exe("self").flatten()
}

/// False: nothing was done, because it has an owner after all.
fn dispose(keeper: &Keeper, junk: &Junk) -> Result<bool, Fault> {
    let layout = &keeper.layout;
    let gone = |path: PathBuf| match std::fs::remove_file(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(disk::at(&path, "removing", e)),
        _ => Ok(true),
    };
    let done = match junk {
        Junk::Dir(name) => {
            remove_instance_dir(keeper, &layout.instances().join(name), name);
            return Ok(true);
        }
        Junk::Cgroup(id) => Ok(cgroup::remove(&keeper.mark, Some(id))),
        Junk::Container(id) => {
            runtime::delete(&keeper.runtime, &runtime::state(layout), id);
            Ok(true)
        }
        Junk::Veth(name) => net::delete(name).map(|()| true),
        Junk::Mount(hex) => {
            let digest = Digest::new(format!("sha256:{hex}")).map_err(|e| Fault::ours("garbage", e.to_string()))?;
            let done = keeper.objects.release(&digest, || keeper.state().uses(hex, None))?;
            keeper.counters.change(|c| c.unmounted += u64::from(done));
            return Ok(done);
        }
        Junk::Doubled(point) => mounts::unmount(point).map(|()| true),
        Junk::Loop(device) => mounts::detach_loop(device).map(|()| true),
        Junk::Drained(id) => gone(layout.targets().join("drained").join(id)),
        Junk::Target(group) => {
            let path = layout.targets().join(format!("{group}.json"));
            ::disk::state::remove(&path).map(|()| true).map_err(|e| disk::at(&path, "removing", e))
        }
        Junk::Log(id) => {
            let log = layout.host().join("logs").join(format!("{id}.log"));
            // The log itself last: what is listed by its name can be removed in a later pass, should this one break off.
            return log_file::files(&log).into_iter().map(gone).collect::<Result<Vec<_>, _>>().map(|_| true);
        }
        Junk::Shim(pid, start) => {
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

/// An instance that cannot be adopted: whatever of it runs is ended, then its directory goes.
pub fn remove_instance_dir(keeper: &Keeper, dir: &Path, name: &str) {
    instance::kill_shim(&Place(dir.to_path_buf()));
    let id = name.trim_start_matches(".gone-").trim_start_matches(".new-");
    runtime::delete(&keeper.runtime, &runtime::state(&keeper.layout), id);
    cgroup::remove(&keeper.mark, Some(id));
    if let Err(fault) = remove_dir(&keeper.layout, dir) {
        tracing::warn!("{fault}");
    }
    keeper.counters.change(|c| c.removed += 1);
}

/// Out of sight in one step, then gone.
pub fn remove_dir(layout: &Layout, dir: &Path) -> Result<(), Fault> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let hidden = if name.starts_with('.') { dir.to_path_buf() } else { layout.instances().join(format!(".gone-{name}")) };
    if hidden != dir {
        let _ = std::fs::remove_dir_all(&hidden);
        match std::fs::rename(dir, &hidden) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(disk::at(dir, "removing", e)),
            Ok(()) => {}
        }
    }
    // Two may be at it: whoever is second finds nothing.
    match std::fs::remove_dir_all(&hidden) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(disk::at(&hidden, "removing", e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_nobody_owns_is_junk() {
        let lying = Lying {
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
        let mut junk = sort_out(&lying, &owners);
        junk.sort();
        assert_eq!(sort_out(&lying, &Owners { strays: true, ..owners }), [], "something runs of which too little is known");
        let mut want = vec![
            Junk::Dir(".gone-web-0".into()),
            Junk::Cgroup("web-9".into()),
            Junk::Container("web-8".into()),
            Junk::Veth("v7".into()),
            Junk::Mount("bb".into()),
            Junk::Doubled("/mounts/aa".into()),
            Junk::Loop("/dev/loop2".into()),
            Junk::Drained("web-6".into()),
            Junk::Shim(11, 2),
            Junk::Target("ghost".into()),
        ];
        want.sort();
        assert_eq!(junk, want);
    }

    #[test]
    fn logs_of_the_dead_are_kept_up_to_bounds_and_the_oldest_go() {
        let junk = |logs: Vec<(String, u64)>| {
            let none = BTreeSet::new;
            let owners = Owners { instances: none(), veths: none(), groups: none(), objects: none(), strays: false };
            sort_out(&Lying { logs, ..Lying::default() }, &owners)
        };
        let gone = |ids: &[&str]| ids.iter().map(|id| Junk::Log(id.to_string())).collect::<Vec<_>>();
        assert_eq!(junk((0..LOGS_KEPT + 2).map(|i| (format!("x{i}-0"), 1)).collect()), gone(&["x0-0", "x1-0"]));
        // One group that crashes in a loop leaves another's logs alone.
        let mut logs = vec![("quiet-1".to_string(), 1)];
        logs.extend((0..LOGS_OF_GROUP + 2).map(|i| (format!("loop-{i}"), 1)));
        assert_eq!(junk(logs), gone(&["loop-0", "loop-1"]));
        let large = LOGS_BYTES_KEPT / 2;
        assert_eq!(junk(vec![("a-1".into(), large), ("b-1".into(), large), ("c-1".into(), large)]), gone(&["a-1"]));
    }
}
