//! Serves a router on a socket. Limits on connections are in `room`: each socket has limits of its own, so that no peer of one can keep
//! a peer of another out.

use crate::accept::Backoff;
use crate::peer::Peer;
use crate::room::{self, Room};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A request's head must come within this; its body has its own limit.
const HEAD_WITHIN: Duration = Duration::from_secs(15);

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

/// Ends its connections when it is dropped. `of` names the socket in the log.
pub async fn serve<L: Listener>(listener: L, router: axum::Router, room: Room, of: &str) {
    let room = Arc::new(room);
    let mut connections = tokio::task::JoinSet::new();
    let mut backoff = Backoff::default();
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
                backoff.failed(&e, of).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Json, Name, Out, Params, Refusal, with_fallbacks};
    use axum::routing::{get, put};
    use model::{Fault, GroupName};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[derive(serde::Deserialize)]
    struct Count {
        count: u64,
    }

    async fn answered(path: &std::path::Path, request: &str) -> (u16, serde_json::Value) {
        let mut stream = UnixStream::connect(path).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// Each error is a fault with its status, whether the router, a path, a query, a body or the handler caused it.
    #[tokio::test]
    async fn every_error_has_one_form() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.sock");
        let listener = crate::unix(&path, 0o600).unwrap();
        let router = axum::Router::new()
            .route("/v1/x/{name}", put(async |Name::<GroupName>(name), Json::<Count>(body)| Out(format!("{name} {}", body.count))))
            .route("/v1/q", get(async |Params::<Count>(query)| Out(query.count)))
            .route("/v1/busy", get(async || Err::<Out<u64>, _>(Refusal(Fault::world("busy", "another operation is in progress")))));
        let served = tokio::spawn(serve(listener, with_fallbacks(router), Room::new(4, 4), "a test"));
        let put = |to: &str, body: &str| {
            let length = body.len();
            format!("PUT {to} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        };
        let get = |to: &str| format!("GET {to} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert_eq!(answered(&path, &put("/v1/x/web-r1-1", "{\"count\":7}")).await, (200, "web-r1-1 7".into()));
        for (request, status, code) in [
            (get("/v1/nowhere"), 404, "not-found"),
            (get("/v1/x/web-r1-1"), 400, "wrong-method"),
            (put("/v1/x/%ff", "{\"count\":7}"), 400, "bad-name"),
            (put("/v1/x/a%20b", "{\"count\":7}"), 400, "bad-name"),
            (put("/v1/x/web-r1-1", "{"), 400, "bad-request"),
            (put("/v1/x/web-r1-1", "{\"count\":-1}"), 400, "bad-request"),
            (get("/v1/q?count=x"), 400, "bad-parameter"),
            (get("/v1/busy"), 409, "busy"),
        ] {
            let (seen, body) = answered(&path, &request).await;
            let fault: Fault = serde_json::from_value(body).unwrap();
            assert_eq!((seen, fault.code.as_str()), (status, code), "{request}");
        }
        served.abort();
    }
}
