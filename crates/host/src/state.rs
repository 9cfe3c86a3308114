//! What the keeper holds in memory. All of it can be read again from the disk, except timers and probe histories, which restart with each
//! keeper.

use crate::decide::{self, Observed, Stage};
use crate::declared::{Declared, GroupSummary, MountPoints, OneShotSummary};
use crate::history::About;
use crate::probe_history::ProbeHistory;
use crate::record::{Ended, Ending, Record, Started};
use crate::scratch;
use disk::state::Mark;
use model::{
    DesiredGroup, DesiredSeen, Digest, Exit, FailedProbe, Fault, GroupName, GroupSeen, GroupSpec, InstanceId, InstanceSeen, InstanceState,
    OneShotEnd, Refused, Stamp, Target,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

#[derive(Default)]
pub struct State {
    pub groups: BTreeMap<GroupName, Group>,
    pub instances: BTreeMap<InstanceId, Instance>,
    /// The last byte of the last address given.
    pub last_address: u8,
    /// Instances that run and of which too little can be read to follow them: nothing is done to them.
    pub strays: BTreeMap<String, Stray>,
    /// When the files were last compared with what is known.
    pub verified: Option<Instant>,
}

pub struct Stray {
    pub why: String,
    pub group: Option<GroupName>,
    /// As it was reported to the balancer.
    pub target: Option<Target>,
}

/// A group's file, as it was read.
pub enum Held {
    Good(Declared),
    /// Both copies are damaged, or missing although the group has instances. Nothing is ended for that; `kept`, made from what is known of
    /// the instances, says what replaces those that die. None: nothing is known.
    Lost {
        why: String,
        kept: Option<Declared>,
    },
}

/// What was reported to the balancer of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Published {
    #[default]
    Unknown,
    /// There is no file, and none is needed.
    Nothing,
    /// This, in a file with this mark afterwards.
    File(Vec<u8>, Mark),
}

pub struct Group {
    pub held: Held,
    pub summary: GroupSummary,
    pub trouble: Option<String>,
    /// Early deaths and failed launches in a row.
    pub streak: u32,
    pub last_death: Option<Instant>,
    /// No launch before this.
    pub not_before: Option<Instant>,
    /// Its objects are being checked and mounted.
    pub preparing: bool,
    /// They are mounted.
    pub prepared: bool,
    pub prepared_at: Option<Instant>,
    pub mount_points: MountPoints,
    /// Its trouble is that another server of an exclusive service is there.
    pub blocked: bool,
    /// What was mounted for it, until the group is gone.
    pub objects: Vec<Digest>,
    pub published: Published,
    /// The mark of the declaration's file when it was last found undamaged.
    pub mark: Mark,
    /// How many replacements were created in a row for sick servers, when the last was, and when another may be.
    pub replacements: u32,
    pub last_replacement: Option<Instant>,
    pub no_replacement_before: Option<Instant>,
    /// Since when fewer servers are healthy than declared.
    pub short_since: Option<Instant>,
}

/// The bound of a reason why a program did not start.
const NOT_STARTED_BYTES_MAX: usize = 400;
/// After this time without a replacement the next is the first again.
const REPLACEMENTS_QUIET: Duration = Duration::from_secs(30 * 60);

pub struct Instance {
    pub record: Record,
    pub stage: Stage,
    pub started: Option<Started>,
    pub ending: Option<Ending>,
    pub ended: Option<Ended>,
    /// Its exit has been counted and handled.
    pub counted_dead: bool,
    /// It was launched by an earlier keeper.
    pub adopted: bool,
    pub probes: ProbeHistory,
    /// It passed a health check once, also for an earlier keeper.
    pub was_healthy: bool,
    /// Since when this keeper follows it.
    pub up_since: Option<Instant>,
    /// The history records that it is sick.
    pub sick_recorded: bool,
    /// How many of its processes killed at the memory limit are in the history.
    pub oom_kills: u64,
    /// The last lines that it printed, once it has ended.
    pub last_lines: Vec<String>,
    /// The last health check, if it failed.
    pub failed_probe: Option<FailedProbe>,
    /// What the firewall refused of it.
    pub refused: Vec<Refused>,
}

impl Group {
    /// Shown as the group's trouble.
    pub fn report(&mut self, fault: &Fault) {
        self.trouble = Some(match &fault.hint {
            Some(hint) => format!("{}; {hint}", fault.message),
            None => fault.message.clone(),
        });
    }

    pub fn new(held: Held, summary: GroupSummary) -> Self {
        Self {
            held,
            summary,
            trouble: None,
            streak: 0,
            last_death: None,
            not_before: None,
            preparing: false,
            prepared: false,
            prepared_at: None,
            mount_points: MountPoints::new(),
            blocked: false,
            objects: Vec::new(),
            published: Published::Unknown,
            mark: Mark::default(),
            replacements: 0,
            last_replacement: None,
            no_replacement_before: None,
            short_since: None,
        }
    }

