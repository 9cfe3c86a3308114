//! The ports as the rest of the control plane sees them. Observations pass; a declaration is refused while the journal is not known to
//! cover the service: this journal never changes what another one made.

use crate::comparison::Comparison;
use model::{Fault, GroupHeld, GroupName, GroupSeen, GroupSpec, RouteHeld, RouteName, RouteSeen, RouteSpec, ServiceName, Stamp};
use rotation::{GroupInventory, Provider, RouteInventory, Router};
use std::sync::Arc;

#[derive(Clone)]
pub struct CoveredPorts {
    provider: Arc<dyn GroupInventory + Send + Sync>,
    router: Arc<dyn RouteInventory + Send + Sync>,
    comparison: Arc<Comparison>,
}

impl CoveredPorts {
    pub fn new(
        provider: Arc<dyn GroupInventory + Send + Sync>,
        router: Arc<dyn RouteInventory + Send + Sync>,
        comparison: Arc<Comparison>,
    ) -> Self {
        Self { provider, router, comparison }
    }
}

impl Provider for CoveredPorts {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        // A group that tests an image belongs to no service; its name is never used twice.
        if spec.group.parts().is_some() {
            self.comparison.must_cover(&spec.service)?;
        }
        self.provider.declare(stamp, spec)
    }

    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.provider.observe(group)
    }
}

impl GroupInventory for CoveredPorts {
    fn groups(&self) -> Result<Vec<GroupHeld>, Fault> {
        self.provider.groups()
    }

    fn kill_ending(&self, group: &GroupName) -> Result<(), Fault> {
        self.provider.kill_ending(group)
    }
}

impl Router for CoveredPorts {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        let service = ServiceName::new(spec.route.as_str()).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
        self.comparison.must_cover(&service)?;
        self.router.declare(stamp, spec)
    }

    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.router.observe(route)
    }
}

impl RouteInventory for CoveredPorts {
    fn routes(&self) -> Result<Vec<RouteHeld>, Fault> {
        self.router.routes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::comparison::Uncovered;
    use control::NOT_COVERED;
    use model::{DesiredGroup, Fence, Route};
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::Mutex;

    /// Takes every declaration and records for whom.
    #[derive(Default)]
    struct Taken(Mutex<Vec<String>>);

    impl Provider for Taken {
        fn declare(&self, _: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
            self.0.lock().unwrap().push(spec.group.to_string());
            Ok(())
        }
        fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
            Ok(GroupSeen::unknown(group.clone()))
        }
    }
    impl GroupInventory for Taken {
        fn groups(&self) -> Result<Vec<GroupHeld>, Fault> {
            Ok(Vec::new())
        }
    }
    impl Router for Taken {
        fn declare(&self, _: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
            self.0.lock().unwrap().push(spec.route.to_string());
            Ok(())
        }
        fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
            Ok(RouteSeen::unknown(route.clone()))
        }
    }
    impl RouteInventory for Taken {
        fn routes(&self) -> Result<Vec<RouteHeld>, Fault> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn neither_group_nor_route_is_declared_for_what_the_journal_does_not_cover() {
        let service = |name: &str| ServiceName::new(name).unwrap();
        let taken = Arc::new(Taken::default());
        let web = service("web");
        let groups = BTreeSet::from([GroupName::new("web-r1-1").unwrap()]);
        let comparison = Arc::new(Comparison::default());
        comparison.set(BTreeMap::from([(web.clone(), Uncovered::new(&web, groups, true))]));
        let ports = CoveredPorts::new(taken.clone(), taken.clone(), comparison);
        let stamp = Stamp { fence: Fence(1), seq: 1 };
        let group = |group: &str, owner: &str| {
            let spec = GroupSpec { group: GroupName::new(group).unwrap(), service: service(owner), desired: DesiredGroup::Gone };
            Provider::declare(&ports, stamp, &spec).map_err(|fault| fault.code)
        };
        let route = |name: &str| {
            let settings = Route::on(([127, 0, 0, 1], 80).into());
            let spec = RouteSpec { route: RouteName::new(name).unwrap(), settings, weights: BTreeMap::new(), gone: false };
            Router::declare(&ports, stamp, &spec).map_err(|fault| fault.code)
        };
        assert_eq!(group("web-r2-2", "web"), Err(NOT_COVERED.into()));
        assert_eq!(route("web"), Err(NOT_COVERED.into()));
        assert!(taken.0.lock().unwrap().is_empty());
        assert_eq!((group("mail-r1-1", "mail"), route("mail")), (Ok(()), Ok(())));
        assert_eq!(*taken.0.lock().unwrap(), ["mail-r1-1", "mail"]);
        // Before anything was compared, nothing is declared for anybody.
        let ports = CoveredPorts::new(taken.clone(), taken.clone(), Arc::new(Comparison::default()));
        let spec = GroupSpec { group: GroupName::new("mail-r2-2").unwrap(), service: service("mail"), desired: DesiredGroup::Gone };
        assert_eq!(Provider::declare(&ports, stamp, &spec).map_err(|fault| fault.code), Err("not-compared".into()));
    }
}
