//! What the keeper holds in memory. All of it can be read again from the disk; nothing here is the only copy of anything
//! but timers and pulses, which begin again with each keeper.

use crate::decide::{self, Stage, There};
use crate::declared::{Declared, Sum};
use crate::probe::Pulse;
use crate::record::{Ended, Ending, Record, Started};
use model::{Digest, Exit, GroupName, GroupSeen, GroupWish, InstanceId, InstanceSeen, InstanceState, WishSeen};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct State {
    pub groups: BTreeMap<GroupName, Group>,
    pub instances: BTreeMap<InstanceId, Instance>,
    /// The last byte of the address that was given last.
    pub last_address: u8,
}

/// A group's file, as it was read.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the large kind")]
pub enum Held {
    Good(Declared),
    /// It does not decode: nobody acts on this group until somebody mends it.
    Corrupt(String),
}

pub struct Group {
    pub held: Held,
    pub sum: Sum,
    pub trouble: Option<String>,
    /// Early deaths and failed launches in a row.
    pub streak: u32,
    pub last_death: Option<Instant>,
    /// No launch before this.
    pub not_before: Option<Instant>,
    /// Its objects are being checked and mounted.
    pub preparing: bool,
    /// They are.
    pub prepared: bool,
    /// What was mounted for it, until it is gone.
    pub objects: Vec<Digest>,
    /// The target file as it was written last.
    pub target: Option<Vec<u8>>,
}

pub struct Instance {
    pub record: Record,
    pub stage: Stage,
    pub started: Option<Started>,
    pub ending: Option<Ending>,
    pub ended: Option<Ended>,
    /// Its end has been counted and answered.
    pub settled: bool,
    pub pulse: Pulse,
}

impl Group {
    pub fn new(held: Held, sum: Sum) -> Self {
        Self {
            held,
            sum,
            trouble: None,
            streak: 0,
            last_death: None,
            not_before: None,
            preparing: false,
            prepared: false,
            objects: Vec::new(),
            target: None,
        }
    }

    pub fn declared(&self) -> Option<&Declared> {
        match &self.held {
            Held::Good(declared) => Some(declared),
            Held::Corrupt(_) => None,
        }
    }

    /// A launch failed, or what was launched ended too soon: the next waits longer.
    pub fn slow_down(&mut self, lived_ms: u64, now: Instant) {
        let since = self.last_death.map(|last| u64::try_from(now.duration_since(last).as_millis()).unwrap_or(u64::MAX));
        self.streak = decide::streak_after(self.streak, lived_ms, since);
        self.last_death = Some(now);
        self.not_before = Some(now + Duration::from_millis(decide::backoff_ms(self.streak)));
    }
}

impl Instance {
    pub fn new(record: Record) -> Self {
        Self { record, stage: Stage::Intended, started: None, ending: None, ended: None, settled: false, pulse: Pulse::default() }
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.record.release.port.map(|port| SocketAddr::from((self.record.ground.address, port)))
    }

    /// Whether the balancer may know of it: its program was launched and is not known to have ended.
    /// An adopted instance that a new keeper does not follow yet (`Launching`, but started) is one: it serves, and leaving it out would turn customers away.
    pub fn is_target(&self) -> bool {
        self.started.is_some() && self.ended.is_none() && matches!(self.stage, Stage::Launching | Stage::Up | Stage::Ending)
    }

    pub fn seen(&self, now: Instant) -> InstanceSeen {
        let state = match self.stage {
            Stage::Intended | Stage::Launching => InstanceState::Starting,
            Stage::Up if self.pulse.ever_passed => InstanceState::Running,
            Stage::Up => InstanceState::Starting,
            Stage::Ending => InstanceState::Draining,
            Stage::Dead | Stage::Removing if self.ending.is_some() => InstanceState::Draining,
            Stage::Dead | Stage::Removing => InstanceState::Exited,
        };
        InstanceSeen {
            id: self.record.id.clone(),
            state,
            release: Some(self.record.release.digest()),
            addr: self.address(),
            started: self.started.as_ref().map_or(self.record.created, |s| s.at),
            healthy_ms: if self.stage == Stage::Up { self.pulse.healthy_ms(now) } else { None },
            exit: self.ended.as_ref().map(|e| Exit { code: e.code, at: e.at }),
        }
    }
}

