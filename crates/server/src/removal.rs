//! Removing a service: traffic is shifted to nobody, its servers are drained and retired. A request names each service that it removes,
//! and its file must not name it: a service that another file deployed is never removed because this file does not have it.

use crate::deploy::{ChangeRequest, ObservedService};
use api::control::Removal;
use journal::{Lists, Origin, Tx};
use model::{Direction, Fault, GroupRelease, Opened, PlannedStep, RotationId, ServiceFile, ServiceName, Step};
use rotation::Intent;

/// Services with an active release that the file does not name.
pub fn candidates(records: &Lists<'_>, file: &ServiceFile) -> Result<Vec<Removal>, Fault> {
    let mut all = Vec::new();
    for service in records.service_names()?.into_iter().filter(|s| !file.services.contains_key(s)) {
        if let Some(active) = records.active(&service)? {
            all.push(Removal { service, active, plan: None });
        }
    }
    Ok(all)
}

/// Every service that the request wants removed is one of those.
pub fn must_be_candidates(candidates: &[Removal], wanted: &[ServiceName]) -> Result<(), Fault> {
    match wanted.iter().find(|w| candidates.iter().all(|c| c.service != **w)) {
        None => Ok(()),
        Some(other) => Err(Fault::yours("not-removable", format!("{other} is in the file, or has no active release: it is not removed"))
            .hint("`afresh plan` shows what a deploy would remove")),
    }
}

/// A rotation back to nothing.
pub fn open(tx: &Tx<'_>, service: &ServiceName, observed: &ObservedService, asked: &ChangeRequest<'_>) -> Result<RotationId, Fault> {
    tx.must_be_free(service)?;
    let Some(row) = tx.in_force(service)? else { return Err(journal::no_service(service)) };
    let Some(active) = tx.active(service)? else {
        return Err(Fault::yours("not-removable", format!("{service} has no active release")));
    };
    tx.outrank(service, observed.traces.fence())?;
    tx.outnumber(service, observed.traces.rotation())?;
    let spec = row.spec;
    let intent = Intent { spec: &spec, from: None, to: &active, direction: Direction::Back, own_count: None };
    let mut plan = rotation::plan(&intent, &observed.view)?;
    for group in observed.known.groups.iter().filter(|g| **g != active.group) {
        let step = |step| PlannedStep { step, wave: None, capacity: 0 };
        if spec.route.is_some() {
            plan.steps.push(step(Step::Drain { group: group.clone(), within_ms: spec.drain.within_ms }));
        }
        plan.steps.push(step(Step::Retire { group: group.clone() }));
    }
    // Nobody is there any more: the listener closes, and its address is free for another service.
    if let Some(shift) = plan.steps.iter().find(|s| matches!(s.step, Step::Shift { .. })).cloned() {
        plan.steps.push(PlannedStep { capacity: 0, ..shift });
    }
    let why = format!("removal of {service}; {}", asked.why);
    let opened = Opened { spec: spec.clone(), from: None::<GroupRelease>, to: active, plan, why };
    tx.open_rotation(&Origin { service, rollout: None, at: asked.at }, |_, _| Ok(opened))
}
