//! `applied.json`: the epoch, the counters and the routes that the data plane applied last, kept over restarts.
//!
//! The data plane writes it; the control side reads it where a route's own file cannot be read.

use api::proxy::ProxyCounters;
use model::{Layout, RouteName, RouteSpec, Stamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub epoch: u64,
    pub counters: ProxyCounters,
    pub routes: BTreeMap<RouteName, RouteSpec>,
    #[serde(default)]
    pub stamps: BTreeMap<RouteName, Stamp>,
}

pub fn path(layout: &Layout) -> PathBuf {
    layout.proxy().join("applied.json")
}
