//! The data plane's picture of the world, made equal to the files again and again.
//!
//! ```text
//!   look at targets/*.json ─▶ groups, probes     look at routes/*.json ─▶ one swap a route, listeners
//!          └───────────────── then: close idle sockets, write drained files, write what changed ─────────┘
//! ```
//!
//! Level-triggered: a pass reads what is there, does what is missing, and is the same whether anything happened or not.
//! A file that does not decode changes nothing: the last good one stays in use and the trouble is told.

use crate::clock::now_ms;
use crate::files::{Folder, read_json, write_durable, write_json};
use crate::group::{Group, lock};
use crate::listen::{self, Listener, Open};
use crate::probe;
use crate::way::{Way, check_weights};
use api::proxy::{DeclareRoute, ProxyCounters};
use model::{Fault, GroupName, Layout, RouteName, RouteSpec, TargetFile};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

const SWEEP_MS: u64 = 250;
const BIND_AGAIN_MS: u64 = 1_000;
/// A group without file, weight and requests is forgotten after so long. Its name never comes back.
const FORGET_MS: u64 = 600_000;

/// On disk, so that an own restart is told from a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub epoch: u64,
    pub counters: ProxyCounters,
    pub routes: BTreeMap<RouteName, RouteSpec>,
}

pub struct Plane {
    pub layout: Layout,
    pub epoch: u64,
    /// Somebody left a closed target.
    pub left: Arc<Notify>,
    pub open: Arc<Open>,
    pub world: Mutex<World>,
}

pub struct World {
    pub groups: BTreeMap<GroupName, Arc<Group>>,
    pub ways: BTreeMap<RouteName, Served>,
    /// By file name: which file is bad, and how.
    pub bad_routes: BTreeMap<String, String>,
    pub bad_targets: BTreeMap<String, String>,
    pub applied: Applied,
    routes: Folder,
    targets: Folder,
    swept_at_ms: u64,
    useless_since_ms: BTreeMap<GroupName, u64>,
}

pub struct Served {
    pub way: Arc<Way>,
    listener: Option<Listener>,
    bind_at_ms: u64,
}

/// Counters, epoch and the routes that were in use before a restart.
pub fn applied_file(layout: &Layout) -> std::path::PathBuf {
    layout.proxy().join("applied.json")
}

impl Plane {
    pub fn start(layout: Layout, wall_ms: u64) -> Result<Self, Fault> {
        let path = applied_file(&layout);
        let mut applied: Applied = match read_json(&path) {
            Ok(applied) => applied,
            Err(why) => {
                if path.exists() {
                    tracing::warn!("counters begin anew: {why}");
                }
                Applied::default()
            }
        };
        // Never an epoch twice, also if the wall clock went back.
        applied.epoch = wall_ms.max(applied.epoch + 1);
        write_json(&path, &applied)?;
        let world = World {
            groups: BTreeMap::new(),
            ways: BTreeMap::new(),
            bad_routes: BTreeMap::new(),
            bad_targets: BTreeMap::new(),
            routes: Folder::new(layout.routes()),
            targets: Folder::new(layout.targets()),
            swept_at_ms: 0,
            useless_since_ms: BTreeMap::new(),
            applied,
        };
        let epoch = world.applied.epoch;
        Ok(Self { layout, epoch, left: Arc::default(), open: Arc::default(), world: Mutex::new(world) })
    }

    /// One pass. It blocks on the disk: not for an async thread.
    pub fn reconcile(&self) {
        let mut world = lock(&self.world);
        let before = world.applied.clone();
        world.take_targets(&self.left);
        world.take_routes();
        world.take_ports(&self.open);
        world.sweep();
        world.tell_drained(&self.layout);
        world.forget_useless();
        // Traffic has moved already; the counters follow.
        if world.applied != before
            && let Err(e) = write_json(&applied_file(&self.layout), &world.applied)
        {
            tracing::warn!("{e}");
        }
    }

    /// No new connections; those that are open end after the answer under way.
    pub fn stop_listening(&self) {
        for served in lock(&self.world).ways.values_mut() {
            served.listener = None;
        }
    }
}

impl World {
    fn group(&mut self, name: &GroupName) -> Arc<Group> {
        self.groups.entry(name.clone()).or_insert_with(|| Arc::new(Group::new(name.clone()))).clone()
    }

    fn take_targets(&mut self, left: &Arc<Notify>) {
        let changes = match self.targets.look() {
            Ok(changes) => changes,
            Err(e) => return note(&mut self.bad_targets, "", Err(format!("targets cannot be read: {e}"))),
        };
        note(&mut self.bad_targets, "", Ok(()));
        for (name, path) in changes.changed {
            let read = read_targets(&name, &path).map(|file| {
                let group = self.group(&file.group);
                for target in group.take(file, left) {
                    tokio::spawn(probe::watch(group.clone(), target));
                }
            });
            note(&mut self.bad_targets, &name, read);
        }
        for name in changes.gone {
            note(&mut self.bad_targets, &name, Ok(()));
            if let Some(group) = GroupName::new(name).ok().and_then(|name| self.groups.get(&name)) {
                group.forget();
            }
        }
    }

