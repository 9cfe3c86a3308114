//! Rollouts: seen by who may see each of their services, commanded by who may deploy each of them.

use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use api::control::{CommandRequest, RolloutCommanded};
use axum::extract::State;
use json_http::{Json, Name, Out, Params, Refusal};
use model::{RolloutId, RolloutSeen, ServiceName};
use serde::Deserialize;
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;

/// Each has the plan of all its services.
const ROLLOUTS_MAX: u64 = 200;

#[derive(Deserialize)]
pub struct Limit {
    limit: Option<u64>,
}

fn services(seen: &RolloutSeen) -> impl Iterator<Item = &ServiceName> {
    seen.plan.tiers.iter().flat_map(|(_, services)| services).map(|(spec, _)| &spec.name)
}

pub async fn list(State(app): Shared, caller: Caller, Params(of): Params<Limit>) -> Answer<Vec<RolloutSeen>> {
    let limit = of.limit.unwrap_or(20).min(ROLLOUTS_MAX);
    let mut all = blocking(move || app.database.browse(|r| r.rollouts(limit))).await?;
    caller.services();
    // A plan of several services is shown to callers who may see all of them.
    all.retain(|seen| services(seen).all(|service| caller.sees(service)));
    Ok(Out(all))
}

pub async fn one(State(app): Shared, caller: Caller, Name(id): Name<RolloutId>) -> Answer<RolloutSeen> {
    let seen = blocking(move || app.database.read(|r| r.rollout_seen(&id))?.ok_or_else(|| journal::no_rollout(&id))).await?;
    caller.services();
    services(&seen).try_for_each(|service| caller.must_see(service))?;
    Ok(Out(seen))
}

pub async fn command(
    State(app): Shared,
    caller: Caller,
    Name(id): Name<RolloutId>,
    Json(request): Json<CommandRequest>,
) -> Answer<RolloutCommanded> {
    Ok(Out(blocking(move || crate::rollouts::command(&app, &caller, &id, request.command)).await?))
}
