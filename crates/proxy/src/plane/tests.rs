//! The picture of the world against files, step by step and without a socket: what is told as drained, when, and by which epoch.

use super::*;
use crate::group::Flight;
use model::{Drain, Fence, Health, InstanceId, Route, ServiceName, Stamp, Target};

struct Hands {
    _dir: tempfile::TempDir,
    layout: Layout,
}

impl Hands {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for folder in [layout.routes(), layout.targets().join("drained")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        Self { _dir: dir, layout }
    }

    /// Written beside it and renamed, as the keeper does; so each file is a new one to whoever looks for changes.
    fn put(&self, path: &Path, value: &impl Serialize) {
        let half = path.with_extension("half");
        std::fs::write(&half, serde_json::to_vec(value).unwrap()).unwrap();
        std::fs::rename(half, path).unwrap();
    }

    fn targets(&self, group: &str, list: &[(u16, bool)]) {
        let name = GroupName::new(group).unwrap();
        let target = |(number, draining): &(u16, bool)| Target {
            id: id(group, *number),
            addr: ([127, 0, 0, 1], *number).into(),
            draining: *draining,
        };
        let file = TargetFile {
            group: name.clone(),
            service: ServiceName::new("web").unwrap(),
            release: 1,
            // Nobody answers on these ports, and nobody waits for it.
            health: Health { every_ms: 60_000, ..Health::default() },
            drain: Drain::default(),
            route: None,
            targets: list.iter().map(target).collect(),
        };
        self.put(&self.layout.target(&name), &file);
    }

    fn route(&self, seq: u64, weights: &[(&str, u32)]) {
        // No address of this machine: it never listens.
        let settings = Route::on(([192, 0, 2, 1], 9).into());
        let weights = weights.iter().map(|(name, weight)| (GroupName::new(*name).unwrap(), *weight)).collect();
        let spec = RouteSpec { route: RouteName::new("web").unwrap(), settings, weights, gone: false };
        let said = serde_json::json!({ "stamp": Stamp { fence: Fence(1), seq }, "spec": spec });
        self.put(&self.layout.routes().join("web.json"), &said);
    }

    fn told(&self, number: u16) -> bool {
        self.layout.drained(&id("web-r1-1", number)).exists()
    }
}

fn id(group: &str, number: u16) -> InstanceId {
    InstanceId::new(format!("{group}-{number}")).unwrap()
}

fn group_of(plane: &Plane, name: &str) -> Arc<Group> {
    lock(&plane.world).groups[&GroupName::new(name).unwrap()].clone()
}

#[tokio::test]
async fn drained_is_told_once_nothing_is_in_flight_and_only_of_what_is_marked() {
    let hands = Hands::new();
    hands.targets("web-r1-1", &[(1, false), (2, false), (3, false)]);
    let plane = Plane::start(hands.layout.clone(), 1);
    plane.reconcile();
    let group = group_of(&plane, "web-r1-1");
    let targets = group.members().targets.clone();
    let flights: Vec<_> = targets[..2].iter().map(|t| Flight::begin(&group, t.clone(), || true).unwrap()).collect();
    plane.reconcile();
    assert!(!(hands.told(1) || hands.told(2) || hands.told(3)), "nobody is marked");
    hands.targets("web-r1-1", &[(1, true), (2, false), (3, true)]);
    plane.reconcile();
    assert!(!hands.told(1) && !hands.told(2) && hands.told(3), "1 has a request, 2 is not marked, 3 is marked and idle");
    assert!(Flight::begin(&group, targets[0].clone(), || true).is_none() && Flight::begin(&group, targets[2].clone(), || true).is_none());
    let mut flights = flights.into_iter();
    drop(flights.next());
    plane.reconcile();
    assert!(hands.told(1) && !hands.told(2));
    drop(flights.next());
    plane.reconcile();
    assert!(!hands.told(2), "idle, and open");
    // Told once: the keeper takes the file away with the instance.
    std::fs::remove_file(hands.layout.drained(&id("web-r1-1", 1))).unwrap();
    plane.reconcile();
    assert!(!hands.told(1));
}

/// A successor's epoch is greater, whatever the wall clock does; so whoever observes a counter begin anew knows why.
#[tokio::test]
async fn no_epoch_comes_twice() {
    let hands = Hands::new();
    let epochs: Vec<u64> = [1_000, 5_000, 4_000, 4_000, 0, 9_000]
        .map(|wall_ms| {
            let plane = Plane::start(hands.layout.clone(), wall_ms);
            plane.reconcile();
            plane.epoch
        })
        .into();
    assert_eq!(epochs, [1_000, 5_000, 5_001, 5_002, 5_003, 9_000]);
}

/// A swap that changes something counts, the same again does not, and neither does a restart.
#[tokio::test]
async fn a_swap_is_counted_when_something_changes() {
    let hands = Hands::new();
    let plane = Plane::start(hands.layout.clone(), 1);
    let swaps = |plane: &Plane| {
        plane.reconcile();
        lock(&plane.world).applied.counters.swaps
    };
    hands.route(1, &[("a", 100)]);
    assert_eq!(swaps(&plane), 1);
    hands.route(2, &[("a", 100)]);
    assert_eq!(swaps(&plane), 1, "another stamp alone");
    hands.route(3, &[("a", 50), ("b", 50)]);
    assert_eq!(swaps(&plane), 2);
    let seen = plane.seen(&RouteName::new("web").unwrap());
    assert_eq!(seen.stamp, Some(Stamp { fence: Fence(1), seq: 3 }));
    assert_eq!(swaps(&Plane::start(hands.layout.clone(), 2)), 2);
    // A bad file changes nothing, and the stamp that is seen is that of what is in use.
    hands.route(4, &[("a", 99)]);
    assert_eq!(swaps(&plane), 2);
    let seen = plane.seen(&RouteName::new("web").unwrap());
    assert_eq!((seen.stamp, seen.weights.len()), (Some(Stamp { fence: Fence(1), seq: 3 }), 2));
    assert!(seen.trouble.is_some());
}
