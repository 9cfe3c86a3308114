//! One pass of the reconciler: read what is declared, answer deaths, let `decide` say what to do, begin it, tell the balancer.
//! Level-triggered: it looks at everything each time and keeps no list of things to do. Nothing slow happens here.

use crate::admit::{Launch, Role};
use crate::decide::{self, Act, Stage, Wanted};
use crate::declared::{Declared, Sum};
use crate::disk::{self, Place, Read};
use crate::keeper::{Keeper, sum_path};
use crate::record::{Ground, Record};
use crate::state::{Group, Held, Instance, State};
use crate::{cgroup, ending, instance, mounts, net, runtime};
use model::{Digest, Fault, GroupName, GroupWish, InstanceId, Release, Target, TargetFile};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After objects were found missing or corrupt they are not read again before this.
const PREPARE_AGAIN: Duration = Duration::from_secs(1);

/// More instances than this are not made without one log of them being kept.
const LEAP: u64 = 1_000;

/// Until the next pass is due at the latest.
pub fn pass(keeper: &Arc<Keeper>) -> Duration {
    let mut state = keeper.state();
    if let Err(e) = std::fs::read_dir(keeper.layout.groups()) {
        // Without the declarations every instance would look unwanted.
        tracing::error!("the declared groups cannot be read, so nothing is done: {e}");
        return Duration::MAX;
    }
    read_groups(keeper, &mut state);
    let now = Instant::now();
    let mut names: BTreeSet<GroupName> = state.groups.keys().cloned().collect();
    names.extend(state.instances.values().map(|i| i.record.group.clone()));
    let mut next = Duration::MAX;
    for name in &names {
        let corrupt = state.groups.get(name).is_some_and(|g| matches!(g.held, Held::Corrupt(_)));
        if corrupt {
            continue;
        }
        settle(keeper, &mut state, name, now);
        // Twice, so that what was just written down is launched in the same pass.
        for _ in 0..2 {
            act(keeper, &mut state, name, now);
        }
        tell_balancer(keeper, &mut state, name);
        let_go(keeper, &mut state, name);
        if let Some(at) = state.groups.get(name).and_then(|g| g.not_before) {
            next = next.min(at.saturating_duration_since(now).max(Duration::from_millis(if at > now { 1 } else { 500 })));
        }
    }
    next
}

/// The declared state is on the disk; memory only saves reading a file that did not change.
fn read_groups(keeper: &Keeper, state: &mut State) {
    for file in disk::names(&keeper.layout.groups()) {
        let Some(Ok(name)) = file.strip_suffix(".json").map(GroupName::new) else { continue };
        // Declarations come through this process, so a group that is held is read again only if it was corrupt.
        if !state.groups.get(&name).is_some_and(|g| matches!(g.held, Held::Good(_))) {
            read_group(keeper, state, &name);
        }
    }
}

/// From its files into memory.
pub fn read_group(keeper: &Keeper, state: &mut State, name: &GroupName) {
    let path = keeper.layout.group(name);
    let held = match disk::read_json::<Declared>(&path) {
        Read::Missing => return,
        Read::Good(declared) if declared.spec.group == *name => Held::Good(declared),
        Read::Good(declared) => Held::Corrupt(corrupt(&format!("{} speaks of {}", path.display(), declared.spec.group))),
        Read::Bad(why) => Held::Corrupt(corrupt(&why)),
    };
    match state.groups.get_mut(name) {
        Some(group) => group.held = held,
        None => {
            let sum = read_sum(keeper, state, name);
            state.groups.insert(name.clone(), Group::new(held, sum));
        }
    }
}

fn corrupt(why: &str) -> String {
    format!(
        "the keeper's record is corrupt, so this group is left alone: {why}; restore the file from a backup, or declare a new group and remove the file"
    )
}

