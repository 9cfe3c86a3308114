//! Every call, with who may make it. A call cannot be added without a rule: the router is made from this table, and the guard refuses what
//! is not in it.

use super::{events, exec, guard_calls, handlers, jobs, rollouts, runs, secrets};
use crate::app::App;
use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use model::access::Role;
use std::sync::Arc;

/// Which services a call concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// None.
    None,
    /// All services at once: refused to callers for some of them.
    All,
    /// The service in the path (`{service}`, or that of `{rotation}`).
    Path,
    /// Services that the handler finds in the body, the query or the answer; it must check the caller for each.
    Handler,
}

#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub method: &'static str,
    pub path: &'static str,
    pub role: Role,
    pub of: Of,
    /// Whether it changes anything: then the audit gets a line, whatever the outcome.
    pub changes: bool,
    /// The answer has names as somebody wrote them, and none is put in place of an id.
    pub has_names: bool,
}

struct Route {
    rule: Rule,
    handler: fn() -> MethodRouter<Arc<App>>,
}

const fn read(path: &'static str, role: Role, of: Of, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { rule: Rule { method: "GET", path, role, of, changes: false, has_names: false }, handler }
}

const fn pure(path: &'static str, role: Role, of: Of, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { rule: Rule { method: "POST", path, role, of, changes: false, has_names: false }, handler }
}

const fn change(path: &'static str, role: Role, of: Of, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { rule: Rule { method: "POST", path, role, of, changes: true, has_names: false }, handler }
}

/// Of what names services as they were written: grants, the host policy, the audit, and the names themselves.
const fn as_written(route: Route) -> Route {
    Route { rule: Rule { has_names: true, ..route.rule }, ..route }
}

