//! What a container image says of itself, and what a release has of that. Data only.

use crate::Digest;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A container image, as a recipe names it. Paths are of the machine that pulls it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerSource {
    /// `registry.example.org/shop/app:1.4`, `oci-archive:PATH`, `oci:DIR`.
    pub reference: String,
    /// A file with passwords of registries, as Docker writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
    /// A file with an authority that is trusted for this registry beside the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The registry may be spoken to without TLS.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

impl ContainerSource {
    /// Who is asked whether there is something new: `its registry`.
    pub fn asked(&self) -> &'static str {
        match () {
            () if self.reference.starts_with("oci-archive:") => "its archive",
            () if self.reference.starts_with("oci:") => "its layout",
            () => "its registry",
        }
    }
}

/// Where an image in the store was pulled from, and what it is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    /// As it was asked for: `registry.example.org/shop/app:1.4`.
    pub reference: String,
    /// Of the manifest of this machine's architecture: what pins the image.
    pub manifest: Digest,
    /// Of what the name led to: the manifest, or the index that lists it.
    pub top: Digest,
    /// From the lowest on, as they are transferred.
    pub layers: Vec<Digest>,
    pub defaults: ContainerDefaults,
    /// As the image's `/etc/os-release` has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<Distribution>,
    /// As the image's config has it, in the form of RFC 3339. Nobody vouches for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
}

/// `debian` and `bookworm`, `alpine` and `3.20.1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distribution {
    pub id: String,
    /// Its code name, or else its number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How a server of the image is started (image-spec, `config`), unless its service says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerDefaults {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cmd: Vec<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// `user`, `uid`, `user:group`, `uid:gid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The same in numbers, as the image's own `/etc/passwd` has it; None: it does not have that user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ids: Option<(u32, u32)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// `8080/tcp`, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ports: Vec<String>,
    /// Directories that the image wants to be volumes, sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub volumes: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<ContainerHealthcheck>,
}

/// Docker's; the image specification has none, and images have it all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerHealthcheck {
    /// The command; with a shell where the image says so.
    pub test: Vec<String>,
    pub interval_ms: Option<u64>,
    pub timeout_ms: Option<u64>,
    pub start_period_ms: Option<u64>,
    pub retries: Option<u32>,
}

/// A setting that the image says where the service does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftToImage {
    Run,
    User,
    Port,
    Signal,
    Health,
}

impl LeftToImage {
    pub const ALL: [LeftToImage; 5] = [Self::Run, Self::User, Self::Port, Self::Signal, Self::Health];

    /// Its key in a service file.
    pub fn key(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::User => "user",
            Self::Port => "port",
            Self::Signal => "drain.signal",
            Self::Health => "health",
        }
    }
}

/// What a release has from its container image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromContainer {
    /// Variables of the image. The release's own come over them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// The working directory, unless the release has an artifact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workdir: Option<String>,
    /// Settings that the service leaves to the image.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub left: BTreeSet<LeftToImage>,
}

impl ContainerDefaults {
    /// What is started: the entrypoint, and the command as its arguments.
    pub fn run(&self) -> Vec<String> {
        self.entrypoint.iter().chain(&self.cmd).cloned().collect()
    }
}
