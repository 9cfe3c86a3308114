//! What one seed's history is about: the service, its releases and their defects, the faults, and the users' commands.

use crate::rng::Rng;
use model::{
    Check, Digest, Drain, GroupName, GroupRelease, Health, ImageName, Limits, Network, Probe, Release, Rollout, RotationCommand,
    RotationId, Route, ServiceName, ServiceSpec, TierName, Wave,
};
use std::collections::BTreeMap;

/// The world advances by this many milliseconds at a time.
pub(crate) const TICK_MS: u64 = 1_000;
/// Faults of every kind end this many ticks after a rotation was opened.
pub(crate) const NOISY_TICKS: u64 = 300;

/// How a bad release fails requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Defect {
    /// Failed requests per 10,000.
    pub errors: u64,
    /// Begins after this many ticks.
    pub after: u64,
    /// Only with at least this weight.
    pub weight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Good,
    /// Runs and never passes its probe.
    NeverHealthy,
    /// Exits soon after each launch.
    CrashLoop,
    /// Healthy; fails requests. Without a route: healthy, and exits some seconds later.
    BadAtWork,
    /// Its checks exit with 1.
    BadCheck,
    /// Its image is never baked.
    NeverBaked,
    /// As BadAtWork, but at so low a rate, so late, or only under so much traffic that a soak may miss it: it may be promoted.
    Faint,
    /// Healthy at first, then unhealthy until it is replaced.
    Hangs,
    /// Healthy, but each server exits after a while, as one with a memory leak does.
    Leaks,
    /// The provider refuses it permanently.
    Refused,
}

/// What the migration of a release does when it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Migration {
    /// It takes this many ticks. More than [`MIGRATION_TICKS`]: it is ended before.
    pub ticks: u64,
    pub code: i32,
}

/// How long a migration may take.
pub(crate) const MIGRATION_TICKS: u64 = 20;

/// The chance of each fault, per 10,000 opportunities.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub crash: u64,
    pub error: u64,
    pub lose: u64,
    pub double: u64,
    pub delay: u64,
    pub stall: u64,
    pub slow_decision: u64,
    pub stale_view: u64,
    pub sleep: u64,
    pub kill: u64,
    pub zone_lost: u64,
    pub no_launch: u64,
    pub balancer_restart: u64,
    pub keeper_restart: u64,
    pub no_listener: u64,
    pub slow_call: u64,
    pub clock_step: u64,
    /// The wall clock is set forward or back by an hour.
    pub clock_set: u64,
}

/// One rotation of the history: the service's spec, the new release, and the users' commands.
#[derive(Clone, Debug)]
pub(crate) struct Act {
    pub spec: ServiceSpec,
    pub release: Release,
    pub kind: Kind,
    pub defect: Defect,
    /// What its migration does, if it has one.
    pub migration: Option<Migration>,
    /// Nobody lifts a pause: in the end a user rolls it back or stops it.
    pub forgotten: Option<RotationCommand>,
    /// Ticks after it was opened.
    pub commands: Vec<(u64, RotationCommand)>,
}

impl Act {
    pub fn migrate(&mut self, fate: Migration) {
        let migrate = model::Migrate { run: vec!["migrate".to_string()], within_ms: MIGRATION_TICKS * TICK_MS };
        (self.spec.migrate, self.release.migrate, self.migration) = (Some(migrate.clone()), Some(migrate), Some(fate));
    }

    /// The release of an act before this one.
    fn deploy_again(&mut self, before: &Act) {
        let spec = ServiceSpec { count: self.spec.count, ..before.spec.clone() };
        *self = Act { spec, forgotten: self.forgotten, commands: self.commands.clone(), ..before.clone() };
    }
}

/// A manual step on the active group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ManualStep {
    SameSize,
    OneMore,
    /// Must be refused.
    OneLess,
    SameWeights,
    Soak,
    /// Must be refused.
    Retire,
}

