//! Returns the single next action for a rotation, from the journal's fold and a view.
//!
//! ```text
//! closed? ▸ done          command? ▸ take the next          a migration ended? ▸ record it          stop? ▸ close       rollback? ▸ replace the plan
//! no step left? ▸ close by the final inventory              not begun? ▸ guard ▸ begin
//! another driver's step? ▸ begin again under our fence      view too old? ▸ wait
//! satisfied? ▸ record      failed, or out of time? ▸ roll back      guard ▸ declare until it is accepted ▸ wait
//! ```

use crate::condition::{Condition, Taken};
use crate::display::{describe, foreign, last_death, span};
use crate::plan::{RollbackIntent, rollback};
use crate::state::{Rotation, Started};
use model::{
    DesiredGroup, Direction, Event, Fault, Fence, GroupName, GroupSeen, GroupSpec, IssuedCommand, OneShot, Plan, Release, Route, RouteSpec,
    Stamp, Step, Time, Verdict, View,
};
use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one is made per tick")]
pub enum Decision {
    /// Append this, then decide again.
    Record(Event),
    /// Send this. Its answer proves nothing: only later observations count.
    Declare(Declaration),
    /// The reason in one sentence, and the time it ends if that is known.
    Wait {
        why: String,
        until: Option<Time>,
    },
    /// A resource holds a stamp at least this new that this journal never issued: take a fence above it, then decide again.
    Outrank {
        above: Fence,
        why: String,
    },
    Done,
}

#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "one is made per tick")]
pub enum Declaration {
    Group(Stamp, GroupSpec),
    Route(Stamp, RouteSpec),
}

/// This many deaths more than servers, before any server was healthy, are a crash loop.
const DEATHS_SPARE: u32 = 3;

/// How the driving loop decides. Production uses [`Plain`]; the simulator puts planted bugs between the loop and the decision.
pub trait Decider {
    fn decide(&self, r: &Rotation, seen: &View, commands: &[IssuedCommand], now: Time, fence: Fence) -> Decision;
    /// The provider or the router refused the running step's declaration permanently.
    fn refused(&self, r: &Rotation, seen: &View, fault: &Fault) -> Decision;
}

/// [`decide`], and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plain;

impl Decider for Plain {
    fn decide(&self, r: &Rotation, seen: &View, commands: &[IssuedCommand], now: Time, fence: Fence) -> Decision {
        decide(r, seen, commands, now, fence)
    }

    fn refused(&self, r: &Rotation, seen: &View, fault: &Fault) -> Decision {
        r.refused(seen, fault)
    }
}

pub fn decide(r: &Rotation, seen: &View, commands: &[IssuedCommand], now: Time, fence: Fence) -> Decision {
    if r.closed.is_some() {
        return Decision::Done;
    }
    if let Some(issued) = commands.iter().find(|a| a.n > r.commands_taken) {
        return Decision::Record(Event::CommandTaken(issued.clone()));
    }
    if let Some(ended) = r.unrecorded_migration(seen) {
        return Decision::Record(ended);
    }
    if let Some(by) = &r.stop_requested_by {
        return Decision::Record(r.close(seen, Verdict::Stopped, format!("{by} requested a stop")));
    }
    if let Some(by) = &r.rollback_requested_by {
        return Decision::Record(r.roll_back(seen, format!("{by} requested a rollback")));
    }
    if let Some(started) = &r.started {
        if started.stamp.fence < fence {
            let stamp = Stamp { fence, seq: r.len };
            return Decision::Record(Event::StepStarted { step: r.cursor, stamp, mark: started.mark, clock: None });
        }
        if started.stamp.fence > fence {
            return wait("another driver has taken over");
        }
    }
    if let Some(why) = r.stale(seen) {
        return wait(why);
    }
    if let Some(why) = r.step().and_then(|s| r.not_its_own(&s.step)) {
        return r.give_up(seen, why);
    }
    match (r.step(), &r.started) {
        (None, _) => r.finish(seen, now),
        (Some(planned), None) => r.begin(&planned.step, seen, now, fence),
        (Some(planned), Some(started)) => r.proceed(&planned.step, started, seen, now),
    }
}