impl State {
    pub fn of_group(&self, group: &GroupName) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(move |i| i.record.group == *group)
    }

    pub fn there(&self, group: &GroupName) -> Vec<There> {
        let there = |i: &Instance| There {
            id: i.record.id.clone(),
            number: i.record.number,
            stage: i.stage,
            healthy: i.stage == Stage::Up && i.pulse.passing_since.is_some(),
        };
        self.of_group(group).map(there).collect()
    }

    pub fn seen(&self, name: &GroupName, now: Instant) -> GroupSeen {
        let mut seen = GroupSeen::unknown(name.clone());
        let mut instances: Vec<&Instance> = self.of_group(name).collect();
        instances.sort_by_key(|i| i.record.number);
        seen.instances = instances.into_iter().map(|i| i.seen(now)).collect();
        let Some(group) = self.groups.get(name) else { return seen };
        seen.deaths = group.sum.deaths;
        seen.trouble = group.trouble.clone();
        match &group.held {
            Held::Corrupt(why) => seen.trouble = Some(why.clone()),
            Held::Good(declared) => {
                seen.stamp = Some(declared.stamp);
                if let GroupWish::Run { release, .. } = &declared.spec.wish {
                    seen.release = Some(release.digest());
                }
                seen.wish = match &declared.spec.wish {
                    GroupWish::Run { release, count, .. } => WishSeen::Run { release: release.number, count: *count },
                    GroupWish::Gone => WishSeen::Gone,
                };
            }
        }
        seen
    }

    /// Whether an object may still be needed, by others than this instance.
    pub fn uses(&self, hex: &str, besides: Option<&InstanceId>) -> bool {
        let names = |release: &model::Release| release.image.hex() == hex || release.artifact.as_ref().is_some_and(|a| a.hex() == hex);
        let declared = self.groups.values().filter_map(Group::declared).any(|d| match &d.spec.wish {
            GroupWish::Run { release, .. } => names(release),
            GroupWish::Gone => false,
        });
        declared || self.instances.values().any(|i| Some(&i.record.id) != besides && names(&i.record.release))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Ground;
    use crate::testing::release;

    fn instance() -> Instance {
        let (id, group) = (model::InstanceId::new("web-r1-1-1").unwrap(), GroupName::new("web-r1-1").unwrap());
        let folder = std::path::PathBuf::new;
        let ground = Ground {
            runtime: folder(),
            runtime_state: folder(),
            cgroup: String::new(),
            image_mount: folder(),
            artifact_mount: None,
            mounts: folder(),
            log: folder(),
            bridge: String::new(),
            veth: String::new(),
            gateway: [198, 18, 0, 1].into(),
            address: [198, 18, 0, 2].into(),
        };
        Instance::new(Record { id, group, number: 1, release: release(1), once: None, created: model::Time(0), ground })
    }

    /// A keeper that was killed with -9 comes back while customers are being served: its servers stay known from its first look on.
    #[test]
    fn an_adopted_instance_stays_a_target_while_nobody_follows_it_yet() {
        let mut one = instance();
        assert!(!one.is_target(), "it was not launched");
        one.stage = Stage::Launching;
        assert!(!one.is_target(), "its program did not begin");
        one.started = Some(Started { pid: 7, pid_start: 1, at: model::Time(1), spent_ms: Vec::new() });
        for stage in [Stage::Launching, Stage::Up, Stage::Ending] {
            one.stage = stage;
            assert!(one.is_target(), "{stage:?}");
        }
        one.ended = Some(Ended { code: 0, at: model::Time(2), failed: None });
        assert!(!one.is_target(), "it has ended");
    }
}
