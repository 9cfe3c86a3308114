//! The keeper's socket.

use model::{GroupSpec, InstanceId, Stamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclareGroup {
    pub stamp: Stamp,
    pub spec: GroupSpec,
}

/// How many one-shots that were asked to end were killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    pub killed: usize,
}

/// What the keeper changed since its data directory was created (kept on disk): a step that is run twice changes none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostCounters {
    pub launched: u64,
    pub stopped: u64,
    pub mounted: u64,
    pub unmounted: u64,
    pub removed: u64,
    /// Unexpected exits; those of them, and processes inside of servers, that were killed because of the memory limit.
    pub deaths: u64,
    pub oom_kills: u64,
    /// Servers that were ended because they failed their health checks and their replacement was healthy.
    pub replaced: u64,
    /// State files that were damaged or missing and were rewritten.
    pub mended: u64,
}

/// Path of [`InstanceUsage`], of all instances or of one service's (`?service=`).
pub const USAGE: &str = "/v1/usage";

/// What a running instance uses of its limits. None: this host does not count it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceUsage {
    pub instance: InstanceId,
    /// Without files that are only kept because there is room.
    pub memory_bytes: Option<u64>,
    pub memory_limit_bytes: u64,
    /// Thousandths of a core, over the last seconds.
    pub cpu_milli: Option<u64>,
    pub cpu_limit_milli: u64,
    pub pids: Option<u64>,
    pub pids_limit: u64,
    /// Processes of it that the kernel killed for memory.
    pub oom_kills: u64,
}
