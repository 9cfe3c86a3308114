//! What the balancer's own probes say of one target.
//!
//! ```text
//!            pass                     `unhealthy_after` failures in a row
//!  Untried ────────▶ Healthy(since) ──────────────────────────────────────▶ Failing
//!     ▲ fail │            ▲  fewer failures change nothing                     │
//!     └──────┘            └─────────────────── pass (a new since) ─────────────┘
//! ```
//!
//! No request goes to an untried target. Failures of requests are remembered beside this (`doubted`) and only lower
//! the rank of a target: they never take the last one out of a group.

use crate::Rank;

/// A target that refused a connection is chosen last for so long, or until a probe passes that began later.
const DOUBT_MS: u64 = 2_000;

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
    doubted_at_ms: Option<u64>,
}

impl Default for TargetHealth {
    fn default() -> Self {
        Self { condition: Condition::Untried, failures: 0, doubted_at_ms: None }
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
        if self.doubted_at_ms.is_some_and(|at| began_ms > at) {
            self.doubted_at_ms = None;
        }
    }

    /// A probe failed. `unhealthy_after` of 0 is taken as 1.
    pub fn failed(&mut self, unhealthy_after: u32) {
        self.failures = self.failures.saturating_add(1);
        if matches!(self.condition, Condition::Healthy { .. }) && self.failures >= unhealthy_after.max(1) {
            self.condition = Condition::Failing;
        }
    }

    /// A request could not be brought to it.
    pub fn doubt(&mut self, now_ms: u64) {
        self.doubted_at_ms = Some(now_ms);
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
                let doubted = self.doubted_at_ms.is_some_and(|at| now_ms.saturating_sub(at) < DOUBT_MS);
                Some(if doubted { Rank::Doubted } else { Rank::Good })
            }
        }
    }

    /// How long to wait until the next probe. Quick until the first pass, so that a new server is not kept waiting,
    /// and quick while in doubt or failing, so that one that is back is used again.
    pub fn probe_again_ms(&self, every_ms: u64) -> u64 {
        let every_ms = every_ms.max(10);
        match self.condition {
            Condition::Healthy { .. } if self.failures == 0 && self.doubted_at_ms.is_none() => every_ms,
            _ => every_ms.min(100),
        }
    }
}
