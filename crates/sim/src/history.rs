//! One whole simulated history: acts (rotations) one after another, two drivers, users, and the end of each judged.

use crate::bug::Bug;
use crate::keeper::Group;
use crate::planted::{self, Planted};
use crate::ports::Ports;
use crate::scenario::{Act, Backup, Hand, Kind, NOISY_TICKS, Scenario, TICK_MS};
use crate::store::Journal;
use crate::world::{Machine, World};
use control::{Change, Desired, ObservedService, ServiceInventory, Summary, Target};
use model::{
    DesiredGroup, Event, EventLine, Fence, GroupHeld, GroupName, GroupRelease, GroupSpec, IssuedCommand, Opened, RotationCommand,
    RotationId, ServiceSpec, Stamp, Step, Time, Verdict, View,
};
use rotation::{Driver, Rotation, Tick};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;

const LEASE_MS: u64 = 20 * TICK_MS;
/// A driver that has something to do does so many things within a tick.
const TURNS_MAX: u32 = 8;
/// After the faults have ended every rotation closes within so many ticks: its steps, its deadlines, and the way back.
const CLOSE_TICKS: u64 = 900;

/// What one history came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub violation: Option<String>,
    pub events: u64,
    pub points: u64,
    pub ticks: u64,
    /// Servers launched in all: what is done twice must not show here.
    pub launched: u64,
    pub verdicts: Vec<Verdict>,
    pub trace: Vec<String>,
}

struct Seat {
    driver: Driver<Planted>,
    wakes: u64,
}

pub(crate) fn play(seed: u64, bug: Option<Bug>, traced: bool) -> Outcome {
    play_with(seed, Scenario::of(seed), bug, traced, Vec::new())
}

pub(crate) fn play_with(seed: u64, scenario: Scenario, bug: Option<Bug>, traced: bool, crash_at: Vec<u64>) -> Outcome {
    let mut world = World::new(seed, scenario, bug);
    world.log = traced.then(Vec::new);
    world.crash_at = crash_at;
    let acts = world.scenario.acts.clone();
    let began = world.now;
    let world = RefCell::new(world);
    let mut stands = world.borrow().scenario.stands.clone();
    let mut verdicts = Vec::new();
    let hand = world.borrow().scenario.hand;
    let removes = world.borrow().scenario.removal.is_some();
    for (i, act) in acts.iter().enumerate() {
        let last = i + 1 == acts.len() && hand.is_none() && !removes;
        let Some(id) = open(&world, act, stands.take()) else { break };
        let backup = world.borrow().scenario.backup.filter(|b| b.act == i);
        match play_act(&world, act, &id, Ending { last, backup }) {
            Some((verdict, active)) => {
                verdicts.push(verdict);
                stands = active;
            }
            None => break,
        }
    }
    if let (Some(hand), Some(stands), Some(Verdict::Promoted | Verdict::RolledBack), Some(act)) =
        (hand, stands.clone(), verdicts.last(), acts.last())
        && world.borrow().violation.is_none()
    {
        let stood = world.borrow().kinds.get(usize::try_from(stands.release.number).unwrap_or(0)).copied();
        let kind = if stood == Some(Kind::Good) { Kind::Good } else { Kind::Faint };
        let act = Act { kind, commands: Vec::new(), forgotten: None, ..act.clone() };
        if let Some(id) = open_by_hand(&world, &act, stands, hand) {
            verdicts.extend(play_act(&world, &act, &id, Ending::LAST).map(|(verdict, _)| verdict));
        }
    } else if let (true, Some(stands), Some(act)) = (removes, stands, acts.last())
        && world.borrow().violation.is_none()
    {
        let commands = world.borrow().scenario.removal.clone().unwrap_or_default();
        let act = Act { kind: Kind::Faint, commands, forgotten: None, ..act.clone() };
        if let Some(id) = open_removal(&world, &act, stands) {
            verdicts.extend(play_act(&world, &act, &id, Ending::LAST).map(|(verdict, _)| verdict));
        }
    }
    let world = world.into_inner();
    Outcome {
        violation: world.violation,
        events: world.events,
        points: world.points,
        launched: world.keeper.groups.values().map(|g| g.launched).sum(),
        ticks: (world.now - began) / TICK_MS,
        verdicts,
        trace: world.log.unwrap_or_default(),
    }
}

