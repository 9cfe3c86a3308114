//! The data plane: the process that forwards requests. It depends only on files, and runs on when every other process is down.

use crate::folder_watch;
use crate::mutex::lock;
use crate::reconciler::Reconciler;
use crate::run_files;
use crate::state_files::make_folder;
use api::fleet::ALARMS;
use api::paths::{COUNTERS, HEALTH, Health, ROUTES};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use json_http::{Json, Name, Out, Refusal, Room};
use model::{Fault, Layout, RouteName, RouteSeen};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Time between two passes, also without inotify.
const PASS_EVERY: Duration = Duration::from_millis(100);
const BIND_RETRY: Duration = Duration::from_secs(1);
/// After a signal: the time that requests in progress have.
const SHUTDOWN_MS: u64 = 30_000;
/// For the lock, which the control side holds for a moment when it checks whether a data plane runs.
const LOCK_MS: u64 = 1_000;

/// Reads the files at once, instead of with the next pass.
pub const LOOK: &str = "/v1/look";
pub const DOWN: &str = "/v1/down";
/// More calls at a time are not answered.
pub const CONNECTIONS_MAX: usize = 128;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Down {
    pub within_ms: u64,
}

/// Runs until it is told to end (over its socket, by SIGTERM or SIGINT); requests in progress are finished first. Returns at once
/// if another data plane runs for the same layout. Starts its own session.
pub async fn data(layout: Layout) -> Result<(), Fault> {
    detach();
    // From here on the data directory is the working directory, so that it may be moved while traffic continues.
    std::env::set_current_dir(layout.root())
        .map_err(|e| Fault::world("data-dir", format!("{}: {e}", layout.root().display())).again(false))?;
    let layout = Layout::new(".");
    let mut terminate = signal(SignalKind::terminate()).map_err(|e| Fault::ours("signal", e.to_string()))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|e| Fault::ours("signal", e.to_string()))?;
    data_until(layout, async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    })
    .await
}

/// As [`data`], without a session of its own, until `stop`.
pub async fn data_until(layout: Layout, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    for folder in [layout.run(), layout.routes(), layout.targets().join("drained")] {
        make_folder(&folder)?;
    }
    let Some(_lock) = crate::locking::wait_exclusive(&run_files::data_lock(&layout), LOCK_MS).await? else {
        tracing::info!("another data plane runs already");
        return Ok(());
    };
    let wall_ms = disk::files::now().0;
    let reconciler = Arc::new(Reconciler::start(layout.clone(), wall_ms));
    let changed = folder_watch::watch(&[&layout.routes(), &layout.targets()]);
    pass(&reconciler).await;

    let (down, mut down_requested) = watch::channel(None::<Down>);
    let calls = Calls { reconciler: reconciler.clone(), down };
    let served = tokio::spawn(async move {
        // Traffic does not wait for the control socket, which cannot be made on a full disk.
        let listener = loop {
            match json_http::unix(&layout.data_socket(), 0o600) {
                Ok(listener) => break listener,
                Err(fault) => tracing::warn!("{fault}; retrying"),
            }
            tokio::time::sleep(BIND_RETRY).await;
        };
        let room = Room::new(CONNECTIONS_MAX, CONNECTIONS_MAX);
        json_http::serve(listener, router(calls), room, "the data plane's socket").await;
    });
    tokio::pin!(stop);
    let within_ms = loop {
        tokio::select! {
            within_ms = until_down(&mut down_requested) => break within_ms,
            () = &mut stop => break SHUTDOWN_MS,
            () = changed.notified() => pass(&reconciler).await,
            () = reconciler.shared.left.notified() => pass(&reconciler).await,
            () = tokio::time::sleep(PASS_EVERY) => pass(&reconciler).await,
        }
    };
    finish(&reconciler, within_ms).await;
    served.abort();
    Ok(())
}

