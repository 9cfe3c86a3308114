//! What each server may reach, as two tables of nftables. Pure.
//!
//! ```text
//! a server's port of the bridge ─▶ bridge table: its own hardware and network addresses, or dropped
//!   to an address of this host  ─▶ prerouting (and input) ─▶ host-GROUP ─▶ opened | refused-GROUP
//!   to anywhere else            ─▶ forward ─▶ out-GROUP ─▶ opened | refused-GROUP ─▶ masquerade
//! to a server                   ─▶ forward: only answers; what this host itself begins gets in
//! ```
//!
//! A source address leads to its group's chains by one look-up, however many servers there are; an unknown one is refused.

use super::table::{Kind, Table};
use crate::net::port_group;
use crate::subnet::{Prefix, Subnet};
use model::destination::{Destination, DestinationHost, PortRange, never_by_default};
use model::network::is_never_by_default;
use model::{Allowed, Egress, GroupName, Network, ServiceName};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Destinations that are counted of a group, in each family.
pub const REFUSED_MAX: usize = 256;
/// More servers than that have no address here.
const SERVERS_MAX: usize = 1_024;
/// Packets to the resolver that one server may send.
const LOOK_UPS_A_SECOND: u32 = 500;
const LOOK_UPS_AT_ONCE: u32 = 1_000;
/// Of every data directory's bridge.
const ANY_BRIDGE: &str = "\"afresh*\"";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    pub mark: String,
    pub bridge: String,
    pub subnet: Subnet,
    pub prefix: Option<Prefix>,
    /// This host forwards only because servers need it: what neither comes from nor goes to one is dropped.
    pub guard: Guard,
    /// Whether the resolver listens on the gateway; if not, it may be somebody else's that does.
    pub answers_names: bool,
    /// Of the names that groups name, the addresses.
    pub names: BTreeMap<String, BTreeSet<IpAddr>>,
    pub groups: BTreeMap<GroupName, Network>,
    /// Of services that offer something inside, the ports that the balancer has for them at the gateway.
    pub inside: BTreeMap<ServiceName, BTreeSet<u16>>,
    pub servers: BTreeMap<Ipv4Addr, Server>,
    /// Connections that one server may have open at a time.
    pub connections_max: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Guard {
    pub v4: bool,
    pub v6: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub veth: String,
    pub hardware: String,
    pub address6: Option<Ipv6Addr>,
    /// None: nothing is open to it.
    pub group: Option<GroupName>,
}

pub fn names_of(mark: &str) -> [String; 2] {
    [format!("inet afresh_{mark}"), format!("bridge afresh_{mark}")]
}

/// Whether servers need this host to forward for them.
pub fn leads_out(network: &Network) -> bool {
    network.egress != Egress::None
}

impl Rules {
    pub fn tables(&self) -> [Table; 2] {
        let [inet, bridge] = names_of(&self.mark);
        [self.inet(inet), self.ports(bridge)]
    }

    fn inet(&self, name: String) -> Table {
        let mut table = Table::new(name);
        self.sets(&mut table);
        for (group, network) in &self.groups {
            self.group(&mut table, group, network);
        }
        self.verdicts(&mut table);
        self.hooks(&mut table);
        self.look_up_hooks(&mut table);
        table
    }

    /// Where every group's chains end.
    fn verdicts(&self, table: &mut Table) {
        let most = self.connections_max;
        let count =
            |ip: &str, family: &str| format!("ct state new add @connections{family} {{ {ip} saddr ct count over {most} }} goto crowded");
        table.chain("opened", vec![count("ip", "4"), count("ip6", "6"), "accept".to_string()]);
        table.chain("crowded", texts(&["update @crowded4 { ip saddr }", "update @crowded6 { ip6 saddr }", "goto refused"]));
        // A program that is refused learns it at once.
        table.chain("refused", texts(&["meta l4proto tcp reject with tcp reset", "drop"]));
        table.chain(
            "to-host",
            texts(&["fib daddr type { broadcast, multicast } drop", "ip saddr vmap @hosts4", "ip6 saddr vmap @hosts6", "goto refused"]),
        );
        table.chain(
            "leaving",
            texts(&["ct state established,related accept", "ip saddr vmap @servers4", "ip6 saddr vmap @servers6", "goto refused"]),
        );
    }

