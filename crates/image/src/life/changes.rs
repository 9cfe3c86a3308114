//! What came in with a new image, in words: packages that differ, and the CVEs that the changelogs name. Pure.

use crate::manifest::Package;
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

/// By name; a package that is there for several architectures is told for each version that differs.
pub fn changes<'a>(a: impl IntoIterator<Item = (&'a str, &'a str)>, b: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Change> {
    let (old, new): (BTreeMap<&str, &str>, BTreeMap<&str, &str>) = (a.into_iter().collect(), b.into_iter().collect());
    let names: BTreeSet<&str> = old.keys().chain(new.keys()).copied().collect();
    let change = |name: &str| {
        let (from, to) = (old.get(name).map(|v| (*v).to_string()), new.get(name).map(|v| (*v).to_string()));
        (from != to).then(|| Change { name: name.to_string(), from, to })
    };
    names.into_iter().filter_map(change).collect()
}

pub fn of_packages(a: &[Package], b: &[Package]) -> Vec<Change> {
    let plain = |p: &'_ [Package]| p.iter().map(|p| (p.name.clone(), p.version.clone())).collect::<Vec<_>>();
    let (a, b) = (plain(a), plain(b));
    changes(a.iter().map(|(n, v)| (n.as_str(), v.as_str())), b.iter().map(|(n, v)| (n.as_str(), v.as_str())))
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

/// CVEs that a Debian changelog names in its entries above the one of version `from`. Without `from`, none: nothing was fixed by coming in.
///
/// An entry begins in the first column with `source (version) suite; urgency=...`.
pub fn cves(changelog: &str, from: Option<&str>) -> BTreeSet<String> {
    let Some(from) = from else { return BTreeSet::new() };
    let mut found = BTreeSet::new();
    for line in changelog.lines() {
        if !line.starts_with(' ')
            && let Some(version) = line.split_once('(').and_then(|(_, rest)| rest.split(')').next())
            && without_rebuild(version) == without_rebuild(from)
        {
            return found;
        }
        found.extend(cves_in(line));
    }
    // The old version is not named: the file was cut, and what stands in it may have been fixed long ago.
    BTreeSet::new()
}

/// A binary rebuild (`1.2-3+b1`) has the changelog of what it was built from.
fn without_rebuild(version: &str) -> &str {
    match version.rsplit_once("+b") {
        Some((plain, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => plain,
        _ => version,
    }
}

/// `CVE-2026-1234`: a year of four digits, a number of four to seven.
fn cves_in(line: &str) -> impl Iterator<Item = String> + '_ {
    line.match_indices("CVE-").filter_map(|(at, _)| {
        let rest = &line[at + 4..];
        let (year, number) = rest.split_once('-')?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let good = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) && (4..=7).contains(&digits);
        good.then(|| format!("CVE-{year}-{}", &number[..digits]))
    })
}
