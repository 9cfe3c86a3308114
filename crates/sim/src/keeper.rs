//! The simulated provider: accepts declarations by stamp; launches, replaces, drains and ends servers, tick by tick.
//!
//! ```text
//!  launched          booted            scaled in, or its group is gone
//!  ───────▶ Booting ───────▶ Up ──────────────────────────────▶ Draining ─▶ nothing
//!              └──────────────┴─ killed by a fault, or exits by its release's defect ─▶ replaced (a check's is kept)
//! ```

use crate::rng::Rng;
use crate::scenario::{Kind, MIGRATION_TICKS, Migration, TICK_MS};
use model::{
    DesiredGroup, DesiredSeen, Digest, Exit, GroupName, GroupSeen, GroupSpec, InstanceId, InstanceSeen, InstanceState, OneShotEnd, Release,
    Stamp, Time,
};
use std::collections::BTreeMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServerState {
    Booting { until: u64 },
    Up { since: u64, healthy: bool },
    Draining { until: u64 },
    Exited { code: i32, at: u64 },
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub id: InstanceId,
    pub started: u64,
    pub state: ServerState,
}

#[derive(Clone, Debug)]
pub(crate) struct Group {
    pub stamp: Option<Stamp>,
    /// None: the group is gone permanently.
    pub desired: Option<u32>,
    pub release: u64,
    pub digest: Option<Digest>,
    pub once: bool,
    /// How its migration ended; it outlives the group.
    pub end: Option<Exit>,
    pub servers: Vec<Server>,
    pub deaths: u32,
    pub launched: u64,
    pub trouble: bool,
    /// Healthy servers that the engine did not end, that died, and that are not yet replaced.
    pub lost: u32,
}

impl Group {
    pub fn healthy(&self) -> u32 {
        self.count(|s| matches!(s.state, ServerState::Up { healthy: true, .. }))
    }

    /// Those that serve or will serve.
    pub fn exist(&self) -> u32 {
        self.count(|s| matches!(s.state, ServerState::Up { .. } | ServerState::Booting { .. }))
    }

    /// A one-shot server did not exit with 0.
    pub fn failed(&self) -> bool {
        self.servers.iter().any(|s| matches!(s.state, ServerState::Exited { code, .. } if code != 0))
    }

    fn count(&self, is: impl Fn(&Server) -> bool) -> u32 {
        u32::try_from(self.servers.iter().filter(|s| is(s)).count()).unwrap_or(u32::MAX)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Keeper {
    pub groups: BTreeMap<GroupName, Group>,
    /// Nothing can be launched until then.
    pub blocked_until: u64,
    /// It is down until then.
    pub down_until: u64,
    /// Its own probes began then.
    pub probes_since: u64,
    /// Releases declared so far, with their digests.
    digests: Vec<(Release, Digest)>,
}

/// What the keeper needs to know of the world for one tick.
pub(crate) struct Setting<'a> {
    pub now: u64,
    pub kill: u64,
    /// Each server dies with a chance of one half, all at once.
    pub zone_lost: bool,
    pub boot_ticks: u64,
    pub end_ticks: u64,
    pub ends_healthy_first: bool,
    pub kinds: &'a [Kind],
    pub routed: &'a [bool],
    pub migrations: &'a [Option<Migration>],
}

impl Keeper {
    /// Adds healthy servers that have been running for long.
    pub fn place_running(&mut self, name: &GroupName, release: &Release, count: u32, now: u64) {
        let mut group = Group {
            stamp: None,
            desired: Some(count),
            release: release.number,
            digest: Some(release.digest()),
            once: false,
            end: None,
            servers: Vec::new(),
            deaths: 0,
            launched: 0,
            trouble: false,
            lost: 0,
        };
        for _ in 0..count {
            let id = next_id(name, &mut group);
            group.servers.push(Server { id, started: now, state: ServerState::Up { since: now, healthy: true } });
        }
        self.groups.insert(name.clone(), group);
    }

    /// `Err`: refused: the stamp is older than the last one accepted, or the group runs another release.
    pub fn take(&mut self, stamp: Stamp, spec: &GroupSpec, fenced: bool) -> Result<(), &'static str> {
        let (count, release, digest, once) = match &spec.desired {
            DesiredGroup::Run { release, count, once } => (Some(*count), release.number, Some(self.digest(release)), once.is_some()),
            DesiredGroup::Gone => (None, 0, None, false),
        };
        let group = self.groups.entry(spec.group.clone()).or_insert_with(|| Group {
            stamp: None,
            desired: count,
            release,
            digest: digest.clone(),
            once,
            end: None,
            servers: Vec::new(),
            deaths: 0,
            launched: 0,
            trouble: false,
            lost: 0,
        });
        if fenced && group.stamp.is_some_and(|last| stamp < last) {
            return Err("stale-stamp");
        }
        if fenced && count.is_some() && group.stamp.is_some() && group.desired.is_none() {
            return Err("group-gone");
        }
        if count.is_some() && group.desired.is_some() && group.digest != digest {
            return Err("release-changed");
        }
        group.stamp = Some(stamp);
        group.desired = count;
        if count.is_some() {
            group.release = release;
            group.digest = digest;
        }
        Ok(())
    }

