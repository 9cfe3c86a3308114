//! A plan of one step that a user runs manually. The same capacity guard applies as in a whole rotation.

use crate::capacity_guard::CapacityGuard;
use crate::display::{describe, foreign};
use crate::observation::{Observation, declared};
use crate::plan::route_name;
use model::{DesiredSeen, Digest, Direction, Fault, GroupName, GroupRelease, Plan, PlannedStep, Release, ServiceSpec, Step, View};
use std::collections::{BTreeMap, BTreeSet};

/// What the journals know of a service's groups.
#[derive(Clone, Copy)]
pub struct KnownGroups<'a> {
    pub active: Option<&'a GroupRelease>,
    /// What each group runs: the active one, and those that stopped rotations left.
    pub releases: &'a BTreeMap<GroupName, Release>,
}

/// Refuses (`floor`) a step that would leave too few healthy servers. `seen` holds every group of the service, and its route.
pub fn plan_manual_step(spec: &ServiceSpec, step: &Step, seen: &View, known: KnownGroups) -> Result<Plan, Fault> {
    validate(spec, step, seen)?;
    let counted = known.known_only(seen, step);
    let active = known.active.map(|active| active.release.digest());
    let observation = Observation { seen: &counted, spec, from: known.active, to: None, digests: [active.as_ref(), None] };
    let guard = CapacityGuard { observation, direction: Direction::Single, floor: 0, full_count: spec.count, checks: BTreeSet::new() };
    let named = |g: &&GroupName| known.active.is_some_and(|active| active.group == **g) || known.runs(seen, g).is_some();
    let serves = |g: &&GroupName| !observation.routed(g) || observation.weight(g) > 0;
    let serving = counted.groups.keys().filter(named).filter(serves);
    let floor = spec.count.min(serving.fold(0u32, |sum, g| sum.saturating_add(declared(seen, g).unwrap_or(0))));
    if let Some(why) = (CapacityGuard { floor, ..guard }).refuse(step) {
        return Err(Fault::yours("floor", why).hint("`afresh deploy` replaces servers and keeps the capacity"));
    }
    let all = seen.groups.keys().fold(0u32, |sum, g| sum.saturating_add(declared(seen, g).unwrap_or(0)));
    let (had, has) = match step {
        Step::Scale { group, count } => (declared(seen, group).unwrap_or(0), *count),
        Step::Retire { group } => (declared(seen, group).unwrap_or(0), 0),
        Step::Check { .. } => (0, 1),
        _ => (0, 0),
    };
    let after = all.saturating_sub(had).saturating_add(has);
    let steps = vec![PlannedStep { step: step.clone(), wave: None, capacity: after }];
    Ok(Plan { direction: Direction::Single, steps, peak: all.max(after), floor, ..Plan::default() })
}

impl KnownGroups<'_> {
    /// The release's digest, if the group is observed to run what a journal says.
    fn runs(&self, seen: &View, group: &GroupName) -> Option<Digest> {
        let digest = self.releases.get(group)?.digest();
        (seen.groups.get(group)?.release.as_ref() == Some(&digest)).then_some(digest)
    }

    /// The view without groups that no journal names: whoever created them may end them at any time, so they count for nothing.
    /// The step's own group stays in it.
    fn known_only(&self, seen: &View, step: &Step) -> View {
        let mut counted = seen.clone();
        counted.groups.retain(|group, shown| {
            if step.group() == Some(group) || self.active.is_some_and(|active| active.group == *group) {
                return true;
            }
            let Some(digest) = self.runs(seen, group) else { return false };
            shown.instances.retain(|i| i.release.as_ref() == Some(&digest));
            true
        });
        counted
    }
}

fn validate(spec: &ServiceSpec, step: &Step, seen: &View) -> Result<(), Fault> {
    let there = |group: &GroupName| match seen.groups.get(group).map(|g| g.desired) {
        Some(DesiredSeen::Run { .. }) => Ok(()),
        Some(DesiredSeen::Gone) => Err(Fault::yours("group-gone", format!("{group} is gone; group names are never reused"))),
        _ => Err(Fault::yours("no-such-group", format!("there is no group {group}")).hint("list the groups: `afresh instance list`")),
    };
    if let Some(group) = foreign(&spec.name, step) {
        return Err(Fault::yours("not-own-group", format!("{group} is not a group of {}", spec.name))
            .hint(format!("list its groups: `afresh instance list {}`", spec.name)));
    }
    match step {
        Step::Bake { .. } => Ok(()),
        // Its own group is new, or the same check is run again.
        Step::Check { of, .. } => there(of),
        Step::Migrate { .. } => {
            Err(Fault::yours("not-by-hand", "a migration runs only within a rotation, before the first server of a release")
                .hint("deploy the release, or run the command by hand: `afresh run SERVICE -- COMMAND`"))
        }
        Step::Scale { group, .. } | Step::Soak { group, .. } => there(group),
        Step::Retire { group } if seen.groups.get(group).is_some_and(|g| g.desired == DesiredSeen::Gone) => Ok(()),
        Step::Retire { group } => there(group),
        Step::Drain { group, .. } if spec.route.is_some() => {
            if seen.groups.contains_key(group) {
                Ok(())
            } else {
                there(group)
            }
        }
        Step::Drain { .. } => Err(no_route(spec, step)),
        Step::Shift { .. } if spec.route.is_none() => Err(no_route(spec, step)),
        Step::Shift { route, weights } => {
            let sum = weights.values().fold(0u64, |sum, w| sum + u64::from(*w));
            if *route != route_name(&spec.name) {
                return Err(Fault::yours("no-such-route", format!("{} has no route {route}", spec.name)));
            }
            if !(weights.is_empty() || sum == 100) {
                return Err(Fault::yours("weights", format!("the weights sum to {sum}"))
                    .hint("they must sum to 100; give none to route traffic to nobody"));
            }
            weights.keys().try_for_each(there)
        }
    }
}

fn no_route(spec: &ServiceSpec, step: &Step) -> Fault {
    Fault::yours("no-route", format!("{}: {} has no route", describe(step), spec.name))
}
