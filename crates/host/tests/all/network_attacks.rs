//! What a server does that means harm to others' networks: with the rights that programs have in it, and with all rights in its network, as if
//! it had got them. Each test has a host of its own (`estate`).

use crate::attempts::{PERL, attempt, tried, with_network};
use crate::common::{Host, Want};
use crate::estate::{self, Estate, HOST4, LAN4, LAN6, in_network_of, sh};
use model::InstanceId;

const PORT: u16 = 7_001;

/// A server that may go anywhere, and one that may go nowhere: their pids, and what each is in the network.
struct Two {
    host: Host,
    any: i64,
    none: i64,
    any4: String,
    any6: String,
    any_mac: String,
    gateway4: String,
    gateway6: String,
}

fn two() -> Two {
    let mut host = Host::with(&[PERL], &[]);
    host.start();
    for (name, network) in [("any-r1-1", r#"{"egress":"any"}"#), ("none-r1-1", r#"{"egress":"none"}"#)] {
        host.declare(1, with_network(host.group(Want { name, ..Want::default() }), network));
    }
    let (any, none) = (host.pid("any-r1-1-1"), host.pid("none-r1-1-1"));
    let text = |id: &str, path: &str| host.record(id).pointer(path).unwrap().as_str().unwrap().to_string();
    let of = |path: &str| text("any-r1-1-1", path);
    let (any4, any6) = (of("/ground/address"), of("/ground/six/address"));
    let (gateway4, gateway6) = (of("/ground/gateway"), of("/ground/six/gateway"));
    let any_mac = in_network_of(any, &["cat", "/proc/self/net/dev"]);
    assert!(any_mac.contains("eth0"), "{any_mac}");
    let any_mac = in_network_of(any, &["ip", "-o", "link", "show", "eth0"])
        .split_whitespace()
        .skip_while(|w| *w != "link/ether")
        .nth(1)
        .unwrap()
        .to_string();
    Two { host, any, none, any4, any6, any_mac, gateway4, gateway6 }
}

fn seen_in_lan(estate: &Estate) -> usize {
    estate.lan_callers.lock().unwrap().len()
}

#[test]
#[ignore = "needs root"]
fn forged_addresses_get_nowhere() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        let two = two();
        for how in [format!("tcp {LAN4} {PORT}"), format!("tcp {LAN6} {PORT}"), format!("udp {LAN4} {PORT}"), format!("udp {LAN6} {PORT}")]
        {
            assert_eq!(attempt(two.any, &how), "reached", "{how}");
            assert_ne!(attempt(two.none, &how), "reached", "{how}");
        }
        // As any program may: an IPv6 socket takes an address that is not the server's, without a right.
        let forged = [
            format!("freebind {LAN6} {PORT} {}", two.any6),
            format!("freebind {LAN4} {PORT} {}", two.any4),
            format!("raw {LAN4} 0"),
            format!("raw {LAN6} 0"),
        ];
        let before = seen_in_lan(estate);
        let saw = tried(&two.host, "forge-r1-1", r#"{"egress":"none"}"#, &forged);
        println!("{saw:#?}");
        assert_eq!(saw[&forged[0]], "nothing", "it could be sent, and was stopped");
        assert!(saw[&forged[1]].contains("failed") || saw[&forged[1]].contains("no bind"), "{saw:?}");
        assert!(saw[&forged[2]].starts_with("no socket") && saw[&forged[3]].starts_with("no socket"), "{saw:?}");
        assert_eq!(seen_in_lan(estate), before);
        // As root of its network: the other's addresses, without and with its hardware address.
        let Two { any4, any6, any_mac, gateway4, gateway6, .. } = &two;
        let as_other = |mac: &str| {
            let script = format!(
                "{mac}ip addr add {any4}/32 dev eth0; ip addr add {any6}/128 dev eth0 nodad; ip route replace default via {gateway4} src {any4}; \
                 ip route replace ::/0 via {gateway6} dev eth0 src {any6}"
            );
            in_network_of(two.none, &["sh", "-ec", &script])
        };
        for mac in [
            "",
            &format!(
                "ip link set eth0 address {any_mac}; ip neigh replace {gateway4} lladdr $(ip neigh show {gateway4} | grep -o '02:af[^ ]*') dev eth0 nud permanent; "
            ),
        ] {
            let said = as_other(mac);
            for how in [format!("tcp {LAN4} {PORT}"), format!("udp {LAN4} {PORT}"), format!("udp {LAN6} {PORT}")] {
                let saw = attempt(two.none, &how);
                println!("as another server{}: {how}: {saw} {said}", if mac.is_empty() { "" } else { ", with its hardware address" });
                assert_ne!(saw, "reached", "{how}");
            }
            in_network_of(two.none, &["sh", "-c", &format!("ip addr del {any4}/32 dev eth0; ip addr del {any6}/128 dev eth0")]);
        }
        assert_eq!(seen_in_lan(estate), before);
        assert_eq!(attempt(two.any, &format!("tcp {LAN4} {PORT}")), "reached", "whose addresses they are goes on");
        assert_eq!(attempt(two.any, &format!("tcp {LAN6} {PORT}")), "reached");
    });
}

