//! Wakes threads that wait for a change. It says that something changed, never what.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct Bell {
    rung: Mutex<u64>,
    wake: Condvar,
}

impl Bell {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often it has rung. Read it before looking at what may change, and give it to [`Bell::wait`] afterwards.
    pub fn heard(&self) -> u64 {
        *self.lock()
    }

    pub fn ring(&self) {
        *self.lock() += 1;
        self.wake.notify_all();
    }

    /// Until it has rung since `heard`, or the time is over.
    pub fn wait(&self, heard: u64, at_most: Duration) {
        let end = Instant::now() + at_most;
        let mut rung = self.lock();
        while *rung == heard {
            let Some(rest) = end.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) else { return };
            rung = self.wake.wait_timeout(rung, rest).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
