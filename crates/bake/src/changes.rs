//! What is new in an image, in words: packages that came, went and changed, and the CVEs that the changelogs of what came in name.

use crate::deb::Deb;
use crate::fetch;
use crate::version;
use disk::files;
use flate2::read::MultiGzDecoder;
use model::{Digest, Fault};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use store::Store;
use store::lockfile::{Lock, Locked};
use store::manifest::Package;

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
    /// Source packages whose changelog was cut off before it came to the version before: they may fix more than is named.
    #[serde(default)]
    pub cut: BTreeSet<String>,
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
        lines.extend(self.fixes_in_words());
        lines
    }

    /// What the changelogs name, and what they are silent on.
    pub fn fixes_in_words(&self) -> Vec<String> {
        let mut lines = Vec::new();
        lines.extend(self.fixes.iter().map(|(n, cves)| format!("{n} fixes {}", cves.iter().cloned().collect::<Vec<_>>().join(", "))));
        if !self.cut.is_empty() {
            let names = self.cut.iter().cloned().collect::<Vec<_>>().join(", ");
            lines.push(format!("the changelog does not reach back to the version before, so there may be more fixes: {names}"));
        }
        if !self.unread.is_empty() {
            let names = self.unread.iter().cloned().collect::<Vec<_>>().join(", ");
            lines.push(format!("without a changelog, so fixes are not known: {names}"));
        }
        lines
    }

    /// Of every source, sorted.
    pub fn cves(&self) -> Vec<String> {
        self.fixes.values().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }
}

/// From image `a` to image `b`. Of `a` only the list of its packages is needed; `b` needs its lock, which says where its packages lie.
pub fn changes(store: &Store, a: &Digest, b: &Digest) -> Result<Changes, Fault> {
    let before = store.manifest(a)?.packages;
    changes_since(store, &before, &store.lock_of(b)?)
}

pub fn changes_of_locks(store: &Store, a: &Lock, b: &Lock) -> Result<Changes, Fault> {
    let before: Vec<Package> = a.packages.iter().map(package).collect();
    changes_since(store, &before, b)
}

fn package(p: &Locked) -> Package {
    Package { name: p.name.clone(), version: p.version.clone(), arch: p.arch.clone(), source: p.source.clone() }
}

fn changes_since(store: &Store, a: &[Package], b: &Lock) -> Result<Changes, Fault> {
    let before: BTreeMap<&str, &Package> = a.iter().map(|p| (p.name.as_str(), p)).collect();
    let now: Vec<Package> = b.packages.iter().map(package).collect();
    let mut changes = Changes::default();
    for p in &now {
        let Some(old) = before.get(p.name.as_str()) else {
            changes.added.push((p.name.clone(), p.version.clone()));
            continue;
        };
        let change = (p.name.clone(), old.version.clone(), p.version.clone());
        match version::compare(&old.version, &p.version) {
            Ordering::Equal => {}
            Ordering::Greater => changes.downgraded.push(change),
            Ordering::Less => changes.upgraded.push(change),
        }
    }
    let names: BTreeSet<&str> = now.iter().map(|p| p.name.as_str()).collect();
    changes.removed = before.iter().filter(|(n, _)| !names.contains(*n)).map(|(n, p)| ((*n).to_string(), p.version.clone())).collect();
    let (old, new) = (oldest(a.iter()), newest(now.iter()));
    // By source and not by package: a fix may come in a package of another name (libicu72, libicu74).
    for (source, was) in old {
        if new.get(source).is_none_or(|is| version::compare(was, is) != Ordering::Less) {
            continue;
        }
        match changelog(store, b, source) {
            Some(text) => {
                let (cves, whole) = cves_since(&text, was);
                if !cves.is_empty() {
                    changes.fixes.insert(source.to_string(), cves);
                }
                if !whole {
                    changes.cut.insert(source.to_string());
                }
            }
            None => drop(changes.unread.insert(source.to_string())),
        }
    }
    Ok(changes)
}

/// Of each source the version a fix must be newer than: where its packages differ, the oldest.
fn oldest<'a>(packages: impl Iterator<Item = &'a Package>) -> BTreeMap<&'a str, &'a str> {
    by_source(packages, Ordering::Less)
}

