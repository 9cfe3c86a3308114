//! What a tree holds, entry by entry, so that two can be compared.

use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// `dir`, `file TEXT`, `link TO`, `fifo`, `device`.
    pub what: String,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: i64,
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// The first of its names.
    pub same_as: PathBuf,
}

pub type Tree = BTreeMap<PathBuf, Seen>;

pub fn tree(root: &Path) -> Tree {
    let mut all = Tree::new();
    walk(root, Path::new(""), &mut all);
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    for (path, seen) in &mut all {
        let ino = fs::symlink_metadata(root.join(path)).unwrap().ino();
        seen.same_as = first.entry(ino).or_insert_with(|| path.clone()).clone();
    }
    all
}

fn walk(root: &Path, at: &Path, all: &mut Tree) {
    let full = root.join(at);
    let meta = fs::symlink_metadata(&full).unwrap();
    let kind = meta.file_type();
    let what = if kind.is_dir() {
        "dir".to_string()
    } else if kind.is_symlink() {
        format!("link {}", fs::read_link(&full).unwrap().display())
    } else if kind.is_file() {
        let bytes = fs::read(&full).unwrap();
        if bytes.len() < 200 {
            format!("file {}", String::from_utf8_lossy(&bytes))
        } else {
            format!("file {}", disk::files::digest_of(&bytes))
        }
    } else if kind.is_fifo() {
        "fifo".to_string()
    } else {
        "device".to_string()
    };
    let mode = if kind.is_symlink() { 0 } else { meta.mode() & 0o7777 };
    let seen = Seen { what, mode, owner: (meta.uid(), meta.gid()), mtime: meta.mtime(), xattrs: xattrs(&full), same_as: PathBuf::new() };
    all.insert(at.to_path_buf(), seen);
    if kind.is_dir() {
        let mut names: Vec<_> = fs::read_dir(&full).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        for name in names {
            walk(root, &at.join(name), all);
        }
    }
}

fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut names = vec![0u8; 1 << 16];
    let Ok(count) = rustix::fs::llistxattr(path, names.as_mut_slice()) else { return BTreeMap::new() };
    let names = names[..count].split_inclusive(|b| *b == 0).map(|n| CStr::from_bytes_with_nul(n).unwrap().to_bytes());
    names
        .map(|name| {
            let mut value = vec![0u8; 1 << 16];
            let size = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), value.as_mut_slice()).unwrap();
            value.truncate(size);
            (String::from_utf8_lossy(name).into_owned(), value)
        })
        .collect()
}

/// Every difference, a line each; empty: they are the same.
pub fn difference(ours: &Tree, theirs: &Tree) -> Vec<String> {
    let paths: std::collections::BTreeSet<&PathBuf> = ours.keys().chain(theirs.keys()).collect();
    let different = paths.into_iter().filter(|p| ours.get(*p) != theirs.get(*p));
    different.map(|p| format!("/{}: ours {:?}, theirs {:?}", p.display(), ours.get(p), theirs.get(p))).collect()
}
