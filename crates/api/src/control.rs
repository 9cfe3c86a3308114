//! The control plane's API: all that the CLI and the page know.
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
//! | GET /v1/images/corrupt | -> `Vec<model::Fault>`: objects and manifests that cannot be used |
//! | GET /v1/images/upkeep | -> `Vec<ImageUpkeep>` |
//! | GET /v1/images/events?from= | -> `Vec<ImageEvent>`, oldest first |
//! | GET /v1/images/{image}/history | -> [`ImageHistory`] |
//! | POST /v1/images/{image}/rebuild | [`RebuildRequest`] -> `{}` |
//! | POST /v1/images/revoke | [`RevokeRequest`] -> [`RevokeAnswer`] |
//! | GET /v1/instances?service= | -> `Vec<InstanceRow>` |
//! | POST /v1/steps/check | [`StepRequest`] -> [`StepAnswer`] |
//! | POST /v1/steps/run | [`StepRequest`] -> [`StepAnswer`] (also into the journal) |
//! | GET /v1/adoptions | -> `Vec<Adoption>`: what runs that no journal knows |
//! | POST /v1/adopt | [`AdoptRequest`] -> `Vec<Adoption>` |
//! | /v1/secrets | see [`crate::secrets`] |
//! | /v1/services/{service}/exec | see [`crate::exec`] |
//! | /v1/guard | see [`crate::guard`] |
//! | POST /v1/gc | -> [`GcAnswer`] |
//! | GET /v1/policy | -> `model::access::HostPolicy`, as it is in force |
//! | GET /v1/tokens | -> `Vec<TokenRow>` |
//! | POST /v1/tokens | [`TokenRequest`] -> [`TokenMade`] |
//! | POST /v1/tokens/revoke | [`TokenRevoke`] -> `{}` |
//! | GET /v1/audit?limit=&refused= | -> `Vec<AuditLine>`, the newest, oldest first |
//!
//! The connection identifies the caller: a token, or the uid at the other end of a Unix socket. No body does. The caller's reason may be
//! given in the header [`REASON`], on one line; the journal and the audit record it.

use model::{
    Digest, Direction, EventLine, Failure, FinalInventory, GroupRelease, ImageName, InstanceSeen, Plan, Release, RolloutId,
    RotationCommand, RotationId, SecretName, SecretVersion, ServiceFile, ServiceName, Step, Time, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What services are called, and were.
pub const NAMES: &str = "/v1/names";

/// The header with the caller's reason.
pub const REASON: &str = "afresh-reason";

/// The desired state and the digests that it is pinned to. Images and artifacts are in the store before this is sent.
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
    /// Services to remove, each by its name: drained and retired. The file must not name them. So what another file deployed is removed
    /// only when it is named here.
    #[serde(default)]
    pub remove: Vec<ServiceName>,
    /// A service whose code is not named keeps the artifact that is active; false: it gets none.
    #[serde(default)]
    pub keep_artifacts: bool,
    /// The version of each secret that a service uses, as POST /v1/secrets answered it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<ServiceName, BTreeMap<SecretName, SecretVersion>>,
    /// A secret whose version is not named keeps the version that is active.
    #[serde(default)]
    pub keep_secrets: bool,
    /// For a plan alone: versions in `secrets` are of POST /v1/secrets/version, and their values are not stored.
    #[serde(default)]
    pub secrets_not_stored: bool,
    /// For a plan alone: digests in `images` that stand for images that a deploy would bake first.
    #[serde(default)]
    pub unbaked: BTreeSet<Digest>,
    /// Why this deploy goes on against rules of level `deny`, in an emergency. For administrators; recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub break_glass: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackRequest {
    pub service: ServiceName,
    /// None: the release that was active before the active one.
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
    /// What the user should know before the deploy.
    #[serde(default)]
    pub notes: Vec<PlanNote>,
    /// Services whose settings in force the deploy changes, also where it replaces no server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<ServiceName>,
    /// Renames that the file's `moved` blocks make.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<Renamed>,
    /// What the gate objects to.
    #[serde(default, skip_serializing_if = "crate::guard::Gate::is_silent")]
    pub gate: crate::guard::Gate,
}

/// A service that is called otherwise from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    pub from: ServiceName,
    pub to: ServiceName,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRow {
    pub name: ServiceName,
    /// Under which it was deployed first; its groups and servers are named after it.
    pub id: ServiceName,
    /// What else it was called.
    pub former: Vec<ServiceName>,
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
    /// When the thing that the note reports began.
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

/// What was opened. `unchanged`: services whose active release already is the requested one.
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
    /// Of a rollback: what the user should know about the release that becomes active again.
    #[serde(default)]
    pub notes: Vec<PlanNote>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub renamed: Vec<Renamed>,
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
    /// Services that the rollout has not started.
    pub waiting: Vec<ServiceName>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub service: ServiceName,
    /// Of a renamed service: its id, after which its groups and servers are named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ServiceName>,
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
    /// Why `healthy` and `weights` could not be observed, if they could not.
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
    /// It was opened to remove the service: verdict `rolled_back` means that it is removed.
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
    #[serde(rename = "turns")]
    pub remarks: Vec<String>,
    pub waits: Option<Waiting>,
    pub verdict: Option<Verdict>,
    pub why: String,
    pub final_inventory: Option<FinalInventory>,
    pub events: u64,
    /// Why servers of the new release fail: as it is observed while the rotation is open, as the journal has it from when the rollback began.
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

/// A journal line with its place among all journals: `after` takes this number.
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
    /// Of a container image: the name it was pulled by, and the digest of the manifest that the name led to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Digest>,
    /// Releases that name it.
    pub releases: Vec<String>,
    /// Instances that run it now.
    pub instances: u32,
    /// Why instances could not be counted, if they could not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// None: only its bytes are known.
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

/// The state of an image in its lifecycle. Times are by the clock of the images' schedules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageLife {
    /// `candidate`, `tested`, `current`, `retired`, `bad`, `revoked`.
    pub state: String,
    pub since: Time,
    pub baked: Time,
    /// When it was last confirmed to hold the newest version of every package.
    pub patched: Time,
    /// Since then.
    pub age_ms: u64,
    /// When the mirrors were last queried.
    #[serde(default)]
    pub checked: Option<Time>,
    /// Whether it held the newest version of every package then.
    #[serde(default)]
    pub newest: Option<bool>,
    /// Packages of the current image that were not the newest then.
    #[serde(default)]
    pub behind: usize,
    /// The name of a container image led to another one then; nothing else was compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tag_moved: bool,
    /// Why it was not known then whether packages of the current image are the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Why it is in this state.
    pub why: String,
    #[serde(default)]
    pub alarms: Vec<String>,
}

