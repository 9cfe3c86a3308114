//! Every call, behind the guard.

use super::{guard, routes};
use crate::app::App;
use axum::Router;
use axum::middleware;
use std::sync::Arc;

pub fn router(app: &Arc<App>) -> Router {
    json_http::with_fallbacks(routes::router()).layer(middleware::from_fn_with_state(app.clone(), guard::guard)).with_state(app.clone())
}
