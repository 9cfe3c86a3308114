//! An open-loop client: requests start on time, whatever happened to earlier ones, and every one is accounted for.

use super::sum;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::Frame;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpStream;

type Body = http_body_util::combinators::BoxBody<Bytes, std::convert::Infallible>;

#[derive(Default)]
pub struct Ledger {
    pub sent: AtomicU64,
    pub whole: AtomicU64,
    /// Kind and result of every request without a complete and correct response.
    pub failed: Mutex<Vec<(String, String)>>,
    /// Ids of POSTs that got a complete response.
    pub posted: Mutex<Vec<String>>,
    /// By the server's name.
    pub by: Mutex<BTreeMap<String, u64>>,
}

pub struct Load {
    pub ledger: Arc<Ledger>,
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

/// Which kinds are sent, in turn.
pub const ALL: &[&str] = &["get", "post", "get-fresh", "put", "slow", "post-chunked", "get", "post-fresh", "big-post"];
pub const GETS: &[&str] = &["get", "get-fresh", "put", "slow", "get"];

impl Load {
    pub fn start(addr: SocketAddr, per_second: u64, kinds: &'static [&'static str]) -> Load {
        let ledger = Arc::new(Ledger::default());
        let stop = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(run(addr, per_second, kinds, ledger.clone(), stop.clone()));
        Load { ledger, stop, task }
    }

    /// Stops sending and waits for every answer.
    pub async fn end(self) -> Arc<Ledger> {
        self.stop.store(true, SeqCst);
        self.task.await.unwrap();
        self.ledger
    }
}

impl Ledger {
    pub fn assert_nothing_lost(&self) {
        let failed = self.failed.lock().unwrap();
        assert!(failed.is_empty(), "{} of {} lost: {:?}", failed.len(), self.sent.load(SeqCst), &failed[..failed.len().min(8)]);
        assert_eq!(self.sent.load(SeqCst), self.whole.load(SeqCst));
    }
}

async fn run(addr: SocketAddr, per_second: u64, kinds: &'static [&'static str], ledger: Arc<Ledger>, stop: Arc<AtomicBool>) {
    let kept: Arc<Mutex<Vec<SendRequest<Body>>>> = Arc::default();
    let mut tick = tokio::time::interval(Duration::from_micros(1_000_000 / per_second));
    // The machine is shared: after a pause that it caused, no burst that would test the machine.
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut open = tokio::task::JoinSet::new();
    let mut number = 0_u64;
    while !stop.load(SeqCst) {
        tick.tick().await;
        number += 1;
        let kind = kinds[number as usize % kinds.len()];
        ledger.sent.fetch_add(1, SeqCst);
        let (ledger, kept) = (ledger.clone(), kept.clone());
        open.spawn(async move {
            let id = format!("{kind}-{number}");
            let whole = tokio::time::timeout(Duration::from_secs(20), one(addr, kind, &id, &kept)).await;
            match whole.unwrap_or_else(|_| Err("nothing in 20 s".to_string())) {
                Ok(server) => {
                    ledger.whole.fetch_add(1, SeqCst);
                    *ledger.by.lock().unwrap().entry(server).or_default() += 1;
                    if kind.contains("post") {
                        ledger.posted.lock().unwrap().push(id);
                    }
                }
                Err(why) => ledger.failed.lock().unwrap().push((id, why)),
            }
        });
        while open.try_join_next().is_some() {}
    }
    while open.join_next().await.is_some() {}
}

/// The name of the server that answered, or the error as text.
async fn one(addr: SocketAddr, kind: &str, id: &str, kept: &Mutex<Vec<SendRequest<Body>>>) -> Result<String, String> {
    let fresh = kind.ends_with("-fresh");
    let old = if fresh { None } else { kept.lock().unwrap().pop() };
    let mut sender = match old.filter(|s| s.is_ready()) {
        Some(sender) => sender,
        None => connect(addr).await?,
    };
    let length = match kind {
        "big-post" => 200_000,
        _ if kind.contains("post") || kind == "put" => 300,
        _ => 0,
    };
    let bytes: Vec<u8> = (0..length).map(|i| (i * 7 + id.len()) as u8).collect();
    let method = if kind.contains("post") {
        Method::POST
    } else if kind == "put" {
        Method::PUT
    } else {
        Method::GET
    };
    let mut request = Request::builder().method(method).uri("/work").header("host", "test").header("x-id", id);
    if kind == "slow" {
        request = request.header("x-delay", "150");
    }
    let body = match kind {
        "post-chunked" => {
            let frames: Vec<Result<_, std::convert::Infallible>> =
                bytes.chunks(100).map(|c| Ok(Frame::data(Bytes::copy_from_slice(c)))).collect();
            StreamBody::new(futures_util::stream::iter(frames)).boxed()
        }
        _ => Full::new(Bytes::from(bytes.clone())).boxed(),
    };
    let response = sender.send_request(request.body(body).unwrap()).await.map_err(|e| format!("no answer: {e:?}"))?;
    let (head, body) = response.into_parts();
    let text = body.collect().await.map_err(|e| format!("{}: broken off: {e:?}", head.status))?.to_bytes();
    let text = String::from_utf8_lossy(&text).into_owned();
    if head.status != 200 {
        return Err(format!("{} {text}", head.status));
    }
    let server = text.strip_prefix(&format!("{id} {:x} {length} ", sum(&bytes))).ok_or_else(|| format!("wrong answer: {text}"))?;
    if !fresh {
        kept.lock().unwrap().push(sender);
    }
    Ok(server.to_string())
}

async fn connect(addr: SocketAddr) -> Result<SendRequest<Body>, String> {
    let stream = TcpStream::connect(addr).await.map_err(|e| format!("connect: {e}"))?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| format!("handshake: {e}"))?;
    tokio::spawn(connection);
    Ok(sender)
}
