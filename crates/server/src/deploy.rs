//! Plan, deploy and rollback: wishes into open rotations, each in one transaction with everything that belongs to it.

use crate::access::{self, Caller};
use crate::app::App;
use crate::desired::{self, Desired};
use crate::inventory::{self, Inventory, Traces};
use crate::notes;
use crate::observed_service;
use crate::removal;
use api::control::{DeployRequest, Opened, PlanAnswer, PlanNote, PlannedRotation, Removal, RollbackRequest};
use journal::{Known, Origin, Tx};
use model::{
    DesiredSeen, Digest, Direction, Event, Fault, GroupName, GroupRelease, Opened as Opening, Plan, Release, RolloutId, RolloutPlan,
    RotationId, ServiceName, ServiceSpec, Step, TierName, Time, View,
};
use rotation::Intent;
use std::collections::{BTreeMap, BTreeSet};

/// How often the world may move under our feet before we say so.
const TRIES: usize = 5;
const MOVED: &str = "world-moved";

/// A service as it was observed at, to be compared with what the transaction finds.
pub struct ObservedService {
    pub known: Known,
    pub view: View,
    /// Everything that keeper and balancer hold of the service, whoever declared it.
    pub traces: Traces,
}

impl ObservedService {
    fn of(app: &App, service: &ServiceName, inventory: &Inventory, mut known: Known) -> Result<ObservedService, Fault> {
        app.comparison.must_cover(service)?;
        // What a journal names by mistake and another service owns is not this one's to count or to retire.
        known.groups.retain(|group| inventory.other_owner(group, service).is_none());
        known.releases.retain(|group, _| inventory.other_owner(group, service).is_none());
        Ok(ObservedService { known, view: View::default(), traces: inventory.of(service) })
    }

    pub fn known_groups(&self) -> rotation::KnownGroups<'_> {
        rotation::KnownGroups { active: self.known.active.as_ref(), releases: &self.known.releases }
    }
}

/// Waits a little for a keeper that is being restarted: somebody waits for the answer.
pub fn observe(app: &App, service: &ServiceName, routed: bool) -> Result<ObservedService, Fault> {
    observe_with(app, service, routed, &observed_service::retry_while_unreachable(app, || inventory::compare(app))?)
}

pub fn observe_with(app: &App, service: &ServiceName, routed: bool, inventory: &Inventory) -> Result<ObservedService, Fault> {
    let observed = ObservedService::of(app, service, inventory, app.database.read(|r| r.known(service))?)?;
    let view = observed_service::retry_while_unreachable(app, || observed_service::view(app, service, &observed.known, routed))?;
    Ok(ObservedService { view, ..observed })
}

/// Does not wait: the loop that asks comes again, and holds nobody up meanwhile.
pub fn observe_once(app: &App, service: &ServiceName, routed: bool) -> Result<ObservedService, Fault> {
    let observed = ObservedService::of(app, service, &inventory::compare(app)?, app.database.read(|r| r.known(service))?)?;
    let view = observed_service::view(app, service, &observed.known, routed)?;
    Ok(ObservedService { view, ..observed })
}

/// Runs `f` again when a rotation was closed between the look and the transaction.
pub fn retrying<T>(mut f: impl FnMut() -> Result<T, Fault>) -> Result<T, Fault> {
    for _ in 1..TRIES {
        match f() {
            Err(fault) if fault.code == MOVED => {}
            done => return done,
        }
    }
    f()
}

/// What there is to do for one service.
#[derive(Debug)]
pub enum Course {
    Unchanged,
    /// InstanceLock the number of servers differs.
    Count,
    Rotate,
}

fn course(observed: &ObservedService, desired: &Desired, release: &Release) -> Course {
    let Some(active) = observed.known.active.as_ref().filter(|s| s.release == *release) else { return Course::Rotate };
    let view = &observed.view;
    let Some(DesiredSeen::Run { count, .. }) = view.groups.get(&active.group).map(|g| g.desired) else { return Course::Rotate };
    let customers = view.route.as_ref().map_or_else(BTreeMap::new, |r| r.weights.clone());
    let customers: Vec<_> = customers.into_iter().filter(|(_, w)| *w > 0).collect();
    let routed = release.route.is_some() && count > 0;
    let right = if routed { customers == [(active.group.clone(), 100)] } else { customers.is_empty() };
    match (right && observed_service::is_alone(view, active), count == desired.spec.count) {
        (false, _) => Course::Rotate,
        // From and to nobody: customers are turned away before anybody is drained, and turned back only to whole servers.
        (true, false) if count == 0 || desired.spec.count == 0 => Course::Rotate,
        (true, true) => Course::Unchanged,
        (true, false) => Course::Count,
    }
}

