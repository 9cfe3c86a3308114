//! What must never happen, judged by code that is not the engine's: its own arithmetic, its own reading of the journal, and the
//! state of the simulated world instead of any view of it.

use crate::keeper::{Group, is_migration};
use crate::oracle_state::{Capacities, Count};
use crate::scenario::{Kind, TICK_MS};
use crate::world::{Message, World};
use model::{DesiredGroup, Direction, Event, EventLine, GroupName, GroupSpec, RotationCommand, RouteSpec, Stamp, Step, Verdict};
use std::collections::BTreeMap;

/// Servers that a share of the load needs, if `base` carry all of it. Computed without the engine's function.
fn share_of(base: u32, weight: u32) -> u32 {
    (0..=base).find(|n| n * 100 >= base * weight).unwrap_or(base)
}

impl World {
    pub fn judge_tick(&mut self) {
        self.judge_lateness();
        self.judge_migrations();
        let sum: u32 = self.balancer.weights.values().sum();
        if !self.balancer.weights.is_empty() && sum != 100 {
            self.fail(|| format!("the weights sum to {sum}"));
        }
        let base = self.oracle.base;
        let mut bad = None;
        for (name, weight) in &self.balancer.weights {
            let (have, lost, there) = self.keeper.groups.get(name).map_or((0, 0, false), |g| (g.healthy(), g.lost, g.desired.is_some()));
            let need = share_of(base, *weight);
            if !there {
                bad = Some(format!("{weight} % of the traffic is routed to {name}, which does not exist"));
            } else if have + lost < need || have + lost == 0 {
                bad =
                    Some(format!("{name} has {have} healthy ({lost} more were killed) for {weight} % of the traffic, which needs {need}"));
            }
        }
        let unrouted = |g: &Group| !g.once && !self.routed.get(usize::try_from(g.release).unwrap_or(0)).copied().unwrap_or(false);
        if !self.routed.contains(&true) {
            let have: u32 = self.keeper.groups.values().filter(|g| unrouted(g)).map(|g| g.healthy() + g.lost).sum();
            if have < base {
                bad = Some(format!("{have} are healthy or were killed; {base} are needed"));
            }
        }
        if let Some(why) = bad {
            self.fail(|| why);
        }
    }

    /// Read off the keeper alone: what ran, when, and how it ended.
    fn judge_migrations(&mut self) {
        let migrates: Vec<_> = self.scenario.acts.iter().filter(|a| a.migration.is_some()).map(|a| &a.release).collect();
        if migrates.is_empty() {
            return;
        }
        let mut bad = None;
        let mut running = 0;
        for (name, group) in &self.keeper.groups {
            let Some(digest) = &group.digest else { continue };
            if is_migration(name) {
                running += group.exist();
                if group.launched > 0 && self.oracle.migrations.insert(name.clone()) && self.oracle.migrated.contains(digest) {
                    bad = Some(format!("{name} migrates a release that was migrated before"));
                }
                if group.launched > 1 {
                    bad = Some(format!("{name} was launched {} times", group.launched));
                }
            } else if !group.once
                && group.launched > 0
                && !self.oracle.migrated.contains(digest)
                && migrates.iter().any(|release| release.number == group.release && release.digest() == *digest)
            {
                bad = Some(format!("servers of {name} were started, and its release is not migrated"));
            }
            if group.end.as_ref().is_some_and(|exit| exit.code == 0 && !exit.lost && !exit.timed_out) {
                self.oracle.migrated.insert(digest.clone());
            }
        }
        if running > 1 {
            bad = Some(format!("{running} migrations run at once"));
        }
        if let Some(why) = bad {
            self.fail(|| why);
        }
    }

