//! The two bodies: what we send to a target (`Ask`) and what a customer gets (`Answer`).

use crate::client::Customer;
use crate::clock::now_ms;
use crate::exchange::LOOK_MS;
use crate::group::{Charges, Flight, Group, Target};
use crate::upstream::Link;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How far a streamed request body has come.
#[derive(Default)]
pub struct Progress {
    pub moved_at_ms: AtomicU64,
    pub done: AtomicBool,
    /// The customer broke it off: whatever follows is not the target's fault.
    pub broken: AtomicBool,
}

pub enum Ask {
    Empty,
    Whole(Bytes),
    Stream(Incoming, Arc<Progress>),
}

impl Body for Ask {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Ask::Empty => Poll::Ready(None),
            Ask::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Ask::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Ask::Stream(incoming, progress) => {
                let mut frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                if let Some(trailers) = frame.as_mut().and_then(|f| f.as_mut().ok()?.trailers_mut()) {
                    crate::headers::remove_claims(trailers);
                }
                progress.moved_at_ms.store(now_ms(), Relaxed);
                match &frame {
                    None => progress.done.store(true, Relaxed),
                    Some(Err(_)) => progress.broken.store(true, Relaxed),
                    Some(Ok(frame)) => {
                        if frame.is_trailers() || incoming.is_end_stream() {
                            progress.done.store(true, Relaxed);
                        }
                    }
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Ask::Empty => true,
            Ask::Whole(bytes) => bytes.is_empty(),
            Ask::Stream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Ask::Empty => SizeHint::with_exact(0),
            Ask::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Ask::Stream(incoming, _) => incoming.size_hint(),
        }
    }
}

/// How long a release may send nothing in the middle of its answer; and no longer than its drain lasts.
pub struct Patience {
    idle_ms: u64,
    /// We have been waiting for the release since then; 0: not now.
    waits_since_ms: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    pub fn new(idle_ms: u64) -> Self {
        Self { idle_ms, waits_since_ms: 0, timer: None }
    }

    /// Ready, with the words why, once it is over. Polled while nothing comes; the customer's own pauses are not polled and do not count.
    fn poll(&mut self, target: &Target, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            let now = now_ms();
            if self.waits_since_ms == 0 {
                self.waits_since_ms = now;
            }
            let left = (self.waits_since_ms + self.idle_ms).saturating_sub(now);
            if left == 0 {
                return Poll::Ready(format!("{} sent nothing for {} ms in the middle of its answer", target.id, self.idle_ms));
            }
            if target.is_overdue(now) {
                return Poll::Ready(overdue(target));
            }
            let wait = Duration::from_millis(left.min(LOOK_MS));
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
    }
}

/// What is still to be settled when a release's answer ends.
pub struct Tail {
    pub patience: Patience,
    pub flight: Flight,
    pub group: Arc<Group>,
    pub charges: Charges,
    /// It lives until the body is read, for the connection ends with its sender.
    pub link: Link,
    /// Nobody said that it ends with this answer.
    pub keep: bool,
    /// The request's body, if it was streamed: a connection with half a request on it is not kept.
    pub asked: Option<Arc<Progress>>,
}

pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

enum Kind {
    Own(Option<Bytes>),
    Release(Incoming),
}

/// Ends in one of three ways: whole (the connection is kept, the exchange counts until it is flushed), broken by the target
/// (an error of the release), or dropped by the customer (nobody's error; the connection to the target is closed).
pub struct Answer {
    kind: Kind,
    tail: Option<Tail>,
    customer: Arc<Customer>,
    ended: bool,
}

impl Answer {
    pub fn own(text: String, customer: &Arc<Customer>) -> Self {
        Self { kind: Kind::Own(Some(Bytes::from(text))), tail: None, customer: customer.clone(), ended: false }
    }

    pub fn release(body: Incoming, tail: Tail, customer: &Arc<Customer>) -> Self {
        let mut answer = Self { kind: Kind::Release(body), tail: Some(tail), customer: customer.clone(), ended: false };
        if answer.is_end_stream() {
            answer.whole();
        }
        answer
    }

    fn whole(&mut self) {
        let flight = self.tail.take().map(|tail| {
            let asked_whole = tail.asked.is_none_or(|p| p.done.load(Relaxed));
            if tail.keep && asked_whole {
                tail.flight.target.pool.keep(tail.link);
            }
            tail.flight
        });
        if !self.ended {
            self.ended = true;
            self.customer.end_answer(flight);
        }
    }

    fn broken(&mut self) {
        if let Some(mut tail) = self.tail.take() {
            let customers_fault = tail.asked.as_ref().is_some_and(|p| p.broken.load(Relaxed));
            if !customers_fault {
                tail.charges.error(&tail.group);
            }
        }
    }
}

impl Answer {
    /// Nothing comes from the release now. Ready: it is not waited for any more.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let Some(tail) = &mut self.tail else { return Poll::Pending };
        let why = ready!(tail.patience.poll(&tail.flight.target, cx));
        self.broken();
        Poll::Ready(why.into())
    }

    /// Something came. Some: and yet no more of it, for what sends a little all the time is never idle, and holds its drain all the same.
    fn moved(&mut self) -> Option<BodyError> {
        let tail = self.tail.as_mut()?;
        tail.patience.waits_since_ms = 0;
        if !tail.flight.target.is_overdue(now_ms()) {
            return None;
        }
        let why = overdue(&tail.flight.target);
        self.broken();
        Some(why.into())
    }
}

fn overdue(target: &Target) -> String {
    format!("{} is being removed and its drain is over", target.id)
}

impl Body for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Own(bytes) => {
                let frame = bytes.take().map(|bytes| Ok(Frame::data(bytes)));
                self.whole();
                Poll::Ready(frame)
            }
            Kind::Release(incoming) => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                let ended = incoming.is_end_stream();
                let Poll::Ready(frame) = polled else {
                    return self.wait(cx).map(|why| Some(Err(why)));
                };
                match &frame {
                    Some(Err(_)) => self.broken(),
                    Some(Ok(frame)) if !frame.is_trailers() && !ended => {
                        if let Some(why) = self.moved() {
                            return Poll::Ready(Some(Err(why)));
                        }
                    }
                    None | Some(Ok(_)) => self.whole(),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Own(bytes) => bytes.is_none(),
            Kind::Release(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Release(incoming) => incoming.size_hint(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.whole();
        } else if !self.ended {
            // The customer went away: the tail falls, and with it the count and the connection. (Or it was a HEAD, and an
            // answer of our own, whose body nobody reads.)
            self.customer.end_answer(None);
        }
    }
}

/// An answer of our own, which a client can tell from a release's by its `x-afresh-error`.
pub fn ours(status: StatusCode, code: &str, message: &str, customer: &Arc<Customer>) -> Response<Answer> {
    let text = serde_json::json!({ "error": { "code": code, "message": message } }).to_string();
    let mut response = Response::new(Answer::own(text, customer));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(crate::headers::ERROR_MARK, HeaderValue::from_static("1"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
