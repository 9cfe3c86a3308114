//! `rotation::Provider` over the keeper's socket.

use api::host::{DeclareGroup, HostCounters, Killed};
use api::logs::{LOGS, LogPart, LogQuery};
use api::{Blocking, Client, fleet, paths};
use model::{Fault, GroupHeld, GroupName, GroupSeen, GroupSpec, InstanceId, Layout, Stamp};
use rotation::{GroupInventory, Provider};
use tokio::runtime::Handle;

#[derive(Clone, Debug)]
pub struct Remote(Blocking);

impl Remote {
    pub fn new(layout: &Layout, handle: Handle) -> Self {
        Self(Blocking::new(Client::unix(layout.host_socket()), handle))
    }

    pub fn all(&self) -> Result<Vec<GroupSeen>, Fault> {
        self.0.get(paths::GROUPS)
    }

    /// Kills one-shots of the group that were asked to end; how many.
    pub fn kill(&self, group: &GroupName) -> Result<usize, Fault> {
        let killed: Killed = self.0.post(&paths::kill(group), &serde_json::json!({}))?;
        Ok(killed.killed)
    }

    pub fn counters(&self) -> Result<HostCounters, Fault> {
        self.0.get(paths::COUNTERS)
    }

    pub fn alarms(&self) -> Result<Vec<fleet::Alarm>, Fault> {
        self.0.get(fleet::ALARMS)
    }

    pub fn happened(&self, after: u64) -> Result<Vec<fleet::Happened>, Fault> {
        self.0.get(&format!("{}?after={after}", fleet::HAPPENED))
    }

    pub fn log(&self, instance: &InstanceId, query: &LogQuery) -> Result<LogPart, Fault> {
        self.0.get(&format!("{LOGS}/{instance}{}", query.text()))
    }

    pub fn health(&self) -> Result<paths::Health, Fault> {
        self.0.get(paths::HEALTH)
    }
}

impl Provider for Remote {
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault> {
        let path = format!("{}/{}", paths::GROUPS, spec.group);
        let body = DeclareGroup { stamp, spec: spec.clone() };
        self.0.put(&path, &body)
    }

    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault> {
        self.0.get(&format!("{}/{group}", paths::GROUPS))
    }
}

impl GroupInventory for Remote {
    fn groups(&self) -> Result<Vec<GroupHeld>, Fault> {
        self.0.get(paths::INVENTORY)
    }

    fn kill_ending(&self, group: &GroupName) -> Result<(), Fault> {
        self.kill(group).map(drop)
    }
}
