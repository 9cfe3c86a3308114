//! Gates of a soak: whether the requests, errors and deaths since the soak began let the rotation continue. Missing data never passes a gate.

use crate::display::{last_death, servers};
use crate::state::{Rotation, Started};
use model::{GroupName, Step, TrafficMark, View};

/// The result of a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Pass,
    Fail(String),
    NotEnough(String),
}

impl Rotation {
    /// Requests, errors and deaths since the soak began.
    pub(crate) fn since_mark(&self, group: &GroupName, started: &Started, seen: &View) -> Option<TrafficMark> {
        let (now, mark) = (self.mark(group, seen)?, started.mark.unwrap_or_default());
        let deaths = mark.deaths.and_then(|before| Some(now.deaths?.saturating_sub(before)));
        if now.epoch != mark.epoch {
            return Some(TrafficMark { deaths, ..now }); // the counters were reset after the mark: all of it is new
        }
        let (requests, errors) = (now.requests.saturating_sub(mark.requests), now.errors.saturating_sub(mark.errors));
        Some(TrafficMark { epoch: now.epoch, requests, errors, deaths })
    }

    /// The counters now. Without a route, exited servers count as errors.
    pub(crate) fn mark(&self, group: &GroupName, seen: &View) -> Option<TrafficMark> {
        let deaths = seen.groups.get(group).map(|g| g.deaths);
        if !self.observation(seen).routed(group) {
            return deaths.map(|d| TrafficMark { epoch: 0, requests: 0, errors: u64::from(d), deaths });
        }
        let route = seen.route.as_ref()?;
        let traffic = route.groups.get(group).cloned().unwrap_or_default();
        Some(TrafficMark { epoch: route.epoch, requests: traffic.requests, errors: traffic.errors, deaths })
    }

    /// Counters only grow: a smaller value, or another epoch, means that they were reset.
    pub(crate) fn counters_reset(&self, group: &GroupName, started: &Started, seen: &View) -> bool {
        let (Some(mark), Some(now)) = (started.mark, self.mark(group, seen).filter(|_| seen.at >= started.last_at)) else { return false };
        let fewer_deaths = matches!((now.deaths, mark.deaths), (Some(now), Some(before)) if now < before);
        now.epoch != mark.epoch || now.requests < mark.requests || now.errors < mark.errors || fewer_deaths
    }

    /// The gate of the soak at the cursor. Missing data never passes it.
    pub(crate) fn gate(&self, step: &Step, started: &Started, seen: &View) -> Gate {
        let Step::Soak { group, errors_ppm, min_requests, .. } = step else { return Gate::Pass };
        if seen.at < started.last_at {
            return Gate::NotEnough("it has not been observed since".to_string()); // an older view proves nothing about this soak
        }
        let Some(since) = self.since_mark(group, started, seen) else {
            return Gate::NotEnough("the balancer has not been observed".to_string());
        };
        let routed = self.observation(seen).routed(group);
        let deaths = since.deaths.map_or(if routed { 0 } else { since.errors }, u64::from);
        if deaths > 0 {
            let last = seen.groups.get(group).map_or_else(String::new, last_death);
            return Gate::Fail(format!("{} of {group} exited while soaking{last}", servers(u32::try_from(deaths).unwrap_or(u32::MAX))));
        }
        if !routed {
            return Gate::Pass;
        }
        // Errors that exceed the limit of the smallest allowed sample exceed it in any sample.
        let sample = since.requests.max(*min_requests);
        if u128::from(since.errors) * 1_000_000 > u128::from(*errors_ppm) * u128::from(sample) {
            let share = u128::from(since.errors) * 100 / u128::from(since.requests.max(1));
            return Gate::Fail(format!("{} of {} requests to {group} failed while soaking ({share} %)", since.errors, since.requests));
        }
        if since.requests < *min_requests {
            return Gate::NotEnough(format!("{} requests so far, {min_requests} are needed", since.requests));
        }
        Gate::Pass
    }
}