/// A sum that is missing or garbage is begun well behind every number in sight, so that none is used twice.
fn read_sum(keeper: &Keeper, state: &State, name: &GroupName) -> Sum {
    let (why, leap) = match disk::read_json::<Sum>(&sum_path(&keeper.layout, name)) {
        Read::Good(sum) => return sum,
        Read::Bad(why) => (why, LEAP),
        Read::Missing => (String::new(), 0),
    };
    if !why.is_empty() {
        tracing::error!("what was remembered of {name} is lost, its deaths are counted from 0 again: {why}");
    }
    let logs = disk::names(&keeper.layout.host().join("logs"));
    let logged =
        logs.iter().filter_map(|file| file.strip_suffix(".log")?.strip_prefix(name.as_str())?.strip_prefix('-')?.parse::<u64>().ok());
    let last = state.of_group(name).map(|i| i.record.number).chain(logged).max().unwrap_or(0);
    Sum { last: last + leap, ..Sum::default() }
}

/// Counts each end that nobody asked for, once, on disk. (Quickly written: a power cut ends every instance anyhow, and a sum
/// that is lost is made good by `read_sum`.)
fn settle(keeper: &Keeper, state: &mut State, name: &GroupName, now: Instant) {
    let there: BTreeSet<u64> = state.of_group(name).map(|i| i.record.number).collect();
    let Some(mut group) = state.groups.remove(name) else { return };
    let before = group.sum.clone();
    for instance in state.instances.values_mut().filter(|i| i.record.group == *name && i.stage == Stage::Dead && !i.settled) {
        instance.settled = true;
        let Some(ended) = &instance.ended else { continue };
        if let Some(why) = &ended.failed {
            group.trouble = Some(why.clone());
            group.prepared = false;
        }
        if instance.ending.is_some() || instance.record.once.is_some() || group.sum.counted.contains(&instance.record.number) {
            continue;
        }
        group.sum.deaths += 1;
        group.sum.counted.push(instance.record.number);
        let lived_ms = instance.started.as_ref().map_or(0, |s| ended.at.since(s.at));
        group.slow_down(lived_ms, now);
        tracing::warn!(instance = %instance.record.id, code = ended.code, lived_ms, failed = ended.failed, "died");
    }
    group.sum.counted.retain(|number| there.contains(number));
    if group.sum != before
        && let Err(fault) = disk::write_json_quick(&sum_path(&keeper.layout, name), &group.sum)
    {
        group.trouble = Some(fault.message);
    }
    state.groups.insert(name.clone(), group);
}

fn act(keeper: &Arc<Keeper>, state: &mut State, name: &GroupName, now: Instant) {
    let there = state.there(name);
    let wish = state.groups.get(name).and_then(Group::declared).map(|d| d.spec.wish.clone());
    let wanted = match &wish {
        Some(GroupWish::Run { count, once, .. }) => Some(Wanted { count: *count, once: once.is_some(), ready: true }),
        Some(GroupWish::Gone) | None => None,
    };
    let mut acts = decide::next(wanted, &there);
    let launches = acts.iter().any(|act| matches!(act, Act::Create(_) | Act::Launch(_)));
    if let (true, Some(GroupWish::Run { release, .. })) = (launches, &wish)
        && !is_ready(keeper, state, name, release, now)
    {
        acts = decide::next(wanted.map(|w| Wanted { ready: false, ..w }), &there);
    }
    for act in acts {
        match act {
            Act::Create(n) => {
                if let Some(GroupWish::Run { release, once, .. }) = &wish
                    && let Err(fault) = create(keeper, state, name, release, once.as_ref(), n)
                    && let Some(group) = state.groups.get_mut(name)
                {
                    group.trouble = Some(told(&fault));
                    group.slow_down(0, now);
                }
            }
            Act::Launch(id) => {
                if let Some(one) = state.instances.get_mut(&id) {
                    one.stage = Stage::Launching;
                    instance::launch(keeper, &one.record);
                }
            }
            Act::End(id) => end(keeper, state, &id),
            Act::Remove(id) => {
                if let Some(one) = state.instances.get_mut(&id) {
                    one.stage = Stage::Removing;
                    instance::remove(keeper, &id);
                }
            }
        }
    }
}

