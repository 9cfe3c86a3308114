//! Layers into one tree, as the image specification says it ("Applying Changesets"). Paths are resolved in within.rs: nothing outside of the
//! tree is read or written, wherever links lead.
//!
//! ```text
//! for each layer: scan.rs read it ─▶ what it hides of the layers below goes ─▶ its entries, in order ─▶ the directories' times, once, at the end
//! ```
//!
//! * A whiteout hides what the layers below brought and nothing of its own layer, wherever in the layer it stands.
//! * An entry takes the place of whatever is there; a directory in the place of a directory keeps what is in it.
//! * A link among the directories of a path is followed within the tree, as Docker, containerd and umoci do it: images that were not made on
//!   an overlay bring `bin/x` where a lower layer has `bin -> usr/bin`. The last part of a path is never followed.
//! * A device is left out, and so is what it took the place of: a server gets its devices from the runtime, and the device 0:0 would
//!   hide files in the overlay above. Old base images have some, so that it is no error.
//! * Times are whole seconds. A directory that no entry speaks of has mode 0755, belongs to root and is of 1970.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::attributes;
use crate::layer::{Layer, Scan, shown};
use crate::limits::Limits;
use crate::name;
use crate::name::Name;
use crate::tar_entries::{Entries, Entry, Kind};
use crate::trouble::{bad_layer, carry, of_layer, shown_bytes};
use disk::files;
use disk::within::{Root, times};
use model::Fault;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Stat, Uid, XattrFlags};
use rustix::io::Errno;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

struct Dir {
    mtime: i64,
    depth: usize,
}

struct Parent {
    path: PathBuf,
    fd: OwnedFd,
    depth: usize,
}

/// A tree that layers are laid into, one above another.
pub struct Tree<'a> {
    root: &'a Root,
    /// By inode: a directory has one place, by whichever links a path led there.
    dirs: HashMap<u64, Dir>,
    /// The directory that was used last: layers list a directory's files together.
    parent: Option<Parent>,
    left_out: BTreeMap<&'static str, u64>,
}

#[derive(Debug, PartialEq, Eq)]
pub struct Flattened {
    pub entries: u64,
    /// The newest time of a file.
    pub newest: i64,
    /// What was not kept, and how often.
    pub left_out: BTreeMap<&'static str, u64>,
}

impl<'a> Tree<'a> {
    /// `root` is an empty directory of ours.
    pub fn begin(root: &'a Root) -> Result<Tree<'a>, Fault> {
        root.set_mode(Path::new(""), 0o755)?;
        let mut tree = Tree { root, dirs: HashMap::new(), parent: None, left_out: BTreeMap::new() };
        let fd = root.open_dir(Path::new(""), OFlags::RDONLY).map_err(|e| tree.disk(Path::new(""), e))?;
        let stat = rustix::fs::fstat(&fd).map_err(|e| tree.disk(Path::new(""), e))?;
        tree.dirs.insert(stat.st_ino, Dir { mtime: 0, depth: 0 });
        Ok(tree)
    }

    pub fn apply(&mut self, layer: &Layer, scan: &Scan, limits: &Limits) -> Result<(), Fault> {
        self.hide(scan)?;
        self.parent = None;
        layer.entries(limits, |entry, entries| One { layer, tree: self }.take(&entry, entries)).map(drop)
    }

    fn hide(&mut self, scan: &Scan) -> Result<(), Fault> {
        for path in &scan.opaque {
            let is_dir = path.as_os_str().is_empty() || self.root.is_dir(path);
            if is_dir && !self.is_replaced(path, scan) {
                self.root.clear(path)?;
            }
        }
        for path in &scan.whiteouts {
            let parent = path.parent().unwrap_or(Path::new(""));
            if self.root.stat(path).is_some() && !self.is_replaced(parent, scan) {
                self.root.remove(path)?;
            }
        }
        Ok(())
    }

    /// Whether this layer has a directory of its own where a link is now: then nothing behind the link is meant.
    fn is_replaced(&self, path: &Path, scan: &Scan) -> bool {
        path.ancestors().any(|up| scan.dirs.contains(up) && self.root.kind(up).is_some_and(FileType::is_symlink))
    }

    fn disk(&self, path: &Path, e: Errno) -> Fault {
        files::fault("cannot unpack", &self.root.path_of(path), &e.into())
    }

    /// Sets the directories' times, which are changed by what is put into them.
    pub fn finish(self) -> Result<Flattened, Fault> {
        let (mut entries, mut newest) = (0, 0);
        self.root.walk(&mut |entry| {
            entries += 1;
            let mut mtime = entry.stat.st_mtime;
            if entry.is_dir() {
                mtime = self.dirs.get(&entry.stat.st_ino).map_or(0, |dir| dir.mtime);
                entry.set_time(mtime)?;
            }
            newest = newest.max(mtime);
            Ok(())
        })?;
        Ok(Flattened { entries, newest, left_out: self.left_out })
    }
}

/// One layer on its way into the tree.
struct One<'t, 'r, 'l> {
    tree: &'t mut Tree<'r>,
    layer: &'l Layer,
}