/// What a lost control plane left: other code under the name that the first act will use, declared `after` ticks after that was
/// opened, with this stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub after: u64,
    pub fence: u64,
    pub seq: u64,
    /// It appears at the moment when the first step on the group begins.
    pub at_start: bool,
    /// It has that step's own stamp.
    pub same_stamp: bool,
}

/// An older copy of the journal is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backup {
    /// In this act, `after` ticks after it was opened.
    pub act: usize,
    pub after: u64,
    /// How much of the act's journal the copy holds, per 1,000.
    pub part: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub service: ServiceName,
    pub active: Option<GroupRelease>,
    /// How many servers are active before the first act.
    pub active_count: u32,
    pub acts: Vec<Act>,
    /// A manual step at the end.
    pub manual: Option<ManualStep>,
    /// At the end the service is removed; these commands come meanwhile.
    pub removal: Option<Vec<(u64, RotationCommand)>>,
    pub backup: Option<Backup>,
    /// The machine has a clock that is never set. Both drivers run on it, and its wall clock may be set.
    pub steady: bool,
    pub faults: Faults,
    pub calm: bool,
    /// The longest boot in ticks.
    pub boot_ticks: u64,
    /// The most ticks that a server takes to end.
    pub end_ticks: u64,
    /// A control plane whose journal is lost left something under the name that the first act will use.
    pub lost: Option<Lost>,
    /// Requests in flight to a group without weight do not end before the drain deadline.
    pub endless_streams: bool,
    /// The keeper ends healthy servers first when it scales in.
    pub ends_healthy_first: bool,
    /// Every declaration arrives twice.
    pub twice: bool,
    /// Some releases are exclusive: while one of them is involved, no two servers may run at once, and nobody serves for a while.
    pub exclusive: bool,
}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x00A5_F2E5_51D0_C0DE);
        let service = ServiceName::new("web").expect("web is a name");
        let calm = rng.chance(1_000);
        let routed = !rng.chance(2_500);
        let before_routed = if rng.chance(300) { !routed } else { routed };
        let count = u32::try_from(rng.between(1, 8)).unwrap_or(1);
        let active_count = if rng.chance(2_000) { u32::try_from(rng.between(1, 8)).unwrap_or(1) } else { count };
        let healthy_ms = rng.below(4) * TICK_MS;
        let acts_n = [1, 1, 1, 1, 1, 1, 2, 2, 3, 4][rng.place(10)];
        let mut acts: Vec<Act> = Vec::new();
        for i in 0..acts_n {
            let count = if i > 0 && rng.chance(3_000) { u32::try_from(rng.between(1, 8)).unwrap_or(1) } else { count };
            acts.push(act(&mut rng, &service, 2 + i, count, routed, healthy_ms, calm));
        }
        let first = rng.chance(1_000);
        let active = (!first).then(|| {
            let release = release(&service, 1, before_routed, healthy_ms, 0);
            let group = GroupName::of(&service, 1, &RotationId::of(&service, 1)).expect("short");
            GroupRelease { group, release }
        });
        let lost = (!calm && rng.chance(600)).then(|| Lost {
            after: rng.below(20),
            fence: [1, 6, 40, 2_000_000][rng.place(4)],
            seq: rng.below(8),
            at_start: rng.chance(5_000),
            same_stamp: rng.chance(5_000),
        });
        let scenario = Scenario {
            active,
            active_count,
            acts,
            manual: rng.chance(1_500).then(|| MANUAL_STEPS[rng.place(MANUAL_STEPS.len())]),
            removal: None,
            backup: None,
            steady: false,
            faults: if calm { Faults::default() } else { faults(&mut rng) },
            calm,
            boot_ticks: rng.between(1, 6),
            end_ticks: if rng.chance(2_000) { 25 } else { 4 },
            lost,
            endless_streams: rng.chance(2_000),
            ends_healthy_first: rng.chance(5_000),
            twice: false,
            exclusive: false,
            service,
        };
        // A separate generator, seeded so that the seeds kept in `tests` have none of these.
        let mut rng = Rng::new(seed ^ 0x0B5E_55ED_C10C_01C2);
        scenario
            .parked(&mut rng, routed, healthy_ms)
            .removed(&mut rng)
            .restored(&mut rng)
            .on_one_machine(&mut rng)
            .migrated(&mut rng)
            .exclusive(seed)
    }

    /// Most releases of some services are exclusive, so that both orders meet. A lost control plane leaves no second server there: nobody
    /// who does not know of it could wait for it.
    fn exclusive(mut self, seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x0E8C_1051_0E00_A10E);
        if !rng.chance(1_200) {
            return self;
        }
        (self.exclusive, self.lost) = (true, None);
        let mut of = |release: &mut Release| {
            release.exclusive = rng.chance(7_500);
            release.exclusive
        };
        if self.active.as_mut().is_some_and(|active| of(&mut active.release)) {
            self.active_count = self.active_count.min(1);
        }
        for act in &mut self.acts {
            if of(&mut act.release) {
                (act.spec.exclusive, act.spec.count) = (true, act.spec.count.min(1));
            }
        }
        self
    }

    /// Releases with migrations, some of which are deployed again.
    fn migrated(mut self, rng: &mut Rng) -> Self {
        if !rng.chance(2_000) {
            return self;
        }
        if self.acts.len() == 1 && rng.chance(5_000) {
            self.acts.push(self.acts[0].clone());
        }
        for place in 0..self.acts.len() {
            let fate = match rng.below(10) {
                0 => Migration { ticks: rng.between(1, 5), code: 1 },
                1 => Migration { ticks: MIGRATION_TICKS + 5, code: 0 },
                _ => Migration { ticks: rng.between(1, 15), code: 0 },
            };
            self.acts[place].migrate(fate);
            if place > 0 && rng.chance(4_000) {
                let before = self.acts[place - 1].clone();
                self.acts[place].deploy_again(&before);
                // A stop leaves the migration running, and the next rotation finds it.
                if !self.calm && rng.chance(3_000) {
                    self.acts[place - 1].commands = vec![(rng.between(3, 12), RotationCommand::Stop)];
                }
            }
        }
        self
    }

    /// Some acts set a count of 0, or give servers to a service that had none.
    fn parked(mut self, rng: &mut Rng, routed: bool, healthy_ms: u64) -> Self {
        if !rng.chance(1_200) {
            return self;
        }
        let number = 2 + self.acts.len() as u64;
        if number < 5 {
            let count = u32::try_from(rng.between(1, 8)).unwrap_or(1);
            self.acts.push(act(rng, &self.service, number, count, routed, healthy_ms, self.calm));
        }
        for act in &mut self.acts {
            if rng.chance(5_000) {
                act.spec.count = 0;
            }
        }
        if rng.chance(2_000) {
            self.active_count = 0;
        }
        self
    }

    fn removed(mut self, rng: &mut Rng) -> Self {
        if rng.chance(800) && self.lost.is_none() {
            self.manual = None;
            self.removal = Some(if !self.calm && rng.chance(3_000) { commands(rng) } else { Vec::new() });
        }
        self
    }

    fn restored(mut self, rng: &mut Rng) -> Self {
        if rng.chance(1_000) && self.lost.is_none() && !self.calm {
            self.backup = Some(Backup { act: rng.place(self.acts.len()), after: rng.below(250), part: rng.below(1_000) });
        }
        self
    }

    fn on_one_machine(mut self, rng: &mut Rng) -> Self {
        if rng.chance(1_200) && !self.calm {
            self.steady = true;
            (self.faults.clock_step, self.faults.clock_set) = (0, [20, 100, 400][rng.place(3)]);
        }
        self
    }

    /// The small rotation of the exhaustive crash tests: nothing random in it but the given crashes.
    #[cfg(test)]
    pub fn small(kind: Kind, routed: bool) -> Self {
        let service = ServiceName::new("web").expect("web is a name");
        let mut spec = spec(&service, 2, routed, TICK_MS);
        spec.rollout =
            Rollout { waves: vec![Wave::Percent(50), Wave::Percent(100)], soak_ms: soak_ticks(kind, routed, 2) * TICK_MS, ..spec.rollout };
        let mut release_new = release(&service, 2, routed, TICK_MS, 0);
        release_new.checks = spec.checks.clone();
        let group = GroupName::of(&service, 1, &RotationId::of(&service, 1)).expect("short");
        let active = Some(GroupRelease { group, release: release(&service, 1, routed, TICK_MS, 0) });
        Scenario {
            active,
            active_count: 2,
            acts: vec![Act {
                spec,
                release: release_new,
                kind,
                defect: Defect { errors: 5_000, after: 0, weight: 0 },
                migration: None,
                forgotten: None,
                commands: Vec::new(),
            }],
            manual: None,
            removal: None,
            backup: None,
            steady: false,
            faults: Faults::default(),
            calm: true,
            boot_ticks: 2,
            end_ticks: 4,
            lost: None,
            endless_streams: false,
            ends_healthy_first: false,
            twice: false,
            exclusive: false,
            service,
        }
    }

    /// The same of an exclusive service.
    #[cfg(test)]
    pub fn small_exclusive(kind: Kind, routed: bool) -> Self {
        let mut scenario = Self { exclusive: true, active_count: 1, ..Self::small(kind, routed) };
        let act = &mut scenario.acts[0];
        (act.spec.count, act.spec.exclusive, act.release.exclusive) = (1, true, true);
        scenario.active.iter_mut().for_each(|active| active.release.exclusive = true);
        scenario
    }
}