    fn take_routes(&mut self) {
        let changes = match self.routes.look() {
            Ok(changes) => changes,
            Err(e) => return note(&mut self.bad_routes, "", Err(format!("routes cannot be read: {e}"))),
        };
        note(&mut self.bad_routes, "", Ok(()));
        for (name, path) in changes.changed {
            let read = self.take_route(&name, &path);
            note(&mut self.bad_routes, &name, read);
        }
        for name in changes.gone {
            note(&mut self.bad_routes, &name, Ok(()));
            if let Ok(name) = RouteName::new(name) {
                self.ways.remove(&name); // with its listener
                self.applied.routes.remove(&name);
            }
        }
    }

    fn take_route(&mut self, name: &str, path: &Path) -> Result<(), String> {
        let DeclareRoute { stamp, spec } = read_json(path)?;
        if spec.route.as_str() != name {
            return Err(format!("{}: it is about {}", path.display(), spec.route));
        }
        let share = check_weights(&spec.weights).map_err(|why| format!("{}: {why}", path.display()))?;
        let groups: Vec<_> = spec.weights.keys().map(|group| self.group(group)).collect();
        if self.applied.routes.get(&spec.route) != Some(&spec) {
            self.applied.counters.swaps += 1;
            self.applied.routes.insert(spec.route.clone(), spec.clone());
        }
        let Some(served) = self.ways.get(&spec.route) else {
            let way = Arc::new(Way::new(stamp, spec.clone(), share, groups));
            self.ways.insert(spec.route, Served { way, listener: None, bind_at_ms: 0 });
            return Ok(());
        };
        let old = served.way.table();
        let routed = spec.weights.clone();
        served.way.swap(stamp, spec, share, groups);
        // Whoever lost its weight loses our idle sockets too; what is in use goes on.
        for group in old.groups.iter().filter(|g| routed.get(&g.name).is_none_or(|w| *w == 0)) {
            group.members().targets.iter().for_each(|target| target.pool.clear());
        }
        Ok(())
    }

    fn take_ports(&mut self, open: &Arc<Open>) {
        let now = now_ms();
        let wishes: Vec<_> = self.ways.values().map(|s| s.way.table().spec.settings.listen).collect();
        // One route may want the port that another is about to leave.
        for (served, wish) in self.ways.values_mut().zip(&wishes) {
            if served.listener.as_ref().is_some_and(|l| l.addr != *wish && wishes.contains(&l.addr)) {
                served.listener = None;
            }
        }
        for (served, wish) in self.ways.values_mut().zip(&wishes) {
            if served.listener.as_ref().is_some_and(|l| l.addr == *wish) {
                listen::say(&served.way, None);
            } else if now >= served.bind_at_ms {
                match Listener::open(*wish, &served.way, open) {
                    // The old one, if any, falls here: after the new one is there.
                    Ok(listener) => {
                        served.listener = Some(listener);
                        self.applied.counters.listeners += 1;
                        listen::say(&served.way, None);
                    }
                    Err(why) => {
                        served.bind_at_ms = now + BIND_AGAIN_MS;
                        listen::say(&served.way, Some(why));
                    }
                }
            }
        }
    }

    fn sweep(&mut self) {
        let now = now_ms();
        if now < self.swept_at_ms + SWEEP_MS {
            return;
        }
        self.swept_at_ms = now;
        for group in self.groups.values() {
            group.members().targets.iter().for_each(|target| target.pool.sweep());
        }
    }

    /// For targets that are marked draining, once 0 is final. Our idle sockets to them were closed when they were marked.
    fn tell_drained(&self, layout: &Layout) {
        for group in self.groups.values() {
            for target in &group.members().targets {
                let due = target.draining.load(SeqCst) && target.account.is_drained() && !target.told.load(SeqCst);
                if !due {
                    continue;
                }
                match write_durable(&layout.drained(&target.id), b"nothing is in flight and nothing will be\n") {
                    Ok(()) => target.told.store(true, SeqCst),
                    Err(e) => tracing::warn!("{}: {e}", layout.drained(&target.id).display()),
                }
            }
        }
    }

    fn forget_useless(&mut self) {
        let now = now_ms();
        let routed = |name: &GroupName| self.ways.values().any(|s| s.way.table().spec.weights.contains_key(name));
        let useless: Vec<_> = self
            .groups
            .values()
            .filter(|g| !g.members().known && g.in_flight.load(SeqCst) == 0 && !routed(&g.name))
            .map(|g| g.name.clone())
            .collect();
        self.useless_since_ms.retain(|name, _| useless.contains(name));
        for name in useless {
            let since = *self.useless_since_ms.entry(name.clone()).or_insert(now);
            if now.saturating_sub(since) > FORGET_MS {
                self.groups.remove(&name);
                self.useless_since_ms.remove(&name);
            }
        }
    }
}

fn read_targets(name: &str, path: &Path) -> Result<TargetFile, String> {
    let file: TargetFile = read_json(path)?;
    if file.group.as_str() != name {
        return Err(format!("{}: it is about {}", path.display(), file.group));
    }
    Ok(file)
}

/// Says a trouble once, when it begins, and once when it is over.
fn note(bad: &mut BTreeMap<String, String>, name: &str, result: Result<(), String>) {
    match result {
        Ok(()) => {
            if bad.remove(name).is_some() {
                tracing::info!("{name}: good again");
            }
        }
        Err(why) => {
            if bad.get(name) != Some(&why) {
                tracing::warn!("{why}; the last good one stays in use");
            }
            bad.insert(name.to_string(), why);
        }
    }
}
