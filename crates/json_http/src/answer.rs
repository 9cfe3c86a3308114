//! Answers: JSON bodies, and faults with their status.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use model::Fault;
use serde::Serialize;

/// A fault as an answer.
pub struct Refusal(pub Fault);

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Refusal(fault)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(api::status_of(&self.0)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let fault = Extension(AnsweredFault(self.0.clone()));
        (status, fault, Out(self.0)).into_response()
    }
}

/// A JSON body as an answer.
pub struct Out<T>(pub T);

impl<T: Serialize> IntoResponse for Out<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(bytes) => ([(header::CONTENT_TYPE, "application/json")], bytes).into_response(),
            Err(e) => (StatusCode::INTERNAL_SERVER_ERROR, format!("cannot serialize the answer: {e}")).into_response(),
        }
    }
}

/// The fault of an answer, for a middleware that records it.
#[derive(Clone)]
pub struct AnsweredFault(pub Fault);

/// What is answered to a path or method that the router does not have.
pub fn with_fallbacks<S: Clone + Send + Sync + 'static>(router: Router<S>) -> Router<S> {
    router.fallback(unknown).method_not_allowed_fallback(wrong_method)
}

async fn unknown(request: Request<Body>) -> Refusal {
    let text = format!("there is no {}", shown(request.uri().path()));
    Refusal(Fault::yours("not-found", text).hint("paths begin with /v1/; the caller may be of another version"))
}

async fn wrong_method(request: Request<Body>) -> Refusal {
    let text = format!("{} is not for {}", shown(request.uri().path()), request.method());
    Refusal(Fault::yours("wrong-method", text).hint("`crates/api` has the method of each call; the caller may be of another version"))
}

/// A path comes from the caller and may be long.
pub fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}
