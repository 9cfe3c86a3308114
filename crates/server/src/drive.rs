//! The driving loop: a thread for each open rotation, and supervised parts: one that keeps these threads, one that opens what rollouts have
//! next, one that looks after the store, one that compares journal and world, upkeep.
//!
//! ```text
//! keeper:  every change, else every 500 ms ▸ a thread for each open rotation that has none
//! driver:  tick ▸ Again: at once ▸ Wait: soon while something moves, slower when it takes long ▸ an error: say so, try again
//! ```
//! A driver that dies takes nothing with it: the keeper starts another, which reads the journal.

use crate::app::App;
use crate::instance_lock::InstanceLock;
use crate::parts;
use crate::rollouts;
use api::control::Waiting;
use model::{Fault, RotationId};
use rotation::{Driver, Tick};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

/// Long enough for a stalled disk, short enough for another process to take over.
const LEASE_MS: u64 = 10_000;
const LOOK_EVERY: Duration = Duration::from_millis(500);
const COMPARE_EVERY: Duration = Duration::from_secs(60);
const BACKUP_EVERY: Duration = Duration::from_secs(3600);
/// Between two backups of a database that changes.
const BACKUP_REST: Duration = Duration::from_secs(60);
const CHECKPOINT_EVERY: Duration = Duration::from_secs(5);

pub fn start(app: &Arc<App>, only: &Arc<InstanceLock>) -> Result<Vec<JoinHandle<()>>, Fault> {
    Ok(vec![
        parts::supervise(app, only, "drivers", keep_drivers)?,
        parts::supervise(app, only, "rollouts", |app| keep_rollouts(app))?,
        parts::supervise(app, only, "backup", |app| keep_store(app))?,
        parts::supervise(app, only, "inventory", |app| keep_comparing(app))?,
        parts::supervise(app, only, "upkeep", |app| crate::upkeep::keep(app))?,
    ])
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
    let mut resting: BTreeMap<RotationId, Instant> = BTreeMap::new();
    while !app.is_stopping() {
        let heard = app.notifier.count();
        // They outlive a panic of this part: two threads for one rotation would take the lease from each other.
        let mut drivers = app.drivers();
        let ended: Vec<RotationId> = drivers.iter().filter(|(_, t)| t.is_finished()).map(|(id, _)| id.clone()).collect();
        for id in ended {
            if let Some(Err(payload)) = drivers.remove(&id).map(JoinHandle::join) {
                let rest = app.parts.panicked(&parts::driver(&id), payload.as_ref());
                let why = app.parts.last_panic(&parts::driver(&id)).unwrap_or_default();
                app.set_waiting(&id, None, Waiting { why, until: Some(app.now().plus(rest.as_millis() as u64)) });
                resting.insert(id, Instant::now() + rest);
            }
        }
        resting.retain(|_, until| *until > Instant::now());
        match app.database.read(|r| r.open_rotations()) {
            Err(fault) => teller.tell("open rotations cannot be read", &fault),
            Ok(open) => {
                for row in open {
                    if drivers.contains_key(&row.id) || resting.contains_key(&row.id) {
                        continue;
                    }
                    let (app, id) = (app.clone(), row.id.clone());
                    match parts::spawn(format!("drive {id}"), move || drive(&app, &id)) {
                        Ok(thread) => drop(drivers.insert(row.id, thread)),
                        Err(fault) => teller.tell("a rotation is not driven", &fault),
                    }
                }
            }
        }
        drop(drivers);
        app.notifier.wait(heard, LOOK_EVERY);
    }
    let drivers = std::mem::take(&mut *app.drivers());
    for thread in drivers.into_values() {
        let _ = thread.join();
    }
}

