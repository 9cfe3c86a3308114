//! A client's request, held so that it can be sent to a target once, or again if its method and body allow that.

use crate::clock::now_ms;
use crate::error_response::ErrorResponse;
use crate::request_body::{RequestBody, UploadProgress};
use balance::{Replay, replay_of};
use http::{HeaderValue, Request, StatusCode, header, request::Parts};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A client that sends nothing of its body for this time is not waited for.
pub const BODY_STALL_MS: u64 = 30_000;

pub struct ReplayableRequest {
    head: Option<Parts>,
    body: Option<RequestBody>,
    pub replay: Replay,
    pub progress: Option<Arc<UploadProgress>>,
}

impl ReplayableRequest {
    pub async fn read(mut head: Parts, body: Incoming) -> Result<Self, ErrorResponse> {
        let empty = body.is_end_stream();
        let small = body.size_hint().exact().is_some_and(|bytes| bytes <= crate::limits::REPLAYABLE_BODY_BYTES_MAX);
        let replay = replay_of(head.method.as_str(), empty || small);
        if empty {
            return Ok(Self { head: Some(head), body: Some(RequestBody::Empty), replay, progress: None });
        }
        if replay == Replay::Never {
            if body.size_hint().exact().is_none() {
                // hyper takes a GET without a length for one without a body, and would drop the body.
                head.headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
            }
            let progress = Arc::new(UploadProgress::default());
            progress.moved_at_ms.store(now_ms(), Relaxed);
            let body = RequestBody::Stream(body, progress.clone());
            return Ok(Self { head: Some(head), body: Some(body), replay, progress: Some(progress) });
        }
        match tokio::time::timeout(Duration::from_millis(BODY_STALL_MS), body.collect()).await {
            Ok(Ok(whole)) => Ok(Self { head: Some(head), body: Some(RequestBody::Whole(whole.to_bytes())), replay, progress: None }),
            Ok(Err(_)) => Err(body_broken()),
            Err(_) => Err(body_timeout()),
        }
    }

    /// A copy if it may be needed again, otherwise the only one.
    pub fn next_attempt(&mut self) -> Request<RequestBody> {
        let missing = "a request that cannot be replayed is sent once, or was given back unsent";
        if self.replay == Replay::Never {
            return Request::from_parts(self.head.take().expect(missing), self.body.take().expect(missing));
        }
        let body = match self.body.as_ref().expect(missing) {
            RequestBody::Whole(bytes) => RequestBody::Whole(bytes.clone()),
            RequestBody::Empty | RequestBody::Stream(..) => RequestBody::Empty,
        };
        Request::from_parts(self.head.as_ref().expect(missing).clone(), body)
    }

    /// hyper gave it back: no byte of it was written.
    pub fn restore(&mut self, request: Request<RequestBody>) {
        let (head, body) = request.into_parts();
        self.head = Some(head);
        self.body = Some(body);
    }

    /// The client broke off its body while it was streamed.
    pub fn is_broken(&self) -> bool {
        self.progress.as_ref().is_some_and(|p| p.broken.load(Relaxed))
    }
}

pub fn body_broken() -> ErrorResponse {
    ErrorResponse::new(StatusCode::BAD_REQUEST, "body-broken", "the request's body broke off")
}

pub fn body_timeout() -> ErrorResponse {
    let message = format!("no byte of the request's body arrived for {} s", BODY_STALL_MS / 1_000);
    ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, "body-late", message)
}
