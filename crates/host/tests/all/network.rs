//! Who reaches whom: measured from inside servers, against what the file says. Each test has a host of its own (`estate`).
//! Run as root: `cargo test -p host --test all network:: -- --ignored --test-threads 1`
//!
//! The oracles are what programs in servers saw, what listeners beyond the host took, and `nft list ruleset` of other people's tables.

use crate::attempts::{PERL, tried};
use crate::common::Host;
use crate::estate::{self, Estate, HOST4, HOST6, INTERNET4, INTERNET6, LAN4, LAN6, METADATA4, METADATA6, sh};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const OPEN_PORT: u16 = 7_001;
const CLOSED_PORT: u16 = 7_002;

/// Everything that a server could want to reach: a name for the table, and the address.
fn places(neighbour4: &str, neighbour6: &str, gateway4: &str, gateway6: &str) -> Vec<(&'static str, String, u16)> {
    let mut all = Vec::new();
    for (name, v4, v6, port) in [
        ("host, gateway, open port", gateway4, gateway6, OPEN_PORT),
        ("host, gateway, closed port", gateway4, gateway6, CLOSED_PORT),
        ("host, its LAN address, open port", HOST4, HOST6, OPEN_PORT),
        ("host, its LAN address, closed port", HOST4, HOST6, CLOSED_PORT),
        ("LAN, port 7001", LAN4, LAN6, OPEN_PORT),
        ("LAN, port 7002", LAN4, LAN6, CLOSED_PORT),
        ("internet, port 7001", INTERNET4, INTERNET6, OPEN_PORT),
        ("internet, port 7002", INTERNET4, INTERNET6, CLOSED_PORT),
        ("metadata address", METADATA4, METADATA6, OPEN_PORT),
        ("another server", neighbour4, neighbour6, 8_080),
    ] {
        all.push((name, v4.to_string(), port));
        all.push((name, v6.to_string(), port));
    }
    all
}

/// What the file says, written down by hand: which places each network opens over TCP and over UDP, in both families.
fn open_to(network: &str) -> (&'static [&'static str], &'static [&'static str]) {
    let beyond: &[&str] = &["LAN, port 7001", "LAN, port 7002", "internet, port 7001", "internet, port 7002"];
    match network {
        "any" => (beyond, beyond),
        "none" => (&[], &[]),
        "list" => (&["LAN, port 7001", "internet, port 7002"], &["internet, port 7001"]),
        "named metadata" => (&["metadata address"], &[]),
        "host" => (&["host, gateway, open port", "host, its LAN address, open port"], &[]),
        "host over UDP, any" => (
            beyond,
            &[
                "LAN, port 7001",
                "LAN, port 7002",
                "internet, port 7001",
                "internet, port 7002",
                "host, gateway, open port",
                "host, its LAN address, open port",
            ],
        ),
        other => panic!("{other}"),
    }
}

