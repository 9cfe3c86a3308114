//! A connection to a target: its socket, shared with hyper, and how it is opened. [`crate::pool`] keeps idle ones.

use crate::request_body::RequestBody;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// Shared between hyper's connection task, which reads and writes, and this crate, which counts and checks.
pub struct UpstreamSocket {
    stream: TcpStream,
    pub read_bytes: AtomicU64,
}

impl UpstreamSocket {
    /// Nothing to read and not at its end: the only state in which an idle connection is alive.
    pub fn is_quiet(&self) -> bool {
        use rustix::net::{RecvFlags, recv};
        let mut byte = [0_u8; 1];
        matches!(recv(&self.stream, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT), Err(rustix::io::Errno::AGAIN))
    }
}

struct UpstreamIo(Arc<UpstreamSocket>);

impl AsyncRead for UpstreamIo {
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

impl AsyncWrite for UpstreamIo {
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
        // A pooled entry may hold the socket longer than hyper does; the target must see the end of the stream now.
        match rustix::net::shutdown(&self.0.stream, rustix::net::Shutdown::Write) {
            Ok(()) | Err(rustix::io::Errno::NOTCONN) => Poll::Ready(Ok(())),
            Err(e) => Poll::Ready(Err(e.into())),
        }
    }
}

/// Used by one request at a time.
pub struct UpstreamConnection {
    pub sender: SendRequest<RequestBody>,
    pub socket: Arc<UpstreamSocket>,
    pub reused: bool,
}

pub async fn connect(addr: SocketAddr, timeout_ms: u64) -> io::Result<UpstreamConnection> {
    let connecting = TcpStream::connect(addr);
    let stream = tokio::time::timeout(Duration::from_millis(timeout_ms), connecting)
        .await
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {timeout_ms} ms")))??;
    stream.set_nodelay(true)?;
    let socket = Arc::new(UpstreamSocket { stream, read_bytes: AtomicU64::new(0) });
    let io = TokioIo::new(UpstreamIo(socket.clone()));
    let (sender, connection) =
        Builder::new().max_headers(crate::limits::RESPONSE_HEADERS_MAX).handshake(io).await.map_err(io::Error::other)?;
    // Its errors reach the exchange through the sender and the response body.
    tokio::spawn(connection);
    Ok(UpstreamConnection { sender, socket, reused: false })
}
