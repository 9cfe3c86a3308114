//! The control side: accepts declarations, fences them, makes them durable, and passes on what the data plane reports.
//!
//! No request passes through it. It may die at any moment: what it acknowledged is on disk, and the data plane reads that.

use crate::applied::{self, Applied};
use crate::data_plane::Down;
use crate::locking::wait_exclusive;
use crate::route_files::{self, RouteFiles};
use crate::route_table::check_weights;
use crate::rpc::{self, Call, json};
use crate::state_files::{make_folder, read_json, write_json};
use crate::supervise::Supervisor;
use crate::{run_files, shutdown};
use api::Client;
use api::fleet::{ALARMS, Alarm};
use api::paths::Health;
use api::proxy::{DeclareRoute, ProxyCounters};
use disk::lock::Lock;
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
    let listener = rpc::bind(&control.layout.proxy_socket())?;
    let served = control.clone();
    tokio::select! {
        () = rpc::serve(listener, move |call| handle(served.clone(), call)) => {}
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
    match Client::unix(layout.proxy_socket()).timeout(CALL_WITHIN).post::<_, Value>("/v1/down", &none).await {
        Ok(_) => {
            wait_exclusive(&run_files::control_lock(layout), 5_000).await?;
        }
        Err(e) if e.code == "unreachable" => {}
        Err(e) => return Err(e),
    }
    match Client::unix(layout.data_socket()).timeout(CALL_WITHIN).post::<_, Value>("/v1/down", &Down { within_ms }).await {
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
        if let Err(e) = self.data_notify.post::<_, Value>("/v1/look", &object!({})).await {
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
        self.data.get::<RouteSeen>(&format!("{}/{route}", api::paths::ROUTES)).await.ok()?.stamp
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

async fn handle(control: Arc<Control>, call: Call) -> Result<Value, Fault> {
    match call.parts() {
        ("GET", parts) if parts == ["v1", "health"] => json(&Health::of("proxy", env!("CARGO_PKG_VERSION"))),
        ("PUT", parts) if parts.len() == 3 && parts[..2] == ["v1", "routes"] => {
            let declared: DeclareRoute = call.body()?;
            if declared.spec.route.as_str() != parts[2] {
                return Err(Fault::yours("bad-request", format!("the path names {}, the body {}", parts[2], declared.spec.route)));
            }
            control.declare(declared).await.map(|()| object!({}))
        }
        ("GET", parts) if matches!(parts[..], ["v1", "routes"] | ["v1", "routes", _]) => control.fetch_from_data_plane(&call.path).await,
        ("GET", parts) if parts == ["v1", "inventory"] => {
            let held = control.routes.lock().await;
            let list: Vec<RouteHeld> = held.values().map(|d| RouteHeld { stamp: d.stamp, spec: d.spec.clone() }).collect();
            json(&list)
        }
        ("GET", parts) if parts == ["v1", "counters"] => match control.fetch_from_data_plane(&call.path).await {
            // The last counters are on disk too.
            Err(e) if e.code == "data-plane-down" => {
                let applied = read_json::<Applied>(&applied::path(&control.layout)).good();
                json(&applied.map_or_else(ProxyCounters::default, |a| a.counters))
            }
            other => other,
        },
        ("GET", parts) if parts == ["v1", "alarms"] => json(&control.alarms().await),
        ("POST", parts) if parts == ["v1", "down"] => {
            control.down.send_replace(true);
            Ok(object!({}))
        }
        _ => Err(call.unknown()),
    }
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
