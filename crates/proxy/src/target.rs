//! One server as the data plane holds it: its account of requests, its health, its connection pool, and whether it drains.
//!
//! ```text
//!  open ──marked draining in its file, or gone from it──▶ closed ──nothing in flight──▶ drained
//!                                                            └─ drain deadline passed: overdue, what is in flight is cut off
//! ```
//!
//! Closed is permanent. This file does not choose a target and does not probe it.

use crate::clock::now_ms;
use crate::descriptors::Slots;
use crate::mutex::lock;
use crate::pool::Pool;
use balance::{Account, Rank, TargetHealth};
use model::{Drain, InstanceId};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// How often an exchange that waits for its target checks whether that target is overdue.
pub const OVERDUE_CHECK_MS: u64 = 1_000;
/// The keeper signals a server at the drain deadline and kills it a second later; after that no response will come.
const END_GRACE_MS: u64 = 1_000;

/// What all targets of a data plane share.
pub struct Shared {
    /// The last request left a closed target: it may be drained.
    pub left: Notify,
    /// Limits idle upstream connections.
    pub slots: Arc<Slots>,
}

impl Shared {
    pub fn new(idle_upstream_max: usize) -> Arc<Self> {
        Arc::new(Self { left: Notify::new(), slots: Slots::new(idle_upstream_max) })
    }
}

/// Lives as long as a request to it, also after its file is gone.
pub struct Target {
    pub id: InstanceId,
    pub addr: SocketAddr,
    pub account: Account,
    pub health: Mutex<TargetHealth>,
    pub pool: Pool,
    /// Marked in the target file, as opposed to gone from it.
    pub draining: AtomicBool,
    /// The first probe has ended, either way.
    pub probed: AtomicBool,
    /// The file `Layout::drained` is written.
    pub drain_reported: AtomicBool,
    /// Gone from the target file: its probing ends.
    pub gone: AtomicBool,
    /// Asks for a probe now, because a request failed.
    pub probe_now: Notify,
    /// When requests still in flight are cut off; 0: the target is open.
    end_at_ms: AtomicU64,
    pub shared: Arc<Shared>,
}

impl Target {
    pub fn new(id: InstanceId, addr: SocketAddr, shared: Arc<Shared>) -> Self {
        Self {
            id,
            addr,
            account: Account::default(),
            health: Mutex::default(),
            pool: Pool::new(shared.slots.clone()),
            draining: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            drain_reported: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            probe_now: Notify::new(),
            end_at_ms: AtomicU64::new(0),
            shared,
        }
    }

    /// No new request chooses it, and its idle connections are closed. Requests in flight continue until the drain deadline.
    pub fn close(&self, drain: &Drain) {
        let end_at = now_ms().saturating_add(drain.within_ms).saturating_add(END_GRACE_MS);
        // The first close starts the drain; later ones do not extend it.
        let _ = self.end_at_ms.compare_exchange(0, end_at, SeqCst, SeqCst);
        self.account.close();
        self.pool.close();
    }

    /// Its drain deadline has passed: no response is waited for.
    pub fn is_overdue(&self, now: u64) -> bool {
        let end_at = self.end_at_ms.load(SeqCst);
        end_at != 0 && now >= end_at
    }

    /// A request failed in a way that makes its health questionable: probe it now.
    pub fn suspect(&self) {
        lock(&self.health).suspect(now_ms());
        self.probe_now.notify_one();
    }

    /// Its rank and load for the choice. None: it may not be chosen.
    pub fn candidate(&self, now: u64) -> Option<(Rank, u64)> {
        if self.account.is_closed() {
            return None;
        }
        let rank = lock(&self.health).rank(now)?;
        Some((rank, self.account.in_flight()))
    }
}
