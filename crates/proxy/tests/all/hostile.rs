//! Clients that exhaust connections, servers that frame a response in two ways or never end it, forged headers.

use crate::support::rig::{Rig, put};
use crate::support::server::{Books, Server, value};
use crate::support::until;
use api::Client;
use model::{Drain, Layout, TargetFile};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: t\r\nx-id: 1\r\nconnection: close\r\n\r\n";

/// What comes until the connection ends, or None if it does not end in this time.
async fn rest(mut stream: TcpStream, within: Duration) -> Option<String> {
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    tokio::time::timeout(within, read).await.ok()?.ok();
    Some(String::from_utf8_lossy(&answer).into_owned())
}

async fn raw(rig: &Rig, bytes: &str) -> String {
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    rest(stream, Duration::from_secs(20)).await.expect("the connection ends")
}

/// From an address that other clients do not use.
async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// A data plane as a process with at most 256 descriptors, over the directory of a rig that has ended.
struct Poor {
    child: Child,
    layout: Layout,
    data: Client,
}

impl Poor {
    async fn start(rig: &mut Rig) -> Poor {
        rig.end().await;
        let layout = rig.layout.clone();
        let log = std::fs::File::create(layout.proxy().join("data.log")).unwrap();
        let program = crate::program::command("data", &layout);
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n 256; exec \"$0\" \"$@\""]).arg(program.get_program()).args(program.get_args());
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let poor = Poor { child, data: Client::unix(layout.data_socket()).timeout(Duration::from_secs(5)), layout };
        until("the data plane", || async { poor.data.get::<serde_json::Value>("/v1/health").await.is_ok() }).await;
        poor
    }

    async fn stats(&self) -> serde_json::Value {
        self.data.get("/v1/stats").await.expect("how things are can still be asked")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.layout.proxy().join("data.log")).unwrap()
    }
}

impl Drop for Poor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Idle connections from one address and then from many: others are served, a response in progress is not cut off, the control side can
/// still connect, and the log stays short.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_starve_nobody() {
    let server = Server::start("a").await;
    let mut rig = Rig::with(&server).await;
    let poor = Poor::start(&mut rig).await;
    let mut busy = TcpStream::connect(rig.listen).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nx-id: busy\r\nx-delay: 3000\r\nconnection: close\r\n\r\n").await.unwrap();
    until("the slow request", || async { server.books.began.load(SeqCst) == 1 }).await;
    let mut idle = Vec::new();
    for number in 0..450_u32 {
        // The second half comes from an address each.
        let last = if number < 300 { [0, 0, 1] } else { [7, (number >> 8) as u8, number as u8] };
        let mut stream = connect_from(Ipv4Addr::new(127, last[0], last[1], last[2]), rig.listen).await;
        if number % 3 == 0 {
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nhos").await;
        }
        idle.push(stream);
    }
    let stats = poor.stats().await;
    let mut other = connect_from(Ipv4Addr::new(127, 9, 9, 9), rig.listen).await;
    other.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nx-id: 7\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = rest(other, Duration::from_secs(60)).await.expect("somebody else is served");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let whole = rest(busy, Duration::from_secs(20)).await.expect("who was being answered is");
    assert!(whole.starts_with("HTTP/1.1 200") && whole.contains("busy "), "{whole}");
    let (open, max) = (stats["connections"]["open"].as_u64().unwrap(), stats["connections"]["max"].as_u64().unwrap());
    assert!(open <= max && max < 128, "{stats}");
    let log = poor.log();
    assert!(log.contains("limits from") && log.lines().count() < 20, "{} lines: {log}", log.lines().count());
    drop(idle);
}

/// All connections of an address in use: its next one is closed, and another address has room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_uses_its_share_is_given_no_more() {
    let server = Server::start("a").await;
    let mut rig = Rig::with(&server).await;
    let poor = Poor::start(&mut rig).await;
    let max = poor.stats().await["connections"]["max_per_client"].as_u64().unwrap();
    server.books.delay_ms.store(60_000, SeqCst);
    let mut held = Vec::new();
    for _ in 0..max {
        let mut stream = TcpStream::connect(rig.listen).await.unwrap();
        stream.write_all(GET).await.unwrap();
        held.push(stream);
    }
    until("all in use", || async { server.books.began.load(SeqCst) == max }).await;
    server.books.delay_ms.store(0, SeqCst);
    let mut more = TcpStream::connect(rig.listen).await.unwrap();
    let _ = more.write_all(GET).await;
    assert_eq!(rest(more, Duration::from_secs(20)).await.as_deref(), Some(""), "closed without an answer");
    let mut other = connect_from(Ipv4Addr::new(127, 9, 9, 9), rig.listen).await;
    other.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.unwrap();
    assert!(rest(other, Duration::from_secs(20)).await.unwrap().starts_with("HTTP/1.1 200"));
    let stats = poor.stats().await;
    assert_eq!(stats["connections"]["refused"], 1, "{stats}");
}

