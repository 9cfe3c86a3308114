//! The simulated world: faults, invariants, planted bugs, and the seed runner.
//!
//! One seed is one whole simulated history: rotations of a service driven by [`rotation::Driver`], the loop that production
//! runs, over a provider, a balancer, a journal and a network made of code. Nothing here reads a clock or draws chance from
//! anywhere but the seed, so a seed gives the same history for ever.
//!
//! | file | what |
//! | --- | --- |
//! | `scenario` | what a seed is about: service, releases and their vices, faults, asks |
//! | `keeper`, `balancer`, `store` | what is below the ports |
//! | `world`, `ports` | the network and the faults between; the engine's ports over it |
//! | `oracle` | what must never be |
//! | `history` | drivers, users, time |
//! | `bug` | bugs planted to see whether they are found |

mod balancer;
mod bug;
mod history;
mod keeper;
mod oracle;
mod ports;
mod rng;
mod scenario;
mod store;
#[cfg(test)]
mod tests;
mod world;

pub use bug::{Bug, NoSuchBug};

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How many seeds, from `first` on.
    pub seeds: u64,
    pub first: u64,
    pub bug: Option<Bug>,
    /// End at the first violation.
    pub stop_at_first: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seeds: 1_000, first: 0, bug: None, stop_at_first: false }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Seeds that were played.
    pub seeds: u64,
    pub violations: u64,
    pub first_violation: Option<Violation>,
    /// Lines written to journals.
    pub events: u64,
    /// For the caller to fill in: nothing here reads a clock.
    pub cpu_s: f64,
    pub bug: Option<&'static str>,
    pub promoted: u64,
    pub returned: u64,
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

/// Plays the seeds in order; `progress` is told how many are done.
pub fn run(options: Options, progress: &mut dyn FnMut(u64)) -> Summary {
    let mut summary = Summary { bug: options.bug.map(Bug::name), ..Summary::default() };
    for seed in options.first..options.first.saturating_add(options.seeds) {
        // A panic of the engine is a violation like any other, and the next seed is played all the same.
        let played = std::panic::catch_unwind(|| history::play(seed, options.bug, false));
        summary.seeds += 1;
        let violation = match played {
            Ok(outcome) => {
                summary.add(&outcome);
                outcome.violation
            }
            Err(panic) => Some(format!("panic: {}", panic_text(panic.as_ref()))),
        };
        if let Some(what) = violation {
            summary.violations += 1;
            summary.first_violation.get_or_insert(Violation { seed, what });
            if options.stop_at_first {
                break;
            }
        }
        progress(summary.seeds);
    }
    summary
}

/// One seed's history in lines of text, ending with its violation if there is one.
pub fn trace(seed: u64, bug: Option<Bug>) -> Vec<String> {
    history::play(seed, bug, true).trace
}

impl Summary {
    fn add(&mut self, outcome: &history::Outcome) {
        self.events += outcome.events;
        self.crash_points += outcome.points;
        self.simulated_s += outcome.ticks * scenario::TICK_MS / 1_000;
        for verdict in &outcome.verdicts {
            match verdict {
                model::Verdict::Promoted => self.promoted += 1,
                model::Verdict::Returned => self.returned += 1,
                model::Verdict::Stopped => self.stopped += 1,
            }
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_string()
}
