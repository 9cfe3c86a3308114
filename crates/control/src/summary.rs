//! What a service's journals come to: the groups that may exist, the active release, and the desired state in force.

use model::{Direction, GroupName, GroupRelease, Release, ServiceSpec, Verdict};
use rotation::{KnownGroups, Rotation};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Groups that may exist.
    pub groups: BTreeSet<GroupName>,
    /// The releases that they run, as far as a journal says.
    pub releases: BTreeMap<GroupName, Release>,
    pub active: Option<GroupRelease>,
    /// There is a route, or may be.
    pub routed: bool,
}

impl Summary {
    /// With one more rotation, open or closed. A rotation that [`ends_all_before`] leaves nothing of what was there before it.
    #[must_use]
    pub fn with(self, r: &Rotation) -> Summary {
        let ends_all = ends_all_before(r);
        let mut summary = if ends_all { Summary { active: self.active, ..Summary::default() } } else { self };
        summary.groups.extend(r.groups());
        let ends = r.opened.from.iter().filter(|_| !ends_all).chain([&r.opened.to]);
        for end in ends {
            summary.routed |= end.release.route.is_some();
            summary.releases.insert(end.group.clone(), end.release.clone());
        }
        if let Some(closed) = &r.closed {
            summary.active.clone_from(&closed.final_inventory.active);
        }
        if let Some(active) = &summary.active {
            summary.groups.insert(active.group.clone());
            summary.routed |= active.release.route.is_some();
            summary.releases.insert(active.group.clone(), active.release.clone());
        }
        if r.closed.is_some() {
            summary.releases.retain(|group, _| summary.groups.contains(group));
        }
        summary
    }

    /// For plans of one step.
    pub fn known_groups(&self) -> KnownGroups<'_> {
        KnownGroups { active: self.active.as_ref(), releases: &self.releases }
    }
}

/// It was promoted and retired everything else, or it removed the service.
pub fn ends_all_before(r: &Rotation) -> bool {
    let verdict = r.closed.as_ref().map(|c| c.verdict);
    let promoted = verdict == Some(Verdict::Promoted) && r.plan.direction == Direction::Forward;
    promoted || removes(r)
}

/// A rotation that was opened as one back to nothing, and went there.
pub fn removes(r: &Rotation) -> bool {
    let is_rolled_back = r.closed.as_ref().is_some_and(|closed| closed.verdict == Verdict::RolledBack);
    is_rolled_back && r.opened.plan.direction == Direction::Back
}

/// The desired state that a closed rotation put in force; None: it left the one before.
pub fn spec_in_force(r: &Rotation) -> Option<&ServiceSpec> {
    let closed = r.closed.as_ref()?;
    let is_active = closed.final_inventory.active.as_ref().is_some_and(|s| s.group == r.opened.to.group);
    (closed.verdict == Verdict::Promoted || is_active && closed.verdict == Verdict::Stopped).then_some(&r.opened.spec)
}
