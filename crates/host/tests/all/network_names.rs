//! The resolver on the gateway: who may ask for what, what goes on to others, and what servers notice when somebody is away.
//!
//! The oracles are the bytes that a name server beyond the host was sent, and what programs in servers were answered.

use crate::attempts::{PERL, attempt, attempt_in, with_network};
use crate::common::{Host, Want};
use crate::estate::{self, Dns, Estate, LAN4, LAN6, in_network_of, sh};
use std::net::UdpSocket;

const PORT: u16 = 7_001;

fn serve_names(estate: &Estate, ttl_s: u32) -> Dns {
    estate::overlay_file("/etc/resolv.conf", &format!("search example.org\nnameserver {LAN4}\n"));
    let dns = Dns::serve(estate.in_lan(|| UdpSocket::bind((LAN4, 53)).unwrap()), ttl_s);
    *dns.table.lock().unwrap() = vec![
        ("db.example.org", LAN4.parse().unwrap()),
        ("db.example.org", LAN6.parse().unwrap()),
        ("other.example.net", LAN4.parse().unwrap()),
        ("ip-10-0-0-1.ec2.internal", LAN4.parse().unwrap()),
    ];
    dns
}

/// The pid of its one server.
fn server(host: &Host, name: &str, network: &str) -> i64 {
    host.declare(1, with_network(host.group(Want { name, ..Want::default() }), network));
    host.pid(&format!("{name}-1"))
}

fn gateways(host: &Host, id: &str) -> [String; 2] {
    let record = host.record(id);
    ["/ground/gateway", "/ground/six/gateway"].map(|path| record.pointer(path).unwrap().as_str().unwrap().to_string())
}

