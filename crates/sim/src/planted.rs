//! The planted bugs that are mistakes of the engine, at the one seam that the driving loop has: [`rotation::Decider`].
//!
//! Production code does not contain them. Each is made by changing what the engine gets (fold, view) or what it returns
//! (decision, plan). Bugs of the world below the engine are in `store`, `world`, `advance`, `ports` and `opening`.

use crate::Bug;
use model::{
    DesiredGroup, DesiredSeen, Direction, Event, Fault, Fence, GroupName, GroupRelease, GroupSeen, GroupSpec, IssuedCommand, Plan,
    PlannedStep, RouteSpec, Stamp, Step, Time, View,
};
use rotation::{Decider, Decision, Declaration, Plain, Rotation, StepStatus};

/// An impatient engine gives a step this much less time.
const IMPATIENT_MS: u64 = 45_000;

/// [`Plain`] with one bug in it.
pub(crate) struct Planted {
    pub bug: Option<Bug>,
}

impl Decider for Planted {
    fn decide(&self, r: &Rotation, seen: &View, commands: &[IssuedCommand], now: Time, fence: Fence) -> Decision {
        let Some(bug) = self.bug else { return Plain.decide(r, seen, commands, now, fence) };
        let (mut r, mut seen) = (r.clone(), seen.clone());
        spoil_input(bug, &mut r, &mut seen, now);
        let decision = Plain.decide(&r, &seen, commands, now, fence);
        let decision = match bug {
            Bug::NoGuard | Bug::ShrinkBeforeShift | Bug::RollbackAssumesSize => overrule_guard(&r, &seen, now, fence, decision),
            Bug::TimeoutIsSuccess => call_timeout_success(&r, &seen, fence, decision),
            _ => decision,
        };
        self.spoil_replacement(&r, decision)
    }

    fn refused(&self, r: &Rotation, seen: &View, fault: &Fault) -> Decision {
        self.spoil_replacement(r, Plain.refused(r, seen, fault))
    }
}

impl Planted {
    fn spoil_replacement(&self, r: &Rotation, mut decision: Decision) -> Decision {
        if let Decision::Record(Event::PlanReplaced { plan, .. }) = &mut decision {
            spoil_plan(self.bug, plan, r.opened.from.as_ref());
        }
        decision
    }
}

/// Puts the bug into a plan.
pub(crate) fn spoil_plan(bug: Option<Bug>, plan: &mut Plan, from: Option<&GroupRelease>) {
    let back = plan.direction == Direction::Back;
    let scales_from = |step: &Step| matches!(step, Step::Scale { group, .. } if from.is_some_and(|f| f.group == *group));
    match bug {
        Some(Bug::NoDrain) => plan.steps.retain(|s| !matches!(s.step, Step::Drain { .. })),
        Some(Bug::RollbackAssumesSize) if back => plan.steps.retain(|s| !scales_from(&s.step)),
        Some(Bug::RoutesToParked) if back && plan.steps.iter().any(|s| scales_from(&s.step)) => {
            for step in &mut plan.steps {
                if let (Step::Shift { weights, .. }, Some(from)) = (&mut step.step, from.filter(|f| f.release.route.is_some()))
                    && weights.is_empty()
                {
                    weights.insert(from.group.clone(), 100);
                }
            }
        }
        Some(Bug::MigratesAfterServers) if !back => {
            let migrate = plan.steps.iter().position(|s| matches!(s.step, Step::Migrate { .. }));
            let scale = plan.steps.iter().position(|s| matches!(s.step, Step::Scale { .. }) && !scales_from(&s.step));
            if let (Some(migrate), Some(scale)) = (migrate, scale) {
                plan.steps[migrate..=scale].rotate_right(1);
            }
        }
        Some(Bug::MigrationsOverlap) if !back => {
            let migrate = plan.steps.iter().position(|s| matches!(s.step, Step::Migrate { .. })).unwrap_or(0);
            let is_old = |s: &PlannedStep| matches!(&s.step, Step::Retire { group } if group.as_str().ends_with("-m"));
            while let Some(old) = plan.steps.iter().take(migrate).position(is_old) {
                let step = plan.steps.remove(old);
                plan.steps.push(step);
            }
        }
        Some(Bug::ShrinkBeforeShift) if !back => {
            for place in 0..plan.steps.len() {
                let wave = plan.steps[place].wave;
                let first = plan.steps.iter().position(|s| s.wave == wave && !matches!(s.step, Step::Scale { .. }));
                let Some(first) = first.filter(|first| wave.is_some() && *first < place && scales_from(&plan.steps[place].step)) else {
                    continue;
                };
                plan.steps[first..=place].rotate_right(1);
                let capacity = plan.steps[first].capacity;
                plan.steps[first..=place].iter_mut().for_each(|s| s.capacity = capacity);
            }
        }
        _ => {}
    }
}