/// Who asked for what; goes into the journal.
#[derive(Clone)]
pub struct ChangeRequest<'a> {
    pub why: String,
    pub by: &'a str,
    pub at: Time,
    pub rollout: Option<&'a RolloutId>,
    /// Open one even if nothing differs: a rollout counts it.
    pub always: bool,
}

/// Puts the wish and opens what it takes; None: nothing.
pub fn open(tx: &Tx<'_>, observed: &ObservedService, desired: &Desired, asked: &ChangeRequest<'_>) -> Result<Option<RotationId>, Fault> {
    let service = &desired.spec.name;
    tx.must_be_free(service)?;
    if tx.active(service)? != observed.known.active {
        return Err(Fault::world(MOVED, format!("{service} was changed by somebody else just now")).hint("try again"));
    }
    tx.put_service(&desired.spec, asked.by, asked.at)?;
    tx.outrank(service, observed.traces.fence())?;
    tx.outnumber(service, observed.traces.rotation())?;
    let release = tx.put_release(&desired.release, asked.at)?.release;
    let course = course(observed, desired, &release);
    if matches!(course, Course::Unchanged) && !asked.always {
        tx.put_in_force(service)?;
        return Ok(None);
    }
    let origin = Origin { service, rollout: asked.rollout, at: asked.at };
    let own_count = tx.in_force(service)?.map(|row| row.spec.count);
    let id = tx.open_rotation(&origin, |id, from| {
        let (to, plan) = match (&course, &from) {
            (Course::Rotate, _) | (_, None) => forward(observed, desired, release.clone(), id, from.as_ref(), own_count)?,
            (Course::Unchanged | Course::Count, Some(active)) => (active.clone(), count_only(observed, &desired.spec, active)?),
        };
        Ok(Opening { spec: desired.spec.clone(), from, to, plan, why: asked.why.clone() })
    })?;
    Ok(Some(id))
}

fn forward(
    observed: &ObservedService,
    desired: &Desired,
    release: Release,
    id: &RotationId,
    from: Option<&GroupRelease>,
    own_count: Option<u32>,
) -> Result<(GroupRelease, Plan), Fault> {
    let group = GroupName::of(&desired.spec.name, release.number, id)
        .map_err(|e| Fault::yours("name-too-long", e.to_string()).hint("give the service a shorter name"))?;
    if observed.traces.has(&group) {
        return Err(Fault::ours("name-used", format!("a group {group} was there before: names are never used twice")));
    }
    let to = GroupRelease { group, release };
    let intent = Intent { spec: &desired.spec, from, to: &to, direction: Direction::Forward, own_count };
    let plan = rotation::plan(&intent, &observed.view)?;
    Ok((to, plan))
}

fn count_only(observed: &ObservedService, spec: &ServiceSpec, active: &GroupRelease) -> Result<Plan, Fault> {
    rotation::single(spec, &Step::Scale { group: active.group.clone(), count: spec.count }, &observed.view, observed.known_groups())
}

pub fn plan(app: &App, caller: &Caller, request: &DeployRequest) -> Result<PlanAnswer, Fault> {
    let _alone = app.deploy_lock();
    let tiers = wishes(app, caller, request)?;
    retrying(|| {
        let observed = observe_all(app, &tiers)?;
        let (candidates, going) = going(app, request)?;
        let asked = asked(caller, request, app.now());
        app.database.pretend(|tx| {
            let mut answer = rehearse(tx, &tiers, &observed, &asked)?;
            for candidate in candidates.iter().filter(|c| caller.sees(&c.service)) {
                let plan =
                    going.get(&candidate.service).map(|observed| rehearse_removal(tx, &candidate.service, observed, &asked)).transpose()?;
                answer.removals.push(Removal { plan, ..candidate.clone() });
            }
            Ok(answer)
        })
    })
}

