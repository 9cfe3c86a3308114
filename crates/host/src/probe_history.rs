//! The health of one instance by a sequence of its health checks.

use model::Health;
use std::time::{Duration, Instant};

/// How often an instance that has not passed yet is probed: a rotation waits for it.
const EAGER_MS: u64 = 50;

/// ```text
/// passing_since: None ─pass▶ Some(now) ─`unhealthy_after` fails in a row▶ None
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProbeHistory {
    pub passing_since: Option<Instant>,
    pub ever_passed: bool,
    /// Since the first failure after the last pass.
    pub failing_since: Option<Instant>,
    fails: u32,
}

impl ProbeHistory {
    pub fn record(&mut self, passed: bool, unhealthy_after: u32, now: Instant) {
        if passed {
            self.fails = 0;
            self.failing_since = None;
            self.ever_passed = true;
            self.passing_since.get_or_insert(now);
        } else {
            self.fails = self.fails.saturating_add(1);
            self.failing_since.get_or_insert(now);
            if self.fails >= unhealthy_after.max(1) {
                self.passing_since = None;
            }
        }
    }

    /// Whether the probes so far have a result: one that passed is one, or as many failures in a row as make it unhealthy.
    pub fn is_conclusive(&self, unhealthy_after: u32) -> bool {
        self.ever_passed || self.fails >= unhealthy_after.max(1)
    }

    pub fn healthy_ms(&self, now: Instant) -> Option<u64> {
        self.passing_since.map(|since| u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX))
    }

    /// How long it has failed, if it is unhealthy.
    pub fn unhealthy_ms(&self, now: Instant) -> Option<u64> {
        let since = self.failing_since.filter(|_| self.passing_since.is_none())?;
        Some(u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX))
    }

    /// Until the next probe.
    pub fn pause(&self, health: &Health) -> Duration {
        let every = health.every_ms.max(1);
        Duration::from_millis(if self.ever_passed { every } else { every.min(EAGER_MS) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pulse_is_conclusive_by_one_pass_or_enough_failures() {
        let now = Instant::now();
        let mut probes = ProbeHistory::default();
        assert!(!probes.is_conclusive(2) && !probes.is_conclusive(0));
        probes.record(false, 2, now);
        assert!(!probes.is_conclusive(2) && probes.is_conclusive(1));
        probes.record(false, 2, now);
        assert!(probes.is_conclusive(2));
        let mut probes = ProbeHistory::default();
        probes.record(true, 2, now);
        assert!(probes.is_conclusive(2));
    }

    #[test]
    fn a_pulse_stops_after_so_many_failures_in_a_row() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut probes = ProbeHistory::default();
        probes.record(false, 2, at(0));
        assert_eq!(probes.healthy_ms(at(0)), None);
        probes.record(true, 2, at(10));
        probes.record(false, 2, at(20));
        assert_eq!((probes.healthy_ms(at(30)), probes.unhealthy_ms(at(30))), (Some(20), None), "one failure is not enough");
        probes.record(true, 2, at(40));
        probes.record(false, 2, at(50));
        probes.record(false, 2, at(60));
        assert_eq!((probes.healthy_ms(at(60)), probes.unhealthy_ms(at(60))), (None, Some(10)), "from the first failure on");
        probes.record(true, 2, at(70));
        assert_eq!(probes.healthy_ms(at(75)), Some(5), "it begins again");
        let health = Health { every_ms: 500, ..Health::default() };
        assert_eq!((ProbeHistory::default().pause(&health).as_millis(), probes.pause(&health).as_millis()), (50, 500));
    }
}
