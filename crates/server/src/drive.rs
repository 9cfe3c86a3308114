//! The threads of the control plane: one for each open rotation, and supervised parts: one that keeps these threads, one that opens the
//! next tier of rollouts, one that keeps backups of the journal, one of the whole data directory, one that compares journal and inventory, upkeep, one that
//! judges what runs.
//!
//! A driver that panics takes nothing with it: another is started, which reads the journal.

use crate::app::App;
use crate::driver::drive;
use crate::instance_lock::InstanceLock;
use crate::log_once::LogOnce;
use crate::supervise::{spawn, supervise};
use crate::{backup, backups, gate, inventory, jobs, names, parts, rollouts, runs, upkeep};
use api::control::Waiting;
use model::{Fault, RotationId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CHECK_EVERY: Duration = Duration::from_millis(500);
const COMPARE_EVERY: Duration = Duration::from_secs(60);

type Drivers = BTreeMap<RotationId, JoinHandle<()>>;
type Resting = BTreeMap<RotationId, Instant>;

pub fn start(app: &Arc<App>, lock: &Arc<InstanceLock>) -> Result<Vec<JoinHandle<()>>, Fault> {
    Ok(vec![
        supervise(app, lock, "drivers", keep_drivers)?,
        supervise(app, lock, "rollouts", |app| keep_rollouts(app))?,
        supervise(app, lock, "backup", |app| backups::keep(app))?,
        supervise(app, lock, "backups", |app| backup::keep(app))?,
        supervise(app, lock, "inventory", |app| keep_comparing(app))?,
        supervise(app, lock, "upkeep", upkeep::keep)?,
        supervise(app, lock, "runs", runs::keep)?,
        supervise(app, lock, "jobs", jobs::keep)?,
        supervise(app, lock, "guard", |app| gate::keep(app))?,
    ])
}

fn keep_drivers(app: &Arc<App>) {
    let mut log = LogOnce::default();
    let mut resting = Resting::new();
    while !app.is_stopping() {
        let count = app.notifier.count();
        // They outlive a panic of this part: two threads for one rotation would take the lease from each other.
        let mut drivers = app.drivers();
        join_ended(app, &mut drivers, &mut resting);
        start_missing(app, &mut drivers, &resting, &mut log);
        drop(drivers);
        app.notifier.wait(count, CHECK_EVERY);
    }
    let drivers = std::mem::take(&mut *app.drivers());
    for thread in drivers.into_values() {
        let _ = thread.join();
    }
}

/// A driver that panicked is started again after a rest.
fn join_ended(app: &App, drivers: &mut Drivers, resting: &mut Resting) {
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
}

fn start_missing(app: &Arc<App>, drivers: &mut Drivers, resting: &Resting, log: &mut LogOnce) {
    let open = match app.database.read(|r| r.open_rotations()) {
        Ok(open) => open,
        Err(fault) => return log.warn("cannot read the open rotations", &fault),
    };
    for row in open {
        if drivers.contains_key(&row.id) || resting.contains_key(&row.id) {
            continue;
        }
        let (app, id) = (app.clone(), row.id.clone());
        match spawn(format!("drive {id}"), move || drive(&app, &id)) {
            Ok(thread) => drop(drivers.insert(row.id, thread)),
            Err(fault) => log.warn("cannot drive a rotation", &fault),
        }
    }
}

fn keep_rollouts(app: &App) {
    let mut log = LogOnce::default();
    while !app.is_stopping() {
        let count = app.notifier.count();
        let advanced = rollouts::advance(app);
        app.parts.attempted("rollouts", advanced.as_ref().err().map(|f| f.message.clone()));
        if let Err(fault) = advanced {
            log.warn("a rollout cannot continue yet", &fault);
        }
        app.notifier.wait(count, CHECK_EVERY);
    }
}

/// Retried until it succeeds once; afterwards once a minute, in case the journal or what runs is replaced.
fn keep_comparing(app: &App) {
    let mut last: Option<Instant> = None;
    while !app.is_stopping() {
        let count = app.notifier.count();
        if last.is_none_or(|at| at.elapsed() > COMPARE_EVERY) {
            names::keep_published(app);
            let compared = inventory::compare(app);
            let fault = compared.as_ref().map_or_else(|f| Some(f.message.clone()), |i| i.no_routes.as_ref().map(|f| f.message.clone()));
            if fault.is_none() {
                last = Some(Instant::now());
            }
            app.parts.attempted("inventory", fault);
        }
        app.notifier.wait(count, CHECK_EVERY);
    }
}