/// The sentence of `afresh why`, and the time the wait ends if that is known. None: the rotation is closed.
pub fn explain(r: &Rotation, seen: &View, now: Time) -> Option<(String, Option<Time>)> {
    let fence = r.started.as_ref().map_or(r.fence, |s| s.stamp.fence);
    let place = r.step().map_or(String::new(), |s| format!("step {} ({})", r.cursor, describe(&s.step)));
    Some(match decide(r, seen, &[], now, fence) {
        Decision::Done => return None,
        Decision::Wait { why, until } => (why, until),
        Decision::Outrank { why, .. } => (why, r.deadline()),
        Decision::Declare(_) => (format!("{place} has begun and is being declared"), r.deadline()),
        Decision::Record(Event::StepStarted { .. }) => (format!("{place} is about to begin"), None),
        Decision::Record(Event::StepSatisfied { seen, .. }) => (format!("{place} is satisfied: {seen}"), None),
        Decision::Record(Event::PlanReplaced { why, .. }) => (format!("about to roll back: {why}"), None),
        Decision::Record(Event::Closed { why, .. }) => (format!("about to close: {why}"), None),
        Decision::Record(Event::CommandTaken(_) | Event::Opened(_) | Event::MigrationEnded { .. }) => {
            ("about to be written".to_string(), None)
        }
    })
}

fn wait(why: impl Into<String>) -> Decision {
    Decision::Wait { why: why.into(), until: None }
}

impl Rotation {
    fn begin(&self, step: &Step, seen: &View, now: Time, fence: Fence) -> Decision {
        if let Some(used) = self.name_used(step, seen) {
            return used;
        }
        // A soak begins under a pause too: it changes nothing, and it detects a release that fails.
        if self.paused && self.plan.direction != Direction::Back && !matches!(step, Step::Soak { .. }) {
            return wait(format!("paused before step {} ({})", self.cursor, describe(step)));
        }
        if let Some(why) = self.guard(seen).refuse(step) {
            if let Some(event) = self.replan_rollback(step, seen, now) {
                return Decision::Record(event);
            }
            let forward = self.plan.direction == Direction::Forward;
            let until = forward.then(|| self.moved_at.plus(self.opened.spec.rollout.within_ms));
            if until.is_some_and(|until| now >= until) && self.rollback_refusal().is_none() {
                return Decision::Record(self.roll_back(seen, format!("the step could not begin: {why}")));
            }
            return Decision::Wait { why, until };
        }
        let mark = match step {
            Step::Soak { group, .. } => self.mark(group, seen),
            _ => None,
        };
        Decision::Record(Event::StepStarted { step: self.cursor, stamp: Stamp { fence, seq: self.len }, mark, clock: None })
    }

    fn proceed(&self, step: &Step, started: &Started, seen: &View, now: Time) -> Decision {
        // A counter reset is handled before the soak can end.
        if let Some(again) = self.restart_soak(step, started, seen) {
            return Decision::Record(again);
        }
        let (why, until) = match self.condition(step, started, seen, now) {
            Condition::Met(seen) => return Decision::Record(Event::StepSatisfied { step: self.cursor, seen }),
            Condition::Failed(why) => return self.give_up(seen, why),
            Condition::NotYet { why, until } => (why, until),
        };
        if let Some(why) = self.crash_loop(step, started, seen) {
            return self.give_up(seen, why);
        }
        let restores = matches!(step, Step::Scale { .. }) && self.taken(step, started.stamp, seen) == Taken::Ours;
        if let Some(event) = self.replan_rollback(step, seen, now).filter(|_| restores) {
            return Decision::Record(event);
        }
        let deadline = self.deadline().filter(|_| !self.paused);
        if deadline.is_some_and(|d| now >= d) {
            let took = span(now.since(started.first_at));
            return self.give_up(seen, format!("{} took too long ({took}): {why}", describe(step)));
        }
        let until = until.or(deadline);
        match self.taken(step, started.stamp, seen) {
            Taken::Ours => return Decision::Wait { why, until },
            Taken::Foreign(stamp) => return Decision::Outrank { above: stamp.fence.max(started.stamp.fence), why },
            Taken::NotYet => {}
        }
        if let Some(why) = self.guard(seen).refuse(step) {
            return Decision::Wait { why, until };
        }
        match self.declaration(step, started.stamp, seen) {
            Some(declaration) => Decision::Declare(declaration),
            None => self.give_up(seen, format!("{}: no release of this rotation runs there", describe(step))),
        }
    }

