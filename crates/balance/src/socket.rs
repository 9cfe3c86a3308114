//! Which kept socket to a target may carry a request.
//!
//! A server may close an idle connection at any moment, and a request that is on its way then is lost without anybody knowing
//! whether it was done. What can be sent again does not mind. What cannot (a POST) goes on a kept socket only if this target has
//! shown that it keeps them: a run of sockets stayed open without one unannounced close, this one was idle for a short time,
//! and far shorter than the shortest after which the target was ever seen to close one. Otherwise it gets a fresh connection.

/// We close what was idle for so long. Below what servers keep: gunicorn 2 s, node, uvicorn and Apache 5 s, nginx 75 s.
pub const POOL_IDLE_MAX_MS: u64 = 1_500;
/// A request that cannot be replayed goes only on a socket that was idle for less.
pub const REUSE_UNREPLAYABLE_MAX_MS: u64 = 1_000;
/// So many sockets must have stayed open since the last that did not.
const KEPT_MIN: u32 = 32;

/// What we have seen of one target's way with idle sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manners {
    /// Found open when they were used again or when we closed them, since the last one that was found closed.
    kept: u32,
    /// The shortest idle time after which the target closed one without having said so.
    closed_at_ms: Option<u64>,
}

impl Manners {
    /// A socket was idle for so long and was still open.
    pub fn kept(&mut self) {
        self.kept = self.kept.saturating_add(1);
    }

    /// The target had closed a socket that was idle for at most `idle_ms`.
    pub fn closed(&mut self, idle_ms: u64) {
        self.kept = 0;
        self.closed_at_ms = Some(self.closed_at_ms.map_or(idle_ms, |least| least.min(idle_ms)));
    }

    /// Whether a socket that was idle for `idle_ms` may carry this request.
    pub fn may_reuse(&self, replay: crate::Replay, idle_ms: u64) -> bool {
        if idle_ms >= POOL_IDLE_MAX_MS {
            return false;
        }
        if replay == crate::Replay::Safe {
            return true;
        }
        let far_from_closing = self.closed_at_ms.is_none_or(|at| idle_ms < at / 2);
        self.kept >= KEPT_MIN && far_from_closing && idle_ms < REUSE_UNREPLAYABLE_MAX_MS
    }
}
