//! What the kernel says of our tables: whether they are whole, and what was refused. Pure, over nft's JSON.

use super::table::{Kind, Table};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// One line of what was refused: from a server, to where, how often.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub from: IpAddr,
    pub to: IpAddr,
    pub transport: String,
    pub port: u16,
    pub count: u64,
    /// The set that holds it, and how long it has yet to live.
    pub set: String,
    pub expires_s: u64,
}

/// Connections that were refused because the server had too many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Crowded {
    pub from: IpAddr,
    pub count: u64,
    pub set: String,
    pub expires_s: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Chains with their number of rules, and whether the kernel calls them by itself.
    chains: BTreeMap<String, (usize, bool)>,
    /// Sets with their number of elements.
    sets: BTreeMap<String, usize>,
    pub refused: Vec<Refusal>,
    pub crowded: Vec<Crowded>,
}

/// Of one table.
pub fn read(json: &str) -> Option<Listing> {
    let all: Value = serde_json::from_str(json).ok()?;
    let mut listing = Listing::default();
    for item in all["nftables"].as_array()? {
        if let Some(name) = item["chain"]["name"].as_str() {
            listing.chains.entry(name.to_string()).or_default().1 = item["chain"]["hook"].is_string();
        } else if let Some(chain) = item["rule"]["chain"].as_str() {
            listing.chains.entry(chain.to_string()).or_default().0 += 1;
        } else if let Some(set) = [&item["set"], &item["map"]].into_iter().find(|set| set.is_object()) {
            let name = set["name"].as_str()?;
            let elements = set["elem"].as_array().map(Vec::as_slice).unwrap_or_default();
            listing.sets.insert(name.to_string(), elements.len());
            let counted = elements.iter().map(|element| &element["elem"]);
            if name.starts_with("refused") {
                listing.refused.extend(counted.filter_map(|element| refusal(name, element)));
            } else if name.starts_with("crowded") {
                listing.crowded.extend(counted.filter_map(|element| crowded(name, element)));
            }
        }
    }
    Some(listing)
}

fn refusal(set: &str, element: &Value) -> Option<Refusal> {
    let [from, to, transport, port] = element["val"]["concat"].as_array()?.as_slice() else { return None };
    Some(Refusal {
        from: from.as_str()?.parse().ok()?,
        to: to.as_str()?.parse().ok()?,
        transport: transport.as_str()?.to_string(),
        port: u16::try_from(port.as_u64()?).ok()?,
        count: element["counter"]["packets"].as_u64()?,
        set: set.to_string(),
        expires_s: element["expires"].as_u64().unwrap_or(0),
    })
}

fn crowded(set: &str, element: &Value) -> Option<Crowded> {
    Some(Crowded {
        from: element["val"].as_str()?.parse().ok()?,
        count: element["counter"]["packets"].as_u64()?,
        set: set.to_string(),
        expires_s: element["expires"].as_u64().unwrap_or(0),
    })
}

impl Refusal {
    fn key(&self) -> String {
        format!("{} . {} . {} . {}", self.from, self.to, self.transport, self.port)
    }

    /// As an element of its set, to be carried over.
    pub fn element(&self) -> String {
        format!("{} {}", self.key(), carried(self.count, self.expires_s))
    }

    /// It may have expired meanwhile: what is not there is added first.
    pub fn forget(&self, table: &str) -> String {
        forget(table, &self.set, &self.key())
    }
}

impl Crowded {
    pub fn element(&self) -> String {
        format!("{} {}", self.from, carried(self.count, self.expires_s))
    }

    pub fn forget(&self, table: &str) -> String {
        forget(table, &self.set, &self.from.to_string())
    }
}

fn carried(count: u64, expires_s: u64) -> String {
    format!("counter packets {count} bytes 0 timeout 1d expires {}s", expires_s.max(1))
}

fn forget(table: &str, set: &str, key: &str) -> String {
    format!("add element {table} {set} {{ {key} }}\ndelete element {table} {set} {{ {key} }}\n")
}

