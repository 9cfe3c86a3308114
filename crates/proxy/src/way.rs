//! One route: its weights as they are in use, swapped whole.

use crate::clock::now_ms;
use crate::group::{Charges, Flight, Group, Members, Target, lock};
use balance::{Budget, Share};
use model::{GroupName, RouteName, RouteSpec, Stamp};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What every request looks at. It never changes; another takes its place.
pub struct Table {
    generation: u64,
    pub stamp: Stamp,
    pub spec: RouteSpec,
    pub share: Share,
    /// In the order of `spec.weights`.
    pub groups: Vec<Arc<Group>>,
}

pub struct Way {
    pub name: RouteName,
    table: RwLock<Arc<Table>>,
    generation: AtomicU64,
    turn: AtomicUsize,
    pub requests: AtomicU64,
    budget: Mutex<Budget>,
    /// Why it does not listen.
    pub deaf: Mutex<Option<String>>,
}

/// A target that is counted and may be used.
pub struct Chosen {
    pub group: Arc<Group>,
    pub flight: Flight,
    pub members: Arc<Members>,
    pub table: Arc<Table>,
}

/// The sum is 100, or nobody is routed.
pub fn check_weights(weights: &BTreeMap<GroupName, u32>) -> Result<Share, String> {
    let sum: u64 = weights.values().map(|w| u64::from(*w)).sum();
    if !weights.is_empty() && sum != 100 {
        return Err(format!("the weights sum to {sum}, they must sum to 100 (or be empty)"));
    }
    let list: Vec<u32> = weights.values().copied().collect();
    Share::of(&list).ok_or_else(|| format!("{} groups are more than {}", list.len(), balance::SHARES_MAX))
}

impl Way {
    pub fn new(stamp: Stamp, spec: RouteSpec, share: Share, groups: Vec<Arc<Group>>) -> Self {
        let name = spec.route.clone();
        let table = Table { generation: 0, stamp, spec, share, groups };
        Self {
            name,
            table: RwLock::new(Arc::new(table)),
            generation: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            budget: Mutex::new(Budget::new(now_ms())),
            deaf: Mutex::new(None),
        }
    }

    pub fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The one swap. A request that had chosen by the old table and was not counted yet sees the new generation and chooses again;
    /// so once somebody has read the new weights here, the count of a group that lost its weight only falls.
    pub fn swap(&self, stamp: Stamp, spec: RouteSpec, share: Share, groups: Vec<Arc<Group>>) {
        let mut place = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        *place = Arc::new(Table { generation, stamp, spec, share, groups });
    }

    /// Chooses, counts, and then looks again whether the choice still stands.
    pub fn enter(&self, tried: &[Option<Arc<Target>>], charges: &mut Charges) -> Option<Chosen> {
        loop {
            let table = self.table();
            let now = now_ms();
            let turn = self.turn.fetch_add(1, Relaxed);
            let pick = |group: u16, worst| table.groups[usize::from(group)].pick(worst, tried, now);
            let (group, (target, members)) = balance::choose(table.share.order(), turn, pick)?;
            let group = table.groups[usize::from(group)].clone();
            let Some(flight) = Flight::begin(&group, target) else { continue };
            if self.generation.load(SeqCst) != table.generation {
                continue;
            }
            charges.request(&group);
            return Some(Chosen { group, flight, members, table });
        }
    }

    pub fn may_pay(&self) -> bool {
        lock(&self.budget).take(now_ms(), self.requests.load(Relaxed))
    }
}
