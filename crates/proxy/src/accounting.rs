//! What a request is counted as: in flight at a group and a target, and once per group in the traffic counters.

use crate::group::Group;
use crate::target::Target;
use std::sync::Arc;
use std::sync::atomic::{Ordering::Relaxed, Ordering::SeqCst};

/// One request at one target, counted from the choice of the target until the last byte of its response is flushed, or the
/// exchange ends otherwise.
pub struct InFlight {
    group: Arc<Group>,
    pub target: Arc<Target>,
}

impl InFlight {
    /// Counts first, then checks whether the choice `is_current`. None: it is not, or the target was closed in the meantime.
    /// In the other order an observer could read a count of 0 between the check and the count.
    pub fn begin(group: &Arc<Group>, target: Arc<Target>, is_current: impl FnOnce() -> bool) -> Option<InFlight> {
        group.in_flight.fetch_add(1, SeqCst);
        if !target.account.enter() {
            group.in_flight.fetch_sub(1, SeqCst);
            return None;
        }
        let in_flight = InFlight { group: group.clone(), target };
        // If it is dropped here, the counts go down again.
        is_current().then_some(in_flight)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let rest = self.target.account.leave();
        let before = self.group.in_flight.fetch_sub(1, SeqCst);
        assert!(before > 0, "the in-flight count of a group went below 0");
        if rest == 0 && self.target.account.is_closed() {
            self.target.shared.left.notify_one();
        }
    }
}

/// Counts a request at each group once, and as an error at most once, however often it was tried there.
#[derive(Default)]
pub struct TrafficCounts {
    groups: [Option<(Arc<Group>, bool)>; 3],
}

impl TrafficCounts {
    pub fn request(&mut self, group: &Arc<Group>) {
        for slot in &mut self.groups {
            match slot {
                Some((known, _)) if Arc::ptr_eq(known, group) => return,
                Some(_) => {}
                None => {
                    group.requests.fetch_add(1, Relaxed);
                    *slot = Some((group.clone(), false));
                    return;
                }
            }
        }
    }

    pub fn error(&mut self, group: &Arc<Group>) {
        for (known, failed) in self.groups.iter_mut().flatten() {
            if Arc::ptr_eq(known, group) && !*failed {
                *failed = true;
                group.errors.fetch_add(1, Relaxed);
            }
        }
    }
}
