//! How a server's network goes on: names whose addresses change, resolvers that are away, rules that somebody removes, keepers that are killed,
//! the host's own switches. Each test has a host of its own (`estate`).

use crate::attempts::{PERL, attempt, attempt_in, tried, with_network};
use crate::common::{Host, Want, get};
use crate::estate::{self, Dns, HOST4, HOST6, INTERNET4, INTERNET6, LAN4, LAN6, METADATA4, in_network_of, sh};
use model::InstanceId;
use std::net::UdpSocket;

const PORT: u16 = 7_001;

/// A host with perl in its image, and one server of this network; the server's pid.
fn with_one(network: &str) -> (Host, i64) {
    let mut host = Host::with(&[PERL], &[]);
    host.start();
    host.declare(1, with_network(host.group(Want { name: "one-r1-1", ..Want::default() }), network));
    let pid = host.pid("one-r1-1-1");
    (host, pid)
}

fn until_reached(host: &Host, pid: i64, what: &str, want: bool) {
    host.until_true(what, || {
        let saw = attempt(pid, what);
        if (saw == "reached") == want { Ok(()) } else { Err(saw) }
    });
}

#[test]
#[ignore = "needs root"]
fn names_follow_their_answers_and_outlive_their_resolver() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        estate::overlay_file("/etc/resolv.conf", &format!("search example.org\nnameserver {LAN4}\n"));
        let dns = Dns::serve(estate.in_lan(|| UdpSocket::bind((LAN4, 53)).unwrap()), 1);
        let set = |list: &[&str]| *dns.table.lock().unwrap() = list.iter().map(|ip| ("db.example.org", ip.parse().unwrap())).collect();
        set(&[LAN4, LAN6]);
        let (mut host, one) = with_one(&format!(r#"{{"egress":["db.example.org:{PORT}"]}}"#));
        let to = |address: &str| format!("tcp {address} {PORT}");
        // Known before its first server began, so at once; and nothing else is open.
        assert_eq!(attempt(one, &to(LAN4)), "reached");
        assert_eq!(attempt(one, &to(LAN6)), "reached");
        assert_ne!(attempt(one, &to(INTERNET4)), "reached");
        assert_ne!(attempt(one, &format!("udp {LAN4} {PORT}")), "reached");
        assert_ne!(attempt(one, &format!("dns {LAN4} 53")), "reached", "it asks its gateway");
        // Another address: it is open soon, and what an open connection may still use stays.
        set(&[INTERNET4, INTERNET6]);
        until_reached(&host, one, &to(INTERNET4), true);
        until_reached(&host, one, &to(INTERNET6), true);
        assert_eq!(attempt(one, &to(LAN4)), "reached");
        // An answer opens nothing that is closed to all: the metadata address, the host, another server.
        let near = host.record("one-r1-1-1").pointer("/ground/gateway").unwrap().as_str().unwrap().to_string();
        estate.serve_host(PORT);
        set(&[METADATA4, HOST4, HOST6, &near]);
        let asked = *dns.asked.lock().unwrap();
        host.until_true("two more look-ups", || if *dns.asked.lock().unwrap() > asked + 6 { Ok(()) } else { Err(String::new()) });
        for address in [METADATA4, HOST4, HOST6, &near] {
            assert_ne!(attempt(one, &to(address)), "reached", "{address}");
        }
        // Nobody answers: what was known stays, also for another keeper, and somebody is told.
        *dns.away.lock().unwrap() = true;
        host.restart();
        host.until_true("an alarm", || {
            let alarms = host.remote.alarms().unwrap();
            let told = alarms.iter().find(|alarm| alarm.code == "name-unknown");
            told.map(|alarm| println!("{}", alarm.text)).ok_or_else(|| format!("{alarms:?}"))
        });
        assert_eq!(attempt(one, &to(INTERNET4)), "reached");
        host.kill_program(&InstanceId::new("one-r1-1-1").unwrap());
        let next = host.pid("one-r1-1-2");
        assert_eq!(attempt(next, &to(INTERNET4)), "reached", "a replacement begins without an answer");
    });
}

