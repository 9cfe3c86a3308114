//! The API's paths: from HTTP to calls and back. It decides nothing.

mod events;
mod extract;
mod guard;
pub mod routes;

use crate::access::Caller;
use crate::app::App;
use crate::{adopt, blocking, deploy, gc, lists, logs, status, steps, upkeep};
use api::control::{CommandRequest, DeployRequest, RollbackRequest, StepRequest};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use extract::{Json, Name, Names, Params};
use model::{EventLine, Fault, ImageName, InstanceId, RolloutId, RolloutSeen, RotationId, ServiceName};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;

/// A fault on its way out.
pub struct Refusal(pub Fault);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Refusal(fault)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(api::status_of(&self.0)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let told = axum::Extension(guard::Told(self.0.clone()));
        (status, told, Out(self.0)).into_response()
    }
}

/// A JSON body on its way out.
pub struct Out<T>(pub T);

impl<T: Serialize> IntoResponse for Out<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("an answer could not be written: {e}")).into_response(),
        }
    }
}

/// Every call, behind the guard.
pub fn router(app: &Arc<App>) -> Router {
    routes::router()
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app.clone())
}

async fn unknown(request: Request<Body>) -> Refusal {
    let told = format!("there is no {}", shown(request.uri().path()));
    Refusal(Fault::yours("not-found", told).hint("the paths begin with /v1/; is the other side of another version?"))
}

async fn wrong_method(request: Request<Body>) -> Refusal {
    let told = format!("{} is not for {}", shown(request.uri().path()), request.method());
    Refusal(Fault::yours("wrong-method", told).hint("reads are GET, everything else is POST"))
}

/// A path may be long and is somebody else's text.
fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}

async fn health(State(app): Shared, caller: Caller) -> Out<api::paths::Health> {
    let mut health = api::paths::Health::of("serve", env!("CARGO_PKG_VERSION"));
    health.troubles = app.troubles(|service| is_for(&caller, service));
    Out(health)
}

/// The request with its service file held to the reader's own rules: what no file could say, no request may ask for.
fn checked(request: DeployRequest) -> Result<DeployRequest, Fault> {
    let file = config::checked(&request.file).map_err(|wrong| Fault { code: "bad-service-file".to_string(), ..wrong.into() })?;
    Ok(DeployRequest { file, ..request })
}

async fn plan(State(app): Shared, caller: Caller, Json(request): Json<DeployRequest>) -> Answer<api::control::PlanAnswer> {
    Ok(Out(blocking(move || deploy::plan(&app, &caller, &checked(request)?)).await?))
}

async fn deploy(State(app): Shared, caller: Caller, Json(request): Json<DeployRequest>) -> Answer<api::control::Opened> {
    let deploy = move || {
        let request = checked(request)?;
        let opened = deploy::deploy(&app, &caller, &request)?;
        upkeep::learn(&app, &request.file, &caller);
        Ok(opened)
    };
    Ok(Out(blocking(deploy).await?))
}

async fn rollback(State(app): Shared, caller: Caller, Json(request): Json<RollbackRequest>) -> Answer<api::control::Opened> {
    Ok(Out(blocking(move || deploy::rollback(&app, &caller, &request)).await?))
}

async fn services(State(app): Shared, caller: Caller) -> Answer<Vec<api::control::ServiceStatus>> {
    caller.services();
    let mut all = blocking(move || status::services(&app)).await?;
    all.retain(|status| caller.sees(&status.service));
    Ok(Out(all))
}

async fn service(State(app): Shared, Name(name): Name<ServiceName>) -> Answer<api::control::ServiceStatus> {
    Ok(Out(blocking(move || status::service(&app, &name)).await?))
}

#[derive(Deserialize)]
struct OfService {
    service: Option<ServiceName>,
    limit: Option<u64>,
}

/// Each rotation that is listed is folded; nobody reads a thousand of them.
const ROTATIONS_MAX: u64 = 1_000;

async fn rotations(State(app): Shared, caller: Caller, Params(of): Params<OfService>) -> Answer<Vec<api::control::RotationStatus>> {
    let limit = of.limit.unwrap_or(50).min(ROTATIONS_MAX);
    let list = move || {
        let services: Vec<Option<ServiceName>> = match (&of.service, caller.services()) {
            (Some(service), _) => {
                caller.must_see(service)?;
                vec![of.service]
            }
            (None, None) => vec![None],
            (None, Some(services)) => services.iter().cloned().map(Some).collect(),
        };
        let mut all = Vec::new();
        for service in &services {
            all.extend(status::rotations(&app, service.as_ref(), limit)?);
        }
        if services.len() > 1 {
            all.sort_by_key(|r| std::cmp::Reverse(r.opened));
            all.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        }
        Ok(all)
    };
    Ok(Out(blocking(list).await?))
}

