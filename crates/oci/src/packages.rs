//! What a tree says of the packages in it: dpkg's and apk's own databases, and which distribution it is. Read, never believed further than
//! that: an image may say anything of itself.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use disk::within::Root;
use model::Distribution;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use store::Package;

const DATABASE_BYTES: u64 = 64 << 20;
const TEXT_BYTES: u64 = 1 << 20;
/// More than any image has.
const PACKAGES_MAX: usize = 50_000;
/// Of a name or a version.
const FIELD_BYTES_MAX: usize = 256;
const DPKG: &str = "var/lib/dpkg/status";
/// A file for each package, in images without dpkg.
const DPKG_FILES: &str = "var/lib/dpkg/status.d";
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// Sorted, without doubles.
pub fn packages(root: &Root) -> Vec<Package> {
    let mut all = BTreeSet::new();
    all.extend(dpkg(&text(root, DPKG, DATABASE_BYTES)));
    for (name, _) in root.list(Path::new(DPKG_FILES)).unwrap_or_default() {
        let name = name.to_string_lossy();
        if all.len() < PACKAGES_MAX && !name.ends_with(".md5sums") {
            // Such a file has no field that says that it is installed: it is there.
            let text = text(root, &format!("{DPKG_FILES}/{name}"), TEXT_BYTES);
            all.extend(stanzas(&text).into_iter().filter_map(|fields| debian(&fields)));
        }
    }
    for path in APK {
        all.extend(apk(&text(root, path, DATABASE_BYTES)));
    }
    all.into_iter().take(PACKAGES_MAX).collect()
}

/// As `/etc/os-release` has it.
pub fn distribution(root: &Root) -> Option<Distribution> {
    let said =
        ["etc/os-release", "usr/lib/os-release"].into_iter().map(|path| text(root, path, TEXT_BYTES)).find(|text| !text.is_empty())?;
    let field = |name: &str| {
        let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?.trim().trim_matches(['"', '\'']);
        is_field(value).then(|| value.to_string())
    };
    Some(Distribution { id: field("ID")?, version: field("VERSION_CODENAME").or_else(|| field("VERSION_ID")) })
}

fn text(root: &Root, path: &str, limit: u64) -> String {
    root.read(Path::new(path), limit).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// It stands in lists and bills of materials.
fn is_field(text: &str) -> bool {
    !text.is_empty() && text.len() <= FIELD_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

fn dpkg(text: &str) -> Vec<Package> {
    let is_installed = |fields: &BTreeMap<&str, &str>| fields.get("Status").is_some_and(|status| status.ends_with(" installed"));
    stanzas(text).into_iter().filter(is_installed).filter_map(|fields| debian(&fields)).collect()
}

fn debian(fields: &BTreeMap<&str, &str>) -> Option<Package> {
    let field = |name: &str| fields.get(name).copied().filter(|value| is_field(value)).map(str::to_string);
    // `name`, or `name (version)`.
    let source =
        fields.get("Source").map(|source| source.chars().take(FIELD_BYTES_MAX).filter(|c| c.is_ascii_graphic() || *c == ' ').collect());
    Some(Package { name: field("Package")?, version: field("Version")?, arch: field("Architecture")?, source })
}

/// Of `Key: value` lines; what a value has on further lines is nothing that is asked for.
fn stanzas(text: &str) -> Vec<BTreeMap<&str, &str>> {
    let mut all = vec![BTreeMap::new()];
    for line in text.lines() {
        if line.trim().is_empty() {
            all.push(BTreeMap::new());
        } else if let (false, Some((key, value)), Some(last)) = (line.starts_with([' ', '\t']), line.split_once(':'), all.last_mut()) {
            last.entry(key).or_insert(value.trim());
        }
    }
    all.retain(|fields| !fields.is_empty());
    all.truncate(PACKAGES_MAX);
    all
}

/// apk's: `P` name, `V` version, `A` architecture, `o` origin.
fn apk(text: &str) -> Vec<Package> {
    let of = |fields: BTreeMap<&str, &str>| {
        let field = |name: &str| fields.get(name).copied().filter(|value| is_field(value)).map(str::to_string);
        let name = field("P")?;
        let source = field("o").filter(|origin| *origin != name);
        Some(Package { version: field("V")?, arch: field("A")?, source, name })
    };
    stanzas(text).into_iter().filter_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(all: &[Package]) -> Vec<String> {
        all.iter().map(|p| format!("{} {} {} {}", p.name, p.version, p.arch, p.source.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn databases_as_dpkg_and_apk_write_them() {
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9\nDescription: x\n Version: 9\n\n\
            Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\nPackage: half\nStatus: install ok installed\n\n";
        assert_eq!(shown(&dpkg(status)), ["libc6 2.36-9 amd64 glibc"]);
        let installed =
            "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nF:lib\nR:ld-musl\n\nP:ssl_client\nV:1.36.1-r29\nA:x86_64\no:busybox\n";
        assert_eq!(shown(&apk(installed)), ["musl 1.2.5-r0 x86_64 -", "ssl_client 1.36.1-r29 x86_64 busybox"]);
        assert!(dpkg("Package: a\x1b[31m\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n").is_empty());
    }

    #[test]
    fn a_tree_without_dpkg_has_a_file_for_each_package() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join(DPKG_FILES);
        std::fs::create_dir_all(&at).unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::write(at.join("base-files"), "Package: base-files\nVersion: 12.4\nArchitecture: amd64\n").unwrap();
        std::fs::write(at.join("base-files.md5sums"), "Package: no\nVersion: 1\nArchitecture: all\n").unwrap();
        std::fs::write(dir.path().join("etc/os-release"), "NAME=\"x\"\nID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\n").unwrap();
        let root = Root::open(dir.path()).unwrap();
        assert_eq!(shown(&packages(&root)), ["base-files 12.4 amd64 -"]);
        assert_eq!(distribution(&root), Some(Distribution { id: "debian".into(), version: Some("bookworm".into()) }));
    }
}
