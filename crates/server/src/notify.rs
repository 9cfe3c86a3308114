//! Wakes threads that wait for a change. It says that something changed, never what.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Notifier {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Notifier {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of notifications so far. Read it before reading what may change, and give it to [`Notifier::wait`] afterwards.
    pub fn count(&self) -> u64 {
        *self.lock()
    }

    pub fn notify(&self) {
        *self.lock() += 1;
        self.changed.notify_all();
    }

    /// Returns when there was a notification since `count`, or after `at_most`.
    pub fn wait(&self, count: u64, at_most: Duration) {
        let end = Instant::now() + at_most;
        let mut now = self.lock();
        while *now == count {
            let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else { return };
            now = self.changed.wait_timeout(now, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
