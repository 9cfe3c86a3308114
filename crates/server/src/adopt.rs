//! Takes over what runs and no journal knows (`control::adopt`), for the services that a request names.

use crate::app::App;
use crate::inventory;
use crate::names;
use api::control::{AdoptRequest, Adoption};
use control::{Adopted, Inventory, ServiceInventory};
use journal::{Origin, Tx};
use model::{Event, Fault, FinalInventory, GroupRelease, ServiceName, TierName, Verdict};
use rotation::{Journal, Refused};

/// The tier of a service of which nothing but its servers is known.
const TIER: &str = "adopted";
const LEASE_MS: u64 = 1_000;

/// What would be taken over, service by service.
pub fn plan(app: &App) -> Result<Vec<Adoption>, Fault> {
    let inventory = inventory::compare(app)?;
    let mut all = Vec::new();
    for (service, uncovered) in app.comparison.uncovered() {
        let mut adoption = proposal(app, &service, &inventory.service(&service))?;
        if uncovered.groups.is_empty() {
            adoption.refused = Some(uncovered.fault.message);
        }
        all.push(adoption);
    }
    Ok(all)
}

fn proposal(app: &App, service: &ServiceName, held: &ServiceInventory) -> Result<Adoption, Fault> {
    let proposal = control::propose(held);
    let tier = match app.database.browse(|r| r.in_force(service)).ok().flatten() {
        Some(row) => row.spec.tier,
        None => TierName::new(TIER).map_err(|e| Fault::ours("bad-name", e.to_string()))?,
    };
    let none = || format!("no declaration of {service} is left to take over; stop its groups by hand");
    let refused = proposal.active.is_none().then(none);
    let control::Proposal { active, count, others } = proposal;
    Ok(Adoption { service: service.clone(), tier, active, count, others, refused, rotation: None })
}

/// The services that the request names, as the plan shows them.
pub fn adopt(app: &App, by: &str, request: &AdoptRequest) -> Result<Vec<Adoption>, Fault> {
    let _alone = app.deploy_lock();
    let inventory = inventory::compare(app)?;
    let uncovered = app.comparison.uncovered();
    let mut done = Vec::new();
    for service in &request.services {
        if uncovered.get(service).is_none_or(|u| u.groups.is_empty()) {
            return Err(Fault::yours("nothing-to-adopt", format!("{service}: the journal knows every group that runs"))
                .hint("`afresh adopt` shows what can be taken over"));
        }
        let adoption = proposal(app, service, &inventory.service(service))?;
        done.push(adopt_one(app, adoption, &inventory, by)?);
    }
    inventory::compare(app)?;
    names::keep_published(app);
    app.notifier.notify();
    Ok(done)
}

fn adopt_one(app: &App, adoption: Adoption, inventory: &Inventory, by: &str) -> Result<Adoption, Fault> {
    let service = &adoption.service;
    let Some(active) = &adoption.active else {
        return Err(Fault::yours("nothing-to-adopt", adoption.refused.unwrap_or_default()));
    };
    let why = format!("taken over from what runs, requested by {by}");
    close_open_rotation(app, service, active, &why)?;
    let old = app.database.read(|r| r.in_force(service))?.map(|row| row.spec);
    let Adopted { spec, opened, closed } = control::adopt(active, adoption.count, &adoption.others, old, &adoption.tier, &why);
    let held = inventory.service(service);
    let at = app.now();
    let id = app.database.write(|tx: &Tx<'_>| {
        tx.put_service(&spec, by, at)?;
        names::adopt(tx, app, service)?;
        tx.outrank(service, held.fence())?;
        tx.outnumber(service, held.rotation())?;
        tx.keep_release(&active.release, at)?;
        let id = tx.put_closed(&Origin { service, rollout: None, at }, opened, &closed)?;
        // No server of a release starts before it is migrated.
        if active.release.migrate.is_some() && adoption.count > 0 {
            tx.put_migration(service, &active.release.digest(), &id, at)?;
        }
        Ok(id)
    })?;
    tracing::warn!(%service, rotation = %id, group = %active.group, by, "taken over from what runs");
    Ok(Adoption { rotation: Some(id), ..adoption })
}

/// A rotation that an older copy of the journal still has open is over: what it was to do is not what runs.
fn close_open_rotation(app: &App, service: &ServiceName, active: &GroupRelease, why: &str) -> Result<(), Fault> {
    let Some(open) = app.database.read(|r| r.open_rotation_of(service))? else { return Ok(()) };
    let fault = |refused: Refused| match refused {
        Refused::Fault(fault) => fault,
        other => Fault::world("busy", format!("{service}: {other}")).hint("try again"),
    };
    let now = app.now();
    let lease = app.database.take(service, &app.holder, now, LEASE_MS).map_err(fault)?;
    let seq = app.database.read(|r| r.lines(&open.id, 0))?.len() as u64;
    let final_inventory = FinalInventory { active: Some(active.clone()), ..FinalInventory::default() };
    let closed = Event::Closed { verdict: Verdict::Stopped, why: why.to_string(), final_inventory };
    app.database.append(&lease, &open.id, seq, now, &closed).map_err(fault)?;
    app.database.release(&lease).map_err(fault)
}
