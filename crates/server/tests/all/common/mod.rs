//! A small world in memory behind the ports, and a server over it in a directory of its own.

use api::Client;
use api::control::{Opened, *};
use model::*;
use rotation::{GroupInventory, ImageStore, Provider, RouteInventory, Router};
use server::{Config, Images, Kept, Server};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often a test kills: `AFRESH_KILLS` (ARCHITECTURE, "Tests").
pub fn kills() -> u64 {
    std::env::var("AFRESH_KILLS").map_or(20, |text| text.parse().expect("AFRESH_KILLS is a number"))
}

#[derive(Default)]
pub struct State {
    pub groups: BTreeMap<GroupName, (Stamp, GroupSpec, Vec<InstanceSeen>, u64)>,
    pub routes: BTreeMap<RouteName, (Stamp, RouteSpec)>,
    pub traffic: BTreeMap<GroupName, (u64, u64)>,
    pub objects: BTreeSet<Digest>,
    /// Which of them are artifacts, and which are kept bases; the others are images.
    pub artifacts: BTreeSet<Digest>,
    pub bases: BTreeSet<Digest>,
    /// Neither the keeper nor the balancer answers.
    pub down: bool,
    /// Threads whose name begins so panic when they observe, this number of times.
    pub panics: Option<(&'static str, u32)>,
    /// What container images say of themselves.
    pub containers: BTreeMap<Digest, Container>,
    /// Images on which nothing ever gets healthy.
    pub sick: BTreeSet<Digest>,
    /// Programs that never get healthy on an image.
    pub unfit: BTreeSet<(Digest, String)>,
    /// New instances stay unhealthy for now.
    pub slow: bool,
    pub launched: u64,
    pub swaps: u64,
    pub swept: Vec<BTreeSet<Digest>>,
    /// Looks at one group or route by others than drivers, and lists of all groups.
    pub observed: u64,
    pub listed: u64,
    /// Lists of the objects of the store.
    pub kept_lists: u64,
    /// Lists that waited because of [`Fake::hold_lists`].
    pub held: u64,
    pub holding: bool,
    /// How one-shots ended. The program `true` exits with 0, `hang` runs until its group is gone, any other exits with 1.
    pub ended: BTreeMap<GroupName, OneShotEnd>,
}

/// A release whose program is `sick` never gets healthy; one that is `bad` answers every request with an error.
#[derive(Default)]
pub struct Fake(Mutex<State>, Condvar);

impl Fake {
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Lists of groups wait while it is so.
    pub fn hold_lists(&self, hold: bool) {
        self.state().holding = hold;
        self.1.notify_all();
    }

    fn up(&self) -> Result<MutexGuard<'_, State>, Fault> {
        let mut state = self.state();
        let thread = std::thread::current();
        if let Some((who, times)) = &mut state.panics
            && *times > 0
            && thread.name().is_some_and(|name| name.starts_with(*who))
        {
            *times -= 1;
            drop(state);
            panic!("the fake world gave way");
        }
        if state.down { Err(Fault::world("unreachable", "the fake keeper is down")) } else { Ok(state) }
    }

    /// Groups that run, with their counts.
    pub fn running(&self) -> BTreeMap<String, u32> {
        let state = self.state();
        let counts = state.groups.iter().filter_map(|(name, (_, spec, _, _))| match &spec.desired {
            DesiredGroup::Run { count, .. } => Some((name.to_string(), *count)),
            DesiredGroup::Gone => None,
        });
        counts.collect()
    }

    pub fn weights(&self, route: &str) -> BTreeMap<String, u32> {
        let state = self.state();
        let spec = state.routes.get(&RouteName::new(route).unwrap());
        spec.map(|(_, s)| s.weights.iter().map(|(g, w)| (g.to_string(), *w)).collect()).unwrap_or_default()
    }
}

fn program(spec: &GroupSpec) -> String {
    match &spec.desired {
        DesiredGroup::Run { release, .. } => release.run[0].clone(),
        DesiredGroup::Gone => String::new(),
    }
}

