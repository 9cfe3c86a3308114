//! Plan and deploy: from a request to open rotations, each in one transaction with everything that belongs to it.

use crate::access::{self, Caller};
use crate::admission::{Exempt, earlier_release, must_be_admitted};
use crate::app::App;
use crate::gate;
use crate::keep_artifacts::with_active_artifacts;
use crate::names;
use crate::notes;
use crate::observed_service;
use crate::opening::{ChangeRequest, open, open_removal, retry_if_changed};
use crate::removal;
use crate::secrets;
use crate::upkeep;
use api::control::{DeployRequest, Opened, PlanAnswer, PlanNote, PlannedRotation, Removal};
use control::{Desired, ObservedService, Selection, Tiers};
use journal::Tx;
use model::{ContainerDefaults, Digest, Event, Fault, Opened as Opening, Plan, RolloutPlan, RotationId, ServiceName, Time, from_image};
use std::collections::{BTreeMap, BTreeSet};

pub type Observed = BTreeMap<ServiceName, ObservedService>;

pub fn plan(app: &App, caller: &Caller, request: &DeployRequest) -> Result<PlanAnswer, Fault> {
    // A rollback waits for the lock, and not for this.
    let recipes = gate::of_recipes(&request.file)?;
    let _alone = app.deploy_lock();
    let named = names::of_request(app, caller, request)?;
    let (request, kept) = &with_active(app, caller, &named.request)?;
    let tiers = selected(app, caller, request)?;
    let gate = gate::judge(app, caller, request, &tiers, &recipes)?;
    let planned = retry_if_changed(|| {
        let observed = observe_all(app, &tiers)?;
        let (candidates, removed) = removal::requested(app, request)?;
        let change = change_request(caller, request, app.now());
        app.database.pretend(|tx| {
            names::record(tx, &named.renames, &change)?;
            let mut answer = rehearse(tx, &tiers, &observed, &change)?;
            answer.notes.extend(kept.iter().cloned());
            answer.notes.extend(from_images(app, &tiers)?);
            for candidate in candidates.iter().filter(|c| caller.sees(&c.service)) {
                let service = &candidate.service;
                let plan = removed.get(service).map(|observed| rehearse_removal(tx, service, observed, &change)).transpose()?;
                answer.removals.push(Removal { plan, ..candidate.clone() });
            }
            Ok(answer)
        })
    })?;
    let bad = bad_images(app, caller, &planned)?;
    let notes = planned.notes.into_iter().chain(bad).collect();
    names::shown(&named.names, PlanAnswer { renamed: named.renamed(), notes, gate, ..planned })
}

/// A deploy on a bad image is permitted, and said. Why it is bad may be what another service did on it.
fn bad_images(app: &App, caller: &Caller, planned: &PlanAnswer) -> Result<Vec<PlanNote>, Fault> {
    let shown = upkeep::Shown::to(app, caller)?;
    let mut notes = Vec::new();
    for rotation in &planned.rotations {
        let text = upkeep::bad_image(app, &rotation.to.release)?.map(|text| shown.text(text));
        notes.extend(text.map(|text| PlanNote { service: rotation.service.clone(), at: None, text }));
    }
    Ok(notes)
}

/// The request with what it does not name and keeps: code and secrets of the active releases.
fn with_active(app: &App, caller: &Caller, request: &DeployRequest) -> Result<(DeployRequest, Vec<PlanNote>), Fault> {
    let (request, mut notes) = with_active_artifacts(app, caller, request)?;
    let (request, more) = secrets::with_active_versions(app, caller, request)?;
    notes.extend(more);
    Ok((request, notes))
}

/// Which container images are deployed, and what the releases have from them.
fn from_images(app: &App, tiers: &Tiers) -> Result<Vec<PlanNote>, Fault> {
    let mut notes = Vec::new();
    for Desired { spec, release } in tiers.iter().flat_map(|(_, all)| all) {
        let Some(container) = app.images.container(&release.image).ok().flatten() else { continue };
        let note = |text| PlanNote { service: spec.name.clone(), at: None, text };
        notes.push(note(format!("its image {} is {} at {}", release.image_name, container.reference, container.manifest)));
        notes.extend(from_image::notes(release, &container.defaults).into_iter().map(note));
    }
    Ok(notes)
}

