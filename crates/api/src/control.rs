//! The control plane's API: what CLI and page know, and no more.
//!
//! | call | body -> answer |
//! | --- | --- |
//! | POST /v1/plan | [`DeployRequest`] -> [`PlanAnswer`] (pure; nothing is opened) |
//! | POST /v1/deploy | [`DeployRequest`] -> [`Opened`] |
//! | POST /v1/rollback | [`RollbackRequest`] -> [`Opened`] |
//! | POST /v1/rollback/plan | [`RollbackRequest`] -> [`PlanAnswer`] (pure; nothing is opened) |
//! | GET /v1/services | -> `Vec<ServiceStatus>` |
//! | GET /v1/services/{service} | -> [`ServiceStatus`] |
//! | GET /v1/services/{service}/logs | see [`crate::logs`], also for one server's log |
//! | GET /v1/rotations?service=&limit= | -> `Vec<RotationStatus>`, newest first |
//! | GET /v1/rotations/{rotation} | -> [`RotationStatus`] |
//! | GET /v1/rotations/{rotation}/events?from= | -> `Vec<model::EventLine>` |
//! | POST /v1/rotations/{rotation}/command | [`CommandRequest`] -> `{}` |
//! | GET /v1/rollouts?limit= | -> `Vec<model::RolloutSeen>`, newest first |
//! | GET /v1/rollouts/{rollout} | -> `model::RolloutSeen` |
//! | POST /v1/rollouts/{rollout}/command | [`CommandRequest`] -> [`RolloutCommanded`] |
//! | GET /v1/events?follow=true&after= | -> lines of [`Numbered`], oldest first; with follow it stays open |
//! | GET /v1/releases?service= | -> `Vec<ReleaseRow>` |
//! | GET /v1/artifacts | -> `Vec<ArtifactRow>` |
//! | GET /v1/images | -> `Vec<ImageRow>` |
//! | GET /v1/images/corrupt | -> `Vec<model::Fault>`: what of the store cannot be used |
//! | GET /v1/images/upkeep | -> `Vec<ImageUpkeep>` |
//! | GET /v1/images/events?from= | -> `Vec<ImageEvent>`, oldest first |
//! | GET /v1/images/{image}/history | -> [`ImageHistory`] |
//! | POST /v1/images/{image}/rebuild | [`RebuildRequest`] -> `{}` |
//! | POST /v1/images/revoke | [`RevokeRequest`] -> [`RevokeAnswer`] |
//! | GET /v1/instances?service= | -> `Vec<InstanceRow>` |
//! | POST /v1/steps/check | [`StepRequest`] -> [`StepAnswer`] |
//! | POST /v1/steps/run | [`StepRequest`] -> [`StepAnswer`] (also into the journal) |
//! | GET /v1/adoptions | -> `Vec<Adoption>`: what runs and no journal knows |
//! | POST /v1/adopt | [`AdoptRequest`] -> `Vec<Adoption>` |
//! | POST /v1/gc | -> [`GcAnswer`] |
//! | GET /v1/policy | -> `model::access::HostPolicy`, as it is in force |
//! | GET /v1/tokens | -> `Vec<TokenRow>` |
//! | POST /v1/tokens | [`TokenRequest`] -> [`TokenMade`] |
//! | POST /v1/tokens/revoke | [`TokenRevoke`] -> `{}` |
//! | GET /v1/audit?limit=&refused= | -> `Vec<AuditLine>`, the newest, oldest first |
//!
//! Who calls is known from the connection: a token, or the uid at the other end of a Unix socket. No body says it. Why somebody calls may
//! stand in the header [`REASON`], on one line; the journal and the audit have it.

