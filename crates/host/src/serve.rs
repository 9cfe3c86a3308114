//! The keeper's socket: declare and observe. Only root can connect (mode 0600).

use crate::declared::{self, Declared, Take};
use crate::keeper::Keeper;
use crate::log_list::logs;
use crate::state::Held;
use crate::state_files;
use crate::{alarms, group_files, log_reader};
use api::host::{DeclareGroup, HostCounters};
use api::logs::{LOGS, LogFile, LogPart, LogQuery};
use api::{fleet, paths};
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use disk::state::Mark;
use model::{DesiredGroup, Fault, GroupHeld, GroupName, GroupSeen, InstanceId, Layout, ServiceName};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::UnixListener;

const BODY_BYTES_MAX: usize = 1 << 20;

type Answer<T> = Result<Json<T>, Refusal>;

struct Refusal(Fault);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(api::status_of(&self.0)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, Json(self.0)).into_response()
    }
}

/// The lock is held by the caller, so a socket that lies there is a dead keeper's.
pub fn listen(layout: &Layout) -> Result<UnixListener, Fault> {
    let path = layout.host_socket();
    let listener = disk::socket::listen(&path, 0o600).and_then(UnixListener::from_std);
    listener.map_err(|e| match e.kind() {
        std::io::ErrorKind::InvalidFilename => {
            Fault::yours("path-too-long", format!("{}: {e}", path.display())).hint("choose a shorter --data-dir")
        }
        _ => state_files::at(&path, "listening", e),
    })
}

pub async fn serve(listener: UnixListener, keeper: Arc<Keeper>) -> Result<(), Fault> {
    let one = format!("{}/{{group}}", paths::GROUPS);
    let router = Router::new()
        .route(paths::HEALTH, get(health))
        .route(paths::COUNTERS, get(counters))
        .route(fleet::ALARMS, get(alarms_of))
        .route(fleet::HAPPENED, get(happened))
        .route(paths::GROUPS, get(groups))
        .route(&one, get(group).put(declare))
        .route(paths::INVENTORY, get(inventory))
        .route(LOGS, get(log_files))
        .route(&format!("{LOGS}/{{instance}}"), get(log_part))
        .fallback(nothing)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(keeper);
    axum::serve(listener, router).await.map_err(|e| Fault::world("host-io", format!("the keeper's socket: {e}")))
}

async fn nothing() -> Refusal {
    Refusal(Fault::yours("not-found", "the keeper has no such path"))
}

async fn health() -> Json<paths::Health> {
    Json(paths::Health::of("host", env!("CARGO_PKG_VERSION")))
}

async fn counters(State(keeper): State<Arc<Keeper>>) -> Json<HostCounters> {
    Json(keeper.counters.now())
}

async fn alarms_of(State(keeper): State<Arc<Keeper>>) -> Json<Vec<fleet::Alarm>> {
    Json(alarms::alarms(&keeper))
}

#[derive(serde::Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn happened(State(keeper): State<Arc<Keeper>>, Query(after): Query<After>) -> Json<Vec<fleet::Happened>> {
    Json(keeper.history.after(after.after))
}

fn name(text: String) -> Result<GroupName, Refusal> {
    GroupName::new(text).map_err(|e| Refusal(Fault::yours("bad-name", e.to_string())))
}

async fn group(State(keeper): State<Arc<Keeper>>, Path(text): Path<String>) -> Answer<GroupSeen> {
    let name = name(text)?;
    Ok(Json(keeper.state().seen(&name, Instant::now())))
}

async fn groups(State(keeper): State<Arc<Keeper>>) -> Json<Vec<GroupSeen>> {
    let state = keeper.state();
    let now = Instant::now();
    let mut names: Vec<&GroupName> = state.groups.keys().collect();
    names.extend(state.instances.values().map(|i| &i.record.group));
    names.sort();
    names.dedup();
    Json(names.into_iter().map(|name| state.seen(name, now)).collect())
}

/// With what was declared: the control plane compares it with its journal.
async fn inventory(State(keeper): State<Arc<Keeper>>) -> Json<Vec<GroupHeld>> {
    let state = keeper.state();
    let now = Instant::now();
    let mut names: Vec<&GroupName> = state.groups.keys().collect();
    names.extend(state.instances.values().map(|i| &i.record.group));
    names.sort();
    names.dedup();
    let spec = |name: &GroupName| state.groups.get(name).and_then(|g| g.declared()).map(|d| d.spec.clone());
    Json(names.into_iter().map(|name| GroupHeld { seen: state.seen(name, now), spec: spec(name) }).collect())
}

