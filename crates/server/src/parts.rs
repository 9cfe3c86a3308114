//! The parts that work by themselves are supervised: one that panics is started again, later and later, and it is counted and reported;
//! one whose every attempt fails is reported too. Health is computed from this.
//!
//! ```text
//! runs ──panic──▶ waits 0.1 s, 0.2 s … 30 s ──▶ runs        ends by itself only when the control plane stops
//! ```

use crate::app::App;
use crate::instance_lock::InstanceLock;
use model::{Fault, RotationId, ServiceName};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(30);
/// A part that ran this long after a panic begins with a short rest again; and for this long a panic is shown in `health`.
const FORGIVEN_AFTER: Duration = Duration::from_secs(600);
/// Attempts in a row that fail before it is reported: a keeper that restarts costs a few.
const FAILURES_SPARE: u32 = 10;

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

    /// Counts it, and gives how long to rest before it is started again.
    pub fn panicked(&self, part: &str, payload: &(dyn Any + Send)) -> Duration {
        let message = words(payload);
        let mut state = self.lock();
        let old = state.panicked.get(part).filter(|p| p.at.elapsed() < FORGIVEN_AFTER).map_or(0, |p| p.times);
        let now = Panicked { times: old.saturating_add(1), message, at: Instant::now() };
        let rest = FIRST_REST.saturating_mul(1 << old.min(10)).min(LONGEST_REST);
        tracing::error!(part, times = now.times, "it panicked: {}; it is started again in {rest:?}", now.message);
        state.panicked.insert(part.to_string(), now);
        rest
    }

    /// What is said of a part that panicked of late.
    pub fn last_panic(&self, part: &str) -> Option<String> {
        let state = self.lock();
        state.panicked.get(part).filter(|p| p.at.elapsed() < FORGIVEN_AFTER).map(|p| p.text(part))
    }

    /// The attempt of a part: None, it succeeded. Gives a sentence once it has failed too often in a row.
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
        // Said when it begins, and then at 20, 40, 80 failures.
        let said =
            now.times >= FAILURES_SPARE && now.times.is_multiple_of(FAILURES_SPARE) && (now.times / FAILURES_SPARE).is_power_of_two();
        if said {
            tracing::error!(part, "{text}");
        }
        let reported = now.times >= FAILURES_SPARE;
        state.failing.insert(part.to_string(), now);
        reported.then_some(text)
    }

    /// The part is not needed any more.
    pub fn ended(&self, part: &str) {
        let mut state = self.lock();
        state.failing.remove(part);
        state.panicked.remove(part);
    }

    /// With the service that a part works for, if it works for one.
    pub fn troubles(&self) -> Vec<(Option<ServiceName>, String)> {
        let state = self.lock();
        let panicked = state.panicked.iter().filter(|(_, p)| p.at.elapsed() < FORGIVEN_AFTER).map(|(part, p)| (part, p.text(part)));
        let failing = state.failing.iter().filter(|(_, f)| f.times >= FAILURES_SPARE).map(|(part, f)| (part, f.text(part)));
        panicked.chain(failing).map(|(part, text)| (driven(part), text)).collect()
    }
}

impl Panicked {
    fn text(&self, part: &str) -> String {
        format!("{part} panicked {} times, last {} s ago: {}; it was started again", self.times, self.at.elapsed().as_secs(), self.message)
    }
}

impl Failing {
    fn text(&self, part: &str) -> String {
        format!("{part} has failed {} times in a row for {} s: {}", self.times, self.since.elapsed().as_secs(), self.message)
    }
}

/// The driver of a rotation as a part.
pub fn driver(id: &RotationId) -> String {
    format!("{DRIVER}{id}")
}

const DRIVER: &str = "driver of ";

/// The service whose rotation a part drives.
fn driven(part: &str) -> Option<ServiceName> {
    part.strip_prefix(DRIVER).and_then(|id| RotationId::new(id).ok()).map(|id| id.service())
}

fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string).or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "without a message".to_string())
}

/// A thread that runs the part until the control plane stops, whatever happens in it.
pub fn supervise(app: &Arc<App>, only: &Arc<InstanceLock>, name: &'static str, part: fn(&Arc<App>)) -> Result<JoinHandle<()>, Fault> {
    let (app, only) = (app.clone(), only.clone());
    spawn(name.to_string(), move || {
        while !app.is_stopping() {
            match catch_unwind(AssertUnwindSafe(|| part(&app))) {
                Ok(()) => break,
                Err(payload) => rest(&app, app.parts.panicked(name, payload.as_ref())),
            }
        }
        drop(only);
    })
}

/// Notifications come often; only a stop ends a rest early.
fn rest(app: &App, time: Duration) {
    let begun = Instant::now();
    while let Some(left) = time.checked_sub(begun.elapsed()).filter(|left| !left.is_zero() && !app.is_stopping()) {
        app.notifier.wait(app.notifier.count(), left);
    }
}

pub fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Fault> {
    Builder::new().name(name).spawn(f).map_err(|e| Fault::world("no-thread", format!("cannot start a thread: {e}")))
}
