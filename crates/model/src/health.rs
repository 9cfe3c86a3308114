//! How the health of an instance is checked.

use serde::{Deserialize, Serialize};

/// How to determine that an instance is healthy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// GET of this path on the service's port answers 2xx or 3xx.
    Http { path: String },
    /// This command, run inside the instance, exits 0.
    Exec { command: Vec<String> },
    /// The service's port accepts a connection.
    Tcp,
    /// The process runs.
    Running,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub probe: Probe,
    pub every_ms: u64,
    pub timeout_ms: u64,
    /// Healthy without interruption for this time before it counts as healthy.
    pub healthy_for_ms: u64,
    /// This many failures in a row make an instance unhealthy.
    pub unhealthy_after: u32,
}

impl Default for Health {
    fn default() -> Self {
        Self { probe: Probe::Running, every_ms: 1_000, timeout_ms: 1_000, healthy_for_ms: 3_000, unhealthy_after: 3 }
    }
}
