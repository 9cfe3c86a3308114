//! What a tree says of the packages in it: dpkg's and apk's own databases, and which distribution it is. Read, never believed further than
//! that: an image may say anything of itself.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::trouble::{bad, shown};
use disk::within::Root;
use model::{Distribution, Fault};
use std::collections::BTreeSet;
use std::path::Path;
use store::Package;

/// Of one database, also where it is a file for each package.
const DATABASE_BYTES: u64 = 16 << 20;
const TEXT_BYTES: u64 = 1 << 20;
/// More than any image has.
const PACKAGES_MAX: usize = 50_000;
/// Of all fields of all packages: the manifest that lists them is read again, and its readers have limits.
const LIST_BYTES_MAX: usize = 4 << 20;
/// Of a name or a version.
const FIELD_BYTES_MAX: usize = 256;
const DPKG: &str = "var/lib/dpkg/status";
/// A file for each package, in images without dpkg.
const DPKG_FILES: &str = "var/lib/dpkg/status.d";
const APK: [&str; 2] = ["lib/apk/db/installed", "usr/lib/apk/db/installed"];

/// Sorted, without doubles. An image that says more than any image does is refused.
pub fn packages(root: &Root) -> Result<Vec<Package>, Fault> {
    let mut list = List::default();
    list.extend(dpkg(&database(root, DPKG, DATABASE_BYTES)?))?;
    // Each package has a list of its files beside it.
    let files = match root.list_at_most(Path::new(DPKG_FILES), 2 * PACKAGES_MAX) {
        Err(fault) if fault.code == "too-large" => {
            return Err(too_much(format!("{DPKG_FILES} has more than {} files", 2 * PACKAGES_MAX)));
        }
        listed => listed.unwrap_or_default(),
    };
    let files: Vec<_> = files.iter().map(|(name, _)| name.to_string_lossy()).filter(|name| !name.ends_with(".md5sums")).collect();
    if files.len() > PACKAGES_MAX {
        return Err(too_much(format!("{DPKG_FILES} has {} files, more than {PACKAGES_MAX}", files.len())));
    }
    let mut left = DATABASE_BYTES;
    for name in files {
        // Such a file has no field that says that it is installed: it is there.
        let text = database(root, &format!("{DPKG_FILES}/{name}"), left)?;
        left = left.saturating_sub(text.len() as u64);
        list.extend(stanzas(&text, DPKG_KEYS).filter_map(debian))?;
    }
    for path in APK {
        list.extend(apk(&database(root, path, DATABASE_BYTES)?))?;
    }
    Ok(list.all.into_iter().collect())
}

/// Bounded before it is held.
#[derive(Default)]
struct List {
    all: BTreeSet<Package>,
    bytes: usize,
}

impl List {
    fn extend(&mut self, more: impl Iterator<Item = Package>) -> Result<(), Fault> {
        for package in more {
            let Package { name, version, arch, source } = &package;
            let bytes = name.len() + version.len() + arch.len() + source.as_ref().map_or(0, String::len);
            if self.all.insert(package) {
                self.bytes += bytes;
            }
            if self.all.len() > PACKAGES_MAX || self.bytes > LIST_BYTES_MAX {
                return Err(too_much(format!("it lists more than {PACKAGES_MAX} packages, or {LIST_BYTES_MAX} bytes of them")));
            }
        }
        Ok(())
    }
}

fn too_much(why: String) -> Fault {
    bad("bad-image", format!("the package database of the image is none that a package manager writes: {why}"))
        .hint("build the image again from a base image that you trust")
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

/// What is no file of the image's is empty; one that is too large is an error.
fn database(root: &Root, path: &str, limit: u64) -> Result<String, Fault> {
    match root.read(Path::new(path), limit) {
        Ok(bytes) => Ok(String::from_utf8(bytes).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())),
        Err(fault) if fault.code == "too-large" => Err(too_much(format!("{} is larger than {limit} bytes", shown(path)))),
        Err(_) => Ok(String::new()),
    }
}

/// It stands in lists and bills of materials.
fn is_field(text: &str) -> bool {
    !text.is_empty() && text.len() <= FIELD_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'"' | b'\\'))
}

fn field(value: Option<&str>) -> Option<String> {
    value.filter(|value| is_field(value)).map(str::to_string)
}

const DPKG_KEYS: [&str; 5] = ["Package", "Version", "Architecture", "Source", "Status"];

fn dpkg(text: &str) -> impl Iterator<Item = Package> {
    let is_installed = |[.., status]: &[Option<&str>; 5]| status.is_some_and(|status| status.ends_with(" installed"));
    stanzas(text, DPKG_KEYS).filter(is_installed).filter_map(debian)
}

fn debian([name, version, arch, source, _]: [Option<&str>; 5]) -> Option<Package> {
    // `name`, or `name (version)`.
    let source = source.map(|source| {
        source.chars().take(FIELD_BYTES_MAX).filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\') || *c == ' ').collect()
    });
    Some(Package { name: field(name)?, version: field(version)?, arch: field(arch)?, source })
}

