//! The two processes as processes: killed, started twice, told to end.

use crate::program::command;
use crate::support::client::{ALL, GETS, Load};
use crate::support::rig::{free_port, group, target_file, web, weights};
use crate::support::server::Server;
use crate::support::until;
use api::Client;
use api::proxy::ProxyCounters;
use model::{Fence, Layout, Probe, Route, RouteSeen, RouteSpec, Stamp};
use rotation::Router;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

struct Pair {
    _dir: tempfile::TempDir,
    layout: Layout,
    control: Child,
    proxy: Client,
    data: Client,
    spec: RouteSpec,
}

fn start(layout: &Layout) -> Child {
    command("control", layout).stdin(Stdio::null()).spawn().unwrap()
}

impl Pair {
    async fn new(server: &Server) -> Pair {
        let dir = tempfile::Builder::new().prefix("afresh-proxy").tempdir_in("/tmp").unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(layout.targets()).unwrap();
        target_file(&layout, "web-r1-1", &[(server, false)], Probe::Http { path: "/health".into() });
        let settings = Route { listen: free_port().into(), connect_timeout_ms: 5_000, answer_timeout_ms: 10_000 };
        let spec = RouteSpec { route: web(), settings, weights: weights(&[("web-r1-1", 100)]), gone: false };
        let control = start(&layout);
        let (proxy, data) = (Client::unix(layout.proxy_socket()), Client::unix(layout.data_socket()));
        let pair = Pair { _dir: dir, control, proxy, data, spec, layout };
        pair.up().await;
        pair
    }

    async fn up(&self) {
        until("both sides", || async { self.proxy.get::<Vec<RouteSeen>>("/v1/routes").await.is_ok() }).await;
    }

    async fn pid(&self, client: &Client) -> u32 {
        client.get::<api::paths::Health>("/v1/health").await.unwrap().pid
    }

    async fn declare(&self, seq: u64, spec: &RouteSpec) -> Result<(), model::Fault> {
        let remote = proxy::Remote::new(&self.layout, tokio::runtime::Handle::current());
        let spec = spec.clone();
        tokio::task::spawn_blocking(move || remote.declare(Stamp { fence: Fence(3), seq }, &spec)).await.unwrap()
    }

    async fn observe(&self) -> RouteSeen {
        let remote = proxy::Remote::new(&self.layout, tokio::runtime::Handle::current());
        tokio::task::spawn_blocking(move || remote.observe(&web())).await.unwrap().unwrap()
    }

    async fn serving(&self) {
        until("a healthy server", || async {
            self.observe().await.groups[&group("web-r1-1")].targets.values().all(|t| t.healthy_ms.is_some())
        })
        .await;
    }
}

impl Drop for Pair {
    /// By pid, and only processes that the test started.
    fn drop(&mut self) {
        let _ = self.control.kill();
        let _ = self.control.wait();
        let text = std::fs::read_to_string(self.layout.run().join("pid-of-data")).unwrap_or_default();
        if let Ok(pid) = text.parse::<i32>() {
            kill(pid as u32);
            std::thread::sleep(Duration::from_millis(50)); // so that it writes no more when the directory is removed
        }
    }
}

/// SIGKILL.
fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(pid as i32).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