#[derive(Clone, Copy)]
struct Ending {
    /// No other act follows: nothing may be under way any more.
    last: bool,
    backup: Option<Backup>,
}

impl Ending {
    const LAST: Ending = Ending { last: true, backup: None };
}

/// Lets time pass until the rotation is closed and has come to rest. None: a violation ended it.
fn play_act(cell: &RefCell<World>, act: &Act, id: &RotationId, mut ending: Ending) -> Option<(Verdict, Option<GroupRelease>)> {
    let mut seats = [0, 1].map(|who| Seat { driver: seat(&cell.borrow(), id, who), wakes: 0 });
    let opened = cell.borrow().now;
    let (quiet, limit) = (opened + NOISY_TICKS * TICK_MS, opened + (NOISY_TICKS + CLOSE_TICKS) * TICK_MS);
    let mut rest = 0;
    let mut asked = opened;
    loop {
        {
            let mut world = cell.borrow_mut();
            world.noisy = !world.scenario.calm && world.now < quiet;
            world.turn();
            users(&mut world, act, id, opened, quiet, asked);
            if let Some(backup) = ending.backup.filter(|b| world.now >= opened + b.after * TICK_MS) {
                world.put_back(backup.part);
                (ending.backup, rest) = (None, 0);
                // The control plane was ended for it.
                drop(world);
                seats = [0, 1].map(|who| Seat { driver: seat(&cell.borrow(), id, who), wakes: 0 });
                world = cell.borrow_mut();
            }
            asked = world.now;
        }
        let first = cell.borrow_mut().rng.place(2);
        for who in [first, 1 - first] {
            drive(cell, &mut seats[who], id, who);
        }
        let mut world = cell.borrow_mut();
        if world.violation.is_some() {
            return None;
        }
        if world.oracle.closed.is_some() {
            rest += 1;
            // Between acts what is late stays on its way: it must not matter to the next.
            if rest > 8 && ending.backup.is_none() && (!ending.last || world.net.is_empty()) {
                world.judge_end();
                let closed = world.oracle.closed.clone();
                judge_verdict(&mut world, act);
                world.judge_refused(act.kind, opened);
                return closed.filter(|_| world.violation.is_none());
            }
        } else if world.now > limit {
            let at = world.store.journals.last().and_then(|j| j.lines.last()).map(|l| event_in_words(&l.event));
            world.fail(|| format!("not closed in time; its journal ends with {}", at.unwrap_or_default()));
        }
    }
}

fn seat(world: &World, id: &RotationId, who: usize) -> Driver<Planted> {
    Driver::with_decider(id.clone(), format!("driver-{who}"), LEASE_MS, Planted { bug: world.bug })
}

/// What the control plane observes before it decides: everything that exists, and what a stopped rotation may have left.
fn observe(world: &mut World) -> ObservedService {
    let mut names: BTreeSet<GroupName> = world.keeper.groups.keys().cloned().collect();
    match world.store.journals.last().map(|j| Rotation::fold(&j.lines)) {
        Some(Ok(before)) => names.extend(before.remnants()),
        Some(Err(fault)) => world.fail(|| format!("the journal before does not fold: {fault}")),
        None => {}
    }
    let groups = names.iter().map(|g| (g.clone(), world.keeper.see(g, world.now, 0))).collect();
    let route = world.routed.contains(&true).then(|| world.balancer.see(&world.route, &world.keeper, world.now));
    let mut summary = summary(world);
    summary.groups.extend(names);
    let view = View { at: Time(world.now), groups, route, objects: BTreeMap::new() };
    ObservedService { summary, view, inventory: inventory(world) }
}