/// The values of these keys in each stanza of `Key: value` lines; what a value has on further lines is nothing that is asked for.
/// One stanza is held at a time: a stanza of four bytes is one too.
fn stanzas<'a, const N: usize>(text: &'a str, keys: [&'static str; N]) -> impl Iterator<Item = [Option<&'a str>; N]> {
    text.lines()
        .map(Some)
        .chain([None])
        .scan([None; N], move |fields, line| {
            let ended = match line {
                Some(line) if !line.trim().is_empty() => {
                    if let Some((key, value)) = line.split_once(':')
                        && let Some(at) = keys.iter().position(|one| *one == key)
                    {
                        fields[at].get_or_insert(value.trim());
                    }
                    None
                }
                _ => Some(std::mem::replace(fields, [None; N])),
            };
            Some(ended)
        })
        .flatten()
}

/// apk's: `P` name, `V` version, `A` architecture, `o` origin.
fn apk(text: &str) -> impl Iterator<Item = Package> {
    stanzas(text, ["P", "V", "A", "o"]).filter_map(|[name, version, arch, origin]| {
        let name = field(name)?;
        let source = field(origin).filter(|origin| *origin != name);
        Some(Package { version: field(version)?, arch: field(arch)?, source, name })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(all: impl IntoIterator<Item = Package>) -> Vec<String> {
        all.into_iter().map(|p| format!("{} {} {} {}", p.name, p.version, p.arch, p.source.as_deref().unwrap_or("-"))).collect()
    }

    #[test]
    fn databases_as_dpkg_and_apk_write_them() {
        let status = "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9\nDescription: x\n Version: 9\n\n\
            Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\nPackage: half\nStatus: install ok installed\n\n";
        assert_eq!(lines(dpkg(status)), ["libc6 2.36-9 amd64 glibc"]);
        let installed =
            "C:Q1abc=\nP:musl\nV:1.2.5-r0\nA:x86_64\no:musl\nF:lib\nR:ld-musl\n\nP:ssl_client\nV:1.36.1-r29\nA:x86_64\no:busybox\n";
        assert_eq!(lines(apk(installed)), ["musl 1.2.5-r0 x86_64 -", "ssl_client 1.36.1-r29 x86_64 busybox"]);
        assert!(dpkg("Package: a\x1b[31m\nStatus: install ok installed\nVersion: 1\nArchitecture: all\n").next().is_none());
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
        assert_eq!(lines(packages(&root).unwrap()), ["base-files 12.4 amd64 -"]);
        assert_eq!(distribution(&root), Some(Distribution { id: "debian".into(), version: Some("bookworm".into()) }));
    }

    /// A tree with this text at this place, and links to the file.
    fn tree(path: &str, text: &str, links: usize) -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, text).unwrap();
        for n in 0..links {
            std::fs::hard_link(&at, at.with_file_name(format!("l{n}"))).unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    /// Bytes of this process, as the kernel counts them.
    fn peak() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<usize>().ok()).unwrap() << 10
    }

    #[test]
    fn a_database_of_nothing_but_stanzas_takes_no_more_than_its_text() {
        let (_dir, root) = tree(APK[0], &"a:\n\n".repeat(4 << 20), 0);
        let before = peak();
        assert!(packages(&root).unwrap().is_empty());
        // Other tests run beside this one; a map for each stanza would be 1.7 GB.
        let more = peak() - before;
        assert!(more < 200 << 20, "{more}");
    }

    #[test]
    fn a_database_that_no_package_manager_writes_is_refused() {
        let code = |path: &str, text: &str, links| packages(&tree(path, text, links).1).map(|all| all.len()).map_err(|f| f.code);
        let refused = Err("bad-image".to_string());
        for path in [DPKG, APK[0], APK[1]] {
            assert_eq!(code(path, &"x".repeat((16 << 20) + 1), 0), refused, "{path}");
        }
        let one = "Package: a\nVersion: 1\nArchitecture: all\n";
        let mib = format!("{one}{}", "\n".repeat((1 << 20) - one.len()));
        assert_eq!(code("var/lib/dpkg/status.d/a", &mib, 15), Ok(1));
        assert_eq!(code("var/lib/dpkg/status.d/a", &mib, 16), refused, "each small, together too large");
        assert_eq!(code("var/lib/dpkg/status.d/a", one, 50_000), refused, "too many files");
        let many = |count: usize, wide: usize| (0..count).map(|n| format!("P:{n}\nV:{}\nA:x\n\n", "1".repeat(wide))).collect::<String>();
        assert_eq!(code(APK[0], &many(50_000, 1), 0), Ok(50_000));
        assert_eq!(code(APK[0], &many(50_001, 1), 0), refused);
        assert_eq!(code(APK[0], &many(20_000, 250), 0), refused, "wide ones");
    }
}
