//! What came in with a new image, in a sentence. Pure; which CVEs the changelogs name is found in `bake::changes`.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A package that differs between two sets. None: it is not in that one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Change {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, "{} {from} -> {to}", self.name),
            (None, Some(to)) => write!(f, "{} {to} came in", self.name),
            (Some(from), None) => write!(f, "{} {from} went", self.name),
            (None, None) => write!(f, "{}", self.name),
        }
    }
}

/// By name; a package that is there for several architectures is reported for each version that differs.
pub fn changes<'a>(a: impl IntoIterator<Item = (&'a str, &'a str)>, b: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Change> {
    let (old, new): (BTreeMap<&str, &str>, BTreeMap<&str, &str>) = (a.into_iter().collect(), b.into_iter().collect());
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let change = |name: &str| {
        let (from, to) = (old.get(name).map(|v| (*v).to_string()), new.get(name).map(|v| (*v).to_string()));
        (from != to).then(|| Change { name: name.to_string(), from, to })
    };
    names.into_iter().filter_map(change).collect()
}

const SHOWN: usize = 4;

/// `openssl 3.0.15-1 -> 3.0.16-1 (fixes CVE-2026-1234)`; the first few, and how many more.
pub fn sentence(changes: &[Change], cves: &[String]) -> String {
    if changes.is_empty() {
        return "no package differs".to_string();
    }
    let mut text = changes.iter().take(SHOWN).map(Change::to_string).collect::<Vec<_>>().join(", ");
    if changes.len() > SHOWN {
        text.push_str(&format!(" and {} more", changes.len() - SHOWN));
    }
    if !cves.is_empty() {
        let shown = cves.iter().take(2 * SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
        let more = if cves.len() > 2 * SHOWN { format!(" and {} more", cves.len() - 2 * SHOWN) } else { String::new() };
        text.push_str(&format!(" (fixes {shown}{more})"));
    }
    text
}
