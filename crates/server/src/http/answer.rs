//! Answers: JSON bodies, and faults with their status.

use axum::Extension;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
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
        let audited = Extension(AuditedFault(self.0.clone()));
        (status, audited, Out(self.0)).into_response()
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

/// The fault of an answer, for the audit.
#[derive(Clone)]
pub struct AuditedFault(pub Fault);

/// A path comes from the caller and may be long.
pub fn shown(path: &str) -> String {
    path.chars().take(200).collect()
}
