//! One request on its way: choose, connect or reuse, send, and what to do when that fails.
//!
//! ```text
//!  choose ─▶ kept socket or connect ─▶ send ─▶ head of the answer ─▶ Answer (see there)
//!    ▲            │ refused              │ broken off, late
//!    └── again ◀──┴──── balance::after ──┴──▶ give up: 502, 503, 504 of our own
//! ```
//!
//! Dropping this future (the customer went away) drops the exchange with it and is nobody's error.

use crate::answer::{Answer, Ask, Patience, Progress, Tail, ours};
use crate::client::Customer;
use crate::clock::now_ms;
use crate::group::{Charges, Target};
use crate::headers;
use crate::upstream::{Link, connect};
use crate::way::{Chosen, Way};
use balance::{Attempt, Failure, Next, Replay, after, replay_of};
use http::{HeaderValue, Request, Response, StatusCode, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A body up to this size is read first, if that makes it possible to send it twice.
const WHOLE_BYTES_MAX: u64 = 64 << 10;
/// A customer that sends nothing of its body for so long is not waited for.
const BODY_STALL_MS: u64 = 30_000;
/// How often an exchange that waits looks whether its target is still to be waited for.
pub const LOOK_MS: u64 = 1_000;

/// A request that can be sent once, or as often as we like.
struct Letter {
    head: Option<Parts>,
    body: Option<Ask>,
    replay: Replay,
    progress: Option<Arc<Progress>>,
}

/// What we say when nobody is left to ask.
struct Bad {
    status: StatusCode,
    code: &'static str,
    message: String,
}

pub async fn forward(way: &Way, customer: &Arc<Customer>, request: Request<Incoming>) -> Response<Answer> {
    customer.begin_answer();
    way.requests.fetch_add(1, Relaxed);
    if let Err((status, code, message)) = headers::check(&request) {
        return ours(status, code, message, customer);
    }
    let (mut head, body) = request.into_parts();
    // Only HTTP/1.0 may come without a Host; the address it came to is the best we know.
    let listen = if head.headers.contains_key(http::header::HOST) { String::new() } else { way.table().spec.settings.listen.to_string() };
    headers::to_target(&mut head, &customer.ip_text, &listen);
    match gather(head, body).await {
        Err(bad) => ours(bad.status, bad.code, &bad.message, customer),
        Ok(letter) => match deliver(way, customer, letter).await {
            Ok(response) => response,
            Err(bad) => ours(bad.status, bad.code, &bad.message, customer),
        },
    }
}

async fn gather(mut head: Parts, body: Incoming) -> Result<Letter, Bad> {
    let empty = body.is_end_stream();
    let small = body.size_hint().exact().is_some_and(|bytes| bytes <= WHOLE_BYTES_MAX);
    let replay = replay_of(head.method.as_str(), empty || small);
    if empty {
        return Ok(Letter { head: Some(head), body: Some(Ask::Empty), replay, progress: None });
    }
    if replay == Replay::Never {
        if body.size_hint().exact().is_none() {
            // hyper would take a GET without a length for one without a body, and leave the body out.
            head.headers.insert(http::header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        let progress = Arc::new(Progress::default());
        progress.moved_at_ms.store(now_ms(), Relaxed);
        let body = Ask::Stream(body, progress.clone());
        return Ok(Letter { head: Some(head), body: Some(body), replay, progress: Some(progress) });
    }
    match tokio::time::timeout(Duration::from_millis(BODY_STALL_MS), body.collect()).await {
        Ok(Ok(whole)) => Ok(Letter { head: Some(head), body: Some(Ask::Whole(whole.to_bytes())), replay, progress: None }),
        Ok(Err(_)) => Err(Bad { status: StatusCode::BAD_REQUEST, code: "body-broken", message: "the request's body broke off".into() }),
        Err(_) => Err(late_body()),
    }
}

fn late_body() -> Bad {
    let message = format!("nothing of the request's body came for {} s", BODY_STALL_MS / 1_000);
    Bad { status: StatusCode::REQUEST_TIMEOUT, code: "body-late", message }
}

impl Letter {
    /// A copy if it may be needed again; otherwise the one and only.
    fn request(&mut self) -> Request<Ask> {
        let missing = "a letter that cannot be copied is sent once, or came back";
        if self.replay == Replay::Never {
            return Request::from_parts(self.head.take().expect(missing), self.body.take().expect(missing));
        }
        let body = match self.body.as_ref().expect(missing) {
            Ask::Whole(bytes) => Ask::Whole(bytes.clone()),
            Ask::Empty | Ask::Stream(..) => Ask::Empty,
        };
        Request::from_parts(self.head.as_ref().expect(missing).clone(), body)
    }

    /// hyper gave it back: no byte of it was written.
    fn came_back(&mut self, request: Request<Ask>) {
        let (head, body) = request.into_parts();
        self.head = Some(head);
        self.body = Some(body);
    }
}

async fn deliver(way: &Way, customer: &Arc<Customer>, mut letter: Letter) -> Result<Response<Answer>, Bad> {
    let mut charges = Charges::default();
    let mut tried: [Option<Arc<Target>>; 3] = [const { None }; 3];
    let mut attempt = Attempt { number: 1, reused: false, replayed: false };
    let mut last: Option<(Failure, Bad)> = None;
    loop {
        let chosen = match (way.enter(&tried, &mut charges), last.take()) {
            (Some(chosen), _) => chosen,
            (None, None) => return Err(nobody(way)),
            // It would be refused again.
            (None, Some((Failure::NoConnection, bad))) => return Err(bad),
            // A socket died, not the target: the same one again, on a new connection.
            (None, Some((_, bad))) => way.enter(&[], &mut charges).ok_or(bad)?,
        };
        let target = chosen.flight.target.clone();
        let (failure, bad) = match try_one(&chosen, &mut letter, &mut attempt).await {
            Ok((link, response)) => return Ok(answer(customer, letter, chosen, charges, link, response)),
            Err(outcome) => outcome,
        };
        if letter.progress.as_ref().is_some_and(|p| p.broken.load(Relaxed)) {
            let message = "the request's body broke off".to_string();
            return Err(Bad { status: StatusCode::BAD_REQUEST, code: "body-broken", message });
        }
        let next = after(failure, attempt, letter.replay);
        // A kept socket that its server closed in the meantime is nobody's failure, if the request can go elsewhere.
        let ordinary = attempt.reused && matches!(failure, Failure::Unsent | Failure::Broken { answered: false });
        let customers_fault = bad.status == StatusCode::REQUEST_TIMEOUT;
        let forgiven = customers_fault || (ordinary && next != Next::GiveUp);
        if !forgiven {
            charges.error(&chosen.group);
        }
        if !ordinary && !matches!(failure, Failure::Late) {
            target.doubt();
        }
        match next {
            Next::Again { paid, replayed } if !paid || way.may_pay() => attempt.replayed = replayed,
            Next::Again { .. } | Next::GiveUp => return Err(bad),
        }
        tried[attempt.number as usize - 1] = Some(target);
        attempt.number += 1;
        last = Some((failure, bad));
        // `chosen` falls here: the count goes down before the next target's goes up.
    }
}

/// On a kept socket at the first try, on a new one from then on.
async fn try_one(chosen: &Chosen, letter: &mut Letter, attempt: &mut Attempt) -> Result<(Link, Response<Incoming>), (Failure, Bad)> {
    let target = &chosen.flight.target;
    let settings = chosen.members.route.as_ref().unwrap_or(&chosen.table.spec.settings);
    let kept = if attempt.number == 1 { target.pool.take(letter.replay).await } else { None };
    let mut link = match kept {
        Some(link) => link,
        None => connect(target.addr, settings.connect_timeout_ms).await.map_err(|e| {
            let late = e.kind() == std::io::ErrorKind::TimedOut;
            let (status, code) =
                if late { (StatusCode::GATEWAY_TIMEOUT, "connect-timeout") } else { (StatusCode::BAD_GATEWAY, "no-connection") };
            attempt.reused = false;
            (Failure::NoConnection, Bad { status, code, message: format!("{} at {}: {e}", target.id, target.addr) })
        })?,
    };
    attempt.reused = link.reused;
    let before = link.sock.read_bytes.load(Relaxed);
    let sending = link.sender.try_send_request(letter.request());
    let limit = settings.answer_timeout_ms;
    match patiently(sending, letter.progress.as_deref(), limit, target).await {
        Waited::Done(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let message = format!("{} switched protocols unasked", target.id);
            Err((Failure::Broken { answered: true }, Bad { status: StatusCode::BAD_GATEWAY, code: "switched", message }))
        }
        Waited::Done(Ok(response)) => {
            let (head, body) = response.into_parts();
            match headers::check_answer(&head) {
                Ok(()) => Ok((link, Response::from_parts(head, body))),
                // The link falls here: nobody knows where on it the next answer would begin.
                Err(why) => {
                    let message = format!("the answer of {} is framed in more than one way: {why}", target.id);
                    Err((Failure::Broken { answered: true }, Bad { status: StatusCode::BAD_GATEWAY, code: "bad-framing", message }))
                }
            }
        }
        Waited::Done(Err(mut e)) => {
            let failure = match e.take_message() {
                Some(request) => {
                    letter.came_back(request);
                    Failure::Unsent
                }
                None => Failure::Broken { answered: link.sock.read_bytes.load(Relaxed) != before },
            };
            if link.reused {
                target.pool.was_dead();
            }
            let kind = if link.reused { "kept" } else { "new" };
            let message = format!("{} broke off on a {kind} connection: {}", target.id, e.error());
            Err((failure, Bad { status: StatusCode::BAD_GATEWAY, code: "answer-broken", message }))
        }
        Waited::AnswerLate => {
            let message = format!("{} did not answer within {limit} ms", target.id);
            Err((Failure::Late, Bad { status: StatusCode::GATEWAY_TIMEOUT, code: "answer-timeout", message }))
        }
        Waited::BodyLate => Err((Failure::Late, late_body())),
        Waited::Overdue => {
            let message = format!("{} is being removed and did not answer in the time that its drain has", target.id);
            Err((Failure::Late, Bad { status: StatusCode::GATEWAY_TIMEOUT, code: "drained", message }))
        }
    }
}

enum Waited<T> {
    Done(T),
    AnswerLate,
    BodyLate,
    /// The target was closed so long ago that its drain is over.
    Overdue,
}

/// The limit counts from the request's last byte; while its body still comes, the customer's pace is what counts.
async fn patiently<F: Future>(sending: F, progress: Option<&Progress>, limit_ms: u64, target: &Target) -> Waited<F::Output> {
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
            return if done { Waited::AnswerLate } else { Waited::BodyLate };
        }
        // Not longer than the answer may take, for the body may end while we wait; and the target may be closed meanwhile.
        let wait = Duration::from_millis(left.min(limit_ms).clamp(1, LOOK_MS));
        if let Ok(output) = tokio::time::timeout(wait, &mut sending).await {
            return Waited::Done(output);
        }
    }
}

fn answer(
    customer: &Arc<Customer>,
    letter: Letter,
    chosen: Chosen,
    mut charges: Charges,
    link: Link,
    response: Response<Incoming>,
) -> Response<Answer> {
    let (mut head, body) = response.into_parts();
    if head.status.is_server_error() {
        charges.error(&chosen.group);
    }
    let keep = !headers::closes(&head);
    headers::to_customer(&mut head);
    let settings = chosen.members.route.as_ref().unwrap_or(&chosen.table.spec.settings);
    let patience = Patience::new(settings.answer_timeout_ms);
    let tail = Tail { patience, flight: chosen.flight, group: chosen.group, charges, link, keep, asked: letter.progress };
    Response::from_parts(head, Answer::release(body, tail, customer))
}

fn nobody(way: &Way) -> Bad {
    let table = way.table();
    let message = if table.share.order().is_empty() {
        format!("route {} leads to no server: nothing was deployed yet, or it is parked", way.name)
    } else {
        format!("no server of route {} is healthy", way.name)
    };
    Bad { status: StatusCode::SERVICE_UNAVAILABLE, code: "no-server", message }
}
