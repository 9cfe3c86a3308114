//! The API's paths: from HTTP to calls and back. It decides nothing.

mod events;
mod extract;

use crate::app::App;
use crate::{adopt, blocking, desk, gc, lists, status, steps, upkeep};
use api::control::{AskRequest, DeployRequest, RollbackRequest, StepRequest};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use extract::{Json, Name, Params};
use model::{EventLine, Fault, ImageName, RolloutId, RolloutSeen, RotationId, ServiceName};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
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
        (status, Out(self.0)).into_response()
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

/// `token`: what every request must carry; None: the socket's mode is the guard.
pub fn router(app: &Arc<App>, token: Option<&str>) -> Router {
    let mut router = Router::new()
        .route("/v1/health", get(health))
        .route("/v1/plan", post(plan))
        .route("/v1/deploy", post(deploy))
        .route("/v1/rollback", post(rollback))
        .route("/v1/services", get(services))
        .route("/v1/services/{service}", get(service))
        .route("/v1/rotations", get(rotations))
        .route("/v1/rotations/{rotation}", get(rotation))
        .route("/v1/rotations/{rotation}/events", get(rotation_events))
        .route("/v1/rotations/{rotation}/ask", post(ask))
        .route("/v1/rollouts/{rollout}", get(rollout))
        .route("/v1/events", get(events::events))
        .route("/v1/releases", get(releases))
        .route("/v1/images", get(images))
        .route("/v1/images/revoke", post(image_revoke))
        .route("/v1/images/upkeep", get(image_upkeep))
        .route("/v1/images/events", get(image_events))
        .route(api::fleet::ALARMS, get(alarms))
        .route("/v1/fleet/events", get(fleet_events))
        .route("/v1/images/{image}/history", get(image_history))
        .route("/v1/images/{image}/rebuild", post(image_rebuild))
        .route("/v1/instances", get(instances))
        .route("/v1/steps/check", post(step_check))
        .route("/v1/steps/run", post(step_run))
        .route("/v1/gc", post(sweep))
        .route("/v1/adoptions", get(adoptions))
        .route("/v1/adopt", post(take_over))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app.clone());
    if let Some(token) = token {
        let wanted: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        router = router.layer(middleware::from_fn(move |request: Request, next: Next| guard(wanted, request, next)));
    }
    router
}

/// Both sides are hashed first, so neither the time nor the length of the comparison tells anything of the token.
async fn guard(wanted: [u8; 32], request: Request, next: Next) -> Response {
    let shown = request.headers().get(header::AUTHORIZATION).and_then(|v| v.as_bytes().strip_prefix(b"Bearer ")).unwrap_or_default();
    let shown: [u8; 32] = Sha256::digest(shown).into();
    let differs = shown.iter().zip(&wanted).fold(0, |differs, (a, b)| differs | (a ^ b));
    if std::hint::black_box(differs) != 0 {
        let fault = Fault::yours("unauthorized", "this address needs the token").hint("send `Authorization: Bearer TOKEN`");
        return Refusal(fault).into_response();
    }
    next.run(request).await
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

async fn health(State(app): Shared) -> Out<api::paths::Health> {
    let mut health = api::paths::Health::of("serve", env!("CARGO_PKG_VERSION"));
    health.troubles = app.troubles();
    Out(health)
}

/// The request with its service file held to the reader's own rules: what no file could say, no request may ask for.
fn checked(request: DeployRequest) -> Result<DeployRequest, Fault> {
    let file = config::checked(&request.file).map_err(|wrong| Fault { code: "bad-service-file".to_string(), ..wrong.into() })?;
    Ok(DeployRequest { file, ..request })
}

async fn plan(State(app): Shared, Json(request): Json<DeployRequest>) -> Answer<api::control::PlanAnswer> {
    Ok(Out(blocking(move || desk::plan(&app, &checked(request)?)).await?))
}

async fn deploy(State(app): Shared, Json(request): Json<DeployRequest>) -> Answer<api::control::Opened> {
    let deploy = move || {
        let request = checked(request)?;
        let opened = desk::deploy(&app, &request)?;
        upkeep::learn(&app, &request.file, &request.by);
        Ok(opened)
    };
    Ok(Out(blocking(deploy).await?))
}

async fn rollback(State(app): Shared, Json(request): Json<RollbackRequest>) -> Answer<api::control::Opened> {
    Ok(Out(blocking(move || desk::rollback(&app, &request)).await?))
}

async fn services(State(app): Shared) -> Answer<Vec<api::control::ServiceStatus>> {
    Ok(Out(blocking(move || status::services(&app)).await?))
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

async fn rotations(State(app): Shared, Params(of): Params<OfService>) -> Answer<Vec<api::control::RotationStatus>> {
    let limit = of.limit.unwrap_or(50).min(ROTATIONS_MAX);
    Ok(Out(blocking(move || status::rotations(&app, of.service.as_ref(), limit)).await?))
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
        app.store.read(|r| match r.rotation(&id)? {
            Some(_) => r.lines(&id, p.from),
            None => Err(store::no_rotation(&id)),
        })
    });
    Ok(Out(lines.await?))
}

