//! A client's connection: its socket as hyper reads and writes it, its timeouts, and the requests whose response is not flushed yet.
//!
//! ```text
//!            first byte of a head           head complete         last byte of the response flushed
//!  idle ────────────────────────▶ in head ─────────────▶ responding ───────────────────────────▶ idle
//!   └ too long: closed gracefully   └ too long: dropped     └ reads nothing for too long: dropped
//!   └ connections are scarce: the same, sooner ─┘
//! ```

use crate::accounting::InFlight;
use crate::clock::now_ms;
use crate::mutex::lock;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// From the first byte of a request's head to its last.
const HEAD_MS: u64 = 10_000;
/// Between two requests. Long, so that the balancer does not close a connection on which the next request is being sent.
const IDLE_MS: u64 = 75_000;
/// When connections are scarce: one that was idle for less may be about to send a request, or has sent one that is not read yet.
const IDLE_SCARCE_MS: u64 = 1_000;
/// When connections are scarce: a slower head is not from a real client.
const HEAD_SCARCE_MS: u64 = 2_000;
/// A client that takes no byte of its response within this time is gone.
const STALL_MS: u64 = 60_000;

pub enum Timeout {
    None,
    /// Idle for too long: close gracefully.
    Idle,
    /// Slow head or stalled response: drop the connection.
    Stuck,
}

/// The smaller is closed first when connections are scarce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idleness {
    Since(u64),
    InHeadSince(u64),
}

pub struct Downstream {
    pub ip: IpAddr,
    /// The address as a header value.
    pub ip_text: http::HeaderValue,
    responding: AtomicBool,
    idle_since_ms: AtomicU64,
    /// 0: no byte of a head has arrived.
    head_since_ms: AtomicU64,
    /// 0: it takes what is written.
    stalled_since_ms: AtomicU64,
    /// Requests whose response is written but not flushed.
    unflushed: Mutex<Vec<InFlight>>,
    has_unflushed: AtomicBool,
    is_shed: AtomicBool,
    shed: Notify,
}

impl Downstream {
    pub fn new(ip: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            ip,
            ip_text: http::HeaderValue::try_from(ip.to_canonical().to_string()).expect("an IP address is ASCII"),
            responding: AtomicBool::new(false),
            idle_since_ms: AtomicU64::new(now_ms()),
            head_since_ms: AtomicU64::new(0),
            stalled_since_ms: AtomicU64::new(0),
            unflushed: Mutex::default(),
            has_unflushed: AtomicBool::new(false),
            is_shed: AtomicBool::new(false),
            shed: Notify::new(),
        })
    }

    /// None: it is in use, or being closed already.
    pub fn idleness(&self, now: u64) -> Option<Idleness> {
        if self.responding.load(Relaxed) || self.is_shed() {
            return None;
        }
        match self.head_since_ms.load(Relaxed) {
            0 => {
                let since = self.idle_since_ms.load(Relaxed);
                (now.saturating_sub(since) > IDLE_SCARCE_MS).then_some(Idleness::Since(since))
            }
            since => self.is_slow_in_head(now).then_some(Idleness::InHeadSince(since)),
        }
    }

    /// Asks for its end, because its place is needed.
    pub fn shed(&self) {
        self.is_shed.store(true, Relaxed);
        self.shed.notify_one();
    }

    pub fn is_shed(&self) -> bool {
        self.is_shed.load(Relaxed)
    }

    /// Returns once it is shed.
    pub async fn until_shed(&self) {
        self.shed.notified().await;
    }

    pub fn is_slow_in_head(&self, now: u64) -> bool {
        let since = self.head_since_ms.load(Relaxed);
        since != 0 && now.saturating_sub(since) > HEAD_SCARCE_MS
    }

    #[cfg(test)]
    pub fn set_idle_since(&self, ms: u64) {
        self.idle_since_ms.store(ms, Relaxed);
    }

    pub fn begin_response(&self) {
        self.responding.store(true, Relaxed);
        self.head_since_ms.store(0, Relaxed);
    }

    /// The response is handed to hyper completely. The request counts until hyper has flushed it.
    pub fn end_response(&self, in_flight: Option<InFlight>) {
        if let Some(in_flight) = in_flight {
            lock(&self.unflushed).push(in_flight);
            self.has_unflushed.store(true, Relaxed);
        }
        self.idle_since_ms.store(now_ms(), Relaxed);
        self.responding.store(false, Relaxed);
    }

    fn flushed(&self) {
        self.stalled_since_ms.store(0, Relaxed);
        if self.has_unflushed.swap(false, Relaxed) {
            lock(&self.unflushed).clear();
        }
    }

    pub fn timeout(&self) -> Timeout {
        let now = now_ms();
        let over = |since: &AtomicU64, limit| {
            let since = since.load(Relaxed);
            since != 0 && now.saturating_sub(since) > limit
        };
        if over(&self.stalled_since_ms, STALL_MS) || over(&self.head_since_ms, HEAD_MS) {
            Timeout::Stuck
        } else if !self.responding.load(Relaxed) && over(&self.idle_since_ms, IDLE_MS) {
            Timeout::Idle
        } else {
            Timeout::None
        }
    }
}

pub struct DownstreamIo {
    pub stream: TcpStream,
    pub downstream: Arc<Downstream>,
}

impl AsyncRead for DownstreamIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let downstream = &self.downstream;
        if buf.filled().len() > before && !downstream.responding.load(Relaxed) && downstream.head_since_ms.load(Relaxed) == 0 {
            downstream.head_since_ms.store(now_ms(), Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl DownstreamIo {
    /// A full socket starts the stall timer; each write that the kernel takes resets it.
    fn track_stall<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let stalled = &self.downstream.stalled_since_ms;
        match &result {
            Poll::Pending if stalled.load(Relaxed) == 0 => stalled.store(now_ms(), Relaxed),
            Poll::Pending => {}
            Poll::Ready(_) => stalled.store(0, Relaxed),
        }
        result
    }
}

impl AsyncWrite for DownstreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.track_stall(result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.track_stall(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes the socket only once its own buffer is empty: the kernel has every byte of the response now.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.downstream.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for DownstreamIo {
    fn drop(&mut self) {
        // The client is gone: nothing will be flushed any more.
        self.downstream.flushed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::Group;
    use crate::target::{Shared, Target};
    use model::{GroupName, InstanceId};
    use std::sync::atomic::Ordering::SeqCst;
    use tokio::io::AsyncWriteExt;

    /// The last byte of a response may be in hyper's buffer long after the target has sent it.
    #[tokio::test]
    async fn a_request_counts_until_its_response_is_flushed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let downstream = Downstream::new([127, 0, 0, 1].into());
        let mut io = DownstreamIo { stream, downstream: downstream.clone() };
        let group = Arc::new(Group::new(GroupName::new("a").unwrap()));
        let target = Target::new(InstanceId::new("a-0").unwrap(), ([127, 0, 0, 1], 9).into(), Shared::new(0));
        let target = Arc::new(target);
        for flush in [true, false] {
            downstream.begin_response();
            downstream.end_response(InFlight::begin(&group, target.clone(), || true));
            assert_eq!((group.in_flight.load(SeqCst), target.account.in_flight()), (1, 1));
            io.write_all(b"the last byte").await.unwrap();
            assert_eq!(group.in_flight.load(SeqCst), 1);
            if flush {
                io.flush().await.unwrap();
                assert_eq!((group.in_flight.load(SeqCst), target.account.in_flight()), (0, 0));
            }
        }
        drop(io); // or until the client is gone
        assert_eq!((group.in_flight.load(SeqCst), target.account.in_flight()), (0, 0));
    }
}
