//! The ports. Implementations live in other crates; the rules that each must keep are written here, and the contract tests
//! hold every implementation to them.

use model::{
    Digest, Event, EventLine, Fault, Fence, GroupHeld, GroupName, GroupSeen, GroupSpec, IssuedCommand, RotationId, RouteHeld, RouteName,
    RouteSeen, RouteSpec, ServiceName, Stamp, Steady, Time,
};

/// Makes declared groups true.
pub trait Provider {
    /// Refuses (`stale-stamp`) a stamp older than the last it accepted for this group, also after the group is gone; an equal stamp
    /// with an equal spec is accepted again and changes nothing. Durable before it answers. The answer proves nothing else.
    fn declare(&self, stamp: Stamp, spec: &GroupSpec) -> Result<(), Fault>;
    /// The current state. A group that it does not know is `GroupSeen::unknown`, not an error.
    fn observe(&self, group: &GroupName) -> Result<GroupSeen, Fault>;
}

/// Routes traffic to groups.
pub trait Router {
    /// As [`Provider::declare`]. Weights change atomically; no request sees a mixture.
    fn declare(&self, stamp: Stamp, spec: &RouteSpec) -> Result<(), Fault>;
    /// What the data plane uses now, not what was declared.
    fn observe(&self, route: &RouteName) -> Result<RouteSeen, Fault>;
}

/// A provider that can list what it holds. The driving loop does not use it: the control plane compares the list with its journal,
/// so that it notices a journal that was lost or replaced by an older copy.
pub trait GroupInventory: Provider {
    /// Every group, also those that are gone.
    fn groups(&self) -> Result<Vec<GroupHeld>, Fault>;
    /// Kills one-shots of the group that are ending already, before their drain time is over. A provider that cannot do it lets them have
    /// that time.
    fn kill_ending(&self, _group: &GroupName) -> Result<(), Fault> {
        Ok(())
    }
}

/// As [`GroupInventory`], of a router.
pub trait RouteInventory: Router {
    fn routes(&self) -> Result<Vec<RouteHeld>, Fault>;
}

/// Holds images and artifacts by digest.
pub trait ImageStore {
    /// True only if the object is there and its bytes have this digest.
    fn has(&self, object: &Digest) -> Result<bool, Fault>;
}

/// Who drives a service, until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    pub service: ServiceName,
    pub holder: String,
    pub fence: Fence,
    pub until: Time,
}

/// Why the journal refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another driver holds the lease until then.
    #[error("the lease is held by {holder}")]
    Held { holder: String, until: Time },
    /// The fence is not the newest any more: another driver took the lease.
    #[error("the lease was lost")]
    LeaseLost,
    /// The journal has grown since: read again.
    #[error("the journal has grown")]
    Grown,
    #[error("{0}")]
    Fault(#[from] Fault),
}

/// Rotations' journals and services' leases. Everything is durable before it answers.
pub trait Journal {
    /// Succeeds if the lease is free, expired, or already `holder`'s own (a restarted process takes its lease again at once).
    /// Each success gives a higher fence than any before for this service, and none below `now` in milliseconds, so that fences do
    /// not repeat when the journal was lost.
    fn take(&self, service: &ServiceName, holder: &str, now: Time, ttl_ms: u64) -> Result<Lease, Refused> {
        self.take_above(service, holder, now, ttl_ms, Fence(0))
    }
    /// As `take`, with a fence above this one too: a resource was observed to hold it, and this journal never issued it.
    fn take_above(&self, service: &ServiceName, holder: &str, now: Time, ttl_ms: u64, above: Fence) -> Result<Lease, Refused>;
    /// Only while the fence is still the newest.
    fn renew(&self, lease: &Lease, now: Time, ttl_ms: u64) -> Result<Lease, Refused>;
    /// Frees the lease for the next driver; a lease that is lost already is no error.
    fn release(&self, lease: &Lease) -> Result<(), Refused>;
    /// Compare-and-swap: only if the fence is the newest of the rotation's service and the journal has exactly `seq` lines; all in one transaction.
    fn append(&self, lease: &Lease, rotation: &RotationId, seq: u64, at: Time, event: &Event) -> Result<(), Refused>;
    /// Lines from `from_seq` on, in order.
    fn read(&self, rotation: &RotationId, from_seq: u64) -> Result<Vec<EventLine>, Refused>;
    /// The commands that users gave to this rotation, in order, beginning after number `after`.
    fn commands(&self, rotation: &RotationId, after: u64) -> Result<Vec<IssuedCommand>, Refused>;
}

pub trait Clock {
    /// The wall clock, which may be set.
    fn now(&self) -> Time;
    /// A clock that is never set and counts on while the machine sleeps. None: this machine has none, and its wall clock is never set.
    fn steady(&self) -> Option<Steady>;
}
