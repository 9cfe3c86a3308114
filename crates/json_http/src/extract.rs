//! Bodies, names and parameters of requests: each error says what was expected and where.

use crate::answer::{Refusal, shown};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use futures_util::StreamExt;
use model::Fault;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// This much of a body that is too large is still read, so that the sender gets the answer instead of a broken pipe.
const SPILL_MAX: usize = 64 << 20;
const BODY_WITHIN: Duration = Duration::from_secs(30);

pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let path = shown(request.uri().path());
        let bytes = read_body(&path, request.into_body()).await?;
        serde_json::from_slice(&bytes).map(Json).map_err(|e| {
            let what = if e.is_eof() { "the body ends too early" } else { "the body is not what this call expects" };
            Refusal(Fault::yours("bad-request", format!("{what}: {e}")).hint("`crates/api` documents the body of each call"))
        })
    }
}

async fn read_body(path: &str, body: Body) -> Result<Vec<u8>, Refusal> {
    match tokio::time::timeout(BODY_WITHIN, read_chunks(path, body)).await {
        Ok(bytes) => bytes,
        Err(_) => Err(Refusal(Fault::yours("slow-body", format!("the body did not arrive within {} s", BODY_WITHIN.as_secs())))),
    }
}

async fn read_chunks(path: &str, body: Body) -> Result<Vec<u8>, Refusal> {
    let mut chunks = body.into_data_stream();
    let (mut bytes, mut seen) = (Vec::new(), 0usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| Refusal(Fault::yours("bad-body", format!("cannot read the body: {e}"))))?;
        seen = seen.saturating_add(chunk.len());
        if seen <= api::BODY_BYTES_MAX {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
        }
        if seen > SPILL_MAX {
            break;
        }
    }
    if seen > api::BODY_BYTES_MAX {
        return Err(Refusal(api::too_large(path, (seen <= SPILL_MAX).then_some(seen as u64))));
    }
    Ok(bytes)
}

/// The one name in a path.
pub struct Name<T>(pub T);

impl<S: Send + Sync, T: TryFrom<String, Error = model::NameError>> FromRequestParts<S> for Name<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path(text) = Path::<String>::from_request_parts(parts, state).await.map_err(|e| undecoded(&e))?;
        named(text).map(Name)
    }
}

/// The two names in a path, in their order.
pub struct Names<A, B>(pub A, pub B);

impl<S, A, B> FromRequestParts<S> for Names<A, B>
where
    S: Send + Sync,
    A: TryFrom<String, Error = model::NameError>,
    B: TryFrom<String, Error = model::NameError>,
{
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let Path((a, b)) = Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|e| undecoded(&e))?;
        Ok(Names(named(a)?, named(b)?))
    }
}

fn undecoded(why: &PathRejection) -> Refusal {
    Refusal(Fault::yours("bad-name", format!("cannot decode the path: {why}")))
}

/// A name that a caller wrote into a path.
pub fn named<T: TryFrom<String, Error = model::NameError>>(text: String) -> Result<T, Refusal> {
    T::try_from(text).map_err(|e| {
        // The text comes from the caller and may be long.
        let text: String = e.text.chars().take(80).collect();
        Refusal(Fault::yours("bad-name", format!("{text:?} is not a {}: {}", e.what, e.why)))
    })
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