use model::{
    Digest, Direction, EventLine, Failure, FinalInventory, GroupRelease, ImageName, InstanceSeen, Plan, Release, RolloutId,
    RotationCommand, RotationId, ServiceFile, ServiceName, Step, Time, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The header with the caller's reason.
pub const REASON: &str = "afresh-reason";

/// The wish and the digests it is pinned to. Images and artifacts are in the store before this is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeployRequest {
    pub file: ServiceFile,
    /// None: every service, tier by tier.
    pub service: Option<ServiceName>,
    /// The current digest of each image that is used.
    pub images: BTreeMap<ImageName, Digest>,
    pub artifacts: BTreeMap<ServiceName, Digest>,
    /// Deploy this earlier release again instead of making a new one.
    #[serde(default)]
    pub release: Option<u64>,
    /// Services to remove, each by its name: drained and retired. The file must not name them. What another file deployed is therefore
    /// removed only by somebody who names it.
    #[serde(default)]
    pub remove: Vec<ServiceName>,
    /// A service whose code is not named keeps the artifact that is active; false: it gets none.
    #[serde(default)]
    pub keep_artifacts: bool,
    /// For a plan alone: digests in `images` that stand for images that a deploy would bake first.
    #[serde(default)]
    pub unbaked: BTreeSet<Digest>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackRequest {
    pub service: ServiceName,
    /// None: the release that stood before the one that stands.
    #[serde(default)]
    pub to: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanAnswer {
    pub rotations: Vec<PlannedRotation>,
    /// Services that run and that the file does not name: another file's, or blocks that were deleted. Those that the request removes
    /// have a plan.
    #[serde(default)]
    pub removals: Vec<Removal>,
    /// What somebody should know before.
    #[serde(default)]
    pub notes: Vec<PlanNote>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Removal {
    pub service: ServiceName,
    pub active: GroupRelease,
    /// None: the request does not name it, and it is left as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanNote {
    pub service: ServiceName,
    /// When that came to be which the note tells.
    #[serde(default)]
    pub at: Option<Time>,
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRotation {
    pub service: ServiceName,
    pub tier: model::TierName,
    pub from: Option<GroupRelease>,
    pub to: GroupRelease,
    pub plan: Plan,
}

/// What was opened. `unchanged`: services whose standing release already is what was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Opened {
    #[serde(default)]
    pub rollout: Option<RolloutId>,
    pub rotations: Vec<RotationId>,
    #[serde(default)]
    pub unchanged: Vec<ServiceName>,
    /// Rotations that remove services, beside the rollout.
    #[serde(default)]
    pub removing: Vec<RotationId>,
    /// Services that the file does not name and that were left as they are.
    #[serde(default)]
    pub left: Vec<ServiceName>,
    /// Of a rollback: what somebody should know of the release that comes back.
    #[serde(default)]
    pub notes: Vec<PlanNote>,
}

/// For a rotation, or for a rollout and the rotations of it that are open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRequest {
    pub command: RotationCommand,
}

/// What a command to a rollout reached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutCommanded {
    /// Open rotations that took it.
    pub rotations: Vec<RotationId>,
    /// Services that the rollout promoted already: they keep the new release.
    pub promoted: Vec<ServiceName>,
    /// Services that it has not begun.
    pub waiting: Vec<ServiceName>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub service: ServiceName,
    pub tier: model::TierName,
    pub active: Option<GroupRelease>,
    pub count: u32,
    pub healthy: u32,
    pub weights: BTreeMap<model::GroupName, u32>,
    /// The open rotation, if any.
    pub rotation: Option<RotationStatus>,
    /// Why servers of the active release fail, while some are not healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Why `healthy` and `weights` could not be seen, if they could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A rotation as folded from its journal, with the sentence on what it waits for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RotationStatus {
    pub id: RotationId,
    pub service: ServiceName,
    pub from: Option<GroupRelease>,
    pub to: GroupRelease,
    /// It was opened to remove the service: verdict `returned` means that it is removed.
    #[serde(default)]
    pub removes: bool,
    pub opened: Time,
    pub closed: Option<Time>,
    pub direction: Direction,
    pub paused: bool,
    pub plan: Plan,
    /// Steps before this one are satisfied.
    pub cursor: u32,
    /// When the step at the cursor was started first.
    pub step_started: Option<Time>,
    /// Why the plan was replaced, oldest first.
    pub turns: Vec<String>,
    pub waits: Option<Waiting>,
    pub verdict: Option<Verdict>,
    pub why: String,
    pub final_inventory: Option<FinalInventory>,
    pub events: u64,
    /// Why servers of the new release fail: as it is observed while the rotation is open, as the journal has it from when it turned back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// Whether a rotation was opened to remove its service. A rotation that rolls back was opened forward.
pub fn is_removal(opened: &model::Opened) -> bool {
    opened.from.is_none() && opened.plan.direction == Direction::Back
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    pub why: String,
    pub until: Option<Time>,
}

/// A journal line with its place in the whole store: `after` takes this number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    pub number: u64,
    #[serde(flatten)]
    pub line: EventLine,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseRow {
    pub release: Release,
    pub digest: Digest,
    pub at: Time,
    /// `standing`, `previous` or empty.
    pub role: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRow {
    pub name: ImageName,
    pub digest: Digest,
    pub bytes: u64,
    pub packages: u32,
    pub baked: Time,
    /// Releases that name it.
    pub releases: Vec<String>,
    /// Instances that run it now.
    pub instances: u32,
    /// Why instances could not be counted, if they could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// None: nothing but its bytes is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub life: Option<ImageLife>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRow {
    pub digest: Digest,
    pub bytes: u64,
    pub packed: Time,
    /// Releases that name it.
    pub releases: Vec<String>,
}

/// Where an image is in its life. Times are by the clock of the images' schedules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLife {
    /// `candidate`, `tested`, `current`, `retired`, `bad`, `revoked`.
    pub state: String,
    pub since: Time,
    pub baked: Time,
    /// When it was last known to hold the newest of every package.
    pub patched: Time,
    /// Since then.
    pub age_ms: u64,
    /// When the mirrors were asked last.
    #[serde(default)]
    pub checked: Option<Time>,
    /// Whether it held the newest of every package then.
    #[serde(default)]
    pub newest: Option<bool>,
    /// Packages of the current image that were not the newest then.
    #[serde(default)]
    pub behind: usize,
    /// Why it is in this state.
    pub why: String,
    #[serde(default)]
    pub alarms: Vec<String>,
}

/// How the images of one recipe stand. Times are by the clock of the images' schedules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUpkeep {
    pub name: ImageName,
    pub now: Time,
    /// None: none was baked, or the only one was taken back.
    pub current: Option<Digest>,
    pub state: Option<String>,
    /// Since it was last known to hold the newest of every package.
    pub age_ms: Option<u64>,
    pub max_age_ms: Option<u64>,
    /// As the recipe says it; None: it is baked by hand.
    pub rebuild: Option<String>,
    /// Whether the current image held the newest of every package at the last look.
    pub newest: Option<bool>,
    pub checked: Option<Time>,
    /// What of it did not.
    #[serde(default)]
    pub behind: Vec<String>,
    /// When the mirrors are asked next by themselves.
    pub next_look: Option<Time>,
    /// What is done or waited for.
    pub waits: Option<Waiting>,
    /// A newer image that is not current: its state, and why.
    #[serde(default)]
    pub held_up: Option<(Digest, String, String)>,
    /// What came to nothing last, and is tried again or waits for other packages.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Services that stand on an image of this recipe, and which.
    #[serde(default)]
    pub services: Vec<(ServiceName, Digest)>,
    /// What its recipe allows that a reader should know of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(default)]
    pub alarms: Vec<String>,
}

/// Something that happened to an image, or an alarm that came or went.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ImageEvent {
    /// By the clock of the images' schedules.
    pub at: Time,
    pub image: ImageName,
    /// None: it is of no one image.
    pub digest: Option<Digest>,
    pub alarm: bool,
    pub text: String,
}

