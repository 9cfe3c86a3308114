//! When a step is satisfied: one condition for each kind of step, read from a view that is new enough. Nothing is declared here.

use crate::CLOCKS_APART_MS;
use crate::capacity_guard::CapacityGuard;
use crate::display::{describe, display_weights, failure_suffix, servers, span};
use crate::gate::Gate;
use crate::observation::Observation;
use crate::state::{Rotation, Started};
use model::text::shown;
use model::{
    DesiredSeen, Digest, Direction, Exit, FewRequests, GroupName, GroupSeen, GroupTraffic, QUOTED_BYTES_MAX, Stamp, Step, Time, View,
};
use std::collections::BTreeMap;

/// So many of the last lines of a migration's output stand in the reason of a rollback.
const QUOTED_LINES: usize = 3;

/// What `afresh step check` reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepStatus {
    Satisfied(String),
    NotYet(String),
    Refused(String),
}

pub(crate) enum Condition {
    Met(String),
    NotYet { why: String, until: Option<Time> },
    Failed(String),
}

/// Whose declaration the step's resource holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    NotYet,
    /// This step's: its stamp and its content.
    Ours,
    /// A stamp that no step of this rotation has, or this step's stamp with another content: written by a control plane that this
    /// journal does not know.
    Foreign(Stamp),
}

fn not_yet(why: impl Into<String>) -> Condition {
    Condition::NotYet { why: why.into(), until: None }
}

/// The status of one step of the current plan: what was observed when it was satisfied, what it waits for, or why it may not begin.
pub fn step_status(r: &Rotation, step: u32, seen: &View, now: Time) -> StepStatus {
    let Some(planned) = r.plan.steps.get(step as usize) else {
        return StepStatus::Refused(format!("{} has no step {step}: its plan has {}", r.id, r.plan.steps.len()));
    };
    if let Some(note) = r.notes.get(step as usize) {
        return StepStatus::Satisfied(note.clone());
    }
    if let Some(closed) = &r.closed {
        return StepStatus::Refused(format!("the rotation was closed before this step: {}", closed.why));
    }
    if step > r.cursor {
        return StepStatus::NotYet(format!("step {} comes first: {}", r.cursor, r.step().map_or(String::new(), |s| describe(&s.step))));
    }
    if let Some(why) = r.stale(seen) {
        return StepStatus::NotYet(why);
    }
    if let Some(started) = &r.started {
        match r.condition(&planned.step, started, seen, now) {
            Condition::Met(seen) => return StepStatus::Satisfied(seen),
            Condition::Failed(why) => return StepStatus::Refused(why),
            Condition::NotYet { why, .. } => {
                return r.guard(seen).refuse(&planned.step).map_or(StepStatus::NotYet(why), StepStatus::Refused);
            }
        }
    }
    match r.guard(seen).refuse(&planned.step) {
        Some(why) => StepStatus::Refused(why),
        None => StepStatus::NotYet(format!("{} has not begun", describe(&planned.step))),
    }
}

/// Whether the first step of a plan that is not opened is satisfied already, whoever declared it. Nothing was declared for it, so it
/// has no stamp of its own. `r` is the fold of the `Opened` line alone, written before anything was observed.
pub fn unopened_step_status(mut r: Rotation, seen: &View, now: Time) -> StepStatus {
    let (at, stamp) = (r.opened_at, r.step().and_then(|s| Rotation::shown(&s.step, seen)).unwrap_or_default());
    r.started = Some(Started { first_at: at, since: at, last_at: at, adopted: false, stamp, mark: None, clock: None });
    step_status(&r, 0, seen, now)
}

impl Rotation {
    pub(crate) fn observation<'a>(&'a self, seen: &'a View) -> Observation<'a> {
        let digests = [self.digests[0].as_ref(), self.digests[1].as_ref()];
        Observation { seen, spec: &self.opened.spec, from: self.opened.from.as_ref(), to: Some(&self.opened.to), digests }
    }