/// Frames by a socket of the link: `frame HEX` sends one, on `eth0`.
const FRAMES: &str = r#"socket(my $s, 17, 3, 0x0003) or die "no packet socket: $!"; my ($index) = do { open my $f, "-|", "ip -o link show eth0"; <$f> =~ /^(\d+)/ };
for my $hex (@ARGV) { my $frame = pack("H*", $hex); my $to = pack("S n i S C C a8", 17, 0x0800, $index, 0, 0, 6, substr($frame, 0, 6)); send($s, $frame, 0, $to) or die "send: $!" } print "sent\n";"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn mac(text: &str) -> Vec<u8> {
    text.split(':').map(|part| u8::from_str_radix(part, 16).unwrap()).collect()
}

/// An answer to nobody's question: `ip` is at `at`.
fn arp_reply(own: &[u8], ip: &str, at: &[u8], to: &str) -> String {
    let v4 = |text: &str| text.parse::<std::net::Ipv4Addr>().unwrap().octets().to_vec();
    let head = [&[0xff; 6][..], own, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
    hex(&[head, at.to_vec(), v4(ip), vec![0xff; 6], v4(to)].concat())
}

fn icmpv6(own: &[u8], from: &str, to: &str, body: &[u8]) -> String {
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
    let (from, to) = (v6(from), v6(to));
    let mut sum: u32 = u32::try_from(body.len()).unwrap() + 58;
    for pair in [&from[..], &to[..], body].concat().chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    let mut body = body.to_vec();
    let check = !u16::try_from(sum).unwrap();
    body[2..4].copy_from_slice(&check.to_be_bytes());
    let len = u16::try_from(body.len()).unwrap().to_be_bytes();
    let head = [&[0x33, 0x33, 0, 0, 0, 1][..], own, &[0x86, 0xdd, 0x60, 0, 0, 0], &len, &[58, 255], &from, &to].concat();
    hex(&[head, body].concat())
}

#[test]
#[ignore = "needs root"]
fn nobody_learns_a_neighbour_or_a_router_from_a_server() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        let two = two();
        let own = mac(in_network_of(two.none, &["ip", "-o", "link", "show", "eth0"])
            .split_whitespace()
            .skip_while(|w| *w != "link/ether")
            .nth(1)
            .unwrap());
        let bridge = format!("afresh{}", two.host.mark());
        let known = || {
            let neighbours = sh(&format!("ip neigh show dev {bridge} | sort; ip -6 route show; ip -6 addr show dev {bridge}"));
            let inside = in_network_of(two.any, &["sh", "-c", "ip neigh show | sort; ip route show; ip -6 route show; ip addr show eth0"]);
            neighbours + &inside
        };
        let before = known();
        let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets().to_vec();
        let own_link = "fe80::66";
        // A router's announcement: of a prefix, and of itself as the way out for half an hour.
        let prefix = [&[3u8, 4, 64, 0xc0][..], &[0, 0, 0x0e, 0x10, 0, 0, 0x0e, 0x10, 0, 0, 0, 0], &v6("fd66::")].concat();
        let announce = [&[134u8, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0][..], &[1, 1], &own, &prefix].concat();
        let advert = |of: &str| [&[136u8, 0, 0, 0, 0xe0, 0, 0, 0][..], &v6(of), &[2, 1], &own].concat();
        let redirect = [&[137u8, 0, 0, 0, 0, 0, 0, 0][..], &v6(own_link), &v6(LAN6)].concat();
        let own6 = two.host.record("none-r1-1-1").pointer("/ground/six/address").unwrap().as_str().unwrap().to_string();
        let mut frames = vec![
            arp_reply(&own, &two.any4, &own, &two.gateway4),
            arp_reply(&own, &two.gateway4, &own, &two.any4),
            arp_reply(&own, HOST4, &own, &two.any4),
        ];
        for from in [own_link, &own6, &two.gateway6] {
            frames.push(icmpv6(&own, from, "ff02::1", &announce));
            frames.push(icmpv6(&own, from, "ff02::1", &advert(&two.any6)));
            frames.push(icmpv6(&own, from, "ff02::1", &advert(&two.gateway6)));
            frames.push(icmpv6(&own, from, &two.any6, &redirect));
        }
        let received = || {
            in_network_of(two.any, &["sh", "-c", "grep eth0 /proc/self/net/dev"]).split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
        };
        let mut args = vec![PERL, "-e", FRAMES];
        args.extend(frames.iter().map(String::as_str));
        // A packet of the kernel's own may fall into one attempt; what gets through is in every one.
        let kept_out = (0..10).any(|_| {
            let packets = received();
            assert_eq!(in_network_of(two.none, &args), "sent\n");
            let through = received() - packets;
            println!("{} frames sent; the other server received {through} packets", frames.len());
            through == 0
        });
        assert!(kept_out);
        assert_eq!(known(), before);
        assert_eq!(attempt(two.any, &format!("tcp {LAN4} {PORT}")), "reached");
        assert_eq!(attempt(two.any, &format!("tcp {LAN6} {PORT}")), "reached");
    });
}

