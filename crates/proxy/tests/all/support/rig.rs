//! A data plane in this process over a data directory of its own, and functions that do the keeper's and control's part.

use super::{server::Server, until};
use api::Client;
use api::proxy::DeclareRoute;
use model::{
    Drain, Fence, GroupName, Health, InstanceId, Layout, Probe, Route, RouteName, RouteSeen, RouteSpec, ServiceName, Stamp, Target,
    TargetFile,
};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering::SeqCst};
use tokio::sync::oneshot;

pub struct Rig {
    _dir: tempfile::TempDir,
    pub layout: Layout,
    pub listen: SocketAddr,
    pub data: Client,
    pub answer_timeout_ms: u64,
    seq: Mutex<u64>,
    stop: Option<oneshot::Sender<()>>,
    task: Option<tokio::task::JoinHandle<Result<(), model::Fault>>>,
}

/// An address that no other test has: a port alone is released here and may be given to another test before this rig listens.
pub fn free_port() -> SocketAddr {
    static GIVEN: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    let ip = Ipv4Addr::new(127, 1 + (pid >> 8) as u8 % 254, pid as u8, GIVEN.fetch_add(1, SeqCst));
    std::net::TcpListener::bind((ip, 0)).unwrap().local_addr().unwrap()
}

pub fn group(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

pub fn weights(list: &[(&str, u32)]) -> BTreeMap<GroupName, u32> {
    list.iter().map(|(name, weight)| (group(name), *weight)).collect()
}

pub fn web() -> RouteName {
    RouteName::new("web").unwrap()
}

/// Replaces a file atomically, as the keeper does.
pub fn put(path: &Path, bytes: &[u8]) {
    let temp = path.with_extension("tmp");
    std::fs::write(&temp, bytes).unwrap();
    std::fs::rename(&temp, path).unwrap();
}

pub fn target_file(layout: &Layout, name: &str, servers: &[(&Server, bool)], probe: Probe) {
    let targets =
        servers.iter().map(|(server, draining)| Target { id: id_of(name, server), addr: server.addr, draining: *draining }).collect();
    let file = TargetFile {
        group: group(name),
        service: ServiceName::new("web").unwrap(),
        release: 1,
        health: Health { probe, every_ms: 200, timeout_ms: 2_000, healthy_for_ms: 0, unhealthy_after: 3 },
        drain: Drain::default(),
        route: None,
        targets,
    };
    put(&layout.target(&group(name)), &serde_json::to_vec(&file).unwrap());
}

/// Ports are never used twice at once, so they make good numbers.
pub fn id_of(name: &str, server: &Server) -> InstanceId {
    InstanceId::new(format!("{name}-{}", server.addr.port())).unwrap()
}

impl Rig {
    pub async fn start() -> Rig {
        let dir = tempfile::Builder::new().prefix("afresh-proxy").tempdir_in("/tmp").unwrap();
        let layout = Layout::new(dir.path());
        let data = Client::unix(layout.data_socket());
        let mut rig = Rig {
            layout,
            listen: free_port().into(),
            data,
            _dir: dir,
            answer_timeout_ms: 10_000,
            seq: Mutex::new(0),
            stop: None,
            task: None,
        };
        rig.begin().await;
        rig
    }

    pub async fn begin(&mut self) {
        let (stop, ear) = oneshot::channel::<()>();
        let layout = self.layout.clone();
        self.task = Some(tokio::spawn(proxy::data_until(layout, async move { drop(ear.await) })));
        self.stop = Some(stop);
        until("the data plane", || async { self.data.get::<serde_json::Value>("/v1/health").await.is_ok() }).await;
    }

    pub async fn end(&mut self) {
        drop(self.stop.take());
        self.task.take().unwrap().await.unwrap().unwrap();
    }

    pub fn targets(&self, name: &str, servers: &[&Server]) {
        let all: Vec<_> = servers.iter().map(|s| (*s, false)).collect();
        target_file(&self.layout, name, &all, Probe::Http { path: "/health".into() });
    }

    pub fn drain(&self, name: &str, servers: &[(&Server, bool)]) {
        target_file(&self.layout, name, servers, Probe::Http { path: "/health".into() });
    }

    pub fn spec(&self, list: &[(&str, u32)]) -> RouteSpec {
        let settings = Route { listen: self.listen.into(), connect_timeout_ms: 5_000, answer_timeout_ms: self.answer_timeout_ms };
        RouteSpec { route: web(), settings, weights: weights(list), gone: false }
    }

    /// As control does it.
    pub async fn shift(&self, list: &[(&str, u32)]) {
        self.declare(self.spec(list)).await;
    }

    /// Removes the route.
    pub async fn retire(&self) {
        self.declare(RouteSpec { gone: true, ..self.spec(&[]) }).await;
    }

    async fn declare(&self, spec: RouteSpec) {
        let seq = {
            let mut seq = self.seq.lock().unwrap();
            *seq += 1;
            *seq
        };
        let said = DeclareRoute { stamp: Stamp { fence: Fence(1), seq }, spec };
        put(&self.layout.routes().join("web.json"), &serde_json::to_vec(&said).unwrap());
        self.data.post::<_, serde_json::Value>("/v1/look", &()).await.unwrap();
    }

    pub async fn look(&self) {
        self.data.post::<_, serde_json::Value>("/v1/look", &()).await.unwrap();
    }

    pub async fn seen(&self) -> RouteSeen {
        self.data.get("/v1/routes/web").await.unwrap()
    }

    pub async fn healthy(&self, name: &str, count: usize) {
        until("healthy servers", || async {
            self.seen()
                .await
                .groups
                .get(&group(name))
                .is_some_and(|g| g.targets.values().filter(|t| t.healthy_ms.is_some()).count() == count)
        })
        .await;
    }

    pub async fn idle(&self, name: &str) {
        until("nothing in flight", || async { self.seen().await.groups.get(&group(name)).is_none_or(|g| g.in_flight == 0) }).await;
    }

    pub async fn drained(&self, name: &str, server: &Server) {
        let path = self.layout.drained(&id_of(name, server));
        until("the drained file", || async { path.exists() }).await;
    }

    /// One server, routed alone.
    pub async fn with(server: &Server) -> Rig {
        let rig = Rig::start().await;
        rig.targets("web-r1-1", &[server]);
        rig.look().await;
        rig.healthy("web-r1-1", 1).await;
        rig.shift(&[("web-r1-1", 100)]).await;
        rig
    }

    pub async fn traffic(&self, name: &str) -> model::GroupTraffic {
        self.seen().await.groups.get(&group(name)).cloned().unwrap_or_default()
    }
}

impl Drop for Rig {
    /// Its data plane must have stopped writing before the directory is removed.
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}
