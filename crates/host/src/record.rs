//! The records of one instance. The shim reads [`Record`]; both sides write the rest.

use crate::userns::Range;
use model::{GroupName, InstanceId, OneShot, Release, Stamp, Time};
use serde::{Deserialize, Serialize};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

/// All a shim needs: it reads nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub id: InstanceId,
    pub group: GroupName,
    /// Counts from 1 in its group; never used twice.
    pub number: u64,
    pub release: Release,
    /// A command instead of the service.
    #[serde(default)]
    pub once: Option<OneShot>,
    /// The stamp of the declaration that it was created for: it fences the group if its own file is lost.
    #[serde(default)]
    pub stamp: Option<Stamp>,
    pub created: Time,
    #[serde(rename = "ground")]
    pub placement: Placement,
}

/// What the instance uses of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The OCI runtime's binary and where it keeps its state.
    pub runtime: PathBuf,
    pub runtime_state: PathBuf,
    /// `/afresh-<mark>/<id>`
    pub cgroup: String,
    pub image_mount: PathBuf,
    #[serde(default)]
    pub artifact_mount: Option<PathBuf>,
    /// Every object is mounted below this; the shim keeps only its own mounts.
    pub mounts: PathBuf,
    pub log: PathBuf,
    pub bridge: String,
    pub veth: String,
    pub gateway: Ipv4Addr,
    pub address: Ipv4Addr,
    /// Where this machine keeps the values of secrets. None: written by an older keeper, which had none.
    #[serde(default)]
    pub secrets: Option<PathBuf>,
    /// None: this host has no IPv6, or an older keeper wrote this.
    #[serde(default)]
    pub six: Option<Six>,
    /// Domains that are tried for a name.
    #[serde(default)]
    pub search: Vec<String>,
    /// The ids of its service on this host. None: written by an older keeper, which had none.
    #[serde(default)]
    pub ids: Option<Range>,
}

/// What it has of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Six {
    pub address: Ipv6Addr,
    pub gateway: Ipv6Addr,
}

/// The shim that has started for an instance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Began {
    pub pid: i32,
    pub pid_start: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub pid: i32,
    /// Clock ticks since boot, from /proc: with the pid it identifies the process permanently.
    pub pid_start: u64,
    pub at: Time,
    /// Milliseconds that the shim spent on network, mounts and the runtime.
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
    /// Why its program never started, if it did not.
    #[serde(default)]
    pub failed: Option<String>,
    /// Its processes that the kernel killed because of the memory limit.
    #[serde(default)]
    pub oom_kills: u64,
    /// A one-shot was ended because its time was over.
    #[serde(default)]
    pub timed_out: bool,
    /// How its program ended is not known, nor whether it started: the code says nothing.
    #[serde(default)]
    pub lost: bool,
}

impl Ended {
    pub fn new(code: i32, failed: Option<String>) -> Self {
        Self { code, at: disk::files::now(), failed, oom_kills: 0, timed_out: false, lost: false }
    }

    /// The program itself was killed because of the memory limit, by its exit and its control group.
    pub fn by_oom(&self) -> bool {
        self.oom_kills > 0 && self.code == 137
    }

    /// For display. `memory_bytes`: its limit.
    pub fn reason(&self, memory_bytes: u64) -> String {
        if let Some(why) = &self.failed {
            return format!("it never started: {why}");
        }
        let exit = match self.code {
            0 => "it exited with code 0".to_string(),
            code @ 129..=192 => format!("it was killed by signal {}", code - 128),
            code => format!("it exited with code {code}"),
        };
        match (self.by_oom(), self.oom_kills) {
            (true, _) => format!("the kernel killed it: it reached its memory limit{}", model::limit_in_words(Some(memory_bytes))),
            (false, 0) => exit,
            (false, n) => format!("{exit}, after the kernel had killed {n} of its processes at its memory limit"),
        }
    }
}
