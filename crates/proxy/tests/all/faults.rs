//! Servers that die, misreport, hang or answer early; and what clients get then.

use crate::support::client::{ALL, GETS, Load};
use crate::support::rig::Rig;
use crate::support::server::{Books, Server};
use crate::support::until;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Sends these bytes and reads until the other side closes.
async fn raw(rig: &Rig, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(15), reading).await.expect("the connection ends");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Connections are closed after every third response without an announcement, and after 30 ms idle. No request is lost, POSTs included.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_close_kept_connections_cost_nobody_a_request() {
    let rig = Rig::start().await;
    let rude = Books { close_every: 3.into(), ..Books::default() };
    let hasty = Books { idle_close_ms: 30.into(), ..Books::default() };
    let (rude, hasty) = (Server::with("rude", rude).await, Server::with("hasty", hasty).await);
    rig.targets("web-r1-1", &[&rude, &hasty]);
    rig.look().await;
    rig.healthy("web-r1-1", 2).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    let load = Load::start(rig.listen, 400, ALL);
    // Long enough that idle connections were closed many times while a request was being sent.
    until("a thousand requests", || async { load.ledger.sent.load(SeqCst) > 800 }).await;
    let ledger = load.end().await;
    ledger.assert_nothing_lost();
    for id in ledger.posted.lock().unwrap().iter() {
        let times = |s: &Server| s.books.seen.lock().unwrap().get(id).copied().unwrap_or(0);
        assert_eq!(times(&rude) + times(&hasty), 1, "{id}");
    }
    assert_eq!(rig.traffic("web-r1-1").await.errors, 0, "closing an idle connection is no error");
}

/// A server that keeps its connections open is trusted with POSTs on them: not every POST needs a new connection.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_connections_gets_posts_on_kept_connections() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let load = Load::start(rig.listen, 200, &["post", "get"]);
    // Trust needs 32 connections that were found open, some of them after half a second.
    until("trust", || async { server.served() > 250 }).await;
    let before = (server.served(), server.books.connections.load(SeqCst) - server.books.probes.load(SeqCst));
    until("as many requests again", || async { server.served() > before.0 + 200 }).await;
    let after = (server.served(), server.books.connections.load(SeqCst) - server.books.probes.load(SeqCst));
    load.end().await.assert_nothing_lost();
    let (requests, connections) = (after.0 - before.0, after.1.saturating_sub(before.1));
    assert!(connections * 4 < requests, "{connections} connections for {requests} requests");
}

async fn healthy(rig: &Rig) -> usize {
    rig.traffic("web-r1-1").await.targets.values().filter(|t| t.healthy_ms.is_some()).count()
}

/// One of three servers dies as by SIGKILL, without draining. Replayable requests are not lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_dies_costs_no_replayable_request() {
    let rig = Rig::start().await;
    let servers = [Server::start("a").await, Server::start("b").await, Server::start("c").await];
    rig.targets("web-r1-1", &servers.iter().collect::<Vec<_>>());
    rig.look().await;
    rig.healthy("web-r1-1", 3).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    let load = Load::start(rig.listen, 300, GETS);
    until("all three at work", || async { servers.iter().all(|s| s.served() > 30) }).await;
    for left in [2, 1] {
        servers[2 - left].kill();
        until("its probes fail", || async { healthy(&rig).await == left }).await;
        // A request may lose one server and be tried at the next, but not lose that one too.
        let sent = load.ledger.sent.load(SeqCst);
        until("all that may have met it are answered", || async { load.ledger.whole.load(SeqCst) >= sent }).await;
    }
    load.end().await.assert_nothing_lost();
    rig.idle("web-r1-1").await;
    let seen = rig.traffic("web-r1-1").await;
    assert_eq!(seen.targets.values().filter(|t| t.healthy_ms.is_some()).count(), 1);
    assert_eq!(seen.in_flight, 0);
}

