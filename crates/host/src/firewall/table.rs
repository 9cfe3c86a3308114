//! A table of nftables as data, the text that makes it, and the text that turns one into another in a single transaction. Pure.
//!
//! A transaction keeps this order, so that nothing names what is not there: sets and chains, rules, elements out, elements in,
//! chains and sets out.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// `inet afresh_0123abcd`
    pub name: String,
    pub sets: BTreeMap<String, Set>,
    pub chains: BTreeMap<String, Chain>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set {
    pub kind: Kind,
    /// `type ipv4_addr; flags interval;`
    pub spec: String,
    /// As nft reads them. Of a set that the kernel fills they are what it begins with.
    pub elements: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    Set,
    Map,
    /// The kernel's rules add to it: its elements are not compared.
    Dynamic,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// `type filter hook input priority filter - 10; policy accept;` of a base chain.
    pub hook: Option<String>,
    pub rules: Vec<String>,
}

impl Set {
    fn word(&self) -> &'static str {
        if self.kind == Kind::Map { "map" } else { "set" }
    }
}

impl Table {
    pub fn new(name: String) -> Self {
        Self { name, sets: BTreeMap::new(), chains: BTreeMap::new() }
    }

    pub fn set(&mut self, name: impl Into<String>, kind: Kind, spec: impl Into<String>, elements: BTreeSet<String>) {
        self.sets.insert(name.into(), Set { kind, spec: spec.into(), elements });
    }

    pub fn base(&mut self, name: &str, hook: &str, rules: Vec<String>) {
        self.chains.insert(name.to_string(), Chain { hook: Some(hook.to_string()), rules });
    }

    pub fn chain(&mut self, name: impl Into<String>, rules: Vec<String>) {
        self.chains.insert(name.into(), Chain { hook: None, rules });
    }

    /// The whole of it, in place of whatever was there under its name.
    pub fn whole(&self) -> String {
        format!("{}{}", self.gone(), self.changed_from(&Table::new(self.name.clone())).unwrap_or_default())
    }

    /// The first line makes that the second finds something.
    pub fn gone(&self) -> String {
        format!("table {0}\ndelete table {0}\ntable {0}\n", self.name)
    }