async fn note_pid(pair: &Pair) -> u32 {
    let pid = pair.pid(&pair.data).await;
    std::fs::write(pair.layout.run().join("pid-of-data"), pid.to_string()).unwrap();
    pid
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_killed_again_and_again_touches_no_traffic() {
    let server = Server::start("a").await;
    let mut pair = Pair::new(&server).await;
    let data = note_pid(&pair).await;
    pair.declare(1, &pair.spec).await.unwrap();
    pair.serving().await;
    let load = Load::start(pair.spec.settings.listen.edge().unwrap(), 300, ALL);
    for seq in 2..2 + crate::support::kills() / 2 {
        // An acknowledged declaration is never lost, whenever control dies.
        let mut spec = pair.spec.clone();
        spec.settings.answer_timeout_ms += seq;
        pair.declare(seq, &spec).await.unwrap();
        pair.control.kill().unwrap();
        pair.control.wait().unwrap();
        pair.control = start(&pair.layout);
        pair.up().await;
        assert_eq!(pair.observe().await.stamp, Some(Stamp { fence: Fence(3), seq }));
        assert_eq!(pair.declare(seq - 1, &spec).await.unwrap_err().code, "stale-stamp", "also after a restart");
    }
    load.end().await.assert_nothing_lost();
    assert_eq!(pair.pid(&pair.data).await, data, "the data plane was adopted, not started again");
    assert_eq!(server.books.late.load(std::sync::atomic::Ordering::SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_data_plane_is_back_at_once_with_everything() {
    let server = Server::start("a").await;
    let pair = Pair::new(&server).await;
    pair.declare(1, &pair.spec).await.unwrap();
    pair.serving().await;
    let (before, counters) = (pair.observe().await, pair.proxy.get::<ProxyCounters>("/v1/counters").await.unwrap());
    for _ in 0..2 {
        let data = note_pid(&pair).await;
        let killed = Instant::now();
        kill(data);
        let get = || async {
            let load = Load::start(pair.spec.settings.listen.edge().unwrap(), 1_000, &["get-fresh"]);
            tokio::time::sleep(Duration::from_millis(2)).await;
            load.end().await.failed.lock().unwrap().is_empty()
        };
        until("it serves again", get).await;
        eprintln!("served again after {:?}", killed.elapsed());
        until("another data plane", || async { pair.data.get::<api::paths::Health>("/v1/health").await.is_ok_and(|h| h.pid != data) })
            .await;
    }
    note_pid(&pair).await;
    let after = pair.observe().await;
    assert!(after.epoch > before.epoch);
    assert_eq!((after.stamp, after.weights), (before.stamp, before.weights));
    let now = pair.proxy.get::<ProxyCounters>("/v1/counters").await.unwrap();
    assert_eq!((now.swaps, now.listeners), (counters.swaps, counters.listeners + 2), "no weights were changed by dying");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declaration_twice_changes_nothing_and_an_old_one_is_refused() {
    let server = Server::start("a").await;
    let pair = Pair::new(&server).await;
    note_pid(&pair).await;
    let unknown = pair.observe().await;
    assert_eq!((unknown.stamp, unknown.weights.len()), (None, 0));
    assert!(unknown.groups.contains_key(&group("web-r1-1")), "it is probed before it is routed");
    pair.declare(5, &pair.spec).await.unwrap();
    let counters = pair.proxy.get::<ProxyCounters>("/v1/counters").await.unwrap();
    assert_eq!(counters, ProxyCounters { listeners: 1, swaps: 1 });
    pair.declare(5, &pair.spec).await.unwrap();
    pair.declare(6, &pair.spec).await.unwrap();
    assert_eq!(pair.proxy.get::<ProxyCounters>("/v1/counters").await.unwrap(), counters);
    assert_eq!(pair.observe().await.stamp, Some(Stamp { fence: Fence(3), seq: 6 }));
    let mut other = pair.spec.clone();
    other.weights = weights(&[]);
    for (seq, spec) in [(6, &other), (5, &pair.spec), (5, &other)] {
        let said = pair.declare(seq, spec).await.unwrap_err();
        assert_eq!(said.code, "stale-stamp", "{said:?}");
    }
    other.weights = weights(&[("web-r1-1", 99)]);
    assert_eq!(pair.declare(7, &other).await.unwrap_err().code, "bad-weights");
    // Garbage where the stamp was: the data plane still knows it.
    std::fs::write(pair.layout.routes().join("web.json"), "{").unwrap();
    let mut pair = pair;
    pair.control.kill().unwrap();
    pair.control.wait().unwrap();
    pair.control = start(&pair.layout);
    pair.up().await;
    assert_eq!(pair.declare(2, &pair.spec).await.unwrap_err().code, "stale-stamp");
    pair.declare(8, &pair.spec).await.unwrap();
    assert_eq!(pair.observe().await.trouble, None);
}

/// Both copies of the route are removed, or truncated, while no process runs; then both sides restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_without_a_file_is_served_as_it_was_applied_and_written_again() {
    let server = Server::start("a").await;
    let mut pair = Pair::new(&server).await;
    pair.declare(3, &pair.spec).await.unwrap();
    pair.serving().await;
    let file = pair.layout.routes().join("web.json");
    for cut in [false, true] {
        let data = note_pid(&pair).await;
        pair.control.kill().unwrap();
        pair.control.wait().unwrap();
        kill(data);
        for copy in [file.clone(), disk::state::spare(&file)] {
            if cut {
                let whole = std::fs::read(&copy).unwrap();
                std::fs::write(&copy, &whole[..whole.len() / 2]).unwrap();
            } else {
                std::fs::remove_file(&copy).unwrap();
            }
        }
        pair.control = start(&pair.layout);
        pair.up().await;
        note_pid(&pair).await;
        let seen = pair.observe().await;
        assert_eq!((seen.stamp, seen.weights), (Some(Stamp { fence: Fence(3), seq: 3 }), pair.spec.weights.clone()), "cut: {cut}");
        pair.serving().await;
        assert_eq!(pair.declare(2, &pair.spec).await.unwrap_err().code, "stale-stamp", "cut: {cut}");
        until("the file again", || async { disk::state::content(&std::fs::read(&file).unwrap_or_default()).starts_with(b"{") }).await;
        let alarms: Vec<api::fleet::Alarm> = pair.proxy.get("/v1/alarms").await.unwrap();
        assert!(alarms.iter().any(|a| a.code == "state-mended" && a.text.contains("web.json")), "{alarms:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_is_one_and_it_ends_in_order() {
    let server = Server::start("a").await;
    let mut pair = Pair::new(&server).await;
    note_pid(&pair).await;
    pair.declare(1, &pair.spec).await.unwrap();
    pair.serving().await;
    let second = command("control", &pair.layout).stdout(Stdio::null()).stderr(Stdio::piped()).output().unwrap();
    assert!(!second.status.success() && String::from_utf8_lossy(&second.stderr).contains("already runs"), "{second:?}");
    use std::os::unix::fs::PermissionsExt;
    for socket in [pair.layout.proxy_socket(), pair.layout.data_socket()] {
        assert_eq!(std::fs::metadata(socket).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let load = Load::start(pair.spec.settings.listen.edge().unwrap(), 200, GETS);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ledger = load.end().await;
    proxy::down(&pair.layout, 10_000).await.unwrap();
    ledger.assert_nothing_lost();
    assert!(pair.control.wait().unwrap().success());
    assert!(tokio::net::TcpStream::connect(pair.spec.settings.listen.edge().unwrap()).await.is_err());
    proxy::down(&pair.layout, 1_000).await.unwrap();
    std::fs::remove_file(pair.layout.run().join("pid-of-data")).unwrap();
}

/// Every file that held the stamp is gone, and control restarts: it reads the stamp from the data plane that uses it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stamp_that_only_the_data_plane_remembers_is_still_a_fence() {
    let server = Server::start("a").await;
    let mut pair = Pair::new(&server).await;
    note_pid(&pair).await;
    pair.declare(5, &pair.spec).await.unwrap();
    pair.serving().await;
    pair.control.kill().unwrap();
    pair.control.wait().unwrap();
    for folder in [pair.layout.routes(), pair.layout.proxy()] {
        for entry in std::fs::read_dir(folder).unwrap().flatten().filter(|entry| entry.path().is_file()) {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    pair.control = start(&pair.layout);
    pair.up().await;
    assert_eq!(pair.declare(2, &pair.spec).await.unwrap_err().code, "stale-stamp");
    pair.declare(6, &pair.spec).await.unwrap();
    assert_eq!(pair.observe().await.stamp, Some(Stamp { fence: Fence(3), seq: 6 }));
}
