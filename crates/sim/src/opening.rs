//! What the control plane does in a simulated history: it observes, plans with the code of `control`, and opens rotations.

use crate::bug::Bug;
use crate::keeper::Group;
use crate::planted;
use crate::scenario::{Act, Kind, ManualStep, TICK_MS};
use crate::store::Journal;
use crate::trace::{describe_event, describe_step};
use crate::world::World;
use control::{Change, Desired, ObservedService, ServiceInventory, Summary, Target};
use model::{
    DesiredGroup, Event, EventLine, Fence, GroupHeld, GroupName, GroupRelease, GroupSpec, Opened, RotationId, ServiceSpec, Stamp, Step,
    Time, Verdict, View,
};
use rotation::Rotation;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

/// What the control plane observes before it decides: everything that exists, and what a stopped rotation may have left.
fn observe(world: &mut World) -> ObservedService {
    let mut names: BTreeSet<GroupName> = world.keeper.groups.keys().cloned().collect();
    match world.store.journals.last().map(|j| Rotation::fold(&j.lines)) {
        Some(Ok(before)) => names.extend(before.remnants()),
        Some(Err(fault)) => world.fail(|| format!("the previous journal does not fold: {fault}")),
        None => {}
    }
    let groups = names.iter().map(|g| (g.clone(), world.keeper.see(g, world.now, 0))).collect();
    let route = world.routed.contains(&true).then(|| world.balancer.see(&world.route, &world.keeper, world.now));
    let mut summary = summary(world);
    summary.groups.extend(names);
    let view = View { at: Time(world.now), groups, route, objects: BTreeMap::new() };
    ObservedService { summary, view, inventory: inventory(world) }
}

/// The summary of the journals. The release that is active at the beginning has none.
fn summary(world: &World) -> Summary {
    let active = world.scenario.active.clone();
    let first = Summary {
        groups: active.iter().map(|s| s.group.clone()).collect(),
        releases: active.iter().map(|s| (s.group.clone(), s.release.clone())).collect(),
        active,
        routed: false,
    };
    let folded = world.store.journals.iter().filter_map(|j| Rotation::fold(&j.lines).ok());
    folded.fold(first, |summary, r| summary.with(&r))
}

fn inventory(world: &World) -> ServiceInventory {
    let held = |(name, group): (&GroupName, &Group)| {
        let gone = || GroupSpec { group: name.clone(), service: world.scenario.service.clone(), desired: DesiredGroup::Gone };
        GroupHeld { seen: world.keeper.see(name, world.now, 0), spec: group.desired.is_none().then(gone) }
    };
    ServiceInventory { groups: world.keeper.groups.iter().map(held).collect(), route: None }
}

/// What the API does: plan on what is observed, and write the first line.
pub(crate) fn open(cell: &RefCell<World>, act: &Act, from: Option<GroupRelease>) -> Option<RotationId> {
    let mut world = cell.borrow_mut();
    let number = world.store.journals.len() as u64 + 2;
    if holds_unknown(&world) {
        return None;
    }
    let id = RotationId::of(&world.scenario.service, number);
    let lost = world.scenario.lost.filter(|l| number == 2 && !l.at_start);
    let (stamp, count) = (lost.map(|l| Stamp { fence: Fence(l.fence), seq: l.seq }).unwrap_or_default(), act.spec.count);
    if lost.is_some_and(|l| l.after % 4 == 0) {
        let group = GroupName::of(&world.scenario.service, act.release.number, &id).expect("a short name");
        world.leave_behind(&group, stamp, count, true);
    }
    let observed = observe(&mut world);
    let desired = Desired { spec: act.spec.clone(), release: act.release.clone() };
    let digest = act.release.digest();
    let known = observed.inventory.has_migrated(&digest) || world.store.has_migrated(&digest);
    let is_migrated = act.release.migrate.is_none() || known && world.bug != Some(Bug::MigratesTwice);
    let target = Target { id: &id, from: from.as_ref(), own_count: None, is_migrated, why: "a new release" };
    let mut opened = match control::open(&observed, &desired, act.release.clone(), Change::Rotate, &target) {
        Ok(opened) => opened,
        // The API already observes what a lost control plane left.
        Err(fault) if fault.code == "name-used" && world.foreign.is_some() => return None,
        Err(fault) => {
            world.fail(|| format!("no plan: {fault}"));
            return None;
        }
    };
    planted::spoil_plan(world.bug, &mut opened.plan, from.as_ref());
    judge_plan(&mut world, &opened.plan, act);
    let running = match &from {
        None => 0,
        Some(from) => world.keeper.groups.get(&from.group).and_then(|g| g.desired).unwrap_or(0),
    };
    // A promoted release was active and complete.
    let promoted = matches!(world.oracle.closed, Some((Verdict::Promoted, _)));
    let base = if number == 2 || promoted { running } else { world.oracle.base.min(running) };
    world.oracle.base = base.min(act.spec.count);
    world.oracle.count = act.spec.count;
    world.oracle.restored_count = running;
    world.oracle.within = act.spec.rollout.within_ms;
    world.baked_at = match act.kind {
        Kind::NeverBaked => u64::MAX,
        _ => world.now + world.rng.below(5) * TICK_MS,
    };
    world.refused = None;
    let new = opened.to.group.clone();
    write_first(&mut world, &id, opened);
    if lost.is_some_and(|l| l.after % 4 == 1) {
        world.leave_behind(&new, stamp, count, true);
    }
    Some(id)
}

