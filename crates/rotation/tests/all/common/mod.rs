//! A perfect small world for tests: declarations take effect at once, every server is healthy, time passes only when the test says so.

use model::*;
use rotation::{Decision, Declaration, Intent, Rotation, decide, plan};
use std::collections::BTreeMap;

pub fn service() -> ServiceName {
    ServiceName::new("web").unwrap()
}

pub fn group(text: &str) -> GroupName {
    GroupName::new(text).unwrap()
}

pub fn release(number: u64, routed: bool) -> Release {
    Release {
        service: service(),
        number,
        image_name: ImageName::new("base").unwrap(),
        image: Digest::new(format!("sha256:{number:064x}")).unwrap(),
        artifact: None,
        run: vec!["serve".to_string()],
        env: BTreeMap::new(),
        secrets: Default::default(),
        user: ServiceSpec::default_user(),
        port: routed.then_some(80),
        health: Health { healthy_for_ms: 1_000, ..Health::default() },
        drain: Drain { within_ms: 5_000, ..Drain::default() },
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::default(),
        route: routed.then(|| Route::on(([127, 0, 0, 1], 80).into())),
        checks: Vec::new(),
        migrate: None,
        container: None,
    }
}

pub fn spec(count: u32, waves: Vec<Wave>, soak_ms: u64, routed: bool) -> ServiceSpec {
    let made = release(0, routed);
    ServiceSpec {
        name: service(),
        tier: TierName::new("web").unwrap(),
        image: made.image_name,
        recipe: None,
        artifact: None,
        run: made.run,
        env: made.env,
        secrets: Default::default(),
        user: made.user,
        port: made.port,
        count,
        health: made.health,
        drain: made.drain,
        limits: made.limits,
        volumes: Vec::new(),
        exclusive: false,
        network: made.network,
        route: made.route,
        checks: Vec::new(),
        migrate: None,
        jobs: Vec::new(),
        rollout: Rollout { waves, soak_ms, errors_ppm: 10_000, within_ms: 60_000, ..Rollout::default() },
        from_image: Default::default(),
    }
}

pub fn active(name: &str, number: u64, routed: bool) -> GroupRelease {
    GroupRelease { group: group(name), release: release(number, routed) }
}

/// A manual step, where the journals say that `web-rN-*` runs `web@rN` and that `web-r1-1` is active.
pub fn manual_step(spec: &ServiceSpec, step: &Step, view: &View) -> Result<Plan, Fault> {
    let routed = spec.route.is_some();
    let named = view.groups.keys().filter_map(|g| Some((g.clone(), release(g.parts()?.1, routed))));
    let active = active("web-r1-1", 1, routed);
    rotation::plan_manual_step(spec, step, view, rotation::KnownGroups { active: Some(&active), releases: &named.collect() })
}

#[derive(Clone)]
pub struct Perfect {
    pub now: Time,
    pub view: View,
    /// What each group was declared to run.
    pub runs: BTreeMap<GroupName, Digest>,
    /// One-shots are seen to end at once, with success.
    pub migrations: bool,
    launched: u64,
}

impl Perfect {
    pub fn new(from: Option<(&GroupRelease, u32)>, routed: bool) -> Self {
        let route = routed.then(|| RouteSeen::unknown(rotation::route_name(&service())));
        let view = View { at: Time(1_000_000), groups: BTreeMap::new(), route, objects: BTreeMap::new() };
        let mut world = Self { now: Time(1_000_000), view, runs: BTreeMap::new(), migrations: true, launched: 0 };
        if let Some((from, count)) = from {
            world.runs.insert(from.group.clone(), from.release.digest());
            world.scale(&from.group, None, from.release.number, count);
            if let Some(route) = world.view.route.as_mut().filter(|_| from.release.route.is_some()) {
                route.weights.insert(from.group.clone(), 100);
            }
        }
        world
    }

    pub fn scale(&mut self, name: &GroupName, stamp: Option<Stamp>, release: u64, count: u32) {
        let seen = self.view.groups.entry(name.clone()).or_insert_with(|| GroupSeen::unknown(name.clone()));
        seen.stamp = stamp;
        seen.desired = DesiredSeen::Run { release, count };
        seen.release = self.runs.get(name).cloned();
        while seen.instances.len() < count as usize {
            self.launched += 1;
            seen.instances.push(InstanceSeen {
                id: InstanceId::new(format!("{name}-{}", self.launched)).unwrap(),
                state: InstanceState::Running,
                release: seen.release.clone(),
                addr: None,
                started: self.now,
                healthy_ms: Some(3_600_000),
                exit: None,
                failed_probe: None,
                scratch: None,
                refused: Vec::new(),
            });
        }
        seen.instances.truncate(count as usize);
        if let Some(route) = &mut self.view.route {
            let traffic = route.groups.entry(name.clone()).or_default();
            let healthy = TargetSeen { healthy_ms: Some(3_600_000), in_flight: 0, draining: false };
            traffic.targets = seen.instances.iter().map(|i| (i.id.clone(), healthy.clone())).collect();
        }
    }

