//! Whether the nftables of a host let a stranger's first packet reach a port, from `nft -j list ruleset`. What is not understood is unknown.

use super::listeners::{Listener, Protocol};
use crate::cidr::AddressSet;
use crate::ternary::Tri;
use serde_json::Value;

/// Chains that call each other deeper than this are not followed.
const DEPTH_MAX: usize = 16;
/// Rules that are evaluated for one listener.
const RULES_MAX: usize = 20_000;

pub struct Firewall {
    chains: Vec<Chain>,
}

struct Chain {
    family: String,
    table: String,
    name: String,
    /// Of a base chain of packets to this host.
    policy: Option<Outcome>,
    rules: Vec<Vec<Value>>,
}

/// What may become of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Outcome {
    accepted: bool,
    dropped: bool,
    /// The chain says nothing of it.
    falls: bool,
}

const NOTHING: Outcome = Outcome { accepted: false, dropped: false, falls: false };
const ACCEPTED: Outcome = Outcome { accepted: true, ..NOTHING };
const DROPPED: Outcome = Outcome { dropped: true, ..NOTHING };
const FALLS: Outcome = Outcome { falls: true, ..NOTHING };

impl Outcome {
    fn or(self, other: Outcome) -> Outcome {
        Outcome { accepted: self.accepted || other.accepted, dropped: self.dropped || other.dropped, falls: self.falls || other.falls }
    }
}

impl Firewall {
    /// `None`: not in that form.
    pub fn read(text: &str) -> Option<Firewall> {
        let all: Value = serde_json::from_str(text).ok()?;
        let mut firewall = Firewall { chains: Vec::new() };
        for item in all.get("nftables")?.as_array()? {
            if let Some(chain) = item.get("chain") {
                firewall.chains.push(Chain::read(chain)?);
            } else if let Some(rule) = item.get("rule") {
                let of = |key: &str| rule.get(key).and_then(Value::as_str);
                let (family, table, name) = (of("family")?, of("table")?, of("chain")?);
                let chain = firewall.chains.iter_mut().find(|c| c.family == family && c.table == table && c.name == name)?;
                chain.rules.push(rule.get("expr")?.as_array()?.clone());
            }
        }
        Some(firewall)
    }

    /// Whether a stranger reaches it: every base chain must let the packet through.
    pub fn admits(&self, listener: &Listener) -> Tri {
        let family = if listener.ip.is_ipv4() { "ip" } else { "ip6" };
        let mut left = RULES_MAX;
        let base = self.chains.iter().filter(|chain| chain.policy.is_some() && [family, "inet"].contains(&chain.family.as_str()));
        Tri::all(base.map(|chain| {
            let outcome = self.run(chain, listener, 0, &mut left);
            let outcome = if outcome.falls { Outcome { falls: false, ..outcome }.or(chain.policy.unwrap_or(DROPPED)) } else { outcome };
            match outcome {
                ACCEPTED => Tri::Yes,
                DROPPED => Tri::No,
                _ => Tri::Unknown,
            }
        }))
    }

    fn run(&self, chain: &Chain, listener: &Listener, depth: usize, left: &mut usize) -> Outcome {
        let mut found = NOTHING;
        for rule in &chain.rules {
            if *left == 0 {
                return ACCEPTED.or(DROPPED);
            }
            *left -= 1;
            let (mut fits, mut verdict) = (Tri::Yes, None);
            for expression in rule {
                match part(expression, listener) {
                    Part::Match(tri) => fits = fits.and(tri),
                    Part::Verdict(outcome) => verdict = Some(outcome),
                    Part::Call(target) => {
                        let called = self.chains.iter().find(|c| c.family == chain.family && c.table == chain.table && c.name == target);
                        verdict = Some(match called {
                            Some(called) if depth < DEPTH_MAX && fits != Tri::No => self.run(called, listener, depth + 1, left),
                            _ => ACCEPTED.or(DROPPED).or(FALLS),
                        });
                    }
                    Part::Nothing => {}
                }
            }
            let Some(verdict) = verdict else { continue };
            match fits {
                Tri::No => {}
                Tri::Unknown => found = found.or(Outcome { falls: false, ..verdict }),
                Tri::Yes if verdict.falls => found = found.or(Outcome { falls: false, ..verdict }),
                Tri::Yes => return found.or(verdict),
            }
        }
        found.or(FALLS)
    }
}

