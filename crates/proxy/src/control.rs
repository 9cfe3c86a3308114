//! The control side: accepts declarations, fences them, makes them durable, and passes on what the data plane reports.
//!
//! No request passes through it. It may die at any moment: what it acknowledged is on disk, and the data plane reads that.

use crate::applied::{self, Applied};
use crate::data_plane::{DOWN, Down, LOOK};
use crate::locking::wait_exclusive;
use crate::route_files::{self, RouteFiles};
use crate::route_table::check_weights;
use crate::state_files::{make_folder, read_json, write_json};
use crate::supervise::Supervisor;
use crate::{run_files, shutdown};
use api::Client;
use api::fleet::{ALARMS, Alarm};
use api::paths::{COUNTERS, HEALTH, Health, INVENTORY, ROUTES};
use api::proxy::{DeclareRoute, ProxyCounters};
use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::{get, post};
use disk::lock::Lock;
use json_http::{Json, Name, Out, Refusal, Room};
use model::{Fault, Layout, RouteHeld, RouteName, RouteSeen, Stamp};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// The data plane reads the files by itself; the call only makes it do so sooner.
const NOTIFY_WITHIN: Duration = Duration::from_millis(1_000);
const CALL_WITHIN: Duration = Duration::from_millis(3_000);
/// More calls at a time are not answered.
const CONNECTIONS_MAX: usize = 1_024;

/// `data_program` with `data_args` must run [`crate::data`] for the same layout.
#[derive(Clone, Debug)]
pub struct Config {
    pub layout: Layout,
    pub data_program: PathBuf,
    pub data_args: Vec<OsString>,
}

struct Control {
    layout: Layout,
    data: Client,
    data_notify: Client,
    supervisor: Supervisor,
    /// The last declaration of each route, as on disk. Locked while a declaration is written.
    routes: Arc<Mutex<BTreeMap<RouteName, DeclareRoute>>>,
    route_files: Arc<RouteFiles>,
    down: watch::Sender<bool>,
}