    /// A declaration is sent: what it removes must not be needed. Judged by the world at this moment if the driver has just observed
    /// it, else by the view that the driver had.
    pub fn judge_declaration(&mut self, message: &Message, who: usize) {
        let machine = &self.machines[who];
        let capacities = if machine.snapshot.is_some() || machine.slow { machine.shown.clone() } else { self.capacities() };
        let (stamp, why) = match message {
            Message::Group(stamp, spec) => (*stamp, self.takes_needed_capacity(&capacities, spec)),
            Message::Route(stamp, spec) => (*stamp, self.overloads(&capacities, spec)),
            Message::Append { .. } => return,
        };
        if !self.oracle.stamps.contains(&stamp) {
            self.fail(|| format!("a declaration is sent with the stamp {stamp}, and no journal has a step that began with it"));
        }
        if let Some(why) = why {
            self.fail(|| why);
        }
    }

    fn capacities(&self) -> Capacities {
        let count = |g: &Group| Count { exist: g.exist(), healthy: g.healthy(), once: g.once, there: g.desired.is_some() };
        let groups = self.keeper.groups.iter().map(|(n, g)| (n.clone(), count(g))).collect();
        Capacities { groups, weights: self.balancer.weights.clone() }
    }

    fn serves(&self, capacities: &Capacities, name: &GroupName, count: &Count) -> bool {
        let release = self.keeper.groups.get(name).map_or(0, |g| usize::try_from(g.release).unwrap_or(0));
        let routed = self.routed.get(release).copied().unwrap_or(false);
        !count.once && (!routed || capacities.weight(name) > 0)
    }

    fn healthy_beside(&self, capacities: &Capacities, name: &GroupName) -> u32 {
        capacities.groups.iter().filter(|(n, c)| *n != name && self.serves(capacities, n, c)).map(|(_, c)| c.healthy).sum()
    }

    fn takes_needed_capacity(&self, capacities: &Capacities, spec: &GroupSpec) -> Option<String> {
        let group = capacities.groups.get(&spec.group)?;
        let weight = capacities.weight(&spec.group);
        let base = self.oracle.base;
        match &spec.desired {
            DesiredGroup::Run { count, .. } => {
                if *count >= group.exist || !self.serves(capacities, &spec.group, group) {
                    return None;
                }
                let left = group.healthy.saturating_sub(group.exist - count);
                let (need, all) = (share_of(base, weight), left + self.healthy_beside(capacities, &spec.group));
                (left < need || all < base).then(|| {
                    format!(
                        "{} is scaled to {count} while only {left} healthy are sure to remain there, {all} in total; {need} and {base} are needed",
                        spec.group
                    )
                })
            }
            DesiredGroup::Gone => {
                if group.once || !group.there {
                    return None;
                }
                // Traffic comes by the route: a leftover group without one carries none.
                let known = [&self.oracle.from, &self.oracle.to].into_iter().flatten().any(|s| s.group == spec.group);
                if !known && weight == 0 && !capacities.weights.is_empty() {
                    return None;
                }
                let forward = self.oracle.plan.direction == Direction::Forward;
                let old = forward && self.oracle.from.as_ref().is_some_and(|f| f.group == spec.group);
                let left = match &self.oracle.to {
                    Some(to) if old => capacities.groups.get(&to.group).map_or(0, |c| c.healthy),
                    _ if self.serves(capacities, &spec.group, group) => self.healthy_beside(capacities, &spec.group),
                    _ => return None,
                };
                (left < base).then(|| format!("{} is retired while {left} others are healthy and {base} are needed", spec.group))
            }
        }
    }

    /// The engine may route traffic to nobody: the release that the plan leads to is parked, has no route, or does not exist.
    fn may_route_to_nobody(&self) -> bool {
        let o = &self.oracle;
        let (to, count) = match o.plan.direction {
            Direction::Forward => (o.to.as_ref(), o.count),
            Direction::Back => (o.from.as_ref(), o.restored_count),
            Direction::Single => return false,
        };
        count == 0 || to.is_none_or(|to| to.release.route.is_none())
    }

