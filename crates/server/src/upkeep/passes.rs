//! The upkeep's loop: for each recipe, passes that decide and execute until there is something to wait for.

use super::lives::Upkeep;
use super::{execute, image_check, observe, report};
use crate::app::App;
use api::control::Waiting;
use lifecycle::{Decision, decide};
use model::{Fault, ImageName};
use std::time::{Duration, Instant};

/// The time between two passes without a notification, and at least: a rotation notifies many times a second.
const PASS_EVERY: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(200);
/// More decisions than this in a row without a wait are an internal error: they repeat themselves.
const DECISIONS_MAX: usize = 50;

/// Runs until the control plane stops.
pub fn keep(app: &App) {
    let Some(upkeep) = &app.upkeep else { return };
    record_interrupted(app, upkeep);
    while !app.is_stopping() {
        let count = app.notifier.count();
        let begun = Instant::now();
        match upkeep.names() {
            Err(fault) => tracing::error!(code = fault.code, "cannot list the images: {}", fault.message),
            Ok(names) => {
                for name in names {
                    if let Err(fault) = pass(app, upkeep, &name) {
                        let waiting = Waiting { why: format!("{}; trying again", fault.message), until: None };
                        if upkeep.set_waiting(&name, waiting.clone()) != Some(waiting) {
                            tracing::warn!(code = fault.code, image = %name, "{}", fault.message);
                        }
                    }
                    log_alarms(app, upkeep, &name);
                }
            }
        }
        app.notifier.wait(count, PASS_EVERY);
        if let Some(rest) = REST.checked_sub(begun.elapsed()) {
            std::thread::sleep(rest);
        }
    }
}

/// Of a bake that a control plane before this one began, nobody says how it ended.
fn record_interrupted(app: &App, upkeep: &Upkeep) {
    for name in upkeep.names().unwrap_or_default() {
        let now = upkeep.now(app.now());
        let recorded = upkeep.edit(&name, |life| life.was_interrupted(now, execute::MINUTE_MS));
        match recorded {
            Ok(None) => {}
            // Before it is tried again, which may end the alarm.
            Ok(Some(_)) => log_alarms(app, upkeep, &name),
            Err(fault) => tracing::error!(code = fault.code, image = %name, "{}", fault.message),
        }
    }
}

/// Decides and executes until there is something to wait for.
fn pass(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<(), Fault> {
    for _ in 0..DECISIONS_MAX {
        if app.is_stopping() {
            return Ok(());
        }
        let life = upkeep.load(name)?;
        image_check::clear(app, upkeep, &life)?;
        let seen = observe::observe(app, upkeep, &life)?;
        let decision = decide(&life, &seen.seen);
        if let Decision::Wait { why, until } = decision {
            observe::prove(upkeep, &life, &seen)?;
            upkeep.set_waiting(name, Waiting { why, until });
            return Ok(());
        }
        tracing::info!(image = %name, "{}", execute::describe(&decision));
        upkeep.set_waiting(name, Waiting { why: execute::describe(&decision), until: None });
        execute::execute(app, upkeep, &life, &seen, decision)?;
    }
    Err(Fault::ours("no-rest", format!("image {name}: {DECISIONS_MAX} decisions in a row without a wait")))
}

/// Logs each alarm once when it is raised, also over restarts.
fn log_alarms(app: &App, upkeep: &Upkeep, name: &ImageName) {
    let heed = || {
        let (alarms, now) = report::alarms_of(app, upkeep, name)?;
        upkeep.edit(name, |life| life.heed(&alarms, now))
    };
    for text in heed().unwrap_or_default() {
        tracing::warn!(image = %name, alarm = true, "{text}");
    }
}
