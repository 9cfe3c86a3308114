//! Plans: which steps lead from one release to another, with the capacity at every prefix. Pure; it declares nothing.
//!
//! ```text
//! forward   bake ▸ (check ▸ retire the check)* ▸ migrate, unless the release was migrated ▸ retire it ▸ ( scale new up ▸ shift ▸ soak ▸ scale old down )* ▸ drain old ▸ retire old
//! back      scale old up ▸ shift ▸ ( drain ▸ retire )* of all that this rotation created
//! park      bake ▸ declare new with no server ▸ shift to nobody ▸ drain old ▸ retire old          (`count = 0`)
//! ```
//! A rollback never migrates: data stays as the migration of the new release left it.
//! Without a route there is nothing to shift or to drain: servers of both releases serve from the moment they are healthy.

use crate::observation::{Observation, declared};
use model::{
    DesiredSeen, Direction, Fault, GroupName, GroupRelease, GroupSeen, Migrate, Plan, PlannedStep, RouteName, ServiceName, ServiceSpec,
    Step, View, Wave,
};
use std::collections::{BTreeMap, BTreeSet};

/// More waves than this is a mistake in the file, not a rollout.
const WAVES_MAX: usize = 100;

/// What a plan must achieve.
pub struct Intent<'a> {
    pub spec: &'a ServiceSpec,
    /// What is active now; None: this is the first release.
    pub from: Option<&'a GroupRelease>,
    pub to: &'a GroupRelease,
    pub direction: Direction,
    /// The active group's count by the desired state in force. None: the count that it is declared with.
    pub own_count: Option<u32>,
    /// The migration of the release that it leads to has succeeded, or none is to run.
    pub is_migrated: bool,
}

impl Intent<'_> {
    /// What must run before the first server. A parked release gets none, so its migration runs when it gets servers.
    fn migration(&self) -> Option<&Migrate> {
        let runs = self.direction == Direction::Forward && !self.is_migrated && self.spec.count > 0;
        self.to.release.migrate.as_ref().filter(|_| runs)
    }
}

/// How many servers a share (in percent) of the load needs, if `count` carry the whole of it.
pub fn needed(count: u32, share: u32) -> u32 {
    let servers = (u64::from(count) * u64::from(share)).div_ceil(100);
    u32::try_from(servers).unwrap_or(u32::MAX)
}

/// The waves as growing shares in percent; the last is 100.
///
/// A wave of `n` servers gets the share that `n` servers can carry, rounded down, so that `needed(count, share)` is `n`.
pub fn shares(waves: &[Wave], count: u32) -> Vec<u32> {
    let mut shares = Vec::new();
    for wave in waves {
        let share = match wave {
            Wave::Percent(percent) => (*percent).clamp(1, 100),
            Wave::Count(n) => u32::try_from((u64::from(*n) * 100 / u64::from(count.max(1))).clamp(1, 100)).unwrap_or(100),
        };
        if shares.last().is_none_or(|last| *last < share) {
            shares.push(share);
        }
    }
    if shares.last() != Some(&100) {
        shares.push(100);
    }
    shares
}

/// A route has its service's name: the same rule holds for both kinds of name.
pub fn route_name(service: &ServiceName) -> RouteName {
    RouteName::new(service.as_str()).expect("service and route names follow the same rule")
}

/// Plans a whole rotation. `seen` must hold the active group, the new group's name, and [`crate::Rotation::remnants`] of the
/// service's last rotation: this one retires what was left when that was stopped.
pub fn plan(intent: &Intent, seen: &View) -> Result<Plan, Fault> {
    validate(intent, seen)?;
    match intent.direction {
        Direction::Forward => forward(intent, seen),
        Direction::Back => {
            let mut checks = BTreeSet::new();
            for place in 1..=intent.to.release.checks.len() {
                checks.insert(check_group(&intent.to.group, place)?);
            }
            let retire = [intent.to.group.clone()].into_iter().chain(checks.iter().cloned()).collect();
            let rollback_intent = RollbackIntent {
                spec: intent.spec,
                from: intent.from,
                to: intent.to,
                count: intent.spec.count,
                retire,
                checks,
                shift: true,
                share: None,
                carry: None,
            };
            Ok(rollback(&rollback_intent, seen))
        }
        Direction::Single => {
            Err(Fault::yours("no-such-plan", "a single step is planned from the step itself").hint("run a single step: `afresh step run`"))
        }
    }
}

