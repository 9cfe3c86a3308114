//! The body of a request on its way to a target.

use crate::clock::now_ms;
use crate::headers;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

/// Progress of a streamed request body.
#[derive(Default)]
pub struct UploadProgress {
    pub moved_at_ms: AtomicU64,
    pub done: AtomicBool,
    /// The client broke it off: what follows is not the target's error.
    pub broken: AtomicBool,
}

pub enum RequestBody {
    Empty,
    /// Read completely, so that it can be sent twice.
    Whole(Bytes),
    Stream(Incoming, Arc<UploadProgress>),
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            RequestBody::Empty => Poll::Ready(None),
            RequestBody::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = RequestBody::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            RequestBody::Stream(incoming, progress) => {
                let mut frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                if let Some(trailers) = frame.as_mut().and_then(|f| f.as_mut().ok()?.trailers_mut()) {
                    headers::remove_claims(trailers);
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
            RequestBody::Empty => true,
            RequestBody::Whole(bytes) => bytes.is_empty(),
            RequestBody::Stream(incoming, _) => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            RequestBody::Empty => SizeHint::with_exact(0),
            RequestBody::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            RequestBody::Stream(incoming, _) => incoming.size_hint(),
        }
    }
}
