//! Unpacks packages into a tree, several at once, so that the tree does not depend on who was first.
//! Paths are resolved in within.rs: no package can write outside the tree.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::deb::Deb;
use disk::files;
use disk::within;
use disk::within::Root;
use model::Fault;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use tar::EntryType;

/// One entry of a package's data part.
#[derive(Clone, Debug)]
pub struct Item {
    /// Below the root, with no dot at its beginning; the root itself is empty.
    pub path: PathBuf,
    pub dir: bool,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
}

/// What a package brought, in the order of its archive.
pub type Items = Vec<Item>;

/// Links that merge the old top directories into /usr, as every release since 2023 has them.
pub const MERGED: [(&str, &str); 4] = [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// The same place by another name is one place.
pub fn canonical(path: &Path) -> PathBuf {
    let mut parts = path.components();
    let first = parts.next().map(|c| c.as_os_str().to_owned());
    match MERGED.iter().find(|(from, _)| first.as_deref().is_some_and(|f| f == *from)) {
        Some((_, to)) if path.components().count() > 1 => Path::new(to).join(parts.as_path()),
        _ => path.to_path_buf(),
    }
}

/// Runs `act` for each of `count` things on every core; the first error by place wins.
pub fn in_parallel<T: Send>(count: usize, act: impl Fn(usize) -> Result<T, Fault> + Sync) -> Result<Vec<T>, Fault> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count.max(1));
    let next = AtomicUsize::new(0);
    let results: Mutex<BTreeMap<usize, Result<T, Fault>>> = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= count {
                        return;
                    }
                    let result = act(n);
                    results.lock().expect("nobody panics with it").insert(n, result);
                }
            });
        }
    });
    results.into_inner().expect("nobody panics with it").into_values().collect()
}

/// Unpacks `debs` (sorted by name) into the tree at `root`; says what each brought, less what another package replaces.
pub fn unpack_all(root: &Root, debs: &[&Deb], told: &(dyn Fn(&str) + Sync)) -> Result<Vec<Items>, Fault> {
    // The largest first, so that no core is left with one at the end.
    let mut order: Vec<usize> = (0..debs.len()).collect();
    order.sort_by_key(|n| std::cmp::Reverse((debs[*n].bytes(), *n)));
    let contested: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let mut unpacked: Vec<(usize, Items)> = in_parallel(order.len(), |n| {
        let deb = debs[order[n]];
        told(deb.field("Package").unwrap_or(""));
        let mut one = Unpack::new(root, deb);
        deb.entries(|entry| one.take(entry, None))?;
        contested.lock().expect("nobody panics with it").extend(one.contested);
        Ok((order[n], one.items))
    })?;
    unpacked.sort_by_key(|(n, _)| *n);
    let mut items: Vec<Items> = unpacked.into_iter().map(|(_, i)| i).collect();
    settle(root, debs, &mut items, &contested.into_inner().expect("nobody panics with it"))?;
    directories(root, &items)?;
    Ok(items)
}

/// What a package would bring, without unpacking it.
pub fn listing(deb: &Deb) -> Result<Items, Fault> {
    let mut items = Items::new();
    deb.entries(|entry| {
        items.push(item(deb, &entry)?);
        Ok(())
    })?;
    Ok(items)
}

fn broken(deb: &Deb, why: impl std::fmt::Display) -> Fault {
    Fault::world("bad-package-file", format!("the package {}: {why} ({})", deb.name(), deb.path().display()))
        .hint("its mirror signed it so: tell whoever made it, and take it out of the image's packages")
        .again(false)
}

