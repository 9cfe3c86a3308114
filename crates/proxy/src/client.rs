//! One connection of a customer: its socket as hyper reads and writes it, and what we know of its pace.
//!
//! ```text
//!            first byte of a head           head whole            last byte of the answer flushed
//!  idle ────────────────────────▶ in head ─────────────▶ answering ────────────────────────────▶ idle
//!   └ too long: closed kindly       └ too long: dropped     └ reads nothing for too long: dropped
//!   └ room is scarce: the same, sooner ─┘
//! ```

use crate::clock::now_ms;
use crate::group::{Flight, lock};
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// From a head's first byte to its last.
const HEAD_MS: u64 = 10_000;
/// A connection may be idle between requests. Long, for we must not be the one that closes under a customer's next request.
const IDLE_MS: u64 = 75_000;
/// When room is scarce: one that has been idle for less may be about to ask, or has asked and was not read yet.
const IDLE_SCARCE_MS: u64 = 1_000;
/// When room is scarce: a head that has been coming for so long is not a real client's.
const HEAD_SCARCE_MS: u64 = 2_000;
/// A customer that takes no byte of an answer for so long is gone.
const STALL_MS: u64 = 60_000;

pub enum Pace {
    Fine,
    /// Nothing is under way: say goodbye.
    Idle,
    /// Not worth waiting for.
    Stuck,
}

/// Smaller: closed sooner when room is scarce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Idleness {
    Since(u64),
    InHeadSince(u64),
}

pub struct Customer {
    pub ip: IpAddr,
    /// Its address, as a header's value.
    pub ip_text: http::HeaderValue,
    answering: AtomicBool,
    idle_since_ms: AtomicU64,
    /// 0: no byte of a head has come.
    head_since_ms: AtomicU64,
    /// 0: it takes what we write.
    stalled_since_ms: AtomicU64,
    /// Exchanges whose answer is written but not flushed.
    parked: Mutex<Vec<Flight>>,
    has_parked: AtomicBool,
    is_shed: AtomicBool,
    shed: Notify,
}

impl Customer {
    pub fn new(ip: IpAddr) -> Arc<Self> {
        Arc::new(Self {
            ip,
            ip_text: http::HeaderValue::try_from(ip.to_canonical().to_string()).expect("an address is plain ASCII"),
            answering: AtomicBool::new(false),
            idle_since_ms: AtomicU64::new(now_ms()),
            head_since_ms: AtomicU64::new(0),
            stalled_since_ms: AtomicU64::new(0),
            parked: Mutex::default(),
            has_parked: AtomicBool::new(false),
            is_shed: AtomicBool::new(false),
            shed: Notify::new(),
        })
    }

    /// None: it is in use, or on its way out already.
    pub fn idleness(&self, now: u64) -> Option<Idleness> {
        if self.answering.load(Relaxed) || self.is_shed() {
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

    /// Its place is needed.
    pub fn shed(&self) {
        self.is_shed.store(true, Relaxed);
        self.shed.notify_one();
    }

    pub fn is_shed(&self) -> bool {
        self.is_shed.load(Relaxed)
    }

    /// Returns once it was shed.
    pub async fn shed_now(&self) {
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

    pub fn begin_answer(&self) {
        self.answering.store(true, Relaxed);
        self.head_since_ms.store(0, Relaxed);
    }

    /// The answer is wholly handed to hyper. The exchange counts until hyper has flushed it.
    pub fn end_answer(&self, flight: Option<Flight>) {
        if let Some(flight) = flight {
            lock(&self.parked).push(flight);
            self.has_parked.store(true, Relaxed);
        }
        self.idle_since_ms.store(now_ms(), Relaxed);
        self.answering.store(false, Relaxed);
    }

    fn flushed(&self) {
        self.stalled_since_ms.store(0, Relaxed);
        if self.has_parked.swap(false, Relaxed) {
            lock(&self.parked).clear();
        }
    }

    pub fn pace(&self) -> Pace {
        let now = now_ms();
        let over = |since: &AtomicU64, limit| {
            let since = since.load(Relaxed);
            since != 0 && now.saturating_sub(since) > limit
        };
        if over(&self.stalled_since_ms, STALL_MS) || over(&self.head_since_ms, HEAD_MS) {
            Pace::Stuck
        } else if !self.answering.load(Relaxed) && over(&self.idle_since_ms, IDLE_MS) {
            Pace::Idle
        } else {
            Pace::Fine
        }
    }
}

pub struct CustomerIo {
    pub stream: TcpStream,
    pub customer: Arc<Customer>,
}

impl AsyncRead for CustomerIo {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        let customer = &self.customer;
        if buf.filled().len() > before && !customer.answering.load(Relaxed) && customer.head_since_ms.load(Relaxed) == 0 {
            customer.head_since_ms.store(now_ms(), Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl CustomerIo {
    /// Every byte taken is a sign of life; a full socket begins the wait.
    fn noted<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        let stalled = &self.customer.stalled_since_ms;
        match &result {
            Poll::Pending if stalled.load(Relaxed) == 0 => stalled.store(now_ms(), Relaxed),
            Poll::Pending => {}
            Poll::Ready(_) => stalled.store(0, Relaxed),
        }
        result
    }
}

impl AsyncWrite for CustomerIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(result)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(result)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// hyper flushes the socket only once its own buffer is empty: every byte of the answer is with the kernel now.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
        self.customer.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Drop for CustomerIo {
    fn drop(&mut self) {
        // Nobody is there any more to flush to.
        self.customer.flushed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{Common, Group, Target};
    use model::{GroupName, InstanceId};
    use std::sync::atomic::Ordering::SeqCst;
    use tokio::io::AsyncWriteExt;

    /// The last byte of an answer may lie with hyper long after the release has given it away.
    #[tokio::test]
    async fn an_exchange_counts_until_its_answer_is_flushed() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let customer = Customer::new([127, 0, 0, 1].into());
        let mut io = CustomerIo { stream, customer: customer.clone() };
        let group = Arc::new(Group::new(GroupName::new("a").unwrap()));
        let target = Target::new(InstanceId::new("a-0").unwrap(), ([127, 0, 0, 1], 9).into(), Common::new(0));
        let target = Arc::new(target);
        for flush in [true, false] {
            customer.begin_answer();
            customer.end_answer(Flight::begin(&group, target.clone(), || true));
            assert_eq!((group.in_flight.load(SeqCst), target.account.in_flight()), (1, 1));
            io.write_all(b"the last byte").await.unwrap();
            assert_eq!(group.in_flight.load(SeqCst), 1);
            if flush {
                io.flush().await.unwrap();
                assert_eq!((group.in_flight.load(SeqCst), target.account.in_flight()), (0, 0));
            }
        }
        drop(io); // or until the customer is gone
        assert_eq!((group.in_flight.load(SeqCst), target.account.in_flight()), (0, 0));
    }
}
