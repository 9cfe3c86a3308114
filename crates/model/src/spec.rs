//! The desired state: the service file, decoded. Every default of what the file may omit is written here, once.

use crate::{
    ContainerSource, Digest, Health, ImageCustom, ImageName, Job, LeftToImage, Moved, Network, RouteAddress, SecretName, SecretSpec,
    SecretUse, ServiceName, TierName, Volume,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

/// The whole of `afresh.hcl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServiceFile {
    pub images: BTreeMap<ImageName, ImageSpec>,
    pub services: BTreeMap<ServiceName, ServiceSpec>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub secrets: BTreeMap<SecretName, SecretSpec>,
    /// In the order they rotate. Every service's tier is among them.
    pub tiers: Vec<TierName>,
    /// Services that were called otherwise, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub moved: Vec<Moved>,
}

/// A recipe for machine images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    pub name: ImageName,
    /// The base image, as the file has it: all of its contents come first, then this image's own. The suites of both are the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<Box<ImageSpec>>,
    /// The suite: `bookworm`. Empty: it is a container image.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub debian: String,
    /// Sorted, without doubles.
    #[serde(default)]
    pub packages: Vec<String>,
    /// A container image, which is pulled as it is: nothing is built.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<ContainerSource>,
    /// `hourly`, `daily`, `weekly` or a cron expression; None: only manually.
    #[serde(default)]
    pub rebuild: Option<String>,
    #[serde(default)]
    pub max_age_ms: Option<u64>,
    /// Hours of the day (UTC) in which images are rebuilt and rolled out automatically: `02:00-05:00`; None: at any time.
    #[serde(default)]
    pub window: Option<String>,
    /// The most delay after the scheduled time, derived from the image's name, so that not all hosts query the mirrors at once.
    #[serde(default)]
    pub jitter_ms: u64,
    /// What a new image must pass before it may become the current one.
    #[serde(default)]
    pub checks: Vec<ImageCheck>,
    /// Files, users, a script.
    #[serde(default, skip_serializing_if = "ImageCustom::is_empty")]
    pub custom: ImageCustom,
}

impl ImageSpec {
    /// At most this many levels of base images, this one included.
    pub const LEVELS_MAX: usize = 8;

    /// Where packages come from: release, further suites, components, and what is trusted without a signature. A base and its images share it.
    pub fn archive(&self) -> (&str, [&[String]; 3]) {
        (&self.debian, [&self.custom.suites, &self.custom.components, &self.custom.allow_unsigned])
    }

    /// The lowest base first, this image last.
    pub fn levels(&self) -> Vec<&ImageSpec> {
        let mut all: Vec<&ImageSpec> = std::iter::successors(Some(self), |spec| spec.base.as_deref()).collect();
        all.reverse();
        all
    }
}

/// A check of an image, in an instance of its own that has only the image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageCheck {
    pub name: String,
    pub what: ImageProbe,
    pub within_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageProbe {
    /// This command exits 0.
    Run { command: Vec<String> },
    /// While this command runs, the port accepts a connection.
    Port { command: Vec<String>, port: u16 },
    /// This path exists.
    File { path: String },
    /// This path does not exist.
    Absent { path: String },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceSpec {
    pub name: ServiceName,
    pub tier: TierName,
    pub image: ImageName,
    /// Of the recipe that its image was deployed with; the control plane sets it, no file does. None: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipe: Option<Digest>,
    /// A directory or tarball, relative to the service file, or where one is fetched: see [`crate::ArtifactSource`].
    #[serde(default)]
    pub artifact: Option<String>,
    /// Empty: left to the image.
    #[serde(default)]
    pub run: Vec<String>,
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "SecretUse::is_empty")]
    pub secrets: SecretUse,
    /// `uid` or `uid:gid`, numbers. Default 65534:65534 (nobody).
    #[serde(default = "ServiceSpec::default_user")]
    pub user: String,
    /// The port the program listens on, in its own network namespace.
    #[serde(default)]
    pub port: Option<u16>,
    pub count: u32,
    pub health: Health,
    pub drain: Drain,
    pub limits: Limits,
    /// In the file's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<Volume>,
    /// At most one server of the service runs at any moment: the old one is gone before the new one starts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclusive: bool,
    #[serde(default, skip_serializing_if = "Network::is_default")]
    pub network: Network,
    #[serde(default)]
    pub route: Option<Route>,
    /// Run in a one-shot instance of a new release before it is scaled.
    #[serde(default)]
    pub checks: Vec<Check>,
    /// Run once for each release, before its first server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub migrate: Option<Migrate>,
    /// By name. They are no part of a release: each run is of the release that is active then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub jobs: Vec<Job>,
    pub rollout: Rollout,
    /// Settings that the file does not name, of a service on a container image. Their fields hold what counts where the image is silent too.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub from_image: BTreeSet<LeftToImage>,
}