/// Every kind of server and of name, over both families and both transports, against what the file says; and what went on to others.
#[test]
#[ignore = "needs root"]
fn a_server_asks_only_for_what_its_egress_allows() {
    estate::on_a_host_of_its_own(|estate| {
        let dns = serve_names(estate, 60);
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let networks = [
            ("any", r#"{"egress":"any"}"#.to_string()),
            ("none", r#"{"egress":"none"}"#.to_string()),
            ("name", format!(r#"{{"egress":["db.example.org:{PORT}"]}}"#)),
            ("net", r#"{"egress":["0.0.0.0/0:1-65535","[::/0]:1-65535/udp"]}"#.to_string()),
        ];
        let pids: Vec<i64> = networks.iter().map(|(name, json)| server(&host, &format!("{name}-r1-1"), json)).collect();
        let [gateway4, gateway6] = gateways(&host, "any-r1-1-1");
        let reverse = |ip: &str| format!("{}.in-addr.arpa", ip.split('.').rev().collect::<Vec<_>>().join("."));
        let unknown = "NXDOMAIN".to_string();
        let known = |what: &str| format!("NOERROR {what}").trim_end().to_string();
        // A name, a type, and what servers of the four networks are answered.
        let lan = || known(LAN4);
        let table = [
            ("db.example.org", "A", [lan(), unknown.clone(), lan(), unknown.clone()]),
            ("db.example.org", "AAAA", [known(LAN6), unknown.clone(), known(LAN6), unknown.clone()]),
            ("db.example.org", "TXT", [known(""), unknown.clone(), known(""), unknown.clone()]),
            ("other.example.net", "A", [lan(), unknown.clone(), unknown.clone(), unknown.clone()]),
            ("ip-10-0-0-1.ec2.internal", "A", [lan(), unknown.clone(), unknown.clone(), unknown.clone()]),
            ("no.example.org", "A", std::array::from_fn(|_| unknown.clone())),
            ("host.internal", "A", std::array::from_fn(|_| known(&gateway4))),
            ("host.internal", "AAAA", std::array::from_fn(|_| known(&gateway6))),
            ("nobody.internal", "A", std::array::from_fn(|_| unknown.clone())),
            ("localhost", "A", std::array::from_fn(|_| known("127.0.0.1"))),
            (&reverse(&gateway4), "PTR", std::array::from_fn(|_| known("PTR"))),
        ];
        let mut wrong = Vec::new();
        for (name, kind, want) in &table {
            println!("{name} {kind}");
            for ((network, _), (pid, want)) in networks.iter().zip(pids.iter().zip(want)) {
                for (gateway, over) in [(&gateway4, "udp"), (&gateway4, "tcp"), (&gateway6, "udp"), (&gateway6, "tcp")] {
                    let saw = attempt(*pid, &format!("ask {gateway} 53 {name} {kind} {over}"));
                    if saw != *want {
                        wrong.push(format!("{network}: {name} {kind} over {over} at {gateway}: {saw}, not {want}"));
                    }
                }
                println!("  {network:6} {want}");
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let conf = host.file_of("any-r1-1-1", "/etc/resolv.conf");
        assert_eq!(conf, format!("search example.org\nnameserver {gateway4}\nnameserver {gateway6}\noptions timeout:4 attempts:4\n"));
        assert!(!host.file_of("none-r1-1-1", "/etc/resolv.conf").contains("search"));
        nothing_leaks(&dns, pids[2], pids[1], &gateway4);
        nobody_else_is_answered(estate, &host, pids[0], &gateway4);
    });
}

/// What of a question of a server without `egress = "any"` goes on to others.
fn nothing_leaks(dns: &Dns, named: i64, none: i64, gateway: &str) {
    dns.seen.lock().unwrap().clear();
    for pid in [named, none] {
        for name in ["s3cret.db.example.org", "s3cret.example.org", "s3cret.internal", "s3cret"] {
            assert_eq!(attempt(pid, &format!("ask {gateway} 53 {name} A udp")), "NXDOMAIN");
        }
    }
    // How a name is written, and what comes with it, could carry something as well.
    let saw = attempt(named, &format!("ask {gateway} 53 dB.ExAmPle.oRg A udp s3cret"));
    assert_eq!(saw, format!("NOERROR {LAN4}"));
    let seen = dns.seen.lock().unwrap().clone();
    for bytes in &seen {
        let text = String::from_utf8_lossy(bytes);
        assert!(!text.contains("s3cret") && text.chars().all(|c| !c.is_ascii_uppercase()), "{text:?}");
    }
    // And to a name server that it chooses itself nothing goes at all.
    dns.seen.lock().unwrap().clear();
    assert_eq!(attempt(named, &format!("hush {LAN4} 53 db.example.org A udp")), "nothing");
    assert!(dns.seen.lock().unwrap().is_empty());
}

/// Neither who is not a server, nor a server by an address that it does not have.
fn nobody_else_is_answered(estate: &Estate, host: &Host, any: i64, gateway: &str) {
    assert_eq!(attempt(any, &format!("ask {gateway} 53 host.internal A udp")), format!("NOERROR {gateway}"), "a server is");
    let ask = format!("hush {gateway} 53 host.internal A udp");
    assert_eq!(attempt_in("/proc/self/ns/net", &ask), "nothing", "the host");
    let there = gateway.to_string();
    estate.in_lan(move || sh(&format!("ip route add {there} via {}", estate::HOST4)));
    let asked = ask.clone();
    let from_lan = estate.in_lan(move || attempt_in("/proc/thread-self/ns/net", &asked));
    assert_eq!(from_lan, "nothing", "somebody beyond the host");
    let listens = sh("ss -lnuH 'sport = :53'; ss -lntH 'sport = :53'");
    println!("{listens}");
    assert!(listens.lines().count() == 4 && !listens.contains("0.0.0.0:53") && !listens.contains("[::]:53"), "{listens}");
    let _ = host;
}

/// Those whom the host asks are away: an end within seconds, what was known for longer, and an alarm.
#[test]
#[ignore = "needs root"]
fn a_resolver_that_is_away_is_noticed_and_survived() {
    estate::on_a_host_of_its_own(|estate| {
        let dns = serve_names(estate, 1);
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let any = server(&host, "any-r1-1", r#"{"egress":"any"}"#);
        let [gateway, _] = gateways(&host, "any-r1-1-1");
        let ask = |name: &str| attempt(any, &format!("ask {gateway} 53 {name} A udp"));
        assert_eq!(ask("db.example.org"), format!("NOERROR {LAN4}"));
        *dns.away.lock().unwrap() = true;
        // `ask` itself waits for 6 s only.
        assert_eq!(ask("other.example.net"), "SERVFAIL", "it was never known");
        let asked = dns.seen.lock().unwrap().len();
        assert_eq!(ask("other.example.net"), "SERVFAIL");
        assert_eq!(dns.seen.lock().unwrap().len(), asked, "nobody is asked again at once for what nobody answered");
        host.until_true("its time is over", || {
            let saw = ask("db.example.org");
            let stale = dns.seen.lock().unwrap().len() > asked;
            assert_eq!(saw, format!("NOERROR {LAN4}"), "what was known is answered");
            if stale { Ok(()) } else { Err(saw) }
        });
        host.until_true("an alarm", || {
            ask("other.example.net");
            let alarms = host.remote.alarms().unwrap();
            let told = alarms.iter().find(|alarm| alarm.code == "resolver-away");
            told.map(|alarm| println!("{}", alarm.text)).ok_or_else(|| format!("{alarms:?}"))
        });
        *dns.away.lock().unwrap() = false;
        host.until_true("it is there again", || {
            let saw = ask("other.example.net");
            let alarms = host.remote.alarms().unwrap();
            let quiet = !alarms.iter().any(|alarm| alarm.code == "resolver-away");
            if saw == format!("NOERROR {LAN4}") && quiet { Ok(()) } else { Err(format!("{saw} {alarms:?}")) }
        });
    });
}

/// A look-up that begins while there is no keeper ends well once there is one: the C library asks again, and nobody told it that nobody is there.
#[test]
#[ignore = "needs root"]
fn a_keeper_that_is_killed_delays_look_ups_and_breaks_none() {
    estate::on_a_host_of_its_own(|estate| {
        let _dns = serve_names(estate, 1);
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let any = server(&host, "any-r1-1", r#"{"egress":"any"}"#);
        let conf = host.file_of("any-r1-1-1", "/etc/resolv.conf");
        let [gateway, gateway6] = gateways(&host, "any-r1-1-1");
        host.stop();
        // Silence, not a refusal, of which the C library would make an error at once.
        for gateway in [&gateway, &gateway6] {
            assert_eq!(attempt(any, &format!("hush {gateway} 53 db.example.org A udp")), "nothing", "{gateway}");
        }
        // This host's own C library in the server's network, with the server's `resolv.conf`.
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), conf).unwrap();
        let script =
            format!("umount /etc/resolv.conf; mount --bind {} /etc/resolv.conf; getent ahosts db.example.org", file.path().display());
        let looked_up = std::thread::spawn(move || in_network_of(any, &["unshare", "-m", "sh", "-ec", &script]));
        host.until_true("it asks", || if udp_queries(any) { Ok(()) } else { Err("it does not ask".to_string()) });
        host.start();
        let saw = looked_up.join().unwrap();
        println!("{saw}");
        assert!(saw.contains(LAN4) && saw.contains(LAN6), "{saw}");
    });
}

/// Whether somebody in that network has a socket that waits for port 53.
fn udp_queries(pid: i64) -> bool {
    in_network_of(pid, &["ss", "-nuH", "dport = :53"]).lines().count() > 0
}

/// What a server was answered is open to it before it hears it, however short it holds.
#[test]
#[ignore = "needs root"]
fn an_address_is_open_before_the_server_hears_it() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        let dns = serve_names(estate, 0);
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let one = server(&host, "one-r1-1", &format!(r#"{{"egress":["db.example.org:{PORT}"]}}"#));
        let [gateway, _] = gateways(&host, "one-r1-1-1");
        for (n, address) in [estate::INTERNET4, estate::METADATA4, LAN4].iter().enumerate() {
            *dns.table.lock().unwrap() = vec![("db.example.org", address.parse().unwrap())];
            let saw = attempt(one, &format!("ask {gateway} 53 db.example.org A udp"));
            assert_eq!(saw, format!("NOERROR {address}"));
            let reached = attempt(one, &format!("tcp {address} {PORT}"));
            assert_eq!(reached == "reached", *address != estate::METADATA4, "{n}: {address}: {reached}");
        }
    });
}

/// A server that asks without end, and one that asks for much at a time: others are answered.
#[test]
#[ignore = "needs root"]
fn a_server_that_floods_the_resolver_leaves_it_to_others() {
    estate::on_a_host_of_its_own(|estate| {
        let dns = serve_names(estate, 60);
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let (flood, other) = (server(&host, "flood-r1-1", r#"{"egress":"any"}"#), server(&host, "other-r1-1", r#"{"egress":"any"}"#));
        let [gateway, _] = gateways(&host, "other-r1-1-1");
        let tracked = || sh("cat /proc/sys/net/netfilter/nf_conntrack_count").trim().parse::<u64>().unwrap();
        let before = tracked();
        // Nobody answers: every look-up waits.
        *dns.away.lock().unwrap() = true;
        let said = attempt(flood, &format!("flood {gateway} 53 20000"));
        println!("{said}; {} questions went on, {} connections tracked", dns.seen.lock().unwrap().len(), tracked() - before);
        assert_eq!(said, "sent 20000");
        *dns.away.lock().unwrap() = false;
        assert_eq!(attempt(other, &format!("ask {gateway} 53 other.example.net A udp")), format!("NOERROR {LAN4}"));
        let asked = dns.seen.lock().unwrap().len();
        assert!(asked <= 32 * 2 * 8, "what one server makes us ask is bounded: {asked}");
        assert!(tracked() < before + 200, "look-ups take no place in the table of connections");
    });
}