/// Opens a manual step on the active group. None: it was refused, which some must be.
pub(crate) fn open_manual_step(cell: &RefCell<World>, act: &Act, active: GroupRelease, manual: ManualStep) -> Option<RotationId> {
    let mut world = cell.borrow_mut();
    if holds_unknown(&world) {
        return None;
    }
    let desired = world.keeper.groups.get(&active.group).and_then(|g| g.desired).filter(|desired| *desired > 0)?;
    let group = active.group.clone();
    let mut spec = ServiceSpec { count: desired, ..act.spec.clone() };
    spec.route = active.release.route.clone();
    let step = match manual {
        ManualStep::SameSize => Step::Scale { group, count: desired },
        ManualStep::OneMore => Step::Scale { group, count: desired + 1 },
        ManualStep::OneLess => Step::Scale { group, count: desired - 1 },
        ManualStep::SameWeights if spec.route.is_some() => Step::Shift { route: world.route.clone(), weights: [(group, 100)].into() },
        ManualStep::SameWeights | ManualStep::Soak => {
            Step::Soak { group, for_ms: 5 * TICK_MS, errors_ppm: 10_000, min_requests: 0, few_requests: model::FewRequests::GoOn }
        }
        ManualStep::Retire => Step::Retire { group },
    };
    world.oracle.count = if manual == ManualStep::OneMore { desired + 1 } else { desired };
    let observed = observe(&mut world);
    let opened = control::open_manual_step(&observed, &spec, &step, Some(active), "by hand");
    let must_not = matches!(manual, ManualStep::OneLess | ManualStep::Retire);
    world.say(|| {
        format!("manual step: {}: {}", describe_step(&step), opened.as_ref().map_or_else(|f| f.message.clone(), |_| "ok".to_string()))
    });
    match opened {
        Ok(_) if must_not => {
            world.fail(|| format!("the manual step {} was not refused", describe_step(&step)));
            None
        }
        Ok(opened) => {
            let id = RotationId::of(&world.scenario.service, world.store.journals.len() as u64 + 2);
            write_first(&mut world, &id, opened);
            Some(id)
        }
        Err(_) => None,
    }
}

/// After an older copy of the journal was restored, servers run that no journal names. The control plane changes nothing of the
/// service until they are adopted.
fn holds_unknown(world: &World) -> bool {
    if !world.restored {
        return false;
    }
    let made = |group: &GroupName| {
        let opened = world.store.journals.iter().filter_map(|j| j.lines.first());
        let is_made = opened.into_iter().any(|line| matches!(&line.event, Event::Opened(o) if o.to.group == *group));
        Ok::<_, Infallible>(is_made)
    };
    let Ok(unknown) = control::unknown_groups(&inventory(world), made, || Ok(summary(world)));
    !unknown.is_empty()
}

/// What the API does when the service's block is removed from the file: a rotation back to nothing, which closes the listener last.
pub(crate) fn open_removal(cell: &RefCell<World>, act: &Act, active: GroupRelease) -> Option<RotationId> {
    let mut world = cell.borrow_mut();
    if holds_unknown(&world) {
        return None;
    }
    let spec = ServiceSpec { route: active.release.route.clone(), ..act.spec.clone() };
    let observed = observe(&mut world);
    let within_ms = spec.rollout.within_ms;
    let mut opened = match control::open_removal(&observed, spec, active, "it is removed") {
        Ok(opened) => opened,
        Err(fault) => {
            world.fail(|| format!("no plan to remove it: {fault}"));
            return None;
        }
    };
    if world.bug == Some(Bug::ListenerStaysOpen) {
        opened.plan.steps.pop_if(|s| matches!(s.step, Step::Shift { .. }));
    }
    (world.oracle.base, world.oracle.count, world.oracle.restored_count) = (0, 0, 0);
    world.oracle.within = within_ms;
    (world.baked_at, world.refused) = (world.now, None);
    let id = RotationId::of(&world.scenario.service, world.store.journals.len() as u64 + 2);
    write_first(&mut world, &id, opened);
    Some(id)
}

fn write_first(world: &mut World, id: &RotationId, opened: Opened) {
    let line = EventLine { rotation: id.clone(), seq: 0, at: Time(world.now), fence: Fence(0), event: Event::Opened(opened) };
    world.say(|| format!("{id} is opened: {}", describe_event(&line.event)));
    let now = world.now;
    world.store.journals.push(Journal { id: id.clone(), lines: vec![line.clone()], decided: vec![now], commands: Vec::new() });
    world.judge_line(&line, 0, now, true);
}

/// No prefix of a plan may have less than the floor, and the peak is at least the count.
fn judge_plan(world: &mut World, plan: &model::Plan, act: &Act) {
    if let Some(low) = plan.steps.iter().find(|s| s.capacity < plan.floor) {
        world.fail(|| format!("the plan goes to {} at {}, below its floor of {}", low.capacity, low.step.kind(), plan.floor));
    }
    if plan.peak < act.spec.count {
        world.fail(|| format!("the plan's peak of {} is less than the count of {}", plan.peak, act.spec.count));
    }
}