fn item<R: Read>(deb: &Deb, entry: &tar::Entry<'_, R>) -> Result<Item, Fault> {
    let name = entry.path().map_err(|e| broken(deb, e))?;
    let mut path = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(p) => path.push(p),
            Component::CurDir => {}
            _ => return Err(broken(deb, format!("its path {} leads out of the tree", name.display()))),
        }
    }
    let h = entry.header();
    let kind = h.entry_type();
    if !matches!(
        kind,
        EntryType::Regular | EntryType::Continuous | EntryType::Directory | EntryType::Symlink | EntryType::Link | EntryType::Fifo
    ) {
        return Err(broken(deb, format!("{} is of kind {kind:?}, which no package should bring", name.display())));
    }
    let number =
        |n: std::io::Result<u64>| n.ok().and_then(|n| u32::try_from(n).ok()).ok_or_else(|| broken(deb, "an entry has no owner or time"));
    Ok(Item {
        path,
        dir: h.entry_type().is_dir(),
        mode: h.mode().map_err(|e| broken(deb, e))? & 0o7777,
        uid: number(h.uid())?,
        gid: number(h.gid())?,
        mtime: i64::try_from(h.mtime().map_err(|e| broken(deb, e))?).unwrap_or(0),
    })
}

struct Unpack<'a> {
    root: &'a Root,
    deb: &'a Deb,
    conffiles: BTreeSet<PathBuf>,
    items: Items,
    contested: BTreeSet<PathBuf>,
    /// The last parent that was opened: archives list a directory's files together.
    parent: Option<(PathBuf, OwnedFd)>,
    buffer: Vec<u8>,
}

impl<'a> Unpack<'a> {
    fn new(root: &'a Root, deb: &'a Deb) -> Self {
        let text = deb.script("conffiles").map(|s| String::from_utf8_lossy(&s.bytes).into_owned()).unwrap_or_default();
        let conffiles =
            text.lines().filter(|l| !l.starts_with("remove-on-upgrade")).map(|l| PathBuf::from(l.trim().trim_start_matches('/'))).collect();
        Unpack { root, deb, conffiles, items: Vec::new(), contested: BTreeSet::new(), parent: None, buffer: vec![0; 1 << 17] }
    }

    fn fail(&self, path: &Path, e: rustix::io::Errno) -> Fault {
        use rustix::io::Errno;
        // What no whole and honest package makes happen in a tree of ours: a link in the way, a path through a file.
        if matches!(e, Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::INVAL | Errno::NAMETOOLONG | Errno::XDEV) {
            return broken(self.deb, format!("/{} cannot be unpacked: {}", path.display(), std::io::Error::from(e)));
        }
        files::fault("cannot unpack", &self.root.path_of(path), &e.into())
    }

