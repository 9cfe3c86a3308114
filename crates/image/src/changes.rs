//! What is new in an image, in words: packages that came, went and changed, and the CVEs that the changelogs of what came in name.

use crate::deb::Deb;
use crate::fetch;
use crate::io;
use crate::lockfile::{Lock, Locked};
use crate::store::Store;
use crate::version;
use flate2::read::MultiGzDecoder;
use model::{Digest, Fault};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// A changelog is text; a megabyte of it is a long life.
const CHANGELOG_LIMIT: u64 = 64 << 20;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    pub added: Vec<(String, String)>,
    pub removed: Vec<(String, String)>,
    /// Name, version before, version now.
    pub upgraded: Vec<(String, String, String)>,
    pub downgraded: Vec<(String, String, String)>,
    /// CVEs by source package, from the changelog entries that came in.
    pub fixes: BTreeMap<String, BTreeSet<String>>,
    /// Source packages whose changelog could not be read: silence of theirs says nothing.
    pub unread: BTreeSet<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.upgraded.is_empty() && self.downgraded.is_empty()
    }

    /// For people, a line each.
    pub fn in_words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.upgraded.iter().map(|(n, a, b)| format!("{n} {a} -> {b}")));
        lines.extend(self.downgraded.iter().map(|(n, a, b)| format!("{n} {a} -> {b}, an older one")));
        lines.extend(self.added.iter().map(|(n, v)| format!("{n} {v} came")));
        lines.extend(self.removed.iter().map(|(n, v)| format!("{n} {v} went")));
        lines.extend(self.fixes.iter().map(|(n, cves)| format!("{n} fixes {}", cves.iter().cloned().collect::<Vec<_>>().join(", "))));
        lines
    }
}

/// From image `a` to image `b`, by the locks they were built from.
pub fn changes(store: &Store, a: &Digest, b: &Digest) -> Result<Changes, Fault> {
    changes_of_locks(store, &store.lock_of(a)?, &store.lock_of(b)?)
}

pub fn changes_of_locks(store: &Store, a: &Lock, b: &Lock) -> Result<Changes, Fault> {
    let by_name = |l: &Lock| -> BTreeMap<String, Locked> { l.packages.iter().map(|p| (p.name.clone(), p.clone())).collect() };
    let (before, now) = (by_name(a), by_name(b));
    let mut changes = Changes::default();
    // A source package, and the version of it that was there before.
    let mut sources: BTreeMap<String, String> = BTreeMap::new();
    for (name, p) in &now {
        let Some(old) = before.get(name) else {
            changes.added.push((name.clone(), p.version.clone()));
            continue;
        };
        let change = (name.clone(), old.version.clone(), p.version.clone());
        match version::compare(&old.version, &p.version) {
            Ordering::Equal => continue,
            Ordering::Greater => changes.downgraded.push(change),
            Ordering::Less => changes.upgraded.push(change),
        }
        sources.entry(p.source_name().to_string()).or_insert_with(|| source_version(old).to_string());
    }
    changes.removed = before.iter().filter(|(n, _)| !now.contains_key(*n)).map(|(n, p)| (n.clone(), p.version.clone())).collect();
    for (source, old) in sources {
        match changelog(store, b, &source) {
            Some(text) => {
                let cves = cves_since(&text, &old);
                if !cves.is_empty() {
                    changes.fixes.insert(source, cves);
                }
            }
            None => drop(changes.unread.insert(source)),
        }
    }
    Ok(changes)
}

