//! The data plane's picture of the world, made equal to the files again and again.
//!
//! ```text
//!   look at targets/*.json ─▶ groups, probes     look at routes/*.json ─▶ one swap a route, listeners
//!          └───────────────── then: close idle sockets, write drained files, write what changed ─────────┘
//! ```
//!
//! Level-triggered: a pass reads what is there, does what is missing, and is the same whether anything happened or not.
//! A file that is damaged or missing changes nothing: the last good one stays in use and the trouble is told. After a restart the last
//! good route is that of `applied.json`. A route ends by a file that says so, a target by a file without it.

use crate::admission::Admission;
use crate::clock::now_ms;
use crate::files::{Folder, read_json, write_durable, write_json};
use crate::group::{Common, Group, lock};
use crate::limits::Limits;
use crate::listen::{self, Listener};
use crate::probe;
use crate::way::{Way, check_weights};
use api::proxy::{DeclareRoute, ProxyCounters};
use disk::state::Found;
use model::{GroupName, Layout, RouteName, RouteSpec, Stamp, TargetFile};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

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
    #[serde(default)]
    pub stamps: BTreeMap<RouteName, Stamp>,
}

pub struct Plane {
    pub layout: Layout,
    pub epoch: u64,
    pub common: Arc<Common>,
    pub admission: Arc<Admission>,
    pub world: Mutex<World>,
}

pub struct World {
    pub groups: BTreeMap<GroupName, Arc<Group>>,
    pub ways: BTreeMap<RouteName, Served>,
    /// By file name: which file is bad, and how.
    pub bad_routes: BTreeMap<String, String>,
    pub bad_targets: BTreeMap<String, String>,
    /// Why `applied.json` is not as it should be.
    pub bad_applied: Option<String>,
    pub applied: Applied,
    /// What of `applied` is on the disk.
    written: Applied,
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
    /// Never fails for want of a file or of space: what cannot be written down is told, and traffic goes on.
    pub fn start(layout: Layout, wall_ms: u64) -> Self {
        let path = applied_file(&layout);
        let (mut applied, mut bad_applied) = match read_json::<Applied>(&path) {
            Found::Good(good) => (good.value, good.damage),
            Found::Absent => (Applied::default(), None),
            Found::Damaged(why) => (Applied::default(), Some(format!("{why}; counters begin at 0"))),
        };
        let written = applied.clone();
        // Never an epoch twice, also if the wall clock went back.
        applied.epoch = wall_ms.max(applied.epoch + 1);
        if let Some(why) = &bad_applied {
            tracing::warn!("{why}");
        }
        let mut ways = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for (route, spec) in &applied.routes {
            // Until its file is read; if that is damaged or gone, this is the last good one.
            let stamp = applied.stamps.get(route).copied().unwrap_or(Stamp { fence: model::Fence(0), seq: 0 });
            match check_weights(&spec.weights) {
                Ok(share) => {
                    let members = spec.weights.keys().map(|name| group_in(&mut groups, name)).collect();
                    let way = Arc::new(Way::new(stamp, spec.clone(), share, members));
                    ways.insert(route.clone(), Served { way, listener: None, bind_at_ms: 0 });
                }
                Err(why) => bad_applied = Some(format!("{}: route {route}: {why}", path.display())),
            }
        }
        let world = World {
            groups,
            ways,
            bad_routes: BTreeMap::new(),
            bad_targets: BTreeMap::new(),
            bad_applied,
            written,
            routes: Folder::new(layout.routes()),
            targets: Folder::new(layout.targets()),
            swept_at_ms: 0,
            useless_since_ms: BTreeMap::new(),
            applied,
        };
        let epoch = world.applied.epoch;
        let limits = Limits::of_process();
        tracing::info!("limits from the open files that are allowed: {limits:?}");
        Self { layout, epoch, common: Common::new(limits.kept), admission: Admission::new(limits), world: Mutex::new(world) }
    }

    /// One pass. It blocks on the disk: not for an async thread.
    pub fn reconcile(&self) {
        let mut world = lock(&self.world);
        world.take_targets(&self.common);
        world.take_routes();
        world.take_ports(&self.admission);
        world.sweep();
        world.tell_drained(&self.layout);
        world.forget_useless();
        // Traffic has moved already; the counters follow, now or once there is room.
        world.write_applied(&self.layout);
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
        group_in(&mut self.groups, name)
    }

    fn write_applied(&mut self, layout: &Layout) {
        if self.applied == self.written {
            return;
        }
        match write_json(&applied_file(layout), &self.applied) {
            Ok(()) => {
                self.written = self.applied.clone();
                if self.bad_applied.take().is_some() {
                    tracing::info!("applied.json is written again");
                }
            }
            Err(fault) => {
                let why = format!("{}; what is served goes on", fault.message);
                if self.bad_applied.as_ref() != Some(&why) {
                    tracing::warn!("{why}");
                }
                self.bad_applied = Some(why);
            }
        }
    }

