//! Why servers fail, for people: every line that is known. Pure.

use super::{DIM, clock, paint};
use model::Failure;

/// How the last one ended and what it printed last, and what a health check was answered.
pub fn failure(failure: &Failure) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(probe) = &failure.probe {
        all.push(format!("{} at {}: {probe}", probe.instance, clock(probe.at)));
    }
    let Some(death) = &failure.last_death else { return all };
    let when = format!("{} at {}", death.instance, clock(death.at));
    match &death.exit {
        None => all.push(format!("{when}: {death}")),
        Some(exit) if exit.lines.is_empty() => all.push(format!("{when}: {}; it printed nothing", exit.how())),
        Some(exit) => {
            all.push(format!("{when}: {}; its last lines:", exit.how()));
            all.extend(exit.lines.iter().map(|line| format!("  {} {line}", paint(DIM, "|"))));
        }
    }
    all
}