/// What the journals come to. The release that is active at the beginning has none.
fn summary(world: &World) -> Summary {
    let active = world.scenario.stands.clone();
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

/// What the API does: plan on what is seen, and write the first line.
fn open(cell: &RefCell<World>, act: &Act, from: Option<GroupRelease>) -> Option<RotationId> {
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
    let target = Target { id: &id, from: from.as_ref(), own_count: None, why: "a new release" };
    let mut opened = match control::open(&observed, &desired, act.release.clone(), Change::Rotate, &target) {
        Ok(opened) => opened,
        // What a lost control plane left is seen by the API already.
        Err(fault) if fault.code == "name-used" && world.foreign.is_some() => return None,
        Err(fault) => {
            world.fail(|| format!("no plan: {fault}"));
            return None;
        }
    };
    planted::spoil_plan(world.bug, &mut opened.plan, from.as_ref());
    judge_plan(&mut world, &opened.plan, act);
    let stood = match &from {
        None => 0,
        Some(from) => world.keeper.groups.get(&from.group).and_then(|g| g.desired).unwrap_or(0),
    };
    // What was promoted stood whole.
    let promoted = matches!(world.oracle.closed, Some((Verdict::Promoted, _)));
    let base = if number == 2 || promoted { stood } else { world.oracle.base.min(stood) };
    world.oracle.base = base.min(act.spec.count);
    world.oracle.count = act.spec.count;
    world.oracle.stood = stood;
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

/// A plan of one step of what stands. None: it was refused, which some must be.
fn open_by_hand(cell: &RefCell<World>, act: &Act, stands: GroupRelease, hand: Hand) -> Option<RotationId> {
    let mut world = cell.borrow_mut();
    if holds_unknown(&world) {
        return None;
    }
    let desired = world.keeper.groups.get(&stands.group).and_then(|g| g.desired).filter(|desired| *desired > 0)?;
    let group = stands.group.clone();
    let mut spec = ServiceSpec { count: desired, ..act.spec.clone() };
    spec.route = stands.release.route.clone();
    let step = match hand {
        Hand::SameSize => Step::Scale { group, count: desired },
        Hand::OneMore => Step::Scale { group, count: desired + 1 },
        Hand::OneLess => Step::Scale { group, count: desired - 1 },
        Hand::SameWeights if spec.route.is_some() => Step::Shift { route: world.route.clone(), weights: [(group, 100)].into() },
        Hand::SameWeights | Hand::Soak => {
            Step::Soak { group, for_ms: 5 * TICK_MS, errors_ppm: 10_000, min_requests: 0, few_requests: model::FewRequests::GoOn }
        }
        Hand::Retire => Step::Retire { group },
    };
    world.oracle.count = if hand == Hand::OneMore { desired + 1 } else { desired };
    let observed = observe(&mut world);
    let opened = control::open_manual_step(&observed, &spec, &step, Some(stands), "by hand");
    let must_not = matches!(hand, Hand::OneLess | Hand::Retire);
    world
        .say(|| format!("by hand: {}: {}", step_in_words(&step), opened.as_ref().map_or_else(|f| f.message.clone(), |_| "ok".to_string())));
    match opened {
        Ok(_) if must_not => {
            world.fail(|| format!("by hand, {} was not refused", step_in_words(&step)));
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

/// After an older copy was put back: servers run of which no journal speaks. The control plane holds the service until somebody
/// adopts them, and changes nothing.
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

/// What the API does when the service's block is gone from the file: a rotation back to nothing, which ends with the listener.
fn open_removal(cell: &RefCell<World>, act: &Act, stands: GroupRelease) -> Option<RotationId> {
    let mut world = cell.borrow_mut();
    if holds_unknown(&world) {
        return None;
    }
    let spec = ServiceSpec { route: stands.release.route.clone(), ..act.spec.clone() };
    let observed = observe(&mut world);
    let within_ms = spec.rollout.within_ms;
    let mut opened = match control::open_removal(&observed, spec, stands, "it is removed") {
        Ok(opened) => opened,
        Err(fault) => {
            world.fail(|| format!("no plan to remove it: {fault}"));
            return None;
        }
    };
    if world.bug == Some(Bug::ListenerStaysOpen) {
        opened.plan.steps.pop_if(|s| matches!(s.step, Step::Shift { .. }));
    }
    (world.oracle.base, world.oracle.count, world.oracle.stood) = (0, 0, 0);
    world.oracle.within = within_ms;
    (world.baked_at, world.refused) = (world.now, None);
    let id = RotationId::of(&world.scenario.service, world.store.journals.len() as u64 + 2);
    write_first(&mut world, &id, opened);
    Some(id)
}

fn write_first(world: &mut World, id: &RotationId, opened: Opened) {
    let line = EventLine { rotation: id.clone(), seq: 0, at: Time(world.now), fence: Fence(0), event: Event::Opened(opened) };
    world.say(|| format!("{id} is opened: {}", event_in_words(&line.event)));
    let now = world.now;
    world.store.journals.push(Journal { id: id.clone(), lines: vec![line.clone()], decided: vec![now], commands: Vec::new() });
    world.judge_line(&line, 0, now, true);
}

/// No prefix of a plan may have less than the floor, and the peak is no more than both groups and a check.
fn judge_plan(world: &mut World, plan: &model::Plan, act: &Act) {
    if let Some(low) = plan.steps.iter().find(|s| s.capacity < plan.floor) {
        world.fail(|| format!("the plan goes to {} at {}, below its floor of {}", low.capacity, low.step.kind(), plan.floor));
    }
    if plan.peak < act.spec.count {
        world.fail(|| format!("the plan's peak of {} is less than the {} wanted", plan.peak, act.spec.count));
    }
}

/// In a calm world a good release is promoted, and a bad one is not merely stopped.
fn judge_verdict(world: &mut World, act: &Act) {
    let verdict = world.oracle.closed.as_ref().map(|(v, _)| *v);
    let parked = act.spec.count == 0 && !matches!(act.kind, Kind::NeverBaked | Kind::Refused);
    let wanted = if act.kind == Kind::Good || parked { Verdict::Promoted } else { Verdict::RolledBack };
    if world.scenario.calm && act.kind != Kind::Faint && verdict != Some(wanted) {
        world.fail(|| format!("in a calm world a release that is {:?} ended as {verdict:?}", act.kind));
    }
}

/// `before`: when they were here last; a slow call lets more than one tick pass.
fn users(world: &mut World, act: &Act, id: &RotationId, opened: u64, quiet: u64, before: u64) {
    let due = |at: u64, now: u64| before < at && at <= now;
    if let Some(lost) =
        world.scenario.lost.filter(|l| !l.at_start && world.store.journals.len() == 1 && due(opened + l.after * TICK_MS, world.now))
        && let Some(to) = world.oracle.to.clone()
    {
        world.leave_behind(&to.group, Stamp { fence: Fence(lost.fence), seq: lost.seq }, act.spec.count, false);
    }
    for (at, ask) in &act.commands {
        if due(opened + at * TICK_MS, world.now) {
            command(world, id, *ask);
        }
    }
    if world.oracle.closed.is_some() || world.now < quiet {
        return;
    }
    // In the end somebody looks: what is paused goes on, and what cannot go back to a release that is bad itself is stopped.
    let late = world.now > quiet + CLOSE_TICKS / 2 * TICK_MS;
    let from_bad = world.oracle.from.as_ref().and_then(|f| world.kinds.get(usize::try_from(f.release.number).unwrap_or(0)));
    if world.restored && late && world.now.is_multiple_of(100 * TICK_MS) {
        command(world, id, RotationCommand::Stop);
    } else if due(quiet, world.now) && !act.commands.is_empty() && act.forgotten.is_none() {
        command(world, id, RotationCommand::Resume);
    } else if let Some(ask) = act.forgotten.filter(|_| due(quiet + 200 * TICK_MS, world.now)) {
        command(world, id, ask);
    } else if late && act.forgotten.is_some() && world.now.is_multiple_of(100 * TICK_MS) {
        command(world, id, RotationCommand::Resume);
    } else if late
        && (from_bad.is_some_and(|k| *k != Kind::Good) || matches!(act.kind, Kind::Hangs | Kind::Leaks))
        && world.now.is_multiple_of(100 * TICK_MS)
    {
        command(world, id, RotationCommand::Stop);
    }
}

fn command(world: &mut World, id: &RotationId, command: RotationCommand) {
    let Some(journal) = world.store.journals.iter_mut().find(|j| j.id == *id) else { return };
    let n = journal.commands.len() as u64 + 1;
    journal.commands.push(IssuedCommand { n, command, by: "somebody".to_string() });
    world.say(|| format!("somebody gives the command {command:?}"));
}

/// Lets one driver do what it has to do within this tick, unless it sleeps, stalls or is dead.
fn drive(cell: &RefCell<World>, seat_: &mut Seat, id: &RotationId, who: usize) {
    {
        let mut world = cell.borrow_mut();
        if world.now < seat_.wakes {
            return;
        }
        if world.chance(|f| f.sleep) {
            seat_.wakes = world.later(60);
            world.say(|| format!("driver {who} sleeps"));
            return;
        }
        if world.machines[who].look.is_none() && world.chance(|f| f.slow_look) {
            world.machines[who].look = Some(world.look());
            world.say(|| format!("driver {who} looks, and stalls before it decides"));
            seat_.wakes = world.later(40);
            return;
        }
        if world.machines[who].look.is_none() && world.chance(|f| f.old_look) && !world.looks.is_empty() {
            let kept = world.looks.len();
            let place = world.rng.place(kept);
            let old = world.looks[place].clone();
            world.say(|| format!("driver {who} is shown how it was at {} s", old.at / TICK_MS));
            world.machines[who].look = Some(old);
        }
    }
    drive_awake(cell, seat_, id, who);
    let mut world = cell.borrow_mut();
    world.machines[who].look = None;
    world.machines[who].about_to_look = false;
}

fn drive_awake(cell: &RefCell<World>, seat_: &mut Seat, id: &RotationId, who: usize) {
    let ports = Ports { world: cell, who };
    for _ in 0..TURNS_MAX {
        let tick = seat_.driver.tick(&ports.world());
        let mut world = cell.borrow_mut();
        if world.machines[who].crashed {
            let skew = world.machines[who].next_skew.unwrap_or(world.machines[who].skew);
            world.machines[who] = Machine { skew, ..Machine::default() };
            seat_.driver = seat(&world, id, who);
            seat_.wakes = if world.scenario.calm { world.now } else { world.later(30) };
            return;
        }
        if let Some(until) = world.machines[who].stalled_until.take() {
            seat_.wakes = until;
            return;
        }
        let ticks = if world.scenario.calm { 1 } else { 3 };
        match tick {
            Ok(Tick::Again) => continue,
            Ok(Tick::Wait { why, .. }) => {
                world.say(|| format!("driver {who} waits: {why}"));
                seat_.wakes = world.later(ticks);
            }
            Ok(Tick::NotMine { .. }) => seat_.wakes = world.later(2 * ticks),
            Ok(Tick::Closed(_)) => seat_.wakes = u64::MAX,
            Err(refused) => {
                if let rotation::Refused::Fault(fault) = &refused
                    && fault.blame == model::Blame::Ours
                {
                    world.fail(|| format!("driver {who}: {fault}"));
                }
                world.say(|| format!("driver {who}: {refused}"));
                seat_.wakes = world.later(ticks);
            }
        }
        return;
    }
}

pub(crate) fn wish_in_words(spec: &GroupSpec) -> String {
    match &spec.desired {
        DesiredGroup::Run { count, once: None, .. } => format!("run {count}"),
        DesiredGroup::Run { .. } => "run a check".to_string(),
        DesiredGroup::Gone => "be gone".to_string(),
    }
}

pub(crate) fn event_in_words(event: &Event) -> String {
    match event {
        Event::Opened(o) => {
            let steps: Vec<String> = o.plan.steps.iter().map(|s| step_in_words(&s.step)).collect();
            format!("plan of {} steps for {}: {}", steps.len(), o.to.group, steps.join(", "))
        }
        Event::StepStarted { step, stamp, .. } => format!("step {step} starts with {stamp}"),
        Event::StepSatisfied { step, seen } => format!("step {step} is satisfied: {seen}"),
        Event::PlanReplaced { why, plan, .. } => {
            let steps: Vec<String> = plan.steps.iter().map(|s| step_in_words(&s.step)).collect();
            format!("back: {why}: {}", steps.join(", "))
        }
        Event::CommandTaken(asked) => format!("takes the ask {} to {:?}", asked.n, asked.command),
        Event::Closed { verdict, why, .. } => format!("closed as {verdict:?}: {why}"),
    }
}

fn step_in_words(step: &Step) -> String {
    match step {
        Step::Scale { group, count } => format!("scale {group} {count}"),
        Step::Shift { weights, .. } => format!("shift {:?}", weights.values().collect::<Vec<_>>()),
        Step::Soak { for_ms, .. } => format!("soak {for_ms}"),
        other => format!("{} {}", other.kind(), other.group().map_or("", |g| g.as_str())),
    }
}
