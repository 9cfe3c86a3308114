//! Groups and their targets as the data plane holds them: read by every request, changed when a target file changes.

use crate::clock::now_ms;
use crate::limits::Slots;
use crate::upstream::Pool;
use balance::{Account, Rank, TargetHealth};
use model::{Drain, GroupName, Health, InstanceId, Route, ServiceName, TargetFile};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::Notify;

/// No code panics while it holds one of our locks; should it, the data is still whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What all targets of a data plane share.
pub struct Common {
    /// Somebody left a closed target: look whether it is drained.
    pub left: Notify,
    /// For idle sockets.
    pub slots: Arc<Slots>,
}

impl Common {
    pub fn new(kept_max: usize) -> Arc<Self> {
        Arc::new(Self { left: Notify::new(), slots: Slots::new(kept_max) })
    }
}

/// The keeper signals a server when the drain's time is over, and then gives it a second; after that nothing will come.
const END_GRACE_MS: u64 = 1_000;

/// One server. It lives as long as a request to it does, also when its file is gone.
pub struct Target {
    pub id: InstanceId,
    pub addr: SocketAddr,
    pub account: Account,
    pub health: Mutex<TargetHealth>,
    pub pool: Pool,
    /// Marked in the file, as opposed to gone from it.
    pub draining: AtomicBool,
    /// The first probe has ended, either way.
    pub probed: AtomicBool,
    /// `Layout::drained` is written.
    pub told: AtomicBool,
    /// Its probing ends.
    pub gone: AtomicBool,
    /// A request would like to know whether it is still there.
    pub probe_now: Notify,
    /// When whatever is still in flight to it is broken off; 0: it is open.
    end_at_ms: AtomicU64,
    common: Arc<Common>,
}

impl Target {
    pub fn new(id: InstanceId, addr: SocketAddr, common: Arc<Common>) -> Self {
        Self {
            id,
            addr,
            account: Account::default(),
            health: Mutex::default(),
            pool: Pool::new(common.slots.clone()),
            draining: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            told: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            probe_now: Notify::new(),
            end_at_ms: AtomicU64::new(0),
            common,
        }
    }

    /// No request chooses it any more, and our idle sockets to it are closed. Those in use go on, for as long as a drain may take.
    pub fn close(&self, drain: &Drain) {
        let end_at = now_ms().saturating_add(drain.within_ms).saturating_add(END_GRACE_MS);
        // The first to close it began the drain.
        let _ = self.end_at_ms.compare_exchange(0, end_at, SeqCst, SeqCst);
        self.account.close();
        self.pool.close();
    }

    /// It was closed so long ago that nobody waits for its answers any more.
    pub fn is_overdue(&self, now: u64) -> bool {
        let end_at = self.end_at_ms.load(SeqCst);
        end_at != 0 && now >= end_at
    }

    pub fn doubt(&self) {
        lock(&self.health).doubt(now_ms());
        self.probe_now.notify_one();
    }

    fn look(&self, now: u64) -> Option<(Rank, u64)> {
        if self.account.is_closed() {
            return None;
        }
        let rank = lock(&self.health).rank(now)?;
        Some((rank, self.account.in_flight()))
    }
}

/// What a target file says, as one thing that is swapped whole.
pub struct Members {
    pub service: Option<ServiceName>,
    pub health: Health,
    /// How patient to be with this release.
    pub route: Option<Route>,
    drain: Drain,
    pub targets: Vec<Arc<Target>>,
    /// Whether there is a file.
    pub known: bool,
}

pub struct Group {
    pub name: GroupName,
    members: RwLock<Arc<Members>>,
    pub in_flight: AtomicU64,
    pub requests: AtomicU64,
    pub errors: AtomicU64,
    turn: AtomicUsize,
}

impl Group {
    pub fn new(name: GroupName) -> Self {
        let nobody =
            Members { service: None, health: Health::default(), route: None, drain: Drain::default(), targets: Vec::new(), known: false };
        Self {
            name,
            members: RwLock::new(Arc::new(nobody)),
            in_flight: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
        }
    }

    pub fn members(&self) -> Arc<Members> {
        self.members.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, members: Members) {
        *self.members.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(members);
    }

    /// Takes a new file. Answers with the targets that are new and must be probed.
    ///
    /// Draining is for ever: the keeper may already be ending an instance it once marked. An id that comes with another address
    /// is another target.
    pub fn take(&self, file: TargetFile, common: &Arc<Common>) -> Vec<Arc<Target>> {
        let old = self.members();
        let mut fresh = Vec::new();
        let mut targets = Vec::new();
        for said in file.targets {
            let known = old.targets.iter().find(|t| t.id == said.id && t.addr == said.addr).cloned();
            let target = known.unwrap_or_else(|| {
                let target = Arc::new(Target::new(said.id, said.addr, common.clone()));
                fresh.push(target.clone());
                target
            });
            if said.draining && !target.draining.swap(true, SeqCst) {
                target.close(&file.drain);
            }
            targets.push(target);
        }
        let (kept, service) = (targets.clone(), Some(file.service));
        self.set(Members { service, health: file.health, route: file.route, drain: file.drain, targets, known: true });
        retire(&old, &kept);
        fresh
    }

    /// The file is gone: so are its targets.
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
        let found = balance::best(targets.len(), self.turn.fetch_add(1, Relaxed), worst, |i| {
            let was_tried = tried.iter().flatten().any(|t| Arc::ptr_eq(t, &targets[i]));
            if was_tried { None } else { targets[i].look(now) }
        })?;
        Some((targets[found].clone(), members))
    }
}