fn spoil_input(bug: Bug, r: &mut Rotation, seen: &mut View, now: Time) {
    let step = r.step().map(|s| s.step.clone());
    match bug {
        Bug::StaleView => renew_view(r, seen, now),
        Bug::TakesForeign => {
            show_expected_releases(r, seen);
            if let (Some(step), Some(started)) = (&step, &r.started) {
                raise_stamp(step, seen, |shown| shown.filter(|s| *s > started.stamp).map(|_| started.stamp));
            }
        }
        Bug::LostMigrationSucceeds => {
            for end in seen.groups.values_mut().filter_map(|g| g.ended.as_mut()).filter(|end| end.exit.lost) {
                (end.exit.lost, end.exit.code) = (false, 0);
            }
        }
        Bug::ReleaseUnseen => show_expected_releases(r, seen),
        Bug::NameNotObserved if r.plan.direction == Direction::Forward => {
            let new = &r.opened.to.group;
            for (name, group) in &mut seen.groups {
                if name.as_str().starts_with(new.as_str()) && !r.touched.contains(name) {
                    *group = GroupSeen::unknown(name.clone());
                }
            }
        }
        Bug::SoakTooEarly => {
            if let (Some(Step::Soak { for_ms, .. }), Some(started)) = (&step, &mut r.started) {
                let early = |at: Time| Time(at.0.saturating_sub(for_ms.saturating_mul(3) / 4));
                (started.since, started.last_at) = (early(started.since), early(started.last_at));
            }
        }
        Bug::ErrorsIgnored => {
            if let Some(Step::Soak { group, .. }) = &step {
                hide_errors(group, r, seen);
            }
        }
        Bug::Impatient => {
            if let Some(started) = &mut r.started {
                started.first_at = Time(started.first_at.0.saturating_sub(IMPATIENT_MS));
            }
        }
        _ => {}
    }
}

/// Every stamp in the view is at least the newest that is known, and the view was taken now.
fn renew_view(r: &Rotation, seen: &mut View, now: Time) {
    for (group, known) in &r.group_stamps {
        if let Some(shown) = seen.groups.get_mut(group) {
            shown.stamp = shown.stamp.max(Some(*known));
        }
    }
    if let Some(route) = &mut seen.route {
        route.stamp = route.stamp.max(r.route_stamp);
    }
    seen.at = now;
    let (Some(started), Some(step)) = (&r.started, r.step()) else { return };
    seen.at = seen.at.max(started.last_at.plus(1));
    if shows_declared(&step.step, seen) {
        raise_stamp(&step.step, seen, |_| Some(started.stamp));
        // Of the listener only the weights are compared.
        if let (Step::Shift { .. }, Some(route)) = (&step.step, &mut seen.route) {
            route.settings = None;
        }
    }
}

/// The step's resource shows what the step declares, with any stamp.
fn shows_declared(step: &Step, seen: &View) -> bool {
    let desired = |group: &GroupName| seen.groups.get(group).map(|g| g.desired);
    match step {
        Step::Scale { group, count: expected } => matches!(desired(group), Some(DesiredSeen::Run { count, .. }) if count == *expected),
        Step::Check { group, .. } | Step::Migrate { group, .. } => matches!(desired(group), Some(DesiredSeen::Run { .. })),
        Step::Retire { group } => desired(group) == Some(DesiredSeen::Gone),
        Step::Shift { weights, .. } => seen.route.as_ref().is_some_and(|r| r.weights == *weights),
        Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. } => false,
    }
}

