//! What the data plane reports about its routes, and its alarms.

use crate::clock::now_ms;
use crate::group::Group;
use crate::mutex::lock;
use crate::reconciler::{Reconciler, State};
use api::fleet::Alarm;
use model::{GroupName, GroupTraffic, RouteName, RouteSeen, TargetSeen};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

impl Reconciler {
    pub fn observe(&self, route: &RouteName) -> RouteSeen {
        self.observe_in(&lock(&self.state), route)
    }

    pub fn observe_all(&self) -> Vec<RouteSeen> {
        let state = lock(&self.state);
        state.routes.keys().map(|route| self.observe_in(&state, route)).collect()
    }

    /// Routes that do not listen, and files that are damaged or missing.
    pub fn alarms(&self) -> Vec<Alarm> {
        let state = lock(&self.state);
        let unbound = state.routes.iter().filter_map(|(route, served)| {
            let why = lock(&served.table.listen_error).clone()?;
            Some(Alarm::new("route", None, format!("route {route} does not listen: {why}")))
        });
        let files = state.bad_routes.values().chain(state.bad_targets.values()).chain(&state.bad_applied);
        unbound.chain(files.map(|why| Alarm::new("state-damaged", None, why.clone()))).collect()
    }

    fn observe_in(&self, state: &State, route: &RouteName) -> RouteSeen {
        // The weights are read before the counts: then a count of 0 of a group without weight is final.
        let snapshot = state.routes.get(route).map(|served| served.table.snapshot());
        let mut seen = RouteSeen::unknown(route.clone());
        seen.epoch = self.epoch;
        if let Some(snapshot) = &snapshot {
            seen.stamp = Some(snapshot.stamp);
            seen.weights.clone_from(&snapshot.spec.weights);
            seen.settings = Some(snapshot.spec.settings.clone());
        } else {
            seen.stamp = state.applied.stamps.get(route).copied(); // of its tombstone
        }
        seen.groups = state
            .groups
            .values()
            .filter(|g| g.members().known || g.in_flight.load(SeqCst) > 0 || seen.weights.contains_key(&g.name))
            .map(|g| (g.name.clone(), traffic(g)))
            .collect();
        seen.trouble = trouble(state, route, &seen.weights);
        seen
    }
}

fn traffic(group: &Group) -> GroupTraffic {
    let now = now_ms();
    let members = group.members();
    let targets = members.targets.iter().map(|target| {
        let seen = TargetSeen {
            healthy_ms: lock(&target.health).healthy_ms(now),
            in_flight: target.account.in_flight(),
            draining: target.account.is_closed(),
        };
        (target.id.clone(), seen)
    });
    GroupTraffic {
        targets: targets.collect(),
        in_flight: group.in_flight.load(SeqCst),
        errors: group.errors.load(SeqCst),
        requests: group.requests.load(SeqCst),
    }
}

/// Why the route does not listen; otherwise what is wrong with its files.
fn trouble(state: &State, route: &RouteName, weights: &BTreeMap<GroupName, u32>) -> Option<String> {
    let listen_error = state.routes.get(route).and_then(|served| lock(&served.table.listen_error).clone());
    let of_route = || state.bad_routes.get(route.as_str()).or_else(|| state.bad_routes.get("")).cloned();
    let of_targets = || {
        let concerns = |name: &String| {
            let group = GroupName::new(name.clone()).ok();
            let service = group.as_ref().and_then(|g| state.groups.get(g)).and_then(|g| g.members().service.clone());
            group.is_some_and(|g| weights.contains_key(&g)) || service.is_some_and(|s| s.as_str() == route.as_str())
        };
        state.bad_targets.iter().find(|(name, _)| name.is_empty() || concerns(name)).map(|(_, why)| why.clone())
    };
    listen_error.or_else(of_route).or_else(of_targets)
}
