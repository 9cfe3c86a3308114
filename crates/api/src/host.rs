//! The keeper's socket.

use model::{GroupSpec, Stamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclareGroup {
    pub stamp: Stamp,
    pub spec: GroupSpec,
}

/// What the keeper changed in the world since it began its data directory (kept on disk): a step that is run twice moves none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostCounters {
    pub launched: u64,
    pub stopped: u64,
    pub mounted: u64,
    pub unmounted: u64,
    pub removed: u64,
    /// Exits nobody asked for; those of them, and processes inside of servers, that were killed for want of memory.
    pub deaths: u64,
    pub oom_kills: u64,
    /// Servers that were ended because they failed their health checks and another was healthy in their place.
    pub replaced: u64,
    /// State files that were damaged or missing and were written again.
    pub mended: u64,
}