impl Provider for Fake {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        let mut state = self.up()?;
        let (mut instances, mut next, mut hanging) = (Vec::new(), 0, None);
        if let Some((old, was, there, n)) = state.groups.remove(&spec.group) {
            if stamp < old {
                state.groups.insert(spec.group.clone(), (old, was, there, n));
                return Err(Fault::yours("stale-stamp", format!("{stamp} after {old}")));
            }
            // As the keeper does it: one stamp is one declaration, a group keeps its release, a name is used once.
            let refusal = match (&was.desired, &spec.desired) {
                _ if stamp == old && was != *spec => Some("stamp-reused"),
                (DesiredGroup::Gone, DesiredGroup::Run { .. }) => Some("group-gone"),
                (DesiredGroup::Run { release: a, .. }, DesiredGroup::Run { release: b, .. }) if a != b => Some("release-changed"),
                _ if was.service != spec.service => Some("release-changed"),
                _ => None,
            };
            if let Some(code) = refusal {
                state.groups.insert(spec.group.clone(), (old, was, there, n));
                return Err(Fault::yours(code, format!("{}: {stamp} after {old}", spec.group)));
            }
            (instances, next) = (there, n);
            if let DesiredGroup::Run { release, once: Some(_), .. } = was.desired {
                hanging = Some(release);
            }
        }
        let count = match &spec.desired {
            DesiredGroup::Run { count, .. } => *count as usize,
            DesiredGroup::Gone => 0,
        };
        instances.truncate(count);
        while instances.len() < count {
            next += 1;
            state.launched += 1;
            let id = InstanceId::new(format!("{}-{next}", spec.group)).unwrap();
            let addr = Some("10.0.0.1:80".parse().unwrap());
            let release = match &spec.desired {
                DesiredGroup::Run { release, .. } => Some(release.digest()),
                DesiredGroup::Gone => None,
            };
            instances.push(InstanceSeen {
                id,
                state: InstanceState::Running,
                release,
                addr,
                started: Time(0),
                healthy_ms: None,
                exit: None,
                failed_probe: None,
                scratch: None,
                refused: Vec::new(),
            });
        }
        match &spec.desired {
            // It runs until it is told to end.
            DesiredGroup::Run { once: Some(once), .. } if once.run[0] == "hang" => {}
            DesiredGroup::Run { release, once: Some(once), .. } => {
                let exit = Exit::new(i32::from(once.run[0] != "true"), Time(1));
                instances.iter_mut().for_each(|i| {
                    i.state = InstanceState::Exited;
                    i.exit = Some(exit.clone());
                });
                state.ended.entry(spec.group.clone()).or_insert(OneShotEnd { release: release.digest(), exit });
            }
            DesiredGroup::Run { .. } => {}
            DesiredGroup::Gone => {
                if let Some(release) = hanging {
                    let end = OneShotEnd { release: release.digest(), exit: Exit::new(143, Time(1)) };
                    state.ended.entry(spec.group.clone()).or_insert(end);
                }
            }
        }
        state.groups.insert(spec.group.clone(), (stamp, spec.clone(), instances, next));
        Ok(())
    }

    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.count_look();
        self.seen(group)
    }
}

impl Fake {
    fn count_look(&self) {
        let is_driver = std::thread::current().name().is_some_and(|name| name.starts_with("drive "));
        self.state().observed += u64::from(!is_driver);
    }

