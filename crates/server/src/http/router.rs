//! Every call, behind the guard.

use super::answer::{Refusal, shown};
use super::{guard, routes};
use crate::app::App;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::middleware;
use model::Fault;
use std::sync::Arc;

pub fn router(app: &Arc<App>) -> Router {
    routes::router()
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app.clone())
}

async fn unknown(request: Request<Body>) -> Refusal {
    let text = format!("there is no {}", shown(request.uri().path()));
    Refusal(Fault::yours("not-found", text).hint("paths begin with /v1/; the caller may be of another version"))
}

async fn wrong_method(request: Request<Body>) -> Refusal {
    let text = format!("{} is not for {}", shown(request.uri().path()), request.method());
    Refusal(Fault::yours("wrong-method", text).hint("reads are GET, everything else is POST"))
}
