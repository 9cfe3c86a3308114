//! Idle connections to one target: kept after a response, checked before they are reused, and closed.
//!
//! ```text
//!  in use ──response complete, target open, no `Connection: close`──▶ idle ──take──▶ in use
//!     └─ otherwise: dropped                                            └─ idle for too long, target closed, dead: dropped
//! ```

use crate::clock::now_ms;
use crate::descriptors::{Slot, Slots};
use crate::limits::IDLE_PER_TARGET_MAX;
use crate::mutex::lock;
use crate::upstream::UpstreamConnection;
use balance::{POOL_IDLE_MAX_MS, Replay, ReusePolicy};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long to wait until the connection task of an idle connection is ready.
const READY_MS: u64 = 50;

pub struct Pool {
    inner: Mutex<Inner>,
    slots: Arc<Slots>,
}

#[derive(Default)]
struct Inner {
    idle: Vec<Idle>,
    policy: ReusePolicy,
    closed: bool,
}

struct Idle {
    connection: UpstreamConnection,
    since_ms: u64,
    #[expect(dead_code, reason = "the slot is freed when this is dropped")]
    slot: Slot,
}

impl Pool {
    pub fn new(slots: Arc<Slots>) -> Self {
        Self { inner: Mutex::default(), slots }
    }

    /// The connection that was idle for the shortest time, if this request may reuse it.
    pub async fn take(&self, replay: Replay) -> Option<UpstreamConnection> {
        loop {
            let (mut connection, idle_ms) = self.pop(replay)?;
            let ready = connection.sender.is_ready()
                || matches!(tokio::time::timeout(Duration::from_millis(READY_MS), connection.sender.ready()).await, Ok(Ok(())));
            let alive = ready && !connection.sender.is_closed() && connection.socket.is_quiet();
            let mut inner = lock(&self.inner);
            if alive {
                inner.policy.kept(idle_ms);
                connection.reused = true;
                return Some(connection);
            }
            inner.policy.closed();
        }
    }

    fn pop(&self, replay: Replay) -> Option<(UpstreamConnection, u64)> {
        let mut inner = lock(&self.inner);
        let idle_ms = now_ms().saturating_sub(inner.idle.last()?.since_ms);
        if !inner.policy.may_reuse(replay, idle_ms) {
            return None;
        }
        inner.idle.pop().map(|idle| (idle.connection, idle_ms))
    }

    /// Checks `closed` under the lock under which [`Pool::close`] sets it: no connection to a closed target is kept.
    pub fn keep(&self, connection: UpstreamConnection) {
        let mut inner = lock(&self.inner);
        if connection.sender.is_closed() {
            // The target closed it after a response without `Connection: close`.
            inner.policy.closed();
        } else if !inner.closed
            && inner.idle.len() < IDLE_PER_TARGET_MAX
            && let Some(slot) = self.slots.take()
        {
            inner.idle.push(Idle { connection, since_ms: now_ms(), slot });
        }
    }

    /// A reused connection turned out dead when a request was sent on it.
    pub fn was_dead(&self) {
        lock(&self.inner).policy.closed();
    }

    /// Closes connections that were idle for too long, and updates the reuse policy.
    pub fn sweep(&self) {
        let now = now_ms();
        let mut inner = lock(&self.inner);
        let Inner { idle, policy, .. } = &mut *inner;
        idle.retain(|Idle { connection, since_ms, .. }| {
            let idle_ms = now.saturating_sub(*since_ms);
            if connection.sender.is_closed() || !connection.socket.is_quiet() {
                policy.closed();
                return false;
            }
            if idle_ms >= POOL_IDLE_MAX_MS {
                policy.kept(idle_ms);
                return false;
            }
            true
        });
    }

    /// Closes the idle connections; later ones are kept again.
    pub fn clear(&self) {
        lock(&self.inner).idle.clear();
    }

    /// Closes the idle connections, and keeps none from now on.
    pub fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        inner.idle.clear();
    }
}