    fn take_targets(&mut self, common: &Arc<Common>) {
        let changes = match self.targets.look() {
            Ok(changes) => changes,
            Err(e) => return note(&mut self.bad_targets, "", Err(format!("targets cannot be read: {e}"))),
        };
        note(&mut self.bad_targets, "", Ok(()));
        for (name, path) in changes.changed {
            let read = read_targets(&name, &path).map(|(file, damage)| {
                let group = self.group(&file.group);
                for target in group.take(file, common) {
                    tokio::spawn(probe::watch(group.clone(), target));
                }
                damage
            });
            note(&mut self.bad_targets, &name, told(read));
        }
        for name in changes.gone {
            let group = GroupName::new(name.clone()).ok().and_then(|name| self.groups.get(&name));
            let targets = group.map_or(0, |group| group.members().targets.len());
            if targets > 0 {
                let why = format!(
                    "targets/{name}.json is missing though it named {targets} servers, which stay in use; the keeper writes it again"
                );
                note(&mut self.bad_targets, &name, Err(why));
                continue;
            }
            note(&mut self.bad_targets, &name, Ok(()));
            if let Some(group) = group {
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
            note(&mut self.bad_routes, &name, told(read));
        }
        // Both copies missing, now or since before this process began: what was applied last goes on.
        let missing: Vec<String> = self.ways.keys().map(ToString::to_string).filter(|name| !self.routes.has(name)).collect();
        for name in missing {
            let why = format!("routes/{name}.json is missing; the route goes on as it was applied last");
            note(&mut self.bad_routes, &name, Err(why));
        }
        for name in changes.gone.iter().filter(|name| !self.ways.keys().any(|way| way.as_str() == name.as_str())) {
            note(&mut self.bad_routes, name, Ok(()));
        }
    }

    /// What was wrong with one of the copies, if the other did.
    fn take_route(&mut self, name: &str, path: &Path) -> Result<Option<String>, String> {
        let (DeclareRoute { stamp, spec }, damage) = read(path)?;
        if spec.route.as_str() != name {
            return Err(format!("{}: it is about {}", path.display(), spec.route));
        }
        if spec.gone {
            self.ways.remove(&spec.route); // with its listener
            self.applied.routes.remove(&spec.route);
            self.applied.stamps.insert(spec.route, stamp);
            return Ok(damage);
        }
        let share = check_weights(&spec.weights).map_err(|why| format!("{}: {why}", path.display()))?;
        let groups: Vec<_> = spec.weights.keys().map(|group| self.group(group)).collect();
        if self.applied.routes.get(&spec.route) != Some(&spec) {
            self.applied.counters.swaps += 1;
            self.applied.routes.insert(spec.route.clone(), spec.clone());
        }
        self.applied.stamps.insert(spec.route.clone(), stamp);
        let Some(served) = self.ways.get(&spec.route) else {
            let way = Arc::new(Way::new(stamp, spec.clone(), share, groups));
            self.ways.insert(spec.route, Served { way, listener: None, bind_at_ms: 0 });
            return Ok(damage);
        };
        let old = served.way.table();
        let routed = spec.weights.clone();
        served.way.swap(stamp, spec, share, groups);
        // Whoever lost its weight loses our idle sockets too; what is in use goes on.
        for group in old.groups.iter().filter(|g| routed.get(&g.name).is_none_or(|w| *w == 0)) {
            group.members().targets.iter().for_each(|target| target.pool.clear());
        }
        Ok(damage)
    }

    fn take_ports(&mut self, admission: &Arc<Admission>) {
        let now = now_ms();
        let wishes: Vec<_> = self.ways.values().map(|s| s.way.table().spec.settings.listen).collect();
        // One route may want the port that another is about to leave.
        for (served, desired) in self.ways.values_mut().zip(&wishes) {
            if served.listener.as_ref().is_some_and(|l| l.addr != *desired && wishes.contains(&l.addr)) {
                served.listener = None;
            }
        }
        for (served, desired) in self.ways.values_mut().zip(&wishes) {
            if served.listener.as_ref().is_some_and(|l| l.addr == *desired) {
                listen::say(&served.way, None);
            } else if now >= served.bind_at_ms {
                match Listener::open(*desired, &served.way, admission) {
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

fn group_in(groups: &mut BTreeMap<GroupName, Arc<Group>>, name: &GroupName) -> Arc<Group> {
    groups.entry(name.clone()).or_insert_with(|| Arc::new(Group::new(name.clone()))).clone()
}

/// The newest whole copy, and what is wrong with the other.
fn read<T: DeserializeOwned>(path: &Path) -> Result<(T, Option<String>), String> {
    match read_json(path) {
        Found::Good(good) => Ok((good.value, good.damage)),
        Found::Damaged(why) => Err(why),
        Found::Absent => Err(format!("{}: it is missing", path.display())),
    }
}

fn read_targets(name: &str, path: &Path) -> Result<(TargetFile, Option<String>), String> {
    let (file, damage): (TargetFile, _) = read(path)?;
    if file.group.as_str() != name {
        return Err(format!("{}: it is about {}", path.display(), file.group));
    }
    Ok((file, damage))
}

/// A file that was read from its spare is told as well.
fn told(read: Result<Option<String>, String>) -> Result<(), String> {
    match read {
        Ok(None) => Ok(()),
        Ok(Some(damage)) => Err(damage),
        Err(why) => Err(why),
    }
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

#[cfg(test)]
mod tests;
