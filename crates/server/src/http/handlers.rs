//! From HTTP to calls and back: one function for each call of `routes`.

use super::service::Service;
use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::{adopt, alarms, deploy, gc, lists, logs, rollback, status, steps, upkeep};
use api::control::{CommandRequest, DeployRequest, RollbackRequest, StepRequest};
use api::host::{InstanceUsage, USAGE};
use axum::extract::State;
use json_http::{Json, Name, Names, Out, Params, Refusal};
use model::{EventLine, Fault, ImageName, InstanceId, RotationId, ServiceFile, ServiceName};
use serde::Deserialize;
use std::sync::Arc;

type Shared = State<Arc<App>>;
type Answer<T> = Result<Out<T>, Refusal>;

pub async fn health(State(app): Shared, caller: Caller) -> Out<api::paths::Health> {
    let mut health = api::paths::Health::of("serve", env!("CARGO_PKG_VERSION"));
    health.troubles = app.troubles(|service| is_for(&caller, service));
    // Where it lies is the administrator's affair, as the rest of what concerns no service.
    health.backup = crate::backup::last(&app.layout).filter(|_| is_for(&caller, None));
    Out(health)
}

/// The request with its service file validated by the rules of files: a request may not ask for what no file could say.
fn checked(request: DeployRequest) -> Result<DeployRequest, Fault> {
    // One that only removes needs no file.
    if request.file == ServiceFile::default() && !request.remove.is_empty() {
        return Ok(request);
    }
    let file = config::checked(&request.file).map_err(|wrong| Fault { code: "bad-service-file".to_string(), ..wrong.into() })?;
    Ok(DeployRequest { file, ..request })
}

pub async fn plan(State(app): Shared, caller: Caller, Json(request): Json<DeployRequest>) -> Answer<api::control::PlanAnswer> {
    Ok(Out(blocking(move || deploy::plan(&app, &caller, &checked(request)?)).await?))
}

pub async fn deploy(State(app): Shared, caller: Caller, Json(request): Json<DeployRequest>) -> Answer<api::control::Opened> {
    let deploy = move || {
        let request = checked(request)?;
        let opened = deploy::deploy(&app, &caller, &request)?;
        upkeep::learn_tiers(&app, &request.file, &caller);
        Ok(opened)
    };
    Ok(Out(blocking(deploy).await?))
}

pub async fn rollback(State(app): Shared, caller: Caller, Json(request): Json<RollbackRequest>) -> Answer<api::control::Opened> {
    let request = RollbackRequest { service: caller.id_of(&request.service)?, ..request };
    Ok(Out(blocking(move || rollback::rollback(&app, &caller, &request)).await?))
}

pub async fn rollback_plan(State(app): Shared, caller: Caller, Json(request): Json<RollbackRequest>) -> Answer<api::control::PlanAnswer> {
    let request = RollbackRequest { service: caller.id_of(&request.service)?, ..request };
    Ok(Out(blocking(move || rollback::plan(&app, &caller, &request)).await?))
}

pub async fn services(State(app): Shared, caller: Caller) -> Answer<Vec<api::control::ServiceStatus>> {
    caller.services();
    let mut all = blocking(move || status::services(&app)).await?;
    all.retain(|status| caller.sees(&status.service));
    Ok(Out(all))
}

pub async fn service(State(app): Shared, Service(name): Service) -> Answer<api::control::ServiceStatus> {
    Ok(Out(blocking(move || status::service(&app, &name)).await?))
}

#[derive(Deserialize)]
pub struct OfService {
    service: Option<ServiceName>,
    limit: Option<u64>,
}

impl OfService {
    /// The id of the service that is asked for, which the caller must see.
    fn id(&self, caller: &Caller) -> Result<Option<ServiceName>, Fault> {
        let id = self.service.as_ref().map(|written| caller.id_of(written)).transpose()?;
        id.as_ref().map_or(Ok(()), |service| caller.must_see(service))?;
        Ok(id)
    }
}

/// Each listed rotation is folded.
const ROTATIONS_MAX: u64 = 1_000;