    /// A step names groups of its own service only; an old journal may hold one that does not.
    fn not_its_own(&self, step: &Step) -> Option<String> {
        let service = &self.opened.spec.name;
        foreign(service, step).map(|group| format!("{}: {group} is not a group of {service}", describe(step)))
    }

    /// Before this rotation declares its first group, no group of that name may exist: it would be taken for this rotation's.
    fn name_used(&self, step: &Step, seen: &View) -> Option<Decision> {
        let first = self.cursor == 0 && self.plan.direction == Direction::Forward;
        let own = self.own_new();
        let named = step.group().filter(|g| own.contains(*g));
        let unused = own.iter().filter(|g| !self.touched.contains(*g) && (first || named == Some(g)));
        for group in unused {
            match seen.groups.get(group) {
                None => return Some(wait(format!("{group} has not been observed"))),
                Some(g) if *g == GroupSeen::unknown(group.clone()) => {}
                Some(_) => {
                    let why =
                        format!("a group {group} exists that this rotation did not create: it is left as it is, and its name is not used");
                    return Some(Decision::Record(self.close(seen, Verdict::Stopped, why)));
                }
            }
        }
        None
    }

    /// A declaration was refused permanently: the same call will never succeed.
    pub(crate) fn refused(&self, seen: &View, fault: &Fault) -> Decision {
        let what = self.step().map_or(String::new(), |s| describe(&s.step));
        self.give_up(seen, format!("{what} was refused: {}", fault.message))
    }

    /// The step cannot be satisfied. A rollback is possible until the old group begins to retire.
    fn give_up(&self, seen: &View, why: String) -> Decision {
        match (self.plan.direction, self.rollback_refusal()) {
            (Direction::Forward, None) => Decision::Record(self.roll_back(seen, why)),
            (Direction::Single, _) => Decision::Record(self.close(seen, Verdict::Stopped, why)),
            _ => wait(why),
        }
    }

    /// A rollback to an old group that is incomplete: its healthy servers get the share of traffic that they can carry. When no more
    /// become healthy within a step's time, they get all of it: a failed release is worse than too few servers.
    fn replan_rollback(&self, step: &Step, seen: &View, now: Time) -> Option<Event> {
        let (from, count) = (self.rollback_target().filter(|_| self.plan.direction == Direction::Back)?, self.restored_count());
        let healthy = self.observation(seen).tally(&from.group).healthy;
        if healthy >= self.plan.carry.unwrap_or(count) {
            return None;
        }
        let trouble = seen.groups.get(&from.group).and_then(|g| g.trouble.as_ref()).map_or(String::new(), |t| format!(" ({t})"));
        let what = format!("{healthy} of {count} of {} are healthy{trouble}", from.group);
        let within_ms = self.opened.spec.rollout.within_ms;
        let waited = now.since(self.rolling_back_since?) >= within_ms;
        if healthy == 0 {
            // Traffic stays on the failed release: routed to no server at all, every request would fail. This is recorded once.
            let why =
                format!("{what}, and none became healthy within {}: traffic stays on the failed release until one does", span(within_ms));
            let plan = || self.rollback_plan(seen, None, None);
            return (waited && !self.overdue_recorded).then(|| Event::PlanReplaced { why, plan: plan(), failure: None });
        }
        if waited {
            let why = format!("{what}, and no more became healthy within {}: these get all traffic", span(within_ms));
            return Some(Event::PlanReplaced { why, plan: self.rollback_plan(seen, None, Some(healthy)), failure: None });
        }
        let share = u32::try_from(u64::from(healthy) * 100 / u64::from(count.max(1))).unwrap_or(100);
        let gains = share > self.observation(seen).weight(&from.group) && self.observation(seen).routed(&from.group);
        match step {
            Step::Scale { group, .. } if *group == from.group && gains => {
                let why = format!("{what}: {share} % of the traffic is shifted back now");
                Some(Event::PlanReplaced { why, plan: self.rollback_plan(seen, Some(share), None), failure: None })
            }
            // The group can carry less now than when this share was planned.
            Step::Shift { weights, .. } if weights.len() > 1 => {
                Some(Event::PlanReplaced { why: what, plan: self.rollback_plan(seen, None, None), failure: None })
            }
            _ => None,
        }
    }

