//! The state of rotations and services: rotations from their journals, services from what is observed now.

use crate::app::App;
use crate::inventory;
use crate::observed_service;
use api::control::{RotationStatus, ServiceStatus};
use control::Inventory;
use journal::{Now, Records, RotationRow};
use model::{DesiredSeen, Failure, Fault, GroupName, GroupSeen, InstanceState, Names, RotationId, RouteSeen, ServiceName, View};
use rotation::{Provider, Rotation};

pub fn fold(records: &Records<'_>, id: &RotationId) -> Result<Rotation, Fault> {
    if records.rotation(id)?.is_none() {
        return Err(journal::no_rotation(id));
    }
    Rotation::fold(&records.lines(id, 0)?)
}

/// `observed`: why servers of its new release fail now.
fn rotation_status(app: &App, r: Rotation, observed: Option<Failure>) -> RotationStatus {
    let waits = if r.closed.is_some() { None } else { app.waiting(&r) };
    let (closed, verdict, end, final_inventory) = match r.closed {
        Some(c) => (Some(c.at), Some(c.verdict), Some(c.why), Some(c.final_inventory)),
        None => (None, None, None, None),
    };
    RotationStatus {
        service: r.id.service(),
        id: r.id,
        removes: api::control::is_removal(&r.opened),
        from: r.opened.from,
        to: r.opened.to,
        opened: r.opened_at,
        closed,
        direction: r.plan.direction,
        paused: r.paused,
        plan: r.plan,
        cursor: r.cursor,
        step_started: r.started.map(|s| s.first_at),
        remarks: r.remarks,
        waits,
        verdict,
        why: end.unwrap_or(r.opened.why),
        final_inventory,
        events: r.len,
        failure: r.failure.or(observed),
    }
}

pub fn rotation(app: &App, id: &RotationId) -> Result<RotationStatus, Fault> {
    let r = app.database.browse(|r| fold(r, id))?;
    // Without an answer of the keeper the status lacks the reason.
    let group = if r.closed.is_some() { None } else { Provider::observe(&app.provider, &r.opened.to.group).ok() };
    Ok(rotation_status(app, r, group.and_then(|g| g.failure())))
}

/// Newest first.
pub fn rotations(app: &App, service: Option<&ServiceName>, limit: u64) -> Result<Vec<RotationStatus>, Fault> {
    let folded = app.database.browse(|r| {
        let rows: Vec<RotationRow> = r.rotations(service, limit)?;
        rows.iter().map(|row| fold(r, &row.id)).collect::<Result<Vec<_>, Fault>>()
    })?;
    Ok(folded.into_iter().map(|r| rotation_status(app, r, None)).collect())
}

pub fn service(app: &App, service: &ServiceName) -> Result<ServiceStatus, Fault> {
    let (now, names) = app.database.browse(|r| Ok((r.now(service)?.ok_or_else(|| journal::no_service(service))?, r.names()?)))?;
    let observed = observed_service::view(app, service, &now.summary, false).map_err(|f| f.message);
    Ok(with_id(&names, with_coverage(app, service_status(app, now, observed))))
}

/// Its servers are named after its id: that is said where its name is another.
fn with_id(names: &Names, mut status: ServiceStatus) -> ServiceStatus {
    status.id = Some(status.service.clone()).filter(|id| names.name_of(id) != id);
    status
}

/// Groups that the journal does not know are shown before every other trouble.
fn with_coverage(app: &App, mut status: ServiceStatus) -> ServiceStatus {
    if let Err(fault) = app.comparison.may_drive(&status.service) {
        status.trouble = Some(fault.message);
    }
    status
}

