//! Journal and world compared. Keeper and balancer list what they hold; a service that has running groups of which no journal speaks is
//! not covered by this journal: it was lost, or an older copy of it was put back. Then nothing of that service is changed until
//! somebody adopts the groups or restores the right journal. Stamps and numbers that the world has seen are never given out again.
//!
//! ```text
//! not compared yet ──(keeper answers)──▶ compared: covered ◀──▶ not covered      nothing is declared but while covered
//! ```

use crate::app::App;
use journal::Records;
use model::{DesiredGroup, DesiredSeen, Event, Fault, Fence, GroupHeld, GroupName, GroupSeen, RotationId, RouteHeld, ServiceName};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub const NOT_COVERED: &str = "journal-lacks-groups";

/// What keeper and balancer hold of one service.
#[derive(Clone, Debug, Default)]
pub struct Traces {
    pub groups: Vec<GroupHeld>,
    pub route: Option<RouteHeld>,
}

impl Traces {
    pub fn fence(&self) -> Fence {
        let groups = self.groups.iter().filter_map(|g| g.seen.stamp);
        groups.chain(self.route.as_ref().map(|r| r.stamp)).map(|s| s.fence).max().unwrap_or_default()
    }

    /// The highest number of a rotation in the groups' names.
    pub fn rotation(&self) -> u64 {
        self.groups.iter().filter_map(|g| g.seen.group.parts()).map(|(_, _, n)| n).max().unwrap_or(0)
    }

    pub fn has(&self, group: &GroupName) -> bool {
        self.groups.iter().any(|g| g.seen.group == *group)
    }
}

/// One listing of everything.
#[derive(Debug, Default)]
pub struct Inventory {
    services: BTreeMap<ServiceName, Traces>,
    /// Who owns a group, as it was declared.
    owners: BTreeMap<GroupName, ServiceName>,
    /// Groups by their names, those that belong to no service too.
    groups: BTreeMap<GroupName, GroupSeen>,
    /// Why the balancer could not list its routes.
    pub no_routes: Option<Fault>,
}

impl Inventory {
    /// Without the keeper there is none. Without the balancer there is one, of groups alone.
    pub fn take(app: &App) -> Result<Inventory, Fault> {
        use rotation::{GroupInventory, RouteInventory};
        let mut all = Inventory::default();
        for held in app.provider.groups()? {
            let named = held.seen.group.parts().map(|(service, ..)| service);
            let owner = held.spec.as_ref().map(|s| s.service.clone()).or_else(|| named.clone());
            if let Some(owner) = owner {
                all.owners.insert(held.seen.group.clone(), owner);
            }
            all.groups.insert(held.seen.group.clone(), held.seen.clone());
            // By name too: the numbers in names are what must not be used twice.
            if let Some(service) = named {
                all.services.entry(service).or_default().groups.push(held);
            }
        }
        match app.router.routes() {
            Ok(routes) => {
                for held in routes {
                    let Ok(service) = ServiceName::new(held.spec.route.as_str()) else { continue };
                    all.services.entry(service).or_default().route = Some(held);
                }
            }
            Err(fault) => all.no_routes = Some(fault),
        }
        Ok(all)
    }

    pub fn of(&self, service: &ServiceName) -> Traces {
        self.services.get(service).cloned().unwrap_or_default()
    }

    pub fn group(&self, group: &GroupName) -> Option<&GroupSeen> {
        self.groups.get(group)
    }

    pub fn route(&self, service: &ServiceName) -> Option<&RouteHeld> {
        self.services.get(service)?.route.as_ref()
    }

    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &Traces)> {
        self.services.iter()
    }

    /// The service that a group was declared for, if that is another than this one.
    pub fn other_owner(&self, group: &GroupName, service: &ServiceName) -> Option<&ServiceName> {
        self.owners.get(group).filter(|owner| *owner != service)
    }
}

/// Why nothing of a service is changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uncovered {
    /// Running groups of which its journals do not speak. Empty: its journal cannot be read.
    pub groups: BTreeSet<GroupName>,
    pub fault: Fault,
}

impl Uncovered {
    fn of(service: &ServiceName, groups: BTreeSet<GroupName>, service_known: bool) -> Self {
        let names: Vec<&str> = groups.iter().map(GroupName::as_str).collect();
        let whose = if service_known { "which its journal does not know" } else { "and the journal does not know the service" };
        let names = names.join(", ");
        let told = format!(
            "the keeper runs {names} of {service}, {whose}: the journal was lost, or an older copy was put in its place. Nothing of {service} is changed"
        );
        let hint = "`afresh adopt` shows what would be taken over, or stop serve and run `afresh restore` to go back to the backup";
        Self { groups, fault: Fault::world(NOT_COVERED, told).hint(hint).again(false) }
    }
}

#[derive(Default)]
struct State {
    compared: bool,
    uncovered: BTreeMap<ServiceName, Uncovered>,
    /// Services whose stamps in the world were newer than every fence of the journal.
    outranked: BTreeSet<ServiceName>,
}

/// The last comparison.
#[derive(Default)]
pub struct Comparison(Mutex<State>);

impl Comparison {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing may be changed for a service whose running groups are not all known, nor before that was observed at.
    pub fn must_cover(&self, service: &ServiceName) -> Result<(), Fault> {
        let state = self.lock();
        if !state.compared {
            let told = "the journal was not yet compared with what the keeper runs; nothing is changed before";
            return Err(Fault::world("not-compared", told).hint("the keeper must answer: `afresh status`, `afresh up`"));
        }
        state.uncovered.get(service).map_or(Ok(()), |u| Err(u.fault.clone()))
    }

    pub fn is_made(&self) -> bool {
        self.lock().compared
    }

