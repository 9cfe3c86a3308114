//! How often and how late a call is sent again. A budget that all calls share keeps a failing service from being called ever more often.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// As the SDKs' standard mode: a retry takes 5 of 500 tokens, a call that succeeds at once gives one back.
#[derive(Debug)]
pub struct Budget(AtomicU32);

const TOKENS: u32 = 500;
const PRICE: u32 = 5;

impl Default for Budget {
    fn default() -> Budget {
        Budget(AtomicU32::new(TOKENS))
    }
}

impl Budget {
    pub fn take(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(PRICE)).is_ok()
    }

    /// A retry that succeeded gives back what it took.
    pub fn give(&self, was_retry: bool) {
        let back = if was_retry { PRICE } else { 1 };
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some((left + back).min(TOKENS)));
    }
}

#[derive(Clone, Debug)]
pub struct Limits {
    /// Of one call, the first included.
    pub attempts: u32,
    /// Before the second attempt, at most; it doubles.
    pub backoff: Duration,
    pub backoff_most: Duration,
    /// Of one attempt, all of its answer included.
    pub attempt: Duration,
    pub connect: Duration,
    /// Of one page of a listing; an answer about one thing is smaller.
    pub answer_bytes: u64,
    /// Of one listing.
    pub pages: u32,
    /// Calls at the same time.
    pub concurrency: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            attempts: 4,
            backoff: Duration::from_millis(250),
            backoff_most: Duration::from_secs(10),
            attempt: Duration::from_secs(60),
            connect: Duration::from_secs(10),
            answer_bytes: 16 << 20,
            pages: 100_000,
            concurrency: 16,
        }
    }
}

impl Limits {
    /// Between nothing and the doubled backoff, so that callers that failed together do not return together.
    pub fn wait_before(&self, attempt: u32, random: u64) -> Duration {
        let most = self.backoff.saturating_mul(1 << attempt.saturating_sub(1).min(16)).min(self.backoff_most);
        let most_ms = u64::try_from(most.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(random % (most_ms + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_that_always_fails_is_called_ever_less() {
        let budget = Budget::default();
        assert_eq!((0..1000).filter(|_| budget.take()).count(), 100);
        budget.give(false);
        assert!(!budget.take());
        budget.give(true);
        assert!(budget.take());
    }

    #[test]
    fn waits_double_up_to_a_limit() {
        let limits = Limits::default();
        let most = |attempt| (0..5000).map(|random| limits.wait_before(attempt, random)).max().unwrap();
        assert_eq!((most(1).as_millis(), most(2).as_millis(), most(3).as_millis()), (250, 500, 1000));
        assert!(limits.wait_before(40, u64::MAX) <= limits.backoff_most);
    }
}
