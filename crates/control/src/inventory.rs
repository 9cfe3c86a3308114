//! What keeper and balancer hold, service by service, whoever declared it.

use model::{Digest, Fault, Fence, GroupHeld, GroupName, GroupSeen, RouteHeld, ServiceName};
use std::collections::BTreeMap;

/// What keeper and balancer hold of one service.
#[derive(Clone, Debug, Default)]
pub struct ServiceInventory {
    pub groups: Vec<GroupHeld>,
    pub route: Option<RouteHeld>,
}

impl ServiceInventory {
    /// The newest fence that keeper or balancer took for the service.
    pub fn fence(&self) -> Fence {
        let groups = self.groups.iter().filter_map(|g| g.seen.stamp);
        groups.chain(self.route.as_ref().map(|r| r.stamp)).map(|s| s.fence).max().unwrap_or_default()
    }

    /// The highest number of a rotation in the groups' names.
    pub fn rotation(&self) -> u64 {
        self.groups.iter().filter_map(|g| g.seen.group.parts()).map(|(_, _, n)| n).max().unwrap_or(0)
    }

    /// The keeper knows that the migration of this release succeeded: its memory outlives the group, and a journal that was lost.
    pub fn has_migrated(&self, release: &Digest) -> bool {
        let ends = self.groups.iter().filter(|g| g.seen.group.migration().is_some()).filter_map(|g| g.seen.ended.as_ref());
        ends.into_iter().any(|end| end.release == *release && end.exit.succeeded())
    }

    pub fn has(&self, group: &GroupName) -> bool {
        self.groups.iter().any(|g| g.seen.group == *group)
    }
}

/// One listing of everything.
#[derive(Debug, Default)]
pub struct Inventory {
    services: BTreeMap<ServiceName, ServiceInventory>,
    /// Who owns a group, as it was declared.
    owners: BTreeMap<GroupName, ServiceName>,
    /// Groups by their names, those that belong to no service too.
    groups: BTreeMap<GroupName, GroupSeen>,
    /// Why the balancer could not list its routes.
    pub no_routes: Option<Fault>,
}

impl Inventory {
    /// Without the balancer's routes it is one of groups alone.
    pub fn of(groups: Vec<GroupHeld>, routes: Result<Vec<RouteHeld>, Fault>) -> Inventory {
        let mut all = Inventory::default();
        for held in groups {
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
        match routes {
            Ok(routes) => {
                for held in routes {
                    let Ok(service) = ServiceName::new(held.spec.route.as_str()) else { continue };
                    all.services.entry(service).or_default().route = Some(held);
                }
            }
            Err(fault) => all.no_routes = Some(fault),
        }
        all
    }

    pub fn service(&self, service: &ServiceName) -> ServiceInventory {
        self.services.get(service).cloned().unwrap_or_default()
    }

    pub fn group(&self, group: &GroupName) -> Option<&GroupSeen> {
        self.groups.get(group)
    }

    pub fn route(&self, service: &ServiceName) -> Option<&RouteHeld> {
        self.services.get(service)?.route.as_ref()
    }

    pub fn services(&self) -> impl Iterator<Item = (&ServiceName, &ServiceInventory)> {
        self.services.iter()
    }

    /// The service that a group was declared for, if that is another than this one.
    pub fn other_owner(&self, group: &GroupName, service: &ServiceName) -> Option<&ServiceName> {
        self.owners.get(group).filter(|owner| *owner != service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{DesiredSeen, Route, RouteName, RouteSpec, Stamp};

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
        let mut held = ServiceInventory { groups: vec![GroupHeld { seen, spec: None }], route: route(9) };
        assert_eq!((held.fence(), held.rotation()), (Fence(9), 3));
        held.route = route(2);
        assert_eq!(held.fence(), Fence(4));
        assert_eq!(ServiceInventory::default().fence(), Fence(0));
    }
}