const ROUTES: &[Route] = &[
    read("/v1/health", Role::Read, Of::None, || get(handlers::health)),
    pure("/v1/plan", Role::Deploy, Of::Handler, || post(handlers::plan)),
    change("/v1/deploy", Role::Deploy, Of::Handler, || post(handlers::deploy)),
    change("/v1/rollback", Role::Deploy, Of::Handler, || post(handlers::rollback)),
    pure("/v1/rollback/plan", Role::Deploy, Of::Handler, || post(handlers::rollback_plan)),
    read("/v1/services", Role::Read, Of::Handler, || get(handlers::services)),
    read("/v1/services/{service}", Role::Read, Of::Path, || get(handlers::service)),
    read("/v1/services/{service}/logs", Role::Read, Of::Path, || get(handlers::log_list)),
    read("/v1/services/{service}/logs/{instance}", Role::Read, Of::Path, || get(handlers::log_part)),
    read("/v1/services/{service}/runs", Role::Read, Of::Path, || get(runs::of_service)),
    change("/v1/services/{service}/runs", Role::Deploy, Of::Path, || post(runs::begin)),
    change("/v1/services/{service}/exec", Role::Deploy, Of::Path, || post(exec::begin)),
    pure("/v1/services/{service}/exec/{session}/input", Role::Deploy, Of::Path, || post(exec::input)),
    read("/v1/services/{service}/exec/{session}/output", Role::Deploy, Of::Path, || get(exec::output)),
    change("/v1/services/{service}/exec/{session}/stop", Role::Deploy, Of::Path, || post(exec::stop)),
    read(api::exec::EXEC, Role::Deploy, Of::Handler, || get(exec::list)),
    read(api::jobs::JOBS, Role::Read, Of::Handler, || get(jobs::all)),
    read("/v1/services/{service}/jobs", Role::Read, Of::Path, || get(jobs::of_service)),
    read("/v1/services/{service}/jobs/{job}/history", Role::Read, Of::Path, || get(jobs::history)),
    change("/v1/services/{service}/jobs/{job}/run", Role::Deploy, Of::Path, || post(jobs::run)),
    change("/v1/services/{service}/jobs/{job}/pause", Role::Deploy, Of::Path, || post(jobs::pause)),
    change("/v1/services/{service}/jobs/{job}/resume", Role::Deploy, Of::Path, || post(jobs::resume)),
    read("/v1/runs", Role::Read, Of::Handler, || get(runs::all)),
    read("/v1/runs/{run}", Role::Read, Of::Path, || get(runs::one)),
    change("/v1/runs/{run}/stop", Role::Deploy, Of::Path, || post(runs::stop)),
    read("/v1/rotations", Role::Read, Of::Handler, || get(handlers::rotations)),
    read("/v1/rotations/{rotation}", Role::Read, Of::Path, || get(handlers::rotation)),
    read("/v1/rotations/{rotation}/events", Role::Read, Of::Path, || get(handlers::rotation_events)),
    change("/v1/rotations/{rotation}/command", Role::Deploy, Of::Path, || post(handlers::command)),
    read("/v1/rollouts", Role::Read, Of::Handler, || get(rollouts::list)),
    read("/v1/rollouts/{rollout}", Role::Read, Of::Handler, || get(rollouts::one)),
    change("/v1/rollouts/{rollout}/command", Role::Deploy, Of::Handler, || post(rollouts::command)),
    read("/v1/events", Role::Read, Of::Handler, || get(events::events)),
    read("/v1/releases", Role::Read, Of::Handler, || get(handlers::releases)),
    read("/v1/artifacts", Role::Read, Of::All, || get(handlers::artifacts)),
    read("/v1/images", Role::Read, Of::All, || get(handlers::images)),
    read("/v1/images/corrupt", Role::Read, Of::All, || get(handlers::corrupt)),
    change("/v1/images/revoke", Role::Admin, Of::All, || post(handlers::image_revoke)),
    read("/v1/images/upkeep", Role::Read, Of::Handler, || get(handlers::image_upkeep)),
    read("/v1/images/events", Role::Read, Of::All, || get(handlers::image_events)),
    read(api::fleet::ALARMS, Role::Read, Of::Handler, || get(handlers::all_alarms)),
    read("/v1/fleet/events", Role::Read, Of::Handler, || get(handlers::fleet_events)),
    read("/v1/images/{image}/history", Role::Read, Of::Handler, || get(handlers::image_history)),
    change("/v1/images/{image}/rebuild", Role::Admin, Of::All, || post(handlers::image_rebuild)),
    read("/v1/instances", Role::Read, Of::Handler, || get(handlers::instances)),
    pure("/v1/steps/check", Role::Deploy, Of::Handler, || post(handlers::step_check)),
    change("/v1/steps/run", Role::Deploy, Of::Handler, || post(handlers::step_run)),
    read(api::secrets::SECRETS, Role::Read, Of::Handler, || get(secrets::list)),
    change(api::secrets::SECRETS, Role::Deploy, Of::Handler, || post(secrets::put)),
    pure(api::secrets::VERSION, Role::Deploy, Of::Handler, || post(secrets::version)),
    read("/v1/secrets/recipient/{name}", Role::Deploy, Of::None, || get(secrets::recipient)),
    read(api::guard::GUARD, Role::Read, Of::Handler, || get(guard_calls::seen)),
    read(api::guard::RULES, Role::Read, Of::None, || get(guard_calls::rules)),
    read(api::guard::WAIVERS, Role::Read, Of::Handler, || get(guard_calls::waivers)),
    change(api::guard::WAIVERS, Role::Admin, Of::All, || post(guard_calls::waive)),
    pure(api::guard::REPLAY, Role::Read, Of::All, || post(guard_calls::replay)),
    change("/v1/gc", Role::Admin, Of::All, || post(handlers::sweep)),
    read("/v1/adoptions", Role::Admin, Of::All, || get(handlers::adoptions)),
    change("/v1/adopt", Role::Admin, Of::All, || post(handlers::take_over)),
    as_written(read(api::control::NAMES, Role::Read, Of::Handler, || get(handlers::names))),
    as_written(read("/v1/policy", Role::Read, Of::None, || get(handlers::policy))),
    as_written(read("/v1/tokens", Role::Admin, Of::All, || get(handlers::tokens))),
    as_written(change("/v1/tokens", Role::Admin, Of::All, || post(handlers::token_create))),
    change("/v1/tokens/revoke", Role::Admin, Of::All, || post(handlers::token_revoke)),
    as_written(read("/v1/audit", Role::Admin, Of::All, || get(handlers::audit))),
];

/// The rules alone, for tests that try every call.
pub fn rules() -> impl Iterator<Item = Rule> {
    ROUTES.iter().map(|route| route.rule)
}

/// The rule of a request that was matched to a path. None: nobody may make it.
pub fn rule(method: &Method, path: &str) -> Option<Rule> {
    // HEAD is answered as GET is.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    rules().find(|rule| rule.method == method && rule.path == path)
}

pub fn router() -> Router<Arc<App>> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.rule.path, (route.handler)()))
}
