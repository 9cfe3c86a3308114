//! Before and after every handler: who calls, whether the rule of the route admits them, and what the audit records.
//! Default deny: a path without a rule, or a connection without a peer, is refused.

use super::identify::identify;
use super::redact::redact;
use super::routes::{self, Of, Rule};
use crate::access::Caller;
use crate::app::App;
use crate::blocking::blocking;
use crate::names;
use api::control::AuditLine;
use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use json_http::{AnsweredFault, Peer, Refusal};
use model::access::Role;
use model::{Fault, RotationId, RunId, ServiceName};
use serde_json::Value;
use std::sync::Arc;

const ANSWER_BYTES_MAX: usize = 64 << 20;

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
            // Redaction and the scope check come last, so that no handler can forget them.
            match rule {
                Some(rule) if answer.status().is_success() => sealed(&caller, rule, answer).await,
                _ => answer,
            }
        }
    };
    line.on = caller.subjects();
    line.detail = caller.details();
    audited(&app, line, rule, answer).await
}

fn admitted(caller: &Caller, rule: Option<Rule>, path: Option<&str>, uri: &Uri) -> Result<(), Fault> {
    let Some(rule) = rule else {
        // No such path, or not by this method: the answer says so. An existing path without a rule is refused.
        return match path {
            Some(path) if !routes::rules().any(|rule| rule.path == path) => caller.must_have_rule(),
            _ => Ok(()),
        };
    };
    caller.must_have(rule.role)?;
    match rule.of {
        Of::None => drop(caller.services()),
        Of::Handler => {}
        Of::All => {
            if caller.services().is_some() {
                let text = format!("{} is for some services only; {} concerns all services", caller.name(), rule.path);
                let role = rule.role.name();
                return Err(Fault::yours("forbidden", text).hint(format!(
                    "root of the host can, or a token that is for all services: `afresh token create NAME --role {role}` without --service"
                )));
            }
        }
        Of::Path => {
            // An invalid name is refused by the handler, which says what is wrong with it.
            if let Some(service) = service_of(rule.path, uri.path()) {
                caller.must_see(&caller.id_of(&service)?)?;
            } else if caller.services().is_some() {
                return Err(Fault::yours("forbidden", "the path names no service").hint("write names in paths as they are, without %"));
            }
        }
    }
    Ok(())
}

/// The service that a path names. Names need no escapes, so a part with an escape is not a name.
fn service_of(pattern: &str, path: &str) -> Option<ServiceName> {
    pattern.split('/').zip(path.split('/')).find_map(|(pattern, part)| match pattern {
        "{service}" => ServiceName::new(part).ok(),
        "{rotation}" => RotationId::new(part).ok().map(|id| id.service()),
        "{run}" => RunId::new(part).ok().map(|id| id.service()),
        _ => None,
    })
}

/// The answer as this caller may see it: an answer that no handler checked for its services goes to no caller for some services only, and
/// values of environments go to no caller who may only read. Services are called as users call them.
async fn sealed(caller: &Caller, rule: Rule, answer: Response) -> Response {
    if caller.was_passed_over() {
        tracing::error!(path = rule.path, "a handler answered without checking the caller's services");
        return Refusal(Fault::ours("no-scope", format!("the handler of {} did not check the caller's services", rule.path)))
            .into_response();
    }
    let is_json = answer.headers().get(header::CONTENT_TYPE).is_some_and(|t| t == "application/json");
    let (hides, renames) = (caller.role() <= Role::Read, !caller.names().is_empty() && !rule.has_names);
    if !is_json || !(hides || renames) {
        return answer;
    }
    let (parts, body) = answer.into_parts();
    let hidden = match axum::body::to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(bytes) => serde_json::from_slice::<Value>(&bytes).map(|mut value| {
            if hides {
                redact(&mut value);
            }
            if renames {
                names::show(caller.names(), &mut value);
            }
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

async fn audited(app: &Arc<App>, mut line: AuditLine, rule: Option<Rule>, answer: Response) -> Response {
    let status = answer.status();
    let fault = answer.extensions().get::<AnsweredFault>().map(|fault| fault.0.clone());
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
    // A failure to write is logged by the audit.
    let _ = blocking(move || {
        app.access.audit.write(line);
        Ok(())
    })
    .await;
    answer
}
