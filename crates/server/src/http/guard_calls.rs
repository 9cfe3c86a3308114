//! Calls on the gate: what it objects to of what runs, its rules, its waivers, and what rules would have done.

use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::gate;
use api::guard::{GuardSeen, ReplayAnswer, ReplayRequest, RulesSeen, WaiveRequest, WaiverRow};
use axum::extract::State;
use json_http::{Json, Out, Refusal};
use model::ServiceName;
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;

/// What is no service's, such as a recipe, is shown to callers for all services.
pub async fn seen(State(app): Shared, caller: Caller) -> Answer<GuardSeen> {
    let mut seen = blocking(move || Ok(GuardSeen::clone(&*gate::seen(&app)?))).await?;
    if let Some(own) = caller.services() {
        let is_own = |kind: &str, id: &str| kind == "service" && ServiceName::new(id).is_ok_and(|service| own.contains(&service));
        seen.gate.objections.retain(|o| is_own(&o.kind, &o.resource));
        seen.gate.denied = seen.gate.fault.is_some() || seen.gate.objections.iter().any(|o| o.disposition == "denied");
        seen.break_glass.iter_mut().for_each(|one| one.services.retain(|service| own.contains(service)));
        seen.break_glass.retain(|one| !one.services.is_empty());
    }
    Ok(Out(seen))
}

pub async fn rules(State(app): Shared) -> Answer<RulesSeen> {
    Ok(Out(blocking(move || gate::rules(&app.layout)).await?))
}

pub async fn waivers(State(app): Shared, caller: Caller) -> Answer<Vec<WaiverRow>> {
    Ok(Out(blocking(move || gate::waivers(&app, &caller)).await?))
}

pub async fn waive(State(app): Shared, caller: Caller, Json(request): Json<WaiveRequest>) -> Answer<WaiverRow> {
    Ok(Out(blocking(move || gate::waive(&app, &caller, &request)).await?))
}

pub async fn replay(State(app): Shared, Json(request): Json<ReplayRequest>) -> Answer<ReplayAnswer> {
    Ok(Out(blocking(move || gate::replay(&app, &request)).await?))
}
