//! Services that a deploy could remove. A request names each service that it removes, and its file must not name it.

use crate::app::App;
use crate::observed_service;
use crate::status::fold;
use api::control::{DeployRequest, Removal};
use control::ObservedService;
use journal::{Lists, Records};
use model::{Fault, GroupRelease, ServiceFile, ServiceName};
use std::collections::BTreeMap;

/// What could be removed, and what the request removes of it. A deploy of one service concerns no other.
pub fn requested(app: &App, request: &DeployRequest) -> Result<(Vec<Removal>, BTreeMap<ServiceName, ObservedService>), Fault> {
    let candidates = if request.service.is_some() { Vec::new() } else { app.database.browse(|r| candidates(r, &request.file))? };
    let names: Vec<ServiceName> = candidates.iter().map(|c| c.service.clone()).collect();
    if let (Some(service), Some(remove)) = (&request.service, request.remove.first()) {
        return Err(Fault::yours("not-removable", format!("cannot remove {remove}: a deploy of {service} alone removes nothing"))
            .hint("leave the service's name out: `afresh deploy --remove NAME`"));
    }
    let in_file = request.file.services.keys().cloned().collect();
    control::must_be_removable(&names, &in_file, &request.remove)?;
    let observe = |service: &ServiceName| Ok((service.clone(), observed_service::observe(app, service, true)?));
    let removed = request.remove.iter().map(observe).collect::<Result<_, Fault>>()?;
    Ok((candidates, removed))
}

/// What of a service can be removed: its active release; where it never had one, the release that failed last.
pub fn removable(records: &Records<'_>, service: &ServiceName) -> Result<Option<GroupRelease>, Fault> {
    let Some(now) = records.now(service)?.filter(|now| !now.is_removed) else { return Ok(None) };
    if now.summary.active.is_some() {
        return Ok(now.summary.active);
    }
    let last = records.rotations(Some(service), 1)?.into_iter().next();
    last.map(|row| Ok(fold(records, &row.id)?.opened.to)).transpose()
}

/// Services that the file does not name.
fn candidates(records: &Lists<'_>, file: &ServiceFile) -> Result<Vec<Removal>, Fault> {
    let mut all = Vec::new();
    for service in records.service_names()?.into_iter().filter(|s| !file.services.contains_key(s)) {
        if let Some(active) = removable(records, &service)? {
            all.push(Removal { service, active, plan: None });
        }
    }
    Ok(all)
}
