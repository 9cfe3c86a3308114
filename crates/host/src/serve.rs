//! The keeper's socket: declare and observe. Only root can connect (mode 0600).

use crate::declared::{self, Declared, Take};
use crate::keeper::Keeper;
use crate::log_list::logs;
use crate::state::Held;
use crate::state_files;
use crate::{alarms, exec_calls, group_files, log_reader, one_shot, termination, usage};
use api::host::{DeclareGroup, HostCounters, InstanceUsage, Killed, USAGE};
use api::logs::{LOGS, LogFile, LogPart, LogQuery};
use api::{fleet, paths};
use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use disk::state::Mark;
use json_http::{Json, Name, Out, Params, Refusal, Room};
use model::{DesiredGroup, Fault, GroupHeld, GroupName, GroupSeen, InstanceId, ServiceName};
use std::sync::Arc;
use std::time::Instant;
use tokio::net::UnixListener;

/// At most this many concurrent calls.
const CONNECTIONS_MAX: usize = 1_024;

type Answer<T> = Result<Out<T>, Refusal>;
type Shared = State<Arc<Keeper>>;

/// Serves until the future is dropped.
pub async fn serve(listener: UnixListener, keeper: Arc<Keeper>) {
    let one = format!("{}/{{group}}", paths::GROUPS);
    let router = Router::new()
        .route(paths::HEALTH, get(health))
        .route(paths::COUNTERS, get(counters))
        .route(fleet::ALARMS, get(alarms_of))
        .route(fleet::HAPPENED, get(happened))
        .route(paths::GROUPS, get(groups))
        .route(&one, get(group).put(declare))
        .route(&format!("{one}/kill"), post(kill))
        .route(paths::INVENTORY, get(inventory))
        .route(USAGE, get(usage_of))
        .merge(exec_calls::router())
        .route(LOGS, get(log_files))
        .route(&format!("{LOGS}/{{instance}}"), get(log_part));
    let router = json_http::with_fallbacks(router).with_state(keeper);
    json_http::serve(listener, router, Room::new(CONNECTIONS_MAX, CONNECTIONS_MAX), "the keeper's socket").await;
}

async fn health() -> Out<paths::Health> {
    Out(paths::Health::of("host", env!("CARGO_PKG_VERSION")))
}

async fn counters(State(keeper): Shared) -> Out<HostCounters> {
    Out(keeper.counters.now())
}

async fn alarms_of(State(keeper): Shared) -> Out<Vec<fleet::Alarm>> {
    Out(alarms::alarms(&keeper))
}

#[derive(serde::Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn happened(State(keeper): Shared, Params(after): Params<After>) -> Out<Vec<fleet::Happened>> {
    Out(keeper.history.after(after.after))
}

async fn group(State(keeper): Shared, Name(name): Name<GroupName>) -> Answer<GroupSeen> {
    Ok(Out(keeper.state().seen(&name, Instant::now())))
}

async fn groups(State(keeper): Shared) -> Out<Vec<GroupSeen>> {
    let state = keeper.state();
    let now = Instant::now();
    let mut names: Vec<&GroupName> = state.groups.keys().collect();
    names.extend(state.instances.values().map(|i| &i.record.group));
    names.sort();
    names.dedup();
    Out(names.into_iter().map(|name| state.seen(name, now)).collect())
}

/// With what was declared: the control plane compares it with its journal.
async fn inventory(State(keeper): Shared) -> Out<Vec<GroupHeld>> {
    let state = keeper.state();
    let now = Instant::now();
    let mut names: Vec<&GroupName> = state.groups.keys().collect();
    names.extend(state.instances.values().map(|i| &i.record.group));
    names.sort();
    names.dedup();
    let spec = |name: &GroupName| state.groups.get(name).and_then(|g| g.declared()).map(|d| d.spec.clone());
    Out(names.into_iter().map(|name| GroupHeld { seen: state.seen(name, now), spec: spec(name) }).collect())
}

#[derive(serde::Deserialize)]
struct OfService {
    service: Option<ServiceName>,
}

async fn usage_of(State(keeper): Shared, Params(of): Params<OfService>) -> Answer<Vec<InstanceUsage>> {
    let read = move || usage::usage(&keeper, of.service.as_ref());
    Ok(Out(tokio::task::spawn_blocking(read).await.map_err(|e| Refusal(Fault::ours("keeper", e.to_string())))?))
}

async fn log_files(State(keeper): Shared, Params(of): Params<OfService>) -> Answer<Vec<LogFile>> {
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
    Ok(Out(all))
}

async fn log_part(State(keeper): Shared, Name(instance): Name<InstanceId>, Params(query): Params<LogQuery>) -> Answer<LogPart> {
    let read = move || {
        // Checked first, so that everything it printed before its exit is read.
        let lives = lives(&keeper, &instance);
        log_reader::part(&keeper.layout.log(&instance), &instance, &query, lives)
    };
    Ok(Out(tokio::task::spawn_blocking(read).await.map_err(|e| Refusal(Fault::ours("keeper", e.to_string())))??))
}

/// Whether its program may still print.
fn lives(keeper: &Keeper, instance: &InstanceId) -> bool {
    keeper.state().instances.get(instance).is_some_and(|one| one.ended.is_none())
}

async fn declare(State(keeper): Shared, Name(name): Name<GroupName>, Json(call): Json<DeclareGroup>) -> Answer<serde_json::Value> {
    if call.spec.group != name {
        return Err(Refusal(Fault::yours("bad-request", format!("the path names {name}, the body {}", call.spec.group))));
    }
    let work = move || take(&keeper, call);
    tokio::task::spawn_blocking(work).await.map_err(|e| Refusal(Fault::ours("keeper", e.to_string())))??;
    Ok(Out(serde_json::json!({})))
}

/// Kills the one-shots of the group that are ending already, before their drain time is over. It changes no declaration, so it has no stamp.
async fn kill(State(keeper): Shared, Name(name): Name<GroupName>) -> Out<Killed> {
    Out(Killed { killed: termination::kill_ending(&keeper, &name) })
}

/// Written to the disk before the answer. Declarations are serialised, but readers do not wait for the disk.
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
    // What is known of a lost one may be less than what was declared: only a contradiction is refused.
    if declared::judge(held.as_ref(), call.stamp, &call.spec)? == Take::Same && lost.is_none() {
        return Ok(());
    }
    let new = Declared { stamp: call.stamp, spec: call.spec };
    if held.is_none() {
        one_shot::check_in_time(&new, disk::files::now())?;
    }
    state_files::write_json(&keeper.layout.group(&name), &new)?;
    // A group that is not in memory yet is read from its files.
    if let Some(group) = keeper.state().groups.get_mut(&name) {
        group.mark = Mark::of(&keeper.layout.group(&name));
        group.held = Held::Good(new);
    } else {
        group_files::read_group(keeper, &mut keeper.state(), &name);
    }
    keeper.nudge();
    Ok(())
}