    fn seen(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        let mut state = self.up()?;
        let slow = state.slow;
        let (sick, unfit) = (state.sick.clone(), state.unfit.clone());
        let ended = state.ended.get(group).cloned();
        let Some((stamp, spec, instances, _)) = state.groups.get_mut(group) else { return Ok(GroupSeen::unknown(group.clone())) };
        let is_unfit = matches!(&spec.desired, DesiredGroup::Run { release, .. }
            if sick.contains(&release.image) || unfit.contains(&(release.image.clone(), program(spec))));
        let sick = program(spec) == "sick" || is_unfit;
        for instance in instances.iter_mut().filter(|i| i.state == InstanceState::Running && !slow && !sick) {
            instance.healthy_ms = Some(1 << 30);
        }
        let desired = match &spec.desired {
            DesiredGroup::Run { release, count, .. } => DesiredSeen::Run { release: release.number, count: *count },
            DesiredGroup::Gone => DesiredSeen::Gone,
        };
        let release = match &spec.desired {
            DesiredGroup::Run { release, .. } => Some(release.digest()),
            DesiredGroup::Gone => None,
        };
        Ok(GroupSeen {
            group: group.clone(),
            stamp: Some(*stamp),
            desired,
            release,
            instances: instances.clone(),
            deaths: 0,
            trouble: None,
            last_death: None,
            ended,
            exclusive: false,
        })
    }
}

impl GroupInventory for Fake {
    fn groups(&self) -> Result<Vec<GroupHeld>, Fault> {
        let mut state = self.state();
        state.listed += 1;
        state.held += u64::from(state.holding);
        drop(self.1.wait_while(state, |state| state.holding).unwrap());
        let held: Vec<(GroupName, GroupSpec)> = self.up()?.groups.iter().map(|(g, (_, spec, ..))| (g.clone(), spec.clone())).collect();
        held.into_iter().map(|(g, spec)| Ok(GroupHeld { seen: self.seen(&g)?, spec: Some(spec) })).collect()
    }
}

impl RouteInventory for Fake {
    fn routes(&self) -> Result<Vec<RouteHeld>, Fault> {
        Ok(self.up()?.routes.values().map(|(stamp, spec)| RouteHeld { stamp: *stamp, spec: spec.clone() }).collect())
    }
}

impl Router for Fake {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        let mut state = self.up()?;
        if state.routes.get(&spec.route).is_some_and(|(old, _)| stamp < *old) {
            return Err(Fault::yours("stale-stamp", "an old stamp"));
        }
        if state.routes.get(&spec.route).is_some_and(|(old, was)| stamp == *old && was != spec) {
            return Err(Fault::yours("stale-stamp", "the stamp was taken with something else"));
        }
        let same = state.routes.get(&spec.route).is_some_and(|(_, old)| old == spec);
        state.swaps += u64::from(!same);
        state.routes.insert(spec.route.clone(), (stamp, spec.clone()));
        Ok(())
    }

    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.count_look();
        let mut state = self.up()?;
        let mut seen = RouteSeen { epoch: 7, ..RouteSeen::unknown(route.clone()) };
        if let Some((stamp, spec)) = state.routes.get(route) {
            (seen.stamp, seen.weights) = (Some(*stamp), spec.weights.clone());
        }
        let groups: Vec<_> = state.groups.iter().map(|(g, (_, spec, there, _))| (g.clone(), program(spec), there.clone())).collect();
        for (group, program, there) in groups {
            let counts = state.traffic.entry(group.clone()).or_default();
            // Each look finds ten more requests where customers are sent.
            let more = if seen.weights.contains_key(&group) { 10 } else { 0 };
            *counts = (counts.0 + more, counts.1 + if program == "bad" { more } else { 0 });
            let targets =
                there.into_iter().map(|i| (i.id, TargetSeen { healthy_ms: i.healthy_ms, in_flight: 0, draining: false })).collect();
            seen.groups.insert(group, GroupTraffic { in_flight: 0, requests: counts.0, errors: counts.1, targets });
        }
        Ok(seen)
    }
}

impl ImageStore for Fake {
    fn has(&self, object: &Digest) -> Result<bool, Fault> {
        Ok(self.state().objects.contains(object))
    }
}

