//! Bugs planted on purpose, so that it is known what the simulator sees. For the crate `sim` and for nobody else.
//!
//! The production entry points ([`crate::plan()`], [`crate::decide()`], [`crate::Driver::new`]) take no such argument: the
//! only ways to switch one on are the two functions of this module.

use crate::{Driver, Intent};
use model::{Fault, Plan, RotationId, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Stamps and times of views are not looked at.
    TrustStaleView,
    /// The old group is made smaller before customers are turned away from it, and nothing guards it.
    ShrinkBeforeShift,
    /// The way back takes for granted that the old group still has its size, and nothing guards it.
    BackAssumesSize,
    /// A step whose time is up counts as satisfied.
    TimeoutIsSuccess,
    /// A group is retired without waiting for what is in flight to it.
    NoDrain,
    /// A soak is counted from when the step before it began.
    SoakCountsEarlier,
    /// Errors while soaking are not looked at.
    SoakIgnoresErrors,
    /// Servers are taken away without looking whether enough healthy ones remain.
    NoGuard,
    /// Any stamp that is not older counts as a step's own, and any release under its group's name.
    TakesForeign,
    /// The new group's name is not looked at before it is first used.
    NameNotObserved,
    /// The release that is seen to run is not looked at.
    ReleaseUnseen,
    /// A step is given up 45 s before its time.
    Impatient,
    /// Waits count by the wall clock alone.
    WallClock,
    /// Customers are sent back to what was parked, which has no servers.
    RoutesToParked,
}

pub fn plan(intent: &Intent, seen: &View, planted: Option<Planted>) -> Result<Plan, Fault> {
    crate::plan::plan_with(intent, seen, planted)
}

/// A driver that decides with the bug in it.
pub fn driver(rotation: RotationId, holder: String, lease_ttl_ms: u64, planted: Option<Planted>) -> Driver {
    Driver::with(rotation, holder, lease_ttl_ms, planted)
}