impl Chain {
    fn read(chain: &Value) -> Option<Chain> {
        let of = |key: &str| chain.get(key).and_then(Value::as_str);
        // What is dropped before routing does not arrive either; address translation is no filter.
        let is_base = of("type") == Some("filter") && matches!(of("hook"), Some("input" | "prerouting" | "ingress"));
        let policy = if of("policy") == Some("drop") { DROPPED } else { ACCEPTED };
        let (family, table, name) = (of("family")?.to_string(), of("table")?.to_string(), of("name")?.to_string());
        Some(Chain { family, table, name, policy: is_base.then_some(policy), rules: Vec::new() })
    }
}

enum Part {
    Match(Tri),
    Verdict(Outcome),
    Call(String),
    Nothing,
}

fn part(expression: &Value, listener: &Listener) -> Part {
    let Some((name, value)) = expression.as_object().and_then(|object| object.iter().next()) else { return Part::Match(Tri::Unknown) };
    match name.as_str() {
        "match" => Part::Match(fits(value, listener)),
        "accept" => Part::Verdict(ACCEPTED),
        "drop" | "reject" => Part::Verdict(DROPPED),
        // The caller goes on, or its policy holds: both are another rule's.
        "return" => Part::Verdict(ACCEPTED.or(DROPPED)),
        "jump" | "goto" => value.get("target").and_then(Value::as_str).map_or(Part::Match(Tri::Unknown), |t| Part::Call(t.to_string())),
        "counter" | "log" | "comment" => Part::Nothing,
        _ => Part::Match(Tri::Unknown),
    }
}

