//! A route as it is declared and as it is seen.

use crate::{GroupName, InstanceId, Route, RouteName, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A whole desired state, never a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    pub route: RouteName,
    pub settings: Route,
    /// Sum 100, or empty: the listener answers 503 until somebody serves.
    pub weights: BTreeMap<GroupName, u32>,
    /// The route is over: its listener closes. It stays declared as a tombstone, because absence means nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSeen {
    pub route: RouteName,
    /// Also of a route that is over: it is then seen with no settings and no weights.
    #[serde(default)]
    pub stamp: Option<Stamp>,
    /// What the data plane uses now, not what was declared.
    pub weights: BTreeMap<GroupName, u32>,
    /// The listener's settings that the data plane uses now. None: the router does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Route>,
    /// Why it does not listen, if it does not.
    #[serde(default)]
    pub trouble: Option<String>,
    /// Counters below began at this epoch; they begin again when it changes (the data plane's own start).
    pub epoch: u64,
    /// Every group whose target file is there, routed or not: the balancer probes them all.
    pub groups: BTreeMap<GroupName, GroupTraffic>,
}

impl RouteSeen {
    pub fn unknown(route: RouteName) -> Self {
        Self { route, stamp: None, weights: BTreeMap::new(), settings: None, trouble: None, epoch: 0, groups: BTreeMap::new() }
    }
}

/// A route as the router's inventory lists it: the last declaration that it took.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteHeld {
    pub stamp: Stamp,
    pub spec: RouteSpec,
}

/// Counters only grow within an epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupTraffic {
    pub in_flight: u64,
    pub requests: u64,
    /// Answers 5xx by the release, and answers that broke off.
    pub errors: u64,
    pub targets: BTreeMap<InstanceId, TargetSeen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSeen {
    /// For how long the balancer's own probe has passed without a break; None: it does not pass.
    #[serde(default)]
    pub healthy_ms: Option<u64>,
    pub in_flight: u64,
    #[serde(default)]
    pub draining: bool,
}
