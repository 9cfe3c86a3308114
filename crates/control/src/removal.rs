//! Removing a service: a rotation back to nothing. Traffic is shifted away, its servers are drained and retired, its listener closes.

use crate::observed::ObservedService;
use model::{Direction, Fault, GroupRelease, Opened, PlannedStep, ServiceName, ServiceSpec, Step};
use rotation::Intent;
use std::collections::BTreeSet;

/// Each service that the request removes has an active release and is not in the request's file (`candidates`): a service that another
/// file deployed is never removed because this file does not have it.
pub fn must_be_removable(candidates: &[ServiceName], in_file: &BTreeSet<ServiceName>, requested: &[ServiceName]) -> Result<(), Fault> {
    match requested.iter().find(|service| !candidates.contains(service)) {
        None => Ok(()),
        Some(other) if in_file.contains(other) => Err(Fault::yours("not-removable", format!("cannot remove {other}: the file has it"))
            .hint(format!("delete the block `service \"{other}\"` from the file first"))),
        Some(other) => {
            Err(Fault::yours("not-removable", format!("cannot remove {other}: it has no active release, and no server runs of it"))
                .hint("`afresh plan` lists what a deploy can remove"))
        }
    }
}

/// The first event of the rotation. `spec`: the desired state in force.
pub fn open_removal(observed: &ObservedService, spec: ServiceSpec, active: GroupRelease, why: &str) -> Result<Opened, Fault> {
    let intent = Intent { spec: &spec, from: None, to: &active, direction: Direction::Back, own_count: None, is_migrated: true };
    let mut plan = rotation::plan(&intent, &observed.view)?;
    for group in observed.summary.groups.iter().filter(|g| **g != active.group) {
        let step = |step| PlannedStep { step, wave: None, capacity: 0 };
        if spec.route.is_some() {
            plan.steps.push(step(Step::Drain { group: group.clone(), within_ms: spec.drain.within_ms }));
        }
        plan.steps.push(step(Step::Retire { group: group.clone() }));
    }
    // No server is left: the listener closes, and its address is free for another service.
    if let Some(shift) = plan.steps.iter().find(|s| matches!(s.step, Step::Shift { .. })).cloned() {
        plan.steps.push(PlannedStep { capacity: 0, ..shift });
    }
    Ok(Opened { spec, from: None, to: active, plan, why: why.to_string() })
}