/// Every fifth response is cut in the middle: the client sees it interrupted, never as complete; all counters agree exactly.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_answer_is_seen_broken_and_counted() {
    for chunked in [false, true] {
        let books = Books { truncate_every: 5.into(), chunked: chunked.into(), ..Books::default() };
        let server = Server::with("a", books).await;
        let rig = Rig::with(&server).await;
        let load = Load::start(rig.listen, 100, &["get", "post"]);
        until("answers that were cut", || async { server.books.cut.load(SeqCst) > 12 }).await;
        let ledger = load.end().await;
        let failed = ledger.failed.lock().unwrap().clone();
        assert!(failed.iter().all(|(_, why)| why.contains("broken off")), "{failed:?}");
        rig.idle("web-r1-1").await;
        let seen = rig.traffic("web-r1-1").await;
        let cut = server.books.cut.load(SeqCst);
        assert!(cut > 10);
        assert_eq!((seen.errors, failed.len() as u64, seen.requests), (cut, cut, ledger.sent.load(SeqCst)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_we_say_ourselves_can_be_told_from_what_a_release_says() {
    let server = Server::start("a").await;
    let mut rig = Rig::start().await;
    rig.answer_timeout_ms = 200;
    rig.shift(&[]).await;
    let get = b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
    let nobody = raw(&rig, get).await;
    assert!(
        nobody.starts_with("HTTP/1.1 503") && nobody.contains("x-afresh-error: 1") && nobody.contains(r#""code":"no-server""#),
        "{nobody}"
    );

    rig.targets("web-r1-1", &[&server]);
    rig.shift(&[("web-r1-1", 100)]).await;
    rig.healthy("web-r1-1", 1).await;
    server.books.delay_ms.store(2_000, SeqCst);
    let late = raw(&rig, get).await;
    assert!(late.starts_with("HTTP/1.1 504") && late.contains("answer-timeout"), "{late}");
    rig.idle("web-r1-1").await;
    assert_eq!(rig.traffic("web-r1-1").await.errors, 1);

    server.books.delay_ms.store(0, SeqCst);
    server.books.status.store(500, SeqCst);
    let own = raw(&rig, get).await;
    assert!(own.starts_with("HTTP/1.1 500") && !own.contains("x-afresh-error"), "{own}");
    rig.idle("web-r1-1").await;
    assert_eq!(rig.traffic("web-r1-1").await.errors, 2);

    // The only server refuses connections. It stays chosen, since failures never eject the last one.
    server.kill();
    let refused = raw(&rig, get).await;
    assert!(refused.starts_with("HTTP/1.1 502") && refused.contains("no-connection"), "{refused}");
    rig.idle("web-r1-1").await;
    let seen = rig.traffic("web-r1-1").await;
    assert_eq!((seen.requests, seen.errors), (3, 3));
}

/// A client that disconnects ends the exchange, and no error is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_customer_that_leaves_is_nobodys_error() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    server.books.delay_ms.store(60_000, SeqCst);
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\n\r\n").await.unwrap();
    until("the request at the server", || async { server.books.began.load(SeqCst) == 1 }).await;
    assert_eq!(rig.traffic("web-r1-1").await.in_flight, 1);
    drop(stream);
    rig.idle("web-r1-1").await;
    // Half a body, then it disconnects.
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: t\r\ncontent-length: 100000\r\n\r\nhalf").await.unwrap();
    until("the head at the server", || async { server.books.began.load(SeqCst) == 2 }).await;
    drop(stream);
    rig.idle("web-r1-1").await;
    let seen = rig.traffic("web-r1-1").await;
    assert_eq!((seen.requests, seen.errors), (2, 0));
}

/// No request before the first passed probe; and the traffic of a group without a usable server is routed to the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_turned_away_while_somebody_can_serve() {
    let rig = Rig::start().await;
    let good = Server::start("good").await;
    let sick = Server::with("sick", Books { sick: true.into(), ..Books::default() }).await;
    rig.targets("web-r1-1", &[&good]);
    rig.targets("web-r2-2", &[&sick]);
    rig.look().await;
    rig.healthy("web-r1-1", 1).await;
    rig.shift(&[("web-r1-1", 1), ("web-r2-2", 99)]).await;
    let load = Load::start(rig.listen, 300, ALL);
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!((sick.served(), rig.traffic("web-r2-2").await.requests), (0, 0), "it never passed a probe");
    sick.books.sick.store(false, SeqCst);
    rig.healthy("web-r2-2", 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(sick.served() > 0);
    // Now it fails its probes again: after three, the other one serves all.
    sick.books.sick.store(true, SeqCst);
    until("unhealthy", || async { rig.traffic("web-r2-2").await.targets.values().all(|t| t.healthy_ms.is_none()) }).await;
    rig.idle("web-r2-2").await;
    let before = sick.served();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(sick.served(), before);
    // When no server is healthy, those that once were are chosen rather than none.
    good.books.sick.store(true, SeqCst);
    until("all unhealthy", || async { rig.traffic("web-r1-1").await.targets.values().all(|t| t.healthy_ms.is_none()) }).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    load.end().await.assert_nothing_lost();
    assert!(sick.served() > before);
}

/// Garbage in a file changes nothing but the alarm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_files_leave_the_last_good_in_use() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let load = Load::start(rig.listen, 200, ALL);
    let (route, targets) = (rig.layout.routes().join("web.json"), rig.layout.targets().join("web-r1-1.json"));
    let good = (std::fs::read(&route).unwrap(), std::fs::read(&targets).unwrap());
    for (path, good) in [(&route, &good.0), (&targets, &good.1)] {
        let swapped = String::from_utf8_lossy(good).replace("web", "wob").into_bytes();
        for bad in [&b""[..], &good[..good.len() / 2], b"\0\0\0\0", b"{}", b"[1,2]", &swapped, &[b'x'; 100_000]] {
            crate::support::rig::put(path, bad);
            rig.look().await;
            let seen = rig.seen().await;
            let said = seen.trouble.expect("it says so");
            assert!(said.contains(path.file_name().unwrap().to_str().unwrap()), "{said}");
            assert_eq!(seen.weights, crate::support::rig::weights(&[("web-r1-1", 100)]));
        }
        crate::support::rig::put(path, good);
        rig.look().await;
        assert_eq!(rig.seen().await.trouble, None);
    }
    load.end().await.assert_nothing_lost();
}

/// A removed file changes nothing: its last content stays in use, also by a data plane that never read it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn missing_files_leave_the_last_good_in_use() {
    let server = Server::start("a").await;
    let mut rig = Rig::with(&server).await;
    let load = Load::start(rig.listen, 200, ALL);
    let (route, targets) = (rig.layout.routes().join("web.json"), rig.layout.targets().join("web-r1-1.json"));
    let kept = std::fs::read(&targets).unwrap();
    std::fs::remove_file(&targets).unwrap();
    rig.look().await;
    let said = rig.seen().await.trouble.expect("it says so");
    assert!(said.contains("targets/web-r1-1.json is missing"), "{said}");
    crate::support::rig::put(&targets, &kept);
    std::fs::remove_file(&route).unwrap();
    rig.look().await;
    let said = rig.seen().await.trouble.expect("it says so");
    assert!(said.contains("routes/web.json is missing"), "{said}");
    load.end().await.assert_nothing_lost();
    let stamp = rig.seen().await.stamp;
    rig.end().await;
    rig.begin().await;
    rig.healthy("web-r1-1", 1).await;
    assert!(raw(&rig, b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    let seen = rig.seen().await;
    assert_eq!((seen.weights, seen.stamp), (crate::support::rig::weights(&[("web-r1-1", 100)]), stamp));
    // A target that the keeper removed from a file is gone; so is a route whose file removes it.
    rig.targets("web-r1-1", &[]);
    rig.look().await;
    std::fs::remove_file(&targets).unwrap();
    rig.retire().await;
    rig.look().await;
    let alarms: Vec<api::fleet::Alarm> = rig.data.get("/v1/alarms").await.unwrap();
    assert_eq!(alarms, []);
    // Earlier connections are accepted first, so the port closes a moment after the file is read.
    until("the listener closed", || async { TcpStream::connect(rig.listen).await.is_err() }).await;
    // Its stamp stays visible: the driver that removed it can observe that, and no older stamp is accepted after it.
    let (over, seen) = (stamp.map(|s| s.seq + 1), rig.seen().await);
    assert_eq!((seen.stamp.map(|s| s.seq), seen.settings.is_none(), seen.weights.len()), (over, true, 0));
    rig.end().await;
    rig.begin().await;
    assert_eq!(rig.seen().await.stamp.map(|s| s.seq), over);
    assert!(TcpStream::connect(rig.listen).await.is_err());
}

/// A port in use: an alarm names the process, and listening is retried until the port is free.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_told_and_tried_again() {
    let server = Server::start("a").await;
    let rig = Rig::start().await;
    let thief = std::net::TcpListener::bind(rig.listen).unwrap();
    rig.targets("web-r1-1", &[&server]);
    rig.look().await;
    rig.healthy("web-r1-1", 1).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    let said = rig.seen().await.trouble.unwrap();
    assert!(said.contains(&format!("process {}", std::process::id())) && said.contains(&rig.listen.to_string()), "{said}");
    drop(thief);
    until("the port", || async { rig.seen().await.trouble.is_none() }).await;
    let load = Load::start(rig.listen, 100, ALL);
    tokio::time::sleep(Duration::from_millis(300)).await;
    // The listener moves: the old address is served until the new one is open, and no connection is cut off.
    load.end().await.assert_nothing_lost();
    rig.retire().await;
    until("the listener closed", || async { TcpStream::connect(rig.listen).await.is_err() }).await;
}

/// The data plane ends gracefully: requests in flight are answered, and its successor finds everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_waits_for_what_is_under_way() {
    let server = Server::start("a").await;
    let mut rig = Rig::with(&server).await;
    server.books.delay_ms.store(500, SeqCst);
    let mut stream = TcpStream::connect(rig.listen).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nx-id: 1\r\n\r\n").await.unwrap();
    until("the request at the server", || async { server.books.began.load(SeqCst) == 1 }).await;
    let epoch = rig.seen().await.epoch;
    rig.end().await;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
    server.books.delay_ms.store(0, SeqCst);
    rig.begin().await;
    let seen = rig.seen().await;
    assert!(seen.epoch > epoch && seen.weights == crate::support::rig::weights(&[("web-r1-1", 100)]));
    // This data plane has not probed it yet; clients wait in the backlog until it has.
    assert!(raw(&rig, b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.starts_with("HTTP/1.1 200"));
}

/// A refused connection has processed nothing: any method is retried on another server. The dead one still counts as healthy here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_whose_connection_is_refused_goes_elsewhere() {
    let rig = Rig::start().await;
    let servers = [Server::start("a").await, Server::start("b").await, Server::start("c").await];
    rig.targets("web-r1-1", &servers.iter().collect::<Vec<_>>());
    rig.look().await;
    rig.healthy("web-r1-1", 3).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    servers[0].kill();
    until("refused", || async { TcpStream::connect(servers[0].addr).await.is_err() }).await;
    let load = Load::start(rig.listen, 300, &["post", "post-fresh", "post-chunked", "big-post"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let ledger = load.end().await;
    ledger.assert_nothing_lost();
    let served: u64 = servers.iter().map(Server::served).sum();
    assert_eq!(served, ledger.sent.load(SeqCst), "none was executed twice");
    assert!(rig.traffic("web-r1-1").await.errors > 0, "the error is counted for the group");
}

/// Half a head and then nothing: dropped after ten seconds. A connection that is merely idle is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes 16 s"]
async fn a_customer_that_never_finishes_its_head_is_dropped() {
    let server = Server::start("a").await;
    let rig = Rig::with(&server).await;
    let mut idle = TcpStream::connect(rig.listen).await.unwrap();
    let mut slow = TcpStream::connect(rig.listen).await.unwrap();
    slow.write_all(b"GET / HTTP/1.1\r\nhost:").await.unwrap();
    let mut rest = Vec::new();
    tokio::time::timeout(Duration::from_secs(25), slow.read_to_end(&mut rest)).await.expect("it is dropped").unwrap();
    idle.write_all(b"GET / HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    idle.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
