//! The two bodies: what we send to a target (`Ask`) and what a customer gets (`Answer`).

use crate::client::Customer;
use crate::clock::now_ms;
use crate::group::{Charges, Flight, Group};
use crate::upstream::Link;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

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
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
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

/// What is still to be settled when a release's answer ends.
pub struct Tail {
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

impl Body for Answer {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.kind {
            Kind::Own(bytes) => {
                let frame = bytes.take().map(|bytes| Ok(Frame::data(bytes)));
                self.whole();
                Poll::Ready(frame)
            }
            Kind::Release(incoming) => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                let last = match &frame {
                    None => true,
                    Some(Ok(frame)) => frame.is_trailers() || incoming.is_end_stream(),
                    Some(Err(_)) => {
                        self.broken();
                        false
                    }
                };
                if last {
                    self.whole();
                }
                Poll::Ready(frame)
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
