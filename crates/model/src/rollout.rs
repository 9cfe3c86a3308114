//! Rotations of several services, tier by tier.

use crate::{Release, RolloutId, RotationId, ServiceSpec, TierName, Time, Verdict};
use serde::{Deserialize, Serialize};

/// Tiers in order; the next begins when every rotation of the one before was promoted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutPlan {
    pub why: String,
    /// The upkeep of images opened it, and nothing but images differs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_upkeep: bool,
    pub tiers: Vec<(TierName, Vec<(ServiceSpec, Release)>)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RolloutEnd {
    /// Every rotation was promoted.
    Promoted,
    /// One was not; later tiers were not started.
    Halted,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutSeen {
    pub id: RolloutId,
    /// When it was opened.
    #[serde(default)]
    pub at: Time,
    pub plan: RolloutPlan,
    /// Opened so far, in order.
    pub rotations: Vec<(RotationId, Option<Verdict>)>,
    /// Who paused it: no further tier is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    pub end: Option<RolloutEnd>,
    /// Why it ended with this result, in one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}
