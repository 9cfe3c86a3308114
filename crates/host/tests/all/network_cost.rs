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

/// Milliseconds of each step of launches, as the keeper logged them, by group.
fn spent(log: &str, group: &str) -> Vec<Vec<(String, f64)>> {
    let of_group = log.lines().filter(|line| line.contains("started") && line.contains(&format!("instance={group}-")));
    let steps = |line: &str| -> Option<Vec<(String, f64)>> {
        let list = line.split_once("spent=[(")?.1.split_once(")]")?.0;
        list.split("), (").map(|step| step.split_once(", ").map(|(name, ms)| (name.replace('"', ""), ms.parse().unwrap()))).collect()
    };
    of_group.filter_map(steps).collect()
}

#[test]
#[ignore = "a measurement; needs root"]
fn launches_with_each_network() {
    estate::on_a_host_of_its_own(|estate| {
        estate::overlay_file("/etc/resolv.conf", &format!("nameserver {LAN4}\n"));
        let dns = estate::Dns::serve(estate.in_lan(|| std::net::UdpSocket::bind((LAN4, 53)).unwrap()), 60);
        *dns.table.lock().unwrap() = vec![("db.example.org", LAN4.parse().unwrap())];
        let mut host = Host::new();
        host.start();
        let networks = [
            ("none", r#"{"egress":"none"}"#),
            ("any", r#"{"egress":"any"}"#),
            ("name", r#"{"egress":["db.example.org:5432"],"allow":["host:6379"]}"#),
        ];
        for round in 0..3 {
            for (what, network) in networks {
                let name = format!("{what}-r1-{round}");
                let begin = Instant::now();
                host.declare(1, with_network(host.group(Want { name: &name, count: 8, ..Want::default() }), network));
                host.until(&name, "8 run", |seen| seen.instances.iter().filter(|i| i.healthy_ms.is_some()).count() == 8);
                let all_ms = begin.elapsed().as_secs_f64() * 1_000.0;
                let spent = spent(&host.keeper_log(), &name);
                let of = |step: &str| median(spent.iter().map(|steps| steps.iter().filter(|s| s.0 == step).map(|s| s.1).sum()).collect());
                let sum = median(spent.iter().map(|steps| steps.iter().map(|s| s.1).sum()).collect());
                println!(
                    "{{\"egress\": \"{what}\", \"launches\": {}, \"network_ms\": {:.0}, \"mounts_ms\": {:.0}, \"runtime_ms\": {:.0}, \"launch_ms\": {sum:.0}, \"eight_healthy_ms\": {all_ms:.0}}}",
                    spent.len(),
                    of("network"),
                    of("mounts"),
                    of("runtime")
                );
                host.declare(2, host.gone(&name));
                host.until(&name, "none", |seen| seen.instances.is_empty());
            }
        }
    });
}