async fn rotation(State(app): Shared, Name(id): Name<RotationId>) -> Answer<api::control::RotationStatus> {
    Ok(Out(blocking(move || status::rotation(&app, &id)).await?))
}

#[derive(Deserialize)]
struct Since {
    #[serde(default)]
    from: u64,
}

async fn rotation_events(State(app): Shared, Name(id): Name<RotationId>, Params(p): Params<Since>) -> Answer<Vec<EventLine>> {
    let lines = blocking(move || {
        app.database.read(|r| match r.rotation(&id)? {
            Some(_) => r.lines(&id, p.from),
            None => Err(journal::no_rotation(&id)),
        })
    });
    Ok(Out(lines.await?))
}

async fn ask(
    State(app): Shared,
    caller: Caller,
    Name(id): Name<RotationId>,
    Json(request): Json<CommandRequest>,
) -> Answer<serde_json::Value> {
    blocking(move || app.database.write(|tx| tx.command(&id, request.command, &caller.signed(), app.now()))).await?;
    Ok(Out(serde_json::json!({})))
}

async fn rollout(State(app): Shared, caller: Caller, Name(id): Name<RolloutId>) -> Answer<RolloutSeen> {
    let seen = blocking(move || {
        app.database.read(|r| r.rollout_seen(&id))?.ok_or_else(|| Fault::yours("not-found", format!("there is no rollout {id}")))
    });
    let seen = seen.await?;
    // A plan of several services is told to who is for all of them.
    caller.services();
    seen.plan.tiers.iter().flat_map(|(_, services)| services).try_for_each(|(spec, _)| caller.must_see(&spec.name))?;
    Ok(Out(seen))
}

async fn releases(State(app): Shared, caller: Caller, Params(of): Params<OfService>) -> Answer<Vec<api::control::ReleaseRow>> {
    of.service.as_ref().map_or(Ok(()), |service| caller.must_see(service))?;
    caller.services();
    let mut all = blocking(move || lists::releases(&app, of.service.as_ref())).await?;
    all.retain(|row| caller.sees(&row.release.service));
    Ok(Out(all))
}

async fn images(State(app): Shared) -> Answer<Vec<api::control::ImageRow>> {
    Ok(Out(blocking(move || lists::images(&app)).await?))
}