    fn overloads(&self, capacities: &Capacities, spec: &RouteSpec) -> Option<String> {
        if spec.weights.is_empty() && !self.may_route_to_nobody() {
            return Some("traffic is routed to nobody, although the release that the plan leads to serves".to_string());
        }
        spec.weights.iter().find_map(|(name, weight)| {
            let healthy = capacities.groups.get(name).map_or(0, |c| c.healthy);
            let need = share_of(self.oracle.base, *weight).max(1);
            let grows = *weight > capacities.weight(name);
            (grows && healthy < need)
                .then(|| format!("{weight} % of the traffic is shifted to {name}, which has {healthy} healthy and needs {need}"))
        })
    }

    /// The keeper has accepted a declaration. `before`: what it knew of the group.
    pub fn judge_group(&mut self, stamp: Stamp, spec: &GroupSpec, before: Option<&Group>) {
        let name = &spec.group;
        let sure = self.faults.stale_view == 0 && self.faults.slow_decision == 0 && self.store.journals.len() == 1;
        if sure && self.foreign.as_ref().is_some_and(|(foreign, before)| *before && foreign == name) {
            self.fail(|| format!("{name} existed before this rotation, and accepts its {stamp}"));
        }
        let newest = self.oracle.newest.insert(name.clone(), stamp);
        if newest.is_some_and(|newest| stamp < newest) {
            self.fail(|| format!("{name} accepted the stamp {stamp} after {}", newest.unwrap_or_default()));
        }
        match &spec.desired {
            DesiredGroup::Run { release, .. } => {
                if self.oracle.gone.contains(name) {
                    self.fail(|| format!("the group name {name} is reused"));
                }
                let first = *self.oracle.releases.entry(name.clone()).or_insert(before.map_or(release.number, |g| g.release));
                if first != release.number {
                    self.fail(|| format!("{name} changed its release from {first} to {}", release.number));
                }
            }
            DesiredGroup::Gone => {
                self.oracle.gone.insert(name.clone());
                let Some(before) = before.filter(|g| g.desired.is_some()) else { return };
                let weight = self.balancer.weight(name);
                if weight > 0 && !before.once {
                    self.fail(|| format!("{name} is retired while {weight} % of the traffic is routed to it"));
                }
                let flow = self.balancer.flows.get(name).cloned().unwrap_or_default();
                let deadline = flow.weight_changed_at + 12 * TICK_MS;
                if flow.in_flight > 0 && self.now < deadline {
                    self.fail(|| format!("{name} is retired with {} requests in flight, before its drain deadline", flow.in_flight));
                }
            }
        }
    }

    pub fn judge_route(&mut self, stamp: Stamp, spec: &RouteSpec, before: Option<Stamp>) {
        if self.oracle.newest_route.max(before).is_some_and(|newest| stamp < newest) {
            self.fail(|| format!("the route accepted the stamp {stamp} after {}", before.unwrap_or_default()));
        }
        self.oracle.newest_route = Some(stamp);
        let there = |g: &Group| g.desired.is_some() || !g.servers.is_empty();
        if let Some((name, _)) = self.keeper.groups.iter().find(|(_, g)| spec.gone && there(g)) {
            let name = name.clone();
            self.fail(|| format!("the listener closes while {name} still exists"));
        }
        for name in spec.weights.keys() {
            let healthy = self.keeper.groups.get(name).map_or(0, |g| g.healthy() + g.lost);
            if healthy == 0 {
                self.fail(|| format!("traffic is shifted to {name}, where no server was ever healthy"));
            }
        }
    }

    /// A line was written. `decided`: the true time at which its writer decided on it.
    pub fn judge_line(&mut self, line: &EventLine, expected_seq: u64, decided: u64, fresh: bool) {
        if line.fence != self.store.fence && line.seq > 0 {
            let newest = self.store.fence.0;
            self.fail(|| format!("line {} was written under fence {} while {newest} was the newest", line.seq, line.fence.0));
        }
        if expected_seq != line.seq {
            self.fail(|| format!("line {} was decided on a journal of {expected_seq} lines", line.seq));
        }
        if let Some(why) = self.judge_reason(&line.event, decided, fresh).or_else(|| self.read_line(line, decided)) {
            self.fail(|| format!("line {}: {why}", line.seq));
        }
    }