    /// What the keeper reconciles to: as it was declared, or as far as it is still known.
    pub fn declared(&self) -> Option<&Declared> {
        match &self.held {
            Held::Good(declared) => Some(declared),
            Held::Lost { kept, .. } => kept.as_ref(),
        }
    }

    /// A replacement was created for a sick server: the next waits.
    pub fn slow_replacements(&mut self, now: Instant) {
        let quiet = self.last_replacement.is_none_or(|last| now.duration_since(last) > REPLACEMENTS_QUIET);
        self.replacements = if quiet { 1 } else { self.replacements.saturating_add(1) };
        self.last_replacement = Some(now);
        self.no_replacement_before = Some(now + Duration::from_millis(decide::replacement_pause_ms(self.replacements)));
    }

    /// A launch failed, or an instance ended too soon: the next launch waits longer.
    pub fn slow_down(&mut self, lived_ms: u64, now: Instant) {
        let since = self.last_death.map(|last| u64::try_from(now.duration_since(last).as_millis()).unwrap_or(u64::MAX));
        self.streak = decide::streak_after(self.streak, lived_ms, since);
        self.last_death = Some(now);
        self.not_before = Some(now + Duration::from_millis(decide::backoff_ms(self.streak)));
    }
}

impl Instance {
    pub fn new(record: Record) -> Self {
        Self {
            record,
            stage: Stage::Intended,
            started: None,
            ending: None,
            ended: None,
            counted_dead: false,
            adopted: false,
            probes: ProbeHistory::default(),
            was_healthy: false,
            up_since: None,
            sick_recorded: false,
            oom_kills: 0,
            last_lines: Vec::new(),
            failed_probe: None,
            refused: Vec::new(),
        }
    }

    /// How it ended, if it has.
    pub fn exit(&self) -> Option<Exit> {
        let ended = self.ended.as_ref()?;
        Some(Exit {
            code: ended.code,
            at: ended.at,
            out_of_memory: ended.by_oom(),
            memory_limit_bytes: ended.by_oom().then_some(self.record.release.limits.memory_bytes),
            timed_out: ended.timed_out,
            lost: ended.lost,
            not_started: ended.failed.as_ref().filter(|_| !ended.lost).map(|why| model::text::shown(why, NOT_STARTED_BYTES_MAX)),
            // Of a program that never ran, they are the runtime's own words for the reason.
            lines: if ended.failed.is_some() && !ended.lost && self.started.is_none() { Vec::new() } else { self.last_lines.clone() },
        })
    }

    /// `; health check GET /: 500 "no"`, or empty.
    pub fn probe_in_words(&self) -> String {
        self.failed_probe.as_ref().map_or_else(String::new, |probe| format!("; {probe}"))
    }

    /// What the history's entry is about.
    pub fn about(&self) -> About {
        About {
            service: Some(self.record.release.service.clone()),
            group: Some(self.record.group.clone()),
            instance: Some(self.record.id.clone()),
        }
    }

    /// How long it has failed its health checks, if that is too long: it needs a replacement.
    pub fn sick_ms(&self, now: Instant) -> Option<u64> {
        if self.stage != Stage::Up || self.record.once.is_some() {
            return None;
        }
        let health = &self.record.release.health;
        let (since_ms, at_most) = if self.was_healthy {
            (self.probes.unhealthy_ms(now)?, decide::sick_after_ms(health.every_ms, health.unhealthy_after))
        } else {
            let up = self.up_since?;
            (u64::try_from(now.saturating_duration_since(up).as_millis()).unwrap_or(u64::MAX), decide::NEVER_HEALTHY_MS)
        };
        (self.probes.passing_since.is_none() && since_ms >= at_most).then_some(since_ms)
    }

    /// Whether it may be healthy although this keeper does not know it yet.
    pub fn is_unknown(&self) -> bool {
        let runs = matches!(self.stage, Stage::Launching | Stage::Up);
        self.adopted && runs && !self.probes.is_conclusive(self.record.release.health.unhealthy_after)
    }

    pub fn address(&self) -> Option<SocketAddr> {
        self.record.release.port.map(|port| SocketAddr::from((self.record.placement.address, port)))
    }

    /// Whether it is reported to the balancer: its program was launched and is not known to have ended. An adopted instance that a new keeper
    /// does not follow yet (`Launching`, but started) is reported too: it serves, and omitting it would fail requests.
    pub fn is_target(&self) -> bool {
        self.started.is_some() && self.ended.is_none() && matches!(self.stage, Stage::Launching | Stage::Up | Stage::Ending)
    }

