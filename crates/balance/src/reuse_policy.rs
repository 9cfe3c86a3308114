//! Decides whether an idle connection to a target may be reused for a request.
//!
//! A server may close an idle connection at any moment. A request that is being sent then is lost, and it is unknown whether the
//! server processed it. A replayable request is sent again. One that is not replayable (a POST) reuses a connection only if this
//! target has shown that it keeps idle ones open:
//!
//! ```text
//!  unknown ──32 connections found open, one of them idle for twice as long as this one──▶ trusted
//!     └───────────── one found closed without `Connection: close` ──────────────┴─────────────▶ never trusted
//! ```
//!
//! Never, because such a server closes by rules of its own (after a number of responses, after a short time), and a new connection is
//! cheap.

/// Connections are closed after this idle time. Servers keep them longer: gunicorn 2 s, node, uvicorn and Apache 5 s, nginx 75 s.
pub const POOL_IDLE_MAX_MS: u64 = 1_500;
/// The longest idle time of a connection that a request that cannot be replayed may reuse, whatever the target has shown.
pub const REUSE_UNREPLAYABLE_MAX_MS: u64 = 1_000;
const KEPT_MIN: u32 = 32;

/// How one target treated its idle connections so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReusePolicy {
    /// Found open when they were reused or closed here.
    kept: u32,
    /// The longest that one of those was idle.
    longest_ms: u64,
    closed_early: bool,
}

impl ReusePolicy {
    /// A connection was still open after this idle time.
    pub fn kept(&mut self, idle_ms: u64) {
        self.kept = self.kept.saturating_add(1);
        self.longest_ms = self.longest_ms.max(idle_ms);
    }

    /// The target closed a connection without having announced it.
    pub fn closed(&mut self) {
        self.closed_early = true;
    }

    /// Whether a request may reuse a connection that was idle for `idle_ms`.
    pub fn may_reuse(&self, replay: crate::Replay, idle_ms: u64) -> bool {
        if idle_ms >= POOL_IDLE_MAX_MS {
            return false;
        }
        if replay == crate::Replay::Safe {
            return true;
        }
        let trusted = !self.closed_early && self.kept >= KEPT_MIN;
        trusted && idle_ms < REUSE_UNREPLAYABLE_MAX_MS && idle_ms.saturating_mul(2) <= self.longest_ms
    }
}
