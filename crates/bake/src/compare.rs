//! What differs between two images: by path, by what about it, and where the first byte differs.
//! The images are mounted read-only in a namespace of their own, which is gone when we are.

use crate::tree::Holder;
use disk::files;
use model::{Digest, Fault};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
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

/// Of all differences: whoever makes an image decides how many there are.
const BYTES_MAX: usize = 32 << 20;
/// What a difference costs that is held, beside its texts.
const COST: usize = 100;
/// Of the names of attributes that differ.
const NAMES_SHOWN: usize = 10;

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

/// Both trees side by side, in the order of their paths: held are the names of the directories above, and one entry of each.
pub fn compare_trees(a: &Path, b: &Path) -> Result<Vec<Difference>, Fault> {
    compare_within(a, b, BYTES_MAX)
}

fn compare_within(a: &Path, b: &Path, bytes_max: usize) -> Result<Vec<Difference>, Fault> {
    let (mut all, mut left) = (Vec::new(), bytes_max);
    let root = BTreeMap::from([(OsString::new(), (true, true))]);
    let mut open = vec![(PathBuf::new(), root.into_iter())];
    while let Some((dir, names)) = open.last_mut() {
        let Some((name, (is_in_a, is_in_b))) = names.next() else {
            open.pop();
            continue;
        };
        let below = dir.join(name);
        let (at_a, at_b) = (a.join(&below), b.join(&below));
        let (l, r) = (read(is_in_a, &at_a)?, read(is_in_b, &at_b)?);
        let what = match (&l, &r) {
            (Some(_), None) => Some("it is only in the first".to_string()),
            (None, Some(_)) => Some("it is only in the second".to_string()),
            (Some(l), Some(r)) => entry(l, r, &at_a, &at_b)?,
            (None, None) => None,
        };
        if let Some(what) = what {
            let path = Path::new("/").join(&below);
            let Some(rest) = left.checked_sub(path.as_os_str().len() + what.len() + COST) else {
                all.push(Difference {
                    path,
                    what: "it differs, and what comes behind it was not compared: there are too many".to_string(),
                });
                return Ok(all);
            };
            left = rest;
            all.push(Difference { path, what });
        }
        let mut names = BTreeMap::<OsString, (bool, bool)>::new();
        if is_dir(l.as_ref()) {
            list(&at_a, |name| names.entry(name).or_default().0 = true)?;
        }
        if is_dir(r.as_ref()) {
            list(&at_b, |name| names.entry(name).or_default().1 = true)?;
        }
        open.push((below, names.into_iter()));
    }
    Ok(all)
}

fn is_dir(entry: Option<&Entry>) -> bool {
    entry.is_some_and(|entry| entry.meta.is_dir())
}

fn list(dir: &Path, mut take: impl FnMut(OsString)) -> Result<(), Fault> {
    for found in fs::read_dir(dir).map_err(files::at("cannot list", dir))? {
        take(found.map_err(files::at("cannot list", dir))?.file_name());
    }
    Ok(())
}

fn read(is_there: bool, path: &Path) -> Result<Option<Entry>, Fault> {
    if !is_there {
        return Ok(None);
    }
    let meta = fs::symlink_metadata(path).map_err(files::at("cannot look at", path))?;
    let link = if meta.is_symlink() { Some(fs::read_link(path).map_err(files::at("cannot read", path))?) } else { None };
    Ok(Some(Entry { xattrs: xattrs(path)?, meta, link }))
}

fn xattrs(path: &Path) -> Result<BTreeMap<String, Vec<u8>>, Fault> {
    let mut buffer = vec![0u8; 1 << 16];
    let n = match rustix::fs::llistxattr(path, &mut buffer[..]) {
        Ok(n) => n,
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(BTreeMap::new()),
        Err(e) => return Err(files::fault("cannot read the attributes of", path, &e.into())),
    };
    let names: Vec<String> =
        buffer[..n].split(|b| *b == 0).filter(|n| !n.is_empty()).map(|n| String::from_utf8_lossy(n).into_owned()).collect();
    let mut all = BTreeMap::new();
    for name in names {
        let n = rustix::fs::lgetxattr(path, name.as_str(), &mut buffer[..])
            .map_err(|e| files::fault("cannot read the attributes of", path, &e.into()))?;
        all.insert(name, buffer[..n].to_vec());
    }
    Ok(all)
}

/// The first names whose values differ.
fn other_xattrs(l: &Entry, r: &Entry) -> String {
    let names: BTreeSet<&String> = l.xattrs.keys().chain(r.xattrs.keys()).collect();
    let other: Vec<&str> = names.into_iter().filter(|name| l.xattrs.get(*name) != r.xattrs.get(*name)).map(String::as_str).collect();
    let more = if other.len() > NAMES_SHOWN { format!(" and {} more", other.len() - NAMES_SHOWN) } else { String::new() };
    format!("its attributes differ in {}{more}", other[..other.len().min(NAMES_SHOWN)].join(", "))
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
        what.push(other_xattrs(l, r));
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

    #[test]
    fn directories_of_one_side_are_listed_in_the_order_of_their_paths() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        for path in [a.join("x/y"), a.join("z"), b.join("x-1")] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(b.join("z"), "").unwrap();
        fs::write(a.join("z/in"), "").unwrap();
        let told: Vec<String> = compare_trees(&a, &b).unwrap().iter().map(|d| d.path.display().to_string()).filter(|p| p != "/").collect();
        assert_eq!(told, ["/x", "/x/y", "/x-1", "/z", "/z/in"]);
    }

    #[test]
    fn what_is_held_of_differences_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        fs::create_dir_all(&b).unwrap();
        fs::create_dir_all(&a).unwrap();
        for n in 0..100 {
            fs::write(a.join(format!("{n:03}")), "").unwrap();
        }
        let told = compare_within(&a, &b, 5000).unwrap();
        let last = told.last().unwrap();
        assert!(told.len() < 50 && last.what.contains("too many"), "{} {last:?}", told.len());
        let map = |count: usize| (0..count).map(|n| (format!("user.{n}"), vec![0])).collect();
        let entry = |count: usize| Entry { meta: fs::metadata(&a).unwrap(), link: None, xattrs: map(count) };
        assert_eq!(other_xattrs(&entry(3), &entry(4)), "its attributes differ in user.3");
        assert!(other_xattrs(&entry(0), &entry(4000)).len() < 200);
    }
}
