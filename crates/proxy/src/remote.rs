//! The engine's way to the balancer: the port `Router`, over control's socket.

use api::Client;
use api::proxy::DeclareRoute;
use model::{Fault, Layout, RouteName, RouteSeen, RouteSpec, Stamp};
use rotation::Router;
use serde_json::Value;
use std::time::Duration;
use tokio::runtime::Handle;

/// Blocks: it must be called from a thread that is not one of the runtime's own (`spawn_blocking` will do).
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    handle: Handle,
}

impl Remote {
    pub fn new(layout: &Layout, handle: Handle) -> Self {
        Self { client: Client::unix(layout.proxy_socket()).timeout(Duration::from_secs(5)), handle }
    }
}

impl Router for Remote {
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault> {
        let path = format!("{}/{}", api::paths::ROUTES, spec.route);
        let said = DeclareRoute { stamp, spec: spec.clone() };
        self.handle.block_on(self.client.put::<_, Value>(&path, &said)).map(|_| ())
    }

    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault> {
        self.handle.block_on(self.client.get(&format!("{}/{route}", api::paths::ROUTES)))
    }
}
