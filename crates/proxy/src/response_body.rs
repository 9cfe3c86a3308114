//! The body of a response on its way to a client, and what is settled when it ends.
//!
//! A target's body ends in one of three ways: complete (the upstream connection is kept, the request counts until the response
//! is flushed), broken off by the target (an error of its release), or dropped by the client (nobody's error; the upstream
//! connection is closed).

use crate::accounting::{InFlight, TrafficCounts};
use crate::clock::now_ms;
use crate::downstream::Downstream;
use crate::group::Group;
use crate::request_body::UploadProgress;
use crate::target::{OVERDUE_CHECK_MS, Target};
use crate::upstream::UpstreamConnection;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Sleep;

/// How long a target may send nothing in the middle of its response; never beyond its drain deadline.
pub struct IdleTimeout {
    idle_ms: u64,
    /// Since when the target is waited for; 0: it is not.
    waits_since_ms: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl IdleTimeout {
    pub fn new(idle_ms: u64) -> Self {
        Self { idle_ms, waits_since_ms: 0, timer: None }
    }

    /// Ready, with the reason, once the time is over. Polled only while nothing comes from the target; the client's own pauses do not count.
    fn poll(&mut self, target: &Target, cx: &mut Context<'_>) -> Poll<String> {
        loop {
            let now = now_ms();
            if self.waits_since_ms == 0 {
                self.waits_since_ms = now;
            }
            let left = (self.waits_since_ms + self.idle_ms).saturating_sub(now);
            if left == 0 {
                return Poll::Ready(format!("{} sent nothing for {} ms in the middle of its response", target.id, self.idle_ms));
            }
            if target.is_overdue(now) {
                return Poll::Ready(overdue(target));
            }
            let wait = Duration::from_millis(left.min(OVERDUE_CHECK_MS));
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(wait)));
            ready!(timer.as_mut().poll(cx));
            self.timer = None;
        }
    }
}

/// What is settled when a target's response ends.
pub struct Settlement {
    pub timeout: IdleTimeout,
    pub in_flight: InFlight,
    pub group: Arc<Group>,
    pub counts: TrafficCounts,
    /// Held until the body is read: the connection ends with its sender.
    pub connection: UpstreamConnection,
    /// Neither side said `Connection: close`.
    pub keep: bool,
    /// Of a streamed request body: a connection with half a request on it is not kept.
    pub upload: Option<Arc<UploadProgress>>,
}

pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

enum Source {
    /// The balancer's own text.
    Own(Option<Bytes>),
    Target(Incoming),
}

pub struct ResponseBody {
    source: Source,
    settlement: Option<Settlement>,
    downstream: Arc<Downstream>,
    ended: bool,
}

impl ResponseBody {
    pub fn own(text: String, downstream: &Arc<Downstream>) -> Self {
        Self { source: Source::Own(Some(Bytes::from(text))), settlement: None, downstream: downstream.clone(), ended: false }
    }

    pub fn target(body: Incoming, settlement: Settlement, downstream: &Arc<Downstream>) -> Self {
        let mut response =
            Self { source: Source::Target(body), settlement: Some(settlement), downstream: downstream.clone(), ended: false };
        if response.is_end_stream() {
            response.complete();
        }
        response
    }

    fn complete(&mut self) {
        let in_flight = self.settlement.take().map(|settlement| {
            let upload_done = settlement.upload.is_none_or(|p| p.done.load(Relaxed));
            if settlement.keep && upload_done {
                settlement.in_flight.target.pool.keep(settlement.connection);
            }
            settlement.in_flight
        });
        if !self.ended {
            self.ended = true;
            self.downstream.end_response(in_flight);
        }
    }

    fn broken(&mut self) {
        if let Some(mut settlement) = self.settlement.take() {
            let client_broke_off = settlement.upload.as_ref().is_some_and(|p| p.broken.load(Relaxed));
            if !client_broke_off {
                settlement.counts.error(&settlement.group);
            }
        }
    }

    /// Nothing comes from the target now. Ready: it is no longer waited for.
    fn poll_timeout(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let Some(settlement) = &mut self.settlement else { return Poll::Pending };
        let why = ready!(settlement.timeout.poll(&settlement.in_flight.target, cx));
        self.broken();
        Poll::Ready(why.into())
    }

    /// A frame came. Some: the response is cut off all the same, for a target that sends a little all the time is never idle and
    /// would hold its drain.
    fn after_frame(&mut self) -> Option<BodyError> {
        let settlement = self.settlement.as_mut()?;
        settlement.timeout.waits_since_ms = 0;
        if !settlement.in_flight.target.is_overdue(now_ms()) {
            return None;
        }
        let why = overdue(&settlement.in_flight.target);
        self.broken();
        Some(why.into())
    }
}

fn overdue(target: &Target) -> String {
    format!("{} is being removed and its drain deadline has passed", target.id)
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.source {
            Source::Own(bytes) => {
                let frame = bytes.take().map(|bytes| Ok(Frame::data(bytes)));
                self.complete();
                Poll::Ready(frame)
            }
            Source::Target(incoming) => {
                let polled = Pin::new(&mut *incoming).poll_frame(cx);
                let ended = incoming.is_end_stream();
                let Poll::Ready(frame) = polled else {
                    return self.poll_timeout(cx).map(|why| Some(Err(why)));
                };
                match &frame {
                    Some(Err(_)) => self.broken(),
                    Some(Ok(frame)) if !frame.is_trailers() && !ended => {
                        if let Some(why) = self.after_frame() {
                            return Poll::Ready(Some(Err(why)));
                        }
                    }
                    None | Some(Ok(_)) => self.complete(),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Target(incoming) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Source::Target(incoming) => incoming.size_hint(),
        }
    }
}

impl Drop for ResponseBody {
    fn drop(&mut self) {
        if self.is_end_stream() {
            self.complete();
        } else if !self.ended {
            // The client is gone: the settlement is dropped, and with it the count and the upstream connection. (Or it was a HEAD
            // with a response of the balancer's own, whose body is not read.)
            self.downstream.end_response(None);
        }
    }
}
