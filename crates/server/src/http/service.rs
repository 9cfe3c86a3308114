//! The service that a path names, by its id: whatever it is called. The guard has asked the same of the caller.

use crate::access::Caller;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use json_http::Refusal;
use model::{Fault, ServiceName};

pub struct Service(pub ServiceName);

impl<S: Send + Sync> FromRequestParts<S> for Service {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let caller = Caller::from_request_parts(parts, state).await?;
        let path = RawPathParams::from_request_parts(parts, state).await;
        let path = path.map_err(|e| Fault::yours("bad-name", format!("cannot decode the path: {e}")))?;
        let text = path.iter().find(|(key, _)| *key == "service").map(|(_, text)| text.to_string()).unwrap_or_default();
        Ok(Self(caller.id_of(&json_http::named(text)?)?))
    }
}
