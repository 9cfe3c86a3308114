//! Connections to targets: how they are made, kept, checked, used again and closed.
//!
//! ```text
//!  connect ─▶ in use ──answer whole, target open, nobody said close──▶ kept ──take──▶ in use
//!                └─ anything else ─▶ dropped                            └─ idle too long, target closed, dead ─▶ dropped
//! ```

use crate::answer::Ask;
use crate::clock::now_ms;
use crate::group::lock;
use crate::limits::{Slot, Slots};
use balance::{Manners, POOL_IDLE_MAX_MS, Replay};
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// More idle sockets to one target are not kept.
const KEPT_MAX: usize = 1_024;
/// A kept socket whose connection task has not come to rest in this time is not worth waiting for.
const READY_MS: u64 = 50;

/// The socket, shared between hyper's task, which reads and writes, and us, who count and check.
pub struct Sock {
    stream: TcpStream,
    pub read_bytes: AtomicU64,
}

impl Sock {
    /// Nothing to read and not at its end: the only state in which an idle connection is alive.
    fn is_quiet(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let mut byte = [0_u8; 1];
        matches!(recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT), Err(rustix::io::Errno::AGAIN))
    }
}

struct SockIo(Arc<Sock>);

impl AsyncRead for SockIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.0.stream.poll_read_ready(cx))?;
            match self.0.stream.try_read_buf(buf) {
                Ok(n) => {
                    self.0.read_bytes.fetch_add(n as u64, Relaxed);
                    return Poll::Ready(Ok(()));
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for SockIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[io::IoSlice::new(buf)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.stream.poll_write_ready(cx))?;
            match self.0.stream.try_write_vectored(bufs) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                other => return Poll::Ready(other),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The kept entry may hold the socket a little longer than hyper does; the other side must see the end now.
        match rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e.into())),
        }
    }
}

/// A connection to a target, ours alone while we hold it.
pub struct Link {
    pub sender: SendRequest<Ask>,
    pub sock: Arc<Sock>,
    pub reused: bool,
}

/// Err: not connected, with the words why.
pub async fn connect(addr: SocketAddr, timeout_ms: u64) -> io::Result<Link> {
    let connecting = TcpStream::connect(addr);
    let stream = tokio::time::timeout(Duration::from_millis(timeout_ms), connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it did not take the connection in time"))??;
    stream.set_nodelay(true)?;
    let sock = Arc::new(Sock { stream, read_bytes: AtomicU64::new(0) });
    let io = TokioIo::new(SockIo(sock.clone()));
    let (sender, connection) = Builder::new().max_headers(256).handshake(io).await.map_err(io::Error::other)?;
    // Its errors come to us through the sender and the body.
    tokio::spawn(connection);
    Ok(Link { sender, sock, reused: false })
}

pub struct Pool {
    kept: Mutex<Kept>,
    slots: Arc<Slots>,
}

#[derive(Default)]
struct Kept {
    idle: Vec<Idle>,
    manners: Manners,
    closed: bool,
}

struct Idle {
    link: Link,
    since_ms: u64,
    #[expect(dead_code, reason = "it is given back when this is dropped")]
    slot: Slot,
}

impl Pool {
    pub fn new(slots: Arc<Slots>) -> Self {
        Self { kept: Mutex::default(), slots }
    }

    /// The socket that was idle for the shortest time, if this request may go on it.
    pub async fn take(&self, replay: Replay) -> Option<Link> {
        loop {
            let (mut link, idle_ms) = self.pop(replay)?;
            let rested = link.sender.is_ready()
                || matches!(tokio::time::timeout(Duration::from_millis(READY_MS), link.sender.ready()).await, Ok(Ok(())));
            let alive = rested && !link.sender.is_closed() && link.sock.is_quiet();
            let mut kept = lock(&self.kept);
            if alive {
                kept.manners.kept(idle_ms);
                link.reused = true;
                return Some(link);
            }
            kept.manners.closed();
        }
    }

    fn pop(&self, replay: Replay) -> Option<(Link, u64)> {
        let mut kept = lock(&self.kept);
        let idle_ms = now_ms().saturating_sub(kept.idle.last()?.since_ms);
        if !kept.manners.may_reuse(replay, idle_ms) {
            return None;
        }
        kept.idle.pop().map(|idle| (idle.link, idle_ms))
    }

    /// The flag is looked at under the lock under which [`Pool::close`] sets it: no socket is kept to a closed target.
    pub fn keep(&self, link: Link) {
        let mut kept = lock(&self.kept);
        if link.sender.is_closed() {
            // It ended with an answer that did not say so.
            kept.manners.closed();
        } else if !kept.closed
            && kept.idle.len() < KEPT_MAX
            && let Some(slot) = self.slots.take()
        {
            kept.idle.push(Idle { link, since_ms: now_ms(), slot });
        }
    }

    /// A socket that had been idle turned out dead when a request was on it.
    pub fn was_dead(&self) {
        lock(&self.kept).manners.closed();
    }

    /// Closes what was idle for too long, and learns from it.
    pub fn sweep(&self) {
        let now = now_ms();
        let mut kept = lock(&self.kept);
        let Kept { idle, manners, .. } = &mut *kept;
        idle.retain(|Idle { link, since_ms, .. }| {
            let idle_ms = now.saturating_sub(*since_ms);
            if link.sender.is_closed() || !link.sock.is_quiet() {
                manners.closed();
                return false;
            }
            if idle_ms >= POOL_IDLE_MAX_MS {
                manners.kept(idle_ms);
                return false;
            }
            true
        });
    }

    /// Closes what is idle; others may be kept again.
    pub fn clear(&self) {
        lock(&self.kept).idle.clear();
    }

    /// Closes what is idle, and what comes back from now on.
    pub fn close(&self) {
        let mut kept = lock(&self.kept);
        kept.closed = true;
        kept.idle.clear();
    }
}