    pub fn seen(&self, now: Instant) -> InstanceSeen {
        let state = match self.stage {
            Stage::Intended | Stage::Launching => InstanceState::Starting,
            Stage::Up if self.probes.ever_passed || self.record.once.is_some() => InstanceState::Running,
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
            healthy_ms: if self.stage == Stage::Up { self.probes.healthy_ms(now) } else { None },
            exit: self.exit(),
            failed_probe: self.failed_probe.clone().filter(|_| self.stage == Stage::Up),
            scratch: self.started.as_ref().filter(|_| self.stage == Stage::Up).and_then(scratch::of),
            refused: self.refused.clone(),
        }
    }
}

impl State {
    pub fn of_group(&self, group: &GroupName) -> impl Iterator<Item = &Instance> {
        self.instances.values().filter(move |i| i.record.group == *group)
    }

    /// What had to be mounted for the last server of a group. None: it is not known.
    pub fn mount_points_of(&self, group: &GroupName) -> Option<MountPoints> {
        let remembered = self.groups.get(group).and_then(|group| group.summary.mount_points.clone());
        let newest = || self.of_group(group).max_by_key(|one| one.record.number).map(|one| one.record.placement.mount_points.clone());
        remembered.or_else(newest)
    }

    /// Addresses in use.
    pub fn addresses(&self) -> BTreeSet<Ipv4Addr> {
        let strays = self.strays.values().filter_map(|stray| match stray.target.as_ref()?.addr {
            SocketAddr::V4(addr) => Some(*addr.ip()),
            SocketAddr::V6(_) => None,
        });
        self.instances.values().map(|i| i.record.placement.address).chain(strays).collect()
    }

    /// `now`: the keeper does not replace servers of a group that was never healthy; the rotation that starts it decides.
    pub fn there(&self, group: &GroupName, now: Instant) -> Vec<Observed> {
        let proven = self.groups.get(group).is_some_and(|g| g.summary.proven);
        let there = |i: &Instance| Observed {
            id: i.record.id.clone(),
            number: i.record.number,
            stage: i.stage,
            healthy: i.stage == Stage::Up && i.probes.passing_since.is_some(),
            sick: proven && i.sick_ms(now).is_some(),
            unknown: i.is_unknown(),
        };
        self.of_group(group).map(there).collect()
    }

    /// The declaration derived from a group's instances, where its own file is lost: the newest release among them, the number that
    /// existed and were not ending, and the newest stamp.
    pub fn kept(&self, name: &GroupName) -> Option<Declared> {
        let staying: Vec<&Instance> = self.of_group(name).filter(|i| i.ending.is_none()).collect();
        let newest = self.of_group(name).max_by_key(|i| i.record.number)?;
        let stamp = self.of_group(name).filter_map(|i| i.record.stamp).max().unwrap_or(Stamp { fence: model::Fence(0), seq: 0 });
        let desired = DesiredGroup::Run {
            release: newest.record.release.clone(),
            count: u32::try_from(staying.len()).unwrap_or(u32::MAX),
            once: newest.record.once.clone(),
        };
        Some(Declared { stamp, spec: GroupSpec { group: name.clone(), service: newest.record.release.service.clone(), desired } })
    }

    pub fn seen(&self, name: &GroupName, now: Instant) -> GroupSeen {
        let mut seen = GroupSeen::unknown(name.clone());
        let mut instances: Vec<&Instance> = self.of_group(name).collect();
        instances.sort_by_key(|i| i.record.number);
        seen.instances = instances.into_iter().map(|i| i.seen(now)).collect();
        seen.exclusive = self.of_group(name).any(|one| one.record.release.exclusive && one.record.once.is_none());
        let Some(group) = self.groups.get(name) else { return seen };
        seen.deaths = group.summary.deaths;
        seen.last_death = group.summary.last_death.clone();
        let end = |one: &OneShotSummary| Some(OneShotEnd { release: one.release.clone(), exit: one.exit.clone()? });
        seen.ended = group.summary.one_shot.as_ref().and_then(end);
        seen.trouble = group.trouble.clone();
        if let Held::Lost { why, .. } = &group.held {
            seen.trouble = Some(why.clone());
        }
        if let Some(declared) = group.declared() {
            seen.stamp = Some(declared.stamp);
            if let DesiredGroup::Run { release, once, .. } = &declared.spec.desired {
                seen.exclusive |= release.exclusive && once.is_none();
                seen.release = Some(release.digest());
            }
            seen.desired = match &declared.spec.desired {
                DesiredGroup::Run { release, count, .. } => DesiredSeen::Run { release: release.number, count: *count },
                DesiredGroup::Gone => DesiredSeen::Gone,
            };
        }
        seen
    }

