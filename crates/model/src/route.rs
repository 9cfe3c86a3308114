//! A route as it is declared and as it is observed.

use crate::{GroupName, InstanceId, Route, RouteName, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A complete desired state, never a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSpec {
    pub route: RouteName,
    pub settings: Route,
    /// Their sum is 100, or they are empty: the listener answers 503 until a group is routed.
    pub weights: BTreeMap<GroupName, u32>,
    /// The route is removed: its listener closes. It stays declared as a tombstone, because absence proves nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSeen {
    pub route: RouteName,
    /// Also of a removed route: it is then observed with no settings and no weights.
    #[serde(default)]
    pub stamp: Option<Stamp>,
    /// What the data plane uses now, not what was declared.
    pub weights: BTreeMap<GroupName, u32>,
    /// The listener's settings that the data plane uses now. None: the router does not report them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Route>,
    /// Why it does not listen, if it does not.
    #[serde(default)]
    pub trouble: Option<String>,
    /// The counters below belong to this epoch; they are reset when it changes (when the data plane starts).
    pub epoch: u64,
    /// Every group that has a target file, routed or not: the balancer probes them all.
    pub groups: BTreeMap<GroupName, GroupTraffic>,
}

impl RouteSeen {
    pub fn unknown(route: RouteName) -> Self {
        Self { route, stamp: None, weights: BTreeMap::new(), settings: None, trouble: None, epoch: 0, groups: BTreeMap::new() }
    }
}

/// A route as the router's inventory lists it: the last declaration that it accepted.
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
    /// Responses with 5xx from the release, and interrupted responses.
    pub errors: u64,
    pub targets: BTreeMap<InstanceId, TargetSeen>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSeen {
    /// How long the balancer's own probe has passed without interruption; None: it does not pass.
    #[serde(default)]
    pub healthy_ms: Option<u64>,
    pub in_flight: u64,
    #[serde(default)]
    pub draining: bool,
}
