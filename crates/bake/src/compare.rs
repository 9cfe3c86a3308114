//! What differs between two images: by path, by what about it, and where the first byte differs.
//! The images are mounted read-only in a namespace of their own, which is gone when we are.

use crate::tree::Holder;
use disk::files;
use model::{Digest, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use store::Store;
use store::program;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// From the image's root, with a slash before it.
    pub path: PathBuf,
    /// One sentence: `its bytes differ from byte 1024 on (2048 and 2050 bytes)`.
    pub what: String,
}

struct Entry {
    meta: fs::Metadata,
    link: Option<PathBuf>,
    xattrs: BTreeMap<String, Vec<u8>>,
}

/// Mounts both and compares them whole.
pub fn compare_images(store: &Store, a: &Digest, b: &Digest) -> Result<Vec<Difference>, Fault> {
    compare_volumes(store, &store.path(a)?, &store.path(b)?)
}

pub fn compare_volumes(store: &Store, a: &Path, b: &Path) -> Result<Vec<Difference>, Fault> {
    program::need_root("mounting images")?;
    let work = store.work("compare")?;
    let script = "mount -t erofs -o loop,ro \"$2\" \"$1/a\" && mount -t erofs -o loop,ro \"$3\" \"$1/b\"";
    for side in ["a", "b"] {
        files::make_dir(&work.path().join(side))?;
    }
    let holder = Holder::begin(script, &[work.path(), a, b], "mounting two images")?;
    compare_trees(&holder.see(&work.path().join("a")), &holder.see(&work.path().join("b")))
}

pub fn compare_trees(a: &Path, b: &Path) -> Result<Vec<Difference>, Fault> {
    let (left, right) = (read(a)?, read(b)?);
    let mut all = Vec::new();
    let mut paths: Vec<&PathBuf> = left.keys().chain(right.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let what = match (left.get(path), right.get(path)) {
            (Some(_), None) => Some("it is only in the first".to_string()),
            (None, Some(_)) => Some("it is only in the second".to_string()),
            (Some(l), Some(r)) => entry(l, r, &a.join(path), &b.join(path))?,
            (None, None) => None,
        };
        all.extend(what.map(|what| Difference { path: Path::new("/").join(path), what }));
    }
    Ok(all)
}

fn read(root: &Path) -> Result<BTreeMap<PathBuf, Entry>, Fault> {
    let (mut all, mut todo) = (BTreeMap::new(), vec![PathBuf::new()]);
    while let Some(below) = todo.pop() {
        let path = root.join(&below);
        let meta = fs::symlink_metadata(&path).map_err(files::at("cannot look at", &path))?;
        if meta.is_dir() {
            for found in fs::read_dir(&path).map_err(files::at("cannot list", &path))? {
                todo.push(below.join(found.map_err(files::at("cannot list", &path))?.file_name()));
            }
        }
        let link = if meta.is_symlink() { Some(fs::read_link(&path).map_err(files::at("cannot read", &path))?) } else { None };
        all.insert(below, Entry { xattrs: xattrs(&path)?, meta, link });
    }
    Ok(all)
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut names = vec![0u8; 1 << 16];
    let n = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(n) => n,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        Err(e) => return Err(files::fault("cannot read the attributes of", path, &e.into())),
    };
    let mut all = BTreeMap::new();
    for name in names[..n].split(|b| *b == 0).filter(|n| !n.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0u8; 1 << 16];
        let n = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..])
            .map_err(|e| files::fault("cannot read the attributes of", path, &e.into()))?;
        value.truncate(n);
        all.insert(name, value);
    }
    Ok(all)
}

fn entry(l: &Entry, r: &Entry, a: &Path, b: &Path) -> Result<Option<String>, Fault> {
    let (x, y) = (&l.meta, &r.meta);
    let mut what = Vec::new();
    if x.file_type() != y.file_type() {
        return Ok(Some(format!("it is of another kind (mode {:o} and {:o})", x.mode(), y.mode())));
    }
    if x.mode() != y.mode() {
        what.push(format!("its mode is {:o} and {:o}", x.mode() & 0o7777, y.mode() & 0o7777));
    }
    if (x.uid(), x.gid()) != (y.uid(), y.gid()) {
        what.push(format!("its owner is {}:{} and {}:{}", x.uid(), x.gid(), y.uid(), y.gid()));
    }
    if l.link != r.link {
        let show = |l: &Option<PathBuf>| l.as_ref().map_or(String::new(), |p| p.display().to_string());
        what.push(format!("it points to {} and {}", show(&l.link), show(&r.link)));
    }
    if l.xattrs != r.xattrs {
        what.push(format!("its attributes are {:?} and {:?}", l.xattrs.keys(), r.xattrs.keys()));
    }
    if x.is_file()
        && let Some(at) = first_difference(a, b)?
    {
        what.push(format!("its bytes differ from byte {at} on ({} and {} bytes)", x.size(), y.size()));
    }
    if x.mtime() != y.mtime() {
        what.push(format!("its time is {} and {}", x.mtime(), y.mtime()));
    }
    Ok((!what.is_empty()).then(|| what.join("; ")))
}

fn first_difference(a: &Path, b: &Path) -> Result<Option<u64>, Fault> {
    let (mut left, mut right) = (File::open(a).map_err(files::at("cannot read", a))?, File::open(b).map_err(files::at("cannot read", b))?);
    let (mut x, mut y) = (vec![0u8; 1 << 17], vec![0u8; 1 << 17]);
    let mut at = 0;
    loop {
        let n = fill(&mut left, &mut x).map_err(files::at("cannot read", a))?;
        let m = fill(&mut right, &mut y).map_err(files::at("cannot read", b))?;
        if x[..n] != y[..m]
            && let Some(k) = x[..n].iter().zip(&y[..m]).position(|(p, q)| p != q)
        {
            return Ok(Some(at + k as u64));
        }
        if n != m {
            return Ok(Some(at + n.min(m) as u64));
        }
        if n == 0 {
            return Ok(None);
        }
        at += n as u64;
    }
}

fn fill(from: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match from.read(&mut buffer[n..])? {
            0 => break,
            more => n += more,
        }
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn every_kind_of_difference_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for (side, byte) in [(&a, "x"), (&b, "y")] {
            fs::create_dir_all(side.join("same")).unwrap();
            fs::write(side.join("bytes"), format!("{}{byte}", "0".repeat(200_000))).unwrap();
            fs::write(side.join("mode"), "").unwrap();
            std::os::unix::fs::symlink(byte, side.join("link")).unwrap();
        }
        fs::write(a.join("left"), "").unwrap();
        fs::create_dir(b.join("right")).unwrap();
        fs::set_permissions(b.join("mode"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(a.join("mode"), fs::Permissions::from_mode(0o644)).unwrap();
        let told: BTreeMap<String, String> =
            compare_trees(&a, &b).unwrap().into_iter().map(|d| (d.path.display().to_string(), d.what)).collect();
        assert!(told["/bytes"].contains("from byte 200000 on"), "{told:?}");
        assert!(told["/mode"].contains("644 and 600"));
        assert!(told["/link"].contains("points to x and y"));
        assert_eq!(told["/left"], "it is only in the first");
        assert_eq!(told["/right"], "it is only in the second");
        assert!(!told.contains_key("/same"));
        assert_eq!(compare_trees(&a, &a).unwrap(), []);
    }
}
