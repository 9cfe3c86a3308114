//! The balancer's socket.

use model::{RouteSpec, Stamp};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeclareRoute {
    pub stamp: Stamp,
    pub spec: RouteSpec,
}

/// What the balancer changed since its data directory was created (kept on disk): a step that is run twice changes none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProxyCounters {
    pub listeners: u64,
    pub swaps: u64,
}
