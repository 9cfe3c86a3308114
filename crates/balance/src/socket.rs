//! Which kept socket to a target may carry a request.
//!
//! A server may close an idle connection at any moment, and a request that is on its way then is lost without anybody knowing
//! whether it was done. What can be sent again does not mind. What cannot (a POST) goes on a kept socket only if this target has
//! shown that it keeps them:
//!
//! ```text
//!  unknown ──32 sockets found open, one of them idle for twice as long as this one──▶ trusted
//!     └───────────────── one found closed without a word ──────────────┴─────────────────▶ never trusted
//! ```
//!
//! Never, for such a server closes when it likes (after so many answers, after a short while), and a fresh connection costs little.

/// We close what was idle for so long. Below what servers keep: gunicorn 2 s, node, uvicorn and Apache 5 s, nginx 75 s.
pub const POOL_IDLE_MAX_MS: u64 = 1_500;
/// A request that cannot be replayed goes only on a socket that was idle for less, however patient the target is.
pub const REUSE_UNREPLAYABLE_MAX_MS: u64 = 1_000;
const KEPT_MIN: u32 = 32;

/// What we have seen of one target's way with idle sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// Found open when they were used again or when we closed them.
    kept: u32,
    /// The longest that one of those was idle.
    longest_ms: u64,
    rude: bool,
}

impl Manners {
    /// A socket was idle for so long and was still open.
    pub fn kept(&mut self, idle_ms: u64) {
        self.kept = self.kept.saturating_add(1);
        self.longest_ms = self.longest_ms.max(idle_ms);
    }

    /// The target closed a socket without having said so.
    pub fn closed(&mut self) {
        self.rude = true;
    }

    /// Whether a socket that was idle for `idle_ms` may carry this request.
    pub fn may_reuse(&self, replay: crate::Replay, idle_ms: u64) -> bool {
        if idle_ms >= POOL_IDLE_MAX_MS {
            return false;
        }
        if replay == crate::Replay::Safe {
            return true;
        }
        let trusted = !self.rude && self.kept >= KEPT_MIN;
        trusted && idle_ms < REUSE_UNREPLAYABLE_MAX_MS && idle_ms.saturating_mul(2) <= self.longest_ms
    }
}
