//! Every call there is, with who may make it. A call cannot be added without a rule: the router is made from this table, and the guard
//! refuses what is not in it.

use crate::app::App;
use axum::Router;
use axum::http::Method;
use axum::routing::{MethodRouter, get, post};
use model::access::Role;
use std::sync::Arc;

/// Whose business a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Nobody's: it tells nothing of services.
    Nobody,
    /// All services at once: refused to who is for some of them.
    All,
    /// The service in the path (`{service}`, or that of `{rotation}`).
    Path,
    /// Services that the handler finds in the body, the query or the answer; it must ask the caller about each.
    Handler,
}

#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub method: &'static str,
    pub path: &'static str,
    pub role: Role,
    pub of: Of,
    /// Whether it changes anything: then the audit has a line of it, whatever comes of it.
    pub changes: bool,
}

struct Route {
    rule: Rule,
    handler: fn() -> MethodRouter<Arc<App>>,
}

const fn read(path: &'static str, role: Role, of: Of, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { rule: Rule { method: "GET", path, role, of, changes: false }, handler }
}

const fn pure(path: &'static str, role: Role, of: Of, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { rule: Rule { method: "POST", path, role, of, changes: false }, handler }
}

const fn change(path: &'static str, role: Role, of: Of, handler: fn() -> MethodRouter<Arc<App>>) -> Route {
    Route { rule: Rule { method: "POST", path, role, of, changes: true }, handler }
}

const ROUTES: &[Route] = &[
    read("/v1/health", Role::Read, Of::Nobody, || get(super::health)),
    pure("/v1/plan", Role::Deploy, Of::Handler, || post(super::plan)),
    change("/v1/deploy", Role::Deploy, Of::Handler, || post(super::deploy)),
    change("/v1/rollback", Role::Deploy, Of::Handler, || post(super::rollback)),
    read("/v1/services", Role::Read, Of::Handler, || get(super::services)),
    read("/v1/services/{service}", Role::Read, Of::Path, || get(super::service)),
    read("/v1/services/{service}/logs", Role::Read, Of::Path, || get(super::log_list)),
    read("/v1/services/{service}/logs/{instance}", Role::Read, Of::Path, || get(super::log_part)),
    read("/v1/rotations", Role::Read, Of::Handler, || get(super::rotations)),
    read("/v1/rotations/{rotation}", Role::Read, Of::Path, || get(super::rotation)),
    read("/v1/rotations/{rotation}/events", Role::Read, Of::Path, || get(super::rotation_events)),
    change("/v1/rotations/{rotation}/command", Role::Deploy, Of::Path, || post(super::ask)),
    read("/v1/rollouts/{rollout}", Role::Read, Of::Handler, || get(super::rollout)),
    read("/v1/events", Role::Read, Of::Handler, || get(super::events::events)),
    read("/v1/releases", Role::Read, Of::Handler, || get(super::releases)),
    read("/v1/images", Role::Read, Of::All, || get(super::images)),
    change("/v1/images/revoke", Role::Admin, Of::All, || post(super::image_revoke)),
    read("/v1/images/upkeep", Role::Read, Of::Handler, || get(super::image_upkeep)),
    read("/v1/images/events", Role::Read, Of::All, || get(super::image_events)),
    read(api::fleet::ALARMS, Role::Read, Of::Handler, || get(super::alarms)),
    read("/v1/fleet/events", Role::Read, Of::Handler, || get(super::fleet_events)),
    read("/v1/images/{image}/history", Role::Read, Of::Handler, || get(super::image_history)),
    change("/v1/images/{image}/rebuild", Role::Admin, Of::All, || post(super::image_rebuild)),
    read("/v1/instances", Role::Read, Of::Handler, || get(super::instances)),
    pure("/v1/steps/check", Role::Deploy, Of::Handler, || post(super::step_check)),
    change("/v1/steps/run", Role::Deploy, Of::Handler, || post(super::step_run)),
    change("/v1/gc", Role::Admin, Of::All, || post(super::sweep)),
    read("/v1/adoptions", Role::Admin, Of::All, || get(super::adoptions)),
    change("/v1/adopt", Role::Admin, Of::All, || post(super::take_over)),
    read("/v1/policy", Role::Read, Of::Nobody, || get(super::policy)),
    read("/v1/tokens", Role::Admin, Of::All, || get(super::tokens)),
    change("/v1/tokens", Role::Admin, Of::All, || post(super::token_create)),
    change("/v1/tokens/revoke", Role::Admin, Of::All, || post(super::token_revoke)),
    read("/v1/audit", Role::Admin, Of::All, || get(super::audit)),
];

/// The rules alone, for who wants to try every call.
pub fn rules() -> impl Iterator<Item = Rule> {
    ROUTES.iter().map(|route| route.rule)
}

/// Of a request that was matched to a path. None: nobody said who may make it, so nobody may.
pub fn rule(method: &Method, path: &str) -> Option<Rule> {
    // HEAD is answered as GET is.
    let method = if method == Method::HEAD { "GET" } else { method.as_str() };
    rules().find(|rule| rule.method == method && rule.path == path)
}

pub fn router() -> Router<Arc<App>> {
    ROUTES.iter().fold(Router::new(), |router, route| router.route(route.rule.path, (route.handler)()))
}
