//! What is written down of one instance. The shim reads [`Record`]; both sides write the rest.

use model::{GroupName, InstanceId, Release, Time};
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// All a shim needs: it reads nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub id: InstanceId,
    pub group: GroupName,
    /// Counts from 1 in its group; never used twice.
    pub number: u64,
    pub release: Release,
    /// A test instead of the service.
    #[serde(default)]
    pub once: Option<Vec<String>>,
    pub created: Time,
    pub ground: Ground,
}

/// What of the host the instance stands on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ground {
    /// The OCI runtime's binary and where it keeps its state.
    pub runtime: PathBuf,
    pub runtime_state: PathBuf,
    /// `/afresh-<mark>/<id>`
    pub cgroup: String,
    pub image_mount: PathBuf,
    #[serde(default)]
    pub artifact_mount: Option<PathBuf>,
    /// Every object's mount lies below this; the shim keeps only its own.
    pub mounts: PathBuf,
    pub log: PathBuf,
    pub bridge: String,
    pub veth: String,
    pub gateway: Ipv4Addr,
    pub address: Ipv4Addr,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub pid: i32,
    /// Clock ticks since boot, from /proc: with the pid it names the process for ever.
    pub pid_start: u64,
    pub at: Time,
    /// Milliseconds the shim spent on network, mounts and the runtime: where a launch's time goes.
    #[serde(default)]
    pub spent_ms: Vec<(String, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    pub at: Time,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    pub code: i32,
    pub at: Time,
    /// Why its program never began, if it never did.
    #[serde(default)]
    pub failed: Option<String>,
}