    /// Another journal is in force: the state of the open rotation is read from it.
    pub fn reread(&mut self) {
        let Some(journal) = self.store.journals.last().cloned() else { return };
        let newest = self.oracle.last_stamp.take();
        self.oracle.began.clear();
        for (line, decided) in journal.lines.iter().zip(&journal.decided) {
            self.remember_line(&line.event, *decided);
            let _ = self.read_line(line, *decided);
        }
        self.oracle.last_stamp = self.oracle.last_stamp.max(newest);
    }

    fn read_line(&mut self, line: &EventLine, decided: u64) -> Option<String> {
        let o = &mut self.oracle;
        if o.closed.is_some() && !matches!(line.event, Event::Opened(_)) {
            return Some("the rotation was closed before".to_string());
        }
        match &line.event {
            Event::Opened(opened) => {
                o.plan = opened.plan.clone();
                (o.from, o.to) = (opened.from.clone(), Some(opened.to.clone()));
                (o.cursor, o.running, o.paused, o.closed, o.soak) = (0, false, false, None, None);
                (o.rolling_back_since, o.carried) = (None, None);
            }
            Event::StepStarted { step, stamp, mark, .. } => {
                let wrong_place = *step as usize != o.cursor || o.cursor >= o.plan.steps.len();
                if wrong_place || o.last_stamp.is_some_and(|last| *stamp <= last) {
                    return Some(format!("step {step} begins with the stamp {stamp}; step {} is next", o.cursor));
                }
                let watches = o.plan.steps.get(o.cursor).is_some_and(|s| matches!(s.step, Step::Soak { .. }));
                if o.paused && !o.running && !watches && o.plan.direction != Direction::Back {
                    return Some(format!("step {step} begins while the rotation is paused"));
                }
                if matches!(o.plan.steps[o.cursor].step, Step::Soak { .. }) {
                    let restarted = o.soak.is_none_or(|(_, old)| old.map(|m| m.epoch) != mark.map(|m| m.epoch));
                    if restarted {
                        o.soak = Some((decided, *mark));
                    }
                }
                o.began.extend(o.plan.steps[o.cursor].step.group().cloned());
                o.last_stamp = Some(*stamp);
                o.stamps.insert(*stamp);
                o.running = true;
            }
            Event::StepSatisfied { step, .. } => {
                if !o.running || *step as usize != o.cursor {
                    return Some(format!("step {step} is satisfied, and was not running"));
                }
                if let (Step::Soak { for_ms, .. }, Some((since, _))) = (&o.plan.steps[o.cursor].step, o.soak.take())
                    && decided < since + for_ms
                {
                    return Some(format!("a soak of {for_ms} ms was cut short after {} ms", decided.saturating_sub(since)));
                }
                o.running = false;
                o.cursor += 1;
            }
            Event::MigrationEnded { group, exit, .. } => {
                let truth = self.keeper.groups.get(group).and_then(|g| g.end.as_ref());
                let same = truth.is_some_and(|end| end.code == exit.code && end.lost == exit.lost && end.timed_out == exit.timed_out);
                return (!same).then(|| format!("the migration {group} ended otherwise: {truth:?}"));
            }
            Event::PlanReplaced { plan, .. } => {
                if o.plan.direction == Direction::Single || plan.direction != Direction::Back {
                    return Some("a plan is replaced only by a rollback".to_string());
                }
                let since = *o.rolling_back_since.get_or_insert(decided);
                if let Some(carry) = plan.carry {
                    // Fewer servers than carried the load get all traffic only when no more became healthy within a step's time.
                    if carry == 0 || decided + rotation::CLOCKS_APART_MS < since + o.within {
                        return Some(format!("it rolls back to {carry} servers after {} ms", decided - since));
                    }
                    o.base = o.base.min(carry);
                    o.carried = Some(carry);
                }
                o.plan = plan.clone();
                (o.cursor, o.running, o.paused, o.soak) = (0, false, false, None);
            }
            Event::CommandTaken(issued) => match issued.command {
                RotationCommand::Pause => o.paused = true,
                RotationCommand::Resume => o.paused = false,
                RotationCommand::Rollback | RotationCommand::Stop => {}
            },
            Event::Closed { verdict, final_inventory, .. } => {
                o.closed = Some((*verdict, final_inventory.active.clone()));
                if *verdict != Verdict::Stopped && o.cursor < o.plan.steps.len() {
                    return Some(format!("it closes as {verdict:?} before step {}", o.cursor));
                }
                let kind = o.to.as_ref().and_then(|t| self.kinds.get(usize::try_from(t.release.number).unwrap_or(0)));
                // A parked release does no work that could fail.
                let parked = o.count == 0 && !matches!(kind, Some(Kind::NeverBaked | Kind::Refused));
                let may = parked || matches!(kind, Some(Kind::Good | Kind::Faint | Kind::Hangs | Kind::Leaks));
                if *verdict == Verdict::Promoted && o.plan.direction != Direction::Single && !may {
                    return Some(format!("a release that is {kind:?} was promoted"));
                }
                let runs = o.to.as_ref().and_then(|to| Some((to.release.digest(), self.keeper.groups.get(&to.group)?.digest.clone()?)));
                if *verdict == Verdict::Promoted && runs.is_some_and(|(expected, runs)| expected != runs) {
                    return Some("it is promoted while other code serves".to_string());
                }
            }
        }
        None
    }

