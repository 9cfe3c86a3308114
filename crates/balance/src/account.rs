//! How many requests are in flight to a target, exactly, and whether more may come.
//!
//! ```text
//!          enter: +1, then look at `closed` again        close
//!  open ──────────────────────────────────────▶ open  ────────▶ closed ──(count reaches 0)──▶ drained, for ever
//! ```
//!
//! Why 0 is final: everything here is sequentially consistent. Whoever closes first sets the flag and then reads the count.
//! If it reads 0, then every later `enter` adds *after* that read, so its look at the flag comes later still, sees it set,
//! and goes away without a request. Were the flag read before the count is raised, a request could slip in after the 0.

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

    /// Gives back what [`Account::enter`] took. The count after it.
    pub fn leave(&self) -> u64 {
        let before = self.count.fetch_sub(1, SeqCst);
        assert!(before > 0, "somebody left who never entered");
        before - 1
    }

    /// No one may enter from now on. It is never opened again: whoever comes back is a new target.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    pub fn in_flight(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Closed and empty: no request is there and none will ever come.
    pub fn is_drained(&self) -> bool {
        // The order matters: a count read before the flag could be raised in between.
        self.closed.load(SeqCst) && self.count.load(SeqCst) == 0
    }
}
