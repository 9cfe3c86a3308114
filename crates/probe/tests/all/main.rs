//! Probes against real servers.

use probe::{Failure, http, tcp};
use std::time::Duration;

#[tokio::test]
async fn every_answer_is_judged_as_the_table_says() {
    probe::testing::judge_every_case(|address, within| http(address, "/healthz", within)).await;
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let within = Duration::from_secs(5);
    assert!(matches!(http(free, "/", within).await, Err(Failure::Unreachable(_))));
    assert!(matches!(tcp(free, within).await, Err(Failure::Unreachable(_))));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert!(tcp(listener.local_addr().unwrap(), within).await.is_ok(), "whether it answers is not asked");
}

/// The path comes from a service file.
#[tokio::test]
async fn a_path_adds_no_header() {
    use tokio::io::AsyncReadExt;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = vec![0; 4_096];
        let count = stream.read(&mut bytes).await.unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    });
    let _ = http(address, "x y\r\nEvil: 1", Duration::from_secs(1)).await;
    let request = seen.await.unwrap();
    let mut lines = request.lines();
    assert_eq!(lines.next(), Some("GET /xyEvil:1 HTTP/1.1"));
    assert!(!lines.any(|line| line.starts_with("Evil")), "{request}");
}

#[tokio::test]
async fn a_body_behind_its_head_is_quoted() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 4_096]).await;
        stream.write_all(b"HTTP/1.1 500 x\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        stream.write_all(b"database is locked\n").await.unwrap();
    });
    let failure = http(address, "/", Duration::from_secs(60)).await.unwrap_err();
    assert_eq!(failure.to_string(), "500 \"database is locked\"");
}
