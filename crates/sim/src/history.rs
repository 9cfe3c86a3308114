//! One whole simulated history: acts (rotations) one after another, two drivers, users. The end of each act is judged.

use crate::bug::Bug;
use crate::opening::{open, open_manual_step, open_removal};
use crate::planted::Planted;
use crate::ports::Ports;
use crate::scenario::{Act, Backup, Kind, MIGRATION_TICKS, NOISY_TICKS, Scenario, TICK_MS};
use crate::trace::describe_event;
use crate::world::{Machine, World};
use model::{Fence, GroupRelease, IssuedCommand, RotationCommand, RotationId, Stamp, Verdict};
use rotation::{Driver, Tick};
use std::cell::RefCell;

const LEASE_MS: u64 = 20 * TICK_MS;
/// A driver that has something to do runs at most this many cycles within a tick.
const CYCLES_MAX: u32 = 8;
/// After the faults have ended every rotation closes within this many ticks: its steps, its deadlines, and a rollback.
const CLOSE_TICKS: u64 = 900;

/// The result of one history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub violation: Option<String>,
    pub events: u64,
    pub points: u64,
    pub ticks: u64,
    /// Servers launched in total: a declaration that arrives twice must not change it.
    pub launched: u64,
    pub verdicts: Vec<Verdict>,
    pub trace: Vec<String>,
}