    /// Servers of a new group that was never complete exit faster than they become healthy: waiting for the deadline is pointless.
    fn crash_loop(&self, step: &Step, started: &Started, seen: &View) -> Option<String> {
        let Step::Scale { group, count } = step else { return None };
        let judged = self.plan.direction == Direction::Forward && *group == self.opened.to.group && !self.proven;
        if !judged || self.taken(step, started.stamp, seen) != Taken::Ours || self.observation(seen).healthy_by_keeper(group) > 0 {
            return None;
        }
        let there = seen.groups.get(group)?;
        let (deaths, all) = (there.deaths, there.deaths.saturating_add(self.observation(seen).tally(group).exist));
        (deaths >= DEATHS_SPARE.saturating_add(*count))
            .then(|| format!("crash loop: {deaths} of {all} instances of {group} exited{}", last_death(there)))
    }

    /// The balancer's counters were reset while soaking, so the soak restarts.
    fn restart_soak(&self, step: &Step, started: &Started, seen: &View) -> Option<Event> {
        let (Step::Soak { group, .. }, Some(mark)) = (step, started.mark) else { return None };
        if !self.counters_reset(group, started, seen) {
            return None;
        }
        let now = self.mark(group, seen)?;
        let stamp = Stamp { fence: started.stamp.fence, seq: self.len };
        // What was counted between the reset and this view counts too. The keeper counts deaths, the balancer errors.
        let deaths = now.deaths.map(|now| mark.deaths.map_or(now, |before| if now < before { 0 } else { before }));
        let errors = if self.observation(seen).routed(group) { 0 } else { deaths.map_or(0, u64::from) };
        let restarted = model::TrafficMark { epoch: now.epoch, requests: 0, errors, deaths };
        Some(Event::StepStarted { step: self.cursor, stamp, mark: Some(restarted), clock: None })
    }

