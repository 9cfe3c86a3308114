//! Stamps, which order all declarations, and time as the pure crates use it.

use serde::{Deserialize, Serialize};

/// Milliseconds since 1970-01-01T00:00Z by the caller's clock. The pure crates never read a clock; time is an argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub u64);

impl Time {
    /// Later by `ms` milliseconds; never wraps.
    pub fn plus(self, ms: u64) -> Time {
        Time(self.0.saturating_add(ms))
    }

    /// Milliseconds since `earlier`; 0 if that lies ahead (clocks differ).
    pub fn since(self, earlier: Time) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// A moment by a clock that is never set. Moments compare only within one `clock` (a boot of a machine).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steady {
    pub clock: u64,
    pub ms: u64,
}

impl Steady {
    /// Milliseconds since `earlier`. None: it is by another clock.
    pub fn since(self, earlier: Steady) -> Option<u64> {
        (self.clock == earlier.clock).then(|| self.ms.saturating_sub(earlier.ms))
    }
}

/// Grows by at least one each time a service's lease is taken. The journal issues it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fence(pub u64);

/// `fence` then `seq`. A resource refuses a stamp older than the last it accepted, also after it is gone.
///
/// `seq` is the place of the step's `StepStarted` in its rotation's journal. A new rotation is driven under a new lease,
/// so its fence is higher and `seq` restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub fence: Fence,
    pub seq: u64,
}

impl std::fmt::Display for Stamp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.fence.0, self.seq)
    }
}
