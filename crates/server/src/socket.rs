//! The sockets: who may connect, and for how long a connection may be slow. Limits on connections are in `room`: each socket has limits of
//! its own, so that no peer of one can keep a peer of another out.

use crate::access::Peer;
use crate::files::io_fault;
use crate::room::{self, Room};
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

/// A request's head must come within this; its body has its own limit.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

/// Mode 0600: only our user may connect. 0666: everybody may, and the kernel says who it is.
pub fn unix(path: &Path, mode: u32) -> Result<UnixListener, Fault> {
    let listener = disk::socket::listen(path, mode).map_err(|e| match e.kind() {
        io::ErrorKind::InvalidFilename => {
            Fault::yours("path-too-long", format!("{}: {e}", path.display())).hint("choose a shorter --data-dir")
        }
        _ => io_fault(path, &e),
    })?;
    UnixListener::from_std(listener).map_err(|e| io_fault(path, &e))
}

pub async fn tcp(address: SocketAddr) -> Result<TcpListener, Fault> {
    TcpListener::bind(address).await.map_err(|e| match e.kind() {
        io::ErrorKind::AddrInUse => Fault::yours("port-in-use", format!("cannot listen on {address}: address already in use"))
            .hint("another process holds it; choose another --listen address"),
        io::ErrorKind::PermissionDenied => {
            Fault::yours("port-denied", format!("cannot listen on {address}: {e}")).hint("ports below 1024 need root")
        }
        _ => Fault::yours("bad-listen", format!("cannot listen on {address}: {e}")).hint("give an address of this machine"),
    })
}

pub trait Listener: Send + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;
    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Peer)>> + Send;
}

impl Listener for UnixListener {
    type Stream = UnixStream;
    async fn next(&self) -> io::Result<(UnixStream, Peer)> {
        let stream = self.accept().await?.0;
        let peer = Peer::Uid(stream.peer_cred()?.uid());
        Ok((stream, peer))
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;
    async fn next(&self) -> io::Result<(TcpStream, Peer)> {
        let (stream, address) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok((stream, Peer::Ip(address.ip())))
    }
}

/// Ends its connections when it is dropped.
pub async fn serve<L: Listener>(listener: L, router: axum::Router, room: Room) {
    let room = Arc::new(room);
    let mut connections = tokio::task::JoinSet::new();
    let mut backoff = api::accept::Backoff::default();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, peer) = match listener.next().await {
            Ok(next) => {
                backoff.accepted();
                next
            }
            Err(e) => {
                // Out of file descriptors, most likely: the idlest connection gives one back.
                room.shed();
                backoff.failed(&e, "the API").await;
                continue;
            }
        };
        // The limit is reached and every connection is busy: the new one is closed.
        let Some(place) = room.enter(peer) else { continue };
        let service = TowerToHyperService::new(room::tracked(router.clone(), peer, place.busy()));
        let task = connections.spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_buf_size(64 << 10);
            if let Err(e) = http.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!("a connection ended: {e}");
            }
        });
        place.held_by(task);
    }
}
