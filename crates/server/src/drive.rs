//! The driving loop: a thread for each open rotation, one that keeps these threads and opens what rollouts have next, one for backups.
//!
//! ```text
//! keeper:  every change, else every 500 ms ▸ a thread for each open rotation that has none
//! driver:  tick ▸ Again: at once ▸ Wait: soon while something moves, slower when it takes long ▸ an error: say so, try again
//! ```
//! A driver that dies takes nothing with it: the keeper starts another, which reads the journal.

use crate::app::App;
use crate::node::Only;
use crate::rollouts;
use api::control::Waiting;
use model::{Fault, RotationId};
use rotation::{Driver, Tick};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

/// Long enough for a stalled disk, short enough for another process to take over.
const LEASE_MS: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const COMPARE_EVERY: Duration = Duration::from_secs(60);
const BACKUP_EVERY: Duration = Duration::from_secs(3600);

pub fn start(app: &Arc<App>, only: &Arc<Only>) -> Result<Vec<JoinHandle<()>>, Fault> {
    let thread = |name: &str, keep: fn(&Arc<App>)| {
        let (app, only) = (app.clone(), only.clone());
        spawn(name.to_string(), move || {
            keep(&app);
            drop(only);
        })
    };
    Ok(vec![
        thread("drivers", keep_drivers)?,
        thread("rollouts", |app| keep_rollouts(app))?,
        thread("backup", |app| keep_backup(app))?,
        thread("inventory", |app| keep_comparing(app))?,
        thread("upkeep", |app| crate::upkeep::keep(app))?,
    ])
}

fn spawn(name: String, f: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Fault> {
    Builder::new().name(name).spawn(f).map_err(|e| Fault::world("no-thread", format!("cannot start a thread: {e}")))
}

/// Says a trouble once, and again only when it changes or has lasted: the loops come by many times a second.
#[derive(Default)]
struct Teller {
    last: Option<(String, Instant)>,
}

const TELL_EVERY: Duration = Duration::from_secs(30);

impl Teller {
    fn tell(&mut self, what: &str, fault: &Fault) {
        let fresh = self.last.as_ref().is_some_and(|(message, at)| *message == fault.message && at.elapsed() < TELL_EVERY);
        if !fresh {
            tracing::warn!(code = fault.code, "{what}: {}", fault.message);
            self.last = Some((fault.message.clone(), Instant::now()));
        }
    }
}

fn keep_drivers(app: &Arc<App>) {
    let mut teller = Teller::default();
    let mut drivers: BTreeMap<RotationId, JoinHandle<()>> = BTreeMap::new();
    while !app.is_stopping() {
        let heard = app.bell.heard();
        let ended: Vec<RotationId> = drivers.iter().filter(|(_, t)| t.is_finished()).map(|(id, _)| id.clone()).collect();
        for id in ended {
            if drivers.remove(&id).is_some_and(|thread| thread.join().is_err()) {
                tracing::error!(rotation = %id, "its driver panicked; another is started");
            }
        }
        match app.store.read(|r| r.open_rotations()) {
            Err(fault) => teller.tell("open rotations cannot be read", &fault),
            Ok(open) => {
                for row in open {
                    if drivers.contains_key(&row.id) {
                        continue;
                    }
                    let (app, id) = (app.clone(), row.id.clone());
                    match spawn(format!("drive {id}"), move || drive(&app, &id)) {
                        Ok(thread) => drop(drivers.insert(row.id, thread)),
                        Err(fault) => teller.tell("a rotation is not driven", &fault),
                    }
                }
            }
        }
        app.bell.wait(heard, LOOK_EVERY);
    }
    for thread in drivers.into_values() {
        let _ = thread.join();
    }
}

fn drive(app: &App, id: &RotationId) {
    let mut driver = Driver::new(id.clone(), app.holder.clone(), LEASE_MS);
    let mut moved = Instant::now();
    while !app.is_stopping() {
        let heard = app.bell.heard();
        if let Err(fault) = app.comparison.may_drive(&id.service()) {
            app.set_waiting(id, None, Waiting { why: fault.message, until: None });
            app.bell.wait(heard, LOOK_EVERY);
            continue;
        }
        let waiting = match driver.tick(&app.world()) {
            Ok(Tick::Again) => {
                moved = Instant::now();
                app.clear_waiting(id);
                continue;
            }
            Ok(Tick::Closed(verdict)) => {
                tracing::info!(rotation = %id, ?verdict, "closed");
                break;
            }
            Ok(Tick::Wait { why, until }) => Waiting { why, until },
            Ok(Tick::NotMine { until }) => Waiting { why: "another control plane drives it".to_string(), until: Some(until) },
            Err(refused) => Waiting { why: format!("{refused}; trying again"), until: None },
        };
        app.set_waiting(id, driver.rotation().map(|r| r.len), waiting);
        app.bell.wait(heard, patience(moved.elapsed()));
    }
    app.clear_waiting(id);
    // The rollouts' turn may have come.
    app.bell.ring();
}

/// Right after something moved more will move soon; what takes minutes can be looked at twice a second.
fn patience(since: Duration) -> Duration {
    if since < Duration::from_secs(8) {
        (since / 8).clamp(Duration::from_millis(10), Duration::from_millis(50))
    } else {
        (since / 40).clamp(Duration::from_millis(50), LOOK_EVERY)
    }
}

fn keep_rollouts(app: &App) {
    let mut teller = Teller::default();
    while !app.is_stopping() {
        let heard = app.bell.heard();
        if let Err(fault) = rollouts::advance(app) {
            teller.tell("a rollout cannot go on yet", &fault);
        }
        app.bell.wait(heard, LOOK_EVERY);
    }
}

/// Until it was made once, it is tried again and again; afterwards now and then, should somebody put another journal's world in place.
fn keep_comparing(app: &App) {
    let mut last: Option<Instant> = None;
    while !app.is_stopping() {
        let heard = app.bell.heard();
        if last.is_none_or(|at| at.elapsed() > COMPARE_EVERY) {
            match crate::inventory::compare(app) {
                Ok(inventory) if inventory.no_routes.is_none() => last = Some(Instant::now()),
                Ok(_) => {}
                Err(fault) => tracing::debug!(code = fault.code, "journal and world are not compared yet: {}", fault.message),
            }
        }
        app.bell.wait(heard, LOOK_EVERY);
    }
}

fn keep_backup(app: &App) {
    let age = |path: &std::path::Path| {
        let made = std::fs::metadata(path).and_then(|m| m.modified()).ok()?;
        Some(SystemTime::now().duration_since(made).unwrap_or_default())
    };
    let mut tried: Option<Instant> = None;
    while !app.is_stopping() {
        let heard = app.bell.heard();
        let due = age(&app.store.backup_path()).is_none_or(|age| age > BACKUP_EVERY);
        if due && tried.is_none_or(|t| t.elapsed() > Duration::from_secs(60)) {
            tried = Some(Instant::now());
            if let Err(fault) = app.store.backup() {
                tracing::warn!(code = fault.code, "no backup of the database could be made: {}", fault.message);
            }
        }
        app.bell.wait(heard, Duration::from_secs(60));
    }
}
