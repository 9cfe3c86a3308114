//! The control side: takes declarations, fences them, makes them durable, and tells what the data plane says.
//!
//! Nothing here is on a request's way. It may die at any moment: what it answered for is on disk, and the data plane reads that.

use crate::data::Down;
use crate::files::{make_folder, read_json, write_json};
use crate::listen::turned;
use crate::plane::{Applied, applied_file};
use crate::rpc::{self, Call, json};
use crate::supervise::{Only, Supervisor};
use crate::upkeep::Upkeep;
use crate::way::check_weights;
use api::Client;
use api::fleet::{ALARMS, Alarm};
use api::paths::Health;
use api::proxy::{DeclareRoute, ProxyCounters};
use model::{Fault, Layout, RouteHeld, RouteName, RouteSeen, Stamp};
use serde_json::{Value, json as object};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

/// The nudge is a courtesy: the data plane looks at the files by itself.
const NUDGE: Duration = Duration::from_millis(1_000);
const ASK: Duration = Duration::from_millis(3_000);

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
    nudge: Client,
    supervisor: Supervisor,
    /// The last declaration of each route, as it is on disk. Held while one is taken: they are few.
    routes: Arc<Mutex<BTreeMap<RouteName, DeclareRoute>>>,
    upkeep: Arc<Upkeep>,
    down: watch::Sender<bool>,
}

