//! Makes the data plane's state equal to the files, pass after pass.
//!
//! ```text
//!   read targets/*.json ─▶ groups, probes     read routes/*.json ─▶ one swap per route, listeners
//!          └───────── then: close idle connections, write drained files, write `applied.json` ─────────┘
//! ```
//!
//! Level-triggered: a pass reads what is there, does what is missing, and is the same whether anything happened or not.
//! A damaged or missing file changes nothing: the last good content stays in use and an alarm is raised. After a restart the last
//! good route is that of `applied.json`. A route ends by a file that removes it, a target by a file that does not list it.

use crate::admission::Admission;
use crate::applied::{self, Applied};
use crate::clock::now_ms;
use crate::descriptors::Limits;
use crate::group::Group;
use crate::health_check;
use crate::listen::{self, Listener};
use crate::mutex::lock;
use crate::route_table::{RouteTable, check_weights};
use crate::state_files::{Folder, read_json, write_durable, write_json};
use crate::target::Shared;
use api::proxy::DeclareRoute;
use disk::state::Found;
use model::{Gateway, GroupName, Layout, RouteAddress, RouteName, Stamp, TargetFile};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex};

const SWEEP_MS: u64 = 250;
const BIND_RETRY_MS: u64 = 1_000;
/// A group without file, weight and requests is forgotten after this time. Its name is never used again.
const FORGET_MS: u64 = 600_000;

pub struct Reconciler {
    pub layout: Layout,
    pub epoch: u64,
    pub shared: Arc<Shared>,
    pub admission: Arc<Admission>,
    pub state: Mutex<State>,
}

pub struct State {
    pub groups: BTreeMap<GroupName, Arc<Group>>,
    pub routes: BTreeMap<RouteName, ServedRoute>,
    /// By file name: which file is damaged or missing, and how.
    pub bad_routes: BTreeMap<String, String>,
    pub bad_targets: BTreeMap<String, String>,
    /// What is wrong with `applied.json`.
    pub bad_applied: Option<String>,
    pub applied: Applied,
    /// The content of `applied.json` on disk.
    written: Applied,
    route_files: Folder,
    target_files: Folder,
    swept_at_ms: u64,
    unused_since_ms: BTreeMap<GroupName, u64>,
}

pub struct ServedRoute {
    pub table: Arc<RouteTable>,
    /// An internal route has one for each family.
    listeners: Vec<Listener>,
    bind_at_ms: u64,
}

impl Reconciler {
    /// Never fails because of a missing file or a full disk: what cannot be written raises an alarm, and traffic continues.
    pub fn start(layout: Layout, wall_ms: u64) -> Self {
        let path = applied::path(&layout);
        let (mut applied, mut bad_applied) = match read_json::<Applied>(&path) {
            Found::Good(good) => (good.value, good.damage),
            Found::Absent => (Applied::default(), None),
            Found::Damaged(why) => (Applied::default(), Some(format!("{why}; counters start at 0"))),
        };
        let written = applied.clone();
        // No epoch is used twice, even if the wall clock was set back.
        applied.epoch = wall_ms.max(applied.epoch + 1);
        if let Some(why) = &bad_applied {
            tracing::warn!("{why}");
        }
        let mut routes = BTreeMap::new();
        let mut groups = BTreeMap::new();
        for (route, spec) in &applied.routes {
            // In use until the route's own file is read, and longer if that is damaged or missing.
            let stamp = applied.stamps.get(route).copied().unwrap_or(Stamp { fence: model::Fence(0), seq: 0 });
            match check_weights(&spec.weights) {
                Ok(share) => {
                    let members = spec.weights.keys().map(|name| group_in(&mut groups, name)).collect();
                    let table = Arc::new(RouteTable::new(stamp, spec.clone(), share, members));
                    routes.insert(route.clone(), ServedRoute { table, listeners: Vec::new(), bind_at_ms: 0 });
                }
                Err(why) => bad_applied = Some(format!("{}: route {route}: {why}", path.display())),
            }
        }
        let state = State {
            groups,
            routes,
            bad_routes: BTreeMap::new(),
            bad_targets: BTreeMap::new(),
            bad_applied,
            written,
            route_files: Folder::new(layout.routes()),
            target_files: Folder::new(layout.targets()),
            swept_at_ms: 0,
            unused_since_ms: BTreeMap::new(),
            applied,
        };
        let epoch = state.applied.epoch;
        let limits = Limits::of_process();
        tracing::info!("limits from the number of open files allowed: {limits:?}");
        Self { layout, epoch, shared: Shared::new(limits.idle_upstream), admission: Admission::new(limits), state: Mutex::new(state) }
    }

    /// One pass. Blocks on the disk, so it must not run on an async thread.
    pub fn reconcile(&self) {
        let mut state = lock(&self.state);
        state.apply_target_files(&self.shared);
        state.apply_route_files();
        state.open_listeners(&self.layout, &self.admission);
        state.sweep();
        state.report_drained(&self.layout);
        state.forget_unused();
        // Traffic has moved already; the file follows, now or once the disk has space.
        state.write_applied(&self.layout);
    }