    pub(crate) fn guard<'a>(&'a self, seen: &'a View) -> CapacityGuard<'a> {
        let full_count =
            if self.plan.direction == Direction::Back { self.plan.carry.unwrap_or(self.restored_count()) } else { self.opened.spec.count };
        CapacityGuard {
            observation: self.observation(seen),
            direction: self.plan.direction,
            floor: self.plan.floor,
            full_count,
            checks: self.checks(),
        }
    }

    /// Why the view must be ignored: it shows an older stamp than an earlier view did.
    pub(crate) fn stale(&self, seen: &View) -> Option<String> {
        let older = |known: &Stamp, shown: Option<Stamp>| shown.is_none_or(|s| s < *known);
        for (group, known) in &self.group_stamps {
            if older(known, seen.groups.get(group).and_then(|g| g.stamp)) {
                return Some(format!("ignoring a stale observation of {group}"));
            }
        }
        let route = self.route_stamp.filter(|known| older(known, seen.route.as_ref().and_then(|r| r.stamp)));
        route.map(|_| "ignoring a stale observation of the route".to_string())
    }

    /// The stamp that the step's resource shows.
    fn shown(step: &Step, seen: &View) -> Option<Stamp> {
        match step {
            Step::Shift { .. } => seen.route.as_ref().and_then(|r| r.stamp),
            Step::Scale { group, .. } | Step::Check { group, .. } | Step::Migrate { group, .. } | Step::Retire { group } => {
                seen.groups.get(group).and_then(|g| g.stamp)
            }
            Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. } => None,
        }
    }

    /// Whose declaration the step's resource holds. The running step's stamp is the newest that this rotation issued, so a newer
    /// stamp, or the same one with another content, is foreign.
    pub(crate) fn taken(&self, step: &Step, stamp: Stamp, seen: &View) -> Taken {
        if matches!(step, Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. }) {
            return Taken::Ours;
        }
        match Self::shown(step, seen) {
            Some(shown) if shown == stamp && self.declared_so(step, seen) => Taken::Ours,
            Some(shown) if shown >= stamp => Taken::Foreign(shown),
            _ => Taken::NotYet,
        }
    }

    /// The resource shows what the step declares.
    fn declared_so(&self, step: &Step, seen: &View) -> bool {
        let runs = |group: &GroupName, of: &GroupName, wanted: u32| {
            let (Some(seen), Some(release)) = (seen.groups.get(group), self.release(of)) else { return false };
            // A provider that does not report a release does not contradict it, and does not confirm it: see `wrong_release`.
            let same = self.expected(of).is_none_or(|digest| seen.release.as_ref().is_none_or(|shown| shown == digest));
            same && seen.desired == DesiredSeen::Run { release: release.number, count: wanted }
        };
        match step {
            Step::Scale { group, count } => runs(group, group, *count),
            Step::Check { group, of, .. } | Step::Migrate { group, of, .. } => runs(group, of, 1),
            Step::Retire { group } => seen.groups.get(group).is_some_and(|g| g.desired == DesiredSeen::Gone),
            Step::Shift { weights, .. } => seen.route.as_ref().is_some_and(|route| {
                let gone = self.ends_route(step);
                let settings = route.settings.as_ref().is_none_or(|shown| !gone && Some(shown) == self.settings(seen));
                settings && same_weights(weights, &route.weights)
            }),
            Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. } => true,
        }
    }

    /// The digest of the release that the group must run.
    fn expected(&self, group: &GroupName) -> Option<&Digest> {
        let known = self.opened.from.iter().map(|s| (&s.group, &self.digests[0])).chain([(&self.opened.to.group, &self.digests[1])]);
        known.filter(|(of, _)| *of == group).find_map(|(_, digest)| digest.as_ref())
    }

    /// Why the group cannot be counted for this release: it is declared with another one, or the keeper does not report which.
    fn wrong_release(&self, g: &GroupSeen, of: &GroupName) -> Option<Condition> {
        let (expected, release) = (self.expected(of)?, self.release(of)?);
        match &g.release {
            Some(shown) if shown == expected => None,
            Some(shown) => Some(Condition::Failed(format!(
                "{} runs another release than {}: {}, not {}",
                g.group,
                release.label(),
                shown.short(),
                expected.short()
            ))),
            None => Some(not_yet(format!("the keeper does not report which release {} runs", g.group))),
        }
    }

    pub(crate) fn condition(&self, step: &Step, started: &Started, seen: &View, now: Time) -> Condition {
        // What is recorded of a migration needs no observation any more.
        if let Step::Migrate { group, .. } = step {
            if let Some(ended) = self.migration_recorded(group) {
                return ended;
            }
        }
        match self.taken(step, started.stamp, seen) {
            Taken::Ours => {}
            Taken::NotYet => {
                return not_yet(match step {
                    Step::Shift { route, .. } => format!("the balancer has not yet accepted the weights of {route}"),
                    _ => "the keeper has not yet accepted the declaration".to_string(),
                });
            }
            Taken::Foreign(stamp) => return self.foreign_stamp(step, stamp, seen),
        }
        match step {
            Step::Bake { objects, .. } => {
                let missing = objects.iter().find(|o| seen.objects.get(*o) != Some(&true));
                match missing {
                    None => Condition::Met("the store has every object, verified".to_string()),
                    Some(object) => not_yet(format!("{} is not in the store, or its bytes are damaged", object.short())),
                }
            }
            Step::Check { group, of, .. } => with_group(seen, group, |g| self.wrong_release(g, of).unwrap_or_else(|| check_passed(g))),
            Step::Migrate { group, of, .. } => with_group(seen, group, |g| self.wrong_release(g, of).unwrap_or_else(|| migration_runs(g))),
            Step::Scale { group, count } => with_group(seen, group, |g| self.scaled(g, *count, seen)),
            Step::Shift { weights, .. } => shifted(weights, seen),
            Step::Soak { .. } => self.soaked(step, started, seen, now),
            Step::Drain { group, within_ms } => self.drained(group, *within_ms, started, seen, now),
            Step::Retire { group } => with_group(seen, group, retired),
        }
    }

    /// A later fence may overrule it, unless the group is gone or runs another release: a group never changes either.
    fn foreign_stamp(&self, step: &Step, stamp: Stamp, seen: &View) -> Condition {
        let (what, of) = match step {
            Step::Shift { route, .. } => {
                return not_yet(format!("route {route} holds the stamp {stamp}, which this rotation did not issue"));
            }
            Step::Check { group, of, .. } | Step::Migrate { group, of, .. } => (group, of),
            step => {
                let Some(group) = step.group() else { return not_yet("nothing is declared") };
                (group, group)
            }
        };
        let runs = matches!(step, Step::Scale { .. } | Step::Check { .. } | Step::Migrate { .. });
        match seen.groups.get(what).filter(|_| runs) {
            Some(g) if g.desired == DesiredSeen::Gone => Condition::Failed(format!("{what} is gone, and group names are never reused")),
            Some(g) if matches!(g.desired, DesiredSeen::Run { .. }) => match self.wrong_release(g, of) {
                Some(wrong) => wrong,
                None => not_yet(format!("{what} holds the stamp {stamp}, which this rotation did not issue")),
            },
            _ => not_yet(format!("{what} holds the stamp {stamp}, which this rotation did not issue")),
        }
    }

    /// Whether the release is migrated, or this migration of it failed. Only success lets a server of it start: an end that nobody saw
    /// does not.
    fn migration_recorded(&self, group: &GroupName) -> Option<Condition> {
        if let Some((by, _)) = self.migration_ends.iter().find(|(_, exit)| exit.succeeded()) {
            return Some(Condition::Met(format!("the migration {by} succeeded")));
        }
        let exit = self.migration_ends.get(group)?;
        Some(Condition::Failed(format!("the migration {group} failed: {}{}", exit.how(), last_lines(exit))))
    }

    fn scaled(&self, g: &GroupSeen, count: u32, seen: &View) -> Condition {
        let desired = match g.desired {
            DesiredSeen::Run { count, .. } => count,
            DesiredSeen::Gone => return Condition::Failed(format!("{} is gone, and group names are never reused", g.group)),
            DesiredSeen::Unknown => return not_yet(format!("the keeper does not know {}", g.group)),
        };
        if let Some(wrong) = self.wrong_release(g, &g.group) {
            return wrong;
        }
        if desired != count {
            return not_yet(format!("{} is declared with {desired}, not {count}", g.group));
        }
        let tally = self.observation(seen).tally(&g.group);
        if tally.exist > count {
            return not_yet(format!("{} has {}, not {count}", g.group, servers(tally.exist)));
        }
        // A rollback to fewer servers than the full count is stated in the plan: see `Plan::carry`.
        let carry = self.plan.carry.filter(|_| self.opened.from.as_ref().is_some_and(|f| f.group == g.group));
        if tally.healthy < count.min(carry.unwrap_or(count)) {
            let trouble = g.trouble.as_ref().map_or(String::new(), |t| format!("; the last launch failed: {t}"));
            let deaths = if g.deaths > 0 { format!("; {} exited so far", servers(g.deaths)) } else { String::new() };
            let why = failure_suffix(Some(g));
            let nobody =
                tally.healthy == 0 && self.plan.direction == Direction::Back && self.rollback_target().is_some_and(|b| b.group == g.group);
            let stays = if nobody { "; traffic stays on the failed release until one is" } else { "" };
            return not_yet(format!(
                "{} of {count} of {} have been healthy for the required time{deaths}{why}{trouble}{stays}",
                tally.healthy, g.group
            ));
        }
        Condition::Met(format!("{} of {count} of {} are healthy", tally.healthy, g.group))
    }

    /// When a wait of `for_ms` is over, by the clock of the driver that holds the step.
    pub(crate) fn wait_end(&self, started: &Started, for_ms: u64) -> Time {
        if !started.adopted {
            return started.since.plus(for_ms);
        }
        // The start was read from another clock. Either bound is safe: the first because clocks differ by no more than that,
        // the second because it uses one clock alone.
        started.since.plus(for_ms.saturating_add(CLOCKS_APART_MS)).min(started.last_at.plus(for_ms))
    }

    fn soaked(&self, step: &Step, started: &Started, seen: &View, now: Time) -> Condition {
        let Step::Soak { group, for_ms, few_requests, .. } = step else { return not_yet("it is no soak") };
        let until = self.wait_end(started, *for_ms);
        let gate = self.gate(step, started, seen);
        if let Gate::Fail(why) = gate {
            return Condition::Failed(why);
        }
        if self.counters_reset(group, started, seen) {
            return not_yet(format!("the counters of {group} were reset: the soak restarts"));
        }
        let since = self.since_mark(group, started, seen).unwrap_or_default();
        let (so_far, all) = if self.observation(seen).routed(group) {
            (format!("{} failed of {} so far", since.errors, since.requests), format!("{} failed of {}", since.errors, since.requests))
        } else {
            ("no server exited so far".to_string(), "no server exited".to_string())
        };
        // A view from before this driver took over the step proves nothing about the soak.
        let believed = seen.at >= until && seen.at >= started.last_at;
        let late_enough = now >= until && believed;
        if !late_enough {
            let left = span(until.since(now));
            return Condition::NotYet { why: format!("soaking {group}: {left} left, {so_far}"), until: Some(until) };
        }
        if let Some(why) = self.guard(seen).shortfall(group) {
            return not_yet(format!("the soak of {group} is over, but {why}"));
        }
        let over = format!("soaked {group} for {}: {all}", span(*for_ms));
        match (gate, few_requests) {
            (Gate::NotEnough(why), FewRequests::Wait) => not_yet(format!("the soak of {group} is over, but {why}")),
            (Gate::NotEnough(why), FewRequests::GoOn) => Condition::Met(format!("{over}; continued without enough data: {why}")),
            _ => Condition::Met(over),
        }
    }

    fn drained(&self, group: &GroupName, within_ms: u64, started: &Started, seen: &View, now: Time) -> Condition {
        let until = self.wait_end(started, within_ms);
        let idle = GroupTraffic::default();
        let in_flight = seen.route.as_ref().map(|route| route.groups.get(group).unwrap_or(&idle).in_flight);
        let new_enough = seen.at > started.last_at;
        if new_enough && in_flight == Some(0) {
            return Condition::Met(format!("no request is in flight to {group}"));
        }
        let what = in_flight.map_or("the balancer has not been observed".to_string(), |n| format!("{n} requests in flight"));
        if now >= until {
            return Condition::Met(format!("the drain deadline of {group} has passed with {what}"));
        }
        Condition::NotYet { why: format!("draining {group}: {what}"), until: Some(until) }
    }
}