struct DriverSlot {
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
    let mut active = world.borrow().scenario.active.clone();
    let mut verdicts = Vec::new();
    let manual = world.borrow().scenario.manual;
    let removes = world.borrow().scenario.removal.is_some();
    for (i, act) in acts.iter().enumerate() {
        let last = i + 1 == acts.len() && manual.is_none() && !removes;
        let Some(id) = open(&world, act, active.take()) else { break };
        let backup = world.borrow().scenario.backup.filter(|b| b.act == i);
        match play_act(&world, act, &id, Ending { last, backup }) {
            Some((verdict, now_active)) => {
                verdicts.push(verdict);
                active = now_active;
            }
            None => break,
        }
    }
    if let (Some(manual), Some(active), Some(Verdict::Promoted | Verdict::RolledBack), Some(act)) =
        (manual, active.clone(), verdicts.last(), acts.last())
        && world.borrow().violation.is_none()
    {
        let active_kind = world.borrow().kinds.get(usize::try_from(active.release.number).unwrap_or(0)).copied();
        let kind = if active_kind == Some(Kind::Good) { Kind::Good } else { Kind::Faint };
        let act = Act { kind, commands: Vec::new(), forgotten: None, ..act.clone() };
        if let Some(id) = open_manual_step(&world, &act, active, manual) {
            verdicts.extend(play_act(&world, &act, &id, Ending::LAST).map(|(verdict, _)| verdict));
        }
    } else if let (true, Some(active), Some(act)) = (removes, active, acts.last())
        && world.borrow().violation.is_none()
    {
        let commands = world.borrow().scenario.removal.clone().unwrap_or_default();
        let act = Act { kind: Kind::Faint, commands, forgotten: None, ..act.clone() };
        if let Some(id) = open_removal(&world, &act, active) {
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
    /// No other act follows: nothing may be in flight any more.
    last: bool,
    backup: Option<Backup>,
}

impl Ending {
    const LAST: Ending = Ending { last: true, backup: None };
}

/// Lets time pass until the rotation is closed and the world is at rest. None: a violation ended it.
fn play_act(cell: &RefCell<World>, act: &Act, id: &RotationId, mut ending: Ending) -> Option<(Verdict, Option<GroupRelease>)> {
    let mut slots = [0, 1].map(|who| DriverSlot { driver: new_driver(&cell.borrow(), id, who), wakes: 0 });
    let opened = cell.borrow().now;
    let (quiet, limit) = (opened + NOISY_TICKS * TICK_MS, opened + (NOISY_TICKS + CLOSE_TICKS) * TICK_MS);
    let mut rest = 0;
    let mut issued = opened;
    loop {
        {
            let mut world = cell.borrow_mut();
            world.noisy = !world.scenario.calm && world.now < quiet;
            world.advance();
            users(&mut world, act, id, opened, quiet, issued);
            if let Some(backup) = ending.backup.filter(|b| world.now >= opened + b.after * TICK_MS) {
                world.restore_backup(backup.part);
                (ending.backup, rest) = (None, 0);
                // The control plane was stopped for it.
                drop(world);
                slots = [0, 1].map(|who| DriverSlot { driver: new_driver(&cell.borrow(), id, who), wakes: 0 });
                world = cell.borrow_mut();
            }
            issued = world.now;
        }
        let first = cell.borrow_mut().rng.place(2);
        for who in [first, 1 - first] {
            drive(cell, &mut slots[who], id, who);
        }
        let mut world = cell.borrow_mut();
        if world.violation.is_some() {
            return None;
        }
        if world.oracle.closed.is_some() {
            rest += 1;
            // Between acts late messages stay in flight: they must not affect the next act.
            if rest > 8 && ending.backup.is_none() && (!ending.last || world.net.is_empty()) {
                world.judge_end();
                let closed = world.oracle.closed.clone();
                judge_verdict(&mut world, act);
                world.judge_refused(act.kind, opened);
                return closed.filter(|_| world.violation.is_none());
            }
        } else if world.now > limit {
            let at = world.store.journals.last().and_then(|j| j.lines.last()).map(|l| describe_event(&l.event));
            world.fail(|| format!("not closed in time; its journal ends with {}", at.unwrap_or_default()));
        }
    }
}

fn new_driver(world: &World, id: &RotationId, who: usize) -> Driver<Planted> {
    Driver::with_decider(id.clone(), format!("driver-{who}"), LEASE_MS, Planted { bug: world.bug })
}

/// In a calm world a good release is promoted, and a bad one is rolled back.
fn judge_verdict(world: &mut World, act: &Act) {
    let verdict = world.oracle.closed.as_ref().map(|(v, _)| *v);
    let parked = act.spec.count == 0 && !matches!(act.kind, Kind::NeverBaked | Kind::Refused);
    // Of the release that it is about: a step by hand is of the active one.
    let number = world.oracle.to.as_ref().and_then(|to| usize::try_from(to.release.number).ok());
    let migration = number.and_then(|number| world.migrations.get(number).copied().flatten());
    let migrates = parked || migration.is_none_or(|m| m.code == 0 && m.ticks < MIGRATION_TICKS);
    let expected = if (act.kind == Kind::Good || parked) && migrates { Verdict::Promoted } else { Verdict::RolledBack };
    if world.scenario.calm && act.kind != Kind::Faint && verdict != Some(expected) {
        world.fail(|| format!("in a calm world a release that is {:?} ended as {verdict:?}", act.kind));
    }
}

/// `before`: when users acted last; a slow call lets more than one tick pass.
fn users(world: &mut World, act: &Act, id: &RotationId, opened: u64, quiet: u64, before: u64) {
    let due = |at: u64, now: u64| before < at && at <= now;
    if let Some(lost) =
        world.scenario.lost.filter(|l| !l.at_start && world.store.journals.len() == 1 && due(opened + l.after * TICK_MS, world.now))
        && let Some(to) = world.oracle.to.clone()
    {
        world.leave_behind(&to.group, Stamp { fence: Fence(lost.fence), seq: lost.seq }, act.spec.count, false);
    }
    for (at, command) in &act.commands {
        if due(opened + at * TICK_MS, world.now) {
            issue_command(world, id, *command);
        }
    }
    if world.oracle.closed.is_some() || world.now < quiet {
        return;
    }
    // In the end a user acts: what is paused is resumed, and what cannot roll back, because the old release is bad too, is stopped.
    let late = world.now > quiet + CLOSE_TICKS / 2 * TICK_MS;
    let from_bad = world.oracle.from.as_ref().and_then(|f| world.kinds.get(usize::try_from(f.release.number).unwrap_or(0)));
    if world.restored && late && world.now.is_multiple_of(100 * TICK_MS) {
        issue_command(world, id, RotationCommand::Stop);
    } else if due(quiet, world.now) && !act.commands.is_empty() && act.forgotten.is_none() {
        issue_command(world, id, RotationCommand::Resume);
    } else if let Some(command) = act.forgotten.filter(|_| due(quiet + 200 * TICK_MS, world.now)) {
        issue_command(world, id, command);
    } else if late && act.forgotten.is_some() && world.now.is_multiple_of(100 * TICK_MS) {
        issue_command(world, id, RotationCommand::Resume);
    } else if late
        && (from_bad.is_some_and(|k| *k != Kind::Good) || matches!(act.kind, Kind::Hangs | Kind::Leaks))
        && world.now.is_multiple_of(100 * TICK_MS)
    {
        issue_command(world, id, RotationCommand::Stop);
    }
}

fn issue_command(world: &mut World, id: &RotationId, command: RotationCommand) {
    let Some(journal) = world.store.journals.iter_mut().find(|j| j.id == *id) else { return };
    let n = journal.commands.len() as u64 + 1;
    journal.commands.push(IssuedCommand { n, command, by: "somebody".to_string() });
    world.say(|| format!("a user gives the command {command:?}"));
}

/// Runs one driver within this tick, unless it sleeps, stalls or is dead.
fn drive(cell: &RefCell<World>, slot: &mut DriverSlot, id: &RotationId, who: usize) {
    {
        let mut world = cell.borrow_mut();
        if world.now < slot.wakes {
            return;
        }
        if world.chance(|f| f.sleep) {
            slot.wakes = world.later(60);
            world.say(|| format!("driver {who} sleeps"));
            return;
        }
        if world.machines[who].snapshot.is_none() && world.chance(|f| f.slow_decision) {
            world.machines[who].snapshot = Some(world.snapshot());
            world.say(|| format!("driver {who} observes, and stalls before it decides"));
            slot.wakes = world.later(40);
            return;
        }
        if world.machines[who].snapshot.is_none() && world.chance(|f| f.stale_view) && !world.snapshots.is_empty() {
            let kept = world.snapshots.len();
            let place = world.rng.place(kept);
            let old = world.snapshots[place].clone();
            world.say(|| format!("driver {who} gets the view of {} s", old.at / TICK_MS));
            world.machines[who].snapshot = Some(old);
        }
    }
    drive_awake(cell, slot, id, who);
    let mut world = cell.borrow_mut();
    world.machines[who].snapshot = None;
    world.machines[who].about_to_observe = false;
}

fn drive_awake(cell: &RefCell<World>, slot: &mut DriverSlot, id: &RotationId, who: usize) {
    let ports = Ports { world: cell, who };
    for _ in 0..CYCLES_MAX {
        let tick = slot.driver.tick(&ports.world());
        let mut world = cell.borrow_mut();
        if world.machines[who].crashed {
            let skew = world.machines[who].next_skew.unwrap_or(world.machines[who].skew);
            world.machines[who] = Machine { skew, ..Machine::default() };
            slot.driver = new_driver(&world, id, who);
            slot.wakes = if world.scenario.calm { world.now } else { world.later(30) };
            return;
        }
        if let Some(until) = world.machines[who].stalled_until.take() {
            slot.wakes = until;
            return;
        }
        let ticks = if world.scenario.calm { 1 } else { 3 };
        match tick {
            Ok(Tick::Again) => continue,
            Ok(Tick::Wait { why, .. }) => {
                world.say(|| format!("driver {who} waits: {why}"));
                slot.wakes = world.later(ticks);
            }
            Ok(Tick::NotMine { .. }) => slot.wakes = world.later(2 * ticks),
            Ok(Tick::Closed(_)) => slot.wakes = u64::MAX,
            Err(refused) => {
                if let rotation::Refused::Fault(fault) = &refused
                    && fault.blame == model::Blame::Ours
                {
                    world.fail(|| format!("driver {who}: {fault}"));
                }
                world.say(|| format!("driver {who}: {refused}"));
                slot.wakes = world.later(ticks);
            }
        }
        return;
    }
}