/// `curl (7.88.1-10)` names the version of the source where it is another; else it is the package's, less a rebuild's `+b1`.
fn source_version(p: &Locked) -> &str {
    let named = p.source.as_deref().and_then(|s| s.split_once('(')).map(|(_, v)| v.trim_end_matches(')'));
    named.unwrap_or_else(|| match p.version.rsplit_once("+b") {
        Some((v, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => v,
        _ => &p.version,
    })
}

/// Of any package of that source in the lock: most share one by a link.
fn changelog(store: &Store, lock: &Lock, source: &str) -> Option<String> {
    let of_source = lock.packages.iter().filter(|p| p.source_name() == source);
    of_source.map(|p| fetch::path(store, p)).filter(|p| io::exists(p)).find_map(|path| changelog_in(&Deb::open(&path).ok()?))
}

fn changelog_in(deb: &Deb) -> Option<String> {
    let name = deb.field("Package")?;
    let wanted = [format!("usr/share/doc/{name}/changelog.Debian.gz"), format!("usr/share/doc/{name}/changelog.gz")];
    let mut found: Option<String> = None;
    let read = deb.entries(|entry| {
        let path = entry.path().map(|p| p.to_string_lossy().trim_start_matches("./").to_string()).unwrap_or_default();
        // The Debian one is the one that names fixes; a package of Debian's own has only the other.
        if entry.header().entry_type().is_file() && wanted.contains(&path) && (found.is_none() || path == wanted[0]) {
            let mut text = Vec::new();
            if MultiGzDecoder::new(entry).take(CHANGELOG_LIMIT).read_to_end(&mut text).is_ok() {
                found = Some(String::from_utf8_lossy(&text).into_owned());
            }
        }
        Ok(())
    });
    read.ok().and(found).filter(|t| t.lines().next().and_then(entry_version).is_some())
}

/// `curl (7.88.1-10+deb12u5) bookworm; urgency=medium`
fn entry_version(line: &str) -> Option<&str> {
    if line.starts_with([' ', '\t']) || !line.contains("; urgency=") {
        return None;
    }
    line.split_once(" (")?.1.split_once(')').map(|(v, _)| v)
}

/// CVEs named in the entries that are newer than `old`.
pub fn cves_since(changelog: &str, old: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in changelog.lines() {
        if let Some(v) = entry_version(line)
            && version::compare(v, old) != Ordering::Greater
        {
            break;
        }
        found.extend(cves(line));
    }
    found
}

fn cves(line: &str) -> impl Iterator<Item = String> {
    line.match_indices("CVE-").filter_map(|(at, _)| {
        let rest = &line[at + 4..];
        let (year, number) = rest.split_once('-')?;
        let number: String = number.chars().take_while(char::is_ascii_digit).collect();
        let good = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) && number.len() >= 4;
        good.then(|| format!("CVE-{year}-{number}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "curl (7.88.1-10+deb12u5) bookworm-security; urgency=high\n\n  * Fix CVE-2023-46218: cookies (Closes: #1)\n  * CVE-2023-46219, CVE-20-1, CVE-2023-xx\n\n -- A <a@b>  Thu, 7 Dec 2023\n\ncurl (7.88.1-10+deb12u4) bookworm-security; urgency=high\n\n  * CVE-2023-38545\n\ncurl (7.88.1-10) unstable; urgency=low\n\n  * CVE-2022-1111\n";

    #[test]
    fn only_what_came_in_counts() {
        let since = |old: &str| cves_since(LOG, old).into_iter().collect::<Vec<_>>();
        assert_eq!(since("7.88.1-10+deb12u4"), ["CVE-2023-46218", "CVE-2023-46219"]);
        assert_eq!(since("7.88.1-10"), ["CVE-2023-38545", "CVE-2023-46218", "CVE-2023-46219"]);
        assert_eq!(since("7.88.1-10+deb12u5"), Vec::<String>::new());
        assert_eq!(since("7.88.1-9"), ["CVE-2022-1111", "CVE-2023-38545", "CVE-2023-46218", "CVE-2023-46219"]);
    }

    #[test]
    fn packages_that_came_went_and_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&model::Layout::new(dir.path())).unwrap();
        let a = crate::lockfile::tests::sample(&[("a", "1"), ("b", "2"), ("c", "3"), ("e", "5")]);
        let b = crate::lockfile::tests::sample(&[("b", "2+deb12u1"), ("c", "3~rc1"), ("d", "4"), ("e", "5")]);
        let changes = changes_of_locks(&store, &a, &b).unwrap();
        assert_eq!(changes.in_words(), ["b 2 -> 2+deb12u1", "c 3 -> 3~rc1, an older one", "d 4 came", "a 1 went"]);
        assert_eq!(changes.unread.len(), 2, "their changelogs are not in the store");
        assert!(changes_of_locks(&store, &a, &a).unwrap().is_empty());
    }
}
