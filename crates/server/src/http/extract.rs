//! Bodies, names and parameters as they come in: each error says what was expected and where it went wrong.

use super::Refusal;
use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use model::Fault;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A service file of a thousand services is well below this.
const BODY_MAX: usize = 4 << 20;
const BODY_WITHIN: Duration = Duration::from_secs(30);

pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let bytes = whole(request.into_body()).await?;
        serde_json::from_slice(&bytes).map(Json).map_err(|e| {
            let what = if e.is_eof() { "the body ends too early" } else { "the body is not what was expected" };
            Refusal(Fault::yours("bad-request", format!("{what}: {e}")).hint("`crates/api/src/control.rs` tells what each call takes"))
        })
    }
}

async fn whole(body: Body) -> Result<bytes::Bytes, Refusal> {
    match tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, BODY_MAX)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(e)) => {
            let told = format!("the body could not be read: {e}");
            Err(Refusal(Fault::yours("bad-body", told).hint(format!("it may have {BODY_MAX} bytes"))))
        }
        Err(_) => Err(Refusal(Fault::yours("slow-body", format!("the body did not come within {} s", BODY_WITHIN.as_secs())))),
    }
}

/// The one name in a path.
pub struct Name<T>(pub T);

impl<S: Send + Sync, T: TryFrom<String, Error = model::NameError>> FromRequestParts<S> for Name<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, state)
            .await
            .map_err(|e| Refusal(Fault::yours("bad-name", format!("the path does not decode: {e}"))))?;
        T::try_from(text).map(Name).map_err(|e| {
            // The text is somebody else's and may be long.
            let text: String = e.text.chars().take(80).collect();
            Refusal(Fault::yours("bad-name", format!("{text:?} is no {}: {}", e.what, e.why)))
        })
    }
}

pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match Query::<T>::from_request_parts(parts, state).await {
            Ok(Query(value)) => Ok(Params(value)),
            Err(e) => Err(Refusal(Fault::yours("bad-parameter", e.body_text()))),
        }
    }
}
