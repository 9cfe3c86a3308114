//! Health probes from the host to an instance, and what a row of them means.

use crate::record::Record;
use crate::{listening, runtime};
use model::text::shown;
use model::{Health, Probe, QUOTED_BYTES_MAX};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// While an instance has not passed yet, it is asked so often: a rotation waits for it.
const EAGER_MS: u64 = 50;
/// Of an answer that passes only the status line is read.
const HEAD_BYTES_MAX: usize = 256;
/// Of one that does not, this much is read to say why, and no longer is waited for it.
const REASON_BYTES_MAX: usize = 4 << 10;
const BODY_WITHIN: Duration = Duration::from_millis(200);
const ASKED_BYTES_MAX: usize = 100;
const ANSWER_BYTES_MAX: usize = 300;

/// ```text
/// passing_since: None ─pass▶ Some(now) ─`unhealthy_after` fails in a row▶ None
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProbeHistory {
    pub passing_since: Option<Instant>,
    pub ever_passed: bool,
    /// Since the first failure behind the last pass.
    pub failing_since: Option<Instant>,
    fails: u32,
}

impl ProbeHistory {
    pub fn record(&mut self, passed: bool, unhealthy_after: u32, now: Instant) {
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

/// What is asked, in words: `GET /healthz`.
pub fn asked(probe: &Probe) -> String {
    match probe {
        Probe::Http { path } => format!("GET {}", shown(path, ASKED_BYTES_MAX)),
        Probe::Exec { command } => shown(&command.join(" "), ASKED_BYTES_MAX),
        Probe::Tcp => "TCP".to_string(),
        Probe::Running => "running".to_string(),
    }
}

/// One probe, within its timeout. Err: what it was answered, on one short line.
pub async fn once(record: &Record, pid: i32, dir: PathBuf) -> Result<(), String> {
    let health = &record.release.health;
    let within = Duration::from_millis(health.timeout_ms.max(1));
    let address = record.release.port.map(|port| SocketAddr::from((record.placement.address, port)));
    let late = || Err(format!("no answer within {} ms", within.as_millis()));
    match (&health.probe, address) {
        (Probe::Running, _) => Ok(()),
        (Probe::Http { .. } | Probe::Tcp, None) => Err("the service has no port".to_string()),
        (Probe::Tcp, Some(address)) => match tokio::time::timeout(within, TcpStream::connect(address)).await {
            Ok(connected) => connected.map(drop).map_err(|e| unreachable_at(address, pid, &e)),
            Err(_) => late(),
        },
        (Probe::Http { path }, Some(address)) => {
            match tokio::time::timeout(within, get(address, path, BODY_WITHIN.min(within / 4))).await {
                Ok(answer) => judged(&answer.map_err(|e| unreachable_at(address, pid, &e))?),
                Err(_) => late(),
            }
        }
        (Probe::Exec { command }, _) => {
            let (placement, id, command) = (record.placement.clone(), record.id.clone(), command.clone());
            let run = move || runtime::exec(&placement, &dir, id.as_str(), &command, within);
            tokio::task::spawn_blocking(run).await.unwrap_or_else(|e| Err(e.to_string()))
        }
    }
}

/// A refused connection is explained by where the instance does listen.
fn unreachable_at(address: SocketAddr, pid: i32, error: &std::io::Error) -> String {
    if error.kind() != std::io::ErrorKind::ConnectionRefused {
        return shown(&error.to_string(), ANSWER_BYTES_MAX);
    }
    let why = listening::explain(pid, address.port());
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    format!("connection refused on port {}{why}", address.port())
}

/// The beginning of the answer: its status line where that passes, more of it where it does not.
async fn get(address: SocketAddr, path: &str, body_within: Duration) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    let path: String = path.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect();
    let slash = if path.starts_with('/') { "" } else { "/" };
    let request =
        format!("GET {slash}{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: afresh-keeper\r\nAccept: */*\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    let mut buffer = [0; HEAD_BYTES_MAX];
    while answer.len() < HEAD_BYTES_MAX && !answer.contains(&b'\n') {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => answer.extend_from_slice(&buffer[..n]),
        }
    }
    if !is_well(&answer) {
        // For the reason alone: a body that does not come changes nothing.
        let _ = tokio::time::timeout(body_within, more(&mut stream, &mut answer)).await;
    }
    Ok(answer)
}

async fn more(stream: &mut TcpStream, answer: &mut Vec<u8>) -> std::io::Result<()> {
    let mut buffer = [0; HEAD_BYTES_MAX];
    while answer.len() < REASON_BYTES_MAX {
        match stream.read(&mut buffer).await? {
            0 => break,
            n => answer.extend_from_slice(&buffer[..n]),
        }
    }
    Ok(())
}

fn judged(answer: &[u8]) -> Result<(), String> {
    if is_well(answer) { Ok(()) } else { Err(answered(answer)) }
}

/// `500 "database is locked"`: status and first words of the body.
fn answered(answer: &[u8]) -> String {
    let text = String::from_utf8_lossy(answer);
    let text = text.trim_end();
    if text.is_empty() {
        return "the connection was closed without an answer".to_string();
    }
    let (head, body) = text.split_once("\r\n\r\n").or_else(|| text.split_once("\n\n")).unwrap_or((text, ""));
    let Some(status) = status_of(head.as_bytes()) else { return format!("no HTTP answer: \"{}\"", shown(text, QUOTED_BYTES_MAX)) };
    // A chunk begins with a line that has its length.
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { body.split_once('\n').map_or("", |(_, rest)| rest) } else { body };
    match body.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("{status} \"{}\"", shown(line, QUOTED_BYTES_MAX)),
        None => format!("{status}, without a body"),
    }
}

