//! Everything below the driving loop, in one place: keeper, balancer, store, network, clocks, and the faults between them.

use crate::balancer::Balancer;
use crate::bug::Bug;
use crate::keeper::Keeper;
use crate::oracle_state::{Capacities, Oracle};
use crate::rng::Rng;
use crate::scenario::{Defect, Faults, Kind, Migration, Scenario, TICK_MS};
use model::{Event, Fence, GroupName, GroupSeen, GroupSpec, RotationId, RouteName, RouteSeen, RouteSpec, Stamp, Time};
use rotation::route_name;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use crate::store::Store;

pub(crate) const HOUR_MS: u64 = 3_600_000;

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

/// What one driver observed before it stalled: it will decide on this when it wakes.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub at: u64,
    pub groups: BTreeMap<GroupName, GroupSeen>,
    pub route: RouteSeen,
}

/// One driver process, as the harness tracks it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    pub skew: u64,
    /// The true time at which it last read its clock.
    pub read_at: u64,
    /// Its value after the driver's next restart: the machine's clock was changed.
    pub next_skew: Option<u64>,
    /// It died in a call: nothing it does afterwards counts.
    pub crashed: bool,
    /// It stalled in a call and wakes then.
    pub stalled_until: Option<u64>,
    pub snapshot: Option<Rc<Snapshot>>,
    /// Its view of the world in this cycle, counted.
    pub shown: Capacities,
    /// Time passed while it observed: its view is not the current state.
    pub slow: bool,
    /// The next reading of the clock is the one before it observes.
    pub about_to_observe: bool,
}

pub(crate) struct World {
    pub rng: Rng,
    pub now: u64,
    pub noisy: bool,
    pub faults: Faults,
    pub scenario: Scenario,
    /// By release number.
    pub kinds: Vec<Kind>,
    pub defects: Vec<Option<Defect>>,
    pub migrations: Vec<Option<Migration>>,
    /// When the provider refused a release permanently.
    pub refused: Option<u64>,
    /// What a lost control plane left, and whether it existed before the rotation was opened.
    pub foreign: Option<(GroupName, bool)>,
    /// An older copy of the journal was restored: what happened since has no journal, so reasons cannot be judged.
    pub restored: bool,
    /// How far the machine's wall clock is ahead, where it has a clock that is never set.
    pub wall_ms: u64,
    pub routed: Vec<bool>,
    pub keeper: Keeper,
    pub balancer: Balancer,
    pub store: Store,
    pub net: Vec<(u64, Message)>,
    pub machines: [Machine; 2],
    /// Earlier states of the world: what a lagging replica would show.
    pub snapshots: VecDeque<Rc<Snapshot>>,
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
        let (mut kinds, mut routed, mut defects) = (vec![Kind::Good; 2], vec![false; 2], vec![None; 2]);
        if let Some(active) = &scenario.active {
            keeper.place_running(&active.group, &active.release, scenario.active_count, 0);
            routed[1] = active.release.route.is_some();
            if routed[1] {
                balancer.settings = active.release.route.clone();
                if scenario.active_count > 0 {
                    balancer.weights.insert(active.group.clone(), 100);
                }
                balancer.flows.entry(active.group.clone()).or_default();
            }
        }
        kinds.extend(scenario.acts.iter().map(|a| a.kind));
        defects.extend(scenario.acts.iter().map(|a| matches!(a.kind, Kind::BadAtWork | Kind::Faint).then_some(a.defect)));
        let migrations = [None; 2].into_iter().chain(scenario.acts.iter().map(|a| a.migration)).collect();
        // Where the journal was lost, fences start at the wall time.
        let wall = scenario.lost.is_some() && bug != Some(Bug::FenceRestarts);
        let store = Store { fence: Fence(if wall { now } else { 0 }), ..Store::default() };
        routed.extend(scenario.acts.iter().map(|a| a.release.route.is_some()));
        // Clocks differ by no more than the engine allows.
        let skew =
            if scenario.calm { [0, 0] } else { [rng.below(rotation::CLOCKS_APART_MS + 1), rng.below(rotation::CLOCKS_APART_MS + 1)] };
        let machines = skew.map(|skew| Machine { skew, ..Machine::default() });
        World {
            rng,
            now,
            noisy: !scenario.calm,
            faults: scenario.faults.clone(),
            kinds,
            defects,
            migrations,
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
            snapshots: VecDeque::new(),
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

    /// The state of everything now, for a driver that decides on it later.
    pub fn snapshot(&self) -> Rc<Snapshot> {
        let groups = self.keeper.groups.keys().map(|g| (g.clone(), self.keeper.see(g, self.now, 0))).collect();
        Rc::new(Snapshot { at: self.now, groups, route: self.balancer.see(&self.route, &self.keeper, self.now) })
    }
}
