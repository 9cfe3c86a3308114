//! A group of servers as it is declared, as it is observed, and as the keeper reports it to the balancer.

use crate::{
    Death, Digest, Drain, Exit, FailedProbe, Failure, GroupName, Health, InstanceId, OneShot, OneShotEnd, Refused, Release, Route,
    ServiceName, Stamp, Time,
};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// A complete desired state, never a difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSpec {
    pub group: GroupName,
    pub service: ServiceName,
    pub desired: DesiredGroup,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "one is made per declaration")]
pub enum DesiredGroup {
    Run {
        /// A group keeps its release for life; another release under the same name is refused (`release-changed`).
        release: Release,
        count: u32,
        /// A command instead of the service: launched once at most, never replaced; its exit is kept in the view.
        #[serde(default)]
        once: Option<OneShot>,
    },
    /// No instances, permanently: the name stays as a tombstone with the last stamp.
    Gone,
}

/// What a provider reports of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupSeen {
    pub group: GroupName,
    /// The last stamp accepted; None: the group is unknown.
    #[serde(default)]
    pub stamp: Option<Stamp>,
    pub desired: DesiredSeen,
    /// [`Release::digest`] of what is declared to run. None: nothing is, or the provider does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<Digest>,
    /// All instances that exist, ending ones too. Empty only when nothing is left.
    pub instances: Vec<InstanceSeen>,
    /// Unexpected exits since the group was created.
    #[serde(default)]
    pub deaths: u32,
    /// Why the last launch failed, if it did and nothing was launched since.
    #[serde(default)]
    pub trouble: Option<String>,
    /// The last of `deaths`. None: there was none, or the provider does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_death: Option<Death>,
    /// How its one-shot ended; it stays when the group is gone. None: it has not, or it is no group of a one-shot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<OneShotEnd>,
}

impl GroupSeen {
    pub fn unknown(group: GroupName) -> Self {
        Self {
            group,
            stamp: None,
            desired: DesiredSeen::Unknown,
            release: None,
            instances: Vec::new(),
            deaths: 0,
            trouble: None,
            last_death: None,
            ended: None,
        }
    }

    /// Why its servers fail. None: unknown.
    pub fn failure(&self) -> Option<Failure> {
        let newest = self.instances.iter().filter_map(|i| i.failed_probe.as_ref()).max_by_key(|probe| probe.at);
        let failure =
            Failure { group: self.group.clone(), deaths: self.deaths, last_death: self.last_death.clone(), probe: newest.cloned() };
        (failure.last_death.is_some() || failure.probe.is_some()).then_some(failure)
    }
}

/// A group as the provider's inventory lists it: with the declaration that it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupHeld {
    pub seen: GroupSeen,
    /// None: there are instances or a stamp of it, but its declaration is lost or damaged.
    #[serde(default)]
    pub spec: Option<GroupSpec>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DesiredSeen {
    Unknown,
    Run { release: u64, count: u32 },
    Gone,
}

/// ```text
///            launched             probe passes / fails            scaled in
/// (nothing) ─────────▶ Starting ─▶ Running (healthy_ms Some/None) ─────────▶ Draining ─▶ (nothing)
///                          └──────────────┴── exits by itself ─▶ Exited ─▶ replaced (kept only for `once`)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InstanceState {
    Starting,
    Running,
    Draining,
    Exited,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceSeen {
    pub id: InstanceId,
    pub state: InstanceState,
    /// [`Release::digest`] of what it was launched with. None: the provider does not report it. The name differs from that of the release's
    /// number, which lists show beside it.
    #[serde(default, rename = "release_digest", skip_serializing_if = "Option::is_none")]
    pub release: Option<Digest>,
    /// Where its service listens, if it has a port.
    #[serde(default)]
    pub addr: Option<SocketAddr>,
    pub started: Time,
    /// How long the keeper's own probe has passed without interruption; None: it does not pass.
    #[serde(default)]
    pub healthy_ms: Option<u64>,
    #[serde(default)]
    pub exit: Option<Exit>,
    /// The last health check, if it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_probe: Option<FailedProbe>,
    /// Connections that it began and may not, most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refused>,
}

/// One group's servers as the keeper reports them to the balancer: a file in `Layout::targets`, replaced atomically.
/// With it the two keep working together while the control plane is down.
///
/// An instance that is to end is first marked `draining`. The balancer stops choosing it, waits until nothing is in flight
/// to it and writes `Layout::drained(instance)`. The keeper waits for that file (or for `drain.within_ms`) before it signals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetFile {
    pub group: GroupName,
    pub service: ServiceName,
    pub release: u64,
    pub health: Health,
    pub drain: Drain,
    #[serde(default)]
    pub route: Option<Route>,
    pub targets: Vec<Target>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    pub id: InstanceId,
    pub addr: SocketAddr,
    #[serde(default)]
    pub draining: bool,
}
