//! Runs of commands beside a service's servers.
//!
//! | call | body -> answer |
//! | --- | --- |
//! | POST /v1/services/{service}/runs | [`RunRequest`] -> [`RunSeen`] |
//! | GET /v1/services/{service}/runs?limit= | -> `Vec<RunSeen>`, the newest first |
//! | GET /v1/runs?limit= | -> `Vec<RunSeen>` of all services that the caller may read, the newest first |
//! | GET /v1/runs/{run} | -> [`RunSeen`] |
//! | POST /v1/runs/{run}/stop | [`RunStopRequest`] -> [`RunSeen`] |
//!
//! What it prints is in the log of its server ([`RunSeen::instance`]), as any server's: see [`crate::logs`].

use model::{InstanceId, Run, RunId, ServiceName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const RUNS: &str = "/v1/runs";

pub fn of(service: &ServiceName) -> String {
    format!("/v1/services/{service}/runs")
}

pub fn one(run: &RunId) -> String {
    format!("{RUNS}/{run}")
}

pub fn stop(run: &RunId) -> String {
    format!("{RUNS}/{run}/stop")
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    pub command: Vec<String>,
    /// In this release instead of the active one.
    #[serde(default)]
    pub release: Option<u64>,
    /// It is ended when it has run for this time. None: [`model::RUN_WITHIN_MS`].
    #[serde(default)]
    pub within_ms: Option<u64>,
    /// Variables besides those of the release.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStopRequest {
    /// By force: without its drain time.
    #[serde(default)]
    pub kill: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSeen {
    #[serde(flatten)]
    pub run: Run,
    pub instance: InstanceId,
    /// Why it has not begun, or not ended, if there is something to say.
    #[serde(default)]
    pub waits: Option<String>,
}

impl RunSeen {
    pub fn of(run: Run, waits: Option<String>) -> Self {
        Self { instance: run.instance(), run, waits }
    }
}