    fn digest(&mut self, release: &Release) -> Digest {
        if let Some((_, digest)) = self.digests.iter().find(|(known, _)| known == release) {
            return digest.clone();
        }
        let digest = release.digest();
        self.digests.push((release.clone(), digest.clone()));
        digest
    }

    pub fn tick(&mut self, set: &Setting, rng: &mut Rng) {
        let blocked = set.now < self.blocked_until;
        for (name, group) in &mut self.groups {
            if group.desired.is_none() && group.servers.is_empty() {
                continue;
            }
            let kind = set.kinds.get(usize::try_from(group.release).unwrap_or(0)).copied().unwrap_or(Kind::Good);
            let routed = set.routed.get(usize::try_from(group.release).unwrap_or(0)).copied().unwrap_or(false);
            if rng.chance(set.kill) && !group.servers.is_empty() {
                let place = rng.place(group.servers.len());
                die(group, place, 137, set.now);
            }
            if set.zone_lost {
                for place in (0..group.servers.len()).rev() {
                    if rng.chance(5_000) {
                        die(group, place, 137, set.now);
                    }
                }
            }
            age(group, kind, routed, set.now, rng);
            if is_migration(name) {
                let fate = set.migrations.get(usize::try_from(group.release).unwrap_or(0)).copied().flatten();
                migrate(name, group, blocked, fate, set.now, rng);
            } else if group.once {
                run_once(name, group, blocked, set, rng);
            } else {
                reconcile(name, group, blocked, set, rng);
            }
            let whole = group.desired.unwrap_or(0);
            group.lost = group.lost.min(whole.saturating_sub(group.healthy()));
        }
    }

    pub fn see(&self, name: &GroupName, now: u64, skew: u64) -> GroupSeen {
        let Some(group) = self.groups.get(name) else { return GroupSeen::unknown(name.clone()) };
        let desired = group.desired.map_or(DesiredSeen::Gone, |count| DesiredSeen::Run { release: group.release, count });
        let trouble = group.trouble.then(|| "no room".to_string());
        let release = group.digest.clone().filter(|_| group.desired.is_some());
        let probes = self.probes_since;
        let instances = group.servers.iter().map(|s| show(s, group.digest.as_ref(), probes, now, skew)).collect();
        GroupSeen {
            group: name.clone(),
            stamp: group.stamp,
            desired,
            release,
            instances,
            deaths: group.deaths,
            trouble,
            last_death: None,
            ended: group.end.clone().zip(group.digest.clone()).map(|(exit, release)| OneShotEnd { release, exit }),
        }
    }
}

/// By its name: the oracle reads the keeper's state, and shares no rule with the engine.
pub(crate) fn is_migration(name: &GroupName) -> bool {
    name.as_str().ends_with("-m")
}

fn next_id(name: &GroupName, group: &mut Group) -> InstanceId {
    group.launched += 1;
    InstanceId::new(format!("{name}-{}", group.launched)).expect("a group's name and a number")
}

/// A server ends by itself or by a fault; nothing declared it.
fn die(group: &mut Group, place: usize, code: i32, now: u64) {
    let server = &mut group.servers[place];
    match server.state {
        ServerState::Exited { .. } => return,
        ServerState::Up { healthy: true, .. } if !group.once => group.lost += 1,
        _ => {}
    }
    let draining = matches!(server.state, ServerState::Draining { .. });
    if group.once && !draining {
        server.state = ServerState::Exited { code, at: now };
        return;
    }
    group.servers.remove(place);
    group.deaths += u32::from(!draining);
}

/// Boots end, drains end, and the release's defects show.
fn age(group: &mut Group, kind: Kind, routed: bool, now: u64, rng: &mut Rng) {
    let mut place = 0;
    while place < group.servers.len() {
        let before = group.servers.len();
        match group.servers[place].state {
            ServerState::Booting { until } if until <= now => {
                let healthy = kind != Kind::NeverHealthy && kind != Kind::CrashLoop;
                group.servers[place].state = ServerState::Up { since: now, healthy };
                group.lost = group.lost.saturating_sub(u32::from(healthy));
            }
            ServerState::Draining { until } if until <= now => {
                group.servers.remove(place);
            }
            ServerState::Up { since, .. } if !group.once => {
                let age_ms = now - since;
                let crashes = kind == Kind::CrashLoop && rng.chance(5_000);
                let tires = kind == Kind::BadAtWork && !routed && age_ms >= 6 * TICK_MS;
                let leaks = kind == Kind::Leaks && age_ms >= 20 * TICK_MS;
                let healthy = matches!(group.servers[place].state, ServerState::Up { healthy: true, .. });
                if kind == Kind::Hangs && healthy && age_ms >= 15 * TICK_MS {
                    group.servers[place].state = ServerState::Up { since, healthy: false };
                    group.lost += 1;
                }
                let replaced = kind == Kind::Hangs && age_ms >= 20 * TICK_MS;
                if crashes || tires || leaks || replaced {
                    die(group, place, 1, now);
                }
            }
            _ => {}
        }
        place += usize::from(group.servers.len() == before);
    }
}

