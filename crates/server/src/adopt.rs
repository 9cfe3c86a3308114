//! Takes over what runs and no journal knows: for each service one rotation that is opened and closed at once, with what was seen as the
//! active release. Nothing in the world is changed by it; the next deploy goes on from there.

use crate::app::App;
use crate::desired;
use crate::inventory::{self, Inventory, Traces};
use api::control::{AdoptRequest, Adoption};
use journal::{Origin, Tx};
use model::{
    DesiredGroup, Direction, Event, Fault, FinalInventory, GroupName, GroupRelease, Opened, Plan, Release, Rollout, ServiceName,
    ServiceSpec, TierName, Verdict,
};
use rotation::Journal;
use std::collections::BTreeMap;

/// The tier of a service of which nothing but its servers is known.
const TIER: &str = "adopted";

/// What would be taken over, service by service.
pub fn plan(app: &App) -> Result<Vec<Adoption>, Fault> {
    let inventory = inventory::compare(app)?;
    let mut all = Vec::new();
    for (service, uncovered) in app.comparison.uncovered() {
        let mut adoption = proposal(app, &service, &inventory.of(&service))?;
        if uncovered.groups.is_empty() {
            adoption.refused = Some(uncovered.fault.message);
        }
        all.push(adoption);
    }
    Ok(all)
}

/// The group that gets most of the traffic is active, among equals the newest; the others are retired by the next deploy.
fn proposal(app: &App, service: &ServiceName, traces: &Traces) -> Result<Adoption, Fault> {
    let weights = traces.route.as_ref().map(|r| r.spec.weights.clone()).unwrap_or_default();
    let mut running: Vec<(u32, u64, GroupRelease, u32)> = Vec::new();
    let mut others = Vec::new();
    for held in &traces.groups {
        let group = &held.seen.group;
        match held.spec.as_ref().map(|s| &s.desired) {
            Some(DesiredGroup::Run { release, count, once: None }) => {
                let rotation = group.parts().map_or(0, |(_, _, n)| n);
                let active = GroupRelease { group: group.clone(), release: release.clone() };
                running.push((weights.get(group).copied().unwrap_or(0), rotation, active, *count));
            }
            Some(DesiredGroup::Run { once: Some(_), .. }) => others.push(group.clone()),
            Some(DesiredGroup::Gone) => {}
            None if held.seen.instances.is_empty() => {}
            None => others.push(group.clone()),
        }
    }
    running.sort_by_key(|(weight, rotation, ..)| (*weight, *rotation));
    let active = running.pop();
    others.extend(running.into_iter().map(|(_, _, s, _)| s.group));
    let known = app.database.browse(|r| r.in_force(service)).ok().flatten();
    let tier = match known {
        Some(row) => row.spec.tier,
        None => TierName::new(TIER).map_err(|e| Fault::ours("bad-name", e.to_string()))?,
    };
    let refused = active.is_none().then(|| format!("no declaration of {service} is left to take over; stop its groups by hand"));
    let (count, active) = active.map_or((0, None), |(_, _, s, count)| (count, Some(s)));
    Ok(Adoption { service: service.clone(), tier, active, count, others, refused, rotation: None })
}

/// Those that the request names, as its plan showed them.
pub fn adopt(app: &App, by: &str, request: &AdoptRequest) -> Result<Vec<Adoption>, Fault> {
    let _alone = app.deploy_lock();
    let inventory = inventory::compare(app)?;
    let uncovered = app.comparison.uncovered();
    let mut done = Vec::new();
    for service in &request.services {
        if uncovered.get(service).is_none_or(|u| u.groups.is_empty()) {
            return Err(Fault::yours("nothing-to-adopt", format!("{service}: the journal knows everything that runs of it"))
                .hint("`afresh adopt` shows what can be taken over"));
        }
        let adoption = proposal(app, service, &inventory.of(service))?;
        done.push(adopt_one(app, adoption, &inventory, by)?);
    }
    inventory::compare(app)?;
    app.notifier.notify();
    Ok(done)
}

fn adopt_one(app: &App, adoption: Adoption, inventory: &Inventory, by: &str) -> Result<Adoption, Fault> {
    let service = &adoption.service;
    let Some(active) = &adoption.active else {
        return Err(Fault::yours("nothing-to-adopt", adoption.refused.unwrap_or_default()));
    };
    let why = format!("taken over from what runs, asked for by {by}");
    end_open(app, service, active, &why)?;
    let old = app.database.read(|r| r.in_force(service))?.map(|row| row.spec);
    let spec = ServiceSpec { count: adoption.count, ..spec_of(old, &active.release, &adoption.tier) };
    let traces = inventory.of(service);
    let at = app.now();
    let id = app.database.write(|tx: &Tx<'_>| {
        tx.put_service(&spec, by, at)?;
        tx.outrank(service, traces.fence())?;
        tx.outnumber(service, traces.rotation())?;
        tx.keep_release(&active.release, at)?;
        let plan = Plan { direction: Direction::Forward, peak: adoption.count, ..Plan::default() };
        let opened = Opened { spec: spec.clone(), from: None, to: active.clone(), plan, why: why.clone() };
        let others = adoption.others.iter().map(|g: &GroupName| (g.clone(), 0));
        let healthy: BTreeMap<GroupName, u32> = others.chain([(active.group.clone(), adoption.count)]).collect();
        // Partial, where more than the active group runs: the next plan is made with a view of what is left over.
        let verdict = if adoption.others.is_empty() { Verdict::Promoted } else { Verdict::Stopped };
        let final_inventory = FinalInventory { healthy, active: Some(active.clone()), ..FinalInventory::default() };
        tx.put_closed(&Origin { service, rollout: None, at }, opened, Event::Closed { verdict, why: why.clone(), final_inventory })
    })?;
    tracing::warn!(%service, rotation = %id, group = %active.group, by, "taken over from what runs");
    Ok(Adoption { rotation: Some(id), ..adoption })
}

fn spec_of(old: Option<ServiceSpec>, release: &Release, tier: &TierName) -> ServiceSpec {
    let base = old.unwrap_or_else(|| ServiceSpec {
        name: release.service.clone(),
        tier: tier.clone(),
        image: release.image_name.clone(),
        artifact: None,
        run: release.run.clone(),
        env: release.env.clone(),
        user: release.user.clone(),
        port: release.port,
        count: 1,
        health: release.health.clone(),
        drain: release.drain.clone(),
        limits: release.limits.clone(),
        route: release.route.clone(),
        checks: release.checks.clone(),
        rollout: Rollout::default(),
    });
    desired::with_settings(&base, release)
}

/// A rotation that an older copy of the journal still has open is over: what it was to do is not what runs.
fn end_open(app: &App, service: &ServiceName, active: &GroupRelease, why: &str) -> Result<(), Fault> {
    let Some(open) = app.database.read(|r| r.open_rotation_of(service))? else { return Ok(()) };
    let plain = |refused: rotation::Refused| match refused {
        rotation::Refused::Fault(fault) => fault,
        other => Fault::world("busy", format!("{service}: {other}")).hint("try again"),
    };
    let now = app.now();
    let lease = app.database.take(service, &app.holder, now, 1_000).map_err(plain)?;
    let seq = app.database.read(|r| r.lines(&open.id, 0))?.len() as u64;
    let final_inventory = FinalInventory { active: Some(active.clone()), ..FinalInventory::default() };
    let closed = Event::Closed { verdict: Verdict::Stopped, why: why.to_string(), final_inventory };
    app.database.append(&lease, &open.id, seq, now, &closed).map_err(plain)?;
    app.database.release(&lease).map_err(plain)
}
