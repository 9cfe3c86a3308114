//! One exchange: choose a target, connect or reuse a connection, send the request, and what happens if that fails.
//!
//! ```text
//!  choose ─▶ idle connection or connect ─▶ send ─▶ head of the response ─▶ ResponseBody
//!    ▲            │ refused                   │ broken off, timed out
//!    └── retry ◀──┴────── balance::after ─────┴──▶ error response: 502, 503, 504
//! ```
//!
//! Dropping this future (the client went away) drops the exchange with it and counts as no error.

use crate::accounting::TrafficCounts;
use crate::clock::now_ms;
use crate::downstream::Downstream;
use crate::error_response::ErrorResponse;
use crate::headers;
use crate::replayable_request::{BODY_STALL_MS, ReplayableRequest, body_broken, body_timeout};
use crate::request_body::UploadProgress;
use crate::response_body::{IdleTimeout, ResponseBody, Settlement};
use crate::route_table::{Chosen, RouteTable};
use crate::target::{OVERDUE_CHECK_MS, Target};
use crate::upstream::{UpstreamConnection, connect};
use balance::{Attempt, Failure, Next, after};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

pub async fn forward(route: &RouteTable, downstream: &Arc<Downstream>, request: Request<Incoming>) -> Response<ResponseBody> {
    downstream.begin_response();
    route.requests.fetch_add(1, Relaxed);
    if let Err((status, code, message)) = headers::check(&request) {
        return ErrorResponse::new(status, code, message).into_response(downstream);
    }
    let (mut head, body) = request.into_parts();
    // Only HTTP/1.0 may omit Host; the address that the request came to is the best substitute.
    let listen =
        if head.headers.contains_key(http::header::HOST) { String::new() } else { route.snapshot().spec.settings.listen.to_string() };
    headers::to_target(&mut head, &downstream.ip_text, &listen);
    match ReplayableRequest::read(head, body).await {
        Err(error) => error.into_response(downstream),
        Ok(request) => match send(route, downstream, request).await {
            Ok(response) => response,
            Err(error) => error.into_response(downstream),
        },
    }
}

async fn send(
    route: &RouteTable,
    downstream: &Arc<Downstream>,
    mut request: ReplayableRequest,
) -> Result<Response<ResponseBody>, ErrorResponse> {
    let mut counts = TrafficCounts::default();
    let mut tried: [Option<Arc<Target>>; 3] = [const { None }; 3];
    let mut attempt = Attempt { number: 1, reused: false, replayed: false };
    let mut last: Option<(Failure, ErrorResponse)> = None;
    loop {
        let chosen = match (route.choose(&tried, &mut counts), last.take()) {
            (Some(chosen), _) => chosen,
            (None, None) => return Err(no_target(route)),
            // The same target would refuse it again.
            (None, Some((Failure::NoConnection, error))) => return Err(error),
            // A connection died, not the target: the same one again, on a new connection.
            (None, Some((_, error))) => route.choose(&[], &mut counts).ok_or(error)?,
        };
        let target = chosen.in_flight.target.clone();
        let (failure, error) = match try_one(&chosen, &mut request, &mut attempt).await {
            Ok((connection, response)) => return Ok(respond(downstream, request, chosen, counts, connection, response)),
            Err(outcome) => outcome,
        };
        if request.is_broken() {
            return Err(body_broken());
        }
        let next = after(failure, attempt, request.replay);
        // The server closed an idle connection in the meantime: no error of the release if the request can be sent again.
        let ordinary = attempt.reused && matches!(failure, Failure::Unsent | Failure::Broken { answered: false });
        let clients_error = error.status == StatusCode::REQUEST_TIMEOUT;
        let forgiven = clients_error || (ordinary && next != Next::GiveUp);
        if !forgiven {
            counts.error(&chosen.group);
        }
        if !ordinary && !matches!(failure, Failure::Late) {
            target.suspect();
        }
        match next {
            Next::Again { paid, replayed } if !paid || route.may_retry() => attempt.replayed = replayed,
            Next::Again { .. } | Next::GiveUp => return Err(error),
        }
        tried[attempt.number as usize - 1] = Some(target);
        attempt.number += 1;
        last = Some((failure, error));
        // `chosen` is dropped here: the count of this target goes down before that of the next one goes up.
    }
}

