//! The world of this host's firewall: ports that are dropped in a table of our own, `inet afresh_contain`. No other table is touched.
//!
//! The packet is dropped before it could be forwarded to a server or given to a program here; what this host sends itself over `lo` is not.

use crate::world::{Judged, World};
use guard::Verdict;
use guard::contain::{Call, Setting, State};
use model::Fault;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const TABLE: &str = "inet afresh_contain";
/// Before DNAT, which makes the port of a server out of one of the host.
const PRIORITY: i32 = -290;
/// Whose header begins with the ports, so that one rule reads those of all.
const PROTOCOLS: [&str; 3] = ["tcp", "udp", "sctp"];

#[derive(Debug, Default)]
pub struct Firewall;

/// What the table has now.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    ports: BTreeSet<(String, u16)>,
    /// The set, the chain and its rule are as they are made here.
    is_whole: bool,
}

impl Firewall {
    pub fn setting(protocol: &str, port: u16) -> Setting {
        Setting::FirewallDrop { protocol: protocol.to_string(), port }
    }

    /// Of an identifier such as `tcp/5432`.
    pub fn setting_of(id: &str) -> Option<Setting> {
        let (protocol, number) = id.split_once('/')?;
        let port: u16 = number.parse().ok()?;
        // One port has one identifier: no sign, no zeros before it.
        let is_port = PROTOCOLS.contains(&protocol) && port != 0 && port.to_string() == number;
        is_port.then(|| Firewall::setting(protocol, port))
    }

    fn seen(&self) -> Result<Option<Seen>, Fault> {
        let out = run(&["-j", "list", "table", "inet", "afresh_contain"], "")?;
        if !out.status.success() {
            let text = String::from_utf8_lossy(&out.stderr);
            return if text.contains("No such file or directory") { Ok(None) } else { Err(failed(&text)) };
        }
        let parsed: Value = serde_json::from_slice(&out.stdout).map_err(|e| failed(&format!("its JSON cannot be read: {e}")))?;
        read(&parsed).map(Some).ok_or_else(|| failed(&format!("table {TABLE} has a set that is not ours")))
    }
}

/// None: something in the set cannot be read.
fn read(listed: &Value) -> Option<Seen> {
    let items = listed["nftables"].as_array()?;
    let of = |kind: &str| items.iter().filter_map(|item| item.get(kind)).collect::<Vec<_>>();
    let sets = of("set");
    let mut ports = BTreeSet::new();
    for element in sets.iter().filter(|s| s["name"] == "ports").filter_map(|s| s["elem"].as_array()).flatten() {
        let pair = element.get("concat").and_then(Value::as_array)?;
        let [protocol, port] = &pair[..] else { return None };
        ports.insert((protocol.as_str()?.to_string(), u16::try_from(port.as_u64()?).ok()?));
    }
    let is_whole = matches!((&of("table")[..], &sets[..], &of("chain")[..], &of("rule")[..]),
        ([table], [set], [chain], [rule]) if is_awake(table) && is_ours(set) && is_first(chain) && drops(rule));
    Some(Seen { ports, is_whole })
}

/// A table may be dormant: its rules are there, and none is in force.
fn is_awake(table: &Value) -> bool {
    table.get("flags").is_none()
}

fn is_ours(set: &Value) -> bool {
    let is_plain = ["flags", "timeout", "size", "gc-interval", "map"].iter().all(|name| set.get(name).is_none());
    set["name"] == "ports" && set["type"] == json!(["inet_proto", "inet_service"]) && is_plain
}

fn is_first(chain: &Value) -> bool {
    let made = json!({"name": "incoming", "type": "filter", "hook": "prerouting", "prio": PRIORITY});
    made.as_object().is_some_and(|made| made.iter().all(|(name, value)| chain[name] == *value))
}

