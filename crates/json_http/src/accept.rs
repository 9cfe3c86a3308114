//! What to do when the kernel cannot accept a connection, and how often to log it.

use std::io;
use std::time::{Duration, Instant};

const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);
const SAY_EVERY: Duration = Duration::from_secs(10);

/// Says the same thing at most every ten seconds, and how often it was true in between.
#[derive(Debug, Default)]
pub struct Seldom {
    said_at: Option<Instant>,
    unsaid: u64,
}

impl Seldom {
    /// Some: say it now; the number of times that it was held back.
    pub fn due(&mut self, now: Instant) -> Option<u64> {
        if self.said_at.is_some_and(|at| now.saturating_duration_since(at) < SAY_EVERY) {
            self.unsaid += 1;
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// Out of file descriptors or memory: a hot loop would not bring them back.
#[derive(Debug, Default)]
pub struct Backoff {
    in_a_row: u32,
    seldom: Seldom,
}

impl Backoff {
    pub fn accepted(&mut self) {
        self.in_a_row = 0;
    }

    /// Waits for longer each time in a row, up to a second.
    pub async fn failed(&mut self, error: &io::Error, of: &str) {
        let pause = self.pause(error);
        if !pause.is_zero()
            && let Some(before) = self.seldom.due(Instant::now())
        {
            tracing::warn!("{of}: no connection can be accepted: {error} ({before} times more before)");
        }
        tokio::time::sleep(pause).await;
    }

    fn pause(&mut self, error: &io::Error) -> Duration {
        // A client that left the queue again.
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted) {
            return Duration::ZERO;
        }
        let pause = PAUSE_MIN.saturating_mul(1 << self.in_a_row.min(16)).min(PAUSE_MAX);
        self.in_a_row = self.in_a_row.saturating_add(1);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_without_descriptors_is_a_few_tries_and_fewer_lines() {
        let none_left = || io::Error::from_raw_os_error(24);
        let mut backoff = Backoff::default();
        let (begin, mut now, mut tries, mut lines, mut told) = (Instant::now(), Instant::now(), 0, 0, 0);
        while now < begin + Duration::from_secs(60) {
            now += backoff.pause(&none_left());
            tries += 1;
            if let Some(before) = backoff.seldom.due(now) {
                lines += 1;
                told += before + 1;
            }
        }
        assert!((60..80).contains(&tries) && lines <= 7, "{tries} tries, {lines} lines");
        assert_eq!(told + backoff.seldom.unsaid, tries, "each is counted once");
        backoff.accepted();
        assert_eq!(backoff.pause(&none_left()), PAUSE_MIN);
        assert_eq!(backoff.pause(&io::ErrorKind::ConnectionAborted.into()), Duration::ZERO);
    }
}