const MANUAL_STEPS: [ManualStep; 6] =
    [ManualStep::SameSize, ManualStep::OneMore, ManualStep::OneLess, ManualStep::SameWeights, ManualStep::Soak, ManualStep::Retire];

/// Long enough that the release's defect shows in it for certain.
fn soak_ticks(kind: Kind, routed: bool, expected: u64) -> u64 {
    match (kind, routed) {
        (Kind::BadAtWork, true) => expected.max(2),
        (Kind::BadAtWork, false) => expected.max(14),
        _ => expected,
    }
}

fn act(rng: &mut Rng, service: &ServiceName, number: u64, count: u32, routed: bool, healthy_ms: u64, calm: bool) -> Act {
    let checks = if rng.chance(2_000) { rng.between(1, 2) } else { 0 };
    let kind = match rng.below(100) {
        0..10 => Kind::NeverHealthy,
        10..20 => Kind::CrashLoop,
        20..36 => Kind::BadAtWork,
        36..40 => Kind::Faint,
        42..48 if checks > 0 => Kind::BadCheck,
        48..50 => Kind::NeverBaked,
        50..53 if !calm => Kind::Hangs,
        53..56 if !calm => Kind::Leaks,
        56..58 => Kind::Refused,
        _ => Kind::Good,
    };
    let mut spec = spec(service, count, routed, healthy_ms);
    let (one, pct) = (Wave::Count(1), Wave::Percent);
    let waves = [
        vec![pct(100)],
        vec![one, pct(100)],
        vec![pct(10), pct(50), pct(100)],
        vec![pct(25), pct(100)],
        vec![one, pct(50), pct(100)],
        vec![pct(1), pct(5), pct(25), pct(50), pct(100)],
    ];
    let soak = rng.below(9);
    spec.rollout.waves = waves[rng.place(waves.len())].clone();
    spec.rollout.soak_ms = soak_ticks(kind, routed, soak) * TICK_MS;
    let release = release(service, number, routed, healthy_ms, checks);
    spec.checks = release.checks.clone();
    (spec.route, spec.port) = (release.route.clone(), release.port);
    let commands = if !calm && rng.chance(3_000) { commands(rng) } else { Vec::new() };
    let defect = match kind {
        Kind::BadAtWork => Defect { errors: rng.between(200, 10_000), after: 0, weight: 0 },
        _ => Defect { errors: [10, 80, 101, 150, 1_000, 10_000][rng.place(6)], after: rng.below(30), weight: [0, 0, 40, 70][rng.place(4)] },
    };
    let forgotten = (!commands.is_empty() && rng.chance(3_000)).then(|| [RotationCommand::Rollback, RotationCommand::Stop][rng.place(2)]);
    Act { spec, release, kind, defect, migration: None, forgotten, commands }
}

