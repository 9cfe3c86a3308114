//! What every part of the control plane shares. Nothing in it would be missed after a restart.

use crate::access::Access;
use crate::backup::{self, Backups};
use crate::comparison::Comparison;
use crate::config::Config;
use crate::covered_ports::CoveredPorts;
use crate::exec_known::Known;
use crate::files::private_dir;
use crate::fleet::Fleet;
use crate::gate;
use crate::notify::Notifier;
use crate::parts::Parts;
use crate::ports::{Images, WallClock};
use crate::runs;
use crate::upkeep::Upkeep;
use api::control::Waiting;
use journal::Database;
use model::{Fault, Layout, RotationId, ServiceName, Time};
use rotation::{Clock, Rotation, World};
use secret::Secrets;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::watch;

pub struct App {
    pub layout: Layout,
    pub database: Database,
    pub holder: String,
    /// Provider and router behind a check: nothing is declared for a service that the journal does not cover.
    pub provider: CoveredPorts,
    pub router: CoveredPorts,
    pub comparison: Arc<Comparison>,
    pub fleet: Fleet,
    pub images: Arc<dyn Images>,
    pub secrets: Secrets,
    pub upkeep: Option<Upkeep>,
    pub backups: Option<Backups>,
    started: Time,
    pub access: Access,
    pub notifier: Arc<Notifier>,
    /// Counts commits, for those who follow events.
    pub changes: watch::Receiver<u64>,
    /// What each open rotation waits for, as its driver reported last.
    waits: Mutex<BTreeMap<RotationId, DriverReport>>,
    /// Deploys, rollbacks, manual steps and gc run one after another: each observes and then writes.
    deploys: Mutex<()>,
    /// Held while the names of services are read and written to their file: of two writers the later has the newer names.
    pub publishing: Mutex<()>,
    pub parts: Parts,
    /// What runs, as the gate judged it last.
    pub gate: gate::Memory,
    pub run_waits: runs::Waits,
    pub execs: Known,
    /// A thread for each open rotation.
    drivers: Mutex<BTreeMap<RotationId, JoinHandle<()>>>,
    stopping: AtomicBool,
}

/// What a driver waits for, and how long the journal was then: later events make the report obsolete.
struct DriverReport {
    events: Option<u64>,
    waiting: Waiting,
}

impl App {
    pub fn open(config: &Config) -> Result<Arc<App>, Fault> {
        private_dir(&config.layout.root().join("control"))?;
        let database = Database::open(&config.layout.database())?;
        let notifier = Arc::new(Notifier::default());
        let (sender, changes) = watch::channel(0);
        let on_commit = notifier.clone();
        database.on_change(move || {
            on_commit.notify();
            sender.send_modify(|n| *n += 1);
        });
        let comparison = Arc::new(Comparison::default());
        let ports = CoveredPorts::new(config.provider.clone(), config.router.clone(), comparison.clone());
        Ok(Arc::new(App {
            layout: config.layout.clone(),
            database,
            holder: config.holder.clone(),
            provider: ports.clone(),
            router: ports,
            comparison,
            fleet: Fleet::new(&config.layout),
            images: config.images.clone(),
            secrets: Secrets::of(&config.layout),
            backups: config.backups.clone(),
            started: disk::files::now(),
            access: Access::open(&config.layout, config.policy.clone(), config.token_file.clone())?,
            upkeep: config.upkeep.as_ref().map(|u| Upkeep::open(&config.layout, u)).transpose()?,
            notifier,
            changes,
            waits: Mutex::default(),
            deploys: Mutex::default(),
            publishing: Mutex::default(),
            parts: Parts::default(),
            gate: gate::Memory::default(),
            run_waits: runs::Waits::default(),
            execs: Known::default(),
            drivers: Mutex::default(),
            stopping: AtomicBool::new(false),
        }))
    }

    pub fn world(&self) -> World<'_> {
        World { provider: &self.provider, router: &self.router, images: &*self.images, journal: &self.database, clock: &WallClock }
    }

    pub fn now(&self) -> Time {
        WallClock.now()
    }

    pub fn deploy_lock(&self) -> MutexGuard<'_, ()> {
        self.deploys.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn drivers(&self) -> MutexGuard<'_, BTreeMap<RotationId, JoinHandle<()>>> {
        self.drivers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self) -> MutexGuard<'_, BTreeMap<RotationId, DriverReport>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a rotation waits for, unless its journal has grown since the report.
    pub fn waiting(&self, r: &Rotation) -> Option<Waiting> {
        self.waits().get(&r.id).filter(|report| report.events.is_none_or(|n| n == r.len)).map(|report| report.waiting.clone())
    }

    /// `events` is the length of the journal that the driver had read, None where it could not read it.
    pub fn set_waiting(&self, rotation: &RotationId, events: Option<u64>, waiting: Waiting) {
        self.waits().insert(rotation.clone(), DriverReport { events, waiting });
    }

    pub fn clear_waiting(&self, rotation: &RotationId) {
        self.waits().remove(rotation);
    }

    /// What needs attention, as `health` and `status` show it: of one service, or of none in particular.
    pub fn troubles(&self, is_for: impl Fn(Option<&ServiceName>) -> bool) -> Vec<String> {
        let all = self.comparison.troubles().into_iter().map(|(service, text)| (Some(service), text)).chain(self.parts.troubles());
        let backup = self.backups.as_ref().and_then(|settings| backup::trouble(&self.layout, settings, self.started, self.now()));
        all.chain(backup.map(|text| (None, text))).filter(|(service, _)| is_for(service.as_ref())).map(|(_, text)| text).collect()
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.notifier.notify();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