/// Whether it drops whatever comes to a port of the set, but over `lo`, and asks for nothing else.
fn drops(rule: &Value) -> bool {
    let port = json!({"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]});
    let Some([outside, ports, verdict]) = rule["expr"].as_array().map(Vec::as_slice) else { return false };
    let is = |of: &Value, operators: &[&str], left: &Value, right: &str| {
        let of = &of["match"];
        operators.iter().any(|o| of["op"] == *o) && of["left"] == *left && of["right"] == right
    };
    rule["chain"] == "incoming"
        && is(outside, &["!="], &json!({"meta": {"key": "iifname"}}), "lo")
        && is(ports, &["==", "in"], &port, "@ports")
        && verdict.get("drop").is_some()
}

impl World for Firewall {
    /// `Gone`: the table is there and is not as it is made here, so that what is in it may not be in force.
    fn state(&self, setting: &Setting) -> Result<State, Fault> {
        let Setting::FirewallDrop { protocol, port } = setting else { return Ok(State::Gone) };
        Ok(match self.seen()? {
            None => State::On(false),
            Some(seen) if seen.is_whole => State::On(seen.ports.contains(&(protocol.clone(), *port))),
            Some(_) => State::Gone,
        })
    }

    fn write(&self, call: &Call) -> Result<(), Fault> {
        let protocol = call.parameters["Protocol"].as_str().filter(|p| PROTOCOLS.contains(p));
        let port = call.parameters["Port"].as_u64().and_then(|p| u16::try_from(p).ok());
        let (Some(protocol), Some(port)) = (protocol, port) else {
            return Err(Fault::ours("bad-journal", format!("no change of a firewall is {} with {}", call.operation, call.parameters)));
        };
        let element = format!("element {TABLE} ports {{ {protocol} . {port} }}\n");
        let batch = match (call.operation, self.seen()?) {
            ("AddDrop", None) => format!(
                "add table {TABLE}\nadd set {TABLE} ports {{ type inet_proto . inet_service; }}\n\
                 add chain {TABLE} incoming {{ type filter hook prerouting priority {PRIORITY}; policy accept; }}\n\
                 add rule {TABLE} incoming iifname != \"lo\" meta l4proto . th dport @ports drop\nadd {element}"
            ),
            ("AddDrop", Some(_)) => format!("add {element}"),
            // Nothing of ours stays behind: there was no table before.
            ("RemoveDrop", Some(seen)) if seen.ports.len() == 1 && seen.ports.contains(&(protocol.to_string(), port)) => {
                format!("delete table {TABLE}\n")
            }
            ("RemoveDrop", _) => format!("delete {element}"),
            _ => return Err(Fault::ours("bad-journal", format!("no change of a firewall is {}", call.operation))),
        };
        let out = run(&["-f", "-"], &batch)?;
        if out.status.success() { Ok(()) } else { Err(failed(&String::from_utf8_lossy(&out.stderr))) }
    }

    /// A port is not public when our table drops it: `guard` knows no other firewall of a host.
    fn judge(&self, _: &str, id: &str) -> Result<Judged, Fault> {
        let setting = Firewall::setting_of(id).ok_or_else(|| Fault::ours("bad-journal", format!("{id:?} is no port")))?;
        let verdict = match self.state(&setting)? {
            State::On(true) => Verdict::NotPublic,
            State::On(false) => Verdict::Public,
            _ => Verdict::Unknown,
        };
        Ok(Judged { verdict, missing: format!("what table {TABLE} drops: it was changed") })
    }

    /// A port is always there.
    fn is_gone(&self, _: &Setting, _: (&str, &str)) -> Result<bool, Fault> {
        Ok(false)
    }

    fn settles_in(&self, _: &Setting) -> Vec<Duration> {
        Vec::new()
    }
}

/// `nft` reads a batch whole, and does all of it or nothing.
fn run(args: &[&str], input: &str) -> Result<Output, Fault> {
    let spawned = Command::new("nft").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|e| {
        Fault::world("no-nft", format!("cannot run nft: {e}")).hint("install the package nftables: apt-get install nftables").again(false)
    })?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that ended says why on its other end.
        let _ = stdin.write_all(input.as_bytes());
    }
    child.wait_with_output().map_err(|e| failed(&e.to_string()))
}