fn commands(rng: &mut Rng) -> Vec<(u64, RotationCommand)> {
    let mut commands = Vec::new();
    for _ in 0..rng.between(1, 3) {
        let command = [
            RotationCommand::Pause,
            RotationCommand::Resume,
            RotationCommand::Rollback,
            RotationCommand::Stop,
            RotationCommand::Pause,
            RotationCommand::Rollback,
        ][rng.place(6)];
        commands.push((rng.below(90), command));
    }
    commands.sort_by_key(|(tick, _)| *tick);
    commands
}

/// Each seed has a few kinds of faults, some of them frequent: a seed with a little of each finds less.
fn faults(rng: &mut Rng) -> Faults {
    let scale = [1, 3, 8][rng.place(3)];
    let mut on = |per_10k: u64| if rng.chance(5_500) { per_10k * scale } else { 0 };
    Faults {
        crash: on(40),
        error: on(100),
        lose: on(200),
        double: on(300),
        delay: on(300),
        stall: on(100),
        slow_decision: on(100),
        stale_view: on(600),
        sleep: on(40),
        kill: on(30),
        zone_lost: on(5),
        no_launch: on(30),
        balancer_restart: on(10),
        keeper_restart: on(20),
        no_listener: on(20),
        slow_call: on(40),
        clock_step: on(20),
        clock_set: 0,
    }
}

