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
pub struct HostCounters {
    pub launched: u64,
    pub stopped: u64,
    pub mounted: u64,
    pub unmounted: u64,
    pub removed: u64,
}