#[test]
#[ignore = "needs root"]
fn a_name_server_of_another_is_not_asked_in_place_of_ours() {
    estate::on_a_host_of_its_own(|_| {
        estate::overlay_file("/etc/resolv.conf", "nameserver 127.0.0.1\n");
        let other = std::net::TcpListener::bind(("0.0.0.0", 53)).unwrap();
        let (host, one) = with_one(r#"{"egress":"any"}"#);
        let gateway = host.record("one-r1-1-1").pointer("/ground/gateway").unwrap().as_str().unwrap().to_string();
        assert_eq!(attempt(one, &format!("tcp {gateway} 53")), "failed: Connection refused");
        let alarms = host.remote.alarms().unwrap();
        assert!(alarms.iter().any(|alarm| alarm.code == "no-resolver" && alarm.text.contains("Address already in use")), "{alarms:?}");
        drop(other);
        host.until_true("ours answers", || {
            let saw = attempt(one, &format!("ask {gateway} 53 host.internal A tcp"));
            if saw == format!("NOERROR {gateway}") && host.remote.alarms().unwrap().is_empty() { Ok(()) } else { Err(saw) }
        });
    });
}

#[test]
#[ignore = "needs root"]
fn a_server_knows_itself_and_its_host() {
    estate::on_a_host_of_its_own(|_| {
        let (host, _) = with_one(r#"{"egress":"none"}"#);
        let record = host.record("one-r1-1-1");
        let of = |path: &str| record.pointer(path).unwrap().as_str().unwrap().to_string();
        let hosts = host.file_of("one-r1-1-1", "/etc/hosts");
        for (address, name) in [
            ("127.0.0.1", "localhost"),
            ("::1", "localhost"),
            (&of("/ground/address"), "one-r1-1-1"),
            (&of("/ground/six/address"), "one-r1-1-1"),
            (&of("/ground/gateway"), "host.internal"),
            (&of("/ground/six/gateway"), "host.internal"),
        ] {
            assert!(hosts.lines().any(|line| line.starts_with(&format!("{address} {name}"))), "{address} {name}: {hosts}");
        }
        assert_eq!(host.file_of("one-r1-1-1", "/etc/hostname"), "one-r1-1-1\n");
        assert_eq!(sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding"), "0\n0\n", "nobody needs a way out");
    });
}

/// Whatever somebody does to our tables, they are as they were a few seconds later; and no server is open meanwhile that was closed.
#[test]
#[ignore = "needs root"]
fn rules_that_somebody_removes_come_back() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        estate.serve_lan(7_002);
        let (host, one) = with_one(&format!(r#"{{"egress":["{LAN4}:{PORT}"]}}"#));
        let (inet, bridge) = (format!("inet afresh_{}", host.mark()), format!("bridge afresh_{}", host.mark()));
        // In which order they were made is no matter.
        let listed = || {
            let text = sh(&format!(
                "nft -s -t list table {inet} || true; nft -s -t list table {bridge} || true; nft list map {inet} servers4 || true; nft list set {bridge} servers6 || true"
            ));
            let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
            lines.sort();
            lines
        };
        let before = listed();
        let vandals = [
            format!("nft delete table {inet}"),
            format!("nft delete table {bridge}"),
            "nft flush ruleset".to_string(),
            format!("nft flush table {inet}"),
            format!("nft flush chain {inet} forward"),
            format!("nft flush chain {bridge} server"),
            format!("nft flush map {inet} servers4"),
            format!("nft flush set {bridge} servers6"),
            format!("nft insert rule {inet} forward accept"),
            format!("ip link set afresh{} down; ip link set afresh{} up", host.mark(), host.mark()),
        ];
        for vandal in vandals {
            sh(&vandal);
            host.until_true(&vandal, || {
                let now = listed();
                if now == before { Ok(()) } else { Err(format!("{now:#?}")) }
            });
            until_reached(&host, one, &format!("tcp {LAN4} {PORT}"), true);
            assert_ne!(attempt(one, &format!("tcp {LAN4} 7002")), "reached", "{vandal}");
            println!("mended: {vandal}");
        }
    });
}

/// Many launches and ends, with keepers killed in between: the tables hold what runs and no more.
#[test]
#[ignore = "needs root"]
fn the_tables_hold_what_runs_and_no_more() {
    estate::on_a_host_of_its_own(|_| {
        let (mut host, _) = with_one(r#"{"egress":"none"}"#);
        let table = format!("inet afresh_{}", host.mark());
        let network = |n: u64| {
            if n.is_multiple_of(2) {
                r#"{"egress":"any"}"#
            } else {
                r#"{"egress":["10.0.0.0/8:5432","db.example.org:1"],"allow":["host:1"]}"#
            }
        };
        for round in 0..3u64 {
            for n in 0..4 {
                let name = format!("g{n}-r1-{round}");
                host.declare(1, with_network(host.group(Want { name: &name, count: 2, ..Want::default() }), network(n)));
            }
            if round == 1 {
                host.restart();
            }
            for n in 0..4 {
                host.until(&format!("g{n}-r1-{round}"), "2 run", |seen| {
                    seen.instances.len() == 2 && seen.instances.iter().all(|i| i.healthy_ms.is_some())
                });
            }
            host.until_true("one map, and once more with its IPv6 twin", || {
                let there = sh(&format!("nft list map {table} servers4; nft list table {table}"));
                if there.matches(" : goto out-g").count() == 8 * 3 { Ok(()) } else { Err(there) }
            });
            for n in 0..4 {
                host.declare(2, host.gone(&format!("g{n}-r1-{round}")));
            }
            for n in 0..4 {
                host.until(&format!("g{n}-r1-{round}"), "none", |seen| seen.instances.is_empty());
            }
        }
        host.until_true("chains of groups that are gone", || {
            let there = sh(&format!("nft list table {table}"));
            if there.contains("out-g") || there.contains("refused4-g") || there.contains("name4-") { Err(there) } else { Ok(()) }
        });
        let record = host.record("one-r1-1-1");
        let address = record.pointer("/ground/address").unwrap().as_str().unwrap();
        assert!(sh(&format!("nft list map {table} servers4")).contains(&format!("{address} : goto out-one-r1-1")));
    });
}

#[test]
#[ignore = "needs root"]
fn refusals_are_counted_and_outlive_a_keeper() {
    estate::on_a_host_of_its_own(|_| {
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let attempts: Vec<String> = (0..5).map(|n| format!("tcp {LAN4} 22{}", " ".repeat(n))).collect();
        tried(&host, "deny-r1-1", r#"{"egress":"none"}"#, &attempts);
        attempt(host.pid("deny-r1-1-1"), &format!("udp {LAN6} 53"));
        let told = |host: &Host| {
            let seen = host.until("deny-r1-1", "refusals", |seen| seen.instances.iter().any(|i| i.refused.len() == 2));
            seen.instances[0].refused.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let before = told(&host);
        println!("{before:?}");
        assert_eq!(before, [format!("5 connections to {LAN4}:22 refused"), format!("1 packet to [{LAN6}]:53/udp refused")]);
        host.restart();
        assert_eq!(told(&host), before);
        let table = format!("inet afresh_{}", host.mark());
        // As they are told where servers have a way out as well.
        host.declare(1, with_network(host.group(Want { name: "any-r1-1", ..Want::default() }), r#"{"egress":"any"}"#));
        host.pid("any-r1-1-1");
        assert_eq!(attempt(host.pid("deny-r1-1-1"), &format!("tcp {LAN4} 22")), "failed: Connection refused");
        host.until_true("one more", || {
            let now = told(&host);
            if now[0] == format!("6 connections to {LAN4}:22 refused") { Ok(()) } else { Err(format!("{now:?}")) }
        });
        host.declare(2, host.gone("deny-r1-1"));
        host.until("deny-r1-1", "none", |seen| seen.instances.is_empty());
        host.until_true("what was counted is forgotten", || {
            let there = sh(&format!("nft list table {table}"));
            if there.contains("tcp . 22") { Err(there) } else { Ok(()) }
        });
    });
}

/// This host forwards for servers alone until somebody wants more, and believes its routers as before.
#[test]
#[ignore = "needs root"]
fn the_host_becomes_no_router_for_others() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        // A third network behind the host, which no server has to do with.
        let other = std::thread::spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
            std::fs::File::open(format!("/proc/self/task/{}/ns/net", nix::unistd::gettid())).unwrap()
        });
        let other = other.join().unwrap();
        let path = format!("/proc/{}/fd/{}", std::process::id(), std::os::fd::AsRawFd::as_raw_fd(&other));
        sh(&format!(
            "ip link add up1 type veth peer name far0 netns {path}; ip addr add 198.19.249.2/24 dev up1; ip addr add fdaa:249::2/64 dev up1 nodad; ip link set up1 up
             nsenter --net={path} sh -ec 'ip link set lo up; ip addr add 198.19.249.1/24 dev far0; ip addr add fdaa:249::1/64 dev far0 nodad; ip link set far0 up
             ip route add default via 198.19.249.2; ip route add default via fdaa:249::2'
             echo 1 > /proc/sys/net/ipv6/conf/up0/accept_ra"
        ));
        estate.in_lan(|| sh(&format!("ip route add 198.19.249.0/24 via {HOST4}; ip route add fdaa:249::/64 via {HOST6}")));
        // A way out that came from a router.
        sh("ip -6 route del default; ip -6 route add default via fdaa:250::1 dev up0 proto ra expires 1800");
        let far = |address: &str| attempt_in(&path, &format!("tcp {address} {PORT}")) == "reached";
        let (host, one) = with_one(r#"{"egress":"any"}"#);
        until_reached(&host, one, &format!("tcp {LAN4} {PORT}"), true);
        assert_eq!(attempt(one, &format!("tcp {LAN6} {PORT}")), "reached");
        assert_eq!(
            sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/up0/accept_ra"),
            "2\n2\n2\n"
        );
        assert!(sh("ip -6 route show default").contains("proto ra"), "what the host's router said still holds");
        assert!(!far(LAN4) && !far(LAN6), "the host forwards for others");
        // Somebody makes it a router: it is not held up.
        sh("echo 1 > /proc/sys/net/ipv4/ip_forward");
        host.until_true("it forwards IPv4 for others", || if far(LAN4) { Ok(()) } else { Err(String::new()) });
        assert!(!far(LAN6));
        drop(host);
        assert_eq!(
            sh("cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding /proc/sys/net/ipv6/conf/up0/accept_ra"),
            "1\n0\n1\n"
        );
    });
}

/// A server that an older version wrote down, without IPv6, resolvers or a network: it goes on as it was, closed.
#[test]
#[ignore = "needs root"]
fn a_server_of_an_older_version_keeps_what_it_had() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        host.declare(1, with_network(host.web("web-r1-1", 1), r#"{"egress":"any"}"#));
        let healthy = |seen: &model::GroupSeen| seen.instances.iter().any(|i| i.healthy_ms.is_some());
        let seen = host.until("web-r1-1", "healthy", healthy);
        host.stop();
        host.rewrite_as_older("web-r1-1", "web-r1-1-1");
        host.start();
        let after = host.until("web-r1-1", "healthy", healthy);
        assert_eq!((after.deaths, &after.instances[0].id), (0, &seen.instances[0].id));
        assert!(get(seen.instances[0].addr.unwrap(), "/healthz").is_ok());
        let pid = host.pid("web-r1-1-1");
        for to in [LAN4, LAN6] {
            assert_ne!(attempt(pid, &format!("tcp {to} {PORT}")), "reached", "{to}");
        }
        let gateway = host.record("web-r1-1-1").pointer("/ground/gateway").unwrap().as_str().unwrap().to_string();
        // Such a server asks for its gateway.
        in_network_of(pid, &["ip", "neigh", "del", &gateway, "dev", "eth0"]);
        assert!(get(seen.instances[0].addr.unwrap(), "/healthz").is_ok());
    });
}
