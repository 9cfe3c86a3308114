//! Health checks of an instance. The crate `probe` judges answers over the network, for the balancer as well.

use crate::listening::Explainer;
use crate::record::Record;
use crate::runtime;
use model::Probe;
use model::text::shown;
use probe::Failure;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

const ASKED_BYTES_MAX: usize = 100;
const ANSWER_BYTES_MAX: usize = 300;

/// What is probed, as text: `GET /healthz`.
pub fn asked(probe: &Probe) -> String {
    match probe {
        Probe::Http { path } => format!("GET {}", shown(path, ASKED_BYTES_MAX)),
        Probe::Exec { command } => shown(&command.join(" "), ASKED_BYTES_MAX),
        Probe::Tcp => "TCP".to_string(),
        Probe::Running => "running".to_string(),
    }
}

/// One probe, within its timeout. Err: the answer, on one short line.
pub async fn once(record: &Record, explainer: &mut Explainer, dir: PathBuf) -> Result<(), String> {
    let health = &record.release.health;
    let within = Duration::from_millis(health.timeout_ms.max(1));
    let address = record.release.port.map(|port| SocketAddr::from((record.placement.address, port)));
    match (&health.probe, address) {
        (Probe::Running, _) => Ok(()),
        (Probe::Http { .. } | Probe::Tcp, None) => Err("the service has no port".to_string()),
        (Probe::Tcp, Some(address)) => probe::tcp(address, within).await.map_err(|e| said(address, explainer, &e)),
        (Probe::Http { path }, Some(address)) => probe::http(address, path, within).await.map_err(|e| said(address, explainer, &e)),
        (Probe::Exec { command }, _) => {
            let (placement, id, command) = (record.placement.clone(), record.id.clone(), command.clone());
            let run = move || runtime::exec(&placement, &dir, id.as_str(), &command, within);
            tokio::task::spawn_blocking(run).await.unwrap_or_else(|e| Err(e.to_string()))
        }
    }
}

/// A refused connection is explained by where the instance does listen.
fn said(address: SocketAddr, explainer: &mut Explainer, failure: &Failure) -> String {
    match failure {
        Failure::Unreachable(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            let refused = format!("connection refused on port {}", address.port());
            match explainer.explain(address.port()) {
                "" => refused,
                why => format!("{refused} ({why})"),
            }
        }
        other => shown(&other.to_string(), ANSWER_BYTES_MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// As the balancer does; the same table tests it too.
    #[tokio::test]
    async fn every_answer_is_judged_as_the_table_says() {
        probe::testing::judge_every_case(|address, within| async move {
            let mut record = crate::testing::instance(1).record;
            record.placement.address = [127, 0, 0, 1].into();
            record.release.port = Some(address.port());
            record.release.health.probe = Probe::Http { path: "/healthz".into() };
            record.release.health.timeout_ms = u64::try_from(within.as_millis()).unwrap();
            once(&record, &mut Explainer::new(0), PathBuf::new()).await
        })
        .await;
    }

    /// Against real sockets: one that answers, one that is silent, none at all.
    #[tokio::test]
    async fn a_probe_says_what_it_was_answered() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in ["HTTP/1.1 500 x\r\n\r\ndatabase is locked", "HTTP/1.1 200 OK\r\n\r\n", ""] {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 4096];
                let _ = stream.read(&mut request).await;
                if answer.is_empty() {
                    tokio::time::sleep(Duration::from_secs(60)).await;
                }
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        let mut record = crate::testing::instance(1).record;
        record.placement.address = [127, 0, 0, 1].into();
        record.release.port = Some(address.port());
        record.release.health.probe = Probe::Http { path: "/healthz".into() };
        record.release.health.timeout_ms = 300;
        let pid = i32::try_from(std::process::id()).unwrap();
        let ask = async |record: &Record| once(record, &mut Explainer::new(pid), PathBuf::new()).await;
        assert_eq!(asked(&record.release.health.probe), "GET /healthz");
        assert_eq!(ask(&record).await, Err("500 \"database is locked\"".to_string()));
        assert_eq!(ask(&record).await, Ok(()));
        assert_eq!(ask(&record).await, Err("no answer within 300 ms".to_string()));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        record.release.port = Some(free);
        let refused = ask(&record).await.unwrap_err();
        assert!(refused.starts_with(&format!("connection refused on port {free}")), "{refused}");
        record.release.port = None;
        assert_eq!(ask(&record).await, Err("the service has no port".to_string()));
    }
}