impl ServiceSpec {
    /// So many that a file with more is a mistake.
    pub const JOBS_MAX: usize = 50;
    /// A host has 253 addresses, and a rotation may run both releases at full count at once.
    pub const COUNT_MAX: u32 = 100;

    pub fn default_user() -> String {
        "65534:65534".to_string()
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    pub name: String,
    pub run: Vec<String>,
    pub within_ms: u64,
}

/// A command that changes data for a release, such as the schema of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Migrate {
    pub run: Vec<String>,
    /// It is ended when it has run for this time, and has failed then.
    pub within_ms: u64,
}

/// How a server is ended: no new requests, wait for those in flight, signal, wait, kill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Without SIG: `TERM`.
    pub signal: String,
    pub within_ms: u64,
}

impl Default for Drain {
    fn default() -> Self {
        Self { signal: "TERM".to_string(), within_ms: 30_000 }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub memory_bytes: u64,
    /// Thousandths of a core.
    pub cpu_milli: u64,
    pub pids: u64,
    /// What a server may write beside its volumes. None: see [`Limits::scratch`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scratch_bytes: Option<u64>,
}

impl Limits {
    /// The default is never more than this.
    const SCRATCH_BYTES: u64 = 1 << 30;

    /// What a server may write beside its volumes: its root and `/tmp` together. It lies in memory and counts as the server's memory.
    pub fn scratch(&self) -> u64 {
        self.scratch_bytes.unwrap_or_else(|| (self.memory_bytes / 2).min(Self::SCRATCH_BYTES))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, cpu_milli: 1_000, pids: 256, scratch_bytes: None }
    }
}

/// Where the balancer listens for traffic, and its timeouts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    pub listen: RouteAddress,
    pub connect_timeout_ms: u64,
    /// From the request's last byte to the response's head.
    pub answer_timeout_ms: u64,
}

impl Route {
    pub fn on(listen: SocketAddr) -> Self {
        Self { listen: listen.into(), connect_timeout_ms: 1_000, answer_timeout_ms: 30_000 }
    }
}

/// A share of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wave {
    Count(u32),
    Percent(u32),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Growing; the last is the full count.
    pub waves: Vec<Wave>,
    pub soak_ms: u64,
    /// When more than this share of a soak's requests fail: roll back.
    pub errors_ppm: u32,
    /// When a step takes longer: roll back.
    pub within_ms: u64,
    /// Fewer requests than this in a soak are not enough to judge the release by.
    #[serde(default = "Rollout::default_min_requests")]
    pub min_requests: u64,
    #[serde(default)]
    pub few_requests: FewRequests,
    /// Times of the week (UTC) in which nothing is rolled out automatically: `Fri 18:00-Mon 06:00`, `08:00-18:00`.
    #[serde(default)]
    pub freeze: Vec<String>,
}

/// What happens after a soak that had too few requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FewRequests {
    /// The rotation continues, and its journal records that there was not enough data.
    #[default]
    GoOn,
    /// It waits for more, for as long as a step may take; then it rolls back.
    Wait,
}

impl Rollout {
    pub fn default_min_requests() -> u64 {
        1
    }
}

impl Default for Rollout {
    fn default() -> Self {
        Self {
            waves: vec![Wave::Percent(100)],
            soak_ms: 10_000,
            errors_ppm: 10_000,
            within_ms: 300_000,
            min_requests: 1,
            few_requests: FewRequests::GoOn,
            freeze: Vec::new(),
        }
    }
}