/// Where an entry goes.
struct Place<'a> {
    path: &'a Path,
    parent: &'a Parent,
    name: &'a OsStr,
}

impl One<'_, '_, '_> {
    fn bad(&self, path: &Path, why: impl std::fmt::Display) -> Fault {
        bad_layer(&self.layer.digest, format!("/{} {why}", shown(path)))
    }

    fn fail<'s>(&'s self, path: &'s Path) -> impl FnOnce(Errno) -> Fault + 's {
        move |e| match e {
            // What no honest layer makes happen in a tree of ours: a path through a file, or through a link to a place that is not there.
            Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::ISDIR | Errno::INVAL | Errno::NAMETOOLONG | Errno::XDEV | Errno::EXIST => {
                self.bad(path, format!("cannot be unpacked: {}", std::io::Error::from(e)))
            }
            _ => self.tree.disk(path, e),
        }
    }

    fn take<R: Read>(&mut self, entry: &Entry, entries: &mut Entries<R>) -> Result<(), Fault> {
        let Name::Plain(path) = name::of(&entry.name).map_err(|why| bad_layer(&self.layer.digest, why))? else { return Ok(()) };
        if path.as_os_str().is_empty() {
            if entry.kind != Kind::Directory {
                return Err(self.bad(&path, "is the root and no directory"));
            }
            let fd = self.tree.root.open_dir(&path, OFlags::RDONLY).map_err(self.fail(&path))?;
            return self.keep_dir(&fd, entry, &path, 0);
        }
        let parent = self.parent(&path)?;
        let name = path.file_name().expect("a place below the root has a name").to_owned();
        let done = self.put(entry, entries, &Place { path: &path, parent: &parent, name: &name })?;
        // What was removed may be the directory that is kept open, or one above it.
        self.tree.parent = (done == Put::Beside).then_some(parent);
        Ok(())
    }

    /// Opens the directory that `path` lies in, and makes it if no entry did.
    fn parent(&mut self, path: &Path) -> Result<Parent, Fault> {
        let to = path.parent().unwrap_or(Path::new(""));
        if let Some(kept) = self.tree.parent.take_if(|kept| kept.path == to) {
            return Ok(kept);
        }
        let root = self.tree.root;
        let open = |p: &Path| root.open_dir(p, OFlags::PATH);
        let fd = match open(to) {
            Err(Errno::NOENT) => {
                let mut at = PathBuf::new();
                for part in to.components() {
                    let up = open(&at).map_err(self.fail(&at))?;
                    at.push(part);
                    match rustix::fs::mkdirat(&up, part.as_os_str(), Mode::from_raw_mode(0o755)) {
                        Ok(()) => self.made(&up, part.as_os_str(), &at)?,
                        Err(Errno::EXIST) => {}
                        Err(e) => return Err(self.fail(&at)(e)),
                    }
                }
                open(to).map_err(self.fail(to))?
            }
            other => other.map_err(self.fail(to))?,
        };
        let stat = rustix::fs::fstat(&fd).map_err(self.fail(to))?;
        let depth = self.tree.dirs.get(&stat.st_ino).map_or(0, |dir| dir.depth);
        Ok(Parent { path: to.to_path_buf(), fd, depth })
    }

    /// Of a directory that is new: owner and mode whatever the umask is and whatever group the one above hands down, and where it is.
    fn made(&mut self, up: &OwnedFd, name: &OsStr, path: &Path) -> Result<(), Fault> {
        let act = || {
            rustix::fs::chownat(up, name, Some(Uid::ROOT), Some(Gid::ROOT), AtFlags::SYMLINK_NOFOLLOW)?;
            rustix::fs::chmodat(up, name, Mode::from_raw_mode(0o755), AtFlags::empty())?;
            Ok((rustix::fs::fstat(up)?.st_ino, rustix::fs::statat(up, name, AtFlags::SYMLINK_NOFOLLOW)?.st_ino))
        };
        let (above, ino) = act().map_err(self.fail(path))?;
        let depth = self.tree.dirs.get(&above).map_or(0, |dir| dir.depth) + 1;
        // Names are bounded, but a name may begin with a link to a place that is deep already.
        if depth > name::DEPTH {
            return Err(self.bad(path, format!("is nested more than {} deep", name::DEPTH)));
        }
        self.tree.dirs.insert(ino, Dir { mtime: 0, depth });
        Ok(())
    }

    fn put<R: Read>(&mut self, entry: &Entry, entries: &mut Entries<R>, at: &Place) -> Result<Put, Fault> {
        let there = match rustix::fs::statat(&at.parent.fd, at.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(e) => return Err(self.fail(at.path)(e)),
        };
        let is_dir = there.as_ref().is_some_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir());
        if entry.kind == Kind::Directory && is_dir {
            self.dir(entry, at)?;
            return Ok(Put::Beside);
        }
        if let (Kind::HardLink(to), Some(there)) = (&entry.kind, &there)
            && self.is_itself(to, there)
        {
            return Ok(Put::Beside);
        }
        if there.is_some() {
            self.tree.root.remove(at.path)?;
        }
        match &entry.kind {
            Kind::Directory => {
                rustix::fs::mkdirat(&at.parent.fd, at.name, Mode::from_raw_mode(0o755)).map_err(self.fail(at.path))?;
                self.made(&at.parent.fd, at.name, at.path)?;
                self.dir(entry, at)?;
            }
            Kind::File => self.file(entry, entries, at)?,
            Kind::Symlink(to) => self.symlink(entry, to, at)?,
            Kind::HardLink(to) => self.link(to, at)?,
            Kind::Fifo => {
                let mode = Mode::from_raw_mode(entry.mode);
                rustix::fs::mknodat(&at.parent.fd, at.name, FileType::Fifo, mode, 0).map_err(self.fail(at.path))?;
                self.own(entry, at, Some(mode))?;
            }
            Kind::Device => *self.tree.left_out.entry("devices").or_default() += 1,
        }
        Ok(if there.is_some() { Put::Instead } else { Put::Beside })
    }

    fn dir(&mut self, entry: &Entry, at: &Place) -> Result<(), Fault> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&at.parent.fd, at.name, flags, Mode::empty()).map_err(self.fail(at.path))?;
        self.keep_dir(&fd, entry, at.path, at.parent.depth + 1)
    }

    fn keep_dir(&mut self, fd: &OwnedFd, entry: &Entry, path: &Path, depth: usize) -> Result<(), Fault> {
        let stat = rustix::fs::fstat(fd).map_err(self.fail(path))?;
        self.tree.dirs.insert(stat.st_ino, Dir { mtime: entry.mtime, depth });
        self.forget_xattrs(fd).map_err(self.fail(path))?;
        self.describe(fd, entry, path)
    }

    /// What a lower layer said of a directory is replaced with all the rest that it said.
    fn forget_xattrs(&self, fd: &OwnedFd) -> rustix::io::Result<()> {
        let mut names = vec![0u8; 64 << 10];
        let count = match rustix::fs::flistxattr(fd, names.as_mut_slice()) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        for name in names[..count].split(|b| *b == 0).filter(|name| attributes::is_kept(name)) {
            rustix::fs::fremovexattr(fd, OsStr::from_bytes(name))?;
        }
        Ok(())
    }

    /// Owner, mode, extended attributes, in this order: the kernel takes the setuid bit and capabilities away when the owner changes.
    fn describe(&mut self, fd: &impl AsFd, entry: &Entry, path: &Path) -> Result<(), Fault> {
        rustix::fs::fchown(fd, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))).map_err(self.fail(path))?;
        rustix::fs::fchmod(fd, Mode::from_raw_mode(entry.mode)).map_err(self.fail(path))?;
        for (name, value) in &entry.xattrs {
            if !attributes::is_kept(name) {
                *self.tree.left_out.entry("extended attributes").or_default() += 1;
                continue;
            }
            let set = rustix::fs::fsetxattr(fd, OsStr::from_bytes(name), value, XattrFlags::empty());
            set.map_err(|e| self.no_xattr(path, name, e))?;
        }
        Ok(())
    }

    fn no_xattr(&self, path: &Path, name: &[u8], e: Errno) -> Fault {
        let text = format!("the extended attribute {} cannot be kept: {}", shown_bytes(name), std::io::Error::from(e));
        match e {
            Errno::INVAL | Errno::TOOBIG | Errno::RANGE => self.bad(path, text),
            Errno::OPNOTSUPP => Fault::world("no-xattrs", format!("/{}: {text}", shown(path)))
                .hint("choose a --data-dir on a filesystem that has extended attributes, such as ext4 or xfs")
                .again(false),
            e => self.tree.disk(path, e),
        }
    }

    fn file<R: Read>(&mut self, entry: &Entry, entries: &mut Entries<R>, at: &Place) -> Result<(), Fault> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = rustix::fs::openat(&at.parent.fd, at.name, flags, Mode::from_raw_mode(0o600)).map_err(self.fail(at.path))?;
        let file = File::from(made);
        let target = self.tree.root.path_of(at.path);
        let write =
            |place: u64, bytes: &[u8]| file.write_all_at(bytes, place).map_err(|e| carry(files::fault("cannot write", &target, &e)));
        entries.data(entry, write).map_err(|e| of_layer(&self.layer.digest, &self.layer.at, e))?;
        // A hole at its end was not written.
        let end = entry.pieces.iter().rev().find(|piece| piece.bytes > 0).map_or(0, |last| last.at + last.bytes);
        if end < entry.bytes {
            file.set_len(entry.bytes).map_err(files::at("cannot write", &target))?;
        }
        self.describe(&file, entry, at.path)?;
        rustix::fs::futimens(&file, &times(entry.mtime)).map_err(self.fail(at.path))
    }

    fn symlink(&mut self, entry: &Entry, to: &[u8], at: &Place) -> Result<(), Fault> {
        if to.is_empty() || to.len() > name::PATH_BYTES || to.contains(&0) {
            return Err(self.bad(at.path, "is a link to a name that no file can have"));
        }
        rustix::fs::symlinkat(OsStr::from_bytes(to), &at.parent.fd, at.name).map_err(self.fail(at.path))?;
        *self.tree.left_out.entry("extended attributes").or_default() += entry.xattrs.len() as u64;
        self.own(entry, at, None)
    }

    /// Of what cannot be opened.
    fn own(&mut self, entry: &Entry, at: &Place, mode: Option<Mode>) -> Result<(), Fault> {
        let (dir, name) = (&at.parent.fd, at.name);
        let act = || {
            rustix::fs::chownat(dir, name, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)), AtFlags::SYMLINK_NOFOLLOW)?;
            if let Some(mode) = mode {
                rustix::fs::chmodat(dir, name, mode, AtFlags::empty())?;
            }
            rustix::fs::utimensat(dir, name, &times(entry.mtime), AtFlags::SYMLINK_NOFOLLOW)
        };
        act().map_err(self.fail(at.path))
    }

    /// The directory that a hard link's target lies in, and its name there.
    fn target(&self, to: &[u8], from: &Path) -> Result<(OwnedFd, OsString), Fault> {
        let path = name::path(to).map_err(|why| self.bad(from, format!("is a hard link, and {why}")))?;
        let nowhere = || self.bad(from, format!("is a hard link to /{}, which is no file of this layer or one below", shown(&path)));
        let last = path.file_name().ok_or_else(nowhere)?;
        let dir = self.tree.root.open_dir(path.parent().unwrap_or(Path::new("")), OFlags::PATH).map_err(|_| nowhere())?;
        match rustix::fs::statat(&dir, last, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if !FileType::from_raw_mode(stat.st_mode).is_dir() => Ok((dir, last.to_owned())),
            _ => Err(nowhere()),
        }
    }

    fn is_itself(&self, to: &[u8], there: &Stat) -> bool {
        let target = self.target(to, Path::new("")).ok();
        let stat = target.and_then(|(dir, name)| rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW).ok());
        stat.is_some_and(|stat| stat.st_ino == there.st_ino)
    }

    fn link(&mut self, to: &[u8], at: &Place) -> Result<(), Fault> {
        let (dir, name) = self.target(to, at.path)?;
        rustix::fs::linkat(&dir, &name, &at.parent.fd, at.name, AtFlags::empty()).map_err(self.fail(at.path))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Put {
    Beside,
    /// In the place of something that was removed.
    Instead,
}
