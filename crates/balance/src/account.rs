//! The exact number of requests in flight to a target, and whether more may enter.
//!
//! ```text
//!          enter: +1, then read `closed` again           close
//!  open ──────────────────────────────────────▶ open  ────────▶ closed ──(count reaches 0)──▶ drained, permanently
//! ```
//!
//! Why 0 is final: everything here is sequentially consistent. Whoever closes first sets the flag and then reads the count.
//! If it reads 0, then every later `enter` adds *after* that read, so it reads the flag later still, finds it set, and leaves
//! without a request. If the flag were read before the count is raised, a request could enter after the 0.

// Not from `std` directly: the tests compile this file over atomics that they step through.
use crate::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};

#[derive(Debug, Default)]
pub struct Account {
    count: AtomicU64,
    closed: AtomicBool,
}

impl Account {
    /// Counts one more, unless it is closed. True: the caller owes one [`Account::leave`].
    #[must_use]
    pub fn enter(&self) -> bool {
        self.count.fetch_add(1, SeqCst);
        if self.closed.load(SeqCst) {
            self.leave();
            return false;
        }
        true
    }

    /// Undoes one [`Account::enter`]. Returns the count after it.
    pub fn leave(&self) -> u64 {
        let before = self.count.fetch_sub(1, SeqCst);
        assert!(before > 0, "leave without enter");
        before - 1
    }

    /// No request may enter from now on. It is never opened again: a server that returns is a new target.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub fn in_flight(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Closed and empty: no request is in flight and none will ever enter.
    pub fn is_drained(&self) -> bool {
        // The order matters: a count read before the flag could be raised in between.
        self.closed.load(SeqCst) && self.count.load(SeqCst) == 0
    }
}