/// Until [`down`] is called, or the future is dropped; then the data plane goes on.
pub async fn control(config: Config) -> Result<(), Fault> {
    let layout = config.layout;
    for folder in [layout.run(), layout.routes(), layout.targets().join("drained")] {
        make_folder(&folder)?;
    }
    let Some(_only) = Only::now(&layout.run().join("proxy.lock"))? else {
        return Err(Fault::yours("busy", format!("a balancer already runs over {}", layout.root().display()))
            .hint("one data directory, one balancer; `afresh down` ends it"));
    };
    let (down, mut ended) = watch::channel(false);
    let control = Arc::new(Control {
        data: Client::unix(layout.data_socket()).timeout(ASK),
        nudge: Client::unix(layout.data_socket()).timeout(NUDGE),
        supervisor: Supervisor::new(layout.clone(), config.data_program, config.data_args),
        routes: Arc::new(Mutex::new(crate::upkeep::read_routes(&layout))),
        upkeep: Arc::new(Upkeep::new(layout.clone())),
        layout,
        down,
    });
    let listener = rpc::bind(&control.layout.proxy_socket())?;
    let served = control.clone();
    tokio::select! {
        () = rpc::serve(listener, move |call| handle(served.clone(), call)) => {}
        () = control.supervisor.keep() => {}
        () = control.upkeep.keep(control.routes.clone()) => {}
        () = turned(&mut ended) => {
            // The answer to whoever asked is on its way.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    Ok(())
}

/// Ends both sides: control first, so that it starts nothing again; then the data plane, which finishes what is under way.
/// Nothing to end is no error. After `within_ms` the data plane ends regardless.
pub async fn down(layout: &Layout, within_ms: u64) -> Result<(), Fault> {
    let none = object!({});
    match Client::unix(layout.proxy_socket()).timeout(ASK).post::<_, Value>("/v1/down", &none).await {
        Ok(_) => {
            Only::within(&layout.run().join("proxy.lock"), 5_000).await?;
        }
        Err(e) if e.code == "unreachable" => {}
        Err(e) => return Err(e),
    }
    match Client::unix(layout.data_socket()).timeout(ASK).post::<_, Value>("/v1/down", &Down { within_ms }).await {
        Ok(_) => {}
        Err(e) if e.code == "unreachable" => {}
        Err(e) => return Err(e),
    }
    let lock = layout.run().join("data.lock");
    if !lock.exists() || Only::within(&lock, within_ms + 5_000).await?.is_some() {
        return Ok(());
    }
    Err(Fault::world("still-there", "the data plane did not end in time").hint("its pid is in GET /v1/health on data.sock"))
}

impl Control {
    /// Durable before it answers. The answer means that, and nothing about traffic.
    async fn declare(&self, said: DeclareRoute) -> Result<(), Fault> {
        let route = said.spec.route.clone();
        check_weights(&said.spec.weights).map_err(|why| Fault::yours("bad-weights", format!("route {route}: {why}")))?;
        let mut routes = self.routes.lock().await;
        let last = match routes.get(&route) {
            Some(last) => Some((last.stamp, last.spec == said.spec)),
            None => self.fence(&route).await.map(|stamp| (stamp, false)),
        };
        match judge(last, said.stamp) {
            Verdict::Older(last) => return Err(stale(&route, said.stamp, last, "is older than")),
            Verdict::Contradicts(last) => return Err(stale(&route, said.stamp, last, "says something else than")),
            Verdict::Known => {}
            Verdict::New => {
                let (path, spec) = (self.layout.routes().join(format!("{route}.json")), said.clone());
                let written = tokio::task::spawn_blocking(move || write_json(&path, &spec)).await;
                written.map_err(|e| Fault::ours("panic", e.to_string()))??;
                routes.insert(route, said);
            }
        }
        drop(routes);
        if let Err(e) = self.nudge.post::<_, Value>("/v1/look", &object!({})).await {
            tracing::info!("the data plane was not nudged: {e}");
        }
        Ok(())
    }

    /// Of files and listeners from the data plane; of the data plane itself and of files that were written again from here.
    async fn alarms(&self) -> Vec<Alarm> {
        let mut alarms = self.upkeep.alarms();
        match self.data.get::<Vec<Alarm>>(ALARMS).await {
            Ok(more) => alarms.extend(more),
            Err(fault) => {
                let why = self.supervisor.trouble().unwrap_or(fault.message);
                alarms.push(Alarm::new(
                    "data-plane-down",
                    None,
                    format!("the balancer's data plane does not answer: {why}; it is started again by itself"),
                ));
            }
        }
        alarms
    }

    /// For a route that is known nowhere here: the stamp that the data plane still holds.
    async fn fence(&self, route: &RouteName) -> Option<Stamp> {
        self.data.get::<RouteSeen>(&format!("{}/{route}", api::paths::ROUTES)).await.ok()?.stamp
    }

    /// From the data plane alone. When it is not there, nobody knows what is in use.
    async fn ask(&self, path: &str) -> Result<Value, Fault> {
        self.data.get(path).await.map_err(|e| match (e.code.as_str(), self.supervisor.trouble()) {
            ("unreachable", Some(why)) => Fault::world("data-plane-down", why).hint("it is started again by itself"),
            ("unreachable", None) => Fault::world("data-plane-down", e.message).hint("it is being started"),
            _ => e,
        })
    }
}

/// What a declaration is beside the last one that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    New,
    /// The very same again.
    Known,
    Older(Stamp),
    /// The same stamp with other words: another driver's, or our own bug. Either way not what was taken.
    Contradicts(Stamp),
}

/// `last`: the stamp of the last one, and whether it said the same.
fn judge(last: Option<(Stamp, bool)>, stamp: Stamp) -> Verdict {
    match last {
        Some((last, _)) if stamp < last => Verdict::Older(last),
        Some((last, true)) if stamp == last => Verdict::Known,
        Some((last, false)) if stamp == last => Verdict::Contradicts(last),
        _ => Verdict::New,
    }
}

fn stale(route: &RouteName, new: Stamp, last: Stamp, how: &str) -> Fault {
    Fault::world("stale-stamp", format!("route {route}: stamp {new} {how} the last that was taken, {last}")).again(false)
}

async fn handle(control: Arc<Control>, call: Call) -> Result<Value, Fault> {
    match call.parts() {
        ("GET", parts) if parts == ["v1", "health"] => json(&Health::of("proxy", env!("CARGO_PKG_VERSION"))),
        ("PUT", parts) if parts.len() == 3 && parts[..2] == ["v1", "routes"] => {
            let said: DeclareRoute = call.body()?;
            if said.spec.route.as_str() != parts[2] {
                return Err(Fault::yours("bad-request", format!("the path says {}, the body {}", parts[2], said.spec.route)));
            }
            control.declare(said).await.map(|()| object!({}))
        }
        ("GET", parts) if matches!(parts[..], ["v1", "routes"] | ["v1", "routes", _]) => control.ask(&call.path).await,
        ("GET", parts) if parts == ["v1", "inventory"] => {
            let held = control.routes.lock().await;
            let list: Vec<RouteHeld> = held.values().map(|d| RouteHeld { stamp: d.stamp, spec: d.spec.clone() }).collect();
            json(&list)
        }
        ("GET", parts) if parts == ["v1", "counters"] => match control.ask(&call.path).await {
            // They are on disk too.
            Err(e) if e.code == "data-plane-down" => {
                let applied = read_json::<Applied>(&applied_file(&control.layout)).good();
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

    /// By hand for every pair of nine stamps: fences first, then the sequence.
    #[test]
    fn a_declaration_is_taken_only_if_it_is_newer_or_the_same() {
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