fn validate(intent: &Intent, seen: &View) -> Result<(), Fault> {
    let Intent { spec, from, to, .. } = intent;
    if spec.rollout.waves.len() > WAVES_MAX {
        return Err(Fault::yours(
            "too-many-waves",
            format!("{}: {} waves; at most {WAVES_MAX} are allowed", spec.name, spec.rollout.waves.len()),
        ));
    }
    if spec.rollout.within_ms == 0 {
        return Err(
            Fault::yours("no-time", format!("{}: within = 0 leaves no time for any step", spec.name)).hint("write `within = \"5m\"`")
        );
    }
    for active in from.iter().copied().chain([*to]) {
        if active.release.service != spec.name {
            return Err(Fault::ours("wrong-service", format!("{} is not a release of {}", active.release.label(), spec.name)));
        }
    }
    if from.is_some_and(|from| from.group == to.group) {
        return Err(Fault::ours("same-group", format!("cannot rotate {} onto itself", to.group)));
    }
    let mut new = vec![to.group.clone()];
    for place in 1..=to.release.checks.len() {
        new.push(check_group(&to.group, place)?);
    }
    if intent.migration().is_some() {
        new.push(migration_group(&to.group)?);
    }
    let taken = new.iter().find(|g| seen.groups.get(*g).is_some_and(|g| *g != GroupSeen::unknown(g.group.clone())));
    if let (Direction::Forward, Some(taken)) = (intent.direction, taken) {
        return Err(Fault::ours("name-used", format!("a group {taken} existed before: group names are never reused"))
            .hint("the journal does not know it: was an older copy of the journal restored?"));
    }
    Ok(())
}

fn check_group(group: &GroupName, place: usize) -> Result<GroupName, Fault> {
    GroupName::new(format!("{group}-c{place}"))
        .map_err(|e| Fault::yours("name-too-long", e.to_string()).hint("give the service a shorter name"))
}

fn migration_group(group: &GroupName) -> Result<GroupName, Fault> {
    GroupName::of_migration(group).map_err(|e| Fault::yours("name-too-long", e.to_string()).hint("give the service a shorter name"))
}

fn forward(intent: &Intent, seen: &View) -> Result<Plan, Fault> {
    let Intent { spec, to, .. } = intent;
    let new = &to.group;
    // An old group that is gone cannot be rolled back to and needs no step; its name is never declared again.
    let from = intent.from.filter(|f| seen.groups.get(&f.group).is_none_or(|g| g.desired != DesiredSeen::Gone));
    let digest = from.map(|f| f.release.digest());
    let observation = Observation { seen, spec, from, to: Some(to), digests: [digest.as_ref(), None] };
    let left = leftovers(intent, seen);
    let mut builder = PlanBuilder::new(Direction::Forward);
    if let Some(from) = from {
        let count = declared(seen, &from.group).unwrap_or(spec.count);
        builder.counts.insert(from.group.clone(), count);
        // A stopped rotation may have left it with less than its own count; a rollback restores that, and never more.
        builder.restores = Some((from.group.clone(), count.max(intent.own_count.unwrap_or(count))));
    }
    for group in &left {
        if group.is_one_shot() {
            builder.checks.insert(group.clone());
        }
        builder.counts.insert(group.clone(), declared(seen, group).unwrap_or(0));
        if observation.routed(group) && observation.weight(group) == 0 {
            builder.out.insert(group.clone());
        }
    }
    builder.floor = spec.count.min(builder.capacity());

    let mut objects = vec![to.release.image.clone()];
    objects.extend(to.release.artifact.clone());
    builder.push(Step::Bake { image: to.release.image_name.clone(), objects }, None);
    // A parked release serves nobody, so its checks run only when it gets servers.
    let checks = if spec.count == 0 { &[][..] } else { &to.release.checks[..] };
    for (i, check) in checks.iter().enumerate() {
        let group = check_group(new, i + 1)?;
        builder.checks.insert(group.clone());
        let (command, within_ms) = (check.run.clone(), check.within_ms);
        builder.push(Step::Check { group: group.clone(), of: new.clone(), command, within_ms }, None);
        builder.push(Step::Retire { group }, None);
    }

    // Two migrations never run at once: what a stopped rotation left of one is gone before the next begins.
    let (old_migrations, left): (Vec<_>, Vec<_>) = left.into_iter().partition(|group| group.migration().is_some());
    let is_fenced = old_migrations.is_empty() && left.is_empty();
    for group in old_migrations {
        builder.push(Step::Retire { group }, None);
    }
    if let Some(migrate) = intent.migration() {
        let group = migration_group(new)?;
        builder.checks.insert(group.clone());
        let (command, within_ms) = (migrate.run.clone(), migrate.within_ms);
        builder.push(Step::Migrate { group: group.clone(), of: new.clone(), command, within_ms }, None);
        builder.push(Step::Retire { group }, None);
    }

    // A stopped rotation left groups, and its last declaration may still be in flight. Declaring the old group again fences that,
    // and gives it the size to take over from the leftovers.
    let schedule = WaveSchedule::of(spec, from, to, &observation, &builder);
    if let Some(from) = from.filter(|f| !is_fenced && builder.count(&f.group) > 0 && observation.healthy_by_keeper(&f.group) > 0) {
        let own = builder.restores.as_ref().map_or(0, |(_, own)| *own);
        let count = builder.count(&from.group).max(needed(spec.count, 100 - schedule.shares[0])).min(own);
        builder.push(Step::Scale { group: from.group.clone(), count }, None);
    }
    if spec.count == 0 {
        schedule.park(&mut builder);
    }
    for place in 0..if spec.count == 0 { 0 } else { schedule.shares.len() } {
        schedule.wave(&mut builder, place);
    }
    let routed = schedule.routed_old || schedule.routed_new;
    if let Some(from) = from {
        builder.retire(from.group.clone(), routed.then_some(from.release.drain.within_ms));
    }
    for group in left {
        let known = seen.route.as_ref().is_some_and(|r| r.groups.contains_key(&group) || r.weights.contains_key(&group));
        builder.retire(group, known.then_some(spec.drain.within_ms));
    }
    Ok(builder.plan())
}

