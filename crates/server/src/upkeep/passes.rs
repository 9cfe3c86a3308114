//! The upkeep's loop: for each recipe, passes that decide and execute until there is something to wait for.

use super::lives::Upkeep;
use super::observe::Observation;
use super::source_queues::source_of;
use super::{execute, image_check, observe, report};
use crate::app::App;
use crate::supervise::spawn;
use api::control::Waiting;
use lifecycle::{Decision, Life, decide};
use model::{Fault, ImageName};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The time between two passes without a notification, and at least: a rotation notifies many times a second.
const PASS_EVERY: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(200);
/// More decisions than this in a row without a wait are an internal error: they repeat themselves.
const DECISIONS_MAX: usize = 50;

/// Runs until the control plane stops.
pub fn keep(app: &Arc<App>) {
    let Some(upkeep) = &app.upkeep else { return };
    for name in upkeep.names().unwrap_or_default() {
        // This part itself may have been started again: what its threads do goes on.
        if !upkeep.source_checks().threads.contains_key(&name) {
            record_interrupted(app, upkeep, &name);
        }
    }
    while !app.is_stopping() {
        let count = app.notifier.count();
        let begun = Instant::now();
        join_ended(app, upkeep);
        match upkeep.names() {
            Err(fault) => tracing::error!(code = fault.code, "cannot list the images: {}", fault.message),
            Ok(names) => {
                let mut wanting = BTreeSet::new();
                for name in names {
                    match pass(app, upkeep, &name) {
                        Ok(None) => {}
                        Ok(Some(source)) => {
                            wanting.insert(name.clone());
                            start_check(app, upkeep, &name, &source);
                        }
                        Err(fault) => trying_again(upkeep, &name, &fault),
                    }
                    log_alarms(app, upkeep, &name);
                }
                upkeep.source_checks().queues.retain(&wanting);
            }
        }
        app.notifier.wait(count, PASS_EVERY);
        if let Some(rest) = REST.checked_sub(begun.elapsed()) {
            std::thread::sleep(rest);
        }
    }
    let threads = std::mem::take(&mut upkeep.source_checks().threads);
    for thread in threads.into_values() {
        let _ = thread.join();
    }
}

fn trying_again(upkeep: &Upkeep, name: &ImageName, fault: &Fault) {
    let waiting = Waiting { why: format!("{}; trying again", fault.message), until: None };
    if upkeep.set_waiting(name, waiting.clone()) != Some(waiting) {
        tracing::warn!(code = fault.code, image = %name, "{}", fault.message);
    }
}

/// Asks a source in a thread of its own, once no image is before this one: a registry may take hours, and others' rollouts, tests and alarms
/// wait for none.
fn start_check(app: &Arc<App>, upkeep: &Upkeep, name: &ImageName, source: &str) {
    let mut checks = upkeep.source_checks();
    if !checks.queues.begin(source, name) {
        drop(checks);
        upkeep.set_waiting(name, Waiting { why: format!("{source} is asked for another image first"), until: None });
        return;
    }
    let (app, image) = (app.clone(), name.clone());
    let thread = spawn(format!("upkeep {name}"), move || {
        if let Some(upkeep) = &app.upkeep
            && let Err(fault) = check_source(&app, upkeep, &image)
        {
            trying_again(upkeep, &image, &fault);
        }
        app.notifier.notify();
    });
    match thread {
        Ok(thread) => {
            checks.threads.insert(name.clone(), thread);
        }
        Err(fault) => {
            checks.queues.end(name);
            drop(checks);
            trying_again(upkeep, name, &fault);
        }
    }
}

/// The next image can begin. One whose thread panicked begins again after a rest; if it was baked, that failure is on record.
fn join_ended(app: &App, upkeep: &Upkeep) {
    let mut panicked = Vec::new();
    let mut checks = upkeep.source_checks();
    checks.resting.retain(|_, until| *until > Instant::now());
    let ended: Vec<ImageName> = checks.threads.iter().filter(|(_, thread)| thread.is_finished()).map(|(name, _)| name.clone()).collect();
    for name in ended {
        checks.queues.end(&name);
        if let Some(Err(payload)) = checks.threads.remove(&name).map(JoinHandle::join) {
            let rest = app.parts.panicked("upkeep", payload.as_ref());
            checks.resting.insert(name.clone(), Instant::now() + rest);
            panicked.push(name);
        }
    }
    drop(checks);
    for name in panicked {
        record_interrupted(app, upkeep, &name);
    }
}

/// Of a bake whose thread, or whose control plane, is gone, nobody says how it ended.
fn record_interrupted(app: &App, upkeep: &Upkeep, name: &ImageName) {
    let now = upkeep.now(app.now());
    match upkeep.edit(name, |life| life.was_interrupted(now, execute::MINUTE_MS)) {
        Ok(None) => {}
        // Before it is tried again, which may end the alarm.
        Ok(Some(_)) => log_alarms(app, upkeep, name),
        Err(fault) => tracing::error!(code = fault.code, image = %name, "{}", fault.message),
    }
}

/// Decides and executes until there is something to wait for, or a source is to be asked, which is returned.
fn pass(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<Option<String>, Fault> {
    for _ in 0..DECISIONS_MAX {
        let is_held = {
            let checks = upkeep.source_checks();
            checks.queues.is_running(name) || checks.resting.contains_key(name)
        };
        if is_held || app.is_stopping() {
            return Ok(None);
        }
        let (life, seen, decision) = next(app, upkeep, name)?;
        if let Decision::Wait { why, until } = decision {
            observe::prove(upkeep, &life, &seen)?;
            upkeep.set_waiting(name, Waiting { why, until });
            return Ok(None);
        }
        if let Some(spec) = life.recipe.as_ref().filter(|_| needs_source(&decision)) {
            return Ok(Some(source_of(spec.oci.as_ref().map(|container| container.reference.as_str()))));
        }
        report_and_execute(app, upkeep, &life, &seen, decision)?;
    }
    Err(no_rest(name))
}

/// A check, and the bake that may follow it.
fn check_source(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<(), Fault> {
    for _ in 0..DECISIONS_MAX {
        let (life, seen, decision) = next(app, upkeep, name)?;
        if app.is_stopping() || !needs_source(&decision) {
            return Ok(());
        }
        report_and_execute(app, upkeep, &life, &seen, decision)?;
    }
    Err(no_rest(name))
}

fn needs_source(decision: &Decision) -> bool {
    matches!(decision, Decision::Check | Decision::Bake)
}

fn next(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<(Life, Observation, Decision), Fault> {
    let life = upkeep.load(name)?;
    image_check::clear(app, upkeep, &life)?;
    let seen = observe::observe(app, upkeep, &life)?;
    let decision = decide(&life, &seen.seen);
    Ok((life, seen, decision))
}

fn report_and_execute(app: &App, upkeep: &Upkeep, life: &Life, seen: &Observation, decision: Decision) -> Result<(), Fault> {
    let text = execute::describe(life, &decision);
    tracing::info!(image = %life.name, "{text}");
    upkeep.set_waiting(&life.name, Waiting { why: text, until: None });
    execute::execute(app, upkeep, life, seen, decision)
}

fn no_rest(name: &ImageName) -> Fault {
    Fault::ours("no-rest", format!("image {name}: {DECISIONS_MAX} decisions in a row without a wait"))
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