#[derive(serde::Deserialize)]
struct OfService {
    service: Option<ServiceName>,
}

async fn log_files(State(keeper): State<Arc<Keeper>>, Query(of): Query<OfService>) -> Answer<Vec<LogFile>> {
    let list = move || {
        let listed = logs(&keeper.layout);
        let all = listed.into_iter().filter_map(|log| {
            let instance = InstanceId::new(log.id).ok()?;
            let is_of = of.service.is_none() || instance.service() == of.service;
            let lives = lives(&keeper, &instance);
            is_of.then_some(LogFile { group: instance.group()?, instance, lives, bytes: log.bytes, written: log.written })
        });
        all.collect::<Vec<_>>()
    };
    let all = tokio::task::spawn_blocking(list).await.map_err(|e| Refusal(Fault::ours("keeper", e.to_string())))?;
    Ok(Json(all))
}

async fn log_part(State(keeper): State<Arc<Keeper>>, Path(text): Path<String>, Query(query): Query<LogQuery>) -> Answer<LogPart> {
    let instance = InstanceId::new(text).map_err(|e| Refusal(Fault::yours("bad-name", e.to_string())))?;
    let read = move || {
        // Asked first: what it printed before it ended is then read.
        let lives = lives(&keeper, &instance);
        log_reader::part(&keeper.layout.log(&instance), &instance, &query, lives)
    };
    Ok(Json(tokio::task::spawn_blocking(read).await.map_err(|e| Refusal(Fault::ours("keeper", e.to_string())))??))
}

/// Whether its program may still print.
fn lives(keeper: &Keeper, instance: &InstanceId) -> bool {
    keeper.state().instances.get(instance).is_some_and(|one| one.ended.is_none())
}

async fn declare(
    State(keeper): State<Arc<Keeper>>,
    Path(text): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Answer<serde_json::Value> {
    let name = name(text)?;
    let body = body.map_err(|e| Refusal(Fault::yours("bad-request", format!("{name}: {e}"))))?;
    let call: DeclareGroup = serde_json::from_slice(&body).map_err(|e| Refusal(Fault::yours("bad-request", format!("{name}: {e}"))))?;
    if call.spec.group != name {
        return Err(Refusal(Fault::yours("bad-request", format!("the path names {name}, the body {}", call.spec.group))));
    }
    let work = move || take(&keeper, call);
    tokio::task::spawn_blocking(work).await.map_err(|e| Refusal(Fault::ours("keeper", e.to_string())))??;
    Ok(Json(serde_json::json!({})))
}

/// On the disk before it is answered. Declarations come one by one, but nobody who looks waits for the disk.
pub fn take(keeper: &Keeper, call: DeclareGroup) -> Result<(), Fault> {
    let _one_by_one = keeper.declaring();
    let name = call.spec.group.clone();
    let corrupt = |why: &str| Err(Fault::world("corrupt-state", format!("{name}: {why}")).again(false));
    let known = keeper.state().groups.get(&name).map(|group| match &group.held {
        Held::Good(declared) => (Some(declared.clone()), None),
        Held::Lost { why, kept } => (kept.clone(), Some(why.clone())),
    });
    let (held, lost) = match known {
        Some(known) => known,
        // The reconciler may not have read the files yet.
        None => match state_files::read_json::<Declared>(&keeper.layout.group(&name)) {
            state_files::Read::Good(declared) => (Some(declared), None),
            state_files::Read::Missing => {
                let kept = keeper.state().kept(&name);
                let lost = kept.is_some().then(|| "its file is missing".to_string());
                (kept, lost)
            }
            state_files::Read::Bad(why) => (keeper.state().kept(&name), Some(why)),
        },
    };
    if let (None, Some(why), DesiredGroup::Run { .. }) = (&held, &lost, &call.spec.desired) {
        // It may have been a tombstone.
        return corrupt(why);
    }
    // What is known of a lost one may be less than what was declared: only what contradicts it is refused.
    if declared::judge(held.as_ref(), call.stamp, &call.spec)? == Take::Same && lost.is_none() {
        return Ok(());
    }
    let new = Declared { stamp: call.stamp, spec: call.spec };
    state_files::write_json(&keeper.layout.group(&name), &new)?;
    // A group that is not held yet is read from the file, with what is remembered of it.
    if let Some(group) = keeper.state().groups.get_mut(&name) {
        group.mark = Mark::of(&keeper.layout.group(&name));
        group.held = Held::Good(new);
    } else {
        group_files::read_group(keeper, &mut keeper.state(), &name);
    }
    keeper.nudge();
    Ok(())
}
