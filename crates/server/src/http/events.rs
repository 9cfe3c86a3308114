//! Events as lines, oldest first; with `follow` the stream stays open, and an empty line now and then keeps it alive.

use super::identify::identify;
use super::redact::redact;
use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::names;
use api::control::Numbered;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use json_http::{Params, Peer, Refusal};
use model::Fault;
use model::access::Role;
use serde::Deserialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Lines read at a time: a slow reader costs this much memory and no more.
const CHUNK: u64 = 200;
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// A stream may stay open for longer than its caller's rights.
const IDENTIFY_EVERY: Duration = Duration::from_secs(5);

#[derive(Deserialize)]
pub struct Query {
    #[serde(default)]
    follow: bool,
    #[serde(default)]
    after: u64,
}

struct Reader {
    app: Arc<App>,
    changes: watch::Receiver<u64>,
    after: u64,
    follow: bool,
    caller: Caller,
    /// By which the caller is identified again.
    peer: Peer,
    headers: HeaderMap,
    identified: Instant,
}

pub async fn events(
    State(app): State<Arc<App>>,
    caller: Caller,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Params(query): Params<Query>,
) -> Result<Response, Refusal> {
    caller.services();
    let (changes, identified) = (app.changes.clone(), Instant::now());
    let mut reader = Reader { changes, app, after: query.after, follow: query.follow, caller, peer, headers, identified };
    // The first lines are read before the head is sent, so that a damaged database is an error and not a stream that breaks off.
    let first = reader.read().await?;
    let rest = futures_util::stream::unfold((Some(reader), first), |(reader, ready)| async move {
        let mut reader = reader?;
        if let Some(bytes) = ready {
            return Some((Ok(bytes), (Some(reader), None)));
        }
        match reader.next().await {
            Ok(Some(bytes)) => Some((Ok(bytes), (Some(reader), None))),
            Ok(None) => None,
            Err(fault) => Some((Err(std::io::Error::other(fault.message)), (None, None))),
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(rest)).into_response())
}

impl Reader {
    async fn next(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            if !self.may_still_read().await {
                return Ok(None);
            }
            // Marked as seen before reading: what is written meanwhile wakes the reader again.
            self.changes.borrow_and_update();
            if let Some(bytes) = self.read().await? {
                return Ok(Some(bytes));
            }
            if !self.follow || self.app.is_stopping() {
                return Ok(None);
            }
            match tokio::time::timeout(ALIVE_EVERY, self.changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Ok(None),
                Err(_) => return Ok(Some(Bytes::from_static(b"\n"))),
            }
        }
    }

    /// A token that was revoked ends the stream; one whose grant changed sees the services of the new grant.
    async fn may_still_read(&mut self) -> bool {
        if self.identified.elapsed() < IDENTIFY_EVERY {
            return true;
        }
        self.identified = Instant::now();
        let again = identify(&self.app, Some(self.peer), &self.headers).await;
        again.map(|caller| self.caller = caller).is_ok()
    }

    async fn read(&mut self) -> Result<Option<Bytes>, Fault> {
        loop {
            let (app, after) = (self.app.clone(), self.after);
            let lines = blocking(move || app.database.read(|r| r.events(after, CHUNK))).await?;
            let Some(last) = lines.last() else { return Ok(None) };
            self.after = last.number;
            let mut bytes = Vec::new();
            for line in lines.into_iter().filter(|line| self.caller.sees(&line.line.rotation.service())) {
                self.write(&Numbered { number: line.number, line: line.line }, &mut bytes)?;
            }
            // All lines were of services that the caller may not see: read on.
            if !bytes.is_empty() {
                return Ok(Some(bytes.into()));
            }
        }
    }

    /// A caller who may only read sees no values of environments.
    fn write(&self, line: &Numbered, bytes: &mut Vec<u8>) -> Result<(), Fault> {
        let unwritable = |e: serde_json::Error| Fault::ours("unwritable-event", e.to_string());
        let mut value = serde_json::to_value(line).map_err(unwritable)?;
        if self.caller.role() == Role::Read {
            redact(&mut value);
        }
        names::show(self.caller.names(), &mut value);
        serde_json::to_writer(&mut *bytes, &value).map_err(unwritable)?;
        bytes.push(b'\n');
        Ok(())
    }
}
