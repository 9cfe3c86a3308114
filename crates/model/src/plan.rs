//! Steps and plans. A step is a state to declare and the condition that shows that it is reached.

use crate::{Digest, FewRequests, GroupName, ImageName, Release, RouteName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Step {
    /// The store has these objects, verified.
    Bake { image: ImageName, objects: Vec<Digest> },
    /// A one-shot instance of the release ran this and exited 0.
    Check { group: GroupName, of: GroupName, command: Vec<String>, within_ms: u64 },
    /// A one-shot instance of the release ran this and exited 0, in this rotation or in an earlier one.
    Migrate { group: GroupName, of: GroupName, command: Vec<String>, within_ms: u64 },
    /// The group has this many servers, healthy for the required time, and no more.
    Scale { group: GroupName, count: u32 },
    /// The route has these weights.
    Shift { route: RouteName, weights: BTreeMap<GroupName, u32> },
    /// This time has passed and no gate failed.
    Soak {
        group: GroupName,
        for_ms: u64,
        errors_ppm: u32,
        /// Fewer requests than this are not enough data; 0: any number is enough.
        #[serde(default)]
        min_requests: u64,
        #[serde(default)]
        few_requests: FewRequests,
    },
    /// No request is in flight to the group, or the deadline has passed.
    Drain { group: GroupName, within_ms: u64 },
    /// The group is gone.
    Retire { group: GroupName },
}

impl Step {
    pub fn kind(&self) -> &'static str {
        match self {
            Step::Bake { .. } => "bake",
            Step::Check { .. } => "check",
            Step::Migrate { .. } => "migrate",
            Step::Scale { .. } => "scale",
            Step::Shift { .. } => "shift",
            Step::Soak { .. } => "soak",
            Step::Drain { .. } => "drain",
            Step::Retire { .. } => "retire",
        }
    }

    /// Every group that the step names.
    pub fn groups(&self) -> Vec<&GroupName> {
        match self {
            Step::Shift { weights, .. } => weights.keys().collect(),
            Step::Check { group, of, .. } | Step::Migrate { group, of, .. } => vec![group, of],
            _ => self.group().into_iter().collect(),
        }
    }

    pub fn group(&self) -> Option<&GroupName> {
        match self {
            Step::Bake { .. } | Step::Shift { .. } => None,
            Step::Check { group, .. }
            | Step::Migrate { group, .. }
            | Step::Scale { group, .. }
            | Step::Soak { group, .. }
            | Step::Drain { group, .. }
            | Step::Retire { group } => Some(group),
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    #[default]
    Forward,
    Back,
    /// A plan of one manual step.
    Single,
}

/// A group and the release it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRelease {
    pub group: GroupName,
    pub release: Release,
}

/// `capacity` is what can serve once the step is satisfied: servers in groups of this plan, at the worst during the step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    #[serde(flatten)]
    pub step: Step,
    /// Which wave it belongs to, from 1; None: before or after the waves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    pub capacity: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub direction: Direction,
    pub steps: Vec<PlannedStep>,
    /// The most servers that exist at once while it runs, also if it rolls back from the worst step.
    pub peak: u32,
    /// The capacity that no step may go below.
    pub floor: u32,
    /// Forward: how many servers a rollback gives the old group. None: written by a version that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restores: Option<u32>,
    /// Back: this many healthy servers of the old group carry the whole load, since no more became healthy in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carry: Option<u32>,
}
