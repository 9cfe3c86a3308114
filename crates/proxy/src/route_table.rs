//! One route: its weights as they are in use, replaced whole by a swap, and the choice of a target by them.

use crate::accounting::{InFlight, TrafficCounts};
use crate::clock::now_ms;
use crate::group::{Group, Members};
use crate::mutex::lock;
use crate::target::Target;
use balance::{Budget, Share};
use model::{GroupName, RouteName, RouteSpec, Stamp};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What every request reads. Immutable; a swap replaces it.
pub struct Snapshot {
    generation: u64,
    pub stamp: Stamp,
    pub spec: RouteSpec,
    pub share: Share,
    /// In the order of `spec.weights`.
    pub groups: Vec<Arc<Group>>,
}

pub struct RouteTable {
    pub name: RouteName,
    snapshot: RwLock<Arc<Snapshot>>,
    generation: AtomicU64,
    /// The position in the order of groups; each choice takes the next one.
    position: AtomicUsize,
    pub requests: AtomicU64,
    retry_budget: Mutex<Budget>,
    /// Why it does not listen.
    pub listen_error: Mutex<Option<String>>,
}

/// Chosen by this snapshot, and not counted yet.
struct Candidate {
    snapshot: Arc<Snapshot>,
    group: Arc<Group>,
    target: Arc<Target>,
    members: Arc<Members>,
}

/// A target that a request is counted at and may use.
pub struct Chosen {
    pub group: Arc<Group>,
    pub in_flight: InFlight,
    pub members: Arc<Members>,
    pub snapshot: Arc<Snapshot>,
}

/// The weights sum to 100, or there are none.
pub fn check_weights(weights: &BTreeMap<GroupName, u32>) -> Result<Share, String> {
    let sum: u64 = weights.values().map(|w| u64::from(*w)).sum();
    if !weights.is_empty() && sum != 100 {
        return Err(format!("the weights sum to {sum}, they must sum to 100 (or be empty)"));
    }
    let list: Vec<u32> = weights.values().copied().collect();
    Share::of(&list).ok_or_else(|| format!("{} groups, and at most {} are possible", list.len(), balance::SHARES_MAX))
}