    /// For what concerns every service, such as removing what none of them needs.
    pub fn must_cover_all(&self) -> Result<(), Fault> {
        self.lock().uncovered.values().next().map_or(Ok(()), |u| Err(u.fault.clone()))
    }

    /// A rotation may be driven before the comparison: nothing of it is declared then, but a stop is taken.
    pub fn may_drive(&self, service: &ServiceName) -> Result<(), Fault> {
        self.lock().uncovered.get(service).map_or(Ok(()), |u| Err(u.fault.clone()))
    }

    pub fn uncovered(&self) -> BTreeMap<ServiceName, Uncovered> {
        self.lock().uncovered.clone()
    }

    /// For `health`: what somebody must see to.
    pub fn troubles(&self) -> Vec<(ServiceName, String)> {
        let state = self.lock();
        state.uncovered.iter().map(|(service, u)| (service.clone(), said(&u.fault))).collect()
    }
}

/// Compares and acts on it: raises fences and numbers above everything that is seen, and remembers what is not known.
pub fn compare(app: &App) -> Result<Inventory, Fault> {
    let inventory = Inventory::take(app)?;
    let mut uncovered = BTreeMap::new();
    let mut older = Vec::new();
    app.database.browse(|records| {
        for (service, traces) in inventory.services() {
            // A journal that cannot be read is its own service's trouble.
            match uncovered_of(records, service, traces) {
                Ok(None) => {}
                Ok(Some(found)) => drop(uncovered.insert(service.clone(), found)),
                Err(fault) => drop(uncovered.insert(service.clone(), Uncovered { groups: BTreeSet::new(), fault })),
            }
            if records.lease(service)?.map_or(Fence(0), |l| l.fence) < traces.fence() {
                older.push((service.clone(), traces.fence()));
            }
        }
        Ok(())
    })?;
    for (service, seen) in older {
        if let Some(old) = app.database.write(|tx| tx.outrank(&service, seen))? {
            tracing::warn!(%service, journal = old.0, world = seen.0, "the world took newer stamps than this journal gave out: it was lost, or is an older copy; every later stamp is above them");
            app.comparison.lock().outranked.insert(service);
        }
    }
    let mut state = app.comparison.lock();
    for (service, found) in &uncovered {
        if state.uncovered.get(service) != Some(found) {
            tracing::error!(code = found.fault.code, alarm = true, "{}", said(&found.fault));
        }
    }
    state.uncovered = uncovered;
    state.compared = true;
    Ok(inventory)
}

/// With its hint.
fn said(fault: &Fault) -> String {
    fault.hint.as_ref().map_or_else(|| fault.message.clone(), |hint| format!("{}. {hint}", fault.message))
}

fn uncovered_of(records: &Records<'_>, service: &ServiceName, traces: &Traces) -> Result<Option<Uncovered>, Fault> {
    let running = |g: &&GroupHeld| {
        let declared = matches!(g.seen.desired, DesiredSeen::Run { .. });
        // A check that has ended is no server.
        let once = matches!(g.spec.as_ref().map(|s| &s.desired), Some(DesiredGroup::Run { once: Some(_), .. }));
        let lost = g.spec.is_none() && !g.seen.instances.is_empty();
        lost || (declared && !once)
    };
    let mut groups = BTreeSet::new();
    let mut known = None;
    for group in traces.groups.iter().filter(running).map(|g| &g.seen.group) {
        if is_in_journal(records, service, group)? {
            continue;
        }
        if known.is_none() {
            known = Some(records.known(service)?);
        }
        if known.as_ref().is_some_and(|k| !k.groups.contains(group)) {
            groups.insert(group.clone());
        }
    }
    if groups.is_empty() {
        return Ok(None);
    }
    let service_known = records.service(service)?.is_some();
    Ok(Some(Uncovered::of(service, groups, service_known)))
}

/// The rotation that its name speaks of is in the journal, and made it.
fn is_in_journal(records: &Records<'_>, service: &ServiceName, group: &GroupName) -> Result<bool, Fault> {
    let Some((_, _, number)) = group.parts() else { return Ok(false) };
    let opened = records.first_line(&RotationId::of(service, number))?;
    Ok(matches!(opened.map(|l| l.event), Some(Event::Opened(o)) if o.to.group == *group))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use model::{DesiredSeen, Route, RouteName, RouteSpec, Stamp};

    /// A comparison that found running groups of a service of which the journal does not speak.
    pub fn not_covering(service: &ServiceName) -> Comparison {
        let groups = BTreeSet::from([GroupName::new("web-r1-1").unwrap()]);
        let uncovered = BTreeMap::from([(service.clone(), Uncovered::of(service, groups, true))]);
        Comparison(Mutex::new(State { compared: true, uncovered, outranked: BTreeSet::new() }))
    }

    fn stamp(fence: u64) -> Stamp {
        Stamp { fence: Fence(fence), seq: 1 }
    }

    #[test]
    fn the_newest_fence_of_groups_and_route_counts() {
        let mut seen = GroupSeen::unknown(GroupName::new("web-r1-3").unwrap());
        (seen.stamp, seen.desired) = (Some(stamp(4)), DesiredSeen::Gone);
        let spec = RouteSpec {
            route: RouteName::new("web").unwrap(),
            settings: Route::on(([127, 0, 0, 1], 80).into()),
            weights: BTreeMap::new(),
            gone: false,
        };
        let route = |fence| Some(RouteHeld { stamp: stamp(fence), spec: spec.clone() });
        let mut traces = Traces { groups: vec![GroupHeld { seen, spec: None }], route: route(9) };
        assert_eq!((traces.fence(), traces.rotation()), (Fence(9), 3));
        traces.route = route(2);
        assert_eq!(traces.fence(), Fence(4));
        assert_eq!(Traces::default().fence(), Fence(0));
    }
}
