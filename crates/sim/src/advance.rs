//! What happens in the world between two calls of a driver: time passes, the network delivers, keeper and balancer act,
//! faults come. The oracle judges each of it.

use crate::bug::Bug;
use crate::keeper::Setting;
use crate::scenario::TICK_MS;
use crate::trace::{describe_desired, describe_event};
use crate::world::{HOUR_MS, Machine, Message, World};
use model::{Event, EventLine, Fence, GroupName, GroupSpec, RotationId, RouteSpec, Stamp, Time};

/// This many old snapshots are kept, one every three ticks.
const SNAPSHOTS_MAX: usize = 12;

impl World {
    /// Sends a declaration. It may be lost, late or doubled; the answer does not tell which.
    pub fn send(&mut self, message: Message) {
        if self.chance(|f| f.lose) {
            self.say(|| "the network loses the declaration".to_string());
            return;
        }
        if self.chance(|f| f.double) {
            let due = self.later(40);
            self.net.push((due, message.clone()));
        }
        if self.chance(|f| f.delay) {
            let due = self.later(40);
            self.net.push((due, message));
        } else {
            if self.scenario.twice {
                self.arrive(message.clone());
            }
            self.arrive(message);
        }
    }

    /// What is due by now, in the order it was sent.
    pub fn deliver(&mut self) {
        while let Some(place) = self.net.iter().position(|(due, _)| *due <= self.now) {
            let (_, message) = self.net.remove(place);
            self.arrive(message);
        }
    }

    fn arrive(&mut self, message: Message) {
        match message {
            Message::Group(stamp, spec) => self.arrive_group(stamp, &spec),
            Message::Route(stamp, spec) => self.arrive_route(stamp, &spec),
            Message::Append { id, fence, seq, at, event, decided, who } => {
                self.say(|| format!("driver {who} wakes and writes what it had decided"));
                let _ = self.append(who, &id, fence, seq, at, &event, decided, false);
            }
        }
    }

    fn arrive_group(&mut self, stamp: Stamp, spec: &GroupSpec) {
        let fenced = self.bug != Some(Bug::NoFence);
        let before = self.keeper.groups.get(&spec.group).cloned();
        if let Err(code) = self.keeper.take(stamp, spec, fenced) {
            self.say(|| format!("{} refuses {stamp}: {code}", spec.group));
            return;
        }
        self.say(|| format!("{} accepts {stamp}: {}", spec.group, describe_desired(spec)));
        self.judge_group(stamp, spec, before.as_ref());
    }

    fn arrive_route(&mut self, stamp: Stamp, spec: &RouteSpec) {
        let fenced = self.bug != Some(Bug::NoFence);
        let before = self.balancer.stamp;
        if self.balancer.take(stamp, spec, self.now, fenced).is_err() {
            self.say(|| format!("the route refuses the stale stamp {stamp}"));
            return;
        }
        self.say(|| format!("the route accepts {stamp}: {:?}", spec.weights.iter().map(|(g, w)| format!("{g} {w}")).collect::<Vec<_>>()));
        self.judge_route(stamp, spec, before);
    }

    /// The store appends a line, or refuses it.
    #[allow(clippy::too_many_arguments, reason = "a line and who wrote it when")]
    pub fn append(
        &mut self,
        who: usize,
        id: &RotationId,
        fence: Fence,
        seq: u64,
        at: Time,
        event: &Event,
        decided: u64,
        fresh: bool,
    ) -> Result<(), rotation::Refused> {
        let checked = self.bug != Some(Bug::AppendWithoutLease);
        let line = self.store.append(id, fence, seq, at, event, checked)?;
        self.store.journals.iter_mut().filter(|j| j.id == *id).for_each(|j| j.decided.push(decided));
        self.events += 1;
        self.say(|| format!("driver {who} writes {}: {}", line.seq, describe_event(event)));
        self.judge_line(&line, seq, decided, fresh);
        self.lost_control_plane(&line);
        Ok(())
    }

    /// A control plane whose journal is lost left other code under the name that the first act uses.
    pub fn leave_behind(&mut self, name: &GroupName, stamp: Stamp, count: u32, before: bool) {
        let Some(act) = self.scenario.acts.first() else { return };
        if self.keeper.groups.contains_key(name) {
            return;
        }
        let mut release = act.release.clone();
        release.run = vec!["other".to_string()];
        self.say(|| format!("{name} exists with other code, from an unknown control plane, with the stamp {stamp}"));
        self.keeper.place_running(name, &release, count, self.now);
        if let Some(group) = self.keeper.groups.get_mut(name) {
            group.stamp = Some(stamp);
        }
        self.foreign = Some((name.clone(), before));
    }

