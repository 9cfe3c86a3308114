//! What every part of the control plane shares. Nothing in it would be missed after a restart.

use crate::Config;
use crate::bell::Bell;
use crate::ports::{Images, WallClock};
use api::control::Waiting;
use model::{Fault, RotationId, Time};
use rotation::{Clock, Provider, Router, World};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use store::Store;
use tokio::sync::watch;

pub struct App {
    pub store: Store,
    pub holder: String,
    pub provider: Arc<dyn Provider + Send + Sync>,
    pub router: Arc<dyn Router + Send + Sync>,
    pub images: Arc<dyn Images>,
    pub upkeep: Option<crate::upkeep::Upkeep>,
    pub bell: Arc<Bell>,
    /// Counts changes of the store, for those who follow events.
    pub news: watch::Receiver<u64>,
    /// What each open rotation waits for, as its driver said last.
    waits: Mutex<BTreeMap<RotationId, Waiting>>,
    /// Deploys, rollbacks, steps by hand and the sweep come one after another: each looks at the world and then writes.
    desk: Mutex<()>,
    stopping: AtomicBool,
}

impl App {
    pub fn open(config: &Config) -> Result<Arc<App>, Fault> {
        crate::node::private_dir(&config.layout.root().join("control"))?;
        let store = Store::open(&config.layout.database())?;
        let bell = Arc::new(Bell::default());
        let (sender, news) = watch::channel(0);
        let ringer = bell.clone();
        store.on_change(move || {
            ringer.ring();
            sender.send_modify(|n| *n += 1);
        });
        Ok(Arc::new(App {
            store,
            holder: config.holder.clone(),
            provider: config.provider.clone(),
            router: config.router.clone(),
            images: config.images.clone(),
            upkeep: config.upkeep.as_ref().map(|u| crate::upkeep::Upkeep::open(&config.layout, u)).transpose()?,
            bell,
            news,
            waits: Mutex::default(),
            desk: Mutex::default(),
            stopping: AtomicBool::new(false),
        }))
    }

    pub fn world(&self) -> World<'_> {
        World { provider: &*self.provider, router: &*self.router, images: &*self.images, journal: &self.store, clock: &WallClock }
    }

    pub fn now(&self) -> Time {
        WallClock.now()
    }

    pub fn desk(&self) -> MutexGuard<'_, ()> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waits(&self) -> MutexGuard<'_, BTreeMap<RotationId, Waiting>> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn waiting(&self, rotation: &RotationId) -> Option<Waiting> {
        self.waits().get(rotation).cloned()
    }

    pub fn set_waiting(&self, rotation: &RotationId, waiting: Option<Waiting>) {
        match waiting {
            Some(waiting) => self.waits().insert(rotation.clone(), waiting),
            None => self.waits().remove(rotation),
        };
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.bell.ring();
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}
