//! The ports as the rest of the control plane sees them. Observing goes through; a declaration is refused while the journal is not
//! known to cover the service: what another journal made is not changed by this one.

use crate::inventory::Comparison;
use model::{Fault, GroupHeld, GroupName, GroupSeen, GroupSpec, RouteHeld, RouteName, RouteSeen, RouteSpec, ServiceName, Stamp};
use rotation::{GroupInventory, Provider, RouteInventory, Router};
use std::sync::Arc;

#[derive(Clone)]
pub struct Gate {
    provider: Arc<dyn GroupInventory + Send + Sync>,
    router: Arc<dyn RouteInventory + Send + Sync>,
    comparison: Arc<Comparison>,
}

impl Gate {
    pub fn new(
        provider: Arc<dyn GroupInventory + Send + Sync>,
        router: Arc<dyn RouteInventory + Send + Sync>,
        comparison: Arc<Comparison>,
    ) -> Self {
        Self { provider, router, comparison }
    }
}

impl Provider for Gate {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        // A test of an image belongs to no service; its name is never used twice.
        if spec.group.parts().is_some() {
            self.comparison.must_cover(&spec.service)?;
        }
        self.provider.declare(stamp, spec)
    }

    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.provider.observe(group)
    }
}

impl GroupInventory for Gate {
    fn groups(&self) -> Result<Vec<GroupHeld>, Fault> {
        self.provider.groups()
    }
}

impl Router for Gate {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        let service = ServiceName::new(spec.route.as_str()).map_err(|e| Fault::ours("bad-name", e.to_string()))?;
        self.comparison.must_cover(&service)?;
        self.router.declare(stamp, spec)
    }

    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.router.observe(route)
    }
}

impl RouteInventory for Gate {
    fn routes(&self) -> Result<Vec<RouteHeld>, Fault> {
        self.router.routes()
    }
}