pub fn told(fault: &Fault) -> String {
    match &fault.hint {
        Some(hint) => format!("{}; {hint}", fault.message),
        None => fault.message.clone(),
    }
}

/// Whether a launch may begin now; begins what is missing for it.
fn is_ready(keeper: &Arc<Keeper>, state: &mut State, name: &GroupName, release: &Release, now: Instant) -> bool {
    let Some(group) = state.groups.get_mut(name) else { return false };
    if group.preparing || group.not_before.is_some_and(|at| now < at) {
        return false;
    }
    let objects: Vec<Digest> = std::iter::once(&release.image).chain(&release.artifact).cloned().collect();
    if group.prepared && objects.iter().all(|object| keeper.objects.unchanged(object)) {
        return true;
    }
    group.preparing = true;
    group.objects.clone_from(&objects);
    let (keeper, name) = (keeper.clone(), name.clone());
    // A number is given out only behind the first admission, and a sum that is lost begins far behind every number in sight.
    let launch = if group.sum.last == 0 { Launch::First } else { Launch::More };
    let image = release.image.clone();
    keeper.clone().tasks.spawn_blocking(move || prepare(&keeper, &name, (&image, launch), &objects));
    false
}

fn prepare(keeper: &Keeper, name: &GroupName, (image, launch): (&Digest, Launch), objects: &[Digest]) {
    let result = objects.iter().try_for_each(|object| {
        let role = if object == image { Role::Root } else { Role::Code };
        if keeper.objects.ensure(object, role, launch, &keeper.admit)? {
            keeper.counters.change(|c| c.mounted += 1);
        }
        Ok::<(), Fault>(())
    });
    let mut state = keeper.state();
    if let Some(group) = state.groups.get_mut(name) {
        group.preparing = false;
        group.prepared = result.is_ok();
        match result {
            Ok(()) => {
                // What was wrong with the objects is not wrong any more.
                if group.sum.deaths == 0 {
                    group.trouble = None;
                }
            }
            Err(fault) => {
                let now = Instant::now();
                group.trouble = Some(told(&fault));
                group.slow_down(0, now);
                group.not_before = group.not_before.max(Some(now + PREPARE_AGAIN));
            }
        }
    }
    drop(state);
    keeper.nudge();
}

/// Writes the intent down: numbers first, so that none is ever used twice, then a directory for each instance.
fn create(
    keeper: &Keeper,
    state: &mut State,
    name: &GroupName,
    release: &Release,
    once: Option<&Vec<String>>,
    n: u32,
) -> Result<(), Fault> {
    let Some(group) = state.groups.get_mut(name) else { return Ok(()) };
    let first = group.sum.last + 1;
    let sum = Sum { last: group.sum.last + u64::from(n), ..group.sum.clone() };
    disk::write_json_quick(&sum_path(&keeper.layout, name), &sum)?;
    group.sum = sum;
    for number in first..first + u64::from(n) {
        let id = InstanceId::new(format!("{name}-{number}")).map_err(|e| Fault::yours("bad-spec", e.to_string()))?;
        let used = state.instances.values().map(|i| i.record.ground.address).collect();
        let (address, last) = net::next_address(keeper.network.subnet, &used, state.last_address).ok_or_else(|| {
            Fault::world("no-address", format!("every address of {} is in use", keeper.network.subnet)).hint("scale something in first")
        })?;
        state.last_address = last;
        let ground = Ground {
            runtime: keeper.runtime.clone(),
            runtime_state: runtime::state(&keeper.layout),
            cgroup: format!("/{}/{id}", cgroup::parent(&keeper.mark)),
            image_mount: mounts::place(&keeper.layout, &release.image),
            artifact_mount: release.artifact.as_ref().map(|a| mounts::place(&keeper.layout, a)),
            mounts: mounts::root(&keeper.layout),
            log: keeper.layout.log(&id),
            bridge: keeper.network.bridge.clone(),
            veth: net::veth_name(&keeper.mark, &id),
            gateway: keeper.network.subnet.gateway(),
            address,
        };
        let record = Record {
            id: id.clone(),
            group: name.clone(),
            number,
            release: release.clone(),
            once: once.cloned(),
            created: disk::now(),
            ground,
        };
        write_down(keeper, &record)?;
        state.instances.insert(id, Instance::new(record));
    }
    Ok(())
}

