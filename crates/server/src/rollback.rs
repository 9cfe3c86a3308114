//! Rollback: a new rotation to an earlier release, in a new group, with all settings of that release.

use crate::access::{self, Caller};
use crate::admission::{earlier_release, must_be_admitted};
use crate::app::App;
use crate::notes;
use crate::observed_service;
use crate::opening::{ChangeRequest, open, retry_if_changed};
use crate::upkeep;
use api::control::{Opened, PlanNote, RollbackRequest};
use control::{Desired, RollbackSource};
use model::Fault;
use std::collections::BTreeSet;

pub fn rollback(app: &App, caller: &Caller, request: &RollbackRequest) -> Result<Opened, Fault> {
    let service = &request.service;
    caller.must_deploy(service, None, false)?;
    let _alone = app.deploy_lock();
    let desired = target(app, request)?;
    access::deploy(app, caller, &desired.spec)?;
    must_be_admitted(app, &[&desired], &BTreeSet::new())?;
    let why = format!("rollback to r{}, requested by {}", desired.release.number, caller.signed());
    let change = ChangeRequest { why, by: caller.name(), at: app.now(), rollout: None, always: false };
    let rolled_back = app.database.read(|r| notes::rolled_back(r, service, &desired.release))?;
    // Why an image is bad may be what another service did on it.
    let shown = upkeep::Shown::to(app, caller)?;
    let warning = upkeep::bad_image(app, &desired.release)?;
    let warning = warning.map(|text| PlanNote { service: service.clone(), at: None, text: shown.text(text) });
    let opened = retry_if_changed(|| {
        let observed = observed_service::observe(app, service, desired.release.route.is_some())?;
        app.database.write(|tx| open(tx, &observed, &desired, &change))
    })?;
    app.notifier.notify();
    let notes = rolled_back.into_iter().chain(warning).collect();
    Ok(match opened {
        Some(id) => Opened { rotations: vec![id], notes, ..Opened::default() },
        None => Opened { unchanged: vec![service.clone()], ..Opened::default() },
    })
}

fn target(app: &App, request: &RollbackRequest) -> Result<Desired, Fault> {
    let service = &request.service;
    let row = app.database.read(|r| r.in_force(service))?.ok_or_else(|| journal::no_service(service))?;
    app.database.read(|r| r.must_be_free(service))?;
    let named = request.to.map(|number| earlier_release(app, service, number)).transpose()?;
    let (active, previous) = app.database.read(|r| Ok((r.active(service)?, r.were_active(service, 2)?)))?;
    let served_last = if row.spec.count == 0 { app.database.read(|r| r.served_last(service))? } else { None };
    control::rollback(RollbackSource { spec: &row.spec, named, is_active: active.is_some(), previous, served_last })
}
