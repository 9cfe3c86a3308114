//! One pass of the reconciler: read what is declared, handle deaths, let `decide` choose the actions, start them, report to the balancer.
//! Level-triggered: it reads everything each time and keeps no list of things to do. Nothing slow happens here.

use crate::admit::{Launch, Role};
use crate::decide::{self, Act, Desired, Stage};
use crate::declared::{GroupSummary, OneShotSummary};
use crate::instance_dir::InstanceDir;
use crate::keeper::{Keeper, summary_path};
use crate::record::{Placement, Record, Six};
use crate::state::{Group, Instance, State};
use crate::state_files;
use crate::subnet::next_address;
use crate::userns::Range;
use crate::{cgroup, connectivity, group_files, instance, mounts, needs, net, one_shot, runtime, termination};
use api::fleet::HappenedKind;
use model::text::shown;
use model::{Death, DesiredGroup, Digest, Fault, GroupName, InstanceId, OneShot, QUOTED_BYTES_MAX, Release, Stamp};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a volume that was there is believed to be there: it may be unmounted at any time, without a word.
const VOLUMES_FRESH: Duration = Duration::from_secs(1);
/// How long objects that were found missing or corrupt are not read again.
const PREPARE_AGAIN: Duration = Duration::from_secs(1);

/// The latest time of the next pass.
pub fn pass(keeper: &Arc<Keeper>) -> Duration {
    let mut state = keeper.state();
    if let Err(e) = std::fs::read_dir(keeper.layout.groups()) {
        // Without the declarations every instance would seem undeclared.
        tracing::error!("the declared groups cannot be read, so nothing is done: {e}");
        return Duration::MAX;
    }
    group_files::read_groups(keeper, &mut state);
    let now = Instant::now();
    group_files::verify(keeper, &mut state, now);
    let mut names: BTreeSet<GroupName> = state.groups.keys().cloned().collect();
    names.extend(state.instances.values().map(|i| i.record.group.clone()));
    let mut next = Duration::MAX;
    for name in &names {
        if state.groups.get(name).is_some_and(|g| g.declared().is_none()) {
            // Its file is damaged and nothing of it runs: the desired state is unknown.
            continue;
        }
        count_deaths(keeper, &mut state, name, now);
        if !one_shot::settle(keeper, &mut state, name, disk::files::now()) {
            continue;
        }
        // Twice, so that what was just recorded is launched in the same pass.
        for _ in 0..2 {
            act(keeper, &mut state, name, now);
        }
        group_files::publish_targets(keeper, &mut state, name);
        release_objects(keeper, &mut state, name);
        watch_health(keeper, &mut state, name, now);
        let due = |g: &Group| [g.not_before, g.no_replacement_before].into_iter().flatten().filter(|at| *at > now).min().or(g.not_before);
        if let Some(at) = state.groups.get(name).and_then(due) {
            next = next.min(at.saturating_duration_since(now).max(Duration::from_millis(if at > now { 1 } else { 500 })));
        }
    }
    next
}

