//! Calls on runs.

use super::service::Service;
use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::runs;
use api::runs::{RunRequest, RunSeen, RunStopRequest};
use axum::extract::State;
use json_http::{Json, Name, Out, Params, Refusal};
use model::RunId;
use serde::Deserialize;
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;

const LIMIT: u64 = 20;
const LIMIT_MAX: u64 = 1_000;

#[derive(Deserialize)]
pub struct Limit {
    limit: Option<u64>,
}

impl Limit {
    pub fn get(&self) -> u64 {
        self.limit.unwrap_or(LIMIT).min(LIMIT_MAX)
    }
}

pub async fn begin(State(app): Shared, caller: Caller, Service(service): Service, Json(request): Json<RunRequest>) -> Answer<RunSeen> {
    Ok(Out(blocking(move || runs::begin(&app, &caller, &service, &request)).await?))
}

pub async fn stop(State(app): Shared, caller: Caller, Name(id): Name<RunId>, Json(request): Json<RunStopRequest>) -> Answer<RunSeen> {
    Ok(Out(blocking(move || runs::stop(&app, &caller, &id, request)).await?))
}

pub async fn one(State(app): Shared, Name(id): Name<RunId>) -> Answer<RunSeen> {
    Ok(Out(blocking(move || runs::one(&app, &id)).await?))
}

pub async fn of_service(State(app): Shared, Service(service): Service, Params(limit): Params<Limit>) -> Answer<Vec<RunSeen>> {
    Ok(Out(blocking(move || runs::of_service(&app, &service, limit.get())).await?))
}

pub async fn all(State(app): Shared, caller: Caller, Params(limit): Params<Limit>) -> Answer<Vec<RunSeen>> {
    caller.services();
    let mut all = blocking(move || runs::all(&app, LIMIT_MAX)).await?;
    all.retain(|seen| caller.sees(&seen.run.service()));
    all.truncate(usize::try_from(limit.get()).unwrap_or(usize::MAX));
    Ok(Out(all))
}
