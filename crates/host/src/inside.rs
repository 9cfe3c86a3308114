//! What services offer inside: `route { internal = true }`. The balancer listens for it at the gateway; who may connect is the firewall's to
//! say, and who may know of it the resolver's.

use crate::keeper::Keeper;
use crate::state::State;
use crate::state_files;
use model::{DesiredGroup, Gateway, Release, RouteAddress, ServiceName};
use std::collections::{BTreeMap, BTreeSet};

/// The ports of each service: more than one while a rotation changes it, as either release may have the route.
pub fn offered(state: &State) -> BTreeMap<ServiceName, BTreeSet<u16>> {
    let mut offered: BTreeMap<ServiceName, BTreeSet<u16>> = BTreeMap::new();
    for (service, port) in all_offered(state) {
        offered.entry(service.clone()).or_default().insert(port);
    }
    offered
}

pub fn is_offered(state: &State, service: &ServiceName) -> bool {
    all_offered(state).any(|(offered, _)| offered == service)
}

fn all_offered<'a>(state: &'a State) -> impl Iterator<Item = (&'a ServiceName, u16)> {
    let declared = state.groups.values().filter_map(|group| match &group.declared()?.spec.desired {
        DesiredGroup::Run { release, once: None, .. } => Some(release),
        _ => None,
    });
    let running = state.instances.values().filter(|one| one.ended.is_none() && one.record.once.is_none()).map(|one| &one.record.release);
    let internal = |release: &'a Release| match release.route.as_ref()?.listen {
        RouteAddress::Internal(port) => Some((&release.service, port)),
        RouteAddress::Edge(_) => None,
    };
    declared.chain(running).filter_map(internal)
}

/// Tells the balancer where the gateway is.
pub fn tell(keeper: &Keeper) {
    let gateway = Gateway { v4: keeper.network.subnet.gateway(), v6: keeper.network.prefix.map(|prefix| prefix.gateway()) };
    let path = keeper.layout.gateway();
    let told = state_files::read_json::<Gateway>(&path).good();
    if told != Some(gateway)
        && let Err(fault) = state_files::write_json(&path, &gateway)
    {
        tracing::warn!("{fault}");
    }
}
