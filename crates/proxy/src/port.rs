//! `rotation::Router` over the socket of the balancer's control side.

use api::proxy::DeclareRoute;
use api::{Blocking, Client};
use model::{Fault, Layout, RouteHeld, RouteName, RouteSeen, RouteSpec, Stamp};
use rotation::{RouteInventory, Router};
use std::time::Duration;
use tokio::runtime::Handle;

#[derive(Clone, Debug)]
pub struct Remote(Blocking);

impl Remote {
    pub fn new(layout: &Layout, handle: Handle) -> Self {
        Self(Blocking::new(Client::unix(layout.proxy_socket()).timeout(Duration::from_secs(5)), handle))
    }
}

impl Router for Remote {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        let path = format!("{}/{}", api::paths::ROUTES, spec.route);
        let declaration = DeclareRoute { stamp, spec: spec.clone() };
        self.0.put(&path, &declaration)
    }

    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.0.get(&format!("{}/{route}", api::paths::ROUTES))
    }
}

impl RouteInventory for Remote {
    fn routes(&self) -> Result<Vec<RouteHeld>, Fault> {
        self.0.get(api::paths::INVENTORY)
    }
}
