//! Nouns: typed ids, digests, specs, views, events and stamps. Serde only.
//!
//! Everything here is plain data. A type that needs a clock, a file or a random number belongs elsewhere.
//! Durations are whole milliseconds in fields that end in `_ms`; instants are [`Time`]; rates end in `_ppm` (parts per million).

/// On a host, the first of the user ids that scripts have while an image is baked. No service gets them.
pub const BAKE_IDS: u32 = 0x7ff0_0000;
/// This many ranges of 65,536 such ids: one for each concurrent bake.
pub const BAKE_RANGES: u32 = 13;

/// The prefix of the service name under which a host runs the checks of an image. No service of a file may have such a name: it would
/// share user ids and groups with them.
pub const IMAGE_CHECKS: &str = "image-";

pub mod access;
mod container;
mod custom;
pub mod destination;
mod digest;
mod event;
mod failure;
mod fault;
pub mod from_image;
mod group;
mod health;
mod id;
mod image_source;
mod job;
mod layout;
mod names;
pub mod near;
pub mod network;
mod one_shot;
pub mod path_validation;
mod plan;
mod refused;
mod release;
mod rollout;
mod route;
pub mod route_address;
mod run;
mod secret;
mod spec;
mod stamp;
pub mod text;
pub mod validation;
mod validation_error;
mod view;
pub mod volume;

pub use container::{Container, ContainerDefaults, ContainerHealthcheck, ContainerSource, Distribution, FromContainer, LeftToImage};
pub use custom::{ImageCustom, ImageFile, ImageUser};
pub use digest::Digest;
pub use event::{Event, EventLine, FinalInventory, IssuedCommand, Opened, RotationCommand, TrafficMark, Verdict};
pub use failure::{Death, Exit, FailedProbe, Failure, LAST_LINES_BYTES_MAX, LAST_LINES_MAX, QUOTED_BYTES_MAX, limit_in_words};
pub use fault::{Blame, Fault};
pub use group::{DesiredGroup, DesiredSeen, GroupHeld, GroupSeen, GroupSpec, InstanceSeen, InstanceState, ScratchSeen, Target, TargetFile};
pub use health::{Health, Probe};
pub use id::{
    ExecId, GroupName, ImageName, InstanceId, JobName, NameError, RolloutId, RotationId, RouteName, RunId, SecretName, SecretVersion,
    ServiceName, TierName, VolumeName,
};
pub use image_source::{ArtifactSource, ImageSource, Reference, host_of, is_loopback};
pub use job::{Job, JobPause, JobStart, JobState, Missed, Overlap};
pub use layout::Layout;
pub use names::{Moved, Named, Names, keep_moves_to, moved_from};
pub use network::{Allowed, Egress, Network};
pub use one_shot::{OneShot, OneShotEnd};
pub use plan::{Direction, Gap, GroupRelease, Plan, PlannedStep, Step};
pub use refused::Refused;
pub use release::Release;
pub use rollout::{RolloutEnd, RolloutPlan, RolloutSeen};
pub use route::{GroupTraffic, RouteHeld, RouteSeen, RouteSpec, TargetSeen};
pub use route_address::{Gateway, RouteAddress};
pub use run::{COMMAND_BYTES_MAX, RUN_WITHIN_MS, RUN_WITHIN_MS_MAX, Run, RunStop, check_command, check_env, is_set_by_afresh};
pub use secret::{PinnedSecrets, SECRET_BYTES_MAX, SECRET_FILES, SecretSource, SecretSpec, SecretUse};
pub use spec::{
    Check, Drain, FewRequests, ImageCheck, ImageProbe, ImageSpec, Limits, Migrate, Rollout, Route, ServiceFile, ServiceSpec, Wave,
};
pub use stamp::{Fence, Stamp, Steady, Time};
pub use validation_error::{Validated, ValidationError};
pub use view::View;
pub use volume::{Volume, VolumeRule};
