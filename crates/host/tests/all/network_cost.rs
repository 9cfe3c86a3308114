//! What the network costs: requests through it against none, in one run. Numbers are printed as JSON, nothing is asserted of them.
//! `e2e/bench_network.sh` runs this.

use crate::attempts::with_network;
use crate::common::{Host, Want};
use crate::estate::{self, LAN4, LAN6};
use nix::sched::{CloneFlags, setns};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const ROUND: Duration = Duration::from_millis(700);
const ROUNDS: usize = 7;

/// Answers each byte with a byte.
fn echo(listener: TcpListener) {
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                let mut byte = [0];
                while stream.read_exact(&mut byte).is_ok() && stream.write_all(&byte).is_ok() {}
            });
        }
    });
}

/// Connections with one request each, or requests over one connection, in a second.
fn rate(to: &str, port: u16, per_request: bool) -> f64 {
    let connect = || {
        let stream = TcpStream::connect((to, port)).unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    };
    let (begin, mut count, mut byte) = (Instant::now(), 0u32, [0]);
    let mut stream = connect();
    while begin.elapsed() < ROUND {
        if per_request {
            stream = connect();
        }
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut byte).unwrap();
        count += 1;
    }
    f64::from(count) / begin.elapsed().as_secs_f64()
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

#[test]
#[ignore = "a measurement; needs root"]
fn requests_through_the_network() {
    estate::on_a_host_of_its_own(|estate| {
        echo(estate.in_lan(|| TcpListener::bind(("::", 7_003)).unwrap()));
        let mut host = Host::new();
        host.start();
        host.declare(1, with_network(host.group(Want { name: "one-r1-1", ..Want::default() }), r#"{"egress":"any"}"#));
        let inside = std::fs::File::open(format!("/proc/{}/ns/net", host.pid("one-r1-1-1"))).unwrap();
        host.until("one-r1-1", "up", |seen| seen.instances.iter().any(|i| i.healthy_ms.is_some()));
        for (family, to) in [("IPv4", LAN4), ("IPv6", LAN6)] {
            for (what, per_request) in [("connections", true), ("requests", false)] {
                let (mut from_host, mut from_server) = (Vec::new(), Vec::new());
                for _ in 0..ROUNDS {
                    from_host.push(rate(to, 7_003, per_request));
                    let measured = std::thread::scope(|scope| {
                        let measure = || {
                            setns(&inside, CloneFlags::CLONE_NEWNET).unwrap();
                            rate(to, 7_003, per_request)
                        };
                        scope.spawn(measure).join().unwrap()
                    });
                    from_server.push(measured);
                }
                let (plain, through) = (median(from_host), median(from_server));
                println!(
                    "{{\"family\": \"{family}\", \"what\": \"{what}\", \"from_the_host_per_s\": {plain:.0}, \"from_a_server_per_s\": {through:.0}, \"ratio\": {:.2}}}",
                    through / plain
                );
            }
        }
    });
}