/// The state of one recipe's images. Times are by the clock of the images' schedules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUpkeep {
    pub name: ImageName,
    pub now: Time,
    /// None: none was baked, or the only one was revoked.
    pub current: Option<Digest>,
    pub state: Option<String>,
    /// Since it was last confirmed to hold the newest version of every package.
    pub age_ms: Option<u64>,
    pub max_age_ms: Option<u64>,
    /// As the recipe states it; None: it is baked manually only.
    pub rebuild: Option<String>,
    /// Whether the current image held the newest version of every package at the last query.
    pub newest: Option<bool>,
    pub checked: Option<Time>,
    /// What of it did not.
    #[serde(default)]
    pub behind: Vec<String>,
    /// Of a container image: the name that it is pulled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its name led to another image at the last look; nothing else was compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tag_moved: bool,
    /// When the mirrors are next queried automatically.
    pub next_look: Option<Time>,
    /// What is being done or waited for.
    pub waits: Option<Waiting>,
    /// A newer image that is not current: its state, and why.
    #[serde(default)]
    pub held_up: Option<(Digest, String, String)>,
    /// What failed last, and is retried or waits for other packages.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Services whose active release uses an image of this recipe, and which image.
    #[serde(default)]
    pub services: Vec<(ServiceName, Digest)>,
    /// What its recipe allows that a reader should know.
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
    /// None: it is not about one image.
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
    /// What is being done or waited for.
    pub waits: Option<Waiting>,
    /// Nothing is under way or asked for.
    #[serde(default)]
    pub settled: bool,
    pub checked: Option<Time>,
    /// Whether the current image held the newest version of every package then.
    pub newest: Option<bool>,
    /// What of it did not.
    #[serde(default)]
    pub behind: Vec<String>,
    /// Of a container image: the name that it is pulled by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// Its name led to another image then; nothing else was compared.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tag_moved: bool,
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
    /// Whose active release uses it now.
    pub services: Vec<ServiceName>,
    /// Compared with the image before it.
    pub changes: Vec<String>,
    pub cves: Vec<String>,
    pub story: Vec<(Time, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildRequest {
    /// Retry an image that is marked bad, for example after an environment error.
    #[serde(default)]
    pub again: bool,
    /// Which one: a digest or its first digits, six at least. None: the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RebuildAnswer {
    /// The image that is retried.
    #[serde(default)]
    pub again: Option<Digest>,
    /// The mirrors are checked, and what is new is baked.
    #[serde(default)]
    pub checks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeRequest {
    /// A digest or its first digits, six at least.
    pub digest: String,
    pub why: String,
    /// Roll the services that use it to the current image now.
    #[serde(default)]
    pub replace: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokeAnswer {
    pub image: ImageName,
    pub digest: Digest,
    /// What is current now; None: no other image can be.
    pub current: Option<Digest>,
    /// Whose active release uses the revoked one.
    pub services: Vec<ServiceName>,
    /// Servers that run it now, by service.
    #[serde(default)]
    pub instances: BTreeMap<ServiceName, u32>,
    /// Rotations that were bringing it to a service when it was revoked. With `replace` they get the command to roll back.
    #[serde(default)]
    pub under_way: Vec<RotationId>,
    /// Whether they are being rolled to the current one.
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
    /// Against its limits. None: it does not run, or the keeper does not answer.
    #[serde(default)]
    pub usage: Option<crate::host::InstanceUsage>,
    /// Servers of its group that ended and should not have: each was replaced.
    #[serde(default)]
    pub restarts: u32,
}

/// One step alone: of an open or closed rotation by place, or a manual one.
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
    /// One sentence: what is observed, what is missing, or why it is refused.
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

/// A service that runs and that the journal does not know, and what would be adopted, or was.
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
    /// Its journal, once it was adopted.
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
    /// Values of secrets that were deleted.
    #[serde(default)]
    pub secrets: u32,
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

/// The only time that the token is shown.
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
    /// `root`, `token:NAME`, `peer:NAME`, `uid:N`; `-`: unknown.
    pub who: String,
    /// `unix uid 0`, `tcp 192.0.2.7`.
    #[serde(default)]
    pub from: String,
    /// Method and path.
    pub what: String,
    /// The services, images or names it was about.
    #[serde(default)]
    pub on: String,
    /// What exactly was asked for: the command of a run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub detail: String,
    /// `done`, `refused` or `failed`; of a command inside a server `begins` and `ended` too.
    pub outcome: String,
    /// The fault's code, if it failed or was refused.
    #[serde(default)]
    pub code: String,
    #[serde(default)]
    pub message: String,
    /// The reason that the caller gave.
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