/// A migration: launched once, never again. How it ended is remembered when it has ended, and nobody saw the end of one that was killed.
fn migrate(name: &GroupName, group: &mut Group, blocked: bool, fate: Option<Migration>, now: u64, rng: &mut Rng) {
    let ended = |code: i32, lost: bool, timed_out: bool| Some(Exit { lost, timed_out, ..Exit::new(code, Time(now)) });
    if let Some(server) = group.servers.first() {
        let ran = (now - server.started) / TICK_MS;
        let takes = fate.map_or(0, |fate| fate.ticks);
        let killed = if let ServerState::Exited { code, .. } = server.state { Some(code) } else { None };
        group.end = group.end.take().or(match (killed, group.desired) {
            (Some(code), _) => ended(code, true, false),
            // It may be done when it is asked to end.
            (None, None) => ended(if rng.chance(3_000) { 0 } else { 143 }, false, false),
            (None, Some(_)) if ran >= MIGRATION_TICKS => ended(137, false, true),
            (None, Some(_)) if ran >= takes => ended(fate.map_or(0, |fate| fate.code), false, false),
            (None, Some(_)) => None,
        });
        if let Some(exit) = &group.end {
            group.servers[0].state = ServerState::Exited { code: exit.code, at: now };
        }
    }
    if group.desired.is_none() {
        group.servers.clear();
        return;
    }
    group.trouble = blocked && group.launched == 0;
    if group.launched == 0 && !blocked {
        let id = next_id(name, group);
        group.servers.push(Server { id, started: now, state: ServerState::Up { since: now, healthy: true } });
    }
}

/// A check: launched once, never again; its exit is kept until the group is retired.
fn run_once(name: &GroupName, group: &mut Group, blocked: bool, set: &Setting, rng: &mut Rng) {
    if group.desired.is_none() {
        group.servers.clear();
        return;
    }
    group.trouble = blocked && group.launched == 0;
    if group.launched == 0 && !blocked {
        let id = next_id(name, group);
        let until = set.now + rng.between(1, 3) * TICK_MS;
        group.servers.push(Server { id, started: set.now, state: ServerState::Booting { until } });
    }
    let kind = set.kinds.get(usize::try_from(group.release).unwrap_or(0)).copied().unwrap_or(Kind::Good);
    for server in &mut group.servers {
        if let ServerState::Up { since, .. } = server.state
            && since < set.now
        {
            server.state = ServerState::Exited { code: i32::from(kind == Kind::BadCheck), at: set.now };
        }
    }
}

fn reconcile(name: &GroupName, group: &mut Group, blocked: bool, set: &Setting, rng: &mut Rng) {
    let desired = group.desired.unwrap_or(0);
    group.trouble = blocked && group.exist() < desired;
    while group.exist() < desired && !blocked {
        let id = next_id(name, group);
        let until = set.now + rng.between(1, set.boot_ticks) * TICK_MS;
        group.servers.push(Server { id, started: set.now, state: ServerState::Booting { until } });
    }
    while group.exist() > desired {
        let serving = |s: &Server| matches!(s.state, ServerState::Up { .. } | ServerState::Booting { .. });
        let healthy = |s: &Server| matches!(s.state, ServerState::Up { healthy: true, .. });
        let expected = group.servers.iter().position(|s| serving(s) && healthy(s) == set.ends_healthy_first);
        let Some(place) = expected.or_else(|| group.servers.iter().position(serving)) else { break };
        group.servers[place].state = ServerState::Draining { until: set.now + rng.between(1, set.end_ticks) * TICK_MS };
    }
}

fn show(server: &Server, release: Option<&Digest>, probes: u64, now: u64, skew: u64) -> InstanceSeen {
    let (state, healthy_ms, exit) = match server.state {
        ServerState::Booting { .. } => (InstanceState::Starting, None, None),
        ServerState::Up { since, healthy } => (InstanceState::Running, healthy.then(|| now - since.max(probes)), None),
        ServerState::Draining { .. } => (InstanceState::Draining, Some(now - server.started), None),
        ServerState::Exited { code, at } => (InstanceState::Exited, None, Some(Exit::new(code, Time(at + skew)))),
    };
    InstanceSeen {
        id: server.id.clone(),
        state,
        release: release.cloned(),
        addr: None,
        started: Time(server.started + skew),
        healthy_ms,
        exit,
        failed_probe: None,
        refused: Vec::new(),
    }
}