    fn lost_control_plane(&mut self, line: &EventLine) {
        let (Some(lost), Event::StepStarted { step, stamp, .. }) = (self.scenario.lost, &line.event) else { return };
        let planned = self.oracle.plan.steps.get(*step as usize).map(|s| s.step.clone());
        let (Some(model::Step::Scale { group, count }), Some(to)) = (planned, &self.oracle.to) else { return };
        if lost.at_start && group == to.group && self.store.journals.len() == 1 {
            let stamp = if lost.same_stamp { *stamp } else { Stamp { fence: Fence(lost.fence), seq: lost.seq } };
            self.leave_behind(&group, stamp, count, false);
        }
    }

    /// Restores an older copy of the open journal, as after a lost disk. Keeper and balancer keep what they hold. The control plane
    /// was stopped for it: what it had sent has arrived, and what it had observed is forgotten.
    pub fn restore_backup(&mut self, part: u64) {
        let Some(len) = self.store.journals.last().map(|j| j.lines.len()) else { return };
        let lines = 1 + (len - 1) * usize::try_from(part).unwrap_or(0) / 1_000;
        for (_, message) in std::mem::take(&mut self.net) {
            self.arrive(message);
        }
        self.snapshots.clear();
        self.machines = self.machines.clone().map(|m| Machine { skew: m.skew, next_skew: m.next_skew, ..Machine::default() });
        let repeats = self.bug == Some(Bug::BackupRepeatsFences);
        self.store.restore_backup(lines, self.now, repeats);
        self.restored = true;
        self.say(|| format!("a copy of the journal with {lines} of {len} lines is restored"));
        self.reread();
    }

    /// One tick of everything that is not a driver.
    pub fn advance(&mut self) {
        self.now += TICK_MS;
        self.deliver();
        if self.chance(|f| f.no_launch) {
            self.keeper.blocked_until = self.later(30);
            self.say(|| "the keeper cannot launch anything for a while".to_string());
        }
        if self.chance(|f| f.balancer_restart) {
            self.balancer.restart(self.now);
            self.say(|| "the balancer's data plane restarts".to_string());
        }
        if self.chance(|f| f.keeper_restart) {
            self.keeper.down_until = self.later(5);
            self.keeper.probes_since = self.now;
            self.say(|| "the keeper restarts".to_string());
        }
        if self.chance(|f| f.no_listener) {
            self.balancer.trouble_until = self.later(30);
            self.say(|| "the route's address is in use".to_string());
        }
        if self.chance(|f| f.clock_step) {
            let (who, skew) = (self.rng.place(2), self.rng.below(rotation::CLOCKS_APART_MS + 1));
            // A process counts from the wall time at which it started: it sees the change only after a restart.
            self.machines[who].next_skew = Some(skew);
            self.say(|| format!("the clock of machine {who} is changed"));
        }
        if self.chance(|f| f.clock_set) {
            self.wall_ms = [0, HOUR_MS, 2 * HOUR_MS][self.rng.place(3)];
            let ahead = self.wall_ms / 1_000;
            self.say(|| format!("the wall clock is set to {ahead} s ahead"));
        }
        let zone_lost = self.chance(|f| f.zone_lost);
        if zone_lost {
            self.say(|| "a zone is lost".to_string());
        }
        let setting = Setting {
            zone_lost,
            now: self.now,
            kill: if self.noisy { self.faults.kill } else { 0 },
            boot_ticks: self.scenario.boot_ticks,
            end_ticks: self.scenario.end_ticks,
            ends_healthy_first: self.scenario.ends_healthy_first,
            kinds: &self.kinds,
            migrations: &self.migrations,
            routed: &self.routed,
        };
        self.keeper.tick(&setting, &mut self.rng);
        let (defects, groups) = (&self.defects, &self.keeper.groups);
        self.balancer.tick(&mut self.rng, self.now, self.scenario.endless_streams, |group| {
            let release = groups.get(group).map_or(0, |g| usize::try_from(g.release).unwrap_or(0));
            defects.get(release).copied().flatten()
        });
        self.judge_tick();
        self.remember();
    }

    fn remember(&mut self) {
        if self.noisy && self.faults.stale_view > 0 && self.now.is_multiple_of(3 * TICK_MS) {
            if self.snapshots.len() == SNAPSHOTS_MAX {
                self.snapshots.pop_front();
            }
            self.snapshots.push_back(self.snapshot());
        }
    }
}