/// Opens everything, within a transaction that is rolled back.
pub fn rehearse(tx: &Tx<'_>, tiers: &Tiers, observed: &Observed, change: &ChangeRequest<'_>) -> Result<PlanAnswer, Fault> {
    let mut rotations = Vec::new();
    let mut notes = Vec::new();
    let mut settings = Vec::new();
    let together: Vec<&Desired> = tiers.iter().flat_map(|(_, all)| all).collect();
    for (tier, all) in tiers {
        for desired in all {
            let changed = notes::settings(tx, desired)?;
            settings.extend(changed.as_ref().map(|note| note.service.clone()));
            let release = tx.put_release(&desired.release, change.at)?.release;
            notes.extend(notes::of(tx, desired, &release)?);
            notes.extend(notes::inside(tx, desired, &together)?);
            notes.extend(changed);
            let Some(id) = open(tx, &observed[&desired.spec.name], desired, change)? else { continue };
            let opened = opening(tx, &id)?;
            let service = desired.spec.name.clone();
            rotations.push(PlannedRotation { service, tier: tier.clone(), from: opened.from, to: opened.to, plan: opened.plan });
        }
    }
    Ok(PlanAnswer { rotations, notes, removals: Vec::new(), settings, renamed: Vec::new(), gate: Default::default() })
}

fn rehearse_removal(tx: &Tx<'_>, service: &ServiceName, observed: &ObservedService, change: &ChangeRequest<'_>) -> Result<Plan, Fault> {
    let id = open_removal(tx, service, observed, change)?;
    Ok(opening(tx, &id)?.plan)
}

fn opening(tx: &Tx<'_>, id: &RotationId) -> Result<Opening, Fault> {
    match tx.first_line(id)?.map(|line| line.event) {
        Some(Event::Opened(opened)) => Ok(opened),
        _ => Err(Fault::ours("no-opening", format!("{id} has no first event"))),
    }
}

pub fn deploy(app: &App, caller: &Caller, request: &DeployRequest) -> Result<Opened, Fault> {
    let recipes = gate::of_recipes(&request.file)?;
    if !request.unbaked.is_empty() {
        return Err(
            Fault::yours("bad-request", "an image that is not baked yet can be planned with, not deployed").hint("`afresh bake` bakes it")
        );
    }
    if request.secrets_not_stored {
        return Err(Fault::yours("bad-request", "secrets whose values are not stored can be planned with, not deployed"));
    }
    let _alone = app.deploy_lock();
    let asked = request;
    let named = names::of_request(app, caller, request)?;
    let (request, _) = &with_active(app, caller, &named.request)?;
    let tiers = selected(app, caller, request)?;
    let passed = gate::must_pass(app, caller, request, &tiers, &recipes)?;
    passed.record(app, caller)?;
    // Desired states that name a recipe which is not known are patched by nobody until the next deploy, which is no reason to hold this up.
    if let Err(fault) = upkeep::propose(app, caller, request) {
        tracing::warn!(code = fault.code, "cannot record the recipes: {}", fault.message);
    }
    let mut change = change_request(caller, asked, app.now());
    change.why.push_str(&passed.note());
    let opened = retry_if_changed(|| {
        let observed = observe_all(app, &tiers)?;
        let planned = app.database.pretend(|tx| rehearse(tx, &tiers, &observed, &change))?;
        let changed: BTreeSet<ServiceName> = planned.rotations.into_iter().map(|r| r.service).collect();
        let (candidates, removed) = removal::requested(app, request)?;
        app.database.write(|tx| {
            // With what it changes besides: no kill leaves a deploy that was accepted without its renames.
            names::record(tx, &named.renames, &change)?;
            let mut answer = match &request.service {
                Some(_) => open_one(tx, &tiers, &observed, &change)?,
                None => open_rollout(tx, &tiers, &observed, &change, &changed)?,
            };
            for (service, observed) in &removed {
                answer.removing.push(open_removal(tx, service, observed, &change)?);
            }
            answer.left = candidates.iter().map(|c| c.service.clone()).filter(|s| !request.remove.contains(s) && caller.sees(s)).collect();
            Ok(answer)
        })
    })?;
    if !named.renames.is_empty() {
        names::keep_published(app);
    }
    app.notifier.notify();
    names::shown(&named.names, Opened { renamed: named.renamed(), ..opened })
}

fn open_one(tx: &Tx<'_>, tiers: &Tiers, observed: &Observed, change: &ChangeRequest<'_>) -> Result<Opened, Fault> {
    let mut answer = Opened::default();
    for desired in tiers.iter().flat_map(|(_, all)| all) {
        match open(tx, &observed[&desired.spec.name], desired, change)? {
            Some(id) => answer.rotations.push(id),
            None => answer.unchanged.push(desired.spec.name.clone()),
        }
    }
    Ok(answer)
}