/// How a forward plan shares the load between the old and the new group, wave by wave.
struct WaveSchedule<'a> {
    spec: &'a ServiceSpec,
    from: Option<&'a GroupRelease>,
    to: &'a GroupRelease,
    shares: Vec<u32>,
    /// The old group is scaled down between waves.
    shrinks: bool,
    routed_old: bool,
    /// Traffic is routed to some group, possibly to what a stopped rotation left.
    sends: bool,
    routed_new: bool,
}

impl<'a> WaveSchedule<'a> {
    fn of(
        spec: &'a ServiceSpec,
        from: Option<&'a GroupRelease>,
        to: &'a GroupRelease,
        observation: &Observation,
        builder: &PlanBuilder,
    ) -> Self {
        let (routed_old, routed_new) = (from.is_some_and(|f| f.release.route.is_some()), to.release.route.is_some());
        // Where nothing active is healthy, or traffic cannot be shared between the two, waves would only delay recovery.
        let old_count = from.map_or(0, |f| builder.count(&f.group));
        let kept = from.map_or(0, |f| {
            if observation.seen.groups.contains_key(&f.group) { observation.healthy_by_keeper(&f.group) } else { old_count }
        });
        let shared = old_count > 0 && kept > 0 && routed_old == routed_new;
        let mut shares = if shared { shares(&spec.rollout.waves, spec.count) } else { vec![100] };
        // A group that shares the load with leftovers gets no more than its own servers can carry: it is never scaled up.
        let (weight, own) = (from.map_or(0, |f| observation.weight(&f.group)), builder.restores.as_ref().map_or(0, |(_, own)| *own));
        if routed_old && routed_new && 100 - shares[0] > weight && needed(spec.count, 100 - shares[0]) > own {
            shares = vec![100];
        }
        // An incomplete old group is left as it is until it retires: the guard would refuse to scale it down anyway.
        let sends = sends(observation.seen);
        Self { spec, from, to, shares, shrinks: kept >= old_count, routed_old, sends, routed_new }
    }

    /// The new group is declared with no server: it becomes the active one, and its name is used. Traffic is routed to nobody before
    /// the old group is drained, so that clients get a proper error response.
    fn park(&self, builder: &mut PlanBuilder) {
        builder.push(Step::Scale { group: self.to.group.clone(), count: 0 }, None);
        if self.routed_old || self.routed_new || self.sends {
            builder.push(Step::Shift { route: route_name(&self.spec.name), weights: BTreeMap::new() }, None);
        }
    }

