//! Keeps images patched without anybody watching: looks at the mirrors when it is due, bakes what is new as a candidate, tests it, makes
//! it current, and turns the services to it by ordinary rollouts. What to do is decided in `lifecycle`; here it is seen and done.
//!
//! ```text
//! every second, for each recipe:  load its life ▸ see (store, keeper, rollouts) ▸ decide ▸ write what is begun ▸ do ▸ write what came of it
//! ```
//! Everything that matters is in the life's file before it is done, and everything done can be done again: kill -9 loses nothing.
//! One thread; a bake holds up the others' looks and nothing else.

mod api;
mod execute;
mod factory;
mod image_check;
mod observe;
mod report;
mod rollout;
mod shown;

pub use api::{doubt, history, lives, rebuild, recipe, refuse, revoke, spared};
pub use factory::{Factory, Fresh, Made};
pub use report::{all, events};
pub use shown::Shown;

use crate::access::Caller;
use crate::app::App;
use ::api::control::Waiting;
use lifecycle::{Decision, Handed, Life, decide};
use model::{Fault, ImageName, Layout, ServiceFile, Time};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use store::Repository;

/// What `serve` is given for it.
#[derive(Clone)]
pub struct Config {
    pub factory: Arc<dyn Factory>,
    pub pace: Pace,
}

/// The clock of schedules and ages. In earnest it is the wall's; a simulated month goes by faster, counted from one fixed moment,
/// so that a restarted process goes on in the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    pub anchor: Time,
    pub speed: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { anchor: Time(0), speed: 1 }
    }
}

impl Pace {
    pub fn at(&self, wall: Time) -> Time {
        self.anchor.plus(wall.since(self.anchor).saturating_mul(self.speed))
    }
}

/// How often it looks when nothing rings, and how long it rests at least: a rotation rings many times a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);
const REST: Duration = Duration::from_millis(200);
/// More decisions than this in a row without a wait: something goes round in a circle, and the rest of the machine is to live.
const TURNS_MAX: usize = 50;
/// What a try that came to nothing waits for first, by the schedule's clock.
const MINUTE_MS: u64 = 60_000;

pub struct Upkeep {
    pub config: Config,
    pub layout: Layout,
    repository: Repository,
    /// Held while a life is read, changed and written; never while something is done.
    writing: Mutex<()>,
    /// What each recipe waits for, as it was decided last.
    waits: Mutex<BTreeMap<ImageName, Waiting>>,
}

impl Upkeep {
    pub fn open(layout: &Layout, config: &Config) -> Result<Upkeep, Fault> {
        Ok(Upkeep {
            config: config.clone(),
            layout: layout.clone(),
            repository: Repository::open(layout)?,
            writing: Mutex::default(),
            waits: Mutex::default(),
        })
    }

    fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn load(&self, name: &ImageName) -> Result<Life, Fault> {
        let (life, damage) = self.repository.load(name)?;
        if let Some(fault) = damage {
            tracing::error!(code = fault.code, "{}", fault.message);
        }
        Ok(life)
    }

    /// Changes a life; written only if it differs and nothing went wrong, durable when it returns.
    pub fn try_edit<T>(&self, name: &ImageName, change: impl FnOnce(&mut Life) -> Result<T, Fault>) -> Result<T, Fault> {
        let _alone = Self::lock(&self.writing);
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

    /// For what was decided over `seen`: nothing is done when somebody else changed it since, say by revoking an image, and it is
    /// decided anew.
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

    pub fn now(&self, app: &App) -> Time {
        self.config.pace.at(app.now())
    }

    pub fn waiting(&self, name: &ImageName) -> Option<Waiting> {
        Self::lock(&self.waits).get(name).cloned()
    }

    /// Takes the recipes of a file that was deployed. One that differs is observed at now, if it is observed at by itself at all.
    /// In which order tiers follow a new image concerns every service: it is taken from who is for all of them.
    pub fn learn(&self, app: &App, file: &ServiceFile, caller: &Caller) -> Result<(), Fault> {
        let by = caller.name();
        let now = self.now(app);
        for (name, spec) in &file.images {
            self.edit(name, |life| {
                let changed = life.recipe.as_ref().is_some_and(|old| old != spec);
                if changed && spec.rebuild.is_some() {
                    life.wanted = Some(lifecycle::Wanted { at: now, by: format!("{by}, with another recipe") });
                }
                life.recipe = Some(spec.clone());
                if caller.services().is_none() {
                    life.tiers.clone_from(&file.tiers);
                }
            })?;
        }
        Ok(())
    }
}

/// What a deploy tells the upkeep. A recipe that cannot be noted is told, and holds up no deploy.
pub fn learn(app: &App, file: &ServiceFile, caller: &Caller) {
    if let Some(upkeep) = &app.upkeep
        && let Err(fault) = upkeep.learn(app, file, caller)
    {
        tracing::warn!(code = fault.code, "the recipes could not be noted: {}", fault.message);
    }
}

/// Until the control plane stops.
pub fn keep(app: &App) {
    let Some(upkeep) = &app.upkeep else { return };
    while !app.is_stopping() {
        let heard = app.notifier.count();
        let begun = Instant::now();
        match upkeep.names() {
            Err(fault) => tracing::error!(code = fault.code, "the images' lives cannot be listed: {}", fault.message),
            Ok(names) => {
                for name in names {
                    if let Err(fault) = pass(app, upkeep, &name) {
                        let waiting = Waiting { why: format!("{}; trying again", fault.message), until: None };
                        let told = Upkeep::lock(&upkeep.waits).insert(name.clone(), waiting.clone());
                        if told.as_ref() != Some(&waiting) {
                            tracing::warn!(code = fault.code, image = %name, "{}", fault.message);
                        }
                    }
                    alarm(app, upkeep, &name);
                }
            }
        }
        app.notifier.wait(heard, LOOK_EVERY);
        if let Some(rest) = REST.checked_sub(begun.elapsed()) {
            std::thread::sleep(rest);
        }
    }
}

/// Decides and does until there is something to wait for.
fn pass(app: &App, upkeep: &Upkeep, name: &ImageName) -> Result<(), Fault> {
    for _ in 0..TURNS_MAX {
        if app.is_stopping() {
            return Ok(());
        }
        let life = upkeep.load(name)?;
        image_check::clear(app, upkeep, &life)?;
        let seen = observe::observe(app, upkeep, &life)?;
        let decision = decide(&life, &seen.seen);
        if let Decision::Wait { why, until } = decision {
            observe::prove(upkeep, &life, &seen)?;
            Upkeep::lock(&upkeep.waits).insert(name.clone(), Waiting { why, until });
            return Ok(());
        }
        tracing::info!(image = %name, "{}", execute::word(&decision));
        Upkeep::lock(&upkeep.waits).insert(name.clone(), Waiting { why: execute::word(&decision), until: None });
        execute::execute(app, upkeep, &life, &seen, decision)?;
    }
    Err(Fault::ours("no-rest", format!("image {name}: {TURNS_MAX} decisions in a row and still something to do")))
}

/// Tells each alarm once when it comes, also over restarts.
fn alarm(app: &App, upkeep: &Upkeep, name: &ImageName) {
    let heed = || {
        let (alarms, now) = api::alarms_of(app, upkeep, name)?;
        upkeep.edit(name, |life| life.heed(&alarms, now))
    };
    for text in heed().unwrap_or_default() {
        tracing::warn!(image = %name, alarm = true, "{text}");
    }
}
