//! What the packages of a tree own, and which of their files are as their package has them. Of dpkg (its lists beside its database, or those
//! that images without dpkg have) and of apk. RPM's database is no text: what it owns is not known here.

use super::{Checksum, Tree};
use crate::ternary::Fact;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

const DPKG: &str = "/var/lib/dpkg/info";
/// Of images without dpkg, as distroless ones are.
const DPKG_FILES: &str = "/var/lib/dpkg/status.d";
const APK: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];
const RPM: &[&str] = &["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
/// Databases that are not read here: of RPM, pacman, portage, Nix, and of dpkg without its lists of files.
const OTHERS: &[&str] = &["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/lib/pacman", "/var/db/pkg", "/nix/store", "/var/lib/dpkg"];

/// Hashes alone, as text a hostile list takes ten times as much. Who chooses paths that collide could as well name them in a list of a
/// package: the tree is his.
#[derive(Debug, Default)]
pub(super) struct Packages {
    /// Of the paths of packages' files, sorted. `None`: a list could not be read, or this is no system of packages.
    paths: Option<Vec<u64>>,
    /// Of the paths with what their packages say of their content, sorted, for each kind of checksum.
    contents: Vec<(Checksum, Vec<u64>)>,
    /// RPM keeps packages here.
    pub has_rpm: bool,
}

impl Packages {
    /// `missed`: takes the path of what cannot be read.
    pub fn of(tree: &dyn Tree, missed: &mut dyn FnMut(&str)) -> Packages {
        let mut is_whole = true;
        let mut missed = |path: &str| {
            is_whole = false;
            missed(path);
        };
        let mut paths = Vec::new();
        let mut contents = Contents { md5: Vec::new(), sha1: Vec::new() };
        let names = names(tree, DPKG, &mut missed);
        for name in names.iter().filter(|name| name.ends_with(".list")) {
            match tree.read(&format!("{DPKG}/{name}")) {
                Fact::Known(text) => {
                    let lines = text.iter().flat_map(|text| lines(text));
                    paths.extend(lines.filter(|line| line.first() == Some(&b'/')).map(|line| hash(line, b"")));
                }
                Fact::Unknown(_) => {
                    // The others would be read for nothing.
                    missed(&format!("{DPKG}/{name}"));
                    return Packages::default();
                }
            }
        }
        contents.of_dpkg(tree, DPKG, &names);
        let images = self::names(tree, DPKG_FILES, &mut missed);
        paths.extend(contents.of_dpkg(tree, DPKG_FILES, &images));
        for path in APK {
            match tree.read(path) {
                Fact::Known(text) => text.iter().for_each(|text| of_apk(text, &mut paths, &mut contents.sha1)),
                Fact::Unknown(_) => missed(path),
            }
        }
        // Where nothing keeps packages, no package owns anything.
        let is_empty_known = || OTHERS.iter().all(|path| matches!(tree.list(path), Fact::Known(None)));
        let is_listed = |name: &String| name.ends_with(".md5sums") || images.binary_search(&format!("{name}.md5sums")).is_ok();
        let is_whole = is_whole && images.iter().all(is_listed) && (!paths.is_empty() || is_empty_known());
        let contents = [(Checksum::Md5, contents.md5), (Checksum::Sha1, contents.sha1)];
        let has_rpm = RPM.iter().any(|path| matches!(tree.list(path), Fact::Known(Some(_))));
        Packages {
            has_rpm,
            paths: is_whole.then(|| sorted(paths)),
            contents: contents.into_iter().filter(|(_, all)| !all.is_empty()).map(|(kind, all)| (kind, sorted(all))).collect(),
        }
    }

    /// `None`: not known.
    pub fn own(&self, path: &str) -> Option<bool> {
        let paths = self.paths.as_ref()?;
        Some(spellings(path).iter().any(|path| paths.binary_search(&hash(path.as_bytes(), b"")).is_ok()))
    }

    /// Whether a file is byte for byte what its package brings, or compiled from that: who can get the package has it, so that it tells nobody
    /// anything new. Below /usr alone: elsewhere lie configuration and data of this system, which may be in force.
    pub fn ship(&self, path: &str, content: &[u8], tree: &dyn Tree) -> bool {
        let source = || source_of(path, content, tree);
        path.starts_with("/usr/") && (self.is_unchanged(path, tree) || source().is_some_and(|source| self.is_unchanged(&source, tree)))
    }

    /// Where no checksum is known it is not.
    fn is_unchanged(&self, path: &str, tree: &dyn Tree) -> bool {
        self.own(path) == Some(true)
            && self.contents.iter().any(|(kind, known)| {
                let Fact::Known(checksum) = tree.checksum(path, *kind) else { return false };
                spellings(path).iter().any(|path| known.binary_search(&hash(path.as_bytes(), checksum.as_bytes())).is_ok())
            })
    }
}

/// `DIR/__pycache__/NAME.cpython-311.pyc`: what Python made of DIR/NAME.py when its package was installed. It holds the size of its source.
fn source_of(path: &str, content: &[u8], tree: &dyn Tree) -> Option<String> {
    let (directory, name) = path.split_once("/__pycache__/")?;
    let (name, _) = name.strip_suffix(".pyc")?.split_once(".cpython-")?;
    let source = format!("{directory}/{name}.py");
    let Fact::Known(Some(text)) = tree.read(&source) else { return None };
    let size = u32::try_from(text.len()).ok()?.to_le_bytes();
    (content.get(4..8) == Some(&[0; 4]) && content.get(12..16) == Some(&size)).then_some(source)
}

struct Contents {
    md5: Vec<u64>,
    sha1: Vec<u64>,
}

impl Contents {
    /// Reads each `.md5sums` of a directory, and returns the hashes of its paths. One that cannot be read vouches for nothing.
    fn of_dpkg(&mut self, tree: &dyn Tree, directory: &str, names: &[String]) -> Vec<u64> {
        let mut paths = Vec::new();
        for name in names {
            let Some(package) = name.strip_suffix(".md5sums") else { continue };
            let Fact::Known(Some(text)) = tree.read(&format!("{directory}/{name}")) else { continue };
            // Configuration that a package lists as such is this system's own.
            let conffiles = match tree.read(&format!("{directory}/{package}.conffiles")) {
                Fact::Known(text) => text.unwrap_or_default(),
                Fact::Unknown(_) => continue,
            };
            let conffiles: BTreeSet<&[u8]> = lines(&conffiles).collect();
            for (checksum, path) in lines(&text).filter_map(md5sum) {
                paths.push(hash(&path, b""));
                if !conffiles.contains(path.as_slice()) {
                    self.md5.push(hash(&path, checksum));
                }
            }
        }
        paths
    }
}

/// "d41d8cd98f00b204e9800998ecf8427e  usr/bin/x"
fn md5sum(line: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let (checksum, path) = line.split_at_checked(32)?;
    let path = path.strip_prefix(b"  ")?;
    let path = path.strip_prefix(b"./").unwrap_or(path);
    checksum.iter().all(u8::is_ascii_hexdigit).then(|| (checksum, [b"/", path].concat()))
}

/// Files of apk's database: lines `F:directory` and, below it, `R:name` and `Z:checksum` of that name.
fn of_apk(text: &[u8], paths: &mut Vec<u64>, contents: &mut Vec<u64>) {
    let (mut directory, mut path): (&[u8], Vec<u8>) = (b"", Vec::new());
    for (key, value) in lines(text).filter_map(|line| line.split_at_checked(2)) {
        match key {
            b"F:" => directory = value,
            b"R:" => {
                path = [b"/", directory, b"/", value].concat();
                paths.push(hash(&path, b""));
            }
            b"Z:" => contents.extend(value.strip_prefix(b"Q1").map(|sha1| hash(&path, sha1))),
            _ => {}
        }
    }
}

/// Since /bin is a link to /usr/bin, packages may name either.
fn spellings(path: &str) -> [String; 3] {
    [path.to_string(), path.strip_prefix("/usr").unwrap_or(path).to_string(), format!("/usr{path}")]
}

fn names(tree: &dyn Tree, directory: &str, missed: &mut dyn FnMut(&str)) -> Vec<String> {
    match tree.list(directory) {
        Fact::Known(names) => names.unwrap_or_default(),
        Fact::Unknown(_) => {
            missed(directory);
            Vec::new()
        }
    }
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|b| *b == b'\n')
}

fn sorted(mut all: Vec<u64>) -> Vec<u64> {
    all.sort_unstable();
    all.dedup();
    all.shrink_to_fit();
    all
}

fn hash(path: &[u8], checksum: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (path, checksum).hash(&mut hasher);
    hasher.finish()
}