    /// Whether an object may still be needed, by others than this instance.
    pub fn uses(&self, hex: &str, besides: Option<&InstanceId>) -> bool {
        let names = |release: &model::Release| release.image.hex() == hex || release.artifact.as_ref().is_some_and(|a| a.hex() == hex);
        let declared = self.groups.values().filter_map(Group::declared).any(|d| match &d.spec.desired {
            DesiredGroup::Run { release, .. } => names(release),
            DesiredGroup::Gone => false,
        });
        declared || self.instances.values().any(|i| Some(&i.record.id) != besides && names(&i.record.release))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::instance;

    #[test]
    fn a_server_is_sick_when_it_was_healthy_and_fails_for_long() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut one = instance(1);
        (one.stage, one.up_since) = (Stage::Up, Some(begin));
        assert_eq!(one.sick_ms(at(decide::NEVER_HEALTHY_MS - 1)), None, "it may be slow to start");
        assert!(one.sick_ms(at(decide::NEVER_HEALTHY_MS)).is_some());
        one.was_healthy = true;
        one.probes.record(true, 3, at(0));
        let after = decide::sick_after_ms(one.record.release.health.every_ms, one.record.release.health.unhealthy_after);
        (0..3).for_each(|_| one.probes.record(false, 3, at(10)));
        assert_eq!((one.sick_ms(at(9 + after)), one.sick_ms(at(10 + after))), (None, Some(after)));
        one.probes.record(true, 3, at(11 + after));
        assert_eq!(one.sick_ms(at(20 + after)), None);
    }

    #[test]
    fn an_adopted_server_is_unknown_until_its_probes_are_conclusive() {
        let now = Instant::now();
        let mut one = instance(1);
        one.stage = Stage::Up;
        let after = one.record.release.health.unhealthy_after;
        assert!(!one.is_unknown(), "this keeper launched it: it was never healthy before");
        one.adopted = true;
        for (stage, unknown) in
            [(Stage::Intended, false), (Stage::Launching, true), (Stage::Up, true), (Stage::Ending, false), (Stage::Dead, false)]
        {
            one.stage = stage;
            assert_eq!(one.is_unknown(), unknown, "{stage:?}");
        }
        one.stage = Stage::Up;
        (1..after).for_each(|_| one.probes.record(false, after, now));
        assert!(one.is_unknown());
        one.probes.record(false, after, now);
        assert!(!one.is_unknown());
    }

    /// Its file is lost: what the instances' records say keeps them all.
    #[test]
    fn a_lost_declaration_is_kept_by_the_instances() {
        let mut state = State::default();
        let name = GroupName::new("web-r1-1").unwrap();
        assert_eq!(state.kept(&name), None);
        for number in 1..=4u64 {
            let mut one = instance(1);
            one.record.id = model::InstanceId::new(format!("web-r1-1-{number}")).unwrap();
            one.record.number = number;
            one.record.stamp = Some(crate::testing::stamp(number % 3, 7));
            one.ending = (number == 4).then_some(Ending { at: model::Time(1) });
            state.instances.insert(one.record.id.clone(), one);
        }
        let kept = state.kept(&name).unwrap();
        assert_eq!(kept.stamp, crate::testing::stamp(2, 7));
        assert!(matches!(kept.spec.desired, DesiredGroup::Run { count: 3, once: None, .. }), "{kept:?}");
    }

    /// A keeper that was killed with -9 restarts under traffic: its servers are known from its first pass on.
    #[test]
    fn an_adopted_instance_stays_a_target_while_nobody_follows_it_yet() {
        let mut one = instance(1);
        assert!(!one.is_target(), "it was not launched");
        one.stage = Stage::Launching;
        assert!(!one.is_target(), "its program did not begin");
        one.started = Some(Started { pid: 7, pid_start: 1, at: model::Time(1), spent_ms: Vec::new() });
        for stage in [Stage::Launching, Stage::Up, Stage::Ending] {
            one.stage = stage;
            assert!(one.is_target(), "{stage:?}");
        }
        one.ended = Some(Ended::new(0, None));
        assert!(!one.is_target(), "it has ended");
    }

    /// Found by a reader: a wrong command was reported three times, each time in the runtime's words.
    #[test]
    fn of_a_program_that_never_ran_only_the_reason_is_said() {
        let mut one = instance(1);
        one.last_lines = vec!["runc run failed: exec: \"x\": executable file not found in $PATH".to_string()];
        one.ended = Some(Ended::new(127, Some("the image has no program \"x\" in its PATH".to_string())));
        assert_eq!(one.exit().unwrap().to_string(), "not started: the image has no program \"x\" in its PATH");
        one.ended = Some(Ended::new(1, None));
        assert_eq!(one.exit().unwrap().lines.len(), 1, "what a program printed is kept");
    }
}