fn fits(value: &Value, listener: &Listener) -> Tri {
    let (Some(op), Some(left), Some(right)) = (value.get("op").and_then(Value::as_str), value.get("left"), value.get("right")) else {
        return Tri::Unknown;
    };
    let of = |kind: &str, key: &str| left.get(kind).and_then(|l| l.get(key)).and_then(Value::as_str);
    let protocol = if listener.protocol == Protocol::Tcp { "tcp" } else { "udp" };
    let family = if listener.ip.is_ipv4() { "ipv4" } else { "ipv6" };
    let holds = match (of("payload", "protocol"), of("payload", "field")) {
        (Some(of), Some("dport")) if of == protocol || of == "th" => holds_port(right, listener.port),
        (Some("tcp" | "udp" | "sctp" | "dccp" | "icmp" | "icmpv6"), Some(_)) if of("payload", "protocol") != Some(protocol) => {
            return Tri::No;
        }
        (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => names(right, protocol),
        (Some("ip" | "ip6"), Some("saddr")) => from_stranger(right),
        (Some(_), _) => Tri::Unknown,
        (None, _) => match (of("meta", "key"), of("ct", "key")) {
            (Some("l4proto"), _) => names(right, protocol),
            (Some("nfproto"), _) => names(right, family),
            (Some("iif" | "iifname"), _) if right.as_str() == Some("lo") => Tri::No,
            (_, Some("state")) => names(right, "new"),
            _ => Tri::Unknown,
        },
    };
    match op {
        "==" | "in" => holds,
        "!=" => holds.negate(),
        _ => Tri::Unknown,
    }
}

fn items(right: &Value) -> Vec<&Value> {
    match (right.get("set").and_then(Value::as_array), right.as_array()) {
        (Some(all), _) | (None, Some(all)) => all.iter().collect(),
        (None, None) => vec![right],
    }
}

fn names(right: &Value, wanted: &str) -> Tri {
    Tri::any(items(right).into_iter().map(|item| match item.as_str() {
        Some(name) if name.starts_with('@') => Tri::Unknown,
        Some(name) => Tri::from(name == wanted),
        None => Tri::Unknown,
    }))
}

fn holds_port(right: &Value, port: u16) -> Tri {
    let number = |value: &Value| value.as_u64();
    Tri::any(items(right).into_iter().map(|item| match (number(item), item.get("range").and_then(Value::as_array)) {
        (Some(one), _) => Tri::from(one == u64::from(port)),
        (None, Some(range)) => match (range.first().and_then(number), range.get(1).and_then(number)) {
            (Some(from), Some(to)) => Tri::from((from..=to).contains(&u64::from(port))),
            _ => Tri::Unknown,
        },
        (None, None) => Tri::Unknown,
    }))
}

/// Whether the packet of a stranger comes from these addresses: from a few of them it does not.
fn from_stranger(right: &Value) -> Tri {
    let cidrs: Option<Vec<String>> = items(right)
        .into_iter()
        .map(|item| match (item.as_str(), item.get("prefix")) {
            (Some(text), _) if !text.starts_with('@') => Some(text.to_string()),
            (None, Some(prefix)) => Some(format!("{}/{}", prefix.get("addr")?.as_str()?, prefix.get("len")?.as_u64()?)),
            _ => None,
        })
        .collect();
    match cidrs.and_then(|cidrs| AddressSet::from_cidrs(cidrs.iter().map(String::as_str))) {
        Some(set) if set.admits_anyone() => Tri::Unknown,
        Some(_) => Tri::No,
        None => Tri::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nft 1.0.6 prints it.
    fn ruleset(policy: &str, rules: &[&str]) -> String {
        let chain = format!(
            r#"{{"chain": {{"family": "inet", "table": "filter", "name": "input", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "{policy}"}}}}"#
        );
        let other = r#"{"chain": {"family": "inet", "table": "filter", "name": "web", "handle": 2}}"#;
        let of = |chain: &str, expr: &str| {
            format!(r#"{{"rule": {{"family": "inet", "table": "filter", "chain": "{chain}", "handle": 3, "expr": [{expr}]}}}}"#)
        };
        let rules: Vec<String> = rules.iter().map(|expr| of("input", expr)).collect();
        let web = of("web", &format!("{}, {ACCEPT}", dport(r#"{"set": [80, {"range": [6000, 6999]}]}"#)));
        format!(
            r#"{{"nftables": [{{"metainfo": {{"version": "1.0.6"}}}}, {chain}, {other}, {web}{}{}]}}"#,
            if rules.is_empty() { "" } else { ", " },
            rules.join(", ")
        )
    }

    const ACCEPT: &str = r#"{"accept": null}"#;
    const DROP: &str = r#"{"drop": null}"#;

    fn dport(right: &str) -> String {
        format!(r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "tcp", "field": "dport"}}}}, "right": {right}}}}}"#)
    }

    fn from(cidr: &str) -> String {
        let (address, length) = cidr.split_once('/').unwrap();
        format!(
            r#"{{"match": {{"op": "==", "left": {{"payload": {{"protocol": "ip", "field": "saddr"}}}}, "right": {{"prefix": {{"addr": "{address}", "len": {length}}}}}}}}}"#
        )
    }

    #[test]
    fn a_strangers_first_packet() {
        let established =
            r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}"#;
        let loopback = r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}"#;
        let limited = format!(r#"{{"limit": {{"rate": 5, "per": "second"}}}}, {ACCEPT}"#);
        let call = r#"{"jump": {"target": "web"}}"#;
        let (six, ssh) = (format!("{}, {ACCEPT}", dport("6379")), format!("{}, {ACCEPT}", dport("22")));
        let counted = format!(r#"{}, {{"counter": {{"packets": 1, "bytes": 60}}}}, {DROP}"#, dport("6379"));
        let private = format!("{}, {}, {ACCEPT}", from("10.0.0.0/8"), dport("6379"));
        let named = format!("{}, {DROP}", dport("\"@ports\""));
        for (policy, rules, expected) in [
            ("accept", vec![], Tri::Yes),
            ("drop", vec![], Tri::No),
            ("drop", vec![established, loopback, ssh.as_str()], Tri::No),
            ("drop", vec![established, six.as_str()], Tri::Yes),
            ("accept", vec![counted.as_str()], Tri::No),
            ("accept", vec![counted.as_str(), six.as_str()], Tri::No),
            ("accept", vec![six.as_str(), counted.as_str()], Tri::Yes),
            ("drop", vec![private.as_str()], Tri::No),
            ("drop", vec![limited.as_str()], Tri::Unknown),
            ("accept", vec![limited.as_str()], Tri::Yes),
            ("accept", vec![named.as_str()], Tri::Unknown),
            ("drop", vec![call], Tri::Yes),
            ("accept", vec![r#"{"jump": {"target": "gone"}}"#], Tri::Unknown),
            ("accept", vec![r#"{"xt": null}, {"drop": null}"#], Tri::Unknown),
            ("drop", vec![r#"{"goto": {"target": "input"}}"#], Tri::Unknown),
        ] {
            let firewall = Firewall::read(&ruleset(policy, &rules)).unwrap();
            let listener = Listener { protocol: Protocol::Tcp, ip: "0.0.0.0".parse().unwrap(), port: 6379, inode: 1 };
            assert_eq!(firewall.admits(&listener), expected, "{policy} {rules:?}");
        }
        let open = Firewall::read(r#"{"nftables": []}"#).unwrap();
        assert_eq!(open.admits(&Listener { protocol: Protocol::Udp, ip: "::".parse().unwrap(), port: 161, inode: 1 }), Tri::Yes);
        assert!(Firewall::read("{").is_none() && Firewall::read("{}").is_none());
    }
}