/// Counts each unexpected exit once, on disk. (Without fsync: a power cut ends every instance anyway, and `read_sum` repairs a
/// summary that is lost.)
pub fn count_deaths(keeper: &Keeper, state: &mut State, name: &GroupName, now: Instant) {
    let there: BTreeSet<u64> = state.of_group(name).map(|i| i.record.number).collect();
    let Some(mut group) = state.groups.remove(name) else { return };
    let before = group.summary.clone();
    for instance in state.instances.values_mut().filter(|i| i.record.group == *name && i.stage == Stage::Dead && !i.counted_dead) {
        instance.counted_dead = true;
        let Some(ended) = &instance.ended else { continue };
        if let Some(why) = &ended.failed {
            group.trouble = Some(why.clone());
            group.prepared = false;
        }
        if instance.ending.is_some() || instance.record.once.is_some() || group.summary.counted.contains(&instance.record.number) {
            continue;
        }
        group.summary.deaths += 1;
        group.summary.last_death =
            Some(Death { instance: instance.record.id.clone(), at: ended.at, exit: instance.exit(), probe: instance.failed_probe.clone() });
        group.summary.counted.push(instance.record.number);
        let lived_ms = instance.started.as_ref().map_or(0, |s| ended.at.since(s.at));
        group.slow_down(lived_ms, now);
        let oom = ended.by_oom();
        let limit = instance.record.release.limits.memory_bytes;
        keeper.counters.change(|c| {
            c.deaths += 1;
            c.oom_kills += u64::from(oom);
        });
        let kind = if oom { HappenedKind::OomKilled } else { HappenedKind::Died };
        let printed =
            instance.last_lines.last().map_or_else(String::new, |line| format!("; its last line: \"{}\"", shown(line, QUOTED_BYTES_MAX)));
        let text = format!("{} died after {} s: {}{printed}", instance.record.id, lived_ms / 1_000, ended.reason(limit));
        keeper.history.add(kind, instance.about(), &text);
    }
    group.summary.counted.retain(|number| there.contains(number));
    if group.summary != before
        && let Err(fault) = state_files::write_json_quick(&summary_path(&keeper.layout, name), &group.summary)
    {
        group.trouble = Some(fault.message);
    }
    state.groups.insert(name.clone(), group);
}

/// Records which instances became healthy or sick, and groups below their count. `decide` chooses what to do about it.
fn watch_health(keeper: &Keeper, state: &mut State, name: &GroupName, now: Instant) {
    let State { groups, instances, .. } = state;
    let Some(group) = groups.get_mut(name) else { return };
    let count = match group.declared().map(|d| &d.spec.desired) {
        Some(DesiredGroup::Run { count, once: None, .. }) => *count as usize,
        _ => 0,
    };
    let mut healthy = 0;
    for one in instances.values_mut().filter(|i| i.record.group == *name) {
        healthy += usize::from(one.stage == Stage::Up && one.probes.passing_since.is_some());
        match one.sick_ms(now).filter(|_| group.summary.proven) {
            Some(ms) if !one.sick_recorded => {
                one.sick_recorded = true;
                let why = one.probe_in_words();
                let text = format!("{} has failed its health checks for {} s: starting a replacement{why}", one.record.id, ms / 1_000);
                keeper.history.add(HappenedKind::Unhealthy, one.about(), &text);
            }
            None if one.probes.passing_since.is_some() => one.sick_recorded = false,
            _ => {}
        }
        if one.was_healthy && !group.summary.proven {
            group.summary.proven = true;
            if let Err(fault) = state_files::write_json_quick(&summary_path(&keeper.layout, name), &group.summary) {
                tracing::warn!("{fault}");
            }
        }
    }
    group.short_since = if group.summary.proven && healthy < count { group.short_since.or(Some(now)) } else { None };
}

#[cfg(test)]
pub fn act_once(keeper: &Arc<Keeper>, state: &mut State, name: &GroupName) {
    if one_shot::settle(keeper, state, name, disk::files::now()) {
        act(keeper, state, name, Instant::now());
    }
}