    /// None: one of them cannot be turned into the other piece by piece. Empty: they are the same.
    pub fn changed_from(&self, old: &Table) -> Option<String> {
        let same_spec = |(name, set): (&String, &Set)| old.sets.get(name).is_none_or(|was| was.spec == set.spec && was.kind == set.kind);
        let same_hook = |(name, chain): (&String, &Chain)| old.chains.get(name).is_none_or(|was| was.hook == chain.hook);
        if self.name != old.name || !self.sets.iter().all(same_spec) || !self.chains.iter().all(same_hook) {
            return None;
        }
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").expect("a String takes all");
        let table = &self.name;
        for (name, set) in self.sets.iter().filter(|(name, _)| !old.sets.contains_key(*name)) {
            line(format!("add {} {table} {name} {{ {} }}", set.word(), set.spec));
        }
        for (name, chain) in self.chains.iter().filter(|(name, _)| !old.chains.contains_key(*name)) {
            let hook = chain.hook.as_ref().map_or_else(String::new, |hook| format!(" {{ {hook} }}"));
            line(format!("add chain {table} {name}{hook}"));
        }
        let none = Chain::default();
        for (name, was) in &old.chains {
            if self.chains.get(name).is_none_or(|chain| chain.rules != was.rules) {
                line(format!("flush chain {table} {name}"));
            }
        }
        for (name, chain) in &self.chains {
            if old.chains.get(name).unwrap_or(&none).rules != chain.rules {
                chain.rules.iter().for_each(|rule| line(format!("add rule {table} {name} {rule}")));
            }
        }
        let nothing = BTreeSet::new();
        let elements = |sets: &BTreeMap<String, Set>, name: &str| sets.get(name).map_or(nothing.clone(), |set| set.elements.clone());
        for (name, was) in old.sets.iter().filter(|(_, was)| was.kind != Kind::Dynamic) {
            let out: Vec<String> = was.elements.difference(&elements(&self.sets, name)).cloned().collect();
            if !out.is_empty() {
                line(format!("delete element {table} {name} {{ {} }}", out.join(", ")));
            }
        }
        for (name, set) in self.sets.iter().filter(|(name, set)| set.kind != Kind::Dynamic || !old.sets.contains_key(*name)) {
            let new: Vec<String> = set.elements.difference(&elements(&old.sets, name)).cloned().collect();
            if !new.is_empty() {
                line(format!("add element {table} {name} {{ {} }}", new.join(", ")));
            }
        }
        for name in old.chains.keys().filter(|name| !self.chains.contains_key(*name)) {
            line(format!("delete chain {table} {name}"));
        }
        for (name, set) in old.sets.iter().filter(|(name, _)| !self.sets.contains_key(*name)) {
            line(format!("delete {} {table} {name}", set.word()));
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(groups: &[(&str, &[&str])]) -> Table {
        let mut table = Table::new("inet t".to_string());
        let elements = groups.iter().flat_map(|(group, members)| members.iter().map(move |m| format!("{m} : goto {group}")));
        table.set("servers", Kind::Map, "type ipv4_addr : verdict;", elements.collect());
        table.base("forward", "type filter hook forward priority 0; policy accept;", vec!["ip saddr vmap @servers".to_string()]);
        groups.iter().for_each(|(group, _)| table.chain(*group, vec!["drop".to_string()]));
        table
    }

    fn at(text: &str, line: &str) -> usize {
        text.lines().position(|l| l == line).unwrap_or_else(|| panic!("{line:?} is not in:\n{text}"))
    }

    #[test]
    fn one_more_and_one_less_are_elements_only() {
        let (one, two) = (table(&[("g", &["10.0.0.1"])]), table(&[("g", &["10.0.0.1", "10.0.0.2"])]));
        assert_eq!(two.changed_from(&one).unwrap(), "add element inet t servers { 10.0.0.2 : goto g }\n");
        assert_eq!(one.changed_from(&two).unwrap(), "delete element inet t servers { 10.0.0.2 : goto g }\n");
        assert_eq!(one.changed_from(&one).unwrap(), "");
    }

    #[test]
    fn nothing_is_named_before_it_is_there_or_after_it_is_gone() {
        let change = table(&[("new", &["10.0.0.1"])]).changed_from(&table(&[("old", &["10.0.0.1"])])).unwrap();
        let add = at(&change, "add element inet t servers { 10.0.0.1 : goto new }");
        assert!(at(&change, "add chain inet t new") < at(&change, "add rule inet t new drop"));
        assert!(
            at(&change, "add rule inet t new drop") < add && at(&change, "delete element inet t servers { 10.0.0.1 : goto old }") < add
        );
        assert!(add < at(&change, "delete chain inet t old") && at(&change, "flush chain inet t old") < add);
    }

    #[test]
    fn what_cannot_be_changed_in_place_is_made_anew() {
        let old = table(&[]);
        let mut new = old.clone();
        new.sets.get_mut("servers").unwrap().spec = "type ipv6_addr : verdict;".to_string();
        assert_eq!(new.changed_from(&old), None);
        assert!(
            new.whole()
                .starts_with("table inet t\ndelete table inet t\ntable inet t\nadd map inet t servers { type ipv6_addr : verdict; }\n")
        );
    }

    #[test]
    fn what_the_kernel_counts_is_left_alone() {
        let mut old = table(&[]);
        old.set("refused", Kind::Dynamic, "type ipv4_addr; flags dynamic;", BTreeSet::new());
        let mut new = old.clone();
        new.sets.get_mut("refused").unwrap().elements.insert("10.0.0.1 counter packets 3 bytes 0".to_string());
        assert_eq!(new.changed_from(&old).unwrap(), "");
        assert!(new.whole().contains("add element inet t refused { 10.0.0.1 counter packets 3 bytes 0 }"));
    }
}
