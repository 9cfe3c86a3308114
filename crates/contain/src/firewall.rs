//! The world of this host's firewall: ports that are dropped in a table of our own, `inet afresh_contain`. No other table is touched.
//!
//! The packet is dropped before it could be forwarded to a server or given to a program here; what this host sends itself over `lo` is not.

use crate::world::{Judged, World};
use guard::Verdict;
use guard::contain::{Call, Setting, State};
use model::Fault;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

const TABLE: &str = "inet afresh_contain";

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
        let (protocol, port) = id.split_once('/')?;
        Some(Firewall::setting(protocol, port.parse().ok()?))
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
    let (mut ports, mut has_set, mut has_chain, mut rules) = (BTreeSet::new(), false, false, Vec::new());
    for item in listed["nftables"].as_array()? {
        if let Some(set) = item.get("set").filter(|s| s["name"] == "ports") {
            has_set = true;
            for element in set["elem"].as_array().map_or(&[][..], Vec::as_slice) {
                let pair = element.get("concat").and_then(Value::as_array)?;
                let [protocol, port] = &pair[..] else { return None };
                ports.insert((protocol.as_str()?.to_string(), u16::try_from(port.as_u64()?).ok()?));
            }
        }
        if let Some(chain) = item.get("chain").filter(|c| c["name"] == "incoming") {
            has_chain = chain["hook"] == "prerouting" && chain["type"] == "filter";
        }
        if let Some(rule) = item.get("rule") {
            rules.push(rule["expr"].clone());
        }
    }
    let drops = |rule: &Value| {
        let text = rule.to_string();
        text.contains("\"@ports\"") && text.contains("{\"drop\":null}")
    };
    let is_whole = has_set && has_chain && rules.len() == 1 && rules.iter().all(drops);
    Some(Seen { ports, is_whole })
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
        let protocol = call.parameters["Protocol"].as_str().filter(|p| matches!(*p, "tcp" | "udp"));
        let port = call.parameters["Port"].as_u64().and_then(|p| u16::try_from(p).ok());
        let (Some(protocol), Some(port)) = (protocol, port) else {
            return Err(Fault::ours("bad-journal", format!("no change of a firewall is {} with {}", call.operation, call.parameters)));
        };
        let element = format!("element {TABLE} ports {{ {protocol} . {port} }}\n");
        let batch = match (call.operation, self.seen()?) {
            ("AddDrop", None) => format!(
                "add table {TABLE}\nadd set {TABLE} ports {{ type inet_proto . inet_service; }}\n\
                 add chain {TABLE} incoming {{ type filter hook prerouting priority -290; policy accept; }}\n\
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
    use serde_json::json;

    fn table(elements: &Value, rules: &[Value]) -> Value {
        let mut items = vec![
            json!({"metainfo": {"version": "1.0.6"}}),
            json!({"table": {"family": "inet", "name": "afresh_contain"}}),
            json!({"set": {"name": "ports", "type": ["inet_proto", "inet_service"], "elem": elements}}),
            json!({"chain": {"name": "incoming", "type": "filter", "hook": "prerouting", "prio": -290}}),
        ];
        items.extend(rules.iter().map(|r| json!({"rule": {"chain": "incoming", "expr": r}})));
        json!({"nftables": items})
    }

    #[test]
    fn a_table_that_was_changed_is_seen() {
        let rule = json!([{"match": {"right": "@ports"}}, {"drop": null}]);
        let elements = json!([{"concat": ["tcp", 5432]}]);
        let seen = read(&table(&elements, std::slice::from_ref(&rule))).unwrap();
        assert_eq!(seen, Seen { ports: [("tcp".to_string(), 5432)].into(), is_whole: true });
        for rules in [vec![], vec![rule.clone(), rule.clone()], vec![json!([{"match": {"right": "@ports"}}, {"accept": null}])]] {
            assert!(!read(&table(&elements, &rules)).unwrap().is_whole, "{rules:?}");
        }
        for elements in [json!(["tcp"]), json!([{"concat": ["tcp", 70000]}]), json!([{"concat": ["tcp"]}])] {
            assert_eq!(read(&table(&elements, std::slice::from_ref(&rule))), None);
        }
        assert_eq!(read(&json!({})), None);
    }
}