fn act(keeper: &Arc<Keeper>, state: &mut State, name: &GroupName, now: Instant) {
    let there = state.there(name, now);
    let group = state.groups.get(name);
    let desired = group.and_then(Group::declared).map(|d| d.spec.desired.clone());
    let stamp = group.and_then(Group::declared).map(|d| d.stamp);
    let may_replace = group.is_some_and(|g| g.no_replacement_before.is_none_or(|at| now >= at));
    let wanted = match &desired {
        Some(DesiredGroup::Run { release, count, once }) => {
            let spent = group.is_some_and(one_shot::is_spent);
            let (surge, alone) = (decide::surge(*count), release.exclusive && once.is_none());
            Some(Desired { count: *count, once: once.is_some(), spent, ready: true, surge, may_replace, alone })
        }
        Some(DesiredGroup::Gone) | None => None,
    };
    let mut acts = decide::next(wanted, &there);
    let launches = acts.iter().any(|act| matches!(act, Act::Create(_) | Act::Launch(_)));
    if let (true, Some(DesiredGroup::Run { release, once, .. })) = (launches, &desired)
        && !is_ready(keeper, state, name, (release, once.is_some()), now)
    {
        acts = decide::next(wanted.map(|w| Desired { ready: false, ..w }), &there);
    }
    for act in acts {
        match act {
            Act::Create(n) => {
                let Some(DesiredGroup::Run { release, once, count }) = &desired else { continue };
                let made = create(keeper, state, name, &Made { release, once: once.as_ref(), stamp }, n);
                let Some(group) = state.groups.get_mut(name) else { continue };
                let living = there.iter().filter(|one| matches!(one.stage, Stage::Intended | Stage::Launching | Stage::Up)).count();
                if living + n as usize > *count as usize {
                    group.slow_replacements(now);
                }
                if let Err(fault) = made {
                    // A group that never had a server is admitted once more before it gets one.
                    group.prepared = false;
                    group.report(&fault);
                    group.slow_down(0, now);
                }
            }
            Act::Launch(id) => {
                if let Some(one) = state.instances.get_mut(&id) {
                    one.stage = Stage::Launching;
                    instance::launch(keeper, &one.record);
                }
                // Its volumes are looked at again for the next.
                let has_volumes = matches!(&desired, Some(DesiredGroup::Run { release, .. }) if !release.volumes.is_empty());
                if let Some(group) = state.groups.get_mut(name).filter(|_| has_volumes) {
                    group.prepared = false;
                }
            }
            Act::Replace(id) => {
                replace(keeper, state, &id, now);
                // Of an exclusive group the replacement is launched later, as if a server had died.
                if let Some(group) = state.groups.get_mut(name).filter(|_| wanted.is_some_and(|w| w.alone)) {
                    group.slow_replacements(now);
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

/// Ends a sick one: it counts as a death, so that a soak of the group notices it.
pub fn replace(keeper: &Arc<Keeper>, state: &mut State, id: &InstanceId, now: Instant) {
    let Some(one) = state.instances.get(id) else { return };
    let (name, about, why) = (one.record.group.clone(), one.about(), one.probe_in_words());
    let death = Death { instance: id.clone(), at: disk::files::now(), exit: None, probe: one.failed_probe.clone() };
    let sick = one.sick_ms(now).unwrap_or(0) / 1_000;
    end(keeper, state, id);
    if state.instances.get(id).is_none_or(|one| one.ending.is_none()) {
        return;
    }
    keeper.counters.change(|c| c.replaced += 1);
    keeper.history.add(HappenedKind::Replaced, about, &format!("{id} was replaced: it failed its health checks for {sick} s{why}"));
    if let Some(group) = state.groups.get_mut(&name) {
        group.summary.last_death = Some(death);
        group.summary.deaths += 1;
        if let Err(fault) = state_files::write_json_quick(&summary_path(&keeper.layout, &name), &group.summary) {
            tracing::warn!("{fault}");
        }
    }
}

/// Another server of the service, where no two may run at once, whichever of them is exclusive. A command beside it is none.
pub fn beside<'a>(state: &'a State, name: &GroupName, release: &Release) -> Option<&'a str> {
    let runs = |one: &&Instance| one.record.once.is_none() && !matches!(one.stage, Stage::Intended);
    let others = state.instances.values().filter(|one| one.record.group != *name && one.record.release.service == release.service);
    let other = others.filter(runs).find(|one| release.exclusive || one.record.release.exclusive);
    // Of an instance that cannot be read it may not be known whose it is.
    let of_service = |group: &GroupName| group.parts().is_none_or(|(service, ..)| service == release.service);
    let mut strays = state.strays.iter().filter(|(_, stray)| release.exclusive && stray.group.as_ref().is_none_or(of_service));
    other.map(|one| one.record.id.as_str()).or_else(|| strays.next().map(|(id, _)| id.as_str()))
}

/// Whether a launch may begin now; starts what is missing for it.
fn is_ready(keeper: &Arc<Keeper>, state: &mut State, name: &GroupName, (release, once): (&Release, bool), now: Instant) -> bool {
    let beside = if once { None } else { beside(state, name, release) };
    if let Some(other) = beside.map(|id| format!("{} is exclusive: {id} must be gone before a server of {name} starts", release.service)) {
        if let Some(group) = state.groups.get_mut(name) {
            group.trouble = Some(other);
            group.blocked = true;
        }
        return false;
    }
    let Some(group) = state.groups.get_mut(name) else { return false };
    if std::mem::take(&mut group.blocked) {
        group.trouble = None;
    }
    if group.preparing || group.not_before.is_some_and(|at| now < at) {
        return false;
    }
    let objects: Vec<Digest> = std::iter::once(&release.image).chain(&release.artifact).cloned().collect();
    let fresh = release.volumes.is_empty() || group.prepared_at.is_some_and(|at| now.saturating_duration_since(at) < VOLUMES_FRESH);
    if group.prepared && fresh && objects.iter().all(|object| keeper.objects.unchanged(object)) {
        return true;
    }
    group.preparing = true;
    group.objects.clone_from(&objects);
    let (keeper, name) = (keeper.clone(), name.clone());
    let begun = needs::Group::of(state, &name);
    let release = release.clone();
    keeper.clone().tasks.spawn_blocking(move || prepare(&keeper, &name, (&release, &begun), &objects));
    false
}

fn prepare(keeper: &Arc<Keeper>, name: &GroupName, (release, begun): (&Release, &needs::Group), objects: &[Digest]) {
    connectivity::know_names(keeper, release);
    let launch = if *begun == needs::Group::New { Launch::First } else { Launch::More };
    let result = objects.iter().try_for_each(|object| {
        let role = if *object == release.image { Role::Root(&release.image_name) } else { Role::Code };
        if keeper.objects.ensure(object, role, launch, &keeper.admit)? {
            keeper.counters.change(|c| c.mounted += 1);
        }
        Ok::<(), Fault>(())
    });
    let result = result.and_then(|()| needs::check(keeper, release, begun));
    let mut state = keeper.state();
    if let Some(group) = state.groups.get_mut(name) {
        group.preparing = false;
        group.prepared = result.is_ok();
        group.prepared_at = Some(Instant::now());
        match result {
            Ok(needs) => {
                group.mount_points = needs.mount_points;
                // The objects are usable again.
                if group.summary.deaths == 0 {
                    group.trouble = None;
                }
            }
            Err(fault) => {
                let now = Instant::now();
                group.report(&fault);
                group.slow_down(0, now);
                group.not_before = group.not_before.max(Some(now + PREPARE_AGAIN));
            }
        }
    }
    drop(state);
    keeper.nudge();
}

/// The objects that instances need.
struct Made<'a> {
    release: &'a Release,
    once: Option<&'a OneShot>,
    stamp: Option<Stamp>,
}

/// Records the intent: numbers first, so that none is ever used twice, then a directory for each instance.
fn create(keeper: &Keeper, state: &mut State, name: &GroupName, made: &Made<'_>, n: u32) -> Result<(), Fault> {
    let Made { release, once, .. } = *made;
    let Some(group) = state.groups.get_mut(name) else { return Ok(()) };
    let ids = keeper.uids.of(&release.service)?;
    let first = group.summary.last + 1;
    let before = group.summary.clone();
    let one_shot = once.map(|_| OneShotSummary { release: release.digest(), exit: None });
    let mount_points = Some(group.mount_points.clone());
    let sum = GroupSummary { last: before.last + u64::from(n), one_shot, mount_points, ..before.clone() };
    let path = summary_path(&keeper.layout, name);
    // A power cut ends every server, so what is lost with it is made again; a one-shot must not be.
    let write =
        |sum: &GroupSummary| if once.is_some() { state_files::write_json(&path, sum) } else { state_files::write_json_quick(&path, sum) };
    write(&sum)?;
    group.summary = sum;
    let numbers = first..first + u64::from(n);
    let done = make(keeper, state, name, made, ids, numbers);
    if let (Err(_), true, Some(group)) = (&done, once.is_some(), state.groups.get_mut(name)) {
        // It is certain that it was not launched, so it may be tried again. If that cannot be written the next keeper takes it for lost.
        let _ = write(&before);
        group.summary = before;
    }
    done
}

fn make(
    keeper: &Keeper,
    state: &mut State,
    name: &GroupName,
    made: &Made<'_>,
    ids: Range,
    numbers: std::ops::Range<u64>,
) -> Result<(), Fault> {
    let Made { release, once, stamp } = *made;
    for number in numbers {
        let id = InstanceId::new(format!("{name}-{number}")).map_err(|e| Fault::yours("bad-spec", e.to_string()))?;
        let used = state.addresses();
        let (address, last) = next_address(keeper.network.subnet, &used, state.last_address).ok_or_else(|| {
            Fault::world("no-address", format!("every address of {} is in use", keeper.network.subnet))
                .hint("scale in another service first")
        })?;
        state.last_address = last;
        let placement = Placement {
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
            six: keeper.network.prefix.map(|prefix| Six { address: prefix.host(last), gateway: prefix.gateway() }),
            search: keeper.resolvers().search,
            secrets: Some(keeper.layout.secrets()),
            ids: Some(ids),
            mount_points: state.groups.get(name).map_or_else(BTreeMap::new, |group| group.mount_points.clone()),
        };
        let record = Record {
            id: id.clone(),
            group: name.clone(),
            number,
            release: release.clone(),
            once: once.cloned(),
            stamp,
            created: disk::files::now(),
            placement,
        };
        write_down(keeper, &record)?;
        state.instances.insert(id, Instance::new(record));
    }
    Ok(())
}

/// The directory appears complete or not at all.
fn write_down(keeper: &Keeper, record: &Record) -> Result<(), Fault> {
    let temp = InstanceDir(keeper.layout.instances().join(format!(".new-{}", record.id)));
    state_files::make_dir(&temp.0)?;
    state_files::write_json_quick(&temp.record(), record)?;
    state_files::write(&temp.lock(), b"", false)?;
    let place = keeper.layout.instance(&record.id);
    std::fs::rename(&temp.0, &place).map_err(|e| state_files::at(&place, "making the instance's directory", e))
}

/// The mark comes first: from here on an exit is expected, also for the next keeper.
fn end(keeper: &Arc<Keeper>, state: &mut State, id: &InstanceId) {
    let Some(one) = state.instances.get_mut(id) else { return };
    let mark = crate::record::Ending { at: disk::files::now() };
    if let Err(fault) = state_files::write_json_quick(&InstanceDir(keeper.layout.instance(id)).ending(), &mark) {
        tracing::warn!("{fault}");
        return;
    }
    one.ending = Some(mark);
    one.stage = Stage::Ending;
    termination::begin(keeper, one);
}

/// A group that is gone and had no instances lately: nothing else would unmount its objects before the next garbage collection.
fn release_objects(keeper: &Arc<Keeper>, state: &mut State, name: &GroupName) {
    let empty = state.of_group(name).next().is_none();
    let Some(group) = state.groups.get_mut(name) else { return };
    let gone = group.declared().is_some_and(|d| d.spec.desired == DesiredGroup::Gone);
    if !gone || !empty || group.preparing || group.objects.is_empty() {
        return;
    }
    group.prepared = false;
    let (objects, keeper) = (std::mem::take(&mut group.objects), keeper.clone());
    keeper.clone().tasks.spawn_blocking(move || objects.iter().for_each(|object| instance::unmount_unused(&keeper, object, None)));
}
