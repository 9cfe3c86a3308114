//! The simulated balancer: weights by stamp, counters of requests and errors, requests in flight, its own probes.

use crate::keeper::{Keeper, ServerState};
use crate::rng::Rng;
use crate::scenario::{Defect, TICK_MS};
use model::{GroupName, GroupTraffic, Route, RouteName, RouteSeen, RouteSpec, Stamp, TargetSeen};
use std::collections::BTreeMap;

#[derive(Clone, Debug, Default)]
pub(crate) struct Flow {
    pub in_flight: u64,
    pub requests: u64,
    pub errors: u64,
    /// Since when the weight is unchanged.
    pub weight_changed_at: u64,
    /// Since when it has had any traffic.
    pub first_at: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Balancer {
    pub stamp: Option<Stamp>,
    pub weights: BTreeMap<GroupName, u32>,
    pub epoch: u64,
    /// Its own probes began then.
    pub up_since: u64,
    pub flows: BTreeMap<GroupName, Flow>,
    pub settings: Option<Route>,
    /// The listener is not open until then.
    pub trouble_until: u64,
}

impl Balancer {
    pub fn weight(&self, group: &GroupName) -> u32 {
        self.weights.get(group).copied().unwrap_or(0)
    }

    pub fn take(&mut self, stamp: Stamp, spec: &RouteSpec, now: u64, fenced: bool) -> Result<(), ()> {
        if fenced && self.stamp.is_some_and(|last| stamp < last) {
            return Err(());
        }
        self.stamp = Some(stamp);
        for group in self.weights.keys().chain(spec.weights.keys()) {
            let flow = self.flows.entry(group.clone()).or_default();
            if self.weights.get(group) != spec.weights.get(group) {
                flow.weight_changed_at = now;
            }
        }
        self.weights = spec.weights.clone();
        self.settings = (!spec.gone).then(|| spec.settings.clone());
        Ok(())
    }

    /// Counters are reset, open connections are cut, targets must pass their probes again.
    pub fn restart(&mut self, now: u64) {
        self.epoch += 1;
        self.up_since = now;
        for flow in self.flows.values_mut() {
            (flow.in_flight, flow.requests, flow.errors) = (0, 0, 0);
        }
    }

    /// `defect` gives the defect of a group's release; it is called for each group that has traffic.
    pub fn tick(&mut self, rng: &mut Rng, now: u64, endless_streams: bool, defect: impl Fn(&GroupName) -> Option<Defect>) {
        for (group, flow) in &mut self.flows {
            let weight = u64::from(self.weights.get(group).copied().unwrap_or(0));
            if weight > 0 {
                let requests = weight * 2;
                let since = *flow.first_at.get_or_insert(now);
                let defect = defect(group).filter(|v| now >= since + v.after * TICK_MS && weight >= u64::from(v.weight));
                let bad = defect.map_or(0, |v| requests * v.errors);
                let part = u64::from(!bad.is_multiple_of(10_000) && (bad >= 200 * requests || rng.chance(bad % 10_000)));
                flow.requests += requests;
                // A good release fails some requests, below every threshold.
                let noise = u64::from(weight >= 60 && rng.chance(3_000));
                flow.errors += (bad / 10_000 + part).max(noise);
                flow.in_flight = 1 + weight / 10;
            } else if !endless_streams || flow.in_flight > 2 {
                flow.in_flight = flow.in_flight.saturating_sub(rng.between(1, 3));
            }
        }
    }

    pub fn see(&self, route: &RouteName, keeper: &Keeper, now: u64) -> RouteSeen {
        let mut groups = BTreeMap::new();
        for (name, group) in &keeper.groups {
            if group.once || (group.desired.is_none() && group.servers.is_empty()) {
                continue;
            }
            let flow = self.flows.get(name).cloned().unwrap_or_default();
            let mut targets = BTreeMap::new();
            for server in &group.servers {
                let (healthy_ms, draining) = match server.state {
                    // Its probe notices one tick after the keeper's.
                    ServerState::Up { since, healthy: true } => (now.checked_sub(TICK_MS + since.max(self.up_since)), false),
                    ServerState::Draining { .. } => (None, true),
                    _ => (None, false),
                };
                targets.insert(server.id.clone(), TargetSeen { healthy_ms, in_flight: 0, draining });
            }
            let traffic = GroupTraffic { in_flight: flow.in_flight, requests: flow.requests, errors: flow.errors, targets };
            groups.insert(name.clone(), traffic);
        }
        RouteSeen {
            route: route.clone(),
            stamp: self.stamp,
            weights: self.weights.clone(),
            settings: self.settings.clone(),
            trouble: (now < self.trouble_until).then(|| "the address is in use".to_string()),
            epoch: self.epoch,
            groups,
        }
    }
}
