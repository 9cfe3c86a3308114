//! Health probes from the host to an instance, and what a row of them means.

use crate::record::Record;
use crate::runtime;
use model::{Health, Probe};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// While an instance has not passed yet, it is asked so often: a rotation waits for it.
const EAGER_MS: u64 = 50;
/// Of an answer only the status line is read.
const HEAD_BYTES_MAX: usize = 256;

/// ```text
/// passing_since: None ─pass▶ Some(now) ─`unhealthy_after` fails in a row▶ None
/// ```
#[derive(Clone, Debug, Default)]
pub struct Pulse {
    pub passing_since: Option<Instant>,
    pub ever_passed: bool,
    /// Since the first failure behind the last pass.
    pub failing_since: Option<Instant>,
    fails: u32,
}

impl Pulse {
    pub fn take(&mut self, passed: bool, unhealthy_after: u32, now: Instant) {
        if passed {
            self.fails = 0;
            self.failing_since = None;
            self.ever_passed = true;
            self.passing_since.get_or_insert(now);
        } else {
            self.fails = self.fails.saturating_add(1);
            self.failing_since.get_or_insert(now);
            if self.fails >= unhealthy_after.max(1) {
                self.passing_since = None;
            }
        }
    }

    /// Whether the probes so far show if it is healthy: one that passed does, or as many failures in a row as make it unhealthy.
    pub fn is_conclusive(&self, unhealthy_after: u32) -> bool {
        self.ever_passed || self.fails >= unhealthy_after.max(1)
    }

    pub fn healthy_ms(&self, now: Instant) -> Option<u64> {
        self.passing_since.map(|since| u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX))
    }

    /// For how long it has failed, if it is unhealthy.
    pub fn unhealthy_ms(&self, now: Instant) -> Option<u64> {
        let since = self.failing_since.filter(|_| self.passing_since.is_none())?;
        Some(u64::try_from(now.saturating_duration_since(since).as_millis()).unwrap_or(u64::MAX))
    }

    /// Until the next probe.
    pub fn pause(&self, health: &Health) -> Duration {
        let every = health.every_ms.max(1);
        Duration::from_millis(if self.ever_passed { every } else { every.min(EAGER_MS) })
    }
}

/// One probe, within its timeout.
pub async fn once(record: &Record, dir: PathBuf) -> bool {
    let health = &record.release.health;
    let within = Duration::from_millis(health.timeout_ms.max(1));
    let address = record.release.port.map(|port| SocketAddr::from((record.ground.address, port)));
    match (&health.probe, address) {
        (Probe::Running, _) => true,
        (Probe::Http { .. } | Probe::Tcp, None) => false,
        (Probe::Tcp, Some(address)) => matches!(tokio::time::timeout(within, TcpStream::connect(address)).await, Ok(Ok(_))),
        (Probe::Http { path }, Some(address)) => matches!(tokio::time::timeout(within, get(address, path)).await, Ok(Ok(true))),
        (Probe::Exec { command }, _) => {
            let (ground, id, command) = (record.ground.clone(), record.id.clone(), command.clone());
            let run = move || runtime::exec(&ground, &dir, id.as_str(), &command, within);
            tokio::task::spawn_blocking(run).await.unwrap_or(false)
        }
    }
}

async fn get(address: SocketAddr, path: &str) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(address).await?;
    let path: String = path.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request =
        format!("GET {slash}{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: afresh-keeper\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    let mut buffer = [0; HEAD_BYTES_MAX];
    while head.len() < HEAD_BYTES_MAX && !head.contains(&b'\n') {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => head.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(is_well(&head))
}

/// 2xx and 3xx are well.
fn is_well(head: &[u8]) -> bool {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split_ascii_whitespace();
    let http = words.next().is_some_and(|w| w.starts_with("HTTP/1."));
    let status = words.next().filter(|w| w.len() == 3).and_then(|w| w.parse::<u16>().ok());
    http && status.is_some_and(|s| (200..400).contains(&s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_status() {
        for (head, want) in [
            (&b"HTTP/1.1 200 OK\r\n"[..], true),
            (b"HTTP/1.0 302 Found\r\n", true),
            (b"HTTP/1.1 204\r\n", true),
            (b"HTTP/1.1 404 Not Found\r\n", false),
            (b"HTTP/1.1 503 no\r\n", false),
            (b"HTTP/1.1 2000 OK\r\n", false),
            (b"SSH-2.0-x 200\r\n", false),
            (b"", false),
            (b"\xff\xff", false),
        ] {
            assert_eq!(is_well(head), want, "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn a_pulse_is_conclusive_by_one_pass_or_enough_failures() {
        let now = Instant::now();
        let mut pulse = Pulse::default();
        assert!(!pulse.is_conclusive(2) && !pulse.is_conclusive(0));
        pulse.take(false, 2, now);
        assert!(!pulse.is_conclusive(2) && pulse.is_conclusive(1));
        pulse.take(false, 2, now);
        assert!(pulse.is_conclusive(2));
        let mut pulse = Pulse::default();
        pulse.take(true, 2, now);
        assert!(pulse.is_conclusive(2));
    }

    #[test]
    fn a_pulse_stops_after_so_many_failures_in_a_row() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut pulse = Pulse::default();
        pulse.take(false, 2, at(0));
        assert_eq!(pulse.healthy_ms(at(0)), None);
        pulse.take(true, 2, at(10));
        pulse.take(false, 2, at(20));
        assert_eq!((pulse.healthy_ms(at(30)), pulse.unhealthy_ms(at(30))), (Some(20), None), "one failure is not enough");
        pulse.take(true, 2, at(40));
        pulse.take(false, 2, at(50));
        pulse.take(false, 2, at(60));
        assert_eq!((pulse.healthy_ms(at(60)), pulse.unhealthy_ms(at(60))), (None, Some(10)), "from the first failure on");
        pulse.take(true, 2, at(70));
        assert_eq!(pulse.healthy_ms(at(75)), Some(5), "it begins again");
        let health = Health { every_ms: 500, ..Health::default() };
        assert_eq!((Pulse::default().pause(&health).as_millis(), pulse.pause(&health).as_millis()), (50, 500));
    }
}
