//! Paths of the three sockets. `{}` stands for a name.
//!
//! | socket | call | body -> answer |
//! | --- | --- | --- |
//! | host | PUT /v1/groups/{group} | [`crate::host::DeclareGroup`] -> `{}` |
//! | host | GET /v1/groups/{group} | -> `model::GroupSeen` |
//! | host | GET /v1/groups | -> `Vec<model::GroupSeen>` |
//! | host | POST /v1/groups/{group}/kill | -> [`crate::host::Killed`]: one-shots that were asked to end |
//! | host | GET /v1/inventory | -> `Vec<model::GroupHeld>` |
//! | host | GET /v1/counters | -> [`crate::host::HostCounters`] |
//! | host | GET /v1/usage?service= | -> `Vec<`[`crate::host::InstanceUsage`]`>` |
//! | host | GET /v1/logs | see [`crate::logs`] |
//! | host | /v1/exec | see [`crate::exec`] |
//! | proxy | PUT /v1/routes/{route} | [`crate::proxy::DeclareRoute`] -> `{}` |
//! | proxy | GET /v1/routes/{route} | -> `model::RouteSeen` |
//! | proxy | GET /v1/routes | -> `Vec<model::RouteSeen>` |
//! | proxy | GET /v1/inventory | -> `Vec<model::RouteHeld>` |
//! | proxy | GET /v1/counters | -> [`crate::proxy::ProxyCounters`] |
//! | api | see [`crate::control`] | |
//! | all | GET /v1/health | -> [`Health`] |

use model::{Digest, GroupName, Time};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

pub const HEALTH: &str = "/v1/health";
pub const GROUPS: &str = "/v1/groups";
pub const ROUTES: &str = "/v1/routes";
pub const COUNTERS: &str = "/v1/counters";
pub const INVENTORY: &str = "/v1/inventory";

pub fn kill(group: &GroupName) -> String {
    format!("{GROUPS}/{group}/kill")
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `serve`, `host`, `proxy` or `data`.
    pub role: String,
    pub version: String,
    pub pid: u32,
    /// What needs attention; empty: it is healthy.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<String>,
    /// The control plane's: the last good backup of the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<LastBackup>,
}

/// A backup that was written and read again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    pub at: Time,
    pub path: PathBuf,
    pub bytes: u64,
    /// Of the whole file.
    pub digest: Digest,
}

impl Health {
    /// Of this process, healthy.
    pub fn of(role: &str, version: &str) -> Self {
        Self { role: role.to_string(), version: version.to_string(), pid: std::process::id(), troubles: Vec::new(), backup: None }
    }
}
