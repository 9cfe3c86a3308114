//! Paths of the three sockets. `{}` stands for a name.
//!
//! | socket | call | body -> answer |
//! | --- | --- | --- |
//! | host | PUT /v1/groups/{group} | [`crate::host::DeclareGroup`] -> `{}` |
//! | host | GET /v1/groups/{group} | -> `model::GroupSeen` |
//! | host | GET /v1/groups | -> `Vec<model::GroupSeen>` |
//! | host | GET /v1/counters | -> [`crate::host::HostCounters`] |
//! | proxy | PUT /v1/routes/{route} | [`crate::proxy::DeclareRoute`] -> `{}` |
//! | proxy | GET /v1/routes/{route} | -> `model::RouteSeen` |
//! | proxy | GET /v1/routes | -> `Vec<model::RouteSeen>` |
//! | proxy | GET /v1/counters | -> [`crate::proxy::ProxyCounters`] |
//! | api | see [`crate::control`] | |
//! | all | GET /v1/health | -> [`Health`] |

use serde::{Deserialize, Serialize};

pub const HEALTH: &str = "/v1/health";
pub const GROUPS: &str = "/v1/groups";
pub const ROUTES: &str = "/v1/routes";
pub const COUNTERS: &str = "/v1/counters";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `serve`, `host`, `proxy` or `data`.
    pub role: String,
    pub version: String,
    pub pid: u32,
}
