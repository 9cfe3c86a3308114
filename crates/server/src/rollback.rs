//! Rollback: a new rotation to an earlier release, in a new group, with all settings of that release.

use crate::access::{self, Caller};
use crate::admission::{Exempt, earlier_release, must_be_admitted};
use crate::app::App;
use crate::deploy;
use crate::notes;
use crate::observed_service;
use crate::opening::{ChangeRequest, open, retry_if_changed};
use crate::upkeep;
use api::control::{Opened, PlanAnswer, PlanNote, RollbackRequest};
use control::{Desired, RollbackSource};
use model::{Fault, Release};

/// What a rollback would do. Nothing is opened.
pub fn plan(app: &App, caller: &Caller, request: &RollbackRequest) -> Result<PlanAnswer, Fault> {
    caller.must_deploy(&request.service, None, false)?;
    let _alone = app.deploy_lock();
    let (desired, notes) = admitted(app, caller, request)?;
    let change = change_request(app, caller, &desired);
    let tiers = vec![(desired.spec.tier.clone(), vec![desired])];
    let planned = retry_if_changed(|| {
        let observed = deploy::observe_all(app, &tiers)?;
        app.database.pretend(|tx| deploy::rehearse(tx, &tiers, &observed, &change))
    })?;
    Ok(PlanAnswer { notes, ..planned })
}

pub fn rollback(app: &App, caller: &Caller, request: &RollbackRequest) -> Result<Opened, Fault> {
    let service = &request.service;
    caller.must_deploy(service, None, false)?;
    let _alone = app.deploy_lock();
    let (desired, notes) = admitted(app, caller, request)?;
    let change = change_request(app, caller, &desired);
    let opened = retry_if_changed(|| {
        let observed = observed_service::observe(app, service, desired.release.route.is_some())?;
        app.database.write(|tx| open(tx, &observed, &desired, &change))
    })?;
    app.notifier.notify();
    Ok(match opened {
        Some(id) => Opened { rotations: vec![id], notes, ..Opened::default() },
        None => Opened { unchanged: vec![service.clone()], ..Opened::default() },
    })
}

fn change_request<'a>(app: &App, caller: &'a Caller, desired: &Desired) -> ChangeRequest<'a> {
    let why = format!("rollback to r{}, requested by {}", desired.release.number, caller.signed());
    ChangeRequest { why, by: caller.name(), at: app.now(), rollout: None, always: false }
}

/// The release that comes back, if the caller may deploy it, and what a reader of the plan should know of it.
fn admitted(app: &App, caller: &Caller, request: &RollbackRequest) -> Result<(Desired, Vec<PlanNote>), Fault> {
    let service = &request.service;
    let mut desired = target(app, request)?;
    desired.spec.recipe = upkeep::recipe_of(app, &desired.release)?;
    access::deploy(app, caller, &desired.spec)?;
    must_be_admitted(app, Some(caller), &[&desired], &Exempt::default())?;
    must_be_migrated(app, &desired)?;
    must_have_served(app, &desired.release)?;
    let data_stays = app.database.read(|r| notes::data_stays(r, service, &desired.release))?;
    let rolled_back = app.database.read(|r| notes::rolled_back(r, service, &desired.release))?;
    // Why an image is bad may be what another service did on it.
    let shown = upkeep::Shown::to(app, caller)?;
    let warning = upkeep::bad_image(app, &desired.release)?;
    let warning = warning.map(|text| PlanNote { service: service.clone(), at: None, text: shown.text(text) });
    Ok((desired, rolled_back.into_iter().chain(data_stays).chain(warning).collect()))
}

/// A rollback runs no migration, so it leads only to releases that are migrated.
fn must_be_migrated(app: &App, desired: &Desired) -> Result<(), Fault> {
    let Desired { spec, release } = desired;
    if release.migrate.is_none() || spec.count == 0 || app.database.read(|r| r.migration(&spec.name, &release.digest()))?.is_some() {
        return Ok(());
    }
    Err(Fault::yours(
        "not-migrated",
        format!("cannot roll back to {}: its migration never succeeded, and a rollback runs none", release.label()),
    )
    .hint(format!("deploy it, which runs its migration: `afresh deploy {} --release {}`", spec.name, release.number)))
}

/// The gate is not asked of a rollback, as what comes back has served. What never did goes through a deploy.
fn must_have_served(app: &App, release: &Release) -> Result<(), Fault> {
    let service = &release.service;
    let served = app.database.browse(|r| r.were_active(service, usize::MAX))?;
    if served.iter().any(|one| one.release.number == release.number) {
        return Ok(());
    }
    let text = format!("{} was never active: a rollback leads to a release that has served", release.label());
    Err(Fault::yours("never-active", text).hint(format!("deploy it: `afresh deploy {service} --release {}`", release.number)))
}

fn target(app: &App, request: &RollbackRequest) -> Result<Desired, Fault> {
    let service = &request.service;
    let row = app.database.read(|r| r.in_force(service))?.ok_or_else(|| journal::no_service(service))?;
    app.database.read(|r| r.must_be_free(service))?;
    let named = request.to.map(|number| earlier_release(app, service, number)).transpose()?;
    let observed = observed_service::observe(app, service, row.spec.route.is_some())?;
    let previous = app.database.read(|r| r.were_active(service, 2))?;
    let served_last = if row.spec.count == 0 { app.database.read(|r| r.served_last(service))? } else { None };
    control::rollback(RollbackSource { spec: &row.spec, named, observed: &observed, previous, served_last })
}
