//! Sends a probe and reads as much of the answer as decides.

use crate::answer::{Answer, HEAD_BYTES_MAX, judge, reason};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// Of the body this much is read, for this long, and no longer than a quarter of the probe's time: so that the server does not see its
/// answer break off, and to quote its first line where it is not healthy.
const BODY_BYTES_MAX: usize = 64 << 10;
const BODY_WITHIN: Duration = Duration::from_millis(200);
const READ_BYTES: usize = 4 << 10;

/// Why a probe did not pass.
#[derive(Debug)]
pub enum Failure {
    Unreachable(io::Error),
    Timeout(Duration),
    /// What was answered, on one short line.
    Answer(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Unreachable(e) => write!(f, "{e}"),
            Failure::Timeout(within) => write!(f, "no answer within {} ms", within.as_millis()),
            Failure::Answer(said) => f.write_str(said),
        }
    }
}

/// Passes if a connection is accepted within the time.
pub async fn tcp(address: SocketAddr, within: Duration) -> Result<(), Failure> {
    connect(address, Instant::now() + within, within).await.map(drop)
}

/// Passes if the head of the final answer to `GET path` arrives within the time and is healthy.
pub async fn http(address: SocketAddr, path: &str, within: Duration) -> Result<(), Failure> {
    let until = Instant::now() + within;
    let mut stream = connect(address, until, within).await?;
    let mut bytes = Vec::new();
    let head = timeout_at(until, exchange(&mut stream, &request(address, path), &mut bytes)).await;
    match head {
        Err(_) => return Err(Failure::Timeout(within)),
        // A reset behind the first bytes changes nothing: what was read decides.
        Ok(Err(e)) if bytes.is_empty() => return Err(Failure::Unreachable(e)),
        Ok(_) => {}
    }
    // Whether it comes or not decides nothing.
    let _ = timeout(BODY_WITHIN.min(within / 4), body(&mut stream, &mut bytes)).await;
    reason(&bytes).map_or(Ok(()), |why| Err(Failure::Answer(why)))
}

async fn connect(address: SocketAddr, until: Instant, within: Duration) -> Result<TcpStream, Failure> {
    match timeout_at(until, TcpStream::connect(address)).await {
        Ok(connected) => connected.map_err(Failure::Unreachable),
        Err(_) => Err(Failure::Timeout(within)),
    }
}

/// The path cannot add a header: what no path has is left out.
fn request(address: SocketAddr, path: &str) -> String {
    let path: String = path.chars().filter(|c| !c.is_ascii_control() && *c != ' ').collect();
    let slash = if path.starts_with('/') { "" } else { "/" };
    format!("GET {slash}{path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: afresh-probe\r\nAccept: */*\r\nConnection: close\r\n\r\n")
}

/// Until the head decides, or the server ends.
async fn exchange(stream: &mut TcpStream, request: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
    stream.write_all(request.as_bytes()).await?;
    loop {
        let before = bytes.len();
        if read(stream, bytes).await? == 0 {
            return Ok(());
        }
        // A head ends with a line. Judging every byte of one that drips would cost its square.
        let is_due = bytes[before..].contains(&b'\n') || bytes.len() >= HEAD_BYTES_MAX;
        if is_due && judge(bytes) != Answer::Incomplete {
            return Ok(());
        }
    }
}

/// Until the server ends, or there was enough.
async fn body(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<()> {
    let enough = bytes.len() + BODY_BYTES_MAX;
    while bytes.len() < enough && read(stream, bytes).await? > 0 {}
    Ok(())
}

async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<usize> {
    let mut buffer = [0; READ_BYTES];
    let count = stream.read(&mut buffer).await?;
    bytes.extend_from_slice(&buffer[..count]);
    Ok(count)
}