fn failed(text: &str) -> Fault {
    let text = model::text::shown(text.trim(), 300);
    let fault = Fault::world("nft-failed", format!("nft: {text}")).again(false);
    if text.contains("Operation not permitted") { fault.hint("run it as root, with sudo") } else { fault }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nft 1.0.6 lists what is made here, with one port in the set.
    const LISTED: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
        {"table": {"family": "inet", "name": "afresh_contain", "handle": 1}},
        {"set": {"family": "inet", "name": "ports", "table": "afresh_contain", "type": ["inet_proto", "inet_service"], "handle": 1,
            "elem": [{"concat": ["tcp", 5432]}, {"concat": ["sctp", 36412]}]}},
        {"chain": {"family": "inet", "table": "afresh_contain", "name": "incoming", "handle": 2, "type": "filter", "hook": "prerouting",
            "prio": -290, "policy": "accept"}},
        {"rule": {"family": "inet", "table": "afresh_contain", "chain": "incoming", "handle": 3, "expr": [
            {"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "lo"}},
            {"match": {"op": "==", "left": {"concat": [{"meta": {"key": "l4proto"}}, {"payload": {"protocol": "th", "field": "dport"}}]},
                "right": "@ports"}}, {"drop": null}]}}]}"#;

    type Change = fn(&mut Vec<Value>);

    fn listed(change: impl FnOnce(&mut Vec<Value>)) -> Option<Seen> {
        let mut listed: Value = serde_json::from_str(LISTED).unwrap();
        change(listed["nftables"].as_array_mut().unwrap());
        read(&listed)
    }

    #[test]
    fn what_is_made_here_is_whole() {
        let ports = [("tcp".to_string(), 5432), ("sctp".to_string(), 36412)].into();
        assert_eq!(listed(|_| {}), Some(Seen { ports, is_whole: true }));
        assert_eq!(read(&json!({})), None);
        for elements in [json!(["tcp"]), json!([{"concat": ["tcp", 70000]}]), json!([{"concat": ["tcp"]}])] {
            assert_eq!(listed(|items| items[2]["set"]["elem"] = elements), None);
        }
    }

    /// Each is a table in which the port of the set is open, or may be.
    #[test]
    fn a_table_that_was_changed_is_not() {
        let changes: &[(&str, Change)] = &[
            ("dormant", |items| items[1]["table"]["flags"] = json!("dormant")),
            ("no set", |items| drop(items.remove(2))),
            ("another set", |items| items[2]["set"]["name"] = json!("harbours")),
            ("elements that expire", |items| items[2]["set"]["timeout"] = json!(60)),
            ("of addresses", |items| items[2]["set"]["type"] = json!("ipv4_addr")),
            ("no chain", |items| drop(items.remove(3))),
            ("after DNAT", |items| items[3]["chain"]["prio"] = json!(300)),
            ("another hook", |items| items[3]["chain"]["hook"] = json!("output")),
            ("no hook", |items| drop(items[3]["chain"].as_object_mut().unwrap().remove("hook"))),
            ("a second chain", |items| items.push(json!({"chain": {"name": "mine"}}))),
            ("no rule", |items| drop(items.remove(4))),
            ("a second rule", |items| items.push(items[4].clone())),
            ("in another chain", |items| items[4]["rule"]["chain"] = json!("mine")),
            ("accepts", |items| items[4]["rule"]["expr"][2] = json!({"accept": null})),
            ("of one interface", |items| items[4]["rule"]["expr"][0]["match"]["op"] = json!("==")),
            ("of another interface", |items| items[4]["rule"]["expr"][0]["match"]["right"] = json!("eth0")),
            ("but the ports", |items| items[4]["rule"]["expr"][1]["match"]["op"] = json!("!=")),
            ("source ports", |items| {
                items[4]["rule"]["expr"][1]["match"]["left"]["concat"][1]["payload"]["field"] = json!("sport");
            }),
            ("of one address", |items| {
                let of_address =
                    json!({"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "192.0.2.1"}});
                items[4]["rule"]["expr"].as_array_mut().unwrap().insert(0, of_address);
            }),
        ];
        for (what, change) in changes {
            assert!(!listed(change).unwrap().is_whole, "{what}");
        }
    }

    #[test]
    fn identifiers_of_ports() {
        assert!(["tcp/22", "udp/53", "sctp/36412"].iter().all(|id| Firewall::setting_of(id).is_some()));
        for id in ["icmp/8", "tcp/0", "tcp/65536", "tcp/+22", "tcp/022", "tcp", "TCP/22", "tcp/22/"] {
            assert_eq!(Firewall::setting_of(id), None, "{id}");
        }
    }
}
