//! What the data plane says of itself.

use crate::clock::now_ms;
use crate::group::{Group, lock};
use crate::plane::{Plane, World};
use api::fleet::Alarm;
use model::{GroupName, GroupTraffic, RouteName, RouteSeen, TargetSeen};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::SeqCst;

impl Plane {
    pub fn seen(&self, route: &RouteName) -> RouteSeen {
        self.seen_in(&lock(&self.world), route)
    }

    pub fn all_seen(&self) -> Vec<RouteSeen> {
        let world = lock(&self.world);
        world.ways.keys().map(|route| self.seen_in(&world, route)).collect()
    }

    /// Files that are not as they should be, and listeners that are not there.
    pub fn alarms(&self) -> Vec<Alarm> {
        let world = lock(&self.world);
        let deaf = world.ways.iter().filter_map(|(route, served)| {
            let why = lock(&served.way.deaf).clone()?;
            Some(Alarm::new("route", None, format!("route {route} does not listen: {why}")))
        });
        let files = world.bad_routes.values().chain(world.bad_targets.values()).chain(&world.bad_applied);
        deaf.chain(files.map(|why| Alarm::new("state-damaged", None, why.clone()))).collect()
    }

    fn seen_in(&self, world: &World, route: &RouteName) -> RouteSeen {
        // The weights are read before the counts: a count of 0 of a group without weight is final then.
        let table = world.ways.get(route).map(|served| served.way.table());
        let mut seen = RouteSeen::unknown(route.clone());
        seen.epoch = self.epoch;
        if let Some(table) = &table {
            seen.stamp = Some(table.stamp);
            seen.weights.clone_from(&table.spec.weights);
            seen.settings = Some(table.spec.settings.clone());
        } else {
            seen.stamp = world.applied.stamps.get(route).copied(); // of its tombstone
        }
        seen.groups = world
            .groups
            .values()
            .filter(|g| g.members().known || g.in_flight.load(SeqCst) > 0 || seen.weights.contains_key(&g.name))
            .map(|g| (g.name.clone(), traffic(g)))
            .collect();
        seen.trouble = trouble(world, route, &seen.weights);
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

/// What keeps the route from listening first; then what is wrong with the files behind it.
fn trouble(world: &World, route: &RouteName, weights: &BTreeMap<GroupName, u32>) -> Option<String> {
    let deaf = world.ways.get(route).and_then(|served| lock(&served.way.deaf).clone());
    let of_route = || world.bad_routes.get(route.as_str()).or_else(|| world.bad_routes.get("")).cloned();
    let of_targets = || {
        let mine = |name: &String| {
            let group = GroupName::new(name.clone()).ok();
            let service = group.as_ref().and_then(|g| world.groups.get(g)).and_then(|g| g.members().service.clone());
            group.is_some_and(|g| weights.contains_key(&g)) || service.is_some_and(|s| s.as_str() == route.as_str())
        };
        world.bad_targets.iter().find(|(name, _)| name.is_empty() || mine(name)).map(|(_, why)| why.clone())
    };
    deaf.or_else(of_route).or_else(of_targets)
}