fn networks() -> Vec<(&'static str, String)> {
    let list = format!(
        r#"{{"egress":["{LAN4}:7001","[{LAN6}]:7001","198.19.251.0/24:7002","[fdaa:251::/64]:7002","{INTERNET4}:7001/udp","[{INTERNET6}]:7001/udp"]}}"#
    );
    vec![
        ("any", r#"{"egress":"any"}"#.to_string()),
        ("none", r#"{"egress":"none"}"#.to_string()),
        ("list", list),
        ("named metadata", format!(r#"{{"egress":["{METADATA4}:7001","[{METADATA6}]:7001"]}}"#)),
        ("host", r#"{"egress":"none","allow":["host:7001"]}"#.to_string()),
        ("host over UDP, any", r#"{"egress":"any","allow":["host:7001/udp"]}"#.to_string()),
    ]
}

/// A neighbour that serves, and the addresses of host and neighbour on the bridge.
struct Bridge {
    neighbour4: Ipv4Addr,
    neighbour6: String,
    gateway4: String,
    gateway6: String,
}

fn neighbour(host: &Host) -> Bridge {
    host.declare(1, host.web("near-r1-1", 1));
    let seen = host.until("near-r1-1", "healthy", |seen| seen.instances.iter().any(|i| i.healthy_ms.is_some()));
    let IpAddr::V4(neighbour4) = seen.instances[0].addr.unwrap().ip() else { unreachable!() };
    let record = host.record("near-r1-1-1");
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_string();
    let six = &record["ground"]["six"];
    Bridge { neighbour4, neighbour6: text(&six["address"]), gateway4: text(&record["ground"]["gateway"]), gateway6: text(&six["gateway"]) }
}

fn foreign_table() -> String {
    sh("nft -f - <<'E'
table inet theirs {
 set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }
 chain c { type filter hook input priority 5; policy accept;
  ip saddr @s counter accept comment \"mine\"
 }
 chain f { type filter hook forward priority 5; policy accept;
  tcp dport 25 drop
 }
}
table ip nat { chain postrouting { type nat hook postrouting priority 100; policy accept;
  ip saddr 172.17.0.0/16 masquerade
 }
}
E");
    foreign()
}

fn foreign() -> String {
    sh("nft -s list table inet theirs; nft -s list table ip nat")
}

#[test]
#[ignore = "needs root"]
fn the_matrix_is_what_the_file_says() {
    estate::on_a_host_of_its_own(|estate| {
        for port in [OPEN_PORT, CLOSED_PORT] {
            estate.serve_host(port);
            estate.serve_lan(port);
        }
        let before = foreign_table();
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let bridge = neighbour(&host);
        let places = places(&bridge.neighbour4.to_string(), &bridge.neighbour6, &bridge.gateway4, &bridge.gateway6);
        let mut wrong = Vec::new();
        for (n, (network, json)) in networks().into_iter().enumerate() {
            let attempts: Vec<String> =
                places.iter().flat_map(|(_, to, port)| ["tcp", "udp"].map(|how| format!("{how} {to} {port}"))).collect();
            let saw = tried(&host, &format!("try{n}-r1-1"), &json, &attempts);
            let (tcp, udp) = open_to(network);
            println!("\nnetwork {json}\n  {:36} {:28} {:28}", "", "IPv4 tcp / udp", "IPv6 tcp / udp");
            for pair in places.chunks(2) {
                let cell = |(_, to, port): &(&str, String, u16)| ["tcp", "udp"].map(|how| saw[&format!("{how} {to} {port}")].clone());
                let (v4, v6) = (cell(&pair[0]), cell(&pair[1]));
                let short = |cell: &[String; 2]| cell.clone().map(|text| text.replace("failed: Connection refused", "refused")).join(" / ");
                println!("  {:36} {:28} {:28}", pair[0].0, short(&v4), short(&v6));
                for (family, cell) in [("IPv4", &v4), ("IPv6", &v6)] {
                    for (how, open, saw) in [("tcp", tcp, &cell[0]), ("udp", udp, &cell[1])] {
                        let should = open.contains(&pair[0].0);
                        // What is closed says so at once over TCP, and is silent otherwise.
                        let want = if should {
                            "reached"
                        } else if how == "tcp" {
                            "failed: Connection refused"
                        } else {
                            "nothing"
                        };
                        if saw != want {
                            wrong.push(format!("{network}: {how} over {family} to {}: {saw}, not {want}", pair[0].0));
                        }
                    }
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        nobody_saw_a_server_s_address(estate, &bridge);
        assert_eq!(foreign(), before, "other people's tables");
        nobody_gets_in(estate, &bridge);
        drop(host);
        assert_eq!(foreign(), before, "after down as well");
        let left = sh("nft list tables; cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding");
        assert!(!left.contains("afresh") && left.ends_with("0\n0\n"), "{left}");
    });
}

/// Beyond the host; the host itself does.
fn nobody_saw_a_server_s_address(estate: &Estate, bridge: &Bridge) {
    let is_host = |at: &SocketAddr| [HOST4, HOST6].iter().any(|host| host.parse::<IpAddr>().unwrap() == at.ip().to_canonical());
    let callers = estate.lan_callers.lock().unwrap().clone();
    assert!(callers.iter().any(SocketAddr::is_ipv6) && callers.iter().any(|at| at.ip().to_canonical().is_ipv4()));
    assert!(callers.iter().all(is_host), "{callers:?}");
    let seen = estate.host_callers.lock().unwrap().clone();
    let own = |at: &SocketAddr| matches!(at.ip().to_canonical(), IpAddr::V4(ip) if ip.octets()[..3] == bridge.neighbour4.octets()[..3]);
    assert!(seen.iter().any(own), "{seen:?}");
}

/// From the LAN, with a route that leads to the servers.
fn nobody_gets_in(estate: &Estate, bridge: &Bridge) {
    let (v4, v6) = (bridge.neighbour4, bridge.neighbour6.clone());
    let closed = estate.in_lan(move || {
        sh(&format!("ip route add {v4} via {HOST4}; ip route add {v6} via {HOST6} dev lan0"));
        let reach = |address: IpAddr| {
            std::net::TcpStream::connect_timeout(&(address, 8_080).into(), std::time::Duration::from_secs(1))
                .map(drop)
                .map_err(|e| e.kind())
        };
        [reach(v4.into()), reach(v6.parse().unwrap())]
    });
    println!("from the LAN to a server: {closed:?}");
    assert!(closed.iter().all(Result::is_err), "{closed:?}");
    assert!(crate::common::get((bridge.neighbour4, 8_080).into(), "/healthz").is_ok(), "the host itself gets in");
    assert!(crate::common::get((bridge.neighbour6.parse::<IpAddr>().unwrap(), 8_080).into(), "/healthz").is_ok(), "over IPv6 too");
}
