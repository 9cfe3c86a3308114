//! The health of one target by the balancer's own probes.
//!
//! ```text
//!            pass                     `unhealthy_after` failures in a row
//!  Untried ────────▶ Healthy(since) ──────────────────────────────────────▶ Failing
//!     ▲ fail │            ▲  fewer failures change nothing                     │
//!     └──────┘            └─────────────────── pass (a new since) ─────────────┘
//! ```
//!
//! No request goes to an untried target. Failures of requests are kept beside this (`suspected_at_ms`) and only lower the rank of
//! a target: they never remove the last one of a group.

use crate::Rank;

/// A target that refused a connection is chosen last for this time, or until a probe passes that began later.
const SUSPECT_MS: u64 = 2_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Untried,
    Healthy { since_ms: u64 },
    Failing,
}

#[derive(Clone, Debug)]
pub struct TargetHealth {
    condition: Condition,
    /// Failures since the last pass.
    failures: u32,
    suspected_at_ms: Option<u64>,
}

impl Default for TargetHealth {
    fn default() -> Self {
        Self { condition: Condition::Untried, failures: 0, suspected_at_ms: None }
    }
}

impl TargetHealth {
    pub fn condition(&self) -> Condition {
        self.condition
    }

    /// A probe that began at `began_ms` passed at `now_ms`.
    pub fn passed(&mut self, began_ms: u64, now_ms: u64) {
        self.failures = 0;
        if !matches!(self.condition, Condition::Healthy { .. }) {
            self.condition = Condition::Healthy { since_ms: now_ms };
        }
        if self.suspected_at_ms.is_some_and(|at| began_ms > at) {
            self.suspected_at_ms = None;
        }
    }

    /// A probe failed. `unhealthy_after` of 0 is taken as 1.
    pub fn failed(&mut self, unhealthy_after: u32) {
        self.failures = self.failures.saturating_add(1);
        if matches!(self.condition, Condition::Healthy { .. }) && self.failures >= unhealthy_after.max(1) {
            self.condition = Condition::Failing;
        }
    }

    /// A request could not be sent to it.
    pub fn suspect(&mut self, now_ms: u64) {
        self.suspected_at_ms = Some(now_ms);
    }

    /// For how long it has been healthy; None: it is not.
    pub fn healthy_ms(&self, now_ms: u64) -> Option<u64> {
        match self.condition {
            Condition::Healthy { since_ms } => Some(now_ms.saturating_sub(since_ms)),
            Condition::Untried | Condition::Failing => None,
        }
    }

    /// None: it must not be chosen.
    pub fn rank(&self, now_ms: u64) -> Option<Rank> {
        match self.condition {
            Condition::Untried => None,
            Condition::Failing => Some(Rank::Failing),
            Condition::Healthy { .. } => {
                let suspected = self.suspected_at_ms.is_some_and(|at| now_ms.saturating_sub(at) < SUSPECT_MS);
                Some(if suspected { Rank::Suspected } else { Rank::Good })
            }
        }
    }

    /// How long to wait until the next probe. Short until the first pass, so that a new server is used soon, and short while suspected or
    /// failing, so that one that has recovered is used again.
    pub fn probe_again_ms(&self, every_ms: u64) -> u64 {
        let every_ms = every_ms.max(10);
        match self.condition {
            Condition::Healthy { .. } if self.failures == 0 && self.suspected_at_ms.is_none() => every_ms,
            _ => every_ms.min(100),
        }
    }
}
