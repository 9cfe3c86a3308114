//! Everything that a decision about one service is made from.

use crate::inventory::{Inventory, ServiceInventory};
use crate::summary::Summary;
use model::{DesiredSeen, GroupRelease, GroupSeen, ServiceName, View};

#[derive(Clone, Debug)]
pub struct ObservedService {
    /// What its journals come to. The transaction that opens a rotation compares it with what it finds.
    pub summary: Summary,
    /// Every group that may exist, and the route, as observed.
    pub view: View,
    /// Everything that keeper and balancer hold of the service, whoever declared it.
    pub inventory: ServiceInventory,
}

impl ObservedService {
    /// Not observed yet. A group that a journal names by mistake and another service owns is not this service's to count or to retire.
    pub fn new(service: &ServiceName, inventory: &Inventory, mut summary: Summary) -> Self {
        summary.groups.retain(|group| inventory.other_owner(group, service).is_none());
        summary.releases.retain(|group, _| inventory.other_owner(group, service).is_none());
        Self { summary, view: View::default(), inventory: inventory.service(service) }
    }

    #[must_use]
    pub fn with_view(self, view: View) -> Self {
        Self { view, ..self }
    }

    /// Whether no other group of the service has servers, or would get some.
    pub(crate) fn is_alone(&self, active: &GroupRelease) -> bool {
        let exists = |g: &GroupSeen| matches!(g.desired, DesiredSeen::Run { .. }) || !g.instances.is_empty();
        self.view.groups.values().all(|g| g.group == active.group || !exists(g))
    }
}