/// Records the rollout and opens its first tier in the same transaction; `rollouts` opens the other tiers when they are due.
fn open_rollout(
    tx: &Tx<'_>,
    tiers: &Tiers,
    observed: &Observed,
    change: &ChangeRequest<'_>,
    changed: &BTreeSet<ServiceName>,
) -> Result<Opened, Fault> {
    let mut answer = Opened::default();
    let mut plan = RolloutPlan { why: change.why.clone(), by_upkeep: false, tiers: Vec::new() };
    for (tier, all) in tiers {
        let mut pinned = Vec::new();
        for desired in all {
            // Also where nothing is rotated: waves, soak and the like may differ, and are in force from now on.
            tx.put_service(&desired.spec, change.by, change.at)?;
            if changed.contains(&desired.spec.name) {
                pinned.push((desired.spec.clone(), tx.put_release(&desired.release, change.at)?.release));
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
    let rollout = tx.open_rollout(&plan, change.at)?;
    let change = ChangeRequest { rollout: Some(&rollout), always: true, ..change.clone() };
    for (spec, release) in first {
        let desired = Desired { spec: spec.clone(), release: release.clone() };
        answer.rotations.extend(open(tx, &observed[&spec.name], &desired, &change)?);
    }
    answer.rollout = Some(rollout);
    Ok(answer)
}

fn change_request<'a>(caller: &'a Caller, request: &DeployRequest, at: Time) -> ChangeRequest<'a> {
    let what = match (&request.service, request.release) {
        (Some(service), Some(number)) => format!("deploy of earlier release {service}@r{number}"),
        (Some(service), None) => format!("deploy of {service}"),
        (None, _) => "deploy of every service".to_string(),
    };
    let why = format!("{what}, requested by {}", caller.signed());
    ChangeRequest { why, by: caller.name(), at, rollout: None, always: false }
}

pub fn observe_all(app: &App, tiers: &Tiers) -> Result<Observed, Fault> {
    let inventory = observed_service::compare(app)?;
    let observe = |desired: &Desired| {
        let (service, routed) = (&desired.spec.name, desired.release.route.is_some());
        Ok((service.clone(), observed_service::observe_with(app, service, routed, &inventory)?))
    };
    tiers.iter().flat_map(|(_, all)| all).map(observe).collect()
}

/// What the request's container images say of themselves.
fn containers(app: &App, request: &DeployRequest) -> Result<BTreeMap<Digest, Option<ContainerDefaults>>, Fault> {
    let mut all = BTreeMap::new();
    for (name, digest) in &request.images {
        if request.unbaked.contains(digest) {
            let is_container = request.file.images.get(name).is_some_and(|image| image.oci.is_some());
            all.extend(is_container.then(|| (digest.clone(), None)));
            continue;
        }
        match app.images.container(digest) {
            Ok(container) => all.extend(container.map(|container| (digest.clone(), Some(container.defaults)))),
            // That it is not there is said when it is admitted.
            Err(fault) if fault.code == "object-missing" && !app.images.has(digest)? => drop(all.insert(digest.clone(), None)),
            Err(fault) => return Err(fault),
        }
    }
    Ok(all)
}

/// What the request selects, if the caller may deploy it and it is admitted.
fn selected(app: &App, caller: &Caller, request: &DeployRequest) -> Result<Tiers, Fault> {
    let kept = access::kept(app, caller)?;
    access::images(caller, &kept, &request.images)?;
    let containers = containers(app, request)?;
    let selection = Selection {
        containers: &containers,
        file: &request.file,
        service: request.service.as_ref(),
        release: request.release,
        images: &request.images,
        artifacts: &request.artifacts,
        secrets: &request.secrets,
    };
    // A request may only remove. Its file may have recipes all the same.
    let is_empty = request.file.services.is_empty() && request.service.is_none() && request.release.is_none();
    if is_empty && !request.remove.is_empty() {
        request.remove.iter().try_for_each(|service| caller.must_deploy(service, None, false))?;
        access::recipes(app, caller, &request.file)?;
        return Ok(Vec::new());
    }
    let mut tiers = control::tiers(&selection, |spec, number| earlier_release(app, &spec.name, number))?;
    tiers.iter_mut().flat_map(|(_, all)| all).try_for_each(|desired| upkeep::name_recipe(app, request, desired))?;
    let all: Vec<&Desired> = tiers.iter().flat_map(|(_, all)| all).collect();
    for desired in &all {
        access::deploy(app, caller, &desired.spec)?;
    }
    access::releases(app, caller, &kept, all.iter().map(|desired| &desired.release), &request.unbaked)?;
    access::recipes(app, caller, &request.file)?;
    request.remove.iter().try_for_each(|service| caller.must_deploy(service, None, false))?;
    let exempt = Exempt { unbaked: request.unbaked.clone(), secrets: request.secrets_not_stored };
    must_be_admitted(app, Some(caller), &all, &exempt)?;
    Ok(tiers)
}