    /// Where the kernel hands packets over. None of ours passes untouched, and others' do.
    fn hooks(&self, table: &mut Table) {
        let bridge = format!("\"{}\"", self.bridge);
        // Judged by where the packet was sent, before somebody's rules may send it elsewhere: published ports of other containers are
        // ports of this host. Routes that the sender chose would lead around everything.
        // The gateway is nobody's to reach from elsewhere, whichever way a packet takes to this host.
        let outside = |(ip, _, to): (&str, &str, IpAddr)| format!("iifname != {{ {bridge}, \"lo\" }} {ip} daddr {to} drop");
        let mut prerouting: Vec<String> = self.gateways().map(outside).collect();
        prerouting.push(format!("iifname != {bridge} accept"));
        prerouting.extend(texts(&[
            "ip option lsrr exists drop",
            "ip option ssrr exists drop",
            "exthdr rt exists drop",
            "ct state established,related accept",
            "fib daddr type { local, broadcast, anycast, multicast } goto to-host",
        ]));
        // Where nothing is forwarded the kernel would drop it without a word.
        let forwards = self.groups.values().any(leads_out);
        prerouting.extend((!forwards).then(|| "goto leaving".to_string()));
        table.base("prerouting", "type filter hook prerouting priority mangle; policy accept;", prerouting);
        let input = vec![format!("iifname {bridge} ct state established,related accept"), format!("iifname {bridge} goto to-host")];
        table.base("input", "type filter hook input priority filter - 10; policy accept;", input);
        let mut forward = Vec::new();
        for (on, family) in [(self.guard.v4, "ipv4"), (self.guard.v6, "ipv6")] {
            if on {
                forward.push(format!("meta nfproto {family} iifname != {ANY_BRIDGE} oifname != {ANY_BRIDGE} drop"));
            }
        }
        forward.push(format!("iifname {bridge} goto leaving"));
        forward.push(format!("oifname {bridge} ct state established,related accept"));
        forward.push(format!("oifname {bridge} drop"));
        table.base("forward", "type filter hook forward priority filter - 10; policy accept;", forward);
        let mut leaving = vec![format!("ip saddr {} oifname != {bridge} masquerade", self.subnet)];
        leaving.extend(self.prefix.map(|prefix| format!("ip6 saddr {prefix} oifname != {bridge} masquerade")));
        table.base("postrouting", "type nat hook postrouting priority srcnat; policy accept;", leaving);
    }

    fn sets(&self, table: &mut Table) {
        let of = |v4: bool, addresses: &mut dyn Iterator<Item = IpAddr>| -> BTreeSet<String> {
            addresses.filter(|address| address.is_ipv4() == v4).map(|address| address.to_string()).collect()
        };
        for (v4, family, kind) in [(true, "4", "ipv4_addr"), (false, "6", "ipv6_addr")] {
            let never = never_by_default().into_iter().filter(|net| net.addr().is_ipv4() == v4).map(|net| net.to_string());
            table.set(format!("never{family}"), Kind::Set, format!("type {kind}; flags interval;"), never.collect());
            let asking = format!("type {kind}; size {SERVERS_MAX}; flags dynamic,timeout; timeout 1m;");
            table.set(format!("asking{family}"), Kind::Dynamic, asking, BTreeSet::new());
            for (map, chain) in [("servers", "out"), ("hosts", "host")] {
                let elements = self.members(v4).map(|(address, group)| format!("{address} : goto {chain}-{group}"));
                table.set(format!("{map}{family}"), Kind::Map, format!("type {kind} : verdict;"), elements.collect());
            }
            let counted = format!("type {kind}; size {SERVERS_MAX}; flags dynamic;");
            table.set(format!("connections{family}"), Kind::Dynamic, counted, BTreeSet::new());
            let crowded = format!("type {kind}; size {SERVERS_MAX}; flags dynamic,timeout; counter; timeout 1d;");
            table.set(format!("crowded{family}"), Kind::Dynamic, crowded, BTreeSet::new());
            for (name, addresses) in &self.names {
                table.set(name_set(name, v4), Kind::Set, format!("type {kind};"), of(v4, &mut addresses.iter().copied()));
            }
        }
    }

    /// Addresses of servers, and the groups whose chains they lead to.
    fn members(&self, v4: bool) -> impl Iterator<Item = (IpAddr, &GroupName)> {
        self.servers.iter().filter_map(move |(address, server)| {
            let address = if v4 { Some(IpAddr::V4(*address)) } else { server.address6.map(IpAddr::V6) };
            address.zip(server.group.as_ref().filter(|group| self.groups.contains_key(*group)))
        })
    }