fn spec(service: &ServiceName, count: u32, routed: bool, healthy_ms: u64) -> ServiceSpec {
    let made = release(service, 0, routed, healthy_ms, 0);
    ServiceSpec {
        name: service.clone(),
        tier: TierName::new("web").expect("web is a name"),
        image: made.image_name,
        recipe: None,
        artifact: None,
        run: made.run,
        env: BTreeMap::new(),
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
        rollout: Rollout { within_ms: 60 * TICK_MS, errors_ppm: 10_000, ..Rollout::default() },
        from_image: Default::default(),
    }
}

/// Releases listen on different ports, so that a mix-up of settings shows.
fn port(number: u64) -> u16 {
    8080 + u16::try_from(number % 3).unwrap_or(0)
}

fn release(service: &ServiceName, number: u64, routed: bool, healthy_ms: u64, checks: u64) -> Release {
    let check = |i: u64| Check { name: format!("c{i}"), run: vec!["check".to_string()], within_ms: 30 * TICK_MS };
    Release {
        service: service.clone(),
        number,
        image_name: ImageName::new("base").expect("base is a name"),
        image: Digest::new(format!("sha256:{number:064x}")).expect("64 hex digits"),
        artifact: None,
        run: vec!["serve".to_string()],
        env: BTreeMap::new(),
        secrets: Default::default(),
        user: ServiceSpec::default_user(),
        port: routed.then_some(port(number)),
        health: Health { probe: Probe::Running, healthy_for_ms: healthy_ms, ..Health::default() },
        drain: Drain { within_ms: 12 * TICK_MS, ..Drain::default() },
        limits: Limits::default(),
        volumes: Vec::new(),
        exclusive: false,
        network: Network::default(),
        route: routed.then(|| Route::on(([127, 0, 0, 1], port(number)).into())),
        checks: (1..=checks).map(check).collect(),
        migrate: None,
        container: None,
    }
}