impl Listing {
    /// What is missing or was added by somebody else; None: it is as it should be.
    pub fn differs_from(&self, table: &Table) -> Option<String> {
        let wanted: BTreeMap<&str, (usize, bool)> =
            table.chains.iter().map(|(name, chain)| (name.as_str(), (chain.rules.len(), chain.hook.is_some()))).collect();
        let there: BTreeMap<&str, (usize, bool)> = self.chains.iter().map(|(name, is)| (name.as_str(), *is)).collect();
        if let Some(name) = differing(&wanted, &there) {
            return Some(format!("chain {name}"));
        }
        let fixed = |name: &str| table.sets.get(name).is_none_or(|set| set.kind != Kind::Dynamic);
        let wanted: BTreeMap<&str, usize> =
            table.sets.iter().map(|(name, set)| (name.as_str(), if fixed(name) { set.elements.len() } else { 0 })).collect();
        let there: BTreeMap<&str, usize> = self.sets.iter().map(|(name, n)| (name.as_str(), if fixed(name) { *n } else { 0 })).collect();
        differing(&wanted, &there).map(|name| format!("set {name}"))
    }
}

fn differing<'a, T: PartialEq>(a: &BTreeMap<&'a str, T>, b: &BTreeMap<&'a str, T>) -> Option<&'a str> {
    let names: BTreeSet<&str> = a.keys().chain(b.keys()).copied().collect();
    names.into_iter().find(|name| a.get(name) != b.get(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As nft 1.0.6 printed it.
    const LISTED: &str = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}}, {"table": {"family": "inet", "name": "t", "handle": 1}},
        {"set": {"family": "inet", "name": "refused4-web", "table": "t", "type": ["ipv4_addr", "ipv4_addr", "inet_proto", "inet_service"], "handle": 7, "size": 1024,
        "flags": ["timeout"], "timeout": 86400, "elem": [{"elem": {"val": {"concat": ["1.2.3.4", "5.6.7.8", "tcp", 22]}, "expires": 10799, "counter": {"packets": 12, "bytes": 7}}}], "stmt": [{"counter": null}]}},
        {"map": {"family": "inet", "name": "servers4", "table": "t", "type": "ipv4_addr", "handle": 8, "map": "verdict", "elem": [["1.2.3.4", {"goto": {"target": "web"}}]]}},
        {"chain": {"family": "inet", "table": "t", "name": "web", "handle": 1}},
        {"chain": {"family": "inet", "table": "t", "name": "input", "handle": 4, "type": "filter", "hook": "input", "prio": -10, "policy": "accept"}},
        {"rule": {"family": "inet", "table": "t", "chain": "web", "handle": 11, "expr": [{"drop": null}]}}]}"#;

    fn table() -> Table {
        let mut table = Table::new("inet t".to_string());
        table.set("refused4-web", Kind::Dynamic, "", BTreeSet::new());
        table.set("servers4", Kind::Map, "", ["1.2.3.4 : goto web".to_string()].into());
        table.chain("web", vec!["drop".to_string()]);
        table.base("input", "x", Vec::new());
        table
    }

    #[test]
    fn refusals_are_read_and_carried_over() {
        let listing = read(LISTED).unwrap();
        let one = &listing.refused[0];
        assert_eq!((one.to.to_string().as_str(), one.transport.as_str(), one.port, one.count), ("5.6.7.8", "tcp", 22, 12));
        assert_eq!(one.element(), "1.2.3.4 . 5.6.7.8 . tcp . 22 counter packets 12 bytes 0 timeout 1d expires 10799s");
        assert_eq!(read("nonsense"), None);
    }

    #[test]
    fn whatever_is_missing_is_seen() {
        let listing = read(LISTED).unwrap();
        assert_eq!(listing.differs_from(&table()), None);
        type Spoil = dyn Fn(&mut Listing);
        let spoil: [(&str, &Spoil); 6] = [
            ("chain web", &|l| l.chains.get_mut("web").unwrap().0 = 0),
            ("chain input", &|l| l.chains.get_mut("input").unwrap().1 = false),
            ("chain input", &|l| assert!(l.chains.remove("input").is_some())),
            ("chain more", &|l| assert!(l.chains.insert("more".to_string(), (1, false)).is_none())),
            ("set servers4", &|l| assert!(l.sets.insert("servers4".to_string(), 0).is_some())),
            ("set refused4-web", &|l| assert!(l.sets.remove("refused4-web").is_some())),
        ];
        for (what, spoil) in spoil {
            let mut listing = listing.clone();
            spoil(&mut listing);
            assert_eq!(listing.differs_from(&table()).as_deref(), Some(what));
        }
    }
}
