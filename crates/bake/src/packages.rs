//! Reads what apt downloaded: the lists of packages, and dpkg's own list in a finished tree.

use crate::index_files::files_ending;
use disk::files;
use disk::within::Root;
use model::Fault;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use store::manifest::Package;

/// A list may be large (Debian's main is 50 MB), but not that large.
const LIST_LIMIT: u64 = 1 << 30;

/// One paragraph of a package list.
#[derive(Clone, Copy)]
pub struct Paragraph<'a>(&'a [u8]);

impl<'a> Paragraph<'a> {
    pub fn get(&self, key: &str) -> Option<&'a str> {
        let line = self.0.split(|b| *b == b'\n').find_map(|l| l.strip_prefix(key.as_bytes())?.strip_prefix(b":"))?;
        std::str::from_utf8(line).ok().map(str::trim)
    }

    pub fn name(&self) -> Option<&'a str> {
        let rest = self.0.strip_prefix(b"Package: ")?;
        std::str::from_utf8(rest.split(|b| *b == b'\n').next()?).ok().map(str::trim)
    }

    fn has_line(&self, line: &[u8]) -> bool {
        memchr::memmem::find(self.0, line).is_some_and(|at| at > 0 && self.0[at - 1] == b'\n')
    }
}

pub fn paragraphs(text: &[u8]) -> impl Iterator<Item = Paragraph<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while let Some(trimmed) = rest.strip_prefix(b"\n") {
            rest = trimmed;
        }
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memmem::find(rest, b"\n\n").unwrap_or(rest.len());
        let (one, more) = rest.split_at(end);
        rest = more;
        Some(Paragraph(one))
    })
}

/// Names of everything a minimal system must have: essential, or of priority required.
pub fn required(lists: &BTreeMap<String, Vec<u8>>) -> Result<BTreeSet<String>, Fault> {
    let mut names = BTreeSet::new();
    for text in lists.values() {
        for p in paragraphs(text) {
            if p.has_line(b"Priority: required\n") || p.has_line(b"Essential: yes\n") {
                names.extend(p.name().map(str::to_string));
            }
        }
    }
    if names.is_empty() {
        return Err(Fault::world("empty-index", "no package in the mirrors' lists is essential")
            .hint("do the sources name the main part of a Debian release?")
            .again(false));
    }
    Ok(names)
}

/// `deb.debian.org_debian_dists_bookworm-updates_main_binary-amd64_Packages` -> `bookworm-updates`
pub fn suite_of(list: &str) -> &str {
    list.split_once("_dists_").map_or(list, |(_, rest)| rest).split('_').next().unwrap_or(list)
}

/// Paragraphs of the packages whose file has one of these SHA-256 sums, with the list they stand in. Every list that has it is named.
pub fn find<'a>(
    lists: &'a BTreeMap<String, Vec<u8>>,
    names: &BTreeSet<String>,
    sums: &BTreeSet<&str>,
) -> BTreeMap<&'a str, Vec<(&'a str, Paragraph<'a>)>> {
    let mut found: BTreeMap<&str, Vec<(&str, Paragraph)>> = BTreeMap::new();
    for (list, text) in lists {
        for p in paragraphs(text) {
            if !p.name().is_some_and(|n| names.contains(n)) {
                continue;
            }
            if let Some(sum) = p.get("SHA256").filter(|s| sums.contains(s)) {
                found.entry(sum).or_default().push((list, p));
            }
        }
    }
    found
}

pub fn read_lists(lists: &Path) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut all = BTreeMap::new();
    for path in files_ending(lists, &["_Packages"])? {
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        all.insert(name, files::read_limited(&path, LIST_LIMIT)?);
    }
    Ok(all)
}

/// What dpkg says is installed in a tree; anything half-installed is an error.
pub fn installed(root: &Root) -> Result<Vec<Package>, Fault> {
    let text = root.read(Path::new("var/lib/dpkg/status"), LIST_LIMIT)?;
    let mut all = Vec::new();
    for p in paragraphs(&text) {
        let get = |key: &str| p.get(key).unwrap_or("").to_string();
        let (name, status) = (get("Package"), get("Status"));
        match status.as_str() {
            "install ok installed" | "hold ok installed" => {}
            s if s.ends_with("not-installed") || s.ends_with("config-files") => continue,
            other => {
                return Err(Fault::world("package-half-installed", format!("{name} is not whole after the bake: {other}"))
                    .hint("its maintainer script failed; see the messages above"));
            }
        }
        all.push(Package { name, version: get("Version"), arch: get("Architecture"), source: p.get("Source").map(str::to_string) });
    }
    all.sort();
    if all.is_empty() {
        return Err(Fault::world("empty-image", "dpkg's own list in the tree names no package"));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"Package: a\nVersion: 1\nPriority: required\nSHA256: aa\n\nPackage: b\nEssential: yes\nDescription: x\n Priority: required\nSHA256: bb\n\n\nPackage: c\nPriority: optional\nSHA256: cc";

    #[test]
    fn required_and_essential() {
        let lists = BTreeMap::from([("m_Packages".to_string(), LIST.to_vec())]);
        assert_eq!(required(&lists).unwrap().into_iter().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(required(&BTreeMap::new()).unwrap_err().code, "empty-index");
        assert_eq!(suite_of("deb.debian.org_debian-security_dists_bookworm-security_main_binary-amd64_Packages"), "bookworm-security");
    }

    #[test]
    fn found_by_sum() {
        let lists = BTreeMap::from([("l".to_string(), LIST.to_vec())]);
        let found = find(&lists, &BTreeSet::from(["c".to_string(), "a".to_string()]), &BTreeSet::from(["cc", "bb"]));
        assert_eq!(found.len(), 1);
        assert_eq!(found["cc"][0].1.name(), Some("c"));
    }

    #[test]
    fn half_installed_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let status = dir.path().join("var/lib/dpkg");
        std::fs::create_dir_all(&status).unwrap();
        std::fs::write(status.join("status"), "Package: a\nStatus: install ok half-configured\nVersion: 1\n").unwrap();
        assert_eq!(installed(&Root::open(dir.path()).unwrap()).unwrap_err().code, "package-half-installed");
        std::fs::write(status.join("status"), "Package: a\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n").unwrap();
        assert_eq!(installed(&Root::open(dir.path()).unwrap()).unwrap()[0].name, "a");
    }
}