    fn group(&self, table: &mut Table, group: &GroupName, network: &Network) {
        let refused = format!("goto refused-{group}");
        for (family, kind, ip) in [("4", "ipv4_addr", "ip"), ("6", "ipv6_addr", "ip6")] {
            let spec = format!(
                "type {kind} . {kind} . inet_proto . inet_service; size {REFUSED_MAX}; flags dynamic,timeout; counter; timeout 1d;"
            );
            table.set(format!("refused{family}-{group}"), Kind::Dynamic, spec, BTreeSet::new());
            let rule = format!(
                "meta l4proto {{ tcp, udp }} update @refused{family}-{group} {{ {ip} saddr . {ip} daddr . meta l4proto . th dport }}"
            );
            table.chains.entry(format!("refused-{group}")).or_default().rules.push(rule);
        }
        table.chains.entry(format!("refused-{group}")).or_default().rules.push("goto refused".to_string());
        let mut out = Vec::new();
        if network.egress != Egress::None {
            out.push(format!("oifname {ANY_BRIDGE} {refused}"));
            let said = network.egress.list().iter().filter(|to| is_never_by_default(to));
            out.extend(said.flat_map(rules_of));
            out.extend([format!("ip daddr @never4 {refused}"), format!("ip6 daddr @never6 {refused}")]);
        }
        match &network.egress {
            Egress::Any => out.push("goto opened".to_string()),
            Egress::None => {}
            Egress::Only(list) => out.extend(list.iter().filter(|to| !is_never_by_default(to)).flat_map(rules_of)),
        }
        out.extend((network.egress != Egress::Any).then(|| refused.clone()));
        table.chain(format!("out-{group}"), out);
        let mut host: Vec<String> = self.look_ups().collect();
        let offered = network.services().filter_map(|service| self.inside.get(service)).flatten();
        let inside = self.to_gateway(offered, "goto opened");
        host.extend(inside);
        // A port of the host that a file opens is none of another service's.
        host.extend(self.to_gateway(self.inside.values().flatten(), &refused));
        let ports = network.allow.iter().filter_map(|allowed| match allowed {
            Allowed::Host(ports) => Some(format!("{} goto opened", port_match(*ports))),
            Allowed::Service(_) => None,
        });
        host.extend(ports);
        host.push(refused);
        table.chain(format!("host-{group}"), host);
    }

    fn gateways(&self) -> impl Iterator<Item = (&'static str, &'static str, IpAddr)> {
        let v6 = self.prefix.map(|prefix| ("ip6", "6", prefix.gateway().into()));
        std::iter::once(("ip", "4", self.subnet.gateway().into())).chain(v6)
    }

    /// A rule for these ports of the gateway, in each family.
    fn to_gateway<'a>(&self, ports: impl Iterator<Item = &'a u16>, verdict: &str) -> Vec<String> {
        let ports: BTreeSet<u16> = ports.copied().collect();
        if ports.is_empty() {
            return Vec::new();
        }
        let ports = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        self.gateways().map(|(ip, _, to)| format!("{ip} daddr {to} tcp dport {{ {ports} }} {verdict}")).collect()
    }

    /// What may be asked is the resolver's to judge (`dns/policy`).
    fn look_ups(&self) -> impl Iterator<Item = String> {
        let each = self.gateways().filter(|_| self.answers_names);
        each.flat_map(|(ip, _, to)| [format!("{ip} daddr {to} udp dport 53 accept"), format!("{ip} daddr {to} tcp dport 53 goto opened")])
    }

    /// Look-ups are many and short: they take no place in the table of connections. While nobody listens, the kernel says nothing, so that
    /// programs ask again instead of giving up at once; the bytes compared are the port that the refused packet went to.
    fn look_up_hooks(&self, table: &mut Table) {
        let bridge = format!("\"{}\"", self.bridge);
        let (mut asking, mut answering) = (Vec::new(), Vec::new());
        for (ip, family, gateway) in self.gateways().filter(|_| self.answers_names) {
            let asked = format!("iifname {bridge} {ip} daddr {gateway} udp dport 53");
            asking.push(format!("{asked} update @asking{family} {{ {ip} saddr limit rate over {LOOK_UPS_A_SECOND}/second burst {LOOK_UPS_AT_ONCE} packets }} drop"));
            asking.push(format!("{asked} notrack"));
            let (unreachable, at) =
                if ip == "ip" { ("icmp type destination-unreachable", 240) } else { ("icmpv6 type destination-unreachable", 400) };
            answering.push(format!("oifname {bridge} {ip} saddr {gateway} udp sport 53 notrack"));
            answering.push(format!("oifname {bridge} {ip} saddr {gateway} {unreachable} @th,{at},16 53 drop"));
        }
        table.base("asking", "type filter hook prerouting priority raw; policy accept;", asking);
        table.base("answering", "type filter hook output priority raw; policy accept;", answering);
    }

    /// A bridge's port speaks for its own server alone. Neighbours are written down where they are needed, so neither ARP nor neighbour
    /// discovery can teach anybody anything; what a server says of itself in ARP is let through for servers of an older version.
    fn ports(&self, name: String) -> Table {
        let mut table = Table::new(name);
        let port = |server: &Server, address: IpAddr| format!("\"{}\" . {} . {address}", server.veth, server.hardware);
        let v4 = self.servers.iter().map(|(address, server)| port(server, (*address).into()));
        table.set("servers4", Kind::Set, "type ifname . ether_addr . ipv4_addr;", v4.collect());
        let v6 = self.servers.values().filter_map(|server| server.address6.map(|address| port(server, address.into())));
        table.set("servers6", Kind::Set, "type ifname . ether_addr . ipv6_addr;", v6.collect());
        let hook = "type filter hook prerouting priority dstnat; policy accept;";
        table.base("prerouting", hook, vec![format!("iifgroup {} goto server", port_group(&self.mark))]);
        let rules = [
            "ether type ip iifname . ether saddr . ip saddr @servers4 accept",
            "ether type arp iifname . ether saddr . arp saddr ip @servers4 iifname . arp saddr ether . arp saddr ip @servers4 accept",
            "ether type ip6 icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect } drop",
            "ether type ip6 iifname . ether saddr . ip6 saddr @servers6 accept",
            "drop",
        ];
        table.chain("server", texts(&rules));
        table
    }
}