fn retire(old: &Members, kept: &[Arc<Target>]) {
    for target in old.targets.iter().filter(|t| !kept.iter().any(|k| Arc::ptr_eq(k, t))) {
        target.gone.store(true, SeqCst);
        target.close(&old.drain);
        target.probe_now.notify_one();
    }
}

/// One request at one target, counted from the choice until the last byte went to the client or the exchange ended otherwise.
pub struct Flight {
    group: Arc<Group>,
    pub target: Arc<Target>,
}

impl Flight {
    /// Counts, and then looks whether the choice still `stands`. None: it does not, or the target was closed in the meantime.
    /// Were it looked at before it is counted, a count could be read as 0 in between and the request come after it.
    pub fn begin(group: &Arc<Group>, target: Arc<Target>, stands: impl FnOnce() -> bool) -> Option<Flight> {
        group.in_flight.fetch_add(1, SeqCst);
        if !target.account.enter() {
            group.in_flight.fetch_sub(1, SeqCst);
            return None;
        }
        let flight = Flight { group: group.clone(), target };
        // Dropped, it gives back what it counted.
        stands().then_some(flight)
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let rest = self.target.account.leave();
        let before = self.group.in_flight.fetch_sub(1, SeqCst);
        assert!(before > 0, "a group's count went below nothing");
        if rest == 0 && self.target.account.is_closed() {
            self.target.common.left.notify_one();
        }
    }
}

/// Which groups this request was counted at: once as a request and at most once as an error, however often it was tried there.
#[derive(Default)]
pub struct Charges {
    groups: [Option<(Arc<Group>, bool)>; 3],
}

impl Charges {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn said(number: u16, port: u16, draining: bool) -> model::Target {
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
    fn a_file_is_taken_as_it_says_and_draining_is_for_good() {
        let (group, common) = (Group::new(GroupName::new("a").unwrap()), Common::new(0));
        let fresh = |file| group.take(file, &common).iter().map(|t| t.addr.port()).collect::<Vec<_>>();
        assert_eq!(fresh(file(vec![said(0, 10, false), said(1, 11, true)], 5_000)), [10, 11]);
        assert_eq!(states(&group), [(10, false), (11, true)]);
        let before = group.members().targets.clone();
        // Taken back: it stays closed, and no probing begins anew. A new one is added.
        assert_eq!(fresh(file(vec![said(0, 10, false), said(1, 11, false), said(2, 12, false)], 5_000)), [12]);
        assert_eq!(states(&group), [(10, false), (11, true), (12, false)]);
        assert!(Arc::ptr_eq(&before[0], &group.members().targets[0]), "its accounts and its sockets are kept");
        assert!(before[1].draining.load(SeqCst), "and that it is drained is still to be told");
        // The same id at another address is another server; the old one is closed.
        assert_eq!(fresh(file(vec![said(0, 20, false), said(2, 12, false)], 5_000)), [20]);
        assert_eq!(states(&group), [(20, false), (12, false)]);
        assert!(before.iter().all(|t| t.account.is_closed() && t.gone.load(SeqCst)));
        // An address that is given to another server: its accounts and its health begin at nothing.
        assert_eq!(fresh(file(vec![said(0, 20, false), said(9, 12, false)], 5_000)), [12]);
        let last = group.members().targets.clone();
        group.forget();
        assert!(group.members().targets.is_empty() && !group.members().known);
        assert!(last.iter().all(|t| t.account.is_closed() && t.gone.load(SeqCst)));
    }

    #[test]
    fn a_closed_target_is_not_picked_and_is_overdue_when_its_drain_is_over() {
        let (group, common) = (Group::new(GroupName::new("a").unwrap()), Common::new(0));
        for target in group.take(file(vec![said(0, 10, false), said(1, 11, false)], 60_000), &common) {
            lock(&target.health).passed(0, 0);
        }
        let targets = group.members().targets.clone();
        let picked = |tried: &[Option<Arc<Target>>]| group.pick(Rank::Good, tried, 1).map(|(t, _)| t.addr.port());
        assert_eq!(picked(&[Some(targets[1].clone())]), Some(10));
        group.take(file(vec![said(0, 10, true), said(1, 11, false)], 60_000), &common);
        assert!((0..4).all(|_| picked(&[]) == Some(11)));
        assert_eq!(picked(&[Some(targets[1].clone())]), None);
        let now = now_ms();
        assert!(!targets[1].is_overdue(u64::MAX), "it is open");
        assert!(!targets[0].is_overdue(now + 59_000) && targets[0].is_overdue(now + 61_000 + 1_000));
        // A later file with another drain does not begin it anew.
        group.take(file(vec![said(1, 11, false)], 600_000), &common);
        assert!(targets[0].is_overdue(now + 61_000 + 1_000));
    }

    #[test]
    fn the_last_one_out_of_a_closed_target_says_so() {
        let (group, common) = (Arc::new(Group::new(GroupName::new("a").unwrap())), Common::new(0));
        let target = group.take(file(vec![said(0, 10, false)], 1_000), &common).remove(0);
        let flights: Vec<_> = (0..2).map(|_| Flight::begin(&group, target.clone(), || true).unwrap()).collect();
        target.close(&Drain::default());
        let told = || common.left.notified().now_or_never().is_some();
        assert!(!told());
        let mut flights = flights.into_iter();
        drop(flights.next());
        assert!(!told() && !target.account.is_drained());
        drop(flights.next());
        assert!(told() && target.account.is_drained());
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
