//! Calls on jobs.

use super::runs::Limit;
use super::service::Service;
use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::jobs;
use api::jobs::{JobHistory, JobSeen};
use api::runs::RunSeen;
use axum::extract::State;
use json_http::{Names, Out, Params, Refusal};
use model::{JobName, ServiceName};
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;
type OfJob = Names<ServiceName, JobName>;

pub async fn all(State(app): Shared, caller: Caller) -> Answer<Vec<JobSeen>> {
    caller.services();
    let mut all = blocking(move || jobs::all(&app)).await?;
    all.retain(|seen| caller.sees(&seen.service));
    Ok(Out(all))
}

pub async fn of_service(State(app): Shared, Service(service): Service) -> Answer<Vec<JobSeen>> {
    Ok(Out(blocking(move || jobs::of_service(&app, &service)).await?))
}

pub async fn history(
    State(app): Shared,
    Service(service): Service,
    Names(_, job): OfJob,
    Params(limit): Params<Limit>,
) -> Answer<JobHistory> {
    Ok(Out(blocking(move || jobs::history(&app, &service, &job, limit.get())).await?))
}

pub async fn run(State(app): Shared, caller: Caller, Service(service): Service, Names(_, job): OfJob) -> Answer<RunSeen> {
    Ok(Out(blocking(move || jobs::start(&app, &caller, &service, &job)).await?))
}

pub async fn pause(State(app): Shared, caller: Caller, Service(service): Service, Names(_, job): OfJob) -> Answer<JobSeen> {
    Ok(Out(blocking(move || jobs::pause(&app, &caller, &service, &job)).await?))
}

pub async fn resume(State(app): Shared, caller: Caller, Service(service): Service, Names(_, job): OfJob) -> Answer<JobSeen> {
    Ok(Out(blocking(move || jobs::resume(&app, &caller, &service, &job)).await?))
}
