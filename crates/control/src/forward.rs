//! A new desired state against what is observed: nothing to do, another number of servers, or a rotation to a new group.

use crate::desired::Desired;
use crate::observed::ObservedService;
use model::{DesiredSeen, Direction, Fault, GroupName, GroupRelease, Opened, Plan, Release, RotationId, ServiceSpec, Step};
use rotation::Intent;
use std::collections::BTreeMap;

/// What there is to do for one service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Unchanged,
    /// Only the number of servers differs.
    Count,
    Rotate,
}

/// `release` has the number that the journal gave it.
pub fn change(observed: &ObservedService, desired: &Desired, release: &Release) -> Change {
    let Some(active) = observed.summary.active.as_ref().filter(|s| s.release == *release) else { return Change::Rotate };
    let view = &observed.view;
    let Some(DesiredSeen::Run { count, .. }) = view.groups.get(&active.group).map(|g| g.desired) else { return Change::Rotate };
    let weights = view.route.as_ref().map_or_else(BTreeMap::new, |r| r.weights.clone());
    let weights: Vec<_> = weights.into_iter().filter(|(_, w)| *w > 0).collect();
    let routed = release.route.is_some() && count > 0;
    let right = if routed { weights == [(active.group.clone(), 100)] } else { weights.is_empty() };
    match (right && observed.is_alone(active), count == desired.spec.count) {
        (false, _) => Change::Rotate,
        // From 0 or to 0 servers: traffic is shifted away before the first drain, and shifted back only to healthy servers.
        (true, false) if count == 0 || desired.spec.count == 0 => Change::Rotate,
        (true, true) => Change::Unchanged,
        (true, false) => Change::Count,
    }
}

/// The rotation that is opened.
#[derive(Clone, Copy, Debug)]
pub struct Target<'a> {
    pub id: &'a RotationId,
    /// The active group and release, if there are any.
    pub from: Option<&'a GroupRelease>,
    /// The count of the desired state in force: a rollback restores it.
    pub own_count: Option<u32>,
    /// The release's migration has succeeded: it does not run again.
    pub is_migrated: bool,
    pub why: &'a str,
}

/// The first event of a rotation that makes the change.
pub fn open(observed: &ObservedService, desired: &Desired, release: Release, change: Change, target: &Target<'_>) -> Result<Opened, Fault> {
    let (to, plan) = match (change, target.from) {
        (Change::Rotate, _) | (_, None) => new_group(observed, desired, release, target)?,
        (Change::Unchanged | Change::Count, Some(active)) => (active.clone(), count_only(observed, &desired.spec, active)?),
    };
    Ok(Opened { spec: desired.spec.clone(), from: target.from.cloned(), to, plan, why: target.why.to_string() })
}

fn new_group(observed: &ObservedService, desired: &Desired, release: Release, target: &Target<'_>) -> Result<(GroupRelease, Plan), Fault> {
    let group = GroupName::of(&desired.spec.name, release.number, target.id)
        .map_err(|e| Fault::yours("name-too-long", e.to_string()).hint("give the service a shorter name"))?;
    if observed.inventory.has(&group) {
        return Err(Fault::ours("name-used", format!("group {group} exists or existed: group names are never used twice")));
    }
    let to = GroupRelease { group, release };
    let (direction, own_count, is_migrated) = (Direction::Forward, target.own_count, target.is_migrated);
    let intent = Intent { spec: &desired.spec, from: target.from, to: &to, direction, own_count, is_migrated };
    let plan = rotation::plan(&intent, &observed.view)?;
    Ok((to, plan))
}

fn count_only(observed: &ObservedService, spec: &ServiceSpec, active: &GroupRelease) -> Result<Plan, Fault> {
    let step = Step::Scale { group: active.group.clone(), count: spec.count };
    rotation::plan_manual_step(spec, &step, &observed.view, observed.summary.known_groups())
}
