//! How the forwarding of logs goes: what the alarms say of it. It decides nothing.

use crate::log_settings::Forward;
use api::fleet::Alarm;
use model::Time;
use std::sync::{Mutex, PoisonError};

/// A receiver that is away for less is being restarted.
pub const AWAY_MS: u64 = 10_000;
const DROPPED_SHOWN_MS: u64 = 15 * 60_000;

/// How forwarding goes, for alarms.
#[derive(Default)]
pub struct Forwarded(Mutex<Going>);

#[derive(Default)]
struct Going {
    failing: Option<(Time, String)>,
    dropped: u64,
    dropped_at: Option<Time>,
}

impl Forwarded {
    fn change(&self, change: impl FnOnce(&mut Going)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub fn sent(&self) {
        self.change(|going| going.failing = None);
    }

    pub fn failed(&self, why: &str, now: Time) {
        self.change(|going| {
            let since = going.failing.as_ref().map_or(now, |(since, _)| *since);
            going.failing = Some((since, why.to_string()));
        });
    }

    /// Lines that were rotated away before they were sent.
    pub fn dropped(&self, lines: u64, now: Time) {
        self.change(|going| {
            going.dropped += lines;
            going.dropped_at = Some(now);
        });
    }

    pub fn alarms(&self, to: &Forward, now: Time) -> Vec<Alarm> {
        let going = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let away = going.failing.as_ref().filter(|(since, _)| now.since(*since) >= AWAY_MS).map(|(since, why)| {
            let for_s = now.since(*since) / 1_000;
            format!("no line of any server reaches {to}, for {for_s} s: {why}; lines wait in the logs until those are rotated")
        });
        let recent = going.dropped_at.filter(|at| now.since(*at) < DROPPED_SHOWN_MS);
        let dropped = recent.map(|_| format!("{} lines were dropped before they reached {to}: the logs were rotated", going.dropped));
        away.into_iter().chain(dropped).map(|text| Alarm::new("log-forward", None, text)).collect()
    }
}