/// Opens everything in a transaction that will not be kept.
fn rehearse(
    tx: &Tx<'_>,
    tiers: &[(TierName, Vec<Desired>)],
    observed: &BTreeMap<ServiceName, ObservedService>,
    asked: &ChangeRequest<'_>,
) -> Result<PlanAnswer, Fault> {
    let mut rotations = Vec::new();
    let mut notes = Vec::new();
    for (tier, wishes) in tiers {
        for desired in wishes {
            let release = tx.put_release(&desired.release, asked.at)?.release;
            notes.extend(notes::of(tx, desired, &release)?);
            let Some(id) = open(tx, &observed[&desired.spec.name], desired, asked)? else { continue };
            let opened = opening(tx, &id)?;
            let service = desired.spec.name.clone();
            rotations.push(PlannedRotation { service, tier: tier.clone(), from: opened.from, to: opened.to, plan: opened.plan });
        }
    }
    Ok(PlanAnswer { rotations, notes, removals: Vec::new() })
}

fn rehearse_removal(tx: &Tx<'_>, service: &ServiceName, observed: &ObservedService, asked: &ChangeRequest<'_>) -> Result<Plan, Fault> {
    let id = removal::open(tx, service, observed, asked)?;
    Ok(opening(tx, &id)?.plan)
}

fn opening(tx: &Tx<'_>, id: &RotationId) -> Result<Opening, Fault> {
    match tx.first_line(id)?.map(|line| line.event) {
        Some(Event::Opened(opened)) => Ok(opened),
        _ => Err(Fault::ours("no-opening", format!("{id} has no first line"))),
    }
}

pub fn deploy(app: &App, caller: &Caller, request: &DeployRequest) -> Result<Opened, Fault> {
    if !request.unbaked.is_empty() {
        return Err(
            Fault::yours("bad-request", "an image that is not baked yet can be planned with, not deployed").hint("`afresh bake` makes it")
        );
    }
    let _alone = app.deploy_lock();
    let tiers = wishes(app, caller, request)?;
    let asked = asked(caller, request, app.now());
    let opened = retrying(|| {
        let observed = observe_all(app, &tiers)?;
        let planned = app.database.pretend(|tx| rehearse(tx, &tiers, &observed, &asked))?;
        let changed: BTreeSet<ServiceName> = planned.rotations.into_iter().map(|r| r.service).collect();
        let (candidates, going) = going(app, request)?;
        app.database.write(|tx| {
            let mut answer = match &request.service {
                Some(_) => begin_one(tx, &tiers, &observed, &asked)?,
                None => begin_all(tx, &tiers, &observed, &asked, &changed)?,
            };
            for (service, observed) in &going {
                answer.removing.push(removal::open(tx, service, observed, &asked)?);
            }
            answer.left = candidates.iter().map(|c| c.service.clone()).filter(|s| !request.remove.contains(s) && caller.sees(s)).collect();
            Ok(answer)
        })
    })?;
    app.notifier.notify();
    Ok(opened)
}

/// What could be removed, and what the request removes of it. A deploy of one service is about no other.
fn going(app: &App, request: &DeployRequest) -> Result<(Vec<Removal>, BTreeMap<ServiceName, ObservedService>), Fault> {
    let candidates = if request.service.is_some() { Vec::new() } else { app.database.browse(|r| removal::candidates(r, &request.file))? };
    removal::must_be_candidates(&candidates, &request.remove)?;
    let going = request.remove.iter().map(|s| Ok((s.clone(), observe(app, s, true)?))).collect::<Result<_, Fault>>()?;
    Ok((candidates, going))
}

fn begin_one(
    tx: &Tx<'_>,
    tiers: &[(TierName, Vec<Desired>)],
    observed: &BTreeMap<ServiceName, ObservedService>,
    asked: &ChangeRequest<'_>,
) -> Result<Opened, Fault> {
    let mut answer = Opened::default();
    for desired in tiers.iter().flat_map(|(_, wishes)| wishes) {
        match open(tx, &observed[&desired.spec.name], desired, asked)? {
            Some(id) => answer.rotations.push(id),
            None => answer.unchanged.push(desired.spec.name.clone()),
        }
    }
    Ok(answer)
}

