//! The keeper as the engine sees it, over its socket.

use api::host::{DeclareGroup, HostCounters};
use api::{Client, paths};
use model::{Fault, GroupName, GroupSeen, GroupSpec, Layout, Stamp};
use rotation::Provider;
use tokio::runtime::Handle;

/// Its calls block: they are for a thread that is not one of the runtime's own.
#[derive(Clone, Debug)]
pub struct Remote {
    client: Client,
    handle: Handle,
}

impl Remote {
    pub fn new(layout: &Layout, handle: Handle) -> Self {
        Self { client: Client::unix(layout.host_socket()), handle }
    }

    pub fn all(&self) -> Result<Vec<GroupSeen>, Fault> {
        self.handle.block_on(self.client.get(paths::GROUPS))
    }

    pub fn counters(&self) -> Result<HostCounters, Fault> {
        self.handle.block_on(self.client.get(paths::COUNTERS))
    }

    pub fn health(&self) -> Result<paths::Health, Fault> {
        self.handle.block_on(self.client.get(paths::HEALTH))
    }
}

impl Provider for Remote {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        let path = format!("{}/{}", paths::GROUPS, spec.group);
        let body = DeclareGroup { stamp, spec: spec.clone() };
        self.handle.block_on(self.client.put::<_, serde_json::Value>(&path, &body)).map(drop)
    }

    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.handle.block_on(self.client.get(&format!("{}/{group}", paths::GROUPS)))
    }
}
