//! The data plane: the process that customers' bytes go through. It needs files and nobody else.

use crate::files::make_folder;
use crate::plane::Plane;
use crate::rpc::{self, Call, json};
use crate::supervise::Only;
use crate::watch as folders;
use api::paths::Health;
use model::{Fault, Layout, RouteName};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Folders are looked at so often, hint or no hint.
const LOOK: Duration = Duration::from_millis(100);
const BIND_AGAIN: Duration = Duration::from_secs(1);
/// Asked to end by a signal: what is under way has so long.
const END_MS: u64 = 30_000;
/// For a lock that our starter holds for a moment to see whether we are there.
const LOCK_MS: u64 = 1_000;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Down {
    pub within_ms: u64,
}

/// Until it is told to end (over its socket, SIGTERM, SIGINT); open exchanges are finished first. Another one for the same
/// layout that is already there is no error: this one just goes. It makes a session of its own.
pub async fn data(layout: Layout) -> Result<(), Fault> {
    detach();
    // From here on the directory is found by what it is and not by its name: it may be moved while traffic goes on.
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

/// As [`data`], in this process as it is, until `stop`.
pub async fn data_until(layout: Layout, stop: impl Future<Output = ()>) -> Result<(), Fault> {
    for folder in [layout.run(), layout.routes(), layout.targets().join("drained")] {
        make_folder(&folder)?;
    }
    let Some(_only) = Only::within(&layout.run().join("data.lock"), LOCK_MS).await? else {
        tracing::info!("a data plane is already there");
        return Ok(());
    };
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |d| u64::try_from(d.as_millis()).unwrap_or(1));
    let plane = Arc::new(Plane::start(layout.clone(), wall_ms));
    let hint = folders::on(&[&layout.routes(), &layout.targets()]);
    pass(&plane).await;

    let (down, mut ended) = watch::channel(None::<Down>);
    let (served, asked) = (plane.clone(), down.clone());
    let served = tokio::spawn(async move {
        // Traffic does not wait for the socket that we are asked over: on a full disk there may be no place for it.
        let listener = loop {
            match rpc::bind(&layout.data_socket()) {
                Ok(listener) => break listener,
                Err(fault) => tracing::warn!("{fault}; it is tried again"),
            }
            tokio::time::sleep(BIND_AGAIN).await;
        };
        rpc::serve(listener, move |call| handle(served.clone(), asked.clone(), call)).await;
    });
    tokio::pin!(stop);
    let within_ms = loop {
        tokio::select! {
            within_ms = asked_down(&mut ended) => break within_ms,
            () = &mut stop => break END_MS,
            () = hint.notified() => pass(&plane).await,
            () = plane.common.left.notified() => pass(&plane).await,
            () = tokio::time::sleep(LOOK) => pass(&plane).await,
        }
    };
    finish(&plane, within_ms).await;
    served.abort();
    Ok(())
}

async fn asked_down(ear: &mut watch::Receiver<Option<Down>>) -> u64 {
    ear.wait_for(Option::is_some).await.ok().and_then(|down| *down).map_or(END_MS, |down| down.within_ms)
}

/// Our own session: who started us may end, with its terminal, and we go on.
fn detach() {
    if let Err(e) = rustix::process::setsid() {
        tracing::debug!("already a session or group of its own: {e}");
    }
    // Each request takes two descriptors.
    let mut limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::info!("the limit of open files stays as it is: {e}");
    }
}

async fn pass(plane: &Arc<Plane>) {
    let plane = plane.clone();
    let work = move || {
        plane.reconcile();
        if let Err(e) = disk::log::turn_over(&log_file(&plane.layout)) {
            tracing::debug!("the log is not turned over: {e}");
        }
    };
    if let Err(e) = tokio::task::spawn_blocking(work).await {
        tracing::error!("a pass failed: {e}");
    }
}

/// Where our stdout and stderr go when control starts us.
pub fn log_file(layout: &Layout) -> PathBuf {
    layout.proxy().join("data.log")
}

async fn finish(plane: &Arc<Plane>, within_ms: u64) {
    plane.stop_listening();
    let until = tokio::time::Instant::now() + Duration::from_millis(within_ms);
    // Give the accept loops the moment in which they empty their queues.
    tokio::time::sleep(Duration::from_millis(50)).await;
    while plane.admission.count() > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    if plane.admission.count() > 0 {
        tracing::warn!("{} connections were still open after {within_ms} ms", plane.admission.count());
    }
}

async fn handle(plane: Arc<Plane>, down: watch::Sender<Option<Down>>, call: Call) -> Result<Value, Fault> {
    // Everything below takes the plane's lock, which is held while files are read.
    tokio::task::spawn_blocking(move || answer(&plane, &down, &call)).await.map_err(|e| Fault::ours("panic", e.to_string()))?
}

fn answer(plane: &Plane, down: &watch::Sender<Option<Down>>, call: &Call) -> Result<Value, Fault> {
    match call.parts() {
        ("GET", parts) if parts == ["v1", "health"] => json(&Health::of("data", env!("CARGO_PKG_VERSION"))),
        ("GET", parts) if parts == ["v1", "routes"] => json(&plane.all_seen()),
        ("GET", parts) if parts.len() == 3 && parts[..2] == ["v1", "routes"] => {
            let route = RouteName::new(parts[2]).map_err(|e| Fault::yours("bad-name", e.to_string()))?;
            json(&plane.seen(&route))
        }
        ("GET", parts) if parts == ["v1", "counters"] => json(&crate::group::lock(&plane.world).applied.counters),
        ("GET", parts) if parts == ["v1", "stats"] => {
            let admission = &plane.admission;
            let connections = object!({
                "open": admission.count(),
                "max": admission.limits.connections,
                "max_per_client": admission.limits.per_client,
                "shed": admission.shed.load(Relaxed),
                "refused": admission.refused.load(Relaxed),
            });
            Ok(object!({ "epoch": plane.epoch, "connections": connections, "routes": json(&plane.all_seen())? }))
        }
        ("GET", parts) if parts == ["v1", "alarms"] => json(&plane.alarms()),
        ("POST", parts) if parts == ["v1", "look"] => {
            plane.reconcile();
            Ok(object!({}))
        }
        ("POST", parts) if parts == ["v1", "down"] => {
            down.send_replace(Some(call.body()?));
            Ok(object!({}))
        }
        _ => Err(call.unknown()),
    }
}