    /// When the running step has taken too long. None: it has no limit, since giving it up would not help.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let (started, planned) = (self.started.as_ref()?, self.step()?);
        let within_ms = self.opened.spec.rollout.within_ms;
        let limit_ms = match &planned.step {
            _ if self.plan.direction == Direction::Back => return None,
            Step::Drain { .. } | Step::Retire { .. } => return None,
            Step::Bake { .. } | Step::Scale { .. } | Step::Shift { .. } => within_ms,
            Step::Check { within_ms, .. } => *within_ms,
            // Its own time begins with its launch, and its shim ends it then.
            Step::Migrate { within_ms: own_ms, .. } => own_ms.saturating_add(within_ms),
            Step::Soak { for_ms, .. } => for_ms.saturating_add(within_ms),
        };
        Some(started.first_at.max(self.resumed_at.unwrap_or_default()).plus(limit_ms))
    }

    /// Replaces the plan by a rollback from what exists now. It retires what this rotation touched, also what may not exist yet.
    fn roll_back(&self, seen: &View, mut why: String) -> Event {
        if self.is_migrated {
            why.push_str("; its migration has run: data stays as it left it");
        }
        let failure = seen.groups.get(&self.opened.to.group).and_then(GroupSeen::failure);
        Event::PlanReplaced { why, plan: self.rollback_plan(seen, None, None), failure }
    }

    fn rollback_plan(&self, seen: &View, share: Option<u32>, carry: Option<u32>) -> Plan {
        let from = self.rollback_target();
        let done = self.plan.steps.iter().take(self.cursor as usize);
        let mut kept: BTreeSet<&GroupName> =
            done.filter_map(|s| if let Step::Retire { group } = &s.step { Some(group) } else { None }).collect();
        kept.extend(from.map(|f| &f.group));
        let planned = self.opened.plan.steps.iter().filter_map(|s| if let Step::Retire { group } = &s.step { Some(group) } else { None });
        // What an earlier rotation left is retired too, also if it does not exist yet.
        let own = self.checks();
        let left: Vec<&GroupName> = planned.filter(|g| !own.contains(*g) && !kept.contains(g)).collect();
        let shift = from.is_some() || self.route_touched || !left.is_empty();
        let retire: BTreeSet<GroupName> = self.touched.iter().chain(left).filter(|g| !kept.contains(g)).cloned().collect();
        let intent = RollbackIntent {
            spec: &self.opened.spec,
            from,
            to: &self.opened.to,
            count: self.restored_count(),
            retire: retire.into_iter().collect(),
            checks: own.clone(),
            shift,
            share,
            carry,
        };
        rollback(&intent, seen)
    }

    fn declaration(&self, step: &Step, stamp: Stamp, seen: &View) -> Option<Declaration> {
        let service = &self.opened.spec.name;
        let declare = |group: &GroupName, desired| {
            Some(Declaration::Group(stamp, GroupSpec { group: group.clone(), service: service.clone(), desired }))
        };
        match step {
            Step::Scale { group, count } => {
                declare(group, DesiredGroup::Run { release: self.release(group)?.clone(), count: *count, once: None })
            }
            Step::Check { group, of, command, .. } => {
                declare(group, DesiredGroup::Run { release: self.release(of)?.clone(), count: 1, once: Some(OneShot::of(command.clone())) })
            }
            Step::Migrate { group, of, command, within_ms } => {
                let once = OneShot { within_ms: Some(*within_ms), ..OneShot::of(command.clone()) };
                declare(group, DesiredGroup::Run { release: self.release(of)?.clone(), count: 1, once: Some(once) })
            }
            Step::Retire { group } => declare(group, DesiredGroup::Gone),
            Step::Shift { route, weights } => {
                let weights = weights.iter().filter(|(_, w)| **w > 0).map(|(g, w)| (g.clone(), *w)).collect();
                let gone = self.ends_route(step);
                // A tombstone opens no listener, so any settings do where neither release has a route.
                let settings = self.settings(seen).cloned().or_else(|| gone.then(|| Route::on(([127, 0, 0, 1], 0).into())))?;
                Some(Declaration::Route(stamp, RouteSpec { route: route.clone(), settings, weights, gone }))
            }
            Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. } => None,
        }
    }

    /// The last step of a removal: it shifts traffic to nobody once more, when every group is retired, and the listener closes.
    pub(crate) fn ends_route(&self, step: &Step) -> bool {
        let removes = self.opened.plan.direction == Direction::Back && self.opened.from.is_none();
        let last = self.cursor > 0 && self.cursor as usize + 1 == self.plan.steps.len();
        removes && last && matches!(step, Step::Shift { weights, .. } if weights.is_empty())
    }

    pub(crate) fn release(&self, group: &GroupName) -> Option<&Release> {
        let known = self.opened.from.iter().chain([&self.opened.to]).find(|s| s.group == *group);
        known.map(|s| &s.release)
    }

    /// The listener's settings are those of the release that the plan leads to: a rollback restores the old ones.
    pub(crate) fn settings<'a>(&'a self, seen: &'a View) -> Option<&'a Route> {
        let old = self.opened.from.as_ref().and_then(|f| f.release.route.as_ref());
        let new = self.opened.to.release.route.as_ref().or(self.opened.spec.route.as_ref());
        let own = if self.plan.direction == Direction::Back { old.or(new) } else { new.or(old) };
        // Neither release has a route: traffic is shifted off what a stopped rotation left, and the listener stays as it is.
        own.or(seen.route.as_ref().and_then(|r| r.settings.as_ref()))
    }
}
