//! A group and its targets as its target file lists them: read by every request, replaced whole when the file changes.

use crate::target::{Shared, Target};
use balance::Rank;
use model::{Drain, GroupName, Health, Route, ServiceName, TargetFile};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, PoisonError, RwLock};

/// The content of a target file. Immutable; a new one replaces it.
pub struct Members {
    pub service: Option<ServiceName>,
    pub health: Health,
    /// Timeouts for this release.
    pub route: Option<Route>,
    drain: Drain,
    pub targets: Vec<Arc<Target>>,
    /// Whether there is a target file.
    pub known: bool,
}

pub struct Group {
    pub name: GroupName,
    members: RwLock<Arc<Members>>,
    pub in_flight: AtomicU64,
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    /// Where the next search for the best target starts.
    next: AtomicUsize,
}

impl Group {
    pub fn new(name: GroupName) -> Self {
        let none =
            Members { service: None, health: Health::default(), route: None, drain: Drain::default(), targets: Vec::new(), known: false };
        Self {
            name,
            members: RwLock::new(Arc::new(none)),
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            next: AtomicUsize::new(0),
        }
    }

    pub fn members(&self) -> Arc<Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, members: Members) {
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(members);
    }

    /// Applies a target file. Returns the new targets, which must be probed.
    ///
    /// Draining is permanent: the keeper may already be stopping an instance it once marked. An id with another address is
    /// another target.
    pub fn apply(&self, file: TargetFile, shared: &Arc<Shared>) -> Vec<Arc<Target>> {
        let old = self.members();
        let mut new = Vec::new();
        let mut targets = Vec::new();
        for listed in file.targets {
            let known = old.targets.iter().find(|t| t.id == listed.id && t.addr == listed.addr).cloned();
            let target = known.unwrap_or_else(|| {
                let target = Arc::new(Target::new(listed.id, listed.addr, shared.clone()));
                new.push(target.clone());
                target
            });
            if listed.draining && !target.draining.swap(true, SeqCst) {
                target.close(&file.drain);
            }
            targets.push(target);
        }
        let (kept, service) = (targets.clone(), Some(file.service));
        self.set(Members { service, health: file.health, route: file.route, drain: file.drain, targets, known: true });
        retire(&old, &kept);
        new
    }

    /// The target file is gone, and so are its targets.
    pub fn forget(&self) {
        let old = self.members();
        let (service, health, drain) = (old.service.clone(), old.health.clone(), old.drain.clone());
        self.set(Members { service, health, route: None, drain, targets: Vec::new(), known: false });
        retire(&old, &[]);
    }

    pub fn pick(&self, worst: Rank, tried: &[Option<Arc<Target>>], now: u64) -> Option<(Arc<Target>, Arc<Members>)> {
        let members = self.members();
        let targets = &members.targets;
        if targets.is_empty() {
            return None;
        }
        let found = balance::best(targets.len(), self.next.fetch_add(1, Relaxed), worst, |i| {
            let was_tried = tried.iter().flatten().any(|t| Arc::ptr_eq(t, &targets[i]));
            if was_tried { None } else { targets[i].candidate(now) }
        })?;
        Some((targets[found].clone(), members))
    }
}

