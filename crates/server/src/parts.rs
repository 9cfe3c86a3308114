//! Panics and failures of the supervised parts: counted, logged, and reported as troubles in `health`. It runs no part.

use model::{RotationId, ServiceName};
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// A part that ran this long after a panic starts with the shortest rest again; and `health` shows a panic for this long.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// Failures in a row that are not reported: a restart of the keeper costs a few.
const FAILURES_IGNORED: u32 = 10;

#[derive(Clone, Debug)]
struct Panicked {
    times: u32,
    message: String,
    at: Instant,
}

#[derive(Clone, Debug)]
struct Failing {
    times: u32,
    since: Instant,
    message: String,
}

#[derive(Default)]
struct State {
    panicked: BTreeMap<String, Panicked>,
    failing: BTreeMap<String, Failing>,
}

#[derive(Default)]
pub struct Parts(Mutex<State>);

impl Parts {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a panic; returns how long to rest before the part is restarted.
    pub fn panicked(&self, part: &str, payload: &(dyn Any + Send)) -> Duration {
        let message = panic_message(payload);
        let mut state = self.lock();
        let old = state.panicked.get(part).filter(|p| p.at.elapsed() < FORGIVEN_AFTER).map_or(0, |p| p.times);
        let now = Panicked { times: old.saturating_add(1), message, at: Instant::now() };
        let rest = FIRST_REST.saturating_mul(1 << old.min(10)).min(LONGEST_REST);
        tracing::error!(part, times = now.times, "panicked: {}; restarted in {rest:?}", now.message);
        state.panicked.insert(part.to_string(), now);
        rest
    }

    /// A sentence on a part that panicked recently.
    pub fn last_panic(&self, part: &str) -> Option<String> {
        let state = self.lock();
        state.panicked.get(part).filter(|p| p.at.elapsed() < FORGIVEN_AFTER).map(|p| p.text(part))
    }

    /// Records an attempt of a part; None: it succeeded. Returns a sentence once it has failed too often in a row.
    pub fn attempted(&self, part: &str, fault: Option<String>) -> Option<String> {
        let mut state = self.lock();
        let Some(message) = fault else {
            state.failing.remove(part);
            return None;
        };
        let old = state.failing.get(part);
        let (times, since) = old.map_or((0, Instant::now()), |f| (f.times, f.since));
        let now = Failing { times: times.saturating_add(1), since, message };
        let text = now.text(part);
        // Logged at 10 failures, and then at 20, 40, 80.
        let is_logged =
            now.times >= FAILURES_IGNORED && now.times.is_multiple_of(FAILURES_IGNORED) && (now.times / FAILURES_IGNORED).is_power_of_two();
        if is_logged {
            tracing::error!(part, "{text}");
        }
        let reported = now.times >= FAILURES_IGNORED;
        state.failing.insert(part.to_string(), now);
        reported.then_some(text)
    }

    /// The part is no longer needed.
    pub fn ended(&self, part: &str) {
        let mut state = self.lock();
        state.failing.remove(part);
        state.panicked.remove(part);
    }

    /// Each with the service that the part works for, if any.
    pub fn troubles(&self) -> Vec<(Option<ServiceName>, String)> {
        let state = self.lock();
        let panicked = state.panicked.iter().filter(|(_, p)| p.at.elapsed() < FORGIVEN_AFTER).map(|(part, p)| (part, p.text(part)));
        let failing = state.failing.iter().filter(|(_, f)| f.times >= FAILURES_IGNORED).map(|(part, f)| (part, f.text(part)));
        panicked.chain(failing).map(|(part, text)| (driven(part), text)).collect()
    }
}

impl Panicked {
    fn text(&self, part: &str) -> String {
        format!("{part} panicked {} times, last {} s ago: {}; it was restarted", self.times, self.at.elapsed().as_secs(), self.message)
    }
}

impl Failing {
    fn text(&self, part: &str) -> String {
        format!("{part} has failed {} times in a row for {} s: {}", self.times, self.since.elapsed().as_secs(), self.message)
    }
}

/// The name of a rotation's driver as a part.
pub fn driver(id: &RotationId) -> String {
    format!("{DRIVER}{id}")
}

const DRIVER: &str = "driver of ";

/// The service whose rotation a part drives.
fn driven(part: &str) -> Option<ServiceName> {
    part.strip_prefix(DRIVER).and_then(|id| RotationId::new(id).ok()).map(|id| id.service())
}

fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string).or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_string())
}