async fn ask(State(app): Shared, Name(id): Name<RotationId>, Json(request): Json<AskRequest>) -> Answer<serde_json::Value> {
    blocking(move || app.store.write(|tx| tx.ask(&id, request.ask, &request.by, app.now()))).await?;
    Ok(Out(serde_json::json!({})))
}

async fn rollout(State(app): Shared, Name(id): Name<RolloutId>) -> Answer<RolloutSeen> {
    let seen = blocking(move || {
        app.store.read(|r| r.rollout_seen(&id))?.ok_or_else(|| Fault::yours("not-found", format!("there is no rollout {id}")))
    });
    Ok(Out(seen.await?))
}

async fn releases(State(app): Shared, Params(of): Params<OfService>) -> Answer<Vec<api::control::ReleaseRow>> {
    Ok(Out(blocking(move || lists::releases(&app, of.service.as_ref())).await?))
}

async fn images(State(app): Shared) -> Answer<Vec<api::control::ImageRow>> {
    Ok(Out(blocking(move || lists::images(&app)).await?))
}

async fn image_upkeep(State(app): Shared) -> Answer<Vec<api::control::ImageUpkeep>> {
    Ok(Out(blocking(move || upkeep::all(&app)).await?))
}

#[derive(Deserialize)]
struct After {
    #[serde(default)]
    after: u64,
}

async fn image_events(State(app): Shared, Params(p): Params<After>) -> Answer<Vec<api::control::ImageEvent>> {
    Ok(Out(blocking(move || upkeep::events(&app, model::Time(p.after))).await?))
}

async fn alarms(State(app): Shared) -> Out<Vec<api::fleet::Alarm>> {
    Out(crate::fleet::alarms(&app).await)
}

async fn fleet_events(State(app): Shared, Params(p): Params<After>) -> Answer<Vec<api::fleet::Happened>> {
    Ok(Out(crate::fleet::happened(&app, p.after).await?))
}

async fn image_history(State(app): Shared, Name(name): Name<ImageName>) -> Answer<api::control::ImageHistory> {
    Ok(Out(blocking(move || upkeep::history(&app, &name)).await?))
}

async fn image_rebuild(
    State(app): Shared,
    Name(name): Name<ImageName>,
    Json(request): Json<api::control::RebuildRequest>,
) -> Answer<serde_json::Value> {
    blocking(move || upkeep::rebuild(&app, &name, &request)).await?;
    Ok(Out(serde_json::json!({})))
}

async fn image_revoke(State(app): Shared, Json(request): Json<api::control::RevokeRequest>) -> Answer<api::control::RevokeAnswer> {
    Ok(Out(blocking(move || upkeep::revoke(&app, &request)).await?))
}

async fn instances(State(app): Shared, Params(of): Params<OfService>) -> Answer<Vec<api::control::InstanceRow>> {
    Ok(Out(blocking(move || lists::instances(&app, of.service.as_ref())).await?))
}

async fn step_check(State(app): Shared, Json(request): Json<StepRequest>) -> Answer<api::control::StepAnswer> {
    Ok(Out(blocking(move || steps::check(&app, &request)).await?))
}

async fn step_run(State(app): Shared, Json(request): Json<StepRequest>) -> Answer<api::control::StepAnswer> {
    Ok(Out(blocking(move || steps::run(&app, &request)).await?))
}

async fn sweep(State(app): Shared) -> Answer<api::control::GcAnswer> {
    Ok(Out(blocking(move || gc::gc(&app)).await?))
}

async fn adoptions(State(app): Shared) -> Answer<Vec<api::control::Adoption>> {
    Ok(Out(blocking(move || adopt::plan(&app)).await?))
}

async fn take_over(State(app): Shared, Json(request): Json<api::control::AdoptRequest>) -> Answer<Vec<api::control::Adoption>> {
    Ok(Out(blocking(move || adopt::adopt(&app, &request)).await?))
}