/// What a server does on each of its connections, the probes' apart.
#[derive(Clone, Copy)]
enum Then {
    /// Waits for the next request, and answers it with what it is.
    Serve,
    /// Sends nothing more.
    Stall,
    /// Sends a byte every ten milliseconds without end.
    Drip,
}

struct Scripted {
    server: Server,
    /// Connections on which a request other than a probe came.
    connections: Arc<AtomicU64>,
}

async fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// The first request on each connection gets `first`, then the given behaviour.
async fn scripted(first: &'static str, then: Then) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = Server::at(listener.local_addr().unwrap());
    let connections = Arc::new(AtomicU64::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let asked = head(&mut stream).await?;
                if asked.contains("afresh-probe") {
                    return stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await.ok();
                }
                counted.fetch_add(1, SeqCst);
                stream.write_all(first.as_bytes()).await.ok()?;
                loop {
                    match then {
                        Then::Stall => std::future::pending::<()>().await,
                        Then::Drip => {
                            stream.write_all(b"1\r\nx\r\n").await.ok()?;
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        Then::Serve => {
                            head(&mut stream).await?;
                            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecond").await.ok()?;
                        }
                    }
                }
            });
        }
    });
    Scripted { server, connections }
}

async fn rig_with(server: &Server, answer_timeout_ms: u64) -> Rig {
    let mut rig = Rig::start().await;
    rig.answer_timeout_ms = answer_timeout_ms;
    rig.targets("web-r1-1", &[server]);
    rig.look().await;
    rig.healthy("web-r1-1", 1).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    rig
}

/// A server that stops in the middle of a response blocks neither the client nor the account.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_stalls_is_given_up() {
    for first in
        ["HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
    {
        let scripted = scripted(first, Then::Stall).await;
        let rig = rig_with(&scripted.server, 300).await;
        let mut stream = TcpStream::connect(rig.listen).await.unwrap();
        stream.write_all(GET).await.unwrap();
        let answer = rest(stream, Duration::from_secs(20)).await.expect("it is given up");
        assert!(answer.contains("half") && !answer.ends_with("0\r\n\r\n"), "broken off, not whole: {answer}");
        rig.idle("web-r1-1").await;
        let seen = rig.traffic("web-r1-1").await;
        assert_eq!((seen.requests, seen.errors, seen.in_flight), (1, 1, 0));
        assert!(seen.targets.values().all(|t| t.in_flight == 0));
    }
}

/// A response that never ends, and one that does not begin: both are interrupted at the drain's deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_whatever_is_in_flight() {
    for (first, then) in [("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", Then::Drip), ("", Then::Stall)] {
        let scripted = scripted(first, then).await;
        let rig = rig_with(&scripted.server, 3_600_000).await;
        let mut stream = TcpStream::connect(rig.listen).await.unwrap();
        stream.write_all(GET).await.unwrap();
        until("a request at the server", || async { scripted.connections.load(SeqCst) == 1 }).await;
        let path = rig.layout.target(&crate::support::rig::group("web-r1-1"));
        let mut file: TargetFile = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        file.drain = Drain { within_ms: 200, ..Drain::default() };
        file.targets[0].draining = true;
        put(&path, &serde_json::to_vec(&file).unwrap());
        rig.look().await;
        assert_eq!(rig.traffic("web-r1-1").await.in_flight, 1, "it has its time");
        rig.drained("web-r1-1", &scripted.server).await;
        assert_eq!(rig.traffic("web-r1-1").await.in_flight, 0);
        assert!(rest(stream, Duration::from_secs(20)).await.is_some());
    }
}