/// One server with something of everything: what a host must be able to load.
pub fn sample() -> Rules {
    let group: Option<GroupName> = "web-r1-1".parse().ok();
    let all = r#"{"egress":["10.0.0.0/8:5432","[2001:db8::/32]:8000-8010/udp","db.example.org:443","169.254.169.254:80"],"allow":["host:6379","service.worker"]}"#;
    let network: Network = serde_json::from_str(all).unwrap_or_default();
    let address6: Option<Ipv6Addr> = "fd00:1::2".parse().ok();
    let server = Server { veth: "v0123".to_string(), hardware: "02:af:c6:12:07:02".to_string(), address6, group: group.clone() };
    Rules {
        mark: "0123abcd".to_string(),
        bridge: "afresh0123abcd".to_string(),
        subnet: Subnet::of([198, 18, 7, 0].into()),
        prefix: Prefix::try_from("fd00:1::/64".to_string()).ok(),
        guard: Guard { v4: true, v6: true },
        answers_names: true,
        names: [("db.example.org".to_string(), [IpAddr::from([10, 0, 0, 7])].into())].into(),
        groups: group.into_iter().map(|group| (group, network.clone())).collect(),
        inside: [("worker", 7_000), ("other", 7_001)]
            .into_iter()
            .filter_map(|(name, port)| Some((ServiceName::new(name).ok()?, [port].into())))
            .collect(),
        servers: [(Ipv4Addr::new(198, 18, 7, 2), server)].into(),
        connections_max: 4_096,
    }
}

/// Of one name and family. A hash, as names are longer than a set's may be.
fn name_set(name: &str, v4: bool) -> String {
    format!("name{}-{}", if v4 { "4" } else { "6" }, &hex::encode(Sha256::digest(name))[..16])
}

fn port_match(ports: PortRange) -> String {
    let range = if ports.from == ports.to { ports.from.to_string() } else { format!("{}-{}", ports.from, ports.to) };
    format!("{} dport {range}", ports.transport.name())
}

fn rules_of(to: &Destination) -> Vec<String> {
    let ports = port_match(to.ports);
    match &to.host {
        DestinationHost::Net(net) => {
            let to = match (net.addr().is_ipv4(), net.prefix_len()) {
                (true, 0) => "meta nfproto ipv4".to_string(),
                (false, 0) => "meta nfproto ipv6".to_string(),
                (true, _) => format!("ip daddr {net}"),
                (false, _) => format!("ip6 daddr {net}"),
            };
            vec![format!("{to} {ports} goto opened")]
        }
        DestinationHost::Name(name) => {
            [(true, "ip"), (false, "ip6")].map(|(v4, ip)| format!("{ip} daddr @{} {ports} goto opened", name_set(name, v4))).into()
        }
    }
}

