//! Rollouts: rotations of several services, tier by tier. A tier begins when every rotation of the one before was promoted.

use model::{RolloutEnd, RolloutPlan, ServiceName, Verdict};
use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Open these rotations: places within the tier, and the tier's place.
    Open(Vec<usize>, usize),
    Wait,
    End(RolloutEnd),
}

/// `opened`: every rotation of this rollout so far, and its verdict if it is closed.
pub fn next(rollout: &RolloutPlan, opened: &BTreeMap<ServiceName, Option<Verdict>>) -> Next {
    for (place, (_, services)) in rollout.tiers.iter().enumerate() {
        let states: Vec<Option<Option<Verdict>>> = services.iter().map(|(spec, _)| opened.get(&spec.name).copied()).collect();
        let running = states.contains(&Some(None));
        let failed = states.iter().any(|s| matches!(s, Some(Some(Verdict::RolledBack | Verdict::Stopped))));
        if failed {
            // Rotations that run may finish; no new one is opened.
            return if running { Next::Wait } else { Next::End(RolloutEnd::Halted) };
        }
        let missing: Vec<usize> = states.iter().enumerate().filter(|(_, s)| s.is_none()).map(|(i, _)| i).collect();
        if !missing.is_empty() {
            return Next::Open(missing, place);
        }
        if running {
            return Next::Wait;
        }
    }
    Next::End(RolloutEnd::Promoted)
}