/// Runs until [`down`] is called, or the future is dropped; then the data plane continues.
pub async fn control(config: Config) -> Result<(), Fault> {
    let layout = config.layout;
    for folder in [layout.run(), layout.routes(), layout.targets().join("drained")] {
        make_folder(&folder)?;
    }
    let Some(_lock) = Lock::try_exclusive(&run_files::control_lock(&layout))? else {
        return Err(
            Fault::yours("busy", format!("a balancer already runs for {}", layout.root().display())).hint("stop it first: `afresh down`")
        );
    };
    let (down, mut ended) = watch::channel(false);
    let control = Arc::new(Control {
        data: Client::unix(layout.data_socket()).timeout(CALL_WITHIN),
        data_notify: Client::unix(layout.data_socket()).timeout(NOTIFY_WITHIN),
        supervisor: Supervisor::new(layout.clone(), config.data_program, config.data_args),
        routes: Arc::new(Mutex::new(route_files::read_all(&layout))),
        route_files: Arc::new(RouteFiles::new(layout.clone())),
        layout,
        down,
    });
    let listener = json_http::unix(&control.layout.proxy_socket(), 0o600)?;
    let room = Room::new(CONNECTIONS_MAX, CONNECTIONS_MAX);
    tokio::select! {
        () = json_http::serve(listener, router(control.clone()), room, "the balancer's socket") => {}
        () = control.supervisor.keep_running() => {}
        () = control.route_files.keep_intact(control.routes.clone()) => {}
        () = shutdown::requested(&mut ended) => {
            // Gives the response to the caller time to be sent.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Ends both processes: the control side first, so that it does not restart the data plane; then the data plane, which finishes the
/// requests in progress for at most `within_ms`. If nothing runs, this is no error.
pub async fn down(layout: &Layout, within_ms: u64) -> Result<(), Fault> {
    let none = object!({});
    match Client::unix(layout.proxy_socket()).timeout(CALL_WITHIN).post::<_, Value>(DOWN, &none).await {
        Ok(_) => {
            wait_exclusive(&run_files::control_lock(layout), 5_000).await?;
        }
        Err(e) if e.code == "unreachable" => {}
        Err(e) => return Err(e),
    }
    match Client::unix(layout.data_socket()).timeout(CALL_WITHIN).post::<_, Value>(DOWN, &Down { within_ms }).await {
        Ok(_) => {}
        Err(e) if e.code == "unreachable" => {}
        Err(e) => return Err(e),
    }
    let lock = run_files::data_lock(layout);
    if !lock.exists() || wait_exclusive(&lock, within_ms + 5_000).await?.is_some() {
        return Ok(());
    }
    Err(Fault::world("still-there", "the data plane did not end in time").hint("`GET /v1/health` on run/data.sock shows its pid"))
}

impl Control {
    /// Durable before it returns. Success means that, and nothing about traffic.
    async fn declare(&self, declared: DeclareRoute) -> Result<(), Fault> {
        let route = declared.spec.route.clone();
        check_weights(&declared.spec.weights).map_err(|why| Fault::yours("bad-weights", format!("route {route}: {why}")))?;
        let mut routes = self.routes.lock().await;
        let last = match routes.get(&route) {
            Some(last) => Some((last.stamp, last.spec == declared.spec)),
            None => self.fence(&route).await.map(|stamp| (stamp, false)),
        };
        match judge(last, declared.stamp) {
            Verdict::Older(last) => return Err(stale(&route, declared.stamp, last, "is older than")),
            Verdict::Contradicts(last) => return Err(stale(&route, declared.stamp, last, "has other content than")),
            Verdict::Known => {}
            Verdict::New => {
                let (path, spec) = (self.layout.routes().join(format!("{route}.json")), declared.clone());
                let written = tokio::task::spawn_blocking(move || write_json(&path, &spec)).await;
                written.map_err(|e| Fault::ours("panic", e.to_string()))??;
                routes.insert(route, declared);
            }
        }
        drop(routes);
        if let Err(e) = self.data_notify.post::<_, Value>(LOOK, &object!({})).await {
            tracing::info!("cannot notify the data plane: {e}");
        }
        Ok(())
    }

    /// The data plane's own alarms, whether it answers at all, and the route files that were repaired.
    async fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.route_files.alarms();
        match self.data.get::<Vec<Alarm>>(ALARMS).await {
            Ok(more) => alarms.extend(more),
            Err(fault) => {
                let why = self.supervisor.trouble().unwrap_or(fault.message);
                alarms.push(Alarm::new(
                    "data-plane-down",
                    None,
                    format!("the balancer's data plane does not answer: {why}; it is restarted automatically"),
                ));
            }
        }
        alarms
    }

    /// For a route that the control side does not know: the stamp that the data plane still holds.
    async fn fence(&self, route: &RouteName) -> Option<Stamp> {
        self.data.get::<RouteSeen>(&format!("{ROUTES}/{route}")).await.ok()?.stamp
    }

    /// Passed on from the data plane, which alone knows what is in use.
    async fn fetch_from_data_plane(&self, path: &str) -> Result<Value, Fault> {
        self.data.get(path).await.map_err(|e| match (e.code.as_str(), self.supervisor.trouble()) {
            ("unreachable", Some(why)) => Fault::world("data-plane-down", why).hint("it is restarted automatically"),
            ("unreachable", None) => Fault::world("data-plane-down", e.message).hint("it is being started"),
            _ => e,
        })
    }
}

/// How a declaration compares with the last one accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    New,
    /// The same again.
    Known,
    Older(Stamp),
    /// The same stamp with other content: from another driver, or an internal error.
    Contradicts(Stamp),
}

/// `last`: the stamp of the last one, and whether its content was the same.
fn judge(last: Option<(Stamp, bool)>, stamp: Stamp) -> Verdict {
    match last {
        Some((last, _)) if stamp < last => Verdict::Older(last),
        Some((last, true)) if stamp == last => Verdict::Known,
        Some((last, false)) if stamp == last => Verdict::Contradicts(last),
        _ => Verdict::New,
    }
}

fn stale(route: &RouteName, new: Stamp, last: Stamp, how: &str) -> Fault {
    Fault::world("stale-stamp", format!("route {route}: stamp {new} {how} the last one accepted, {last}")).again(false)
}

type Shared = State<Arc<Control>>;
type Answer<T> = Result<Out<T>, Refusal>;

fn router(control: Arc<Control>) -> Router {
    let one = format!("{ROUTES}/{{route}}");
    let router = Router::new()
        .route(HEALTH, get(async || Out(Health::of("proxy", env!("CARGO_PKG_VERSION")))))
        .route(ROUTES, get(from_data_plane))
        .route(&one, get(from_data_plane).put(declare))
        .route(INVENTORY, get(inventory))
        .route(COUNTERS, get(counters))
        .route(ALARMS, get(async |State(control): Shared| Out(control.alarms().await)))
        .route(DOWN, post(end));
    json_http::with_fallbacks(router).with_state(control)
}

async fn declare(State(control): Shared, Name(route): Name<RouteName>, Json(declared): Json<DeclareRoute>) -> Answer<Value> {
    if declared.spec.route != route {
        return Err(Fault::yours("bad-request", format!("the path names {route}, the body {}", declared.spec.route)).into());
    }
    control.declare(declared).await?;
    Ok(Out(object!({})))
}

async fn from_data_plane(State(control): Shared, uri: Uri) -> Answer<Value> {
    Ok(Out(control.fetch_from_data_plane(uri.path()).await?))
}

async fn inventory(State(control): Shared) -> Out<Vec<RouteHeld>> {
    let held = control.routes.lock().await;
    Out(held.values().map(|d| RouteHeld { stamp: d.stamp, spec: d.spec.clone() }).collect())
}

async fn counters(State(control): Shared) -> Answer<Value> {
    match control.fetch_from_data_plane(COUNTERS).await {
        // The last counters are on disk too.
        Err(e) if e.code == "data-plane-down" => {
            let applied = read_json::<Applied>(&applied::path(&control.layout)).good();
            let counters = applied.map_or_else(ProxyCounters::default, |a| a.counters);
            Ok(Out(serde_json::to_value(counters).map_err(|e| Fault::ours("bad-answer", e.to_string()))?))
        }
        other => Ok(Out(other?)),
    }
}

async fn end(State(control): Shared) -> Out<Value> {
    control.down.send_replace(true);
    Out(object!({}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Fence;

    /// Every pair of nine stamps: fences first, then the sequence.
    #[test]
    fn a_declaration_is_accepted_only_if_it_is_newer_or_the_same() {
        let rank = |stamp: Stamp| stamp.fence.0 * 10 + stamp.seq;
        let stamps: Vec<_> = (1..=3).flat_map(|fence| (1..=3).map(move |seq| Stamp { fence: Fence(fence), seq })).collect();
        for last in &stamps {
            for new in &stamps {
                for same in [true, false] {
                    let wanted = if rank(*new) > rank(*last) {
                        Verdict::New
                    } else if rank(*new) < rank(*last) {
                        Verdict::Older(*last)
                    } else if same {
                        Verdict::Known
                    } else {
                        Verdict::Contradicts(*last)
                    };
                    assert_eq!(judge(Some((*last, same)), *new), wanted, "{last} then {new}, the same: {same}");
                }
            }
            assert_eq!(judge(None, *last), Verdict::New);
        }
    }
}