#[test]
#[ignore = "needs root"]
fn source_routes_and_fragments_lead_around_nothing() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        estate.serve_lan(7_002);
        let mut host = Host::with(&[PERL], &[]);
        host.start();
        let via = format!("route {LAN4} {PORT} 198.19.251.1");
        let plain = format!("tcp {LAN4} {PORT}");
        let large = |to: &str, port: u16| format!("large {to} {port}");
        let attempts = [via.clone(), plain.clone(), large(LAN4, PORT), large(LAN6, PORT), large(LAN4, 7_002), large(LAN6, 7_002)];
        let network = format!(r#"{{"egress":["{LAN4}:{PORT}","{LAN4}:{PORT}/udp","[{LAN6}]:{PORT}/udp"]}}"#);
        let saw = tried(&host, "odd-r1-1", &network, &attempts);
        println!("{saw:#?}");
        assert_eq!(saw[&plain], "reached");
        // A program may not choose a route. With all rights in its network it may, and gets nowhere.
        assert!(saw[&via].starts_with("no option"), "{saw:?}");
        let pid = host.pid("odd-r1-1-1");
        assert_eq!(attempt(pid, &plain), "reached");
        assert_eq!(attempt(pid, &via), "nothing");
        for (attempt, want) in attempts[2..].iter().zip(["reached", "reached", "nothing", "nothing"]) {
            assert_eq!(saw[attempt], want, "{attempt}: in fragments");
        }
    });
}

/// One server opens all the connections that it can: what others need is left, and it is told.
#[test]
#[ignore = "needs root"]
fn one_server_fills_no_table_of_connections() {
    estate::on_a_host_of_its_own(|estate| {
        estate.serve_lan(PORT);
        let two = two();
        let max: u64 = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_max").unwrap().trim().parse().unwrap();
        let most = (max / 64).clamp(512, 8_192);
        // Packets to as many ports, each a connection of its own to the kernel.
        let flood = format!(
            "$| = 1; socket(my $s, 2, 2, 0) or die; for my $port (1 .. {}) {{ send($s, 'x', 0, pack('S n a4 x8', 2, $port + 1000, pack('C4', split /\\./, '{LAN4}'))) }} print \"sent\\n\"; sleep 10000",
            most * 3
        );
        two.host.declare(
            1,
            with_network(two.host.group(Want { name: "flood-r1-1", run: &[PERL, "-e", &flood], ..Want::default() }), r#"{"egress":"any"}"#),
        );
        two.host.until_log("flood-r1-1-1", "sent");
        let count: u64 = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap().trim().parse().unwrap();
        println!("{} packets to as many ports: {count} connections in the kernel's table of {max}, {most} allowed to one server", most * 3);
        assert!(count >= most / 2 && count <= most + 200, "{count}");
        assert_eq!(attempt(two.any, &format!("tcp {LAN4} {PORT}")), "reached", "others go on");
        let seen = two
            .host
            .until("flood-r1-1", "what was refused", |seen| seen.instances.iter().any(|i| i.refused.iter().any(|r| r.to.is_none())));
        println!("{}", seen.instances[0].refused[0]);
        let id = InstanceId::new("flood-r1-1-1").unwrap();
        assert!(seen.instances.iter().any(|i| i.id == id && i.refused.iter().any(|r| r.to.is_none() && r.count > most)));
    });
}