    /// The rotation was closed and nothing is in flight any more.
    pub fn judge_end(&mut self) {
        let Some((verdict, active)) = self.oracle.closed.clone() else { return };
        let (alone, count) = match verdict {
            Verdict::Stopped => {
                self.judge_stopped(active.as_ref());
                return;
            }
            Verdict::Promoted => (self.oracle.to.clone(), self.oracle.count),
            // A release that was gone when the rotation was opened cannot be rolled back to.
            Verdict::RolledBack if self.oracle.reasons.from_gone => (None, 0),
            Verdict::RolledBack => (self.oracle.from.clone(), self.oracle.restored_count),
        };
        if active != alone {
            self.fail(|| format!("it closed as {verdict:?}, but the final inventory names another release as active"));
        }
        let mut bad = Vec::new();
        let foreign = self.foreign.as_ref().map(|(name, _)| name.clone());
        for (name, group) in self.keeper.groups.iter().filter(|(n, _)| Some(*n) != foreign.as_ref()) {
            let keeps = alone.as_ref().is_some_and(|s| s.group == *name);
            if keeps && (group.desired != Some(count) || group.healthy() + group.lost < count.min(self.oracle.carried.unwrap_or(count))) {
                bad.push(format!("{name} should have {count}; it is declared {:?} and has {} healthy", group.desired, group.healthy()));
            }
            // A copy from before it was created does not know it: the control plane changes nothing until it is adopted.
            let forgotten = self.restored && !self.oracle.began.contains(name);
            if !keeps && !forgotten && (group.desired.is_some() || !group.servers.is_empty()) {
                bad.push(format!("{name} is an orphan: declared {:?} with {} servers", group.desired, group.servers.len()));
            }
        }
        let settings = alone.as_ref().and_then(|s| s.release.route.as_ref());
        if settings.is_some() && self.balancer.settings.as_ref() != settings {
            bad.push(format!("the listener has the settings {:?}", self.balancer.settings.as_ref().map(|s| s.listen)));
        }
        let mut weights = BTreeMap::new();
        if self.scenario.removal.is_some() && self.oracle.removes() && self.balancer.settings.is_some() {
            bad.push("the listener is still open".to_string());
        }
        if let Some(active) = alone.filter(|s| s.release.route.is_some() && count > 0) {
            weights.insert(active.group, 100);
        }
        if self.balancer.weights != weights {
            bad.push(format!("traffic is routed to {:?}", self.balancer.weights));
        }
        if !bad.is_empty() {
            self.fail(|| format!("it closed as {verdict:?}, but {}", bad.join("; ")));
        }
    }
}
