//! Byte by byte: what passes, what is changed, what is refused.

use crate::support::rig::Rig;
use crate::support::server::{Server, value};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

async fn raw(rig: &Rig, bytes: &str) -> String {
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap_or_else(|_| {
        panic!("the connection does not end: {} -> {}", &bytes[..bytes.len().min(80)], String::from_utf8_lossy(&answer))
    });
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_one_hop_stay_on_it() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let request = "GET http://shop.example/a?b=c HTTP/1.1\r\nhost: other\r\nconnection: close, x-secret\r\nx-secret: 1\r\nkeep-alive: 5\r\n\
        te: trailers\r\nupgrade: h2c\r\nproxy-connection: x\r\nx-forwarded-for: 9.9.9.9\r\nx-kept: yes\r\nx-forwarded-proto: https\r\n\r\n";
    assert!(raw(&rig, request).await.starts_with("HTTP/1.1 200"));
    let head = server.books.heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{head}");
    for gone in ["connection", "x-secret", "keep-alive", "te", "upgrade", "proxy-connection", "transfer-encoding"] {
        assert_eq!(value(&head, gone), None, "{gone} in {head}");
    }
    assert_eq!(value(&head, "host").as_deref(), Some("shop.example"));
    assert_eq!(value(&head, "x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(value(&head, "x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(value(&head, "x-kept").as_deref(), Some("yes"));
}

/// A request with two lengths reaches the server framed in exactly one way, as one request, or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_smuggled() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let inner = "GET /smuggled HTTP/1.1\r\nhost: t\r\n\r\n";
    let bodies = [
        format!("content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("transfer-encoding: chunked\r\ncontent-length: {}\r\n\r\n0\r\n\r\n{inner}", inner.len() + 5),
        format!("content-length: 0\r\ncontent-length: {}\r\n\r\n{inner}", inner.len()),
        format!("content-length: 0, {}\r\n\r\n{inner}", inner.len()),
        format!("content-length: +{}\r\n\r\n{inner}", inner.len()),
        format!("content-length : {}\r\n\r\n{inner}", inner.len()),
        format!("transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n{inner}"),
        format!("transfer-encoding: gzip, chunked\r\nconnection: close\r\n\r\n0\r\n\r\n{inner}"),
        format!("transfer-encoding: xchunked\r\n\r\n0\r\n\r\n{inner}"),
        format!("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n{inner}"),
        format!("transfer-encoding:\tchunked\r\nconnection: close\r\n\r\n0;x=\"\r\n\r\n{inner}"),
        format!("transfer-encoding: chunked\r\nconnection: content-length, close\r\n\r\n-1\r\n\r\n{inner}"),
        format!("x: y\r\n content-length: {}\r\n\r\n{inner}", inner.len()),
    ];
    for (number, body) in bodies.iter().enumerate() {
        let before = server.books.heads.lock().unwrap().len();
        let answer = raw(&rig, &format!("POST /outer HTTP/1.1\r\nhost: t\r\n{body}")).await;
        let heads = server.books.heads.lock().unwrap()[before..].to_vec();
        assert!(heads.iter().all(|h| h.starts_with("POST /outer ")), "case {number}: {heads:?}\n{answer}");
        for head in &heads {
            let framed = [value(head, "content-length"), value(head, "transfer-encoding")];
            assert!(framed.iter().flatten().count() <= 1, "case {number}: {head}");
        }
        assert!(answer.matches("HTTP/1.1").count() <= 1, "case {number}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_offered_is_refused_clearly() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let socket = "connection: upgrade, close\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n";
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nhost: t\r\n{socket}\r\n"), "501"),
        ("CONNECT a:1 HTTP/1.1\r\nhost: a:1\r\nconnection: close\r\n\r\n".to_string(), "501"),
        ("GET / HTTP/1.1\r\nconnection: close\r\n\r\n".to_string(), "400"),
        ("GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n".to_string(), "400"),
        ("POST / HTTP/1.1\r\nhost: a\r\nexpect: tea\r\ncontent-length: 1\r\nconnection: close\r\n\r\n".to_string(), "417"),
        (format!("GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(100_000)), "431"),
        (format!("GET / HTTP/1.1\r\nhost: t\r\n{}\r\n", "x: y\r\n".repeat(300)), "431"),
        ("nonsense\r\n\r\n".to_string(), "400"),
    ] {
        let answer = raw(&rig, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{}: {answer}", &request[..request.len().min(60)]);
    }
    assert_eq!(server.books.began.load(SeqCst), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_and_odd_forms_pass() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    // HTTP/1.0: no Host, the connection ends with the response.
    let answer = raw(&rig, "GET /old HTTP/1.0\r\nx-id: 7\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.contains("\r\n\r\n7 "), "{answer}");
    assert_eq!(value(&server.books.heads.lock().unwrap()[0], "host"), Some(rig.listen.to_string()));
    // HTTP/1.0 and a chunked response: it is sent without chunks.
    server.books.chunked.store(true, SeqCst);
    let answer = raw(&rig, "GET /old HTTP/1.0\r\nx-id: 7\r\n\r\n").await;
    assert!(answer.contains("\r\n\r\n7 ") && !answer.contains("chunked"), "{answer}");
    server.books.chunked.store(false, SeqCst);
    // HEAD: the length of the body that is not sent.
    let answer = raw(&rig, "HEAD / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await;
    let length = value(&answer, "content-length").unwrap();
    assert!(answer.ends_with("\r\n\r\n") && length.parse::<u32>().unwrap() > 10, "{answer}");
    // 100 comes before the body is sent.
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: 2\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut hundred = [0; 25];
    stream.read_exact(&mut hundred).await.unwrap();
    assert!(hundred.starts_with(b"HTTP/1.1 100 Continue"));
    stream.write_all(b"ok").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(rest.starts_with("HTTP/1.1 200"), "{rest}");
    assert_eq!(value(server.books.heads.lock().unwrap().last().unwrap(), "expect"), None);
    // Two requests in one packet are answered one after the other.
    let two = "GET /1 HTTP/1.1\r\nhost: t\r\nx-id: one\r\n\r\nGET /2 HTTP/1.1\r\nhost: t\r\nx-id: two\r\nconnection: close\r\n\r\n";
    let answer = raw(&rig, two).await;
    assert!(answer.find("one ").unwrap() < answer.find("two ").unwrap(), "{answer}");
    rig.idle("web-r1-1").await;
}

/// 48 MB up, then 48 MB down to a slow reader: nothing is lost, and nothing is buffered without bound.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream() {
    const BYTES: usize = 48 << 20;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let sent = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = sent.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let counted = counted.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    match stream.read_u8().await {
                        Ok(byte) => head.push(byte),
                        Err(_) => return,
                    }
                }
                let head = String::from_utf8(head).unwrap();
                let mut left: usize = value(&head, "content-length").map_or(0, |l| l.parse().unwrap());
                let mut buffer = vec![7; 1 << 16];
                while left > 0 {
                    left -= stream.read(&mut buffer).await.unwrap();
                }
                let length = if head.contains("/big") { BYTES } else { 0 };
                stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes()).await.unwrap();
                let mut rest = length;
                while rest > 0 {
                    let n = rest.min(1 << 16);
                    if stream.write_all(&vec![7; n]).await.is_err() {
                        return;
                    }
                    counted.fetch_add(n, SeqCst);
                    rest -= n;
                }
            });
        }
    });
    let server = Server::at(addr);
    let rig = Rig::with(&server).await;
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    let head = format!("POST /big HTTP/1.1\r\nhost: t\r\ncontent-length: {BYTES}\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..BYTES >> 16 {
        stream.write_all(&vec![9; 1 << 16]).await.unwrap();
    }
    // The reader pauses: what the server could send meanwhile fits into the buffers in between.
    let mut first = [0; 1_000];
    stream.read_exact(&mut first).await.unwrap();
    let mut before = 0;
    crate::support::until("the server has to wait", || {
        let now = sent.load(SeqCst);
        let still = now == before && now > 0;
        before = now;
        async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            still
        }
    })
    .await;
    assert!(sent.load(SeqCst) < BYTES / 2, "{} bytes were taken from the server for a customer that reads nothing", sent.load(SeqCst));
    assert_eq!(rig.traffic("web-r1-1").await.in_flight, 1, "it counts until the last byte");
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    let head_bytes = first.windows(4).position(|w| w == b"\r\n\r\n").unwrap() + 4;
    assert_eq!(first.len() - head_bytes + rest.len(), BYTES);
    rig.idle("web-r1-1").await;
}
