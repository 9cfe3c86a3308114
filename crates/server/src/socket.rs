//! The sockets: who may connect, how long a connection may take its time, how many there may be.

use crate::node;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use model::Fault;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;

const CONNECTIONS_MAX: usize = 256;
/// A request's head must come within this; its body has its own limit.
const HEAD_WITHIN: Duration = Duration::from_secs(15);
/// A shorter token could be guessed.
const TOKEN_MIN: usize = 16;

/// Only our user may connect.
pub fn unix(path: &Path) -> Result<UnixListener, Fault> {
    let listener = disk::socket::listen(path, 0o600).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidFilename => {
            Fault::yours("path-too-long", format!("{}: {e}", path.display())).hint("choose a shorter --data-dir")
        }
        _ => node::disk(path, &e),
    })?;
    UnixListener::from_std(listener).map_err(|e| node::disk(path, &e))
}

pub async fn tcp(address: SocketAddr, token: &str) -> Result<TcpListener, Fault> {
    if token.len() < TOKEN_MIN || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(Fault::yours(
            "token-missing",
            format!("{address}: listening on TCP needs a token of {TOKEN_MIN} or more printable characters"),
        )
        .hint("make one: `head -c 24 /dev/urandom | base64`; or leave --listen away and use the Unix socket"));
    }
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => {
            Fault::yours("port-in-use", format!("{address}: somebody listens there already")).hint("choose another --listen address")
        }
        io::ErrorKind::PermissionDenied => Fault::yours("port-denied", format!("{address}: {e}")).hint("ports below 1024 need root"),
        _ => Fault::yours("bad-listen", format!("{address}: {e}")).hint("give an address of this machine"),
    })
}

pub trait Listener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<UnixStream> {
        Ok(self.accept().await?.0)
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<TcpStream> {
        let stream = self.accept().await?.0;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Ends its connections when it is dropped.
pub async fn serve<L: Listener>(listener: L, router: axum::Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = tokio::task::JoinSet::new();
    let mut backoff = api::accept::Backoff::default();
    loop {
        while connections.try_join_next().is_some() {}
        let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = match listener.next().await {
            Ok(stream) => {
                backoff.accepted();
                stream
            }
            Err(e) => {
                backoff.failed(&e, "the API").await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        connections.spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(64 << 10);
            if let Err(e) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("a connection ended: {e}");
            }
            drop(place);
        });
    }
}