fn newest<'a>(packages: impl Iterator<Item = &'a Package>) -> BTreeMap<&'a str, &'a str> {
    by_source(packages, Ordering::Greater)
}

fn by_source<'a>(packages: impl Iterator<Item = &'a Package>, takes: Ordering) -> BTreeMap<&'a str, &'a str> {
    let mut all: BTreeMap<&str, &str> = BTreeMap::new();
    for p in packages {
        let version = source_version(p);
        let held = all.entry(source_name(p)).or_insert(version);
        if version::compare(version, held) == takes {
            *held = version;
        }
    }
    all
}

fn source_name(p: &Package) -> &str {
    p.source.as_deref().unwrap_or(&p.name).split(' ').next().unwrap_or(&p.name)
}

/// `curl (7.88.1-10)` names the version of the source where it is another; else it is the package's, less a rebuild's `+b1`.
fn source_version(p: &Package) -> &str {
    let named = p.source.as_deref().and_then(|s| s.split_once('(')).map(|(_, v)| v.trim_end_matches(')'));
    named.unwrap_or_else(|| match p.version.rsplit_once("+b") {
        Some((v, n)) if !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()) => v,
        _ => &p.version,
    })
}

/// Of any package of that source in the lock: most share one by a link, maybe into a package of another source.
fn changelog(store: &Store, lock: &Lock, source: &str) -> Option<String> {
    let open = |p: &Locked| Some(fetch::path(store, p)).filter(|path| files::exists(path)).and_then(|path| Deb::open(&path).ok());
    let mut linked = BTreeSet::new();
    for p in lock.packages.iter().filter(|p| p.source_name() == source) {
        match open(p).map(|deb| changelog_in(&deb)) {
            Some(Doc::Changelog(text)) => return Some(text),
            Some(Doc::In(other)) => drop(linked.insert(other)),
            Some(Doc::None) | None => {}
        }
    }
    linked.iter().find_map(|name| match changelog_in(&open(lock.packages.iter().find(|p| p.name == *name)?)?) {
        Doc::Changelog(text) => Some(text),
        Doc::In(_) | Doc::None => None,
    })
}

/// What a package has under usr/share/doc.
enum Doc {
    Changelog(String),
    /// Its directory is a link to that of this package.
    In(String),
    None,
}

fn changelog_in(deb: &Deb) -> Doc {
    let Some(name) = deb.field("Package") else { return Doc::None };
    let doc = format!("usr/share/doc/{name}");
    // The Debian one is the one that names fixes; a package of Debian's own has only the other.
    let wanted = ["changelog.Debian.gz", "changelog.Debian", "changelog.gz", "changelog"].map(|file| format!("{doc}/{file}"));
    let mut found: Option<(usize, String)> = None;
    let mut link = None;
    let read = deb.entries(|mut entry| {
        let path = entry.path().map(|p| p.to_string_lossy().trim_start_matches("./").to_string()).unwrap_or_default();
        if path == doc && entry.header().entry_type().is_symlink() {
            link = entry.link_name().ok().flatten().and_then(|l| Some(l.file_name()?.to_string_lossy().into_owned()));
        }
        let Some(rank) = wanted.iter().position(|w| *w == path).filter(|_| entry.header().entry_type().is_file()) else { return Ok(()) };
        if found.as_ref().is_none_or(|(best, _)| rank < *best)
            && let Some(text) = read_text(&mut entry, path.ends_with(".gz"))
            && text.lines().find(|l| !l.trim().is_empty()).and_then(entry_version).is_some()
        {
            found = Some((rank, text));
        }
        Ok(())
    });
    match (read, found, link) {
        (Err(_), ..) | (_, None, None) => Doc::None,
        (_, Some((_, text)), _) => Doc::Changelog(text),
        (_, None, Some(other)) => Doc::In(other),
    }
}

fn read_text(from: &mut impl Read, packed: bool) -> Option<String> {
    let mut text = Vec::new();
    let read = if packed {
        MultiGzDecoder::new(from).take(CHANGELOG_LIMIT).read_to_end(&mut text)
    } else {
        from.take(CHANGELOG_LIMIT).read_to_end(&mut text)
    };
    read.ok().map(|_| String::from_utf8_lossy(&text).into_owned())
}

