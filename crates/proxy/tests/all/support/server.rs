//! A server of a release, written on a bare socket, so that it can do what a good HTTP library would not.

use super::sum;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Its behaviour, and what it observed.
#[derive(Default)]
pub struct Books {
    /// Closes the connection after every n-th response without announcing it. 0: never.
    pub close_every: AtomicU64,
    /// Closes a connection that was idle for this time. 0: never.
    pub idle_close_ms: AtomicU64,
    /// Interrupts every n-th response in the middle. 0: never.
    pub truncate_every: AtomicU64,
    /// Waits before it answers.
    pub delay_ms: AtomicU64,
    pub status: AtomicU64,
    /// Probes fail.
    pub sick: AtomicBool,
    /// Answered in chunks.
    pub chunked: AtomicBool,
    /// Requests that were not probes.
    pub served: AtomicU64,
    pub began: AtomicU64,
    pub probes: AtomicU64,
    pub connections: AtomicU64,
    pub cut: AtomicU64,
    /// How often each id was executed.
    pub seen: Mutex<BTreeMap<String, u32>>,
    /// Every request's head, as it came.
    pub heads: Mutex<Vec<String>>,
    /// The balancer has reported that no more requests will come.
    pub drained: AtomicBool,
    /// A request came after that.
    pub late: AtomicU64,
}

pub struct Server {
    pub addr: SocketAddr,
    pub books: Arc<Books>,
    stop: watch::Sender<bool>,
}

impl Server {
    pub async fn start(name: &str) -> Server {
        Self::with(name, Books { status: AtomicU64::new(200), ..Books::default() }).await
    }

    pub async fn with(name: &str, books: Books) -> Server {
        if books.status.load(SeqCst) == 0 {
            books.status.store(200, SeqCst);
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let books = Arc::new(books);
        let (stop, ear) = watch::channel(false);
        tokio::spawn(accept(listener, name.to_string(), books.clone(), ear));
        Server { addr, books, stop }
    }

    /// A server that other code implements.
    pub fn at(addr: SocketAddr) -> Server {
        Server { addr, books: Arc::default(), stop: watch::channel(false).0 }
    }

    /// As a SIGKILL: the listener closes, every connection is reset.
    pub fn kill(&self) {
        self.stop.send_replace(true);
    }

    pub fn served(&self) -> u64 {
        self.books.served.load(SeqCst)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn accept(listener: TcpListener, name: String, books: Arc<Books>, stop: watch::Receiver<bool>) {
    let mut ear = stop.clone();
    loop {
        tokio::select! {
            _ = ear.wait_for(|s| *s) => return,
            Ok((stream, _)) = listener.accept() => {
                books.connections.fetch_add(1, SeqCst);
                let (name, books, mut ear) = (name.clone(), books.clone(), stop.clone());
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    tokio::select! { _ = ear.wait_for(|s| *s) => {}, _ = talk(stream, &name, &books) => {} }
                });
            }
        }
    }
}

async fn talk(stream: TcpStream, name: &str, books: &Books) -> Option<()> {
    let mut stream = BufReader::new(stream);
    let mut first = true;
    loop {
        // Between requests only: on a busy machine the first head may take longer than an idle connection is kept.
        let idle = if first { 0 } else { books.idle_close_ms.load(SeqCst) };
        first = false;
        let head = if idle > 0 {
            tokio::time::timeout(Duration::from_millis(idle), head(&mut stream)).await.ok()??
        } else {
            head(&mut stream).await?
        };
        let probe = head.to_ascii_lowercase().contains("user-agent: afresh-probe");
        if probe {
            books.probes.fetch_add(1, SeqCst);
        } else {
            books.began.fetch_add(1, SeqCst);
            books.late.fetch_add(u64::from(books.drained.load(SeqCst)), SeqCst);
            books.heads.lock().unwrap().push(head.clone());
        }
        let body = body(&mut stream, &head).await?;
        if probe {
            let status = if books.sick.load(SeqCst) { "500 sick" } else { "200 OK" };
            stream.write_all(format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\nhi").as_bytes()).await.ok()?;
            return None;
        }
        let id = value(&head, "x-id").unwrap_or_default();
        *books.seen.lock().unwrap().entry(id.clone()).or_default() += 1;
        let asked: u64 = value(&head, "x-delay").and_then(|d| d.parse().ok()).unwrap_or(0);
        let delay = books.delay_ms.load(SeqCst).max(asked);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let number = books.served.fetch_add(1, SeqCst) + 1;
        let text = format!("{id} {:x} {} {name}", sum(&body), body.len());
        let every = |n: &std::sync::atomic::AtomicU64| {
            let n = n.load(SeqCst);
            n > 0 && number.is_multiple_of(n)
        };
        let cut = every(&books.truncate_every);
        books.cut.fetch_add(u64::from(cut), SeqCst);
        answer(&mut stream, &head, &text, books, cut).await?;
        if cut || every(&books.close_every) {
            return None;
        }
    }
}

async fn answer(stream: &mut BufReader<TcpStream>, head: &str, text: &str, books: &Books, cut: bool) -> Option<()> {
    let status = books.status.load(SeqCst);
    let sent = if cut { &text[..text.len() / 2] } else { text };
    let out = if head.starts_with("HEAD ") {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len())
    } else if books.chunked.load(SeqCst) {
        let end = if cut { "" } else { "0\r\n\r\n" };
        format!("HTTP/1.1 {status} X\r\ntransfer-encoding: chunked\r\n\r\n{:x}\r\n{sent}\r\n{end}", sent.len())
    } else {
        format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nkeep-alive: timeout=9\r\nx-by: {}\r\n\r\n{sent}", text.len(), "t")
    };
    stream.write_all(out.as_bytes()).await.ok()
}

async fn head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

async fn body(stream: &mut BufReader<TcpStream>, head: &str) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    if let Some(length) = value(head, "content-length") {
        body.resize(length.parse().ok()?, 0);
        stream.read_exact(&mut body).await.ok()?;
    } else if value(head, "transfer-encoding").is_some() {
        loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") {
                line.push(stream.read_u8().await.ok()?);
            }
            let length = usize::from_str_radix(std::str::from_utf8(&line).ok()?.trim(), 16).ok()?;
            let mut chunk = vec![0; length + 2];
            stream.read_exact(&mut chunk).await.ok()?;
            if length == 0 {
                break;
            }
            body.extend_from_slice(&chunk[..length]);
        }
    }
    Some(body)
}

pub fn value(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|l| l.split_once(':').filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim().to_string()))
}
