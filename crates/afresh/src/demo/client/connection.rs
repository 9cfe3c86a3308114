//! Raw client connections: kept ones in a pool, fresh ones for a single request.

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;

pub type Sender = SendRequest<Full<Bytes>>;

/// A polite client gives a connection up before the server does: shorter than the balancer's idle time.
const IDLE_MAX: Duration = Duration::from_secs(5);

pub struct Pool {
    target: SocketAddr,
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl Pool {
    pub fn new(target: SocketAddr) -> Self {
        Self { target, idle: Mutex::new(Vec::new()) }
    }

    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// The connection used last, so that the rest can grow old and go.
    pub fn take(&self) -> Option<Sender> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|(sender, since)| !sender.is_closed() && since.elapsed() < IDLE_MAX);
        let place = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.remove(place).0)
    }

    pub fn keep(&self, sender: Sender) {
        if !sender.is_closed() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push((sender, Instant::now()));
        }
    }

    pub async fn open(&self) -> Result<Sender, String> {
        let stream = TcpStream::connect(self.target).await.map_err(|e| format!("connect: {e}"))?;
        stream.set_nodelay(true).map_err(|e| format!("nodelay: {e}"))?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| format!("handshake: {e}"))?;
        // Its end is seen by the sender; there is nothing else to learn from it.
        tokio::spawn(async move { drop(connection.await) });
        Ok(sender)
    }
}
