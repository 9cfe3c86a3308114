//! What keeper and balancer report between deploys: events of the fleet, and alarms that need attention.
//!
//! | socket | call | answer |
//! | --- | --- | --- |
//! | host, proxy | GET /v1/alarms | `Vec<Alarm>` |
//! | host | GET /v1/happened?after= | `Vec<Happened>`, oldest first |
//! | api | GET /v1/alarms | `Vec<Alarm>`: of keeper, balancer and services |
//! | api | GET /v1/fleet/events?after= | `Vec<Happened>`, oldest first |

use model::{GroupName, InstanceId, ServiceName, Time};
use serde::{Deserialize, Serialize};

pub const ALARMS: &str = "/v1/alarms";
pub const HAPPENED: &str = "/v1/happened";

/// Something that needs attention. The text says what is wrong, with what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Alarm {
    /// Machine-readable: `state-damaged`, `unhealthy`, `died`, `oom-killed`, `replaced`, `disk-full`, `unreachable`, `route`, `name-unknown`, `no-resolver`.
    pub code: String,
    #[serde(default)]
    pub service: Option<ServiceName>,
    pub text: String,
}

impl Alarm {
    pub fn new(code: &str, service: Option<ServiceName>, text: impl Into<String>) -> Self {
        Self { code: code.to_string(), service, text: text.into() }
    }
}

/// What the keeper did by itself, or observed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Happened {
    /// Grows by one; never used twice in a data directory unless its history was lost.
    pub number: u64,
    pub at: Time,
    pub kind: HappenedKind,
    #[serde(default)]
    pub service: Option<ServiceName>,
    #[serde(default)]
    pub group: Option<GroupName>,
    #[serde(default)]
    pub instance: Option<InstanceId>,
    /// One sentence, with the reason.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HappenedKind {
    /// A server exited without having been told to.
    Died,
    /// The kernel killed a server because it reached its memory limit.
    OomKilled,
    /// A process inside a server was killed because of the memory limit; the server continues.
    OomInside,
    /// A server has failed its health checks for long enough that a replacement is started.
    Unhealthy,
    /// A server that failed its health checks is ended, because its replacement is healthy.
    Replaced,
    /// A state file was damaged or missing, and was rewritten from what is known.
    Mended,
    /// A state file is damaged or missing, and its content is unknown.
    Damaged,
}

impl HappenedKind {
    pub fn code(self) -> &'static str {
        match self {
            HappenedKind::Died => "died",
            HappenedKind::OomKilled => "oom-killed",
            HappenedKind::OomInside => "oom-inside",
            HappenedKind::Unhealthy => "unhealthy",
            HappenedKind::Replaced => "replaced",
            HappenedKind::Mended => "state-mended",
            HappenedKind::Damaged => "state-damaged",
        }
    }
}