/// Changes the stamp that the step's resource shows, if `stamp` returns one.
fn raise_stamp(step: &Step, seen: &mut View, stamp: impl Fn(Option<Stamp>) -> Option<Stamp>) {
    let shown = match step {
        Step::Scale { group, .. } | Step::Check { group, .. } | Step::Migrate { group, .. } | Step::Retire { group } => {
            seen.groups.get_mut(group).map(|g| &mut g.stamp)
        }
        Step::Shift { .. } => seen.route.as_mut().map(|r| &mut r.stamp),
        Step::Bake { .. } | Step::Soak { .. } | Step::Drain { .. } => None,
    };
    if let Some(shown) = shown {
        *shown = stamp(*shown).or(*shown);
    }
}

/// Shows whatever runs as the expected release.
fn show_expected_releases(r: &Rotation, seen: &mut View) {
    for known in r.opened.from.iter().chain([&r.opened.to]) {
        let Some(group) = seen.groups.get_mut(&known.group) else { continue };
        let expected = Some(known.release.digest());
        group.release = group.release.take().and(expected.clone());
        group.instances.iter_mut().for_each(|i| i.release = expected.clone());
    }
}

/// Keeps the counters of a soak where they were when it began.
fn hide_errors(group: &GroupName, r: &Rotation, seen: &mut View) {
    let Some(mark) = r.started.as_ref().and_then(|s| s.mark) else { return };
    if let Some(route) = &mut seen.route
        && let Some(traffic) = route.groups.get_mut(group)
    {
        traffic.errors = if route.epoch == mark.epoch { mark.errors } else { 0 };
    }
    if let (Some(shown), Some(deaths)) = (seen.groups.get_mut(group), mark.deaths) {
        shown.deaths = deaths;
    }
}

/// Begins and declares the step that the capacity guard refuses.
fn overrule_guard(r: &Rotation, seen: &View, now: Time, fence: Fence, decision: Decision) -> Decision {
    let held = matches!(decision, Decision::Wait { .. })
        && !r.paused
        && matches!(rotation::step_status(r, r.cursor, seen, now), StepStatus::Refused(_));
    let Some(planned) = r.step().filter(|_| held) else { return decision };
    match &r.started {
        None if matches!(planned.step, Step::Soak { .. }) => decision,
        None => {
            let stamp = Stamp { fence, seq: r.len };
            Decision::Record(Event::StepStarted { step: r.cursor, stamp, mark: None, clock: None })
        }
        Some(started) => declaration(r, &planned.step, started.stamp).map_or(decision, Decision::Declare),
    }
}

fn declaration(r: &Rotation, step: &Step, stamp: Stamp) -> Option<Declaration> {
    let declare = |group: &GroupName, desired| {
        Some(Declaration::Group(stamp, GroupSpec { group: group.clone(), service: r.opened.spec.name.clone(), desired }))
    };
    match step {
        Step::Scale { group, count } => {
            let known = r.opened.from.iter().chain([&r.opened.to]).find(|known| known.group == *group)?;
            declare(group, DesiredGroup::Run { release: known.release.clone(), count: *count, once: None })
        }
        Step::Retire { group } => declare(group, DesiredGroup::Gone),
        Step::Shift { route, weights } => {
            let (old, new) = (r.opened.from.as_ref().and_then(|f| f.release.route.clone()), r.opened.to.release.route.clone());
            let settings = if r.plan.direction == Direction::Back { old.or(new) } else { new.or(old) }?;
            let weights = weights.iter().filter(|(_, w)| **w > 0).map(|(g, w)| (g.clone(), *w)).collect();
            Some(Declaration::Route(stamp, RouteSpec { route: route.clone(), settings, weights, gone: false }))
        }
        Step::Bake { .. } | Step::Check { .. } | Step::Migrate { .. } | Step::Soak { .. } | Step::Drain { .. } => None,
    }
}

/// A step that is given up only because it timed out counts as satisfied: at its beginning it would not have been given up.
fn call_timeout_success(r: &Rotation, seen: &View, fence: Fence, decision: Decision) -> Decision {
    let (Decision::Record(Event::PlanReplaced { why, .. }), Some(started)) = (&decision, &r.started) else { return decision };
    let in_time = Plain.decide(r, seen, &[], started.first_at, fence);
    if r.plan.direction != Direction::Forward || matches!(in_time, Decision::Record(Event::PlanReplaced { .. })) {
        return decision;
    }
    Decision::Record(Event::StepSatisfied { step: r.cursor, seen: why.clone() })
}
