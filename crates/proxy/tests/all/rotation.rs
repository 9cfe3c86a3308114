//! Rotations under load without a lost request.

use crate::support::client::{ALL, Load};
use crate::support::rig::Rig;
use crate::support::server::Server;
use std::sync::atomic::Ordering::SeqCst;

async fn fleet(name: &str, count: usize) -> Vec<Server> {
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(Server::start(name).await);
    }
    servers
}

/// Start new, balancer's checks pass, swap, old observed idle, old drained, kill -9: in that order, again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_in_twelve_rotations() {
    let rig = Rig::start().await;
    let mut old = fleet("web-r1-1", 2).await;
    rig.targets("web-r1-1", &old.iter().collect::<Vec<_>>());
    rig.look().await;
    rig.healthy("web-r1-1", 2).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    let load = Load::start(rig.listen, 400, ALL);
    let mut posts_executed = std::collections::BTreeMap::<String, u32>::new();
    let mut gone = 0;
    for number in 2..14 {
        let (was, is) = (format!("web-r{}-{}", number - 1, number - 1), format!("web-r{number}-{number}"));
        let new = fleet(&is, 2).await;
        rig.targets(&is, &new.iter().collect::<Vec<_>>());
        rig.healthy(&is, 2).await;
        rig.shift(&[(&was, 67), (&is, 33)]).await;
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        rig.shift(&[(&is, 100)]).await;
        rig.idle(&was).await;
        // Once the count was observed as 0, no request may come: the engine relies on it.
        old.iter().for_each(|s| s.books.drained.store(true, SeqCst));
        rig.drain(&was, &old.iter().map(|s| (s, true)).collect::<Vec<_>>());
        for server in &old {
            rig.drained(&was, server).await;
            server.kill();
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        for server in old {
            assert_eq!(server.books.late.load(SeqCst), 0, "a request came after the last");
            gone += server.served();
            for (id, times) in std::mem::take(&mut *server.books.seen.lock().unwrap()) {
                *posts_executed.entry(id).or_default() += times;
            }
        }
        std::fs::remove_file(rig.layout.target(&crate::support::rig::group(&was))).unwrap();
        old = new;
    }
    let ledger = load.end().await;
    ledger.assert_nothing_lost();
    for server in &old {
        gone += server.served();
        for (id, times) in std::mem::take(&mut *server.books.seen.lock().unwrap()) {
            *posts_executed.entry(id).or_default() += times;
        }
    }
    for id in ledger.posted.lock().unwrap().iter() {
        assert_eq!(posts_executed.get(id), Some(&1), "{id} must have been executed exactly once");
    }
    assert_eq!(gone, ledger.sent.load(SeqCst), "nothing was replayed without need");
    eprintln!("{} requests, {:?}", ledger.sent.load(SeqCst), ledger.by.lock().unwrap());
}

/// Weights change as quickly as possible, with slow responses in progress.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_weights_are_swapped_without_pause() {
    let rig = Rig::start().await;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    rig.targets("web-r1-1", &[&a]);
    rig.targets("web-r2-2", &[&b]);
    rig.look().await;
    rig.healthy("web-r1-1", 1).await;
    rig.healthy("web-r2-2", 1).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    let load = Load::start(rig.listen, 500, ALL);
    for step in 0..200_u32 {
        let part = step * 37 % 101;
        rig.shift(&[("web-r1-1", part), ("web-r2-2", 100 - part)]).await;
    }
    let ledger = load.end().await;
    ledger.assert_nothing_lost();
    assert_eq!(a.served() + b.served(), ledger.sent.load(SeqCst));
    rig.idle("web-r1-1").await;
    rig.idle("web-r2-2").await;
    let (a, b) = (rig.traffic("web-r1-1").await, rig.traffic("web-r2-2").await);
    assert_eq!((a.requests + b.requests, a.errors + b.errors), (ledger.sent.load(SeqCst), 0));
}

/// The observer's 0 is final: once the weights are observed without a group and its count is 0, no request reaches it any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn zero_in_flight_without_weight_is_final() {
    let rig = Rig::start().await;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    rig.targets("web-r1-1", &[&a]);
    rig.targets("web-r2-2", &[&b]);
    rig.look().await;
    rig.healthy("web-r1-1", 1).await;
    rig.healthy("web-r2-2", 1).await;
    let load = Load::start(rig.listen, 600, &["get", "get-fresh"]);
    let mut lost = 0;
    for _ in 0..60 {
        a.books.drained.store(false, SeqCst);
        rig.shift(&[("web-r1-1", 50), ("web-r2-2", 50)]).await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        rig.shift(&[("web-r2-2", 100)]).await;
        rig.idle("web-r1-1").await;
        a.books.drained.store(true, SeqCst);
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        lost = a.books.late.load(SeqCst);
    }
    drop(load.end().await);
    assert_eq!(lost, 0, "a request came after the count was seen as 0");
}

/// Draining: no new requests, and drained is reported only when the last one has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn draining_waits_for_the_last_answer() {
    let rig = Rig::start().await;
    let (a, b) = (Server::start("a").await, Server::start("b").await);
    rig.targets("web-r1-1", &[&a]);
    rig.targets("web-r2-2", &[&b]);
    rig.look().await;
    rig.healthy("web-r1-1", 1).await;
    rig.healthy("web-r2-2", 1).await;
    rig.shift(&[("web-r1-1", 100)]).await;
    let load = Load::start(rig.listen, 50, &["slow"]);
    crate::support::until("slow requests under way", || async { rig.traffic("web-r1-1").await.in_flight > 3 }).await;
    a.books.delay_ms.store(1_500, SeqCst);
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    rig.shift(&[("web-r1-1", 50), ("web-r2-2", 50)]).await;
    rig.drain("web-r1-1", &[(&a, true)]);
    let word = rig.layout.drained(&crate::support::rig::id_of("web-r1-1", &a));
    crate::support::until("closed", || async { rig.traffic("web-r1-1").await.targets.values().all(|t| t.draining) }).await;
    let began = a.books.began.load(SeqCst);
    // Read in this order, the file may never exist while a request is in flight.
    crate::support::until("the word", || async {
        let (told, under_way) = (word.exists(), a.books.began.load(SeqCst) - a.served());
        assert!(!(told && under_way > 0), "the word was given with {under_way} requests under way");
        told
    })
    .await;
    // It must not be undone: the keeper may have sent the signal already.
    rig.targets("web-r1-1", &[&a]);
    rig.look().await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(rig.traffic("web-r1-1").await.targets.values().all(|t| t.draining));
    assert_eq!(a.books.began.load(SeqCst), began, "nobody new");
    a.kill();
    load.end().await.assert_nothing_lost();
}