    pub fn obey(&mut self, declaration: &Declaration) {
        match declaration {
            Declaration::Group(stamp, GroupSpec { group, desired: DesiredGroup::Run { release, count, once }, .. }) => {
                self.runs.insert(group.clone(), release.digest());
                self.scale(group, Some(*stamp), release.number, *count);
                if once.is_some() {
                    let seen = self.view.groups.get_mut(group).unwrap();
                    seen.instances[0].state = InstanceState::Exited;
                    seen.instances[0].exit = Some(Exit::new(0, self.now));
                    seen.ended = self.migrations.then(|| OneShotEnd { release: release.digest(), exit: Exit::new(0, self.now) });
                }
            }
            Declaration::Group(stamp, GroupSpec { group, desired: DesiredGroup::Gone, .. }) => {
                self.runs.remove(group);
                self.scale(group, Some(*stamp), 0, 0);
                self.view.groups.get_mut(group).unwrap().desired = DesiredSeen::Gone;
            }
            Declaration::Route(stamp, spec) => {
                let route = self.view.route.as_mut().expect("a service with a route");
                route.stamp = Some(*stamp);
                route.weights = spec.weights.clone();
                route.settings = (!spec.gone).then(|| spec.settings.clone());
            }
        }
    }

    pub fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.view.at = self.now;
    }

    /// A view in which one server of the group is dead: the keeper has not replaced it yet.
    pub fn without(&self, name: &GroupName, place: usize) -> View {
        let mut view = self.view.clone();
        view.groups.get_mut(name).unwrap().instances.remove(place);
        view
    }
}

/// A rotation and its journal over the perfect world.
pub struct Walk {
    pub lines: Vec<EventLine>,
    pub r: Rotation,
    pub world: Perfect,
    pub fence: Fence,
}

impl Walk {
    pub fn open(spec: &ServiceSpec, from: Option<(&GroupRelease, u32)>, to: &GroupRelease) -> Self {
        let routed = spec.route.is_some() || from.is_some_and(|(f, _)| f.release.route.is_some());
        let world = Perfect::new(from, routed);
        let intent = Intent { spec, from: from.map(|(f, _)| f), to, direction: Direction::Forward, own_count: None, is_migrated: false };
        let plan = plan(&intent, &world.view).unwrap();
        let opened = Opened { spec: spec.clone(), from: from.map(|(f, _)| f.clone()), to: to.clone(), plan, why: "test".to_string() };
        Self::with(opened, world)
    }

    pub fn with(opened: Opened, mut world: Perfect) -> Self {
        let id = RotationId::of(&service(), 7);
        let line = EventLine { rotation: id, seq: 0, at: world.now, fence: Fence(0), event: Event::Opened(opened) };
        let r = Rotation::fold(std::slice::from_ref(&line)).unwrap();
        for group in r.groups() {
            world.view.groups.entry(group.clone()).or_insert_with(|| GroupSeen::unknown(group));
        }
        Self { lines: vec![line], r, world, fence: Fence(1) }
    }

    pub fn decide(&self) -> Decision {
        decide(&self.r, &self.world.view, &[], self.world.now, self.fence)
    }

    pub fn record(&mut self, event: Event) {
        let line = EventLine { rotation: self.r.id.clone(), seq: self.r.len, at: self.world.now, fence: self.fence, event };
        self.r.apply(&line).unwrap();
        self.lines.push(line);
        let objects = self.r.objects();
        self.world.view.objects.extend(objects.into_iter().map(|o| (o, true)));
    }

    pub fn command(&mut self, n: u64, command: RotationCommand) {
        self.record(Event::CommandTaken(IssuedCommand { n, command, by: "somebody".to_string() }));
    }

    /// One cycle; false at the end.
    pub fn cycle(&mut self) -> bool {
        match self.decide() {
            Decision::Record(event) => self.record(event),
            Decision::Declare(declaration) => self.world.obey(&declaration),
            Decision::Wait { .. } => self.world.pass(500),
            Decision::Outrank { above, .. } => self.fence = Fence(above.0 + 1),
            Decision::Done => return false,
        }
        true
    }

    /// Cycles until the step at this place of the current plan is next and has not started.
    pub fn until(&mut self, step: u32) {
        for _ in 0..10_000 {
            if self.r.cursor == step && self.r.started.is_none() {
                return;
            }
            assert!(self.cycle(), "closed before step {step}");
        }
        panic!("step {step} was never reached");
    }

    pub fn until_closed(&mut self) {
        for _ in 0..10_000 {
            if !self.cycle() {
                return;
            }
        }
        panic!("not closed: {:?}", self.decide());
    }
}