/// Every image of a recipe, oldest first, and why each became what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageHistory {
    pub name: ImageName,
    /// By the clock of the images' schedules, as every time here.
    pub now: Time,
    /// What is done or waited for.
    pub waits: Option<Waiting>,
    pub checked: Option<Time>,
    /// Whether the current image held the newest of every package then.
    pub newest: Option<bool>,
    /// What of it did not.
    #[serde(default)]
    pub behind: Vec<String>,
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    #[serde(default)]
    pub alarms: Vec<String>,
    pub images: Vec<ImageStory>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageStory {
    pub digest: Digest,
    pub state: String,
    pub since: Time,
    pub baked: Time,
    pub patched: Time,
    /// That stand on it now.
    pub services: Vec<ServiceName>,
    /// Against the image before it.
    pub changes: Vec<String>,
    pub cves: Vec<String>,
    pub story: Vec<(Time, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildRequest {
    /// Try the newest one again that is marked bad, as after a fault that was not its own.
    #[serde(default)]
    pub again: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRequest {
    /// A digest or its first digits, six at least.
    pub digest: String,
    pub why: String,
    /// Turn the services on it to the current image now.
    #[serde(default)]
    pub replace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAnswer {
    pub image: ImageName,
    pub digest: Digest,
    /// What is current now; None: there is no other that could be.
    pub current: Option<Digest>,
    /// That stand on the revoked one.
    pub services: Vec<ServiceName>,
    /// Servers that run it now, by service.
    #[serde(default)]
    pub instances: BTreeMap<ServiceName, u32>,
    /// Rotations that were bringing it to a service when it was revoked. With `replace` they are asked to return.
    #[serde(default)]
    pub under_way: Vec<RotationId>,
    /// Whether they are being turned to the current one.
    pub replaced: bool,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstanceRow {
    pub service: ServiceName,
    pub group: model::GroupName,
    pub release: u64,
    #[serde(flatten)]
    pub seen: InstanceSeen,
    /// As the balancer sees it; None: no route.
    pub balancer: Option<model::TargetSeen>,
}

/// One step alone: of an open or closed rotation by place, or made by hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepRequest {
    Of { rotation: RotationId, step: u32 },
    Hand { service: ServiceName, step: Step },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepAnswer {
    pub step: Step,
    pub state: StepState,
    /// One sentence: what is seen, what is missing, or why it is refused.
    pub why: String,
    /// Where it was journaled, if it was run.
    pub rotation: Option<RotationId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    Satisfied,
    NotYet,
    Refused,
}

/// A service that runs and that the journal does not know, and what would be taken over, or was.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Adoption {
    pub service: ServiceName,
    pub tier: model::TierName,
    /// What would be active. None: `refused` says why not.
    pub active: Option<GroupRelease>,
    pub count: u32,
    /// Groups that run beside it: the next deploy retires them.
    #[serde(default)]
    pub others: Vec<model::GroupName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The journal of it, once it was taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotation: Option<RotationId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptRequest {
    /// As GET /v1/adoptions showed them.
    pub services: Vec<ServiceName>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GcAnswer {
    pub removed: Vec<Digest>,
    pub kept: u32,
    pub freed_bytes: u64,
}

/// A token as it is kept: without the token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRow {
    pub name: String,
    #[serde(flatten)]
    pub grant: model::access::Grant,
    pub made: Time,
    /// Who made it.
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRequest {
    pub name: String,
    #[serde(flatten)]
    pub grant: model::access::Grant,
}

/// The one time that the token is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenMade {
    #[serde(flatten)]
    pub row: TokenRow,
    pub token: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenRevoke {
    pub name: String,
}

/// One change or one refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditLine {
    #[serde(default)]
    pub at: Time,
    /// `root`, `token:NAME`, `peer:NAME`, `uid:N`; `-`: nobody who is known.
    pub who: String,
    /// `unix uid 0`, `tcp 192.0.2.7`.
    #[serde(default)]
    pub from: String,
    /// Method and path.
    pub what: String,
    /// The services, images or names it was about.
    #[serde(default)]
    pub on: String,
    /// `done`, `refused` or `failed`.
    pub outcome: String,
    /// The fault's, if it was one.
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
    /// The caller's own words.
    #[serde(default)]
    pub reason: String,
    /// Refusals of the same identity that were left out before this one.
    #[serde(default)]
    pub skipped: u64,
}

impl AuditLine {
    pub fn is_refusal(&self) -> bool {
        self.outcome == "refused"
    }
}