/// By name. Keeper and balancer list everything in one call each, however many services there are, and while no connection to the
/// database is held; a journal that cannot be read is that service's trouble alone. The weights are those declared to the balancer.
pub fn services(app: &App) -> Result<Vec<ServiceStatus>, Fault> {
    let (all, names) = app.database.browse(|r| {
        let mut all = Vec::new();
        for service in r.service_names()? {
            match r.now(&service) {
                // A removed service is not listed; by name, it is still shown.
                Ok(now) => all.extend(now.filter(|now| !now.is_removed).map(Ok)),
                Err(fault) => all.push(Err(unreadable(r, &service, fault)?)),
            }
        }
        Ok((all, r.names()?))
    })?;
    let inventory = if all.is_empty() { Ok(Inventory::default()) } else { inventory::list(app).map_err(|f| f.message) };
    let status = |now: Now| {
        let observed = inventory.as_ref().map_err(Clone::clone).and_then(|all| listed(app, &now, all));
        with_coverage(app, service_status(app, now, observed))
    };
    let mut all: Vec<ServiceStatus> =
        all.into_iter().map(|now| with_id(&names, now.map_or_else(|unreadable| unreadable, status))).collect();
    all.sort_by(|a, b| names.name_of(&a.service).cmp(names.name_of(&b.service)));
    Ok(all)
}

/// One service's part of the inventory, as [`observed_service::view`] would return it.
fn listed(app: &App, now: &Now, inventory: &Inventory) -> Result<View, String> {
    let service = &now.in_force.spec.name;
    let route = match (now.summary.routed, &inventory.no_routes) {
        (false, _) => None,
        (true, Some(fault)) => return Err(fault.message.clone()),
        (true, None) => {
            let name = rotation::route_name(service);
            Some(match inventory.route(service) {
                Some(held) => RouteSeen { stamp: Some(held.stamp), weights: held.spec.weights.clone(), ..RouteSeen::unknown(name) },
                None => RouteSeen::unknown(name),
            })
        }
    };
    let group = |name: &GroupName| (name.clone(), inventory.group(name).cloned().unwrap_or_else(|| GroupSeen::unknown(name.clone())));
    Ok(View { at: app.now(), groups: now.summary.groups.iter().map(group).collect(), route, objects: Default::default() })
}

fn unreadable(records: &Records<'_>, service: &ServiceName, fault: Fault) -> Result<ServiceStatus, Fault> {
    let spec = records.service(service)?.ok_or_else(|| journal::no_service(service))?.spec;
    Ok(ServiceStatus {
        service: spec.name,
        id: None,
        tier: spec.tier,
        active: None,
        count: spec.count,
        healthy: 0,
        weights: Default::default(),
        rotation: None,
        failure: None,
        trouble: Some(fault.message),
    })
}

fn service_status(app: &App, now: Now, observed: Result<View, String>) -> ServiceStatus {
    let Now { in_force: row, summary, open, .. } = now;
    let (view, trouble) = match observed {
        Ok(view) => (view, None),
        Err(trouble) => (View::default(), Some(trouble)),
    };
    let weights = view.route.as_ref().map(|r| r.weights.clone()).unwrap_or_default();
    let serves = |group: &GroupName| !summary.routed || weights.get(group).is_some_and(|w| *w > 0);
    let instances = view.groups.values().filter(|g| serves(&g.group)).flat_map(|g| &g.instances);
    let healthy = instances.filter(|i| i.state == InstanceState::Running && i.healthy_ms.is_some()).count();
    // While no rotation is open, the last declaration counts: a manual step may have changed the number of servers.
    let declared = summary.active.as_ref().and_then(|s| match view.groups.get(&s.group)?.desired {
        DesiredSeen::Run { count, .. } => Some(count),
        DesiredSeen::Unknown | DesiredSeen::Gone => None,
    });
    let count = if open.is_some() { row.spec.count } else { declared.unwrap_or(row.spec.count) };
    let failure = |group: &GroupName| view.groups.get(group).and_then(GroupSeen::failure);
    ServiceStatus {
        service: row.spec.name,
        id: None,
        tier: row.spec.tier,
        failure: summary.active.as_ref().filter(|_| healthy < count as usize).and_then(|active| failure(&active.group)),
        active: summary.active,
        count,
        healthy: u32::try_from(healthy).unwrap_or(u32::MAX),
        weights,
        rotation: open.map(|r| {
            let observed = failure(&r.opened.to.group);
            rotation_status(app, r, observed)
        }),
        trouble,
    }
}
