//! Calls on commands inside servers.

use super::service::Service;
use crate::access::Caller;
use crate::app::App;
use crate::exec;
use api::exec::{ExecBegun, ExecInput, ExecOutput, ExecRequest, ExecSeen, ExecTaken};
use axum::extract::State;
use json_http::{Json, Names, Out, Params, Refusal};
use model::{ExecId, ServiceName};
use serde::Deserialize;
use serde_json::Value;
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;

#[derive(Deserialize)]
pub struct After {
    #[serde(default)]
    after: u64,
}

pub async fn begin(State(app): Shared, caller: Caller, Service(service): Service, Json(request): Json<ExecRequest>) -> Answer<ExecBegun> {
    Ok(Out(exec::begin(&app, &caller, &service, request).await?))
}

pub async fn input(
    State(app): Shared,
    caller: Caller,
    Service(service): Service,
    Names(_, session): Names<ServiceName, ExecId>,
    Json(more): Json<ExecInput>,
) -> Answer<ExecTaken> {
    Ok(Out(exec::input(&app, &caller, &service, &session, &more).await?))
}

pub async fn output(
    State(app): Shared,
    caller: Caller,
    Service(service): Service,
    Names(_, session): Names<ServiceName, ExecId>,
    Params(after): Params<After>,
) -> Answer<ExecOutput> {
    Ok(Out(exec::output(&app, &caller, &service, &session, after.after).await?))
}

pub async fn list(State(app): Shared, caller: Caller) -> Answer<Vec<ExecSeen>> {
    Ok(Out(exec::list(&app, &caller).await?))
}

pub async fn stop(
    State(app): Shared,
    caller: Caller,
    Service(service): Service,
    Names(_, session): Names<ServiceName, ExecId>,
) -> Answer<Value> {
    Ok(Out(exec::stop(&app, &caller, &service, &session).await?))
}