/// 2xx and 3xx pass.
fn is_well(head: &[u8]) -> bool {
    status_of(head).is_some_and(|s| (200..400).contains(&s))
}

/// None: it is no answer of HTTP.
fn status_of(head: &[u8]) -> Option<u16> {
    let line = head.split(|b| *b == b'\n').next().unwrap_or_default();
    let mut words = std::str::from_utf8(line).unwrap_or_default().split_ascii_whitespace();
    words.next().filter(|w| w.starts_with("HTTP/1."))?;
    words.next().filter(|w| w.len() == 3)?.parse().ok()
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
    fn an_answer_says_its_status_and_its_first_words() {
        for (answer, want) in [
            ("HTTP/1.1 500 Oops\r\nContent-Type: text/plain\r\n\r\ndatabase is locked\nmore", "500 \"database is locked\""),
            ("HTTP/1.1 503 x\r\nTransfer-Encoding: chunked\r\n\r\n12\r\nstill warming up\r\n0\r\n", "503 \"still warming up\""),
            ("HTTP/1.0 404 Not Found\r\n\r\n", "404, without a body"),
            ("HTTP/1.0 404 Not Found\r\nX: y", "404, without a body"),
            ("SSH-2.0-OpenSSH\u{1b}[2J", "no HTTP answer: \"SSH-2.0-OpenSSH?[2J\""),
            ("", "the connection was closed without an answer"),
        ] {
            assert_eq!(judged(answer.as_bytes()), Err(want.to_string()), "{answer:?}");
        }
        let long = format!("HTTP/1.1 500 x\r\n\r\n{}", "é\u{202e}".repeat(5_000));
        let said = judged(long.as_bytes()).unwrap_err();
        assert!(said.len() < QUOTED_BYTES_MAX + 20 && !said.contains('\u{202e}'), "{said}");
    }

    /// Against real sockets: one that answers, one that says nothing, none at all.
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
        let ask = async |record: &Record| once(record, pid, PathBuf::new()).await;
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

    #[test]
    fn a_pulse_is_conclusive_by_one_pass_or_enough_failures() {
        let now = Instant::now();
        let mut probes = ProbeHistory::default();
        assert!(!probes.is_conclusive(2) && !probes.is_conclusive(0));
        probes.record(false, 2, now);
        assert!(!probes.is_conclusive(2) && probes.is_conclusive(1));
        probes.record(false, 2, now);
        assert!(probes.is_conclusive(2));
        let mut probes = ProbeHistory::default();
        probes.record(true, 2, now);
        assert!(probes.is_conclusive(2));
    }

    #[test]
    fn a_pulse_stops_after_so_many_failures_in_a_row() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut probes = ProbeHistory::default();
        probes.record(false, 2, at(0));
        assert_eq!(probes.healthy_ms(at(0)), None);
        probes.record(true, 2, at(10));
        probes.record(false, 2, at(20));
        assert_eq!((probes.healthy_ms(at(30)), probes.unhealthy_ms(at(30))), (Some(20), None), "one failure is not enough");
        probes.record(true, 2, at(40));
        probes.record(false, 2, at(50));
        probes.record(false, 2, at(60));
        assert_eq!((probes.healthy_ms(at(60)), probes.unhealthy_ms(at(60))), (None, Some(10)), "from the first failure on");
        probes.record(true, 2, at(70));
        assert_eq!(probes.healthy_ms(at(75)), Some(5), "it begins again");
        let health = Health { every_ms: 500, ..Health::default() };
        assert_eq!((ProbeHistory::default().pause(&health).as_millis(), probes.pause(&health).as_millis()), (50, 500));
    }
}
