//! Moves services to an image by an ordinary rollout: each gets its active release with the other image, and nothing else differs. One
//! rollout a tier: the active releases are read again before each, so that a deploy in between is not undone.

use super::lives::Upkeep;
use super::observe::Observation;
use crate::app::App;
use crate::gate;
use crate::observed_service::observe_once;
use crate::opening::{self, ChangeRequest};
use control::{Desired, ObservedService};
use journal::Tx;
use lifecycle::{LeftOut, Life, Work, sentence};
use model::from_image::is_unusable;
use model::{Digest, Fault, Probe, Release, RolloutId, RolloutPlan, ServiceName, ServiceSpec, TierName};

const BY: &str = "upkeep";

pub fn open(
    app: &App,
    upkeep: &Upkeep,
    life: &Life,
    observation: &Observation,
    digest: &Digest,
    services: &[(ServiceName, Digest)],
    back: bool,
) -> Result<(), Fault> {
    if !app.images.has(digest)? {
        return Err(Fault::world("image-missing", format!("image {} {} is not in the store, or is incomplete", life.name, digest.short())));
    }
    let why = why(life, observation, digest, back);
    let _alone = app.deploy_lock();
    let mut all: Vec<(Desired, ObservedService)> = Vec::new();
    let mut tier: Option<TierName> = None;
    for (service, on) in services {
        let (row, active) = app.database.read(|r| {
            r.must_be_free(service)?;
            Ok((r.in_force(service)?, r.active(service)?))
        })?;
        // A user's deploy came first: it stays as it is.
        let (Some(row), Some(active)) = (row, active.filter(|s| s.release.image == *on)) else { continue };
        let release = on_image(app, &row.spec, active.release, digest)?;
        let desired = Desired::earlier(&row.spec, release);
        tier.get_or_insert(desired.spec.tier.clone());
        let observed = observe_once(app, service, desired.release.route.is_some())?;
        all.push((desired, observed));
    }
    let Some(tier) = tier else { return upkeep.edit(&life.name, |life| life.work = None) };
    let begin = |tx: &Tx<'_>| begin(tx, &tier, &all, &why, app.now());
    // Under the deploy lock nobody else takes a number between the rehearsal and the writing.
    let id = app.database.pretend(begin)?;
    upkeep.edit(&life.name, |life| {
        life.work = Some(Work::Rollout { digest: digest.clone(), id: id.clone(), services: services.to_vec() });
        if let Some(one) = life.image_mut(digest) {
            one.tried.extend(services.iter().cloned());
        }
    })?;
    let opened = app.database.write(begin)?;
    app.notifier.notify();
    if opened != id {
        return Err(Fault::ours("other-number", format!("{opened} was opened, {id} was recorded")));
    }
    Ok(())
}

/// Those of the services that cannot run on the image with their present settings.
pub fn unfit(app: &App, digest: &Digest, services: &[(ServiceName, Digest)]) -> Result<Vec<(ServiceName, LeftOut)>, Fault> {
    let mut unfit = Vec::new();
    for (service, on) in services {
        if let Some(fault) = unusable(app, service, digest)? {
            let hint = fault.hint.as_deref().unwrap_or("change its settings");
            let why = format!("{} ({}); {hint}, and deploy {service}", fault.message, fault.code);
            unfit.push((service.clone(), LeftOut { on: on.clone(), why }));
        }
    }
    Ok(unfit)
}

/// Whether a service other than those runs on the image, or could.
pub fn is_usable(
    app: &App,
    life: &Life,
    observation: &Observation,
    digest: &Digest,
    unfit: &[(ServiceName, LeftOut)],
) -> Result<bool, Fault> {
    let is_known = |service: &ServiceName, on: &Digest| {
        unfit.iter().any(|(unfit, _)| unfit == service) || life.image(digest).is_some_and(|one| one.leaves_out(service, on))
    };
    for standing in observation.seen.services.iter().filter(|s| !is_known(&s.service, &s.on)) {
        if standing.on == *digest || unusable(app, &standing.service, digest)?.is_none() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Why the service cannot run on the image. None: it can, or it runs no more.
fn unusable(app: &App, service: &ServiceName, digest: &Digest) -> Result<Option<Fault>, Fault> {
    let (active, row) = app.database.read(|r| Ok((r.active(service)?, r.in_force(service)?)))?;
    let (Some(active), Some(row)) = (active, row) else { return Ok(None) };
    match on_image(app, &row.spec, active.release, digest) {
        Ok(_) => Ok(None),
        Err(fault) if is_unusable(&fault) => Ok(Some(fault)),
        Err(fault) => Err(fault),
    }
}

/// The release on another image. What the service leaves to its image is what the new one says.
fn on_image(app: &App, spec: &ServiceSpec, active: Release, digest: &Digest) -> Result<Release, Fault> {
    let container = app.images.container(digest)?;
    let left = active.container.as_ref().map(|c| c.left.clone()).unwrap_or_default();
    let release = Release { image: digest.clone(), ..active.clone() }.on(&left, container.as_ref().map(|c| &c.defaults))?;
    // Nobody is asked: an image may give a service nothing that its deployer could not have got.
    let policy = app.access.policy()?;
    if release.user != active.user {
        policy.permits_user(&release.service, &release.user)?;
    }
    let runs_more = matches!(release.health.probe, Probe::Exec { .. }) && !matches!(active.health.probe, Probe::Exec { .. });
    if runs_more {
        policy.permits_health_exec(&release.service)?
    }
    if release.container != active.container || release.user != active.user || release.run != active.run {
        gate::release_must_pass(app, spec, &release)?;
    }
    Ok(release)
}

/// The rollout and its rotations, in one transaction.
fn begin(tx: &Tx<'_>, tier: &TierName, all: &[(Desired, ObservedService)], why: &str, at: model::Time) -> Result<RolloutId, Fault> {
    let mut pinned = Vec::new();
    for (desired, _) in all {
        pinned.push((desired.spec.clone(), tx.put_release(&desired.release, at)?.release));
    }
    let plan = RolloutPlan { why: why.to_string(), by_upkeep: true, tiers: vec![(tier.clone(), pinned.clone())] };
    let rollout = tx.open_rollout(&plan, at)?;
    let text = format!("{rollout}: {why}");
    let change = ChangeRequest { why: text, by: BY, at, rollout: Some(&rollout), always: true };
    for ((spec, release), (_, observed)) in pinned.into_iter().zip(all) {
        opening::open(tx, observed, &Desired { spec, release }, &change)?;
    }
    Ok(rollout)
}

/// `image base is patched: openssl 3.0.15-1 -> 3.0.16-1 (fixes CVE-2026-1234)`
fn why(life: &Life, observation: &Observation, digest: &Digest, back: bool) -> String {
    let name = &life.name;
    if back {
        let left = observation
            .seen
            .services
            .iter()
            .filter(|s| s.on != *digest)
            .find_map(|s| life.image(&s.on).filter(|i| i.state != lifecycle::State::Retired));
        let why = left.and_then(|i| i.story.last()).map_or(String::new(), |t| format!(": the other is {}", t.text));
        return format!("image {name} is rolled back to {}{why}", digest.short());
    }
    match life.image(digest) {
        Some(one) if !one.changes.is_empty() => format!("image {name} is patched: {}", sentence(&one.changes, &one.cves)),
        _ => format!("image {name} is {} now", digest.short()),
    }
}
