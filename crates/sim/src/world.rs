//! Everything below the driving loop, in one place: keeper, balancer, store, network, clocks, and the faults between them.

use crate::balancer::Balancer;
use crate::bug::Bug;
use crate::keeper::{Keeper, Setting};
use crate::oracle::{Oracle, Scene};
use crate::rng::Rng;
use crate::scenario::{Faults, Kind, Scenario, TICK_MS, Vice};
use model::{Event, EventLine, Fence, GroupName, GroupSeen, GroupSpec, RotationId, RouteName, RouteSeen, RouteSpec, Stamp, Time};
use rotation::route_name;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::store::Store;

pub(crate) const HOUR_MS: u64 = 3_600_000;

/// So many old looks are kept, one every three ticks.
const LOOKS_MAX: usize = 12;

/// Something that takes effect later.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a few are under way at a time")]
pub(crate) enum Message {
    Group(Stamp, GroupSpec),
    Route(Stamp, RouteSpec),
    /// A line that a driver was about to write when it stalled.
    Append {
        id: RotationId,
        fence: Fence,
        seq: u64,
        at: Time,
        event: Event,
        decided: u64,
        who: usize,
    },
}

/// What one driver saw before it stalled: it will decide on this when it wakes.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub at: u64,
    pub groups: BTreeMap<GroupName, GroupSeen>,
    pub route: RouteSeen,
}

/// One process that drives: what the harness must know of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub skew: u64,
    /// The true time at which it looked at its clock last.
    pub read_at: u64,
    /// What it will be when the driver is started again: the machine's clock was stepped.
    pub next_skew: Option<u64>,
    /// It died in a call: nothing it does after counts.
    pub crashed: bool,
    /// It stalled in a call and wakes then.
    pub stalled_until: Option<u64>,
    pub look: Option<Rc<Look>>,
    /// What it was shown of the world in this turn, counted.
    pub shown: Scene,
    /// Time passed while it looked: what it was shown is not how things are.
    pub slow: bool,
    /// The next look at the clock is the one before it looks at the world.
    pub about_to_look: bool,
}

pub(crate) struct World {
    pub rng: Rng,
    pub now: u64,
    pub noisy: bool,
    pub faults: Faults,
    pub scenario: Scenario,
    /// By release number.
    pub kinds: Vec<Kind>,
    pub vices: Vec<Option<Vice>>,
    /// The provider refused a release for good, then.
    pub refused: Option<u64>,
    /// What a lost control plane left, and whether it was there before the rotation was opened.
    pub foreign: Option<(GroupName, bool)>,
    /// An older copy of the journal was put back: what happened since has no journal, and its reasons cannot be judged.
    pub restored: bool,
    /// How far the machine's wall clock is ahead, where it has a clock that never steps.
    pub wall_ms: u64,
    pub routed: Vec<bool>,
    pub keeper: Keeper,
    pub balancer: Balancer,
    pub store: Store,
    pub net: Vec<(u64, Message)>,
    pub machines: [Machine; 2],
    /// How the world looked at some moments before: what a replica that lags would show.
    pub looks: VecDeque<Rc<Look>>,
    pub oracle: Oracle,
    pub bug: Option<Bug>,
    pub route: RouteName,
    /// The store has the new image from then on.
    pub baked_at: u64,
    /// Crash points passed, and those at which to crash.
    pub points: u64,
    pub crash_at: Vec<u64>,
    pub log: Option<Vec<String>>,
    pub violation: Option<String>,
    pub events: u64,
}

impl World {
    pub fn new(seed: u64, scenario: Scenario, bug: Option<Bug>) -> Self {
        let mut rng = Rng::new(seed);
        let now = 1_000 * TICK_MS;
        let mut keeper = Keeper::default();
        let mut balancer = Balancer::default();
        let (mut kinds, mut routed, mut vices) = (vec![Kind::Good; 2], vec![false; 2], vec![None; 2]);
        if let Some(stands) = &scenario.stands {
            keeper.stand(&stands.group, &stands.release, scenario.stood, 0);
            routed[1] = stands.release.route.is_some();
            if routed[1] {
                balancer.settings = stands.release.route.clone();
                if scenario.stood > 0 {
                    balancer.weights.insert(stands.group.clone(), 100);
                }
                balancer.flows.entry(stands.group.clone()).or_default();
            }
        }
        kinds.extend(scenario.acts.iter().map(|a| a.kind));
        vices.extend(scenario.acts.iter().map(|a| matches!(a.kind, Kind::BadAtWork | Kind::Faint).then_some(a.vice)));
        // Where the journal was lost, fences begin at the wall time.
        let wall = scenario.lost.is_some() && bug != Some(Bug::FenceRestarts);
        let store = Store { fence: Fence(if wall { now } else { 0 }), ..Store::default() };
        routed.extend(scenario.acts.iter().map(|a| a.release.route.is_some()));
        // Clocks differ by no more than the engine is told they may.
        let skew =
            if scenario.calm { [0, 0] } else { [rng.below(rotation::CLOCKS_APART_MS + 1), rng.below(rotation::CLOCKS_APART_MS + 1)] };
        let machines = skew.map(|skew| Machine { skew, ..Machine::default() });
        World {
            rng,
            now,
            noisy: !scenario.calm,
            faults: scenario.faults.clone(),
            kinds,
            vices,
            refused: None,
            foreign: None,
            restored: false,
            wall_ms: HOUR_MS,
            routed,
            keeper,
            balancer,
            store,
            net: Vec::new(),
            machines,
            looks: VecDeque::new(),
            oracle: Oracle::default(),
            bug,
            route: route_name(&scenario.service),
            baked_at: 0,
            points: 0,
            crash_at: Vec::new(),
            log: None,
            violation: None,
            events: 0,
            scenario,
        }
    }

