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

/// Chosen by this table, and not counted yet.
struct Choice {
    table: Arc<Table>,
    group: Arc<Group>,
    target: Arc<Target>,
    members: Arc<Members>,
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
            let choice = self.choose(tried)?;
            if let Some(chosen) = self.count(choice) {
                charges.request(&chosen.group);
                return Some(chosen);
            }
        }
    }

    fn choose(&self, tried: &[Option<Arc<Target>>]) -> Option<Choice> {
        let table = self.table();
        let now = now_ms();
        let turn = self.turn.fetch_add(1, Relaxed);
        let pick = |group: u16, worst| table.groups[usize::from(group)].pick(worst, tried, now);
        let (group, (target, members)) = balance::choose(table.share.order(), turn, pick)?;
        let group = table.groups[usize::from(group)].clone();
        Some(Choice { table, group, target, members })
    }

    /// None: the weights were swapped or the target was closed since it was chosen.
    fn count(&self, choice: Choice) -> Option<Chosen> {
        let Choice { table, group, target, members } = choice;
        let flight = Flight::begin(&group, target, || self.generation.load(SeqCst) == table.generation)?;
        Some(Chosen { group, flight, members, table })
    }

    pub fn may_pay(&self) -> bool {
        lock(&self.budget).take(now_ms(), self.requests.load(Relaxed))
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
        for target in group.take(file, &crate::group::Common::new(0)) {
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

    fn way() -> (Way, [Arc<Group>; 2]) {
        let groups = [healthy_group("a"), healthy_group("b")];
        let (first, share) = spec([50, 50]);
        (Way::new(Stamp::default(), first, share, groups.to_vec()), groups)
    }

    fn swap(way: &Way, groups: &[Arc<Group>; 2], weights: [u32; 2]) {
        let (spec, share) = spec(weights);
        way.swap(Stamp { fence: Fence(1), seq: 1 }, spec, share, groups.to_vec());
    }

    fn counts(group: &Group) -> [u64; 2] {
        [group.in_flight.load(SeqCst), group.members().targets[0].account.in_flight()]
    }

    fn choice_of(way: &Way, name: &str) -> Choice {
        (0..2).filter_map(|_| way.choose(&[])).find(|choice| choice.group.name.as_str() == name).unwrap()
    }

    /// One step after the other, in the order that matters: a request has chosen, the weights are swapped, the count is read as 0.
    #[test]
    fn who_had_chosen_before_a_swap_does_not_come_after_it() {
        let (way, groups) = way();
        let choice = choice_of(&way, "a");
        swap(&way, &groups, [0, 100]);
        assert_eq!(counts(&groups[0]), [0, 0], "from here on the observer relies on it");
        assert!(way.count(choice).is_none());
        assert_eq!(counts(&groups[0]), [0, 0], "and what was counted for the look is given back");
        // The same swap again, by a stamp alone: also then it chooses anew, and is let in.
        let choice = choice_of(&way, "b");
        swap(&way, &groups, [0, 100]);
        assert!(way.count(choice).is_none());
        let chosen = way.enter(&[], &mut Charges::default()).unwrap();
        assert_eq!((counts(&groups[0]), counts(&groups[1])), ([0, 0], [1, 1]));
        drop(chosen);
        assert_eq!(counts(&groups[1]), [0, 0]);
    }

    /// It is counted when it looks whether its choice still stands; so a count of 0 that is read after the swap is final.
    #[test]
    fn a_request_is_counted_before_it_looks_again() {
        let (way, groups) = way();
        let choice = choice_of(&way, "a");
        let mut at_the_look = None;
        let flight = Flight::begin(&groups[0], choice.target.clone(), || {
            at_the_look = Some(counts(&groups[0]));
            true
        });
        assert_eq!((at_the_look, counts(&groups[0])), (Some([1, 1]), [1, 1]));
        drop(flight);
        assert_eq!(counts(&groups[0]), [0, 0]);
        assert!(Flight::begin(&groups[0], choice.target.clone(), || false).is_none());
        assert_eq!(counts(&groups[0]), [0, 0]);
        choice.target.close(&Drain::default());
        assert!(Flight::begin(&groups[0], choice.target.clone(), || true).is_none(), "it is closed");
        assert_eq!(counts(&groups[0]), [0, 0]);
    }

    /// The table that is read and the generation that is checked change together: whoever reads the new weights finds that
    /// everybody else who still holds the old ones is sent back.
    #[test]
    fn a_table_knows_the_generation_it_was_swapped_in_with() {
        let (way, groups) = way();
        for round in 0..5 {
            assert_eq!((way.table().generation, way.generation.load(SeqCst)), (round, round));
            swap(&way, &groups, [50, 50]);
        }
    }

    #[test]
    fn weights_sum_to_a_hundred_or_to_nothing() {
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
    fn a_request_is_charged_once_a_group() {
        let groups = [healthy_group("a"), healthy_group("b")];
        let mut charges = Charges::default();
        for group in [&groups[0], &groups[0], &groups[1], &groups[0]] {
            charges.request(group);
            charges.error(group);
            charges.error(group);
        }
        let mut other = Charges::default();
        other.request(&groups[0]);
        other.error(&groups[1]);
        let told = groups.map(|g| (g.requests.load(SeqCst), g.errors.load(SeqCst)));
        assert_eq!(told, [(2, 1), (1, 1)]);
    }
}
