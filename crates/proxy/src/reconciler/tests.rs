//! The reconciler over files, step by step and without a socket: which drains are reported and when, epochs, and the counter of swaps.

use super::*;
use crate::accounting::InFlight;
use model::{Drain, Fence, Health, InstanceId, Route, RouteSpec, ServiceName, Stamp, Target};
use serde::Serialize;

struct Files {
    _dir: tempfile::TempDir,
    layout: Layout,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        for folder in [layout.routes(), layout.targets().join("drained")] {
            std::fs::create_dir_all(folder).unwrap();
        }
        Self { _dir: dir, layout }
    }

    /// Written beside its place and renamed, as the keeper does; so each file has a new mark.
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
            // No server listens on these ports, and the tests do not wait for probes.
            health: Health { every_ms: 60_000, ..Health::default() },
            drain: Drain::default(),
            route: None,
            targets: list.iter().map(target).collect(),
        };
        self.put(&self.layout.target(&name), &file);
    }

    fn route(&self, seq: u64, weights: &[(&str, u32)]) {
        // Not an address of this machine: the listener never opens.
        let settings = Route::on(([192, 0, 2, 1], 9).into());
        let weights = weights.iter().map(|(name, weight)| (GroupName::new(*name).unwrap(), *weight)).collect();
        let spec = RouteSpec { route: RouteName::new("web").unwrap(), settings, weights, gone: false };
        let declared = serde_json::json!({ "stamp": Stamp { fence: Fence(1), seq }, "spec": spec });
        self.put(&self.layout.routes().join("web.json"), &declared);
    }

    fn is_reported(&self, number: u16) -> bool {
        self.layout.drained(&id("web-r1-1", number)).exists()
    }
}

fn id(group: &str, number: u16) -> InstanceId {
    InstanceId::new(format!("{group}-{number}")).unwrap()
}

fn group_of(reconciler: &Reconciler, name: &str) -> Arc<Group> {
    lock(&reconciler.state).groups[&GroupName::new(name).unwrap()].clone()
}

#[tokio::test]
async fn a_drain_is_reported_once_nothing_is_in_flight_and_only_of_marked_targets() {
    let files = Files::new();
    files.targets("web-r1-1", &[(1, false), (2, false), (3, false)]);
    let reconciler = Reconciler::start(files.layout.clone(), 1);
    reconciler.reconcile();
    let group = group_of(&reconciler, "web-r1-1");
    let targets = group.members().targets.clone();
    let in_flight: Vec<_> = targets[..2].iter().map(|t| InFlight::begin(&group, t.clone(), || true).unwrap()).collect();
    reconciler.reconcile();
    assert!(!(files.is_reported(1) || files.is_reported(2) || files.is_reported(3)), "no target is marked");
    files.targets("web-r1-1", &[(1, true), (2, false), (3, true)]);
    reconciler.reconcile();
    assert!(
        !files.is_reported(1) && !files.is_reported(2) && files.is_reported(3),
        "1 has a request, 2 is not marked, 3 is marked and idle"
    );
    assert!(
        InFlight::begin(&group, targets[0].clone(), || true).is_none() && InFlight::begin(&group, targets[2].clone(), || true).is_none()
    );
    let mut in_flight = in_flight.into_iter();
    drop(in_flight.next());
    reconciler.reconcile();
    assert!(files.is_reported(1) && !files.is_reported(2));
    drop(in_flight.next());
    reconciler.reconcile();
    assert!(!files.is_reported(2), "idle, and open");
    // Reported once: the keeper removes the file with the instance.
    std::fs::remove_file(files.layout.drained(&id("web-r1-1", 1))).unwrap();
    reconciler.reconcile();
    assert!(!files.is_reported(1));
}

/// A successor's epoch is greater, whatever the wall clock does; so an observer knows why a counter starts again.
#[tokio::test]
async fn no_epoch_is_used_twice() {
    let files = Files::new();
    let epochs: Vec<u64> = [1_000, 5_000, 4_000, 4_000, 0, 9_000]
        .map(|wall_ms| {
            let reconciler = Reconciler::start(files.layout.clone(), wall_ms);
            reconciler.reconcile();
            reconciler.epoch
        })
        .into();
    assert_eq!(epochs, [1_000, 5_000, 5_001, 5_002, 5_003, 9_000]);
}

