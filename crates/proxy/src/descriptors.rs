//! How the file descriptors of this process are divided. Without this limit clients would use up the kernel's, and then the
//! balancer could neither probe a target nor answer its control side.
//!
//! ```text
//!  RLIMIT_NOFILE = reserve (files, control's socket, probes, listeners) + idle upstream connections + 2 for each client connection
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

/// However many descriptors there are: each connection costs memory too.
const CONNECTIONS_MAX: usize = 32_768;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections, over all listeners.
    pub connections: usize,
    /// Client connections of one address.
    pub per_client: usize,
    /// Idle upstream connections, over all targets.
    pub idle_upstream: usize,
}

impl Limits {
    pub fn of(descriptors: u64) -> Self {
        let all = usize::try_from(descriptors).unwrap_or(usize::MAX);
        let reserve = (all / 8).clamp(64, 4_096);
        let idle_upstream = (all / 8).min(8_192);
        let connections = (all.saturating_sub(reserve + idle_upstream) / 2).clamp(1, CONNECTIONS_MAX);
        Self { connections, per_client: (connections / 4).max(1), idle_upstream }
    }

    pub fn of_process() -> Self {
        Self::of(rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(u64::MAX))
    }
}

/// Counts the idle upstream connections of all targets.
#[derive(Debug)]
pub struct Slots {
    taken: AtomicUsize,
    max: usize,
}

/// One of them, for as long as this lives.
#[derive(Debug)]
pub struct Slot(Arc<Slots>);

impl Slots {
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), max })
    }

    pub fn take(self: &Arc<Self>) -> Option<Slot> {
        let slot = Slot(self.clone());
        // If there is none left, the slot is dropped at once and frees what it took.
        (self.taken.fetch_add(1, SeqCst) < self.max).then_some(slot)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_connections_leave_the_reserve() {
        for descriptors in [0, 1, 64, 128, 256, 1_024, 20_000, 524_288, 1 << 30, u64::MAX] {
            let limits = Limits::of(descriptors);
            assert!(limits.connections >= 1 && limits.per_client >= 1 && limits.per_client <= limits.connections, "{limits:?}");
            if descriptors >= 128 {
                let worst = 2 * limits.connections as u64 + limits.idle_upstream as u64;
                assert!(worst + 64 <= descriptors, "{descriptors}: {limits:?}");
            }
        }
        assert_eq!(Limits::of(1_024), Limits { connections: 384, per_client: 96, idle_upstream: 128 });
        assert_eq!(Limits::of(524_288).connections, CONNECTIONS_MAX);
    }

    #[test]
    fn slots_are_freed() {
        let slots = Slots::new(2);
        let (first, second) = (slots.take(), slots.take());
        assert!(first.is_some() && second.is_some() && slots.take().is_none() && slots.take().is_none());
        drop(first);
        let third = slots.take();
        assert!(third.is_some() && slots.take().is_none());
    }
}