impl RouteTable {
    pub fn new(stamp: Stamp, spec: RouteSpec, share: Share, groups: Vec<Arc<Group>>) -> Self {
        let name = spec.route.clone();
        let snapshot = Snapshot { generation: 0, stamp, spec, share, groups };
        Self {
            name,
            snapshot: RwLock::new(Arc::new(snapshot)),
            generation: AtomicU64::new(0),
            position: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            retry_budget: Mutex::new(Budget::new(now_ms())),
            listen_error: Mutex::new(None),
        }
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A request that chose by the old snapshot and is not counted yet sees the new generation and chooses again. So once an
    /// observer has read the new weights here, the count of a group that lost its weight only falls.
    pub fn swap(&self, stamp: Stamp, spec: RouteSpec, share: Share, groups: Vec<Arc<Group>>) {
        let mut current = self.snapshot.write().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.fetch_add(1, SeqCst) + 1;
        *current = Arc::new(Snapshot { generation, stamp, spec, share, groups });
    }

    /// Chooses a target, counts the request there, then checks that the choice is still current.
    pub fn choose(&self, tried: &[Option<Arc<Target>>], counts: &mut TrafficCounts) -> Option<Chosen> {
        loop {
            let candidate = self.candidate(tried)?;
            if let Some(chosen) = self.count(candidate) {
                counts.request(&chosen.group);
                return Some(chosen);
            }
        }
    }

    fn candidate(&self, tried: &[Option<Arc<Target>>]) -> Option<Candidate> {
        let snapshot = self.snapshot();
        let now = now_ms();
        let position = self.position.fetch_add(1, Relaxed);
        let pick = |group: u16, worst| snapshot.groups[usize::from(group)].pick(worst, tried, now);
        let (group, (target, members)) = balance::choose(snapshot.share.order(), position, pick)?;
        let group = snapshot.groups[usize::from(group)].clone();
        Some(Candidate { snapshot, group, target, members })
    }

    /// None: the weights were swapped or the target was closed since it was chosen.
    fn count(&self, candidate: Candidate) -> Option<Chosen> {
        let Candidate { snapshot, group, target, members } = candidate;
        let in_flight = InFlight::begin(&group, target, || self.generation.load(SeqCst) == snapshot.generation)?;
        Some(Chosen { group, in_flight, members, snapshot })
    }

    /// Takes one retry from the budget, if there is one.
    pub fn may_retry(&self) -> bool {
        lock(&self.retry_budget).take(now_ms(), self.requests.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Drain, Fence, Health, InstanceId, Route, ServiceName, TargetFile};

    fn healthy_group(name: &str) -> Arc<Group> {
        let group = Arc::new(Group::new(GroupName::new(name).unwrap()));
        let target = model::Target { id: InstanceId::new(format!("{name}-0")).unwrap(), addr: ([127, 0, 0, 1], 9).into(), draining: false };
        let service = ServiceName::new("web").unwrap();
        let (health, drain) = (Health::default(), Drain::default());
        let file = TargetFile { group: group.name.clone(), service, release: 1, health, drain, route: None, targets: vec![target] };
        for target in group.apply(file, &crate::target::Shared::new(0)) {
            lock(&target.health).passed(0, 0);
        }
        group
    }

    fn spec(weights: [u32; 2]) -> (RouteSpec, Share) {
        let names = ["a", "b"].map(|n| GroupName::new(n).unwrap());
        let weights: BTreeMap<_, _> = names.into_iter().zip(weights).collect();
        let share = check_weights(&weights).unwrap();
        (RouteSpec { route: RouteName::new("web").unwrap(), settings: Route::on(([127, 0, 0, 1], 1).into()), weights, gone: false }, share)
    }

    fn table() -> (RouteTable, [Arc<Group>; 2]) {
        let groups = [healthy_group("a"), healthy_group("b")];
        let (first, share) = spec([50, 50]);
        (RouteTable::new(Stamp::default(), first, share, groups.to_vec()), groups)
    }

    fn swap(table: &RouteTable, groups: &[Arc<Group>; 2], weights: [u32; 2]) {
        let (spec, share) = spec(weights);
        table.swap(Stamp { fence: Fence(1), seq: 1 }, spec, share, groups.to_vec());
    }

    fn counts(group: &Group) -> [u64; 2] {
        [group.in_flight.load(SeqCst), group.members().targets[0].account.in_flight()]
    }

    fn candidate_of(table: &RouteTable, name: &str) -> Candidate {
        (0..2).filter_map(|_| table.candidate(&[])).find(|candidate| candidate.group.name.as_str() == name).unwrap()
    }

    /// Step by step in the order that matters: a request has chosen, the weights are swapped, the count is read as 0.
    #[test]
    fn a_request_that_chose_before_a_swap_is_not_counted_after_it() {
        let (table, groups) = table();
        let candidate = candidate_of(&table, "a");
        swap(&table, &groups, [0, 100]);
        assert_eq!(counts(&groups[0]), [0, 0], "an observer relies on it from here on");
        assert!(table.count(candidate).is_none());
        assert_eq!(counts(&groups[0]), [0, 0], "and what was counted for the check is subtracted");
        // The same weights under another stamp: it chooses again, and is counted.
        let candidate = candidate_of(&table, "b");
        swap(&table, &groups, [0, 100]);
        assert!(table.count(candidate).is_none());
        let chosen = table.choose(&[], &mut TrafficCounts::default()).unwrap();
        assert_eq!((counts(&groups[0]), counts(&groups[1])), ([0, 0], [1, 1]));
        drop(chosen);
        assert_eq!(counts(&groups[1]), [0, 0]);
    }

    /// It is counted before it checks its choice; so a count of 0 that is read after the swap is final.
    #[test]
    fn a_request_is_counted_before_it_checks_its_choice() {
        let (table, groups) = table();
        let candidate = candidate_of(&table, "a");
        let mut at_the_check = None;
        let in_flight = InFlight::begin(&groups[0], candidate.target.clone(), || {
            at_the_check = Some(counts(&groups[0]));
            true
        });
        assert_eq!((at_the_check, counts(&groups[0])), (Some([1, 1]), [1, 1]));
        drop(in_flight);
        assert_eq!(counts(&groups[0]), [0, 0]);
        assert!(InFlight::begin(&groups[0], candidate.target.clone(), || false).is_none());
        assert_eq!(counts(&groups[0]), [0, 0]);
        candidate.target.close(&Drain::default());
        assert!(InFlight::begin(&groups[0], candidate.target.clone(), || true).is_none(), "it is closed");
        assert_eq!(counts(&groups[0]), [0, 0]);
    }

    /// The snapshot that is read and the generation that is checked change together: when an observer reads the new weights, every
    /// request that still holds the old ones must choose again.
    #[test]
    fn a_snapshot_has_the_generation_of_its_swap() {
        let (table, groups) = table();
        for round in 0..5 {
            assert_eq!((table.snapshot().generation, table.generation.load(SeqCst)), (round, round));
            swap(&table, &groups, [50, 50]);
        }
    }

    #[test]
    fn weights_sum_to_100_or_are_empty() {
        let weights =
            |list: &[u32]| -> BTreeMap<_, _> { (0..).zip(list).map(|(n, w)| (GroupName::new(format!("g-{n}")).unwrap(), *w)).collect() };
        for good in [&[][..], &[100], &[0, 100], &[33, 33, 34]] {
            assert!(check_weights(&weights(good)).is_ok(), "{good:?}");
        }
        for bad in [&[0][..], &[99], &[101], &[50, 51], &[u32::MAX, 101], &[u32::MAX, u32::MAX]] {
            assert!(check_weights(&weights(bad)).is_err(), "{bad:?}");
        }
    }

    /// Once as a request and at most once as an error, however often it was tried at a group.
    #[test]
    fn a_request_counts_once_per_group() {
        let groups = [healthy_group("a"), healthy_group("b")];
        let mut counts = TrafficCounts::default();
        for group in [&groups[0], &groups[0], &groups[1], &groups[0]] {
            counts.request(group);
            counts.error(group);
            counts.error(group);
        }
        let mut other = TrafficCounts::default();
        other.request(&groups[0]);
        other.error(&groups[1]);
        let counted = groups.map(|g| (g.requests.load(SeqCst), g.errors.load(SeqCst)));
        assert_eq!(counted, [(2, 1), (1, 1)]);
    }
}
