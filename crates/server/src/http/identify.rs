//! The caller of a request: identified from the connection and its token, and handed to handlers.

use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use json_http::{Peer, Refusal};
use model::Fault;
use model::access::Grant;
use std::sync::Arc;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let none = || Refusal(Fault::ours("no-caller", "a request reached its handler without a caller"));
        parts.extensions.get::<Caller>().cloned().ok_or_else(none)
    }
}

pub async fn identify(app: &Arc<App>, peer: Option<Peer>, headers: &HeaderMap) -> Result<Caller, Fault> {
    let peer = peer.ok_or_else(|| Fault::ours("no-peer", "the connection has no peer"))?;
    let shown = headers.get(header::AUTHORIZATION);
    let token = shown.map(|value| value.as_bytes().strip_prefix(b"Bearer ").unwrap_or_default().to_vec());
    let reason = match headers.get(api::control::REASON) {
        None => None,
        Some(value) => {
            let wrong = || Fault::yours("bad-reason", "the reason is not one line of UTF-8").hint("at most 200 bytes");
            let text = std::str::from_utf8(value.as_bytes()).map_err(|_| wrong())?;
            model::text::line(text).map_err(|w| Fault { code: "bad-reason".to_string(), ..w.into() })?;
            Some(text.to_string())
        }
    };
    let app = app.clone();
    blocking(move || {
        let (name, grant): (String, Grant) = app.access.identify(&peer, token.as_deref())?;
        let names = app.database.browse(|r| r.names())?;
        let grant = app.access.with_ids(&names, grant);
        let services = app.access.scope(&app.database, &grant)?;
        Ok(Caller::new(name, grant, services, reason, names))
    })
    .await
}
