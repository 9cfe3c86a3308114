//! The inventory of keeper and balancer, compared with the journal. A service with running groups that no journal names is not covered:
//! the journal was lost, or an older copy of it was put back. Then nothing of the service is changed until somebody adopts the groups or
//! restores the right journal. Stamps and numbers that keeper or balancer know are never given out again.

use crate::app::App;
use crate::comparison::{Uncovered, with_hint};
use control::{Inventory, ServiceInventory};
use journal::Records;
use model::{Event, Fault, Fence, GroupName, RotationId, ServiceName};
use rotation::{GroupInventory, RouteInventory};
use std::collections::{BTreeMap, BTreeSet};

/// Without the keeper there is no inventory. Without the balancer it is one of groups alone.
pub fn list(app: &App) -> Result<Inventory, Fault> {
    Ok(Inventory::of(app.provider.groups()?, app.router.routes()))
}

/// Lists and compares. Raises fences above everything that is listed, and remembers which services are not covered.
pub fn compare(app: &App) -> Result<Inventory, Fault> {
    let inventory = list(app)?;
    let mut uncovered = BTreeMap::new();
    let mut outranked = Vec::new();
    app.database.browse(|records| {
        for (service, held) in inventory.services() {
            // A journal that cannot be read concerns its own service alone.
            match uncovered_of(records, service, held) {
                Ok(None) => {}
                Ok(Some(found)) => drop(uncovered.insert(service.clone(), found)),
                Err(fault) => drop(uncovered.insert(service.clone(), Uncovered { groups: BTreeSet::new(), fault })),
            }
            if records.lease(service)?.map_or(Fence(0), |l| l.fence) < held.fence() {
                outranked.push((service.clone(), held.fence()));
            }
        }
        Ok(())
    })?;
    for (service, seen) in outranked {
        if let Some(old) = app.database.write(|tx| tx.outrank(&service, seen))? {
            tracing::warn!(%service, journal = old.0, seen = seen.0, "keeper or balancer took newer stamps than this journal gave out: it was lost, or is an older copy; every later stamp is above them");
        }
    }
    for found in app.comparison.set(uncovered) {
        tracing::error!(code = found.fault.code, alarm = true, "{}", with_hint(&found.fault));
    }
    Ok(inventory)
}

fn uncovered_of(records: &Records<'_>, service: &ServiceName, held: &ServiceInventory) -> Result<Option<Uncovered>, Fault> {
    let groups = control::unknown_groups(held, |group| is_in_journal(records, service, group), || records.summary(service))?;
    if groups.is_empty() {
        return Ok(None);
    }
    let is_known = records.service(service)?.is_some();
    Ok(Some(Uncovered::new(service, groups, is_known)))
}

/// The rotation that the group's name carries is in the journal, and made the group.
fn is_in_journal(records: &Records<'_>, service: &ServiceName, group: &GroupName) -> Result<bool, Fault> {
    let Some((_, _, number)) = group.parts() else { return Ok(false) };
    let opened = records.first_line(&RotationId::of(service, number))?;
    Ok(matches!(opened.map(|l| l.event), Some(Event::Opened(o)) if o.to.group == *group))
}