    fn wave(&self, builder: &mut PlanBuilder, place: usize) {
        let (spec, new, share) = (self.spec, &self.to.group, self.shares[place]);
        let (wave, last) = (u32::try_from(place + 1).ok(), share == 100);
        if builder.count(new) != needed(spec.count, share) {
            builder.push(Step::Scale { group: new.clone(), count: needed(spec.count, share) }, wave);
        }
        let smaller = self.from.filter(|_| !last && self.shrinks).map(|f| (f.group.clone(), needed(spec.count, 100 - share)));
        let shrink = smaller.filter(|(group, count)| *count < builder.count(group)).map(|(group, count)| Step::Scale { group, count });
        let route = route_name(&spec.name);
        if self.routed_new {
            let mut weights = BTreeMap::from([(new.clone(), share)]);
            if let Some(from) = self.from.filter(|_| !last) {
                weights.insert(from.group.clone(), 100 - share);
            }
            builder.push(Step::Shift { route, weights }, wave);
        } else if (self.routed_old || self.sends) && last {
            builder.push(Step::Shift { route, weights: BTreeMap::new() }, wave);
        }
        if spec.rollout.soak_ms > 0 {
            let rollout = &spec.rollout;
            let (group, for_ms, errors_ppm) = (new.clone(), rollout.soak_ms, rollout.errors_ppm);
            let (min_requests, few_requests) = (rollout.min_requests, rollout.few_requests);
            builder.push(Step::Soak { group, for_ms, errors_ppm, min_requests, few_requests }, wave);
        }
        if let Some(step) = shrink {
            builder.push(step, wave);
        }
    }
}

fn sends(seen: &View) -> bool {
    seen.route.as_ref().is_some_and(|r| r.weights.values().any(|w| *w > 0))
}

/// Groups in the view that neither release owns: a stopped rotation left them. One that the provider does not know counts too:
/// its declaration may still be in flight, and only a tombstone fences it.
fn leftovers(intent: &Intent, seen: &View) -> Vec<GroupName> {
    let owned = |g: &GroupName| *g == intent.to.group || intent.from.is_some_and(|f| f.group == *g);
    let there = seen.groups.values().filter(|g| g.desired != DesiredSeen::Gone || !g.instances.is_empty());
    there.map(|g| g.group.clone()).filter(|g| !owned(g)).collect()
}

pub(crate) struct RollbackIntent<'a> {
    pub spec: &'a ServiceSpec,
    /// The release to return to; None: nothing was active before.
    pub from: Option<&'a GroupRelease>,
    pub to: &'a GroupRelease,
    /// How many servers were active before.
    pub count: u32,
    pub retire: Vec<GroupName>,
    /// Those among them that serve nobody.
    pub checks: BTreeSet<GroupName>,
    /// Traffic may have been shifted, so it is shifted back.
    pub shift: bool,
    /// This share of the traffic is shifted back at once, before the old group is complete.
    pub share: Option<u32>,
    /// This many healthy servers get the whole load: no more became healthy.
    pub carry: Option<u32>,
}

/// A rollback needs nothing of the release that failed, and scales the previously active group to its full count, whatever it is now.
pub(crate) fn rollback(intent: &RollbackIntent, seen: &View) -> Plan {
    let RollbackIntent { spec, from, to, count, .. } = intent;
    let mut builder = PlanBuilder::new(Direction::Back);
    builder.checks = intent.checks.clone();
    for group in from.iter().map(|f| &f.group).chain(&intent.retire) {
        builder.counts.insert(group.clone(), declared(seen, group).unwrap_or(0));
    }
    builder.carry = intent.carry;
    // When the failed release has a count of 0, the previously active count is the full load.
    let load = if spec.count == 0 { *count } else { spec.count.min(*count) };
    builder.floor = if from.is_some() { load.min(intent.carry.unwrap_or(u32::MAX)) } else { 0 };
    let (routed_old, routed_new) = (from.is_some_and(|f| f.release.route.is_some()), to.release.route.is_some());
    let mut weights = BTreeMap::new();
    if let (Some(from), Some(share)) = (from, intent.share) {
        builder.push(Step::Shift { route: route_name(&spec.name), weights: spread(&from.group, share, seen) }, None);
    }
    if let Some(from) = from {
        builder.push(Step::Scale { group: from.group.clone(), count: *count }, None);
        // A release that was parked before gets no traffic.
        if routed_old && *count > 0 {
            weights.insert(from.group.clone(), 100);
        }
    }
    // A removal: a listener that an earlier release opened closes too.
    let listens = from.is_none() && seen.route.as_ref().is_some_and(|r| r.settings.is_some());
    if intent.shift && (routed_old || routed_new || listens || sends(seen)) {
        builder.push(Step::Shift { route: route_name(&spec.name), weights }, None);
    }
    for group in &intent.retire {
        let routed = (routed_old || routed_new || sends(seen)) && !builder.checks.contains(group);
        builder.retire(group.clone(), routed.then_some(to.release.drain.within_ms));
    }
    builder.plan()
}

