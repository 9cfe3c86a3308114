//! What the oracle remembers of the rotations: the open one as its journal says, and everything that was declared before.
//! It judges nothing: `oracle` and `reasons` do.

use model::{
    DesiredSeen, Digest, Direction, GroupName, GroupRelease, GroupSeen, InstanceSeen, InstanceState, Plan, Stamp, TrafficMark, Verdict,
};
use std::collections::{BTreeMap, BTreeSet};

/// Servers counted: as they are, or as a driver's view shows them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub exist: u32,
    pub healthy: u32,
    pub once: bool,
    pub there: bool,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Capacities {
    pub groups: BTreeMap<GroupName, Count>,
    pub weights: BTreeMap<GroupName, u32>,
}

impl Capacities {
    pub fn add(&mut self, seen: &GroupSeen, once: bool) {
        let count = |is: &dyn Fn(&InstanceSeen) -> bool| u32::try_from(seen.instances.iter().filter(|i| is(i)).count()).unwrap_or(u32::MAX);
        let exist = count(&|i| matches!(i.state, InstanceState::Starting | InstanceState::Running));
        let healthy = count(&|i| i.state == InstanceState::Running && i.healthy_ms.is_some());
        let there = matches!(seen.desired, DesiredSeen::Run { .. });
        self.groups.insert(seen.group.clone(), Count { exist, healthy, once, there });
    }

    pub fn weight(&self, group: &GroupName) -> u32 {
        self.weights.get(group).copied().unwrap_or(0)
    }
}

/// What the oracle remembers of the open rotation and of all earlier ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Oracle {
    pub plan: Plan,
    pub from: Option<GroupRelease>,
    pub to: Option<GroupRelease>,
    pub cursor: usize,
    pub running: bool,
    pub reasons: ReasonState,
    pub paused: bool,
    pub last_stamp: Option<Stamp>,
    /// The running soak: since when by the true time, and its mark.
    pub soak: Option<(u64, Option<TrafficMark>)>,
    /// Groups on which the journal in force has begun a step.
    pub began: BTreeSet<GroupName>,
    /// Stamps of steps in journals: no declaration may have another.
    pub stamps: BTreeSet<Stamp>,
    /// This many servers carried the load when the rotation began; no fewer may carry it now.
    pub base: u32,
    pub count: u32,
    /// How many servers a rollback restores.
    pub restored_count: u32,
    /// How long a step may take; and since when the rotation rolls back.
    pub within: u64,
    pub rolling_back_since: Option<u64>,
    /// In a rollback, no more than this many healthy ones could be launched.
    pub carried: Option<u32>,
    pub closed: Option<(Verdict, Option<GroupRelease>)>,
    /// Each group's first release.
    pub releases: BTreeMap<GroupName, u64>,
    pub gone: BTreeSet<GroupName>,
    pub newest: BTreeMap<GroupName, Stamp>,
    pub newest_route: Option<Stamp>,
    /// Groups whose migration began, and releases whose migration has succeeded.
    pub migrations: BTreeSet<GroupName>,
    pub migrated: BTreeSet<Digest>,
    /// The newest fence that a driver was given.
    pub newest_fence: u64,
}

impl Oracle {
    /// The rotation was opened as a removal of the service.
    pub fn removes(&self) -> bool {
        self.from.is_none()
            && self.count == 0
            && self.restored_count == 0
            && self.rolling_back_since.is_none()
            && self.plan.direction == Direction::Back
    }

    /// Since when the rotation rolls back, if it does.
    pub fn rolling_back_since(&self) -> Option<u64> {
        self.rolling_back_since
    }
}

/// What was true of the running step, so that a reason can be judged.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReasonState {
    pub first_at: Option<u64>,
    pub moved_at: u64,
    pub resumed_at: u64,
    /// Faults have ended since then.
    pub quiet_at: u64,
    pub paused: bool,
    pub rollback_requested: bool,
    pub stop_requested: bool,
    pub old_is_retiring: bool,
    pub mark: Option<TrafficMark>,
    pub cursor: usize,
    /// The gate of the running soak could have failed.
    pub soak_failed: bool,
    pub crash_loop: bool,
    pub check_failed: bool,
    /// The old release was gone before.
    pub from_gone: bool,
}
