//! The balancer's socket.

use model::{RouteSpec, Stamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclareRoute {
    pub stamp: Stamp,
    pub spec: RouteSpec,
    /// The route is over: its listener closes. It stays on the disk as a tombstone, because absence of a file means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

/// What the balancer changed since it began its data directory (kept on disk): a step that is run twice moves none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCounters {
    pub listeners: u64,
    pub swaps: u64,
}