/// Closes the targets that are no longer listed.
fn retire(old: &Members, kept: &[Arc<Target>]) {
    for target in old.targets.iter().filter(|t| !kept.iter().any(|k| Arc::ptr_eq(k, t))) {
        target.gone.store(true, SeqCst);
        target.close(&old.drain);
        target.probe_now.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accounting::InFlight;
    use crate::clock::now_ms;
    use crate::mutex::lock;
    use model::InstanceId;

    fn listed(number: u16, port: u16, draining: bool) -> model::Target {
        model::Target { id: InstanceId::new(format!("a-{number}")).unwrap(), addr: ([127, 0, 0, 1], port).into(), draining }
    }

    fn file(targets: Vec<model::Target>, within_ms: u64) -> TargetFile {
        let drain = Drain { within_ms, ..Drain::default() };
        let (group, service) = (GroupName::new("a").unwrap(), ServiceName::new("web").unwrap());
        TargetFile { group, service, release: 1, health: Health::default(), drain, route: None, targets }
    }

    fn states(group: &Group) -> Vec<(u16, bool)> {
        group.members().targets.iter().map(|t| (t.addr.port(), t.account.is_closed())).collect()
    }

    #[test]
    fn a_target_file_is_applied_and_draining_is_permanent() {
        let (group, shared) = (Group::new(GroupName::new("a").unwrap()), Shared::new(0));
        let new = |file| group.apply(file, &shared).iter().map(|t| t.addr.port()).collect::<Vec<_>>();
        assert_eq!(new(file(vec![listed(0, 10, false), listed(1, 11, true)], 5_000)), [10, 11]);
        assert_eq!(states(&group), [(10, false), (11, true)]);
        let before = group.members().targets.clone();
        // The mark is removed: the target stays closed, and no second probing starts. A new target is added.
        assert_eq!(new(file(vec![listed(0, 10, false), listed(1, 11, false), listed(2, 12, false)], 5_000)), [12]);
        assert_eq!(states(&group), [(10, false), (11, true), (12, false)]);
        assert!(Arc::ptr_eq(&before[0], &group.members().targets[0]), "its account and its connections are kept");
        assert!(before[1].draining.load(SeqCst), "and its drain is still to be reported");
        // The same id at another address is another target; the old one is closed.
        assert_eq!(new(file(vec![listed(0, 20, false), listed(2, 12, false)], 5_000)), [20]);
        assert_eq!(states(&group), [(20, false), (12, false)]);
        assert!(before.iter().all(|t| t.account.is_closed() && t.gone.load(SeqCst)));
        // An address that another target gets: its account and its health start empty.
        assert_eq!(new(file(vec![listed(0, 20, false), listed(9, 12, false)], 5_000)), [12]);
        let last = group.members().targets.clone();
        group.forget();
        assert!(group.members().targets.is_empty() && !group.members().known);
        assert!(last.iter().all(|t| t.account.is_closed() && t.gone.load(SeqCst)));
    }

    #[test]
    fn a_closed_target_is_not_picked_and_is_overdue_after_its_drain_deadline() {
        let (group, shared) = (Group::new(GroupName::new("a").unwrap()), Shared::new(0));
        for target in group.apply(file(vec![listed(0, 10, false), listed(1, 11, false)], 60_000), &shared) {
            lock(&target.health).passed(0, 0);
        }
        let targets = group.members().targets.clone();
        let picked = |tried: &[Option<Arc<Target>>]| group.pick(Rank::Good, tried, 1).map(|(t, _)| t.addr.port());
        assert_eq!(picked(&[Some(targets[1].clone())]), Some(10));
        group.apply(file(vec![listed(0, 10, true), listed(1, 11, false)], 60_000), &shared);
        assert!((0..4).all(|_| picked(&[]) == Some(11)));
        assert_eq!(picked(&[Some(targets[1].clone())]), None);
        let now = now_ms();
        assert!(!targets[1].is_overdue(u64::MAX), "it is open");
        assert!(!targets[0].is_overdue(now + 59_000) && targets[0].is_overdue(now + 61_000 + 1_000));
        // A later file with another drain does not extend it.
        group.apply(file(vec![listed(1, 11, false)], 600_000), &shared);
        assert!(targets[0].is_overdue(now + 61_000 + 1_000));
    }

    #[test]
    fn the_last_request_out_of_a_closed_target_notifies() {
        let (group, shared) = (Arc::new(Group::new(GroupName::new("a").unwrap())), Shared::new(0));
        let target = group.apply(file(vec![listed(0, 10, false)], 1_000), &shared).remove(0);
        let in_flight: Vec<_> = (0..2).map(|_| InFlight::begin(&group, target.clone(), || true).unwrap()).collect();
        target.close(&Drain::default());
        let notified = || shared.left.notified().now_or_never().is_some();
        assert!(!notified());
        let mut in_flight = in_flight.into_iter();
        drop(in_flight.next());
        assert!(!notified() && !target.account.is_drained());
        drop(in_flight.next());
        assert!(notified() && target.account.is_drained());
    }

    trait NowOrNever: std::future::Future + Sized {
        fn now_or_never(self) -> Option<Self::Output> {
            let mut this = std::pin::pin!(self);
            match this.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
                std::task::Poll::Ready(output) => Some(output),
                std::task::Poll::Pending => None,
            }
        }
    }

    impl<F: std::future::Future> NowOrNever for F {}
}