/// A swap that changes something is counted, the same declaration again is not, and neither is a restart.
#[tokio::test]
async fn a_swap_is_counted_when_something_changes() {
    let files = Files::new();
    let reconciler = Reconciler::start(files.layout.clone(), 1);
    let swaps = |reconciler: &Reconciler| {
        reconciler.reconcile();
        lock(&reconciler.state).applied.counters.swaps
    };
    files.route(1, &[("a", 100)]);
    assert_eq!(swaps(&reconciler), 1);
    files.route(2, &[("a", 100)]);
    assert_eq!(swaps(&reconciler), 1, "only the stamp changed");
    files.route(3, &[("a", 50), ("b", 50)]);
    assert_eq!(swaps(&reconciler), 2);
    let seen = reconciler.observe(&RouteName::new("web").unwrap());
    assert_eq!(seen.stamp, Some(Stamp { fence: Fence(1), seq: 3 }));
    assert_eq!(swaps(&Reconciler::start(files.layout.clone(), 2)), 2);
    // A damaged file changes nothing, and the stamp observed is that of the route in use.
    files.route(4, &[("a", 99)]);
    assert_eq!(swaps(&reconciler), 2);
    let seen = reconciler.observe(&RouteName::new("web").unwrap());
    assert_eq!((seen.stamp, seen.weights.len()), (Some(Stamp { fence: Fence(1), seq: 3 }), 2));
    assert!(seen.trouble.is_some());
}

/// What a client got that connects from this address, or why not.
async fn asked(from: [u8; 4], to: SocketAddr) -> Result<String, String> {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let mut stream = socket.connect(to).await.map_err(|e| e.kind().to_string())?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET / HTTP/1.0\r\n\r\n").await.map_err(|e| e.kind().to_string())?;
    let mut answer = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await;
    read.map_err(|e| e.kind().to_string()).map(|_| answer.lines().next().unwrap_or_default().to_string())
}

#[tokio::test]
async fn an_internal_route_listens_at_the_gateway_for_servers_alone() {
    let files = Files::new();
    let free = std::net::TcpListener::bind("127.0.7.1:0").unwrap().local_addr().unwrap();
    let settings = Route { listen: RouteAddress::Internal(free.port()), ..Route::on(free) };
    let route = RouteName::new("web").unwrap();
    let spec = RouteSpec { route: route.clone(), settings, weights: BTreeMap::new(), gone: false };
    files.put(&files.layout.routes().join("web.json"), &serde_json::json!({ "stamp": Stamp { fence: Fence(1), seq: 1 }, "spec": spec }));
    let reconciler = Reconciler::start(files.layout.clone(), 1);
    let pass = || lock(&reconciler.state).routes.values_mut().for_each(|served| served.bind_at_ms = 0);
    reconciler.reconcile();
    assert!(reconciler.observe(&route).trouble.unwrap().contains("not yet said where its servers' gateway is"));
    let gateway = |v4: [u8; 4]| files.put(&files.layout.gateway(), &Gateway { v4: v4.into(), v6: None });
    gateway([127, 0, 7, 1]);
    pass();
    reconciler.reconcile();
    assert!(asked([127, 0, 7, 9], free).await.unwrap().contains("503"), "a server is answered, that nobody serves");
    for stranger in [[127, 0, 8, 9], [127, 1, 0, 1]] {
        let saw = asked(stranger, free).await;
        assert!(saw.as_deref().unwrap_or_default().is_empty(), "{stranger:?}: {saw:?}");
    }
    assert!(asked([127, 0, 7, 9], ([127, 0, 0, 1], free.port()).into()).await.is_err(), "no other address listens");
    // A file that is away closes nothing; another gateway is followed.
    std::fs::remove_file(files.layout.gateway()).unwrap();
    reconciler.reconcile();
    assert!(asked([127, 0, 7, 9], free).await.is_ok() && reconciler.observe(&route).trouble.is_none());
    gateway([127, 0, 9, 1]);
    pass();
    reconciler.reconcile();
    assert!(asked([127, 0, 9, 9], ([127, 0, 9, 1], free.port()).into()).await.unwrap().contains("503"));
}