/// Writes the rollout and opens its first tier in the same transaction; the loop opens the others when their time comes.
fn begin_all(
    tx: &Tx<'_>,
    tiers: &[(TierName, Vec<Desired>)],
    observed: &BTreeMap<ServiceName, ObservedService>,
    asked: &ChangeRequest<'_>,
    changed: &BTreeSet<ServiceName>,
) -> Result<Opened, Fault> {
    let mut answer = Opened::default();
    let mut plan = RolloutPlan { why: asked.why.clone(), tiers: Vec::new() };
    for (tier, wishes) in tiers {
        let mut pinned = Vec::new();
        for desired in wishes {
            // Also where nothing is rotated: waves, soak and the like may differ, and hold from now on.
            tx.put_service(&desired.spec, asked.by, asked.at)?;
            if changed.contains(&desired.spec.name) {
                pinned.push((desired.spec.clone(), tx.put_release(&desired.release, asked.at)?.release));
            } else {
                tx.put_in_force(&desired.spec.name)?;
                answer.unchanged.push(desired.spec.name.clone());
            }
        }
        if !pinned.is_empty() {
            plan.tiers.push((tier.clone(), pinned));
        }
    }
    let Some((_, first)) = plan.tiers.first() else { return Ok(answer) };
    let rollout = tx.open_rollout(&plan, asked.at)?;
    let asked = ChangeRequest { rollout: Some(&rollout), always: true, ..asked.clone() };
    for (spec, release) in first {
        let desired = Desired { spec: spec.clone(), release: release.clone() };
        answer.rotations.extend(open(tx, &observed[&spec.name], &desired, &asked)?);
    }
    answer.rollout = Some(rollout);
    Ok(answer)
}

fn asked<'a>(caller: &'a Caller, request: &DeployRequest, at: Time) -> ChangeRequest<'a> {
    let what = match (&request.service, request.release) {
        (Some(service), Some(number)) => format!("deploy of {service}@r{number} once more"),
        (Some(service), None) => format!("deploy of {service}"),
        (None, _) => "deploy of every service".to_string(),
    };
    let why = format!("{what}, asked for by {}", caller.signed());
    ChangeRequest { why, by: caller.name(), at, rollout: None, always: false }
}

fn observe_all(app: &App, tiers: &[(TierName, Vec<Desired>)]) -> Result<BTreeMap<ServiceName, ObservedService>, Fault> {
    let inventory = observed_service::retry_while_unreachable(app, || inventory::compare(app))?;
    let wishes = tiers.iter().flat_map(|(_, wishes)| wishes);
    wishes.map(|w| Ok((w.spec.name.clone(), observe_with(app, &w.spec.name, w.release.route.is_some(), &inventory)?))).collect()
}

/// The request's wishes, checked against the stores: what they name is there, and no two services want one listener.
fn wishes(app: &App, caller: &Caller, request: &DeployRequest) -> Result<Vec<(TierName, Vec<Desired>)>, Fault> {
    let earlier = |spec: &ServiceSpec| match request.release {
        None => Ok(None),
        Some(number) => release_of(app, &spec.name, number).map(Some),
    };
    let tiers = desired::tiers(request, earlier)?;
    let all: Vec<&Desired> = tiers.iter().flat_map(|(_, wishes)| wishes).collect();
    for desired in &all {
        access::deploy(app, caller, &desired.spec)?;
        access::release(app, caller, &desired.release, &request.unbaked)?;
    }
    access::recipes(app, caller, &request.file)?;
    request.remove.iter().try_for_each(|service| caller.must_deploy(service, None, false))?;
    must_be_free_to_listen(app, &all)?;
    all.iter().try_for_each(|desired| must_be_there(app, &desired.release, &request.unbaked))?;
    Ok(tiers)
}

/// What must hold when a rotation is opened: nobody else has the listener, and what the release names is there and may be used.
pub fn must_be_admitted(app: &App, wishes: &[&Desired]) -> Result<(), Fault> {
    must_be_free_to_listen(app, wishes)?;
    wishes.iter().try_for_each(|desired| must_be_there(app, &desired.release, &BTreeSet::new()))
}

fn release_of(app: &App, service: &ServiceName, number: u64) -> Result<Release, Fault> {
    let row = app.database.read(|r| r.release(service, number))?;
    row.map(|r| r.release).ok_or_else(|| {
        Fault::yours("not-found", format!("{service} has no release r{number}")).hint(format!("`afresh releases {service}` lists them"))
    })
}

