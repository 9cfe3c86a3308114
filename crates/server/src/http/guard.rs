//! Before and behind every handler: who calls, whether the rule of the route lets them, and what the audit keeps of it.
//! Default deny: a path without a rule, or a connection without a peer, is refused.

use super::Refusal;
use super::routes::{self, Of, Rule};
use crate::access::{Caller, Peer};
use crate::app::App;
use crate::blocking;
use api::control::AuditLine;
use axum::body::Body;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use model::access::{Grant, Role};
use model::{Fault, RotationId, ServiceName};
use serde_json::Value;
use std::sync::Arc;

/// The fault of an answer, for the audit.
#[derive(Clone)]
pub struct Told(pub Fault);

const ANSWER_BYTES_MAX: usize = 64 << 20;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, _: &S) -> Result<Self, Refusal> {
        let none = || Refusal(Fault::ours("no-caller", "a request reached its handler without a caller"));
        parts.extensions.get::<Caller>().cloned().ok_or_else(none)
    }
}

pub async fn guard(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<Peer>().copied();
    let path = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_string());
    let rule = path.as_deref().and_then(|path| routes::rule(request.method(), path));
    let mut line = AuditLine {
        who: "-".to_string(),
        from: peer.map_or_else(|| "-".to_string(), |peer| peer.to_string()),
        what: format!("{} {}", model::text::shown(request.method().as_str(), 10), model::text::shown(request.uri().path(), 160)),
        ..AuditLine::default()
    };
    let caller = match identify(&app, peer, request.headers()).await {
        Ok(caller) => caller,
        Err(fault) => return audited(&app, line, rule, Refusal(fault).into_response()).await,
    };
    line.who = caller.name().to_string();
    line.reason = caller.reason().unwrap_or_default().to_string();
    let answer = match admitted(&caller, rule, path.as_deref(), request.uri()) {
        Err(fault) => Refusal(fault).into_response(),
        Ok(()) => {
            request.extensions_mut().insert(caller.clone());
            let answer = next.run(request).await;
            // Redaction and the check come last, so that no handler can forget them.
            match rule {
                Some(rule) if answer.status().is_success() => sealed(&caller, rule, answer).await,
                _ => answer,
            }
        }
    };
    line.on = caller.subjects();
    audited(&app, line, rule, answer).await
}

pub async fn identify(app: &Arc<App>, peer: Option<Peer>, headers: &HeaderMap) -> Result<Caller, Fault> {
    let peer = peer.ok_or_else(|| Fault::ours("no-peer", "the connection does not say who is at its other end"))?;
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
        let services = app.access.scope(&app, &grant)?;
        Ok(Caller::new(name, grant, services, reason))
    })
    .await
}

fn admitted(caller: &Caller, rule: Option<Rule>, path: Option<&str>, uri: &Uri) -> Result<(), Fault> {
    let Some(rule) = rule else {
        // Nothing is there, or not by this method: the answer says so. A path that is there has a rule or is nobody's.
        return match path {
            Some(path) if !routes::rules().any(|rule| rule.path == path) => caller.must_have_rule(),
            _ => Ok(()),
        };
    };
    caller.must_have(rule.role)?;
    match rule.of {
        Of::Nobody => drop(caller.services()),
        Of::Handler => {}
        Of::All => {
            if caller.services().is_some() {
                let told = format!("{} is for some services only, and {} concerns all of them", caller.name(), rule.path);
                let role = rule.role.name();
                return Err(Fault::yours("forbidden", told).hint(format!(
                    "root of the host can, or a token that is for all services: `afresh token create NAME --role {role}` without --service"
                )));
            }
        }
        Of::Path => {
            // Of a name that is none the handler says what is wrong with it.
            if let Some(service) = service_of(rule.path, uri.path()) {
                caller.must_see(&service)?;
            } else if caller.services().is_some() {
                return Err(Fault::yours("forbidden", "the path names no service").hint("names stand in paths as they are, without %"));
            }
        }
    }
    Ok(())
}

/// The service that a path is about. Names need no escapes, so one that has any is no name.
fn service_of(pattern: &str, path: &str) -> Option<ServiceName> {
    pattern.split('/').zip(path.split('/')).find_map(|(pattern, part)| match pattern {
        "{service}" => ServiceName::new(part).ok(),
        "{rotation}" => RotationId::new(part).ok().map(|id| id.service()),
        _ => None,
    })
}

/// The answer as this caller may see it: an answer of which nobody asked whose it is goes to no caller who is for some services only,
/// and values of environments go to nobody who may only read.
async fn sealed(caller: &Caller, rule: Rule, answer: Response) -> Response {
    if caller.was_passed_over() {
        tracing::error!(path = rule.path, "a handler answered without asking whose the answer is");
        return Refusal(Fault::ours("no-scope", format!("{} does not say whose its answer is", rule.path))).into_response();
    }
    let is_json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == "application/json");
    if caller.role() > Role::Read || !is_json {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let hidden = match axum::body::to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes).map(|mut value| {
            redact(&mut value);
            value
        }),
        Err(_) => return (StatusCode::INTERNAL_SERVER_ERROR, "the answer is too large").into_response(),
    };
    match hidden.and_then(|value| serde_json::to_vec(&value)) {
        Ok(bytes) => {
            let mut headers = parts.headers;
            headers.remove(header::CONTENT_LENGTH);
            (parts.status, headers, Body::from(bytes)).into_response()
        }
        Err(e) => Refusal(Fault::ours("unwritable", e.to_string())).into_response(),
    }
}

/// Values of environments: names stay, so that one sees which are set.
pub fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (key, inner) in fields {
                match inner {
                    Value::Object(pairs) if key == "env" => pairs.values_mut().for_each(|v| *v = Value::String("(hidden)".to_string())),
                    inner => redact(inner),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

async fn audited(app: &Arc<App>, mut line: AuditLine, rule: Option<Rule>, answer: Response) -> Response {
    let status = answer.status();
    let fault = answer.extensions().get::<Told>().map(|told| told.0.clone());
    let refused = matches!(status.as_u16(), 401 | 403 | 413 | 422);
    if !refused && !rule.is_some_and(|rule| rule.changes) {
        return answer;
    }
    line.at = app.now();
    line.outcome = match () {
        () if refused => "refused",
        () if status.is_success() => "done",
        () => "failed",
    }
    .to_string();
    if let Some(fault) = fault {
        line.code = model::text::shown(&fault.code, 60);
        line.message = model::text::shown(&fault.message, 300);
    }
    let app = app.clone();
    // That it could not be written is logged there.
    let _ = blocking(move || {
        app.access.audit.write(line);
        Ok(())
    })
    .await;
    answer
}