/// On an idle connection at the first attempt, on a new one from then on.
async fn try_one(
    chosen: &Chosen,
    request: &mut ReplayableRequest,
    attempt: &mut Attempt,
) -> Result<(UpstreamConnection, Response<Incoming>), (Failure, ErrorResponse)> {
    let target = &chosen.in_flight.target;
    let settings = chosen.members.route.as_ref().unwrap_or(&chosen.snapshot.spec.settings);
    let idle = if attempt.number == 1 { target.pool.take(request.replay).await } else { None };
    let mut connection = match idle {
        Some(connection) => connection,
        None => connect(target.addr, settings.connect_timeout_ms).await.map_err(|e| {
            let late = e.kind() == std::io::ErrorKind::TimedOut;
            let (status, code) =
                if late { (StatusCode::GATEWAY_TIMEOUT, "connect-timeout") } else { (StatusCode::BAD_GATEWAY, "no-connection") };
            attempt.reused = false;
            (Failure::NoConnection, ErrorResponse::new(status, code, format!("{} at {}: {e}", target.id, target.addr)))
        })?,
    };
    attempt.reused = connection.reused;
    let before = connection.socket.read_bytes.load(Relaxed);
    let sending = connection.sender.try_send_request(request.next_attempt());
    let limit = settings.answer_timeout_ms;
    match wait_for_head(sending, request.progress.as_deref(), limit, target).await {
        Waited::Done(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let message = format!("{} switched protocols without a request for it", target.id);
            Err((Failure::Broken { answered: true }, ErrorResponse::new(StatusCode::BAD_GATEWAY, "switched", message)))
        }
        Waited::Done(Ok(response)) => {
            let (head, body) = response.into_parts();
            match headers::check_response(&head) {
                Ok(()) => Ok((connection, Response::from_parts(head, body))),
                // The connection is dropped here: where the next response would start on it is unknown.
                Err(why) => {
                    let message = format!("the response of {} has ambiguous framing: {why}", target.id);
                    Err((Failure::Broken { answered: true }, ErrorResponse::new(StatusCode::BAD_GATEWAY, "bad-framing", message)))
                }
            }
        }
        Waited::Done(Err(mut e)) => {
            let failure = match e.take_message() {
                Some(unsent) => {
                    request.restore(unsent);
                    Failure::Unsent
                }
                None => Failure::Broken { answered: connection.socket.read_bytes.load(Relaxed) != before },
            };
            if connection.reused {
                target.pool.was_dead();
            }
            let kind = if connection.reused { "reused" } else { "new" };
            let message = format!("{} broke off on a {kind} connection: {}", target.id, e.error());
            Err((failure, ErrorResponse::new(StatusCode::BAD_GATEWAY, "answer-broken", message)))
        }
        Waited::ResponseLate => {
            let message = format!("{} did not respond within {limit} ms", target.id);
            Err((Failure::Late, ErrorResponse::new(StatusCode::GATEWAY_TIMEOUT, "answer-timeout", message)))
        }
        Waited::BodyLate => Err((Failure::Late, body_timeout())),
        Waited::Overdue => {
            let message = format!("{} is being removed and did not respond before its drain deadline", target.id);
            Err((Failure::Late, ErrorResponse::new(StatusCode::GATEWAY_TIMEOUT, "drained", message)))
        }
    }
}

enum Waited<T> {
    Done(T),
    ResponseLate,
    BodyLate,
    /// The drain deadline of the target has passed.
    Overdue,
}

/// The limit counts from the last byte of the request; while its body is still being sent, the client's stall timeout applies.
async fn wait_for_head<F: Future>(sending: F, progress: Option<&UploadProgress>, limit_ms: u64, target: &Target) -> Waited<F::Output> {
    tokio::pin!(sending);
    let began = now_ms();
    loop {
        let done = progress.is_none_or(|p| p.done.load(Relaxed));
        let (since, limit) = (progress.map_or(began, |p| p.moved_at_ms.load(Relaxed)), if done { limit_ms } else { BODY_STALL_MS });
        let now = now_ms();
        let left = (since + limit).saturating_sub(now);
        if target.is_overdue(now) {
            return Waited::Overdue;
        }
        if left == 0 {
            return if done { Waited::ResponseLate } else { Waited::BodyLate };
        }
        // Not longer than the response may take, for the body may end meanwhile; and the target may be closed meanwhile.
        let wait = Duration::from_millis(left.min(limit_ms).clamp(1, OVERDUE_CHECK_MS));
        if let Ok(output) = tokio::time::timeout(wait, &mut sending).await {
            return Waited::Done(output);
        }
    }
}

fn respond(
    downstream: &Arc<Downstream>,
    request: ReplayableRequest,
    chosen: Chosen,
    mut counts: TrafficCounts,
    connection: UpstreamConnection,
    response: Response<Incoming>,
) -> Response<ResponseBody> {
    let (mut head, body) = response.into_parts();
    if head.status.is_server_error() {
        counts.error(&chosen.group);
    }
    let keep = !headers::closes(&head);
    headers::to_client(&mut head);
    let settings = chosen.members.route.as_ref().unwrap_or(&chosen.snapshot.spec.settings);
    let timeout = IdleTimeout::new(settings.answer_timeout_ms);
    let (in_flight, group, upload) = (chosen.in_flight, chosen.group, request.progress);
    let settlement = Settlement { timeout, in_flight, group, counts, connection, keep, upload };
    Response::from_parts(head, ResponseBody::target(body, settlement, downstream))
}

fn no_target(route: &RouteTable) -> ErrorResponse {
    let message = if route.snapshot().share.order().is_empty() {
        format!("route {} has no backends: nothing is deployed yet, or the service is parked", route.name)
    } else {
        format!("no server of route {} is healthy", route.name)
    };
    ErrorResponse::new(StatusCode::SERVICE_UNAVAILABLE, "no-server", message)
}