    /// No new connections; those that are open end after the response in progress.
    pub fn stop_listening(&self) {
        for served in lock(&self.state).routes.values_mut() {
            served.listeners.clear();
        }
    }
}

fn addresses(listen: RouteAddress, gateway: &Result<Gateway, String>) -> Result<Vec<SocketAddr>, String> {
    match listen {
        RouteAddress::Edge(address) => Ok(vec![address]),
        RouteAddress::Internal(port) => {
            gateway.clone().map(|gateway| gateway.addresses().into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
        }
    }
}

fn gateway(layout: &Layout) -> Result<Gateway, String> {
    match read_json::<Gateway>(&layout.gateway()) {
        Found::Good(good) => Ok(good.value),
        Found::Absent => Err("the keeper has not yet said where its servers' gateway is".to_string()),
        Found::Damaged(why) => Err(why),
    }
}

impl State {
    fn group(&mut self, name: &GroupName) -> Arc<Group> {
        group_in(&mut self.groups, name)
    }

    fn write_applied(&mut self, layout: &Layout) {
        if self.applied == self.written {
            return;
        }
        match write_json(&applied::path(layout), &self.applied) {
            Ok(()) => {
                self.written = self.applied.clone();
                if self.bad_applied.take().is_some() {
                    tracing::info!("applied.json was rewritten");
                }
            }
            Err(fault) => {
                let why = format!("{}; traffic continues", fault.message);
                if self.bad_applied.as_ref() != Some(&why) {
                    tracing::warn!("{why}");
                }
                self.bad_applied = Some(why);
            }
        }
    }

    fn apply_target_files(&mut self, shared: &Arc<Shared>) {
        let changes = match self.target_files.changes() {
            Ok(changes) => changes,
            Err(e) => return note(&mut self.bad_targets, "", Err(format!("cannot read the target files: {e}"))),
        };
        note(&mut self.bad_targets, "", Ok(()));
        for (name, path) in changes.changed {
            let read = read_targets(&name, &path).map(|(file, damage)| {
                let group = self.group(&file.group);
                for target in group.apply(file, shared) {
                    tokio::spawn(health_check::keep_probing(group.clone(), target));
                }
                damage
            });
            note(&mut self.bad_targets, &name, problem(read));
        }
        for name in changes.gone {
            let group = GroupName::new(name.clone()).ok().and_then(|name| self.groups.get(&name));
            let targets = group.map_or(0, |group| group.members().targets.len());
            if targets > 0 {
                let why =
                    format!("targets/{name}.json is missing; the {targets} servers it listed stay in use, and the keeper writes it again");
                note(&mut self.bad_targets, &name, Err(why));
                continue;
            }
            note(&mut self.bad_targets, &name, Ok(()));
            if let Some(group) = group {
                group.forget();
            }
        }
    }

    fn apply_route_files(&mut self) {
        let changes = match self.route_files.changes() {
            Ok(changes) => changes,
            Err(e) => return note(&mut self.bad_routes, "", Err(format!("cannot read the route files: {e}"))),
        };
        note(&mut self.bad_routes, "", Ok(()));
        for (name, path) in changes.changed {
            let read = self.apply_route_file(&name, &path);
            note(&mut self.bad_routes, &name, problem(read));
        }
        // Both copies are missing, now or since before this process started: the route continues as it was applied last.
        let missing: Vec<String> = self.routes.keys().map(ToString::to_string).filter(|name| !self.route_files.has(name)).collect();
        for name in missing {
            let why = format!("routes/{name}.json is missing; the route continues as it was applied last");
            note(&mut self.bad_routes, &name, Err(why));
        }
        for name in changes.gone.iter().filter(|name| !self.routes.keys().any(|route| route.as_str() == name.as_str())) {
            note(&mut self.bad_routes, name, Ok(()));
        }
    }

    /// Ok: applied, with what is wrong with one of the copies.
    fn apply_route_file(&mut self, name: &str, path: &Path) -> Result<Option<String>, String> {
        let (DeclareRoute { stamp, spec }, damage) = read(path)?;
        if spec.route.as_str() != name {
            return Err(format!("{}: it describes {}", path.display(), spec.route));
        }
        if spec.gone {
            self.routes.remove(&spec.route); // closes its listener
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
        let Some(served) = self.routes.get(&spec.route) else {
            let table = Arc::new(RouteTable::new(stamp, spec.clone(), share, groups));
            self.routes.insert(spec.route, ServedRoute { table, listeners: Vec::new(), bind_at_ms: 0 });
            return Ok(damage);
        };
        let old = served.table.snapshot();
        let weights = spec.weights.clone();
        served.table.swap(stamp, spec, share, groups);
        // Idle connections to a group that lost its weight are closed; those in use continue.
        for group in old.groups.iter().filter(|g| weights.get(&g.name).is_none_or(|w| *w == 0)) {
            group.members().targets.iter().for_each(|target| target.pool.clear());
        }
        Ok(damage)
    }

    fn open_listeners(&mut self, layout: &Layout, admission: &Arc<Admission>) {
        let now = now_ms();
        let listens: Vec<RouteAddress> = self.routes.values().map(|s| s.table.snapshot().spec.settings.listen).collect();
        let has_internal = listens.iter().any(|listen| matches!(listen, RouteAddress::Internal(_)));
        let gateway = if has_internal { gateway(layout) } else { Err(String::new()) };
        let desired: Vec<Result<Vec<SocketAddr>, String>> = listens.iter().map(|listen| addresses(*listen, &gateway)).collect();
        let all: Vec<SocketAddr> = desired.iter().flatten().flatten().copied().collect();
        // A route may need the port that another is about to leave.
        for (served, own) in self.routes.values_mut().zip(&desired) {
            let Ok(own) = own else { continue };
            served.listeners.retain(|listener| own.contains(&listener.addr) || !all.contains(&listener.addr));
        }
        for ((served, own), listen) in self.routes.values_mut().zip(&desired).zip(&listens) {
            let own = match own {
                Ok(own) => own,
                Err(why) => {
                    // What is open stays open: the keeper may write the file again.
                    listen::set_listen_error(&served.table, served.listeners.is_empty().then(|| why.clone()));
                    continue;
                }
            };
            let missing: Vec<SocketAddr> = own.iter().filter(|addr| !served.listeners.iter().any(|l| l.addr == **addr)).copied().collect();
            if missing.is_empty() {
                served.listeners.retain(|listener| own.contains(&listener.addr));
                listen::set_listen_error(&served.table, None);
            } else if now >= served.bind_at_ms {
                let within = gateway.clone().ok().filter(|_| listen.edge().is_none());
                let opened: Result<Vec<Listener>, String> =
                    missing.into_iter().map(|addr| Listener::open(addr, within, &served.table, admission)).collect();
                match opened {
                    // Old listeners, if any, are closed here: after the new ones are open.
                    Ok(opened) => {
                        self.applied.counters.listeners += opened.len() as u64;
                        served.listeners.retain(|listener| own.contains(&listener.addr));
                        served.listeners.extend(opened);
                        listen::set_listen_error(&served.table, None);
                    }
                    Err(why) => {
                        served.bind_at_ms = now + BIND_RETRY_MS;
                        listen::set_listen_error(&served.table, Some(why));
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

    /// For targets that are marked draining, once 0 in flight is final. Their idle connections were closed when they were marked.
    fn report_drained(&self, layout: &Layout) {
        for group in self.groups.values() {
            for target in &group.members().targets {
                let due = target.draining.load(SeqCst) && target.account.is_drained() && !target.drain_reported.load(SeqCst);
                if !due {
                    continue;
                }
                match write_durable(&layout.drained(&target.id), b"no request is in flight and none will be\n") {
                    Ok(()) => target.drain_reported.store(true, SeqCst),
                    Err(e) => tracing::warn!("{}: {e}", layout.drained(&target.id).display()),
                }
            }
        }
    }

    fn forget_unused(&mut self) {
        let now = now_ms();
        let routed = |name: &GroupName| self.routes.values().any(|s| s.table.snapshot().spec.weights.contains_key(name));
        let unused: Vec<_> = self
            .groups
            .values()
            .filter(|g| !g.members().known && g.in_flight.load(SeqCst) == 0 && !routed(&g.name))
            .map(|g| g.name.clone())
            .collect();
        self.unused_since_ms.retain(|name, _| unused.contains(name));
        for name in unused {
            let since = *self.unused_since_ms.entry(name.clone()).or_insert(now);
            if now.saturating_sub(since) > FORGET_MS {
                self.groups.remove(&name);
                self.unused_since_ms.remove(&name);
            }
        }
    }
}

fn group_in(groups: &mut BTreeMap<GroupName, Arc<Group>>, name: &GroupName) -> Arc<Group> {
    groups.entry(name.clone()).or_insert_with(|| Arc::new(Group::new(name.clone()))).clone()
}

/// The newest intact copy, and what is wrong with the other.
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
        return Err(format!("{}: it describes {}", path.display(), file.group));
    }
    Ok((file, damage))
}

/// A file that was read from its spare copy is a problem too.
fn problem(read: Result<Option<String>, String>) -> Result<(), String> {
    match read {
        Ok(None) => Ok(()),
        Ok(Some(damage)) => Err(damage),
        Err(why) => Err(why),
    }
}

/// Logs a problem once when it starts, and once when it is over.
fn note(bad: &mut BTreeMap<String, String>, name: &str, result: Result<(), String>) {
    match result {
        Ok(()) => {
            if bad.remove(name).is_some() {
                tracing::info!("{name}: intact again");
            }
        }
        Err(why) => {
            if bad.get(name) != Some(&why) {
                tracing::warn!("{why}; the last good content stays in use");
            }
            bad.insert(name.to_string(), why);
        }
    }
}

#[cfg(test)]
mod tests;
