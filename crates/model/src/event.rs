//! Lines of a rotation's journal. Its state is the fold of these and nothing else.

use crate::{Digest, Direction, Exit, Failure, Fence, GroupName, GroupRelease, Plan, RotationId, ServiceSpec, Stamp, Steady, Time};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One line: (rotation, seq) is its identity, seq counts from 0 without a gap.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventLine {
    pub rotation: RotationId,
    pub seq: u64,
    /// By the writer's clock.
    pub at: Time,
    /// The lease it was written under; 0 for `Opened`, which no driver writes.
    pub fence: Fence,
    pub event: Event,
}

/// ```text
/// Opened ─▶ ( StepStarted ─▶ StepStarted (again, by a later driver) ─▶ StepSatisfied )* ─▶ Closed
///              ├─ once for each group of a migration: MigrationEnded
///              └─ any time: CommandTaken (pause, resume, roll back, stop), PlanReplaced (begins at step 0 of the new plan)
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "they live in a database, not in bulk in memory")]
pub enum Event {
    Opened(Opened),
    StepStarted {
        step: u32,
        stamp: Stamp,
        /// For a soak: the counters when it began. Errors since then count.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mark: Option<TrafficMark>,
        /// The time by a clock that is never set: a later driver on the same clock continues counting from here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<Steady>,
    },
    /// `seen` is one sentence on what was observed.
    StepSatisfied {
        step: u32,
        seen: String,
    },
    /// The migration of the new release ended. In the transaction of its line the journal remembers a success: that release is never
    /// migrated again.
    MigrationEnded {
        group: GroupName,
        /// [`crate::Release::digest`] of what it ran in.
        release: Digest,
        exit: Exit,
    },
    PlanReplaced {
        why: String,
        plan: Plan,
        /// Why servers of the new release failed, as it was observed then: output of a server that is gone is kept here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        failure: Option<Failure>,
    },
    #[serde(alias = "ask_taken")]
    CommandTaken(IssuedCommand),
    Closed {
        verdict: Verdict,
        why: String,
        #[serde(alias = "census")]
        final_inventory: FinalInventory,
    },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    /// The desired state at that moment: count, rollout, route.
    pub spec: ServiceSpec,
    /// What was active before; None: this is the first release.
    pub from: Option<GroupRelease>,
    pub to: GroupRelease,
    pub plan: Plan,
    /// Who requested it and why, in one sentence.
    pub why: String,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficMark {
    pub epoch: u64,
    pub requests: u64,
    pub errors: u64,
    /// Servers of the group that had died. None: written by a version that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deaths: Option<u32>,
}

/// A command that a user gives to a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RotationCommand {
    Pause,
    Resume,
    #[serde(alias = "return")]
    Rollback,
    Stop,
}

/// `n` counts the commands of a rotation from 1, so that each is taken once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedCommand {
    pub n: u64,
    #[serde(alias = "ask")]
    pub command: RotationCommand,
    pub by: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The new release is active, alone and complete.
    Promoted,
    /// The old release is active alone (or nothing is, where nothing was active before); complete, or `why` says what is missing.
    #[serde(alias = "returned")]
    RolledBack,
    /// Stopped by a user, or neither of the above was observed.
    Stopped,
}

/// What was active when the rotation closed, as observed: the verdict follows from this.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FinalInventory {
    pub direction: Direction,
    /// Healthy servers by group; a group that is gone is not here.
    pub healthy: BTreeMap<GroupName, u32>,
    pub weights: BTreeMap<GroupName, u32>,
    /// The group and release that serve from now on; the next rotation's `from`.
    #[serde(alias = "standing")]
    pub active: Option<GroupRelease>,
}
