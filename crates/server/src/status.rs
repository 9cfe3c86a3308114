//! How rotations and services stand: rotations from their journals, services from what is seen now.

use crate::app::App;
use crate::look;
use api::control::{RotationStatus, ServiceStatus};
use model::{Fault, InstanceState, RotationId, ServiceName, View, WishSeen};
use rotation::Rotation;
use store::{Known, Records, RotationRow, ServiceRow};

pub fn fold(records: &Records<'_>, id: &RotationId) -> Result<Rotation, Fault> {
    if records.rotation(id)?.is_none() {
        return Err(store::no_rotation(id));
    }
    Rotation::fold(&records.lines(id, 0)?)
}

fn told(app: &App, r: Rotation) -> RotationStatus {
    let waits = if r.closed.is_some() { None } else { app.waiting(&r) };
    let (closed, verdict, end, census) = match r.closed {
        Some(c) => (Some(c.at), Some(c.verdict), Some(c.why), Some(c.census)),
        None => (None, None, None, None),
    };
    RotationStatus {
        service: r.id.service(),
        id: r.id,
        from: r.opened.from,
        to: r.opened.to,
        opened: r.opened_at,
        closed,
        direction: r.plan.direction,
        paused: r.paused,
        plan: r.plan,
        cursor: r.cursor,
        step_started: r.started.map(|s| s.first_at),
        turns: r.turns,
        waits,
        verdict,
        why: end.unwrap_or(r.opened.why),
        census,
        events: r.len,
    }
}

pub fn rotation(app: &App, id: &RotationId) -> Result<RotationStatus, Fault> {
    Ok(told(app, app.store.browse(|r| fold(r, id))?))
}

/// Newest first.
pub fn rotations(app: &App, service: Option<&ServiceName>, limit: u64) -> Result<Vec<RotationStatus>, Fault> {
    let folded = app.store.browse(|r| {
        let rows: Vec<RotationRow> = r.rotations(service, limit)?;
        rows.iter().map(|row| fold(r, &row.id)).collect::<Result<Vec<_>, Fault>>()
    })?;
    Ok(folded.into_iter().map(|r| told(app, r)).collect())
}

struct Facts {
    row: ServiceRow,
    known: Known,
    open: Option<Rotation>,
}

fn facts(records: &Records<'_>, row: ServiceRow) -> Result<Facts, Fault> {
    let open = records.open_rotation_of(&row.spec.name)?.map(|o| fold(records, &o.id)).transpose()?;
    Ok(Facts { known: records.known(&row.spec.name)?, row, open })
}

pub fn service(app: &App, service: &ServiceName) -> Result<ServiceStatus, Fault> {
    let facts = app.store.browse(|r| {
        let row = r.in_force(service)?.ok_or_else(|| store::no_service(service))?;
        facts(r, row)
    })?;
    Ok(covered(app, seen(app, facts, None)))
}

/// Groups that the journal does not know come before every other trouble.
fn covered(app: &App, mut status: ServiceStatus) -> ServiceStatus {
    if let Err(fault) = app.comparison.may_drive(&status.service) {
        status.trouble = Some(fault.message);
    }
    status
}

/// By name. Once the keeper or the balancer did not answer, it is not asked again for every other service; and a journal that
/// cannot be read is that service's trouble alone.
pub fn services(app: &App) -> Result<Vec<ServiceStatus>, Fault> {
    let all = app.store.browse(|r| {
        // One that was removed is not listed; asked for by name, it is still shown.
        let rows = r.services()?.into_iter().filter(|row| !r.is_removed(&row.spec.name).unwrap_or(false));
        Ok(rows.map(|row| (r.in_force(&row.spec.name).and_then(|now| facts(r, now.unwrap_or(row.clone()))), row)).collect::<Vec<_>>())
    })?;
    let mut silent: Option<String> = None;
    let mut statuses = Vec::with_capacity(all.len());
    for (facts, row) in all {
        statuses.push(match facts {
            Ok(facts) => {
                let status = seen(app, facts, silent.clone());
                silent = silent.or_else(|| status.trouble.clone());
                covered(app, status)
            }
            Err(fault) => unreadable(row, fault),
        });
    }
    Ok(statuses)
}

fn unreadable(row: ServiceRow, fault: Fault) -> ServiceStatus {
    ServiceStatus {
        service: row.spec.name,
        tier: row.spec.tier,
        standing: None,
        count: row.spec.count,
        healthy: 0,
        weights: Default::default(),
        rotation: None,
        trouble: Some(fault.message),
    }
}

fn seen(app: &App, facts: Facts, trouble: Option<String>) -> ServiceStatus {
    let Facts { row, known, open } = facts;
    let looked = match trouble {
        Some(trouble) => Err(trouble),
        None => look::view(app, &row.spec.name, &known, false).map_err(|f| f.message),
    };
    let (view, trouble) = match looked {
        Ok(view) => (view, None),
        Err(trouble) => (View::default(), Some(trouble)),
    };
    let weights = view.route.as_ref().map(|r| r.weights.clone()).unwrap_or_default();
    let serves = |group: &model::GroupName| !known.routed || weights.get(group).is_some_and(|w| *w > 0);
    let instances = view.groups.values().filter(|g| serves(&g.group)).flat_map(|g| &g.instances);
    let healthy = instances.filter(|i| i.state == InstanceState::Running && i.healthy_ms.is_some()).count();
    // While nothing is under way, what was declared last counts: the newest wish may be one that went back.
    let declared = known.standing.as_ref().and_then(|s| match view.groups.get(&s.group)?.wish {
        WishSeen::Run { count, .. } => Some(count),
        WishSeen::Unknown | WishSeen::Gone => None,
    });
    let count = if open.is_some() { row.spec.count } else { declared.unwrap_or(row.spec.count) };
    ServiceStatus {
        service: row.spec.name,
        tier: row.spec.tier,
        standing: known.standing,
        count,
        healthy: u32::try_from(healthy).unwrap_or(u32::MAX),
        weights,
        rotation: open.map(|r| told(app, r)),
        trouble,
    }
}