    pub fn fail(&mut self, why: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let why = why();
            self.say(|| format!("VIOLATION: {why}"));
            self.violation = Some(format!("at {} s: {why}", self.now / TICK_MS));
        }
    }

    pub fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            log.push(format!("{:>6}  {}", self.now / TICK_MS, what()));
        }
    }

    pub fn chance(&mut self, per_10k: impl Fn(&Faults) -> u64) -> bool {
        let per_10k = per_10k(&self.faults);
        self.noisy && self.rng.chance(per_10k)
    }

    pub fn later(&mut self, ticks_max: u64) -> u64 {
        self.now + self.rng.between(1, ticks_max) * TICK_MS
    }

    /// A declaration leaves. It may be lost, late or doubled; what is answered says nothing of that.
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
        self.say(|| format!("{} takes {stamp}: {}", spec.group, crate::history::wish_in_words(spec)));
        self.judge_group(stamp, spec, before.as_ref());
    }

    fn arrive_route(&mut self, stamp: Stamp, spec: &RouteSpec) {
        let fenced = self.bug != Some(Bug::NoFence);
        let before = self.balancer.stamp;
        if self.balancer.take(stamp, spec, self.now, fenced).is_err() {
            self.say(|| format!("the route refuses the old stamp {stamp}"));
            return;
        }
        self.say(|| format!("the route takes {stamp}: {:?}", spec.weights.iter().map(|(g, w)| format!("{g} {w}")).collect::<Vec<_>>()));
        self.judge_route(stamp, spec, before);
    }

    /// The store takes a line, or not.
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
        self.say(|| format!("driver {who} writes {}: {}", line.seq, crate::history::event_in_words(event)));
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
        self.say(|| format!("{name} is there with other code, by a control plane that nobody knows, with the stamp {stamp}"));
        self.keeper.stand(name, &release, count, self.now);
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

    /// An older copy of the journal under way is put back, as after a lost disk. Keeper and balancer hold what they hold. The control plane
    /// was ended for it: what that had sent has arrived, and what it had seen is forgotten.
    pub fn put_back(&mut self, part: u64) {
        let Some(len) = self.store.journals.last().map(|j| j.lines.len()) else { return };
        let lines = 1 + (len - 1) * usize::try_from(part).unwrap_or(0) / 1_000;
        for (_, message) in std::mem::take(&mut self.net) {
            self.arrive(message);
        }
        self.looks.clear();
        self.machines = self.machines.clone().map(|m| Machine { skew: m.skew, next_skew: m.next_skew, ..Machine::default() });
        let repeats = self.bug == Some(Bug::BackupRepeatsFences);
        self.store.put_back(lines, self.now, repeats);
        self.restored = true;
        self.say(|| format!("a copy of the journal with {lines} of {len} lines is put back"));
        self.reread();
    }

    /// One tick of everything that is not a driver.
    pub fn turn(&mut self) {
        self.now += TICK_MS;
        self.deliver();
        if self.chance(|f| f.no_launch) {
            self.keeper.blocked_until = self.later(30);
            self.say(|| "the keeper cannot launch anything for a while".to_string());
        }
        if self.chance(|f| f.balancer_restart) {
            self.balancer.restart(self.now);
            self.say(|| "the balancer's data plane starts again".to_string());
        }
        if self.chance(|f| f.keeper_restart) {
            self.keeper.down_until = self.later(5);
            self.keeper.probes_since = self.now;
            self.say(|| "the keeper starts again".to_string());
        }
        if self.chance(|f| f.no_listener) {
            self.balancer.trouble_until = self.later(30);
            self.say(|| "the route's address is in use".to_string());
        }
        if self.chance(|f| f.clock_step) {
            let (who, skew) = (self.rng.place(2), self.rng.below(rotation::CLOCKS_APART_MS + 1));
            // A process counts on from the wall time at which it began: it sees a step only when it is started again.
            self.machines[who].next_skew = Some(skew);
            self.say(|| format!("the clock of machine {who} steps"));
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
            spiteful: self.scenario.spiteful_keeper,
            kinds: &self.kinds,
            routed: &self.routed,
        };
        self.keeper.tick(&setting, &mut self.rng);
        let (vices, groups) = (&self.vices, &self.keeper.groups);
        self.balancer.tick(&mut self.rng, self.now, self.scenario.endless_streams, |group| {
            let release = groups.get(group).map_or(0, |g| usize::try_from(g.release).unwrap_or(0));
            vices.get(release).copied().flatten()
        });
        self.judge_tick();
        self.remember();
    }

    /// Everything as it is now, for somebody who will decide on it later.
    pub fn look(&self) -> Rc<Look> {
        let groups = self.keeper.groups.keys().map(|g| (g.clone(), self.keeper.see(g, self.now, 0))).collect();
        Rc::new(Look { at: self.now, groups, route: self.balancer.see(&self.route, &self.keeper, self.now) })
    }

    fn remember(&mut self) {
        if self.noisy && self.faults.old_look > 0 && self.now.is_multiple_of(3 * TICK_MS) {
            if self.looks.len() == LOOKS_MAX {
                self.looks.pop_front();
            }
            self.looks.push_back(self.look());
        }
    }
}