pub async fn rotations(State(app): Shared, caller: Caller, Params(of): Params<OfService>) -> Answer<Vec<api::control::RotationStatus>> {
    let limit = of.limit.unwrap_or(50).min(ROTATIONS_MAX);
    let list = move || {
        let services: Vec<Option<ServiceName>> = match (of.id(&caller)?, caller.services()) {
            (Some(service), _) => vec![Some(service)],
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

pub async fn rotation(State(app): Shared, Name(id): Name<RotationId>) -> Answer<api::control::RotationStatus> {
    Ok(Out(blocking(move || status::rotation(&app, &id)).await?))
}

#[derive(Deserialize)]
pub struct Since {
    #[serde(default)]
    from: u64,
}

pub async fn rotation_events(State(app): Shared, Name(id): Name<RotationId>, Params(p): Params<Since>) -> Answer<Vec<EventLine>> {
    let lines = blocking(move || {
        app.database.read(|r| match r.rotation(&id)? {
            Some(_) => r.lines(&id, p.from),
            None => Err(journal::no_rotation(&id)),
        })
    });
    Ok(Out(lines.await?))
}

pub async fn command(
    State(app): Shared,
    caller: Caller,
    Name(id): Name<RotationId>,
    Json(request): Json<CommandRequest>,
) -> Answer<serde_json::Value> {
    blocking(move || app.database.write(|tx| tx.command(&id, request.command, &caller.signed(), app.now()))).await?;
    Ok(Out(serde_json::json!({})))
}

pub async fn releases(State(app): Shared, caller: Caller, Params(of): Params<OfService>) -> Answer<Vec<api::control::ReleaseRow>> {
    let service = of.id(&caller)?;
    caller.services();
    let mut all = blocking(move || lists::releases(&app, service.as_ref())).await?;
    all.retain(|row| caller.sees(&row.release.service));
    Ok(Out(all))
}

pub async fn artifacts(State(app): Shared) -> Answer<Vec<api::control::ArtifactRow>> {
    Ok(Out(blocking(move || lists::artifacts(&app)).await?))
}

pub async fn corrupt(State(app): Shared) -> Answer<Vec<Fault>> {
    Ok(Out(blocking(move || app.images.corrupt()).await?))
}

pub async fn images(State(app): Shared) -> Answer<Vec<api::control::ImageRow>> {
    Ok(Out(blocking(move || lists::images(&app)).await?))
}

pub async fn image_upkeep(State(app): Shared, caller: Caller) -> Answer<Vec<api::control::ImageUpkeep>> {
    Ok(Out(blocking(move || Ok(upkeep::Shown::to(&app, &caller)?.upkeep(upkeep::all(&app)?))).await?))
}

#[derive(Deserialize)]
pub struct After {
    #[serde(default)]
    after: u64,
}

pub async fn image_events(State(app): Shared, Params(p): Params<Since>) -> Answer<Vec<api::control::ImageEvent>> {
    Ok(Out(blocking(move || upkeep::events(&app, model::Time(p.from))).await?))
}

/// What concerns no single service is shown to callers for all services.
fn is_for(caller: &Caller, service: Option<&ServiceName>) -> bool {
    service.map_or(caller.services().is_none(), |service| caller.sees(service))
}

pub async fn all_alarms(State(app): Shared, caller: Caller) -> Out<Vec<api::fleet::Alarm>> {
    let mut all = alarms::alarms(&app).await;
    caller.services();
    all.retain(|alarm| is_for(&caller, alarm.service.as_ref()));
    alarms::drop_removed(&app, &mut all).await;
    alarms::note_recovery(&app, &mut all).await;
    Out(all)
}

pub async fn fleet_events(State(app): Shared, caller: Caller, Params(p): Params<After>) -> Answer<Vec<api::fleet::Happened>> {
    let mut all = app.fleet.happened(p.after).await?;
    caller.services();
    all.retain(|happened| is_for(&caller, happened.service.as_ref()));
    Ok(Out(all))
}

pub async fn image_history(State(app): Shared, caller: Caller, Name(name): Name<ImageName>) -> Answer<api::control::ImageHistory> {
    caller.about(name.as_str());
    Ok(Out(blocking(move || upkeep::Shown::to(&app, &caller)?.history(upkeep::history(&app, &name)?)).await?))
}

pub async fn image_rebuild(
    State(app): Shared,
    caller: Caller,
    Name(name): Name<ImageName>,
    Json(request): Json<api::control::RebuildRequest>,
) -> Answer<api::control::RebuildAnswer> {
    caller.about(name.as_str());
    Ok(Out(blocking(move || upkeep::rebuild(&app, caller.name(), &name, &request)).await?))
}

pub async fn image_revoke(
    State(app): Shared,
    caller: Caller,
    Json(request): Json<api::control::RevokeRequest>,
) -> Answer<api::control::RevokeAnswer> {
    caller.about(&request.digest);
    // It is shown in the image's history, in events and in alarms.
    model::text::line(&request.why).map_err(|wrong| Fault { code: "bad-reason".to_string(), ..wrong.into() })?;
    if request.why.trim().is_empty() {
        return Err(Fault::yours("bad-reason", "no reason is given")
            .hint("give it with --why; the image's history and alarms show it")
            .into());
    }
    Ok(Out(blocking(move || upkeep::revoke(&app, caller.name(), &request)).await?))
}

pub async fn instances(State(app): Shared, caller: Caller, Params(of): Params<OfService>) -> Answer<Vec<api::control::InstanceRow>> {
    let service = of.id(&caller)?;
    caller.services();
    // A keeper that does not answer says nothing of them; its silence is an alarm elsewhere.
    let query = service.as_ref().map_or_else(String::new, |service| format!("?service={service}"));
    let usage: Vec<InstanceUsage> = app.fleet.keeper().get(&format!("{USAGE}{query}")).await.unwrap_or_default();
    let mut all = blocking(move || lists::instances(&app, service.as_ref(), &usage)).await?;
    all.retain(|row| caller.sees(&row.service));
    Ok(Out(all))
}

pub async fn log_list(State(app): Shared, Service(service): Service) -> Answer<Vec<api::logs::LogFile>> {
    Ok(Out(logs::list(&app, &service).await?))
}

pub async fn log_part(
    State(app): Shared,
    Service(service): Service,
    Names(_, instance): Names<ServiceName, InstanceId>,
    Params(query): Params<api::logs::LogQuery>,
) -> Answer<api::logs::LogPart> {
    Ok(Out(logs::part(&app, &service, &instance, &query).await?))
}

/// A step by hand names its service; one of a rotation does by the rotation's id.
fn step_with_id(caller: &Caller, request: StepRequest) -> Result<StepRequest, Fault> {
    Ok(match request {
        StepRequest::Hand { service, step } => StepRequest::Hand { service: caller.id_of(&service)?, step },
        other => other,
    })
}

pub async fn step_check(State(app): Shared, caller: Caller, Json(request): Json<StepRequest>) -> Answer<api::control::StepAnswer> {
    let request = step_with_id(&caller, request)?;
    Ok(Out(blocking(move || steps::check(&app, &caller, &request)).await?))
}

pub async fn step_run(State(app): Shared, caller: Caller, Json(request): Json<StepRequest>) -> Answer<api::control::StepAnswer> {
    let request = step_with_id(&caller, request)?;
    Ok(Out(blocking(move || steps::run(&app, &caller, &request)).await?))
}

pub async fn sweep(State(app): Shared) -> Answer<api::control::GcAnswer> {
    Ok(Out(blocking(move || gc::gc(&app)).await?))
}

pub async fn adoptions(State(app): Shared) -> Answer<Vec<api::control::Adoption>> {
    Ok(Out(blocking(move || adopt::plan(&app)).await?))
}

pub async fn take_over(
    State(app): Shared,
    caller: Caller,
    Json(request): Json<api::control::AdoptRequest>,
) -> Answer<Vec<api::control::Adoption>> {
    Ok(Out(blocking(move || adopt::adopt(&app, &caller.signed(), &request)).await?))
}

pub async fn names(State(app): Shared, caller: Caller) -> Answer<Vec<api::control::NameRow>> {
    caller.services();
    let list = move || {
        let services = app.database.browse(|r| r.service_names())?;
        Ok(crate::names::rows(caller.names(), services.into_iter().filter(|service| caller.sees(service))))
    };
    Ok(Out(blocking(list).await?))
}

pub async fn policy(State(app): Shared) -> Answer<model::access::HostPolicy> {
    Ok(Out(blocking(move || app.access.policy()).await?))
}

pub async fn tokens(State(app): Shared) -> Answer<Vec<api::control::TokenRow>> {
    Ok(Out(blocking(move || app.access.tokens().list()).await?))
}

pub async fn token_create(
    State(app): Shared,
    caller: Caller,
    Json(request): Json<api::control::TokenRequest>,
) -> Answer<api::control::TokenMade> {
    caller.about(&request.name);
    Ok(Out(blocking(move || app.access.tokens().create(&request, caller.name(), app.now())).await?))
}

pub async fn token_revoke(State(app): Shared, caller: Caller, Json(request): Json<api::control::TokenRevoke>) -> Answer<serde_json::Value> {
    caller.about(&request.name);
    blocking(move || app.access.tokens().revoke(&request.name)).await?;
    Ok(Out(serde_json::json!({})))
}

#[derive(Deserialize)]
pub struct Lines {
    #[serde(default = "Lines::limit")]
    limit: usize,
    /// Refusals only.
    #[serde(default)]
    refused: bool,
}

impl Lines {
    fn limit() -> usize {
        100
    }
}

pub async fn audit(State(app): Shared, Params(p): Params<Lines>) -> Answer<Vec<api::control::AuditLine>> {
    Ok(Out(blocking(move || app.access.audit.read(p.limit, p.refused)).await?))
}