/// `unbaked`: images that a plan may name although they are not made yet.
fn must_be_there(app: &App, release: &Release, unbaked: &BTreeSet<Digest>) -> Result<(), Fault> {
    crate::upkeep::refuse(app, release)?;
    let label = &release.service;
    if !unbaked.contains(&release.image) && !app.images.has(&release.image)? {
        let told = format!("{label}: image {} ({}) is not in the store, or not whole", release.image_name, release.image.short());
        return Err(Fault::yours("image-missing", told).hint(format!("`afresh bake {}` makes it", release.image_name)));
    }
    match &release.artifact {
        Some(artifact) if !app.images.has(artifact)? => {
            let told = format!("{label}: artifact {} is not in the store, or not whole", artifact.short());
            Err(Fault::yours("artifact-missing", told).hint(format!("`afresh deploy {label} --artifact PATH` packs it again")))
        }
        _ => Ok(()),
    }
}

fn must_be_free_to_listen(app: &App, wishes: &[&Desired]) -> Result<(), Fault> {
    let others = app.database.browse(|r| {
        let mut others = Vec::new();
        for row in r.services()? {
            if wishes.iter().all(|w| w.spec.name != row.spec.name) {
                others.extend(r.active(&row.spec.name)?);
                // What is on its way to a listener has it.
                if let Some(open) = r.open_rotation_of(&row.spec.name)?
                    && let Some(Event::Opened(opened)) = r.first_line(&open.id)?.map(|l| l.event)
                {
                    others.push(opened.to);
                }
            }
        }
        Ok(others)
    })?;
    for desired in wishes {
        let Some(route) = &desired.release.route else { continue };
        if let Some(other) = others.iter().find(|o| o.release.route.as_ref().is_some_and(|r| r.listen == route.listen)) {
            return Err(desired::listen_taken(&desired.spec.name, &other.release.service, route.listen));
        }
    }
    Ok(())
}

/// A new rotation to an earlier release, in a new group, with all the release's settings.
pub fn rollback(app: &App, caller: &Caller, request: &RollbackRequest) -> Result<Opened, Fault> {
    let service = &request.service;
    caller.must_deploy(service, None, false)?;
    let _alone = app.deploy_lock();
    let row = app.database.read(|r| r.in_force(service))?.ok_or_else(|| journal::no_service(service))?;
    app.database.read(|r| r.must_be_free(service))?;
    let served = if row.spec.count == 0 { app.database.read(|r| r.served_last(service))? } else { None };
    let release = match (request.to, &served) {
        (Some(number), _) => release_of(app, service, number)?,
        // Parked: what served before that comes back.
        (None, Some((active, _))) => active.release.clone(),
        (None, None) => {
            let (active, stood) = app.database.read(|r| Ok((r.active(service)?, r.stood(service, 2)?)))?;
            let none = || Fault::yours("nothing-before", format!("{service}: no other release stood before the one that stands"));
            // Of a service that was removed, the one that served last.
            stood.into_iter().nth(usize::from(active.is_some())).map(|s| s.release).ok_or_else(none)?
        }
    };
    let count = served.map_or(row.spec.count, |(_, count)| count);
    let desired = Desired { spec: ServiceSpec { count, ..desired::with_settings(&row.spec, &release) }, release };
    access::deploy(app, caller, &desired.spec)?;
    must_be_admitted(app, &[&desired])?;
    let why = format!("rollback to r{}, asked for by {}", desired.release.number, caller.signed());
    let asked = ChangeRequest { why, by: caller.name(), at: app.now(), rollout: None, always: false };
    let rolled_back = app.database.read(|r| notes::rolled_back(r, service, &desired.release))?;
    // Why an image is bad may be what another's service did on it.
    let shown = crate::upkeep::Shown::to(app, caller)?;
    let doubt =
        crate::upkeep::doubt(app, &desired.release)?.map(|text| PlanNote { service: service.clone(), at: None, text: shown.text(text) });
    let opened = retrying(|| {
        let observed = observe(app, service, desired.release.route.is_some())?;
        app.database.write(|tx| open(tx, &observed, &desired, &asked))
    })?;
    app.notifier.notify();
    let notes = rolled_back.into_iter().chain(doubt).collect();
    Ok(match opened {
        Some(id) => Opened { rotations: vec![id], notes, ..Opened::default() },
        None => Opened { unchanged: vec![service.clone()], ..Opened::default() },
    })
}