/// `curl (7.88.1-10+deb12u5) bookworm; urgency=medium`
fn entry_version(line: &str) -> Option<&str> {
    let (name, rest) = line.split_once(" (")?;
    let (version, rest) = rest.split_once(')')?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.');
    let good = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric()) && name.bytes().all(plain);
    let good = good && !version.is_empty() && !version.contains([' ', '\t', '(']) && rest.starts_with(' ') && rest.contains(';');
    good.then_some(version)
}

/// CVEs named in the entries that are newer than `old`, and whether the changelog reaches back that far: Debian cuts old entries off.
pub fn cves_since(changelog: &str, old: &str) -> (BTreeSet<String>, bool) {
    let mut found = BTreeSet::new();
    for line in changelog.lines() {
        if let Some(v) = entry_version(line)
            && version::compare(v, old) != Ordering::Greater
        {
            return (found, true);
        }
        found.extend(cves(line));
    }
    (found, false)
}

/// `CVE-2026-1234`: a year of four digits, a number of four or more.
fn cves(line: &str) -> impl Iterator<Item = String> + '_ {
    let starts = line.char_indices().filter(|(at, _)| line.get(*at..at + 4).is_some_and(|s| s.eq_ignore_ascii_case("CVE-")));
    starts.filter_map(|(at, _)| {
        let (year, number) = line[at + 4..].split_once('-')?;
        let digits = number.bytes().take_while(u8::is_ascii_digit).count();
        let good = year.len() == 4 && year.bytes().all(|b| b.is_ascii_digit()) && digits >= 4;
        good.then(|| format!("CVE-{year}-{}", &number[..digits]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "curl (7.88.1-10+deb12u5) bookworm-security; urgency=high\n\n  * Fix CVE-2023-46218: cookies (Closes: #1)\n  * CVE-2023-46219, CVE-20-1, CVE-2023-xx\n\n -- A <a@b>  Thu, 7 Dec 2023\n\ncurl (7.88.1-10+deb12u4) bookworm-security; urgency=high\n\n  * CVE-2023-38545\n\ncurl (7.88.1-10) unstable; urgency=low\n\n  * CVE-2022-1111\n";

    #[test]
    fn only_what_came_in_counts() {
        let since = |old: &str| cves_since(LOG, old).0.into_iter().collect::<Vec<_>>();
        assert_eq!(since("7.88.1-10+deb12u4"), ["CVE-2023-46218", "CVE-2023-46219"]);
        assert_eq!(since("7.88.1-10"), ["CVE-2023-38545", "CVE-2023-46218", "CVE-2023-46219"]);
        assert_eq!(since("7.88.1-10+deb12u5"), Vec::<String>::new());
        assert_eq!(since("7.88.1-9"), ["CVE-2022-1111", "CVE-2023-38545", "CVE-2023-46218", "CVE-2023-46219"]);
        assert!(cves_since(LOG, "7.88.1-10").1 && !cves_since(LOG, "7.88.1-9").1, "whether it reaches back that far");
    }

    #[test]
    fn packages_that_came_went_and_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&model::Layout::new(dir.path())).unwrap();
        let a = store::testing::sample(&[("a", "1"), ("b", "2"), ("c", "3"), ("e", "5")]);
        let b = store::testing::sample(&[("b", "2+deb12u1"), ("c", "3~rc1"), ("d", "4"), ("e", "5")]);
        let changes = changes_of_locks(&store, &a, &b).unwrap();
        let words = changes.in_words();
        assert_eq!(words[..4], ["b 2 -> 2+deb12u1", "c 3 -> 3~rc1, an older one", "d 4 came", "a 1 went"]);
        assert_eq!(words[4..], ["without a changelog, so fixes are not known: b"]);
        assert!(changes_of_locks(&store, &a, &a).unwrap().is_empty());
    }

    fn deb(store: &Store, name: &str, version: &str, source: Option<&str>, doc: impl FnOnce(&std::path::Path)) -> Locked {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("DEBIAN")).unwrap();
        std::fs::create_dir_all(root.path().join("usr/share/doc")).unwrap();
        let control = format!("Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n");
        std::fs::write(root.path().join("DEBIAN/control"), control).unwrap();
        doc(&root.path().join("usr/share/doc"));
        let out = root.path().join("x.deb");
        let made = std::process::Command::new("dpkg-deb").args(["-Znone", "-b"]).arg(root.path()).arg(&out).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let bytes = std::fs::read(&out).unwrap();
        let mut p = store::testing::sample(&[(name, version)]).packages.remove(0);
        (p.sha256, p.source) = (files::digest_of(&bytes).hex().to_string(), source.map(str::to_string));
        std::fs::create_dir_all(fetch::path(store, &p).parent().unwrap()).unwrap();
        std::fs::write(fetch::path(store, &p), bytes).unwrap();
        p
    }

    fn log(entries: &[(&str, &str)]) -> String {
        entries.iter().map(|(v, text)| format!("x ({v}) bookworm; urgency=low\n\n  * {text}\n\n -- A <a@b>  now\n\n")).collect()
    }

    /// Where changelogs lie, and where they do not.
    #[test]
    fn changelogs_are_found_by_link_by_source_and_plain() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&model::Layout::new(dir.path())).unwrap();
        let text = log(&[("1:2-1", "cve-2026-0001, CVE-2026-0002."), ("1:1-2", "CVE-2026-0003"), ("1:1-1", "CVE-2020-1111")]);
        let put = |name: &str, text: &str| {
            let (name, text) = (name.to_string(), text.to_string());
            move |doc: &std::path::Path| {
                std::fs::create_dir_all(doc.join(&name)).unwrap();
                std::fs::write(doc.join(&name).join("changelog.Debian"), text).unwrap();
            }
        };
        let link = |doc: &std::path::Path| std::os::unix::fs::symlink("x-common", doc.join("x1")).unwrap();
        // What an upstream wrote is not taken for Debian's, and a changelog that begins after the version before says so.
        let upstream = |doc: &std::path::Path| {
            std::fs::create_dir_all(doc.join("u")).unwrap();
            std::fs::write(doc.join("u/changelog"), "Version 2\n fixes CVE-2026-9999\n").unwrap();
        };
        let mut b = store::testing::sample(&[]);
        b.packages = vec![
            deb(&store, "cut", "3", None, put("cut", &log(&[("3", "CVE-2026-0030"), ("2", "CVE-2026-0020")]))),
            deb(&store, "other", "1", None, |_| {}),
            deb(&store, "renamed2", "2", Some("renamed (2)"), put("renamed2", &log(&[("2", "CVE-2026-0040"), ("1", "CVE-2026-0041")]))),
            deb(&store, "u", "2", None, upstream),
            deb(&store, "x-common", "1:2-1", Some("y"), put("x-common", &text)),
            deb(&store, "x1", "1:2-1+b3", Some("x (1:2-1)"), link),
        ];
        let mut a = store::testing::sample(&[("cut", "1"), ("other", "1"), ("renamed1", "1"), ("u", "1"), ("x1", "1:1-1+b2")]);
        (a.packages[2].source, a.packages[4].source) = (Some("renamed".into()), Some("x (1:1-1)".into()));
        let changes = changes_of_locks(&store, &a, &b).unwrap();
        let fixes = |source: &str| changes.fixes.get(source).map(|f| f.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(fixes("x").unwrap(), ["CVE-2026-0001", "CVE-2026-0002", "CVE-2026-0003"], "by a link, behind an epoch and rebuilds");
        assert_eq!(fixes("cut").unwrap(), ["CVE-2026-0020", "CVE-2026-0030"]);
        assert_eq!(fixes("renamed").unwrap(), ["CVE-2026-0040"], "of a package that has another name now");
        assert_eq!(changes.cut, BTreeSet::from(["cut".to_string()]));
        assert_eq!(changes.unread, BTreeSet::from(["u".to_string()]));
        assert_eq!((fixes("other"), fixes("u"), fixes("y")), (None, None, None), "what came in fixes nothing");
    }
}
