//! Groups and their targets as the data plane holds them: read by every request, changed when a target file changes.

use crate::clock::now_ms;
use crate::upstream::Pool;
use balance::{Account, Rank, TargetHealth};
use model::{GroupName, Health, InstanceId, Route, ServiceName, TargetFile};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use tokio::sync::Notify;

/// No code panics while it holds one of our locks; should it, the data is still whole.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

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
    /// Somebody left a closed target: look whether it is drained.
    pub left: Arc<Notify>,
}

impl Target {
    pub fn new(id: InstanceId, addr: SocketAddr, left: Arc<Notify>) -> Self {
        Self {
            id,
            addr,
            account: Account::default(),
            health: Mutex::default(),
            pool: Pool::default(),
            draining: AtomicBool::new(false),
            probed: AtomicBool::new(false),
            told: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            probe_now: Notify::new(),
            left,
        }
    }

    /// No request chooses it any more, and our idle sockets to it are closed. Those in use go on.
    pub fn close(&self) {
        self.account.close();
        self.pool.close();
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
        let nobody = Members { service: None, health: Health::default(), route: None, targets: Vec::new(), known: false };
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
    pub fn take(&self, file: TargetFile, left: &Arc<Notify>) -> Vec<Arc<Target>> {
        let old = self.members();
        let mut fresh = Vec::new();
        let mut targets = Vec::new();
        for said in file.targets {
            let known = old.targets.iter().find(|t| t.id == said.id && t.addr == said.addr).cloned();
            let target = known.unwrap_or_else(|| {
                let target = Arc::new(Target::new(said.id, said.addr, left.clone()));
                fresh.push(target.clone());
                target
            });
            if said.draining && !target.draining.swap(true, SeqCst) {
                target.close();
            }
            targets.push(target);
        }
        let (kept, service) = (targets.clone(), Some(file.service));
        self.set(Members { service, health: file.health, route: file.route, targets, known: true });
        retire(&old.targets, &kept);
        fresh
    }

    /// The file is gone: so are its targets.
    pub fn forget(&self) {
        let old = self.members();
        self.set(Members { service: old.service.clone(), health: old.health.clone(), route: None, targets: Vec::new(), known: false });
        retire(&old.targets, &[]);
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

fn retire(old: &[Arc<Target>], kept: &[Arc<Target>]) {
    for target in old.iter().filter(|t| !kept.iter().any(|k| Arc::ptr_eq(k, t))) {
        target.gone.store(true, SeqCst);
        target.close();
        target.probe_now.notify_one();
    }
}

/// One request at one target, counted from the choice until the last byte went to the client or the exchange ended otherwise.
pub struct Flight {
    group: Arc<Group>,
    pub target: Arc<Target>,
}

impl Flight {
    /// None: the target was closed in the meantime.
    pub fn begin(group: &Arc<Group>, target: Arc<Target>) -> Option<Flight> {
        group.in_flight.fetch_add(1, SeqCst);
        if !target.account.enter() {
            group.in_flight.fetch_sub(1, SeqCst);
            return None;
        }
        Some(Flight { group: group.clone(), target })
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let rest = self.target.account.leave();
        let before = self.group.in_flight.fetch_sub(1, SeqCst);
        assert!(before > 0, "a group's count went below nothing");
        if rest == 0 && self.target.account.is_closed() {
            self.target.left.notify_one();
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
