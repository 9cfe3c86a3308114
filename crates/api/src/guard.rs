//! The gate of the control plane: what it objects to, who lifted it, and what rules would have done.
//!
//! | call | body -> answer |
//! | --- | --- |
//! | GET /v1/guard | -> [`GuardSeen`]: what runs, judged now |
//! | GET /v1/guard/rules | -> [`RulesSeen`] |
//! | GET /v1/guard/waivers | -> `Vec<WaiverRow>`, the next to end first |
//! | POST /v1/guard/waivers | [`WaiveRequest`] -> [`WaiverRow`] |
//! | POST /v1/guard/replay | [`ReplayRequest`] -> [`ReplayAnswer`] (pure) |

use model::{Fault, ServiceName, Time};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub const GUARD: &str = "/v1/guard";
pub const RULES: &str = "/v1/guard/rules";
pub const WAIVERS: &str = "/v1/guard/waivers";
pub const REPLAY: &str = "/v1/guard/replay";

/// What the gate says of a change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Nothing of the change would be begun.
    pub denied: bool,
    /// The worst first.
    pub objections: Vec<Objection>,
    /// Why the rules or waivers cannot be used. Then nothing is deployed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Fault>,
}

impl Gate {
    pub fn is_silent(&self) -> bool {
        !self.denied && self.objections.is_empty() && self.fault.is_none()
    }
}

/// One rule that one resource does not meet, or of which that cannot be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Objection {
    pub rule: String,
    /// `service` or `image`.
    pub kind: String,
    pub resource: String,
    /// `low`, `medium`, `high`, `critical`.
    pub severity: String,
    /// `observe`, `warn`, `deny`, `hard`.
    pub enforcement: String,
    /// `observed`, `warned`, `denied`, `waived`, `broken_glass`.
    pub disposition: String,
    /// Facts that were not there. Empty: the rule is violated.
    #[serde(default)]
    pub missing: Vec<String>,
    pub evidence: Value,
    pub fingerprint: String,
    pub why: String,
    pub fix: String,
    pub hint: String,
    /// Since when a release with the same evidence has been active, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<(Time, String)>,
}

/// Rules of level `deny` that one deploy lifted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakGlassSeen {
    pub services: Vec<ServiceName>,
    pub rules: Vec<String>,
    /// The fingerprints of what it lifts.
    #[serde(default)]
    pub evidence: Vec<String>,
    /// As the connection identified the caller.
    pub owner: String,
    pub reason: String,
    pub opened: Time,
    pub expires: Time,
}

/// What runs, as the rules and waivers of now judge it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GuardSeen {
    #[serde(flatten)]
    pub gate: Gate,
    /// Those that have not expired.
    #[serde(default)]
    pub break_glass: Vec<BreakGlassSeen>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesSeen {
    /// The file that they are from; None: the built-in ones.
    pub file: Option<String>,
    /// In TOML.
    pub text: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiveRequest {
    pub rule: String,
    /// The exact resource.
    pub resource: String,
    /// The fingerprint of the objection.
    pub evidence: String,
    /// Who answers for it.
    pub owner: String,
    pub reason: String,
    pub ticket: String,
    pub days: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaiverRow {
    pub rule: String,
    pub resource: String,
    pub evidence: String,
    pub owner: String,
    pub reason: String,
    pub ticket: String,
    pub granted: Time,
    pub expires: Time,
    /// Negative: it expired.
    pub days_left: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRequest {
    /// In TOML.
    pub rules: String,
    pub days: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayAnswer {
    pub days: u32,
    pub deploys: usize,
    /// Deploys of the time that are not among them: there were too many.
    #[serde(default)]
    pub left_out: bool,
    pub rules: Vec<ReplayRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRow {
    pub rule: String,
    pub denied: usize,
    /// Of the denied, those where a fact is not known any more.
    pub cannot_tell: usize,
    pub sentence: String,
}
