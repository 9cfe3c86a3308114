//! The simulated world: faults, invariants, planted bugs, and the seed runner.
//!
//! One seed is one whole simulated history: rotations of a service driven by [`rotation::Driver`], the loop that production
//! runs, over a provider, a balancer, a journal and a network made of code. Nothing here reads a clock or draws randomness from
//! anything but the seed, so a seed always gives the same history.
//!
//! | file | what |
//! | --- | --- |
//! | `scenario` | what a seed is about: service, releases and their defects, faults, commands |
//! | `keeper`, `balancer`, `store` | what is below the ports |
//! | `world`, `advance`, `ports` | the state of everything below the loop; how time passes in it; the engine's ports over it |
//! | `oracle`, `reasons`, `oracle_state` | what must never be; what had no reason; what both remember |
//! | `history`, `opening` | drivers, users, time; how the control plane opens rotations |
//! | `trace` | events and declarations as text |
//! | `bug`, `planted` | bugs planted to see whether they are found; how those in the engine are made |

mod advance;
mod balancer;
mod bug;
mod history;
mod keeper;
mod opening;
mod oracle;
mod oracle_state;
mod planted;
mod ports;
mod reasons;
mod rng;
mod scenario;
mod store;
#[cfg(test)]
mod tests;
mod trace;
mod world;

pub use bug::{Bug, NoSuchBug};

use serde::Serialize;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// This many seeds a thread takes at a time.
const CHUNK: u64 = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many seeds, from `first` on.
    pub seeds: u64,
    pub first: u64,
    pub bug: Option<Bug>,
    /// End at the first violation.
    pub stop_at_first: bool,
    /// How many threads run.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { seeds: 1_000, first: 0, bug: None, stop_at_first: false, threads: 1 }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Seeds that were run.
    pub seeds: u64,
    pub violations: u64,
    pub first_violation: Option<Violation>,
    /// Lines written to journals.
    pub events: u64,
    /// For the caller to fill in: nothing here reads a clock.
    pub cpu_s: f64,
    pub bug: Option<&'static str>,
    pub promoted: u64,
    pub rolled_back: u64,
    pub stopped: u64,
    /// Places at which a driver could have died.
    pub crash_points: u64,
    pub simulated_s: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub seed: u64,
    pub what: String,
}

/// Runs the seeds on `threads` threads; `progress` gets the number that is done. The result does not depend on the threads,
/// except for how much was run beyond the first violation.
pub fn run(options: Options, progress: &mut dyn FnMut(u64)) -> Summary {
    let mut summary = Summary { bug: options.bug.map(Bug::name), ..Summary::default() };
    let last = options.first.saturating_add(options.seeds);
    if options.threads <= 1 {
        for seed in options.first..last {
            summary.add(play_one(seed, options.bug));
            progress(summary.seeds);
            if options.stop_at_first && summary.violations > 0 {
                break;
            }
        }
        return summary;
    }
    let next = AtomicU64::new(options.first);
    // Seeds from here on need not be run.
    let end = AtomicU64::new(last);
    let (send, receive) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            let send = send.clone();
            scope.spawn(|| work(options, &next, &end, send));
        }
        drop(send);
        for part in receive {
            summary.add(part);
            progress(summary.seeds);
        }
    });
    if options.stop_at_first {
        summary.violations = summary.violations.min(1);
    }
    summary
}

/// Seeds are taken a few at a time, in order, so those below the first violation are always run.
fn work(options: Options, next: &AtomicU64, end: &AtomicU64, send: std::sync::mpsc::Sender<Summary>) {
    loop {
        let from = next.fetch_add(CHUNK, SeqCst);
        if from >= end.load(SeqCst) {
            return;
        }
        let mut part = Summary::default();
        for seed in from..from.saturating_add(CHUNK) {
            if seed >= end.load(SeqCst) {
                break;
            }
            part.add(play_one(seed, options.bug));
            if options.stop_at_first && part.violations > 0 {
                end.fetch_min(seed, SeqCst);
                break;
            }
        }
        if send.send(part).is_err() {
            return;
        }
    }
}

/// A panic of the engine is a violation like any other, and the next seed is run all the same.
fn play_one(seed: u64, bug: Option<Bug>) -> Summary {
    let mut summary = Summary { seeds: 1, ..Summary::default() };
    let violation = match std::panic::catch_unwind(|| history::play(seed, bug, false)) {
        Ok(outcome) => {
            summary.count(&outcome);
            outcome.violation
        }
        Err(panic) => Some(format!("panic: {}", panic_text(panic.as_ref()))),
    };
    summary.violations = u64::from(violation.is_some());
    summary.first_violation = violation.map(|what| Violation { seed, what });
    summary
}

/// One seed's history as lines of text, ending with its violation if there is one.
pub fn trace(seed: u64, bug: Option<Bug>) -> Vec<String> {
    history::play(seed, bug, true).trace
}

impl Summary {
    fn add(&mut self, part: Summary) {
        self.seeds += part.seeds;
        self.violations += part.violations;
        self.events += part.events;
        self.promoted += part.promoted;
        self.rolled_back += part.rolled_back;
        self.stopped += part.stopped;
        self.crash_points += part.crash_points;
        self.simulated_s += part.simulated_s;
        let first = self.first_violation.take().into_iter().chain(part.first_violation);
        self.first_violation = first.min_by_key(|v| v.seed);
    }

    fn count(&mut self, outcome: &history::Outcome) {
        self.events += outcome.events;
        self.crash_points += outcome.points;
        self.simulated_s += outcome.ticks * scenario::TICK_MS / 1_000;
        for verdict in &outcome.verdicts {
            match verdict {
                model::Verdict::Promoted => self.promoted += 1,
                model::Verdict::RolledBack => self.rolled_back += 1,
                model::Verdict::Stopped => self.stopped += 1,
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_string()
}