/// The directory appears whole or not at all.
fn write_down(keeper: &Keeper, record: &Record) -> Result<(), Fault> {
    let temp = Place(keeper.layout.instances().join(format!(".new-{}", record.id)));
    disk::make_dir(&temp.0)?;
    disk::write_json_quick(&temp.record(), record)?;
    disk::write(&temp.lock(), b"", false)?;
    let place = keeper.layout.instance(&record.id);
    std::fs::rename(&temp.0, &place).map_err(|e| disk::at(&place, "making the instance's directory", e))
}

/// The mark comes first: from here on an exit is no death, also for the next keeper.
fn end(keeper: &Arc<Keeper>, state: &mut State, id: &InstanceId) {
    let Some(one) = state.instances.get_mut(id) else { return };
    let mark = crate::record::Ending { at: disk::now() };
    if let Err(fault) = disk::write_json_quick(&Place(keeper.layout.instance(id)).ending(), &mark) {
        tracing::warn!("{fault}");
        return;
    }
    one.ending = Some(mark);
    one.stage = Stage::Ending;
    ending::begin(keeper, one);
}

/// A group that went without having had instances lately: nobody else would unmount its objects before the next look for garbage.
fn let_go(keeper: &Arc<Keeper>, state: &mut State, name: &GroupName) {
    let empty = state.of_group(name).next().is_none();
    let Some(group) = state.groups.get_mut(name) else { return };
    let gone = group.declared().is_some_and(|d| d.spec.wish == GroupWish::Gone);
    if !gone || !empty || group.preparing || group.objects.is_empty() {
        return;
    }
    group.prepared = false;
    let (objects, keeper) = (std::mem::take(&mut group.objects), keeper.clone());
    keeper.clone().tasks.spawn_blocking(move || objects.iter().for_each(|object| instance::unmount_unused(&keeper, object, None)));
}

/// Writes the group's target file if it would change; removes it when nothing is left to say.
fn tell_balancer(keeper: &Keeper, state: &mut State, name: &GroupName) {
    let release = match state.groups.get(name).and_then(Group::declared).map(|d| &d.spec.wish) {
        Some(GroupWish::Run { release, once: None, .. }) => Some(release.clone()),
        _ => state.of_group(name).find(|i| i.record.once.is_none()).map(|i| i.record.release.clone()),
    };
    let content = release.filter(|r| r.port.is_some()).and_then(|release| {
        let targets = state.of_group(name).filter(|i| i.is_target());
        let mut targets: Vec<Target> = targets
            .filter_map(|i| Some(Target { id: i.record.id.clone(), addr: i.address()?, draining: i.stage == Stage::Ending }))
            .collect();
        targets.sort_by_key(|target| target.addr);
        let file = TargetFile {
            group: name.clone(),
            service: release.service,
            release: release.number,
            health: release.health,
            drain: release.drain,
            route: release.route,
            targets,
        };
        disk::encode(&file).ok()
    });
    let path = keeper.layout.target(name);
    let Some(group) = state.groups.get_mut(name) else { return };
    if group.target.is_none() {
        group.target = std::fs::read(&path).ok();
    }
    if group.target == content {
        return;
    }
    let result = match &content {
        Some(bytes) => disk::write(&path, bytes, false),
        None => std::fs::remove_file(&path)
            .or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(disk::at(&path, "removing", e)) }),
    };
    match result {
        Ok(()) => group.target = content,
        Err(fault) => group.trouble = Some(told(&fault)),
    }
}
