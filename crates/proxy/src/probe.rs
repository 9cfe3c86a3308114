//! The balancer's health probes: one task per target, routed or not, which ends when the target is gone or drained.

use crate::clock::now_ms;
use crate::group::Group;
use crate::mutex::lock;
use crate::target::Target;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use model::{Health, Probe};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::net::TcpStream;

pub async fn keep_probing(group: Arc<Group>, target: Arc<Target>) {
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
        // A failed request makes the next probe come sooner, but at most every 10 ms.
        let sooner = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            target.probe_now.notified().await;
        };
        let _ = tokio::time::timeout(Duration::from_millis(wait), sooner).await;
    }
}

async fn once(target: &Target, health: &Health) -> io::Result<()> {
    let limit = Duration::from_millis(health.timeout_ms.max(1));
    let probing = async {
        let stream = TcpStream::connect(target.addr).await?;
        match &health.probe {
            Probe::Http { path } => get(stream, target, path).await,
            // Only the keeper can run a command inside an instance; the balancer checks that the port accepts connections.
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
        // The body is read and ignored, so that the server does not see the connection break off.
        let mut body = http_body_util::Limited::new(response.into_body(), 64 << 10);
        while let Some(Ok(_)) = body.frame().await {}
        Ok::<_, io::Error>(status)
    };
    // Both are polled here and not in a task, so that the timeout also drops the connection.
    tokio::pin!(exchange, connection);
    let status = tokio::select! {
        status = &mut exchange => status?,
        _ = &mut connection => tokio::time::timeout(Duration::from_millis(100), exchange).await??,
    };
    if status.is_success() || status.is_redirection() { Ok(()) } else { Err(io::Error::other(format!("GET {path} answered {status}"))) }
}