/// Gives this share to the old group; the rest stays with the groups that have it, in proportion.
fn spread(old: &GroupName, share: u32, seen: &View) -> BTreeMap<GroupName, u32> {
    let weights = seen.route.as_ref().map_or_else(BTreeMap::new, |r| r.weights.clone());
    let others: u32 = weights.iter().filter(|(g, _)| *g != old).map(|(_, w)| *w).sum();
    let mut spread = BTreeMap::from([(old.clone(), share)]);
    let mut rest = 100 - share;
    for (group, weight) in weights.iter().filter(|(g, w)| *g != old && **w > 0) {
        let part = (weight * (100 - share) / others.max(1)).min(rest);
        spread.insert(group.clone(), part);
        rest -= part;
    }
    *spread.entry(weights.into_iter().filter(|(g, _)| g != old).max_by_key(|(_, w)| *w).map_or(old.clone(), |(g, _)| g)).or_default() +=
        rest;
    spread.retain(|_, w| *w > 0);
    spread
}

/// Builds a plan, and tracks what is declared at the end of its steps so far.
struct PlanBuilder {
    direction: Direction,
    steps: Vec<PlannedStep>,
    counts: BTreeMap<GroupName, u32>,
    checks: BTreeSet<GroupName>,
    /// Drained groups: no traffic is routed to them.
    out: BTreeSet<GroupName>,
    peak: u32,
    floor: u32,
    /// The old group, and how many servers a rollback gives it.
    restores: Option<(GroupName, u32)>,
    carry: Option<u32>,
}

impl PlanBuilder {
    fn new(direction: Direction) -> Self {
        Self {
            direction,
            steps: Vec::new(),
            counts: BTreeMap::new(),
            checks: BTreeSet::new(),
            out: BTreeSet::new(),
            peak: 0,
            floor: 0,
            restores: None,
            carry: None,
        }
    }

    fn count(&self, group: &GroupName) -> u32 {
        self.counts.get(group).copied().unwrap_or(0)
    }

    fn capacity(&self) -> u32 {
        let serving = self.counts.iter().filter(|(g, _)| !self.checks.contains(*g) && !self.out.contains(*g));
        serving.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    fn push(&mut self, step: Step, wave: Option<u32>) {
        match &step {
            Step::Scale { group, count } => {
                self.counts.insert(group.clone(), *count);
            }
            Step::Check { group, .. } | Step::Migrate { group, .. } => {
                self.counts.insert(group.clone(), 1);
            }
            Step::Drain { group, .. } => {
                self.out.insert(group.clone());
            }
            Step::Retire { group } => {
                self.counts.remove(group);
            }
            Step::Bake { .. } | Step::Shift { .. } | Step::Soak { .. } => {}
        }
        // A rollback may begin at any step: the old group is then complete again, beside everything that exists.
        let restored = |group: &GroupName| self.restores.as_ref().filter(|(g, _)| g == group).map_or(0, |(_, count)| *count);
        let worst = self.counts.iter().fold(0u32, |sum, (group, count)| sum.saturating_add((*count).max(restored(group))));
        self.peak = self.peak.max(worst);
        self.steps.push(PlannedStep { step, wave, capacity: self.capacity() });
    }

    fn retire(&mut self, group: GroupName, drain_ms: Option<u64>) {
        if let Some(within_ms) = drain_ms {
            self.push(Step::Drain { group: group.clone(), within_ms }, None);
        }
        self.push(Step::Retire { group }, None);
    }

    fn plan(self) -> Plan {
        let restores = self.restores.map(|(_, count)| count);
        Plan { direction: self.direction, steps: self.steps, peak: self.peak, floor: self.floor, restores, carry: self.carry }
    }
}
