//! What is written down of one instance. The shim reads [`Record`]; both sides write the rest.

use crate::userns::Range;
use model::{GroupName, InstanceId, Release, Stamp, Time};
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
    /// Of the declaration that it was made for: what fences the group if its own file is lost.
    #[serde(default)]
    pub stamp: Option<Stamp>,
    pub created: Time,
    #[serde(rename = "ground")]
    pub placement: Placement,
}

/// What of the host the instance stands on.
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
    /// Every object's mount lies below this; the shim keeps only its own.
    pub mounts: PathBuf,
    pub log: PathBuf,
    pub bridge: String,
    pub veth: String,
    pub gateway: Ipv4Addr,
    pub address: Ipv4Addr,
    /// The ids of its service on this host. None: an older keeper's, which knew of none.
    #[serde(default)]
    pub ids: Option<Range>,
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
    /// Processes of it that the kernel killed for want of memory.
    #[serde(default)]
    pub oom_kills: u64,
}

impl Ended {
    pub fn new(code: i32, failed: Option<String>) -> Self {
        Self { code, at: disk::files::now(), failed, oom_kills: 0 }
    }

    /// The program itself was killed for want of memory, as far as its exit and its control group say.
    pub fn by_oom(&self) -> bool {
        self.oom_kills > 0 && self.code == 137
    }

    /// For people.
    pub fn reason(&self) -> String {
        if let Some(why) = &self.failed {
            return format!("it never began: {why}");
        }
        let exit = match self.code {
            0 => "it ended by itself with exit code 0".to_string(),
            code @ 129..=192 => format!("it was ended by signal {}", code - 128),
            code => format!("it ended by itself with exit code {code}"),
        };
        match (self.by_oom(), self.oom_kills) {
            (true, _) => "the kernel killed it for want of memory: it reached its memory limit".to_string(),
            (false, 0) => exit,
            (false, n) => format!("{exit}, after the kernel had killed {n} of its processes for want of memory"),
        }
    }
}
