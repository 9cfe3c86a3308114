//! The lives of images (`lifecycle::Life`), one file a recipe: loaded, changed one at a time, and what each waits for.

use super::config::Config;
use super::source_queues::SourceQueues;
use api::control::Waiting;
use lifecycle::{Handed, Life};
use model::{Fault, ImageName, Layout, Time};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;
use store::Repository;

pub struct Upkeep {
    pub config: Config,
    pub layout: Layout,
    repository: Repository,
    /// Held while a life is read, changed and written; never during a bake or a call.
    writing: Mutex<()>,
    /// What each recipe waits for, by the last decision.
    waits: Mutex<BTreeMap<ImageName, Waiting>>,
    source_checks: Mutex<SourceChecks>,
}

/// Which images have a thread that asks their source. It outlives a panic of the loop.
#[derive(Default)]
pub struct SourceChecks {
    pub queues: SourceQueues,
    pub threads: BTreeMap<ImageName, JoinHandle<()>>,
    /// After a panic, until when.
    pub resting: BTreeMap<ImageName, Instant>,
}

impl Upkeep {
    pub fn open(layout: &Layout, config: &Config) -> Result<Upkeep, Fault> {
        Ok(Upkeep {
            config: config.clone(),
            layout: layout.clone(),
            repository: Repository::open(layout)?,
            writing: Mutex::default(),
            waits: Mutex::default(),
            source_checks: Mutex::default(),
        })
    }

    pub fn source_checks(&self) -> MutexGuard<'_, SourceChecks> {
        lock(&self.source_checks)
    }

    pub fn load(&self, name: &ImageName) -> Result<Life, Fault> {
        let (life, damage) = self.repository.load(name)?;
        if let Some(fault) = damage {
            tracing::error!(code = fault.code, "{}", fault.message);
        }
        Ok(life)
    }

    /// Changes a life; written only if it differs and `change` succeeds, durable when it returns.
    pub fn try_edit<T>(&self, name: &ImageName, change: impl FnOnce(&mut Life) -> Result<T, Fault>) -> Result<T, Fault> {
        let _alone = lock(&self.writing);
        let mut life = self.load(name)?;
        let before = life.clone();
        let value = change(&mut life)?;
        if life != before {
            self.repository.save(&life)?;
        }
        Ok(value)
    }

    pub fn edit<T>(&self, name: &ImageName, change: impl FnOnce(&mut Life) -> T) -> Result<T, Fault> {
        self.try_edit(name, |life| Ok(change(life)))
    }

    /// For what was decided on `seen`: does nothing when another caller changed the life since, say by revoking an image; then the next
    /// pass decides again.
    pub fn edit_seen(&self, seen: &Life, change: impl FnOnce(&mut Life) -> Result<(), Fault>) -> Result<(), Fault> {
        self.try_edit(&seen.name, |life| if life == seen { change(life) } else { Ok(()) })
    }

    pub fn handed(&self, name: &ImageName) -> Result<Option<Handed>, Fault> {
        self.repository.handed(name)
    }

    pub fn taken(&self, name: &ImageName, handed: &Handed) -> Result<(), Fault> {
        self.repository.taken(name, handed)
    }

    pub fn names(&self) -> Result<Vec<ImageName>, Fault> {
        self.repository.names()
    }

    /// By the clock of schedules; `wall`: by the wall clock.
    pub fn now(&self, wall: Time) -> Time {
        self.config.pace.at(wall)
    }

    pub fn waiting(&self, name: &ImageName) -> Option<Waiting> {
        lock(&self.waits).get(name).cloned()
    }

    /// Returns what it waited for before.
    pub fn set_waiting(&self, name: &ImageName, waiting: Waiting) -> Option<Waiting> {
        lock(&self.waits).insert(name.clone(), waiting)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