fn texts(rules: &[&str]) -> Vec<String> {
    rules.iter().map(|rule| (*rule).to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &Table, name: &str) -> Vec<String> {
        table.chains[name].rules.clone()
    }

    fn group(json: &str) -> [Table; 2] {
        let mut rules = sample();
        rules.groups.values_mut().for_each(|network| *network = serde_json::from_str(json).unwrap());
        rules.tables()
    }

    #[test]
    fn the_tables_name_only_what_is_ours() {
        for table in sample().tables() {
            assert!(table.name.ends_with(" afresh_0123abcd"), "{}", table.name);
            for line in table.whole().lines() {
                assert!(line.contains(&format!(" {}", table.name)) || line.starts_with(&format!("table {}", table.name)), "{line}");
                assert!(!line.contains("flush ruleset"), "{line}");
            }
            // Packets of others pass every base chain untouched, unless this host forwards for servers alone.
            for (name, chain) in table.chains.iter().filter(|(_, chain)| chain.hook.is_some()) {
                let hook = chain.hook.as_ref().unwrap();
                assert!(hook.contains("policy accept"), "{name}");
                let bound =
                    |rule: &String| ["\"afresh0123abcd\"", "iifgroup", "\"afresh*\"", "saddr"].iter().any(|word| rule.contains(word));
                let begins = if name == "prerouting" && !table.name.starts_with("bridge") { 3 } else { chain.rules.len() };
                assert!(chain.rules[..begins].iter().all(bound), "{name}: {:?}", chain.rules);
            }
        }
        let mut open = sample();
        open.guard = Guard::default();
        assert!(!chain(&open.tables()[0], "forward").iter().any(|rule| rule.contains("nfproto")));
    }

    #[test]
    fn what_is_closed_to_all_comes_before_what_is_open() {
        let [any, _] = group(r#"{"egress":"any"}"#);
        let out = chain(&any, "out-web-r1-1");
        let at =
            |rules: &[String], word: &str| rules.iter().position(|rule| rule.contains(word)).unwrap_or_else(|| panic!("{word}: {rules:?}"));
        assert_eq!(at(&out, "afresh*"), 0);
        assert!(at(&out, "@never4") < out.len() - 1 && at(&out, "@never6") < out.len() - 1);
        assert_eq!(out.last().unwrap(), "goto opened");
        let [none, _] = group(r#"{"egress":"none"}"#);
        assert_eq!(chain(&none, "out-web-r1-1"), ["goto refused-web-r1-1"]);
        let host = chain(&none, "host-web-r1-1");
        assert!(host.len() == 7 && host[..4].iter().all(|rule| rule.contains("dport 53")), "{host:?}");
        assert_eq!(host.last().unwrap(), "goto refused-web-r1-1");
        let [inside, _] = group(r#"{"egress":"none","allow":["host:1-65535","service.worker","service.nobody"]}"#);
        let host = chain(&inside, "host-web-r1-1");
        let (own, others, ports) = (
            at(&host, "tcp dport { 7000 } goto opened"),
            at(&host, "tcp dport { 7000, 7001 } goto refused"),
            at(&host, "tcp dport 1-65535"),
        );
        assert!(own < others && others < ports, "{host:?}");
        let mut silent = sample();
        silent.answers_names = false;
        let [silent, _] = silent.tables();
        assert!(!silent.chains.values().any(|chain| chain.rules.iter().any(|rule| rule.contains("port 53"))), "somebody else's resolver");
        let [list, _] = group(
            r#"{"egress":["10.0.0.0/8:5432","0.0.0.0/0:443","169.254.169.254:80","db.example.org:1-9/udp"],"allow":["host:514/udp"]}"#,
        );
        let out = chain(&list, "out-web-r1-1");
        assert!(at(&out, "ip daddr 169.254.169.254/32 tcp dport 80") < at(&out, "@never4"), "it is named by itself");
        for rule in
            ["ip daddr 10.0.0.0/8 tcp dport 5432 goto opened", "meta nfproto ipv4 tcp dport 443 goto opened", "udp dport 1-9 goto opened"]
        {
            assert!(at(&out, rule) > at(&out, "@never6"), "{rule}");
        }
        assert_eq!(out.last().unwrap(), "goto refused-web-r1-1");
        assert!(chain(&list, "host-web-r1-1").contains(&"udp dport 514 goto opened".to_string()));
    }

    #[test]
    fn a_server_of_no_group_has_a_port_and_no_way() {
        let mut rules = sample();
        rules.servers.values_mut().for_each(|server| server.group = None);
        let [inet, bridge] = rules.tables();
        assert!(inet.sets["servers4"].elements.is_empty() && inet.sets["hosts6"].elements.is_empty());
        assert_eq!(bridge.sets["servers4"].elements.len(), 1);
        assert_eq!(chain(&inet, "leaving").last().unwrap(), "goto refused");
    }
}