fn with_group(seen: &View, group: &GroupName, condition: impl Fn(&GroupSeen) -> Condition) -> Condition {
    seen.groups.get(group).map_or_else(|| not_yet(format!("{group} has not been observed")), condition)
}

fn check_passed(g: &GroupSeen) -> Condition {
    match g.instances.iter().find_map(|i| i.exit.as_ref()) {
        Some(exit) if exit.code == 0 => Condition::Met(format!("{} exited with 0", g.group)),
        Some(exit) => Condition::Failed(format!("the check {} exited with {}{}", g.group, exit.code, exit.quoted())),
        None => not_yet(match &g.trouble {
            Some(trouble) => format!("cannot launch the check {}: {trouble}", g.group),
            None => format!("the check {} is running", g.group),
        }),
    }
}

/// `: "line before", "last line"`, or empty where it printed nothing.
fn last_lines(exit: &Exit) -> String {
    let printed: Vec<&str> = exit.lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let last = &printed[printed.len().saturating_sub(QUOTED_LINES)..];
    let quoted: Vec<String> = last.iter().map(|line| format!("\"{}\"", shown(line, QUOTED_BYTES_MAX))).collect();
    if quoted.is_empty() { String::new() } else { format!(", {}", quoted.join(", ")) }
}

/// How it ended is read off the journal: see [`Rotation::unrecorded_migration`].
fn migration_runs(g: &GroupSeen) -> Condition {
    not_yet(match (&g.ended, &g.trouble) {
        (Some(_), _) => format!("the migration {} has ended", g.group),
        (None, Some(trouble)) => format!("cannot launch the migration {}: {trouble}", g.group),
        (None, None) => format!("the migration {} is running", g.group),
    })
}

fn same_weights(a: &BTreeMap<GroupName, u32>, b: &BTreeMap<GroupName, u32>) -> bool {
    a.iter().filter(|(_, w)| **w > 0).eq(b.iter().filter(|(_, w)| **w > 0))
}

fn shifted(weights: &BTreeMap<GroupName, u32>, seen: &View) -> Condition {
    let Some(route) = &seen.route else { return not_yet("the balancer has not been observed") };
    if !same_weights(weights, &route.weights) {
        return not_yet(format!("the balancer routes traffic to {}", display_weights(&route.weights)));
    }
    match &route.trouble {
        Some(trouble) if !weights.is_empty() => not_yet(format!("{} does not listen: {trouble}", route.route)),
        _ => Condition::Met(format!("the balancer routes traffic to {}", display_weights(&route.weights))),
    }
}

fn retired(g: &GroupSeen) -> Condition {
    if g.desired != DesiredSeen::Gone {
        return not_yet(format!("{} is still declared", g.group));
    }
    match g.instances.len() {
        0 => Condition::Met(format!("{} is gone", g.group)),
        n => not_yet(format!("{} still has {}", g.group, servers(u32::try_from(n).unwrap_or(u32::MAX)))),
    }
}
