//! Jobs of services: commands that run by a calendar.
//!
//! | call | body -> answer |
//! | --- | --- |
//! | GET /v1/jobs | -> `Vec<JobSeen>` of all services that the caller may read |
//! | GET /v1/services/{service}/jobs | -> `Vec<JobSeen>` |
//! | GET /v1/services/{service}/jobs/{job}/history?limit= | -> [`JobHistory`] |
//! | POST /v1/services/{service}/jobs/{job}/run | -> [`RunSeen`] |
//! | POST /v1/services/{service}/jobs/{job}/pause, /resume | -> [`JobSeen`] |

use crate::runs::RunSeen;
use model::{Job, JobName, JobPause, Missed, Run, ServiceName, Time};
use serde::{Deserialize, Serialize};

pub const JOBS: &str = "/v1/jobs";

pub fn of(service: &ServiceName) -> String {
    format!("/v1/services/{service}/jobs")
}

/// `call`: `history`, `run`, `pause`, `resume`.
pub fn one(service: &ServiceName, job: &JobName, call: &str) -> String {
    format!("/v1/services/{service}/jobs/{job}/{call}")
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobSeen {
    pub service: ServiceName,
    #[serde(flatten)]
    pub job: Job,
    /// When it is due next. None: it is paused, or its service cannot run it.
    #[serde(default)]
    pub next: Option<Time>,
    #[serde(default)]
    pub paused: Option<JobPause>,
    /// Why it does not run now, if there is something to say.
    #[serde(default)]
    pub waits: Option<String>,
    /// Its newest run.
    #[serde(default)]
    pub last: Option<Run>,
    /// The newest starts that were missed.
    #[serde(default)]
    pub missed: Option<Missed>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobHistory {
    /// The newest first.
    pub runs: Vec<RunSeen>,
    /// The oldest first.
    pub missed: Vec<Missed>,
}