fn drive(app: &App, id: &RotationId) {
    let mut driver = Driver::new(id.clone(), app.holder.clone(), LEASE_MS);
    let mut moved = Instant::now();
    let part = parts::driver(id);
    while !app.is_stopping() {
        let heard = app.notifier.count();
        if let Err(fault) = app.comparison.may_drive(&id.service()) {
            app.set_waiting(id, None, Waiting { why: fault.message, until: None });
            app.notifier.wait(heard, LOOK_EVERY);
            continue;
        }
        let ticked = driver.tick(&app.world());
        let failing = app.parts.attempted(&part, ticked.as_ref().err().map(ToString::to_string));
        let waiting = match ticked {
            Ok(Tick::Again) => {
                moved = Instant::now();
                app.clear_waiting(id);
                continue;
            }
            Ok(Tick::Closed(verdict)) => {
                tracing::info!(rotation = %id, ?verdict, "closed");
                app.parts.ended(&part);
                break;
            }
            Ok(Tick::Wait { why, until }) => Waiting { why, until },
            Ok(Tick::NotMine { until }) => Waiting { why: "another control plane drives it".to_string(), until: Some(until) },
            Err(refused) => Waiting { why: failing.unwrap_or_else(|| format!("{refused}; trying again")), until: None },
        };
        app.set_waiting(id, driver.rotation().map(|r| r.len), waiting);
        app.notifier.wait(heard, patience(moved.elapsed()));
    }
    app.clear_waiting(id);
    // The rollouts' turn may have come.
    app.notifier.notify();
}

/// Right after something moved more will move soon; what takes minutes can be observed at twice a second.
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
        let heard = app.notifier.count();
        let advanced = rollouts::advance(app);
        app.parts.attempted("rollouts", advanced.as_ref().err().map(|f| f.message.clone()));
        if let Err(fault) = advanced {
            teller.tell("a rollout cannot go on yet", &fault);
        }
        app.notifier.wait(heard, LOOK_EVERY);
    }
}

/// Until it was made once, it is tried again and again; afterwards now and then, should somebody put another journal's world in place.
fn keep_comparing(app: &App) {
    let mut last: Option<Instant> = None;
    while !app.is_stopping() {
        let heard = app.notifier.count();
        if last.is_none_or(|at| at.elapsed() > COMPARE_EVERY) {
            let compared = crate::inventory::compare(app);
            let fault = compared.as_ref().map_or_else(|f| Some(f.message.clone()), |i| i.no_routes.as_ref().map(|f| f.message.clone()));
            if fault.is_none() {
                last = Some(Instant::now());
            }
            app.parts.attempted("inventory", fault);
        }
        app.notifier.wait(heard, LOOK_EVERY);
    }
}

/// The log is copied into the database every few seconds, so that little of what was acknowledged lies in it alone; and the whole is
/// copied when it changed, but never so often that copying is what the machine does.
fn keep_store(app: &App) {
    let age = |path: &std::path::Path| {
        let made = std::fs::metadata(path).and_then(|m| m.modified()).ok()?;
        Some(SystemTime::now().duration_since(made).unwrap_or_default())
    };
    let (mut rest, mut kept) = (BACKUP_REST, None);
    let (mut tried, mut saved): (Option<Instant>, Option<Instant>) = (None, None);
    while !app.is_stopping() {
        let heard = app.notifier.count();
        let news = *app.news.borrow();
        if saved.is_none_or(|t| t.elapsed() > CHECKPOINT_EVERY) {
            saved = Some(Instant::now());
            let done = app.database.checkpoint();
            app.parts.attempted("checkpoints", done.as_ref().err().map(|f| f.message.clone()));
        }
        let due = age(&app.database.backup_path()).is_none_or(|age| age > BACKUP_EVERY) || (kept != Some(news) && news > 0);
        if due && tried.is_none_or(|t| t.elapsed() > rest) {
            let begun = Instant::now();
            let made = app.database.backup();
            app.parts.attempted("backup", made.as_ref().err().map(|f| f.message.clone()));
            match made {
                Ok(()) => kept = Some(news),
                Err(fault) => tracing::warn!(code = fault.code, "no backup of the database could be made: {}", fault.message),
            }
            rest = BACKUP_REST.max(begun.elapsed().saturating_mul(100));
            tried = Some(Instant::now());
        }
        app.notifier.wait(heard, CHECKPOINT_EVERY);
    }
}