impl Images for Fake {
    fn kept(&self) -> Result<Vec<Kept>, Fault> {
        let mut state = self.state();
        state.kept_lists += 1;
        let image = |d: &Digest| if state.artifacts.contains(d) { None } else { ImageName::new("base").ok() };
        let kept = |d: &Digest| Kept { digest: d.clone(), image: image(d), bytes: 5, packages: 3, made: Time(1), pinned: None };
        Ok(state.objects.iter().filter(|d| !state.bases.contains(*d)).map(kept).collect())
    }
    fn made(&self, object: &Digest) -> Result<Option<Time>, Fault> {
        Ok(self.state().objects.contains(object).then_some(Time(1)))
    }
    fn container(&self, image: &Digest) -> Result<Option<Container>, Fault> {
        Ok(self.state().containers.get(image).cloned())
    }
    fn sweep(&self, keep: &BTreeSet<Digest>) -> Result<Vec<(Digest, u64)>, Fault> {
        let mut state = self.state();
        state.swept.push(keep.clone());
        let gone: Vec<_> = state.objects.iter().filter(|d| !keep.contains(*d)).cloned().collect();
        state.objects.retain(|d| keep.contains(d));
        Ok(gone.into_iter().map(|d| (d, 5)).collect())
    }
}

/// A thread of the one before may hold the directory a moment longer than it answers, and so may a program that another test has just forked,
/// until it executes what it is for.
pub async fn start(config: server::Config) -> Result<server::Server, Fault> {
    let begun = Instant::now();
    loop {
        match server::start(config.clone()).await {
            Err(fault) if fault.code == "already-served" && begun.elapsed() < Duration::from_secs(60) => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            started => return started,
        }
    }
}

pub fn digest(letter: char) -> Digest {
    Digest::new(format!("sha256:{}", String::from(letter).repeat(64))).unwrap()
}

pub fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

pub fn recipe(image: &str) -> ImageSpec {
    let name = ImageName::new(image).unwrap();
    let (debian, packages, checks) = ("bookworm".into(), Vec::new(), Vec::new());
    ImageSpec {
        name,
        base: None,
        debian,
        packages,
        rebuild: None,
        max_age_ms: None,
        window: None,
        jitter_ms: 0,
        checks,
        custom: Default::default(),
        oci: None,
    }
}

pub fn spec(service: &str, tier: &str, program: &str, count: u32, listen: Option<&str>) -> ServiceSpec {
    ServiceSpec {
        name: name(service),
        tier: TierName::new(tier).unwrap(),
        image: ImageName::new("base").unwrap(),
        recipe: None,
        artifact: None,
        run: vec![program.into()],
        env: BTreeMap::new(),
        secrets: Default::default(),
        user: ServiceSpec::default_user(),
        port: listen.map(|_| 8080),
        count,
        health: Health { healthy_for_ms: 0, ..Health::default() },
        drain: Drain { within_ms: 200, ..Drain::default() },
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::default(),
        route: listen.map(|l| Route::on(l.parse().unwrap())),
        checks: Vec::new(),
        migrate: None,
        jobs: Vec::new(),
        rollout: Rollout { waves: vec![Wave::Count(1), Wave::Percent(100)], soak_ms: 30, within_ms: 60_000, ..Rollout::default() },
        from_image: Default::default(),
    }
}

/// The web service alone, as most tests want it.
pub fn web(program: &str) -> DeployRequest {
    request(vec![spec("web", "front", program, 3, Some("127.0.0.1:8080"))], Some("web"))
}

pub fn request(specs: Vec<ServiceSpec>, service: Option<&str>) -> DeployRequest {
    let tiers = ["back", "front"].map(|t| TierName::new(t).unwrap()).to_vec();
    DeployRequest {
        file: ServiceFile {
            images: [(recipe("base").name.clone(), recipe("base"))].into(),
            services: specs.into_iter().map(|s| (s.name.clone(), s)).collect(),
            secrets: BTreeMap::new(),
            tiers,
            moved: Vec::new(),
        },
        service: service.map(name),
        images: [(ImageName::new("base").unwrap(), digest('a'))].into(),
        artifacts: BTreeMap::new(),
        release: None,
        remove: Vec::new(),
        keep_artifacts: false,
        secrets: BTreeMap::new(),
        keep_secrets: false,
        secrets_not_stored: false,
        unbaked: BTreeSet::new(),
        break_glass: None,
    }
}