async fn image_upkeep(State(app): Shared, caller: Caller) -> Answer<Vec<api::control::ImageUpkeep>> {
    Ok(Out(blocking(move || Ok(upkeep::Shown::to(&app, &caller)?.upkeep(upkeep::all(&app)?))).await?))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn image_events(State(app): Shared, Params(p): Params<Since>) -> Answer<Vec<api::control::ImageEvent>> {
    Ok(Out(blocking(move || upkeep::events(&app, model::Time(p.from))).await?))
}

/// What is of no one service concerns who is for all of them.
fn is_for(caller: &Caller, service: Option<&ServiceName>) -> bool {
    service.map_or(caller.services().is_none(), |service| caller.sees(service))
}

async fn alarms(State(app): Shared, caller: Caller) -> Out<Vec<api::fleet::Alarm>> {
    let mut all = crate::fleet::alarms(&app).await;
    caller.services();
    all.retain(|alarm| is_for(&caller, alarm.service.as_ref()));
    crate::fleet::tell_recovery(&app, &mut all).await;
    Out(all)
}

async fn fleet_events(State(app): Shared, caller: Caller, Params(p): Params<After>) -> Answer<Vec<api::fleet::Happened>> {
    let mut all = crate::fleet::happened(&app, p.after).await?;
    caller.services();
    all.retain(|happened| is_for(&caller, happened.service.as_ref()));
    Ok(Out(all))
}

async fn image_history(State(app): Shared, caller: Caller, Name(name): Name<ImageName>) -> Answer<api::control::ImageHistory> {
    caller.about(name.as_str());
    Ok(Out(blocking(move || upkeep::Shown::to(&app, &caller)?.history(upkeep::history(&app, &name)?)).await?))
}

async fn image_rebuild(
    State(app): Shared,
    caller: Caller,
    Name(name): Name<ImageName>,
    Json(request): Json<api::control::RebuildRequest>,
) -> Answer<serde_json::Value> {
    caller.about(name.as_str());
    blocking(move || upkeep::rebuild(&app, caller.name(), &name, &request)).await?;
    Ok(Out(serde_json::json!({})))
}

async fn image_revoke(
    State(app): Shared,
    caller: Caller,
    Json(request): Json<api::control::RevokeRequest>,
) -> Answer<api::control::RevokeAnswer> {
    caller.about(&request.digest);
    // It stands in the image's life, in events and in alarms.
    model::text::line(&request.why).map_err(|wrong| Fault { code: "bad-reason".to_string(), ..wrong.into() })?;
    if request.why.trim().is_empty() {
        return Err(Fault::yours("bad-reason", "no reason is given")
            .hint("say why with --why; it stands in the image's history and alarms")
            .into());
    }
    Ok(Out(blocking(move || upkeep::revoke(&app, caller.name(), &request)).await?))
}

async fn instances(State(app): Shared, caller: Caller, Params(of): Params<OfService>) -> Answer<Vec<api::control::InstanceRow>> {
    of.service.as_ref().map_or(Ok(()), |service| caller.must_see(service))?;
    caller.services();
    let mut all = blocking(move || lists::instances(&app, of.service.as_ref())).await?;
    all.retain(|row| caller.sees(&row.service));
    Ok(Out(all))
}

async fn log_list(State(app): Shared, Name(service): Name<ServiceName>) -> Answer<Vec<api::logs::LogFile>> {
    Ok(Out(logs::list(&app, &service).await?))
}

async fn log_part(
    State(app): Shared,
    Names(service, instance): Names<ServiceName, InstanceId>,
    Params(query): Params<api::logs::LogQuery>,
) -> Answer<api::logs::LogPart> {
    Ok(Out(logs::part(&app, &service, &instance, &query).await?))
}

async fn step_check(State(app): Shared, caller: Caller, Json(request): Json<StepRequest>) -> Answer<api::control::StepAnswer> {
    Ok(Out(blocking(move || steps::check(&app, &caller, &request)).await?))
}

async fn step_run(State(app): Shared, caller: Caller, Json(request): Json<StepRequest>) -> Answer<api::control::StepAnswer> {
    Ok(Out(blocking(move || steps::run(&app, &caller, &request)).await?))
}

async fn sweep(State(app): Shared) -> Answer<api::control::GcAnswer> {
    Ok(Out(blocking(move || gc::gc(&app)).await?))
}

async fn adoptions(State(app): Shared) -> Answer<Vec<api::control::Adoption>> {
    Ok(Out(blocking(move || adopt::plan(&app)).await?))
}

async fn take_over(
    State(app): Shared,
    caller: Caller,
    Json(request): Json<api::control::AdoptRequest>,
) -> Answer<Vec<api::control::Adoption>> {
    Ok(Out(blocking(move || adopt::adopt(&app, &caller.signed(), &request)).await?))
}

async fn policy(State(app): Shared) -> Answer<model::access::HostPolicy> {
    Ok(Out(blocking(move || app.access.policy()).await?))
}

async fn tokens(State(app): Shared) -> Answer<Vec<api::control::TokenRow>> {
    Ok(Out(blocking(move || app.access.tokens().list()).await?))
}

async fn token_create(
    State(app): Shared,
    caller: Caller,
    Json(request): Json<api::control::TokenRequest>,
) -> Answer<api::control::TokenMade> {
    caller.about(&request.name);
    Ok(Out(blocking(move || app.access.tokens().create(&request, caller.name(), app.now())).await?))
}

async fn token_revoke(State(app): Shared, caller: Caller, Json(request): Json<api::control::TokenRevoke>) -> Answer<serde_json::Value> {
    caller.about(&request.name);
    blocking(move || app.access.tokens().revoke(&request.name)).await?;
    Ok(Out(serde_json::json!({})))
}

#[derive(Deserialize)]
struct Lines {
    #[serde(default = "Lines::limit")]
    limit: usize,
    /// Refusals alone.
    #[serde(default)]
    refused: bool,
}

impl Lines {
    fn limit() -> usize {
        100
    }
}

async fn audit(State(app): Shared, Params(p): Params<Lines>) -> Answer<Vec<api::control::AuditLine>> {
    Ok(Out(blocking(move || app.access.audit.read(p.limit, p.refused)).await?))
}