    /// Opens (and, where a package left it out, makes) the directory that `path` lies in.
    fn parent(&mut self, path: &Path) -> Result<(), Fault> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.parent.as_ref().is_some_and(|(p, _)| p == parent) {
            return Ok(());
        }
        let open = |p: &Path| self.root.open_dir(p, OFlags::PATH);
        let fd = match open(parent) {
            Err(rustix::io::Errno::NOENT) => {
                let mut at = PathBuf::new();
                for part in parent.components() {
                    let up = open(&at).map_err(|e| self.fail(&at, e))?;
                    at.push(part);
                    let mode = Mode::from_raw_mode(0o755);
                    match rustix::fs::mkdirat(&up, part.as_os_str(), mode) {
                        // Whatever the caller's umask is: no package may come to say what it is.
                        Ok(()) => rustix::fs::chmodat(&up, part.as_os_str(), mode, AtFlags::empty()).map_err(|e| self.fail(&at, e))?,
                        Err(rustix::io::Errno::EXIST) => {}
                        Err(e) => return Err(self.fail(&at, e)),
                    }
                }
                open(parent).map_err(|e| self.fail(parent, e))?
            }
            other => other.map_err(|e| self.fail(parent, e))?,
        };
        self.parent = Some((parent.to_path_buf(), fd));
        Ok(())
    }

    /// `only`: nothing but this place, and over what is there.
    fn take<R: Read>(&mut self, mut entry: tar::Entry<'_, R>, only: Option<&Path>) -> Result<(), Fault> {
        let item = item(self.deb, &entry)?;
        if only.is_some_and(|o| canonical(&item.path) != o) {
            return Ok(());
        }
        if !item.path.as_os_str().is_empty() {
            let mut target = item.path.clone();
            if self.conffiles.contains(&item.path) {
                // dpkg gives it its real name when it configures the package.
                target.as_mut_os_string().push(".dpkg-new");
            }
            self.parent(&target)?;
            if self.place(&mut entry, &item, &target, only.is_some())? == Placed::Taken {
                self.contested.insert(canonical(&item.path));
            }
        }
        if only.is_none() {
            self.items.push(item);
        }
        Ok(())
    }

    fn place<R: Read>(&mut self, entry: &mut tar::Entry<'_, R>, item: &Item, target: &Path, over: bool) -> Result<Placed, Fault> {
        let name = target.file_name().expect("a place below the root has a name").to_owned();
        let (_, parent) = self.parent.take().expect("it was opened just before");
        let done = self.place_in(entry, item, target, &parent, Path::new(&name), over);
        self.parent = Some((target.parent().unwrap_or(Path::new("")).to_path_buf(), parent));
        done
    }

    fn place_in<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        item: &Item,
        target: &Path,
        parent: &OwnedFd,
        name: &Path,
        over: bool,
    ) -> Result<Placed, Fault> {
        use rustix::io::Errno;
        if over && !item.dir {
            match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(self.fail(target, e)),
            }
        }
        let made = match entry.header().entry_type() {
            EntryType::Directory => {
                return match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => Ok(Placed::There),
                    Err(e) => Err(self.fail(target, e)),
                };
            }
            EntryType::Regular | EntryType::Continuous => return self.file(entry, item, target, parent, name),
            EntryType::Symlink => {
                let to = entry.link_name_bytes().unwrap_or_default().into_owned();
                rustix::fs::symlinkat(std::ffi::OsStr::from_bytes(&to), parent, name)
            }
            EntryType::Link => {
                let to = entry.link_name().map_err(|e| broken(self.deb, e))?.unwrap_or_default().into_owned();
                return self.link(&to, target, parent, name);
            }
            EntryType::Fifo => {
                let mode = Mode::from_raw_mode(item.mode);
                rustix::fs::mknodat(parent, name, rustix::fs::FileType::Fifo, mode, 0)
                    .and_then(|()| rustix::fs::chmodat(parent, name, mode, AtFlags::empty()))
            }
            other => unreachable!("{other:?} was refused when the entry was read"),
        };
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => return Ok(Placed::Taken),
            Err(e) => return Err(self.fail(target, e)),
        }
        let (uid, gid) = (Uid::from_raw(item.uid), Gid::from_raw(item.gid));
        rustix::fs::chownat(parent, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.fail(target, e))?;
        rustix::fs::utimensat(parent, name, &within::times(item.mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(|e| self.fail(target, e))?;
        Ok(Placed::There)
    }

    fn file<R: Read>(
        &mut self,
        entry: &mut tar::Entry<'_, R>,
        item: &Item,
        target: &Path,
        parent: &OwnedFd,
        name: &Path,
    ) -> Result<Placed, Fault> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = match rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600)) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::EXIST) => return Ok(Placed::Taken),
            Err(e) => return Err(self.fail(target, e)),
        };
        let mut file = File::from(fd);
        let mut left = entry.size();
        while left > 0 {
            let n = entry.read(&mut self.buffer).map_err(|e| broken(self.deb, e))?;
            if n == 0 {
                return Err(broken(self.deb, format!("{} is cut off", item.path.display())));
            }
            file.write_all(&self.buffer[..n]).map_err(|e| files::fault("cannot unpack", &self.root.path_of(target), &e))?;
            left -= n as u64;
        }
        let finish = || {
            rustix::fs::fchown(file.as_fd(), Some(Uid::from_raw(item.uid)), Some(Gid::from_raw(item.gid)))?;
            // After the owner: giving a file away takes its set-id bits.
            rustix::fs::fchmod(file.as_fd(), Mode::from_raw_mode(item.mode))?;
            rustix::fs::futimens(file.as_fd(), &within::times(item.mtime))
        };
        finish().map_err(|e| self.fail(target, e))?;
        Ok(Placed::There)
    }

    fn link(&mut self, to: &Path, target: &Path, parent: &OwnedFd, name: &Path) -> Result<Placed, Fault> {
        let to: PathBuf = to.components().filter(|c| matches!(c, Component::Normal(_))).collect();
        let from = self.root.open_dir(to.parent().unwrap_or(Path::new("")), OFlags::PATH);
        let last = to.file_name().ok_or_else(|| broken(self.deb, "a hard link names no file"))?;
        match from.and_then(|from| rustix::fs::linkat(&from, last, parent, name, AtFlags::empty())) {
            Ok(()) => Ok(Placed::There),
            Err(rustix::io::Errno::EXIST) => Ok(Placed::Taken),
            Err(e) => Err(self.fail(target, e)),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Placed {
    There,
    /// Something was there before: another package's, or the same link.
    Taken,
}

/// Two packages bring one file: the one that says it replaces the other has it, as with dpkg. Nobody says so: an error.
fn settle(root: &Root, debs: &[&Deb], items: &mut [Items], contested: &BTreeSet<PathBuf>) -> Result<(), Fault> {
    for path in contested {
        let mut claim: Vec<usize> = (0..debs.len()).filter(|n| items[*n].iter().any(|i| !i.dir && &canonical(&i.path) == path)).collect();
        if claim.len() < 2 {
            // The merged directories' own links, or a link that stands where another package has a directory.
            if claim.is_empty() || is_merged(path) {
                continue;
            }
        } else if !is_merged(path) {
            let name = |n: usize| debs[n].field("Package").unwrap_or("");
            let replaces = |a: usize, b: usize| relations(debs[a].field("Replaces")).any(|r| r == name(b));
            claim.sort_by(|a, b| if replaces(*a, *b) { std::cmp::Ordering::Greater } else { std::cmp::Ordering::Less });
            let winner = *claim.last().expect("there are two or more");
            for loser in claim.iter().copied().filter(|n| *n != winner) {
                if !replaces(winner, loser) {
                    return Err(Fault::world(
                        "file-conflict",
                        format!(
                            "/{} is in {} and in {}, and neither says it replaces the other",
                            path.display(),
                            name(winner),
                            name(loser)
                        ),
                    )
                    .hint("take one of the two out of the image's packages")
                    .again(false));
                }
                items[loser].retain(|i| &canonical(&i.path) != path);
            }
            let mut one = Unpack::new(root, debs[winner]);
            debs[winner].entries(|entry| one.take(entry, Some(path)))?;
        }
    }
    Ok(())
}

fn is_merged(path: &Path) -> bool {
    MERGED.iter().any(|(from, _)| path == Path::new(from))
}

/// Names in a field like `Replaces: a (<< 1), b`.
pub fn relations(field: Option<&str>) -> impl Iterator<Item = &str> {
    field.unwrap_or("").split([',', '|']).filter_map(|r| r.trim().split([' ', '(', ':']).next()).filter(|r| !r.is_empty())
}

/// A directory that several packages bring is as the first of them by name says.
fn directories(root: &Root, items: &[Items]) -> Result<(), Fault> {
    let mut dirs: BTreeMap<PathBuf, &Item> = BTreeMap::new();
    for item in items.iter().flatten().filter(|i| i.dir) {
        dirs.entry(canonical(&item.path)).or_insert(item);
    }
    for (path, item) in dirs {
        let act = || {
            let fd = root.open_dir(&path, OFlags::RDONLY)?;
            rustix::fs::fchown(&fd, Some(Uid::from_raw(item.uid)), Some(Gid::from_raw(item.gid)))?;
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(item.mode))
        };
        act().map_err(|e: rustix::io::Errno| files::fault("cannot set the owner of", &root.path_of(&path), &e.into()))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's own tree")]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    /// dpkg-deb packs what lies in `dir/<name>`.
    fn deb(dir: &Path, name: &str, fields: &str, files: &[(&str, &str)]) -> Deb {
        let root = dir.join(name);
        for (path, text) in files {
            fs::create_dir_all(root.join(path).parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(to) => std::os::unix::fs::symlink(to, root.join(path)).unwrap(),
                None => fs::write(root.join(path), text).unwrap(),
            }
        }
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        fs::set_permissions(root.join("DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
        let control = format!("Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\n{fields}Description: d\n");
        fs::write(root.join("DEBIAN/control"), control).unwrap();
        let path = dir.join(format!("{name}.deb"));
        let done = std::process::Command::new("dpkg-deb").args(["-b", "--root-owner-group"]).arg(&root).arg(&path).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Deb::open(&path).unwrap()
    }

    fn tree(dir: &Path) -> PathBuf {
        let root = dir.join("tree");
        for (from, to) in MERGED {
            fs::create_dir_all(root.join(to)).unwrap();
            std::os::unix::fs::symlink(to, root.join(from)).unwrap();
        }
        root
    }

    #[test]
    #[ignore = "needs root: packages' files belong to root"]
    fn who_replaces_wins_and_who_does_not_say_so_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let a = deb(dir.path(), "a", "", &[("usr/share/x/both", "of a"), ("usr/share/x/a", "a")]);
        let b = deb(dir.path(), "b", "Replaces: a (<< 2), c\n", &[("usr/share/x/both", "of b")]);
        let c = deb(dir.path(), "c", "", &[("usr/share/x/both", "of c")]);
        for _ in 0..20 {
            let root = tree(dir.path());
            let items = unpack_all(&Root::open(&root).unwrap(), &[&a, &b], &|_| {}).unwrap();
            assert_eq!(fs::read_to_string(root.join("usr/share/x/both")).unwrap(), "of b");
            assert!(!items[0].iter().any(|i| i.path.ends_with("both")) && items[1].iter().any(|i| i.path.ends_with("both")));
            fs::remove_dir_all(&root).unwrap();
        }
        assert_eq!(unpack_all(&Root::open(&tree(dir.path())).unwrap(), &[&a, &c], &|_| {}).unwrap_err().code, "file-conflict");
    }

    #[test]
    #[ignore = "needs root: packages' files belong to root"]
    fn files_go_where_dpkg_would_put_them() {
        let dir = tempfile::tempdir().unwrap();
        let one = dir.path().join("one");
        fs::create_dir_all(one.join("DEBIAN")).unwrap();
        fs::write(one.join("DEBIAN/conffiles"), "/etc/conf\n").unwrap();
        let deb =
            deb(dir.path(), "one", "", &[("etc/conf", "c"), ("bin/tool", "t"), ("usr/share/d/f", "f"), ("usr/share/d/l", "-> /etc/conf")]);
        let root = tree(dir.path());
        unpack_all(&Root::open(&root).unwrap(), &[&deb], &|_| {}).unwrap();
        assert!(root.join("etc/conf.dpkg-new").exists() && !root.join("etc/conf").exists(), "dpkg names it when it configures");
        assert!(root.join("usr/bin/tool").exists() && root.join("bin").is_symlink(), "the merged directory's link stays");
        assert_eq!(fs::read_link(root.join("usr/share/d/l")).unwrap(), Path::new("/etc/conf"));
        let (seen, from) = (fs::metadata(root.join("usr/share/d/f")).unwrap(), fs::metadata(one.join("usr/share/d/f")).unwrap());
        assert_eq!((seen.uid(), seen.mode() & 0o7777, seen.mtime()), (0, from.mode() & 0o7777, from.mtime()));
    }

    /// A link in one package and a file through it in another: what is outside stays as it is.
    #[test]
    #[ignore = "needs root: packages' files belong to root"]
    fn a_link_out_of_the_tree_leads_back_into_it() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        fs::create_dir(&outside).unwrap();
        let a = deb(dir.path(), "a", "", &[("opt/door", &format!("-> {}", outside.display()))]);
        let b = deb(dir.path(), "b", "", &[("opt/door/evil", "x")]);
        let root = tree(dir.path());
        let _ = unpack_all(&Root::open(&root).unwrap(), &[&a], &|_| {});
        let _ = unpack_all(&Root::open(&root).unwrap(), &[&b], &|_| {});
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    }

    #[test]
    fn one_place_has_one_name() {
        for (path, same) in [
            ("bin/sh", "usr/bin/sh"),
            ("lib64/ld.so", "usr/lib64/ld.so"),
            ("usr/bin/sh", "usr/bin/sh"),
            ("bin", "bin"),
            ("library/x", "library/x"),
        ] {
            assert_eq!(canonical(Path::new(path)), Path::new(same));
        }
        assert_eq!(relations(Some("a (<< 1), b:any | c, ")).collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}