pub struct House {
    pub dir: tempfile::TempDir,
    pub fake: Arc<Fake>,
    pub server: Option<Server>,
}

impl House {
    pub async fn new() -> House {
        let mut house = House { dir: tempfile::tempdir().unwrap(), fake: Arc::new(Fake::default()), server: None };
        house.fake.state().objects.insert(digest('a'));
        house.start().await;
        house
    }

    pub fn config(&self) -> Config {
        let layout = Layout::new(self.dir.path());
        let holder = server::lease_holder(&layout).unwrap();
        let fake = self.fake.clone();
        Config {
            layout,
            listen: None,
            token_file: None,
            policy: self.dir.path().join("policy.hcl"),
            holder,
            provider: fake.clone(),
            router: fake.clone(),
            images: fake,
            backups: None,
            upkeep: None,
        }
    }

    pub async fn start(&mut self) {
        self.server = Some(start(self.config()).await.unwrap());
    }

    pub async fn stop(&mut self) {
        self.server.take().unwrap().stop().await;
        // A request that was being answered may let go of the database a moment later; the last one writes the log into it.
        let log = Layout::new(self.dir.path()).database().with_file_name("afresh.db-wal");
        let begun = Instant::now();
        while log.exists() {
            assert!(begun.elapsed() < Duration::from_secs(60), "the database is never let go");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub fn client(&self) -> Client {
        Client::unix(Layout::new(self.dir.path()).api_socket())
    }

    pub async fn deploy(&self, request: &DeployRequest) -> Result<Opened, Fault> {
        self.client().post("/v1/deploy", request).await
    }

    /// Deploys and waits for the end.
    pub async fn through(&self, request: &DeployRequest) -> RotationStatus {
        let opened = self.deploy(request).await.unwrap();
        assert_eq!(opened.rotations.len(), 1, "{opened:?}");
        self.end(&opened.rotations[0]).await
    }

    pub async fn rotation(&self, id: &RotationId) -> RotationStatus {
        self.client().get(&format!("/v1/rotations/{id}")).await.unwrap()
    }

    pub async fn end(&self, id: &RotationId) -> RotationStatus {
        self.until(id, |r| r.verdict.is_some()).await
    }

    /// Polls until it is so; generous, since the machine is shared.
    pub async fn until(&self, id: &RotationId, so: impl Fn(&RotationStatus) -> bool) -> RotationStatus {
        let begun = Instant::now();
        loop {
            let status = self.rotation(id).await;
            if so(&status) {
                return status;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it never came: {status:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn ask(&self, id: &RotationId, ask: RotationCommand) {
        let request = CommandRequest { command: ask };
        let _: serde_json::Value = self.client().post(&format!("/v1/rotations/{id}/command"), &request).await.unwrap();
    }

    /// A token that the administrator makes.
    pub async fn token(&self, name: &str, grant: model::access::Grant) -> String {
        let made: TokenMade = self.client().post("/v1/tokens", &TokenRequest { name: name.into(), grant }).await.unwrap();
        made.token
    }

    pub async fn until_rollout(&self, id: &RolloutId) {
        let begun = Instant::now();
        loop {
            let seen: RolloutSeen = self.client().get(&format!("/v1/rollouts/{id}")).await.unwrap();
            if seen.end.is_some() {
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "it never ends: {seen:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn status(&self, service: &str) -> ServiceStatus {
        self.client().get(&format!("/v1/services/{service}")).await.unwrap()
    }
}

impl House {
    /// Until a rotation was opened, by a rollout for instance.
    pub async fn until_there(&self, id: &str) {
        let begun = Instant::now();
        while self.client().get::<RotationStatus>(&format!("/v1/rotations/{id}")).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(60), "{id} was never opened");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