async fn until_down(requested: &mut watch::Receiver<Option<Down>>) -> u64 {
    requested.wait_for(Option::is_some).await.ok().and_then(|down| *down).map_or(SHUTDOWN_MS, |down| down.within_ms)
}

/// Starts a new session: the process that started this one may end, with its terminal.
fn detach() {
    if let Err(e) = rustix::process::setsid() {
        tracing::debug!("already a session leader: {e}");
    }
    // Each request needs two descriptors.
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::info!("cannot raise the limit of open files: {e}");
    }
}

async fn pass(reconciler: &Arc<Reconciler>) {
    let reconciler = reconciler.clone();
    let work = move || {
        reconciler.reconcile();
        if let Err(e) = disk::log::rotate(&run_files::data_log(&reconciler.layout)) {
            tracing::debug!("cannot rotate the log: {e}");
        }
    };
    if let Err(e) = tokio::task::spawn_blocking(work).await {
        tracing::error!("a pass failed: {e}");
    }
}

async fn finish(reconciler: &Arc<Reconciler>, within_ms: u64) {
    reconciler.stop_listening();
    let until = tokio::time::Instant::now() + Duration::from_millis(within_ms);
    // Gives the accept loops time to empty their backlogs.
    tokio::time::sleep(Duration::from_millis(50)).await;
    while reconciler.admission.count() > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if reconciler.admission.count() > 0 {
        tracing::warn!("{} connections are still open after {within_ms} ms", reconciler.admission.count());
    }
}

#[derive(Clone)]
struct Calls {
    reconciler: Arc<Reconciler>,
    down: watch::Sender<Option<Down>>,
}

type Shared = State<Calls>;
type Answer<T> = Result<Out<T>, Refusal>;

fn router(calls: Calls) -> Router {
    let router = Router::new()
        .route(HEALTH, get(async || Out(Health::of("data", env!("CARGO_PKG_VERSION")))))
        .route(ROUTES, get(async |State(calls): Shared| calls.read(Reconciler::observe_all).await))
        .route(&format!("{ROUTES}/{{route}}"), get(one))
        .route(COUNTERS, get(async |State(calls): Shared| calls.read(|r| lock(&r.state).applied.counters.clone()).await))
        .route("/v1/stats", get(async |State(calls): Shared| calls.read(stats).await))
        .route(ALARMS, get(async |State(calls): Shared| calls.read(Reconciler::alarms).await))
        .route(LOOK, post(look))
        .route(DOWN, post(end));
    json_http::with_fallbacks(router).with_state(calls)
}

impl Calls {
    /// Every call takes the reconciler's lock, which is held while files are read.
    async fn read<T: Send + 'static>(self, read: impl FnOnce(&Reconciler) -> T + Send + 'static) -> Answer<T> {
        let done = tokio::task::spawn_blocking(move || read(&self.reconciler)).await;
        Ok(Out(done.map_err(|e| Fault::ours("panic", e.to_string()))?))
    }
}

async fn one(State(calls): Shared, Name(route): Name<RouteName>) -> Answer<RouteSeen> {
    calls.read(move |reconciler| reconciler.observe(&route)).await
}

fn stats(reconciler: &Reconciler) -> Value {
    let admission = &reconciler.admission;
    let connections = object!({
        "open": admission.count(),
        "max": admission.limits.connections,
        "max_per_client": admission.limits.per_client,
        "shed": admission.shed.load(Relaxed),
        "refused": admission.refused.load(Relaxed),
    });
    object!({ "epoch": reconciler.epoch, "connections": connections, "routes": reconciler.observe_all() })
}

async fn look(State(calls): Shared) -> Answer<Value> {
    calls
        .read(|reconciler| {
            reconciler.reconcile();
            object!({})
        })
        .await
}

async fn end(State(calls): Shared, Json(down): Json<Down>) -> Out<Value> {
    calls.down.send_replace(Some(down));
    Out(object!({}))
}