/// A response whose end two parsers would find at two places is not forwarded, and its connection is not reused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_framed_in_two_ways_is_refused() {
    let inner = "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nsmuggled";
    let framings = [
        "content-length: 4\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "content-length: 2\r\ncontent-length: 2\r\n\r\nok",
        "transfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "transfer-encoding: identity\r\n\r\nok",
        "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ];
    for framing in framings {
        let text: &'static str = format!("HTTP/1.1 200 OK\r\n{framing}{inner}").leak();
        let scripted = scripted(text, Then::Serve).await;
        let rig = rig_with(&scripted.server, 5_000).await;
        for number in 1..=2 {
            let answer = raw(&rig, "GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
            assert!(answer.starts_with("HTTP/1.1 502") && answer.contains("bad-framing"), "{framing:?}: {answer}");
            assert!(!answer.contains("smuggled") && !answer.contains("second"), "{framing:?}: {answer}");
            assert_eq!(scripted.connections.load(SeqCst), number, "{framing:?}: its connection was used again");
        }
        rig.idle("web-r1-1").await;
        let seen = rig.traffic("web-r1-1").await;
        assert_eq!((seen.requests, seen.errors), (2, 2), "{framing:?}");
    }
    // One framing, and the connection is reused.
    for framing in ["content-length: 2\r\n\r\nok", "transfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"] {
        let scripted = scripted(format!("HTTP/1.1 200 OK\r\n{framing}").leak(), Then::Serve).await;
        let rig = rig_with(&scripted.server, 5_000).await;
        let answers = [raw(&rig, "GET / HTTP/1.0\r\n\r\n").await, raw(&rig, "GET / HTTP/1.0\r\n\r\n").await];
        assert!(answers[0].ends_with("ok") && answers[1].ends_with("second"), "{answers:?}");
        assert_eq!(scripted.connections.load(SeqCst), 1);
    }
}

/// A body reaches the server whatever the method and the framing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_in_chunks_reaches_the_server() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let sum = format!("{:x}", crate::support::sum(b"hello world"));
    for method in ["GET", "DELETE", "OPTIONS", "PUT", "POST", "PATCH"] {
        let head = format!("{method} /x HTTP/1.1\r\nhost: t\r\nx-id: {method}\r\nconnection: close\r\n");
        for body in ["transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "content-length: 11\r\n\r\nhello world"] {
            let answer = raw(&rig, &format!("{head}{body}")).await;
            assert!(answer.contains(&format!("{method} {sum} 11 a")), "{method} {body:?}: {answer}");
        }
        let answer = raw(&rig, &format!("{head}transfer-encoding: chunked\r\n\r\n0\r\n\r\n")).await;
        assert!(answer.contains(" 0 a"), "{method}: {answer}");
    }
    for head in server.books.heads.lock().unwrap().iter() {
        assert!(value(head, "content-length").is_none() || value(head, "transfer-encoding").is_none(), "{head}");
    }
}

/// Nor after its body. The server here reads no trailers: it takes any that reach it for the head of another request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_a_client_in_trailers_do_not_pass() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let head = "POST /x HTTP/1.1\r\nhost: t\r\nconnection: close\r\n";
    let trailers = "transfer-encoding: chunked\r\ntrailer: x_real-ip, forwarded\r\n\r\n2\r\nok\r\n0\r\nx_real-ip: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\n\r\n";
    for number in 1..=3 {
        let answer = raw(&rig, &format!("{head}{trailers}")).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(" 2 a"), "{answer}");
        let heads = server.books.heads.lock().unwrap().clone();
        assert!(heads.len() == number && heads.iter().all(|h| h.starts_with("POST /x ") && !h.contains("6.6.6.6")), "{heads:?}");
    }
}

/// No claim of a client about the origin of a request reaches a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_of_a_client_are_replaced() {
    let server = Server::with("a", Books::default()).await;
    let rig = Rig::with(&server).await;
    let names = [
        "Forwarded",
        "X-Real-IP",
        "X-Forwarded-Host",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Server",
        "X-Forwarded-Prefix",
        "X-Forwarded",
        "X_Forwarded_For",
        "X_REAL_IP",
        "True-Client-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "Client-IP",
    ];
    let forged: String = names.iter().flat_map(|name| [format!("{name}: for=6.6.6.6\r\n"), format!("{name}: 6.6.6.6\r\n")]).collect();
    let listed = "connection: close, x-forwarded-for, forwarded, x-real-ip\r\n";
    raw(&rig, &format!("GET / HTTP/1.1\r\nhost: shop.example:81\r\nx-kept: 6.6.6.7\r\n{listed}{forged}\r\n")).await;
    let head = server.books.heads.lock().unwrap()[0].to_ascii_lowercase();
    assert!(!head.contains("6.6.6.6") && value(&head, "x-kept").is_some(), "{head}");
    let own = [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-host", "shop.example:81"),
        ("x-forwarded-proto", "http"),
        ("forwarded", "for=127.0.0.1;host=\"shop.example:81\";proto=http"),
    ];
    for (name, wanted) in own {
        assert_eq!(value(&head, name).as_deref(), Some(wanted), "{head}");
        assert_eq!(head.lines().filter(|line| line.starts_with(&format!("{name}:"))).count(), 1, "{head}");
    }
    // The absolute form: its authority is the host.
    raw(&rig, "GET http://one.example/ HTTP/1.1\r\nhost: two.example\r\nconnection: close\r\n\r\n").await;
    let head = server.books.heads.lock().unwrap()[1].clone();
    assert_eq!(value(&head, "x-forwarded-host").as_deref(), Some("one.example"), "{head}");
}
