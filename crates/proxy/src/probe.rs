//! The balancer's own probes. One task a target, routed or not; it ends when the target is gone or drained.

use crate::clock::now_ms;
use crate::group::{Group, Target, lock};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use model::{Health, Probe};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::net::TcpStream;

pub async fn watch(group: Arc<Group>, target: Arc<Target>) {
    while !target.gone.load(SeqCst) && !target.account.is_drained() {
        let health = group.members().health.clone();
        let began = now_ms();
        let passed = once(&target, &health).await;
        let wait = {
            let mut state = lock(&target.health);
            match &passed {
                Ok(()) => state.passed(began, now_ms()),
                Err(_) => state.failed(health.unhealthy_after),
            }
            state.probe_again_ms(health.every_ms)
        };
        if let Err(e) = passed {
            tracing::debug!("probe of {}: {e}", target.id);
        }
        target.probed.store(true, SeqCst);
        // A request that was refused wants to know sooner; but not so often that the probes are a load of their own.
        let soon = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            target.probe_now.notified().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(wait), soon).await;
    }
}

async fn once(target: &Target, health: &Health) -> io::Result<()> {
    let limit = Duration::from_millis(health.timeout_ms.max(1));
    let probing = async {
        let stream = TcpStream::connect(target.addr).await?;
        match &health.probe {
            Probe::Http { path } => get(stream, target, path).await,
            // Whether a command exits 0 or a process is there, only the keeper can see; we see whether the port is served.
            Probe::Tcp | Probe::Exec { .. } | Probe::Running => Ok(()),
        }
    };
    tokio::time::timeout(limit, probing).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn get(stream: TcpStream, target: &Target, path: &str) -> io::Result<()> {
    let request = Request::get(path)
        .header("host", target.addr.to_string())
        .header("user-agent", "afresh-probe")
        .header("connection", "close")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(io::Error::other)?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let status = response.status();
        // Read on, so that the server does not see us break off; what it says does not matter.
        let mut body = http_body_util::Limited::new(response.into_body(), 64 << 10);
        while let Some(Ok(_)) = body.frame().await {}
        Ok::<_, io::Error>(status)
    };
    // Both here and not in a task of its own: when time is up, the connection falls too.
    tokio::pin!(exchange, connection);
    let status = tokio::select! {
        status = &mut exchange => status?,
        _ = &mut connection => tokio::time::timeout(Duration::from_millis(100), exchange).await??,
    };
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(io::Error::other(format!("GET {path} answered {status}"))) }
}
