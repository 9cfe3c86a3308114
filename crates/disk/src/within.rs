//! The only way to touch what lies in a tree that is not trusted. Every path is resolved by the kernel with the tree as its root
//! (`RESOLVE_IN_ROOT`): whatever links scripts and packages made, nothing outside is read, written, or changed.
//! Modules that handle trees use this and no path of `std::fs`; a lint holds them to it.

use crate::files;
use model::Fault;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Deeper than any directory of a package, and less than this process may have open at once.
const DEPTH: usize = 256;

pub struct Root {
    fd: OwnedFd,
    /// For messages only.
    at: PathBuf,
}

/// What [`Root::walk`] shows of one entry: what lies in a directory is shown before the directory.
pub struct Entry<'a> {
    /// From the root on; the root itself is empty.
    pub path: &'a Path,
    pub stat: Stat,
    dir: &'a OwnedFd,
    name: &'a OsStr,
}

impl Entry<'_> {
    pub fn is_dir(&self) -> bool {
        FileType::from_raw_mode(self.stat.st_mode).is_dir()
    }

    /// Of what it is itself, never of what a link leads to.
    pub fn set_time(&self, seconds: i64) -> rustix::io::Result<()> {
        rustix::fs::utimensat(self.dir, self.name, &times(seconds), AtFlags::SYMLINK_NOFOLLOW)
    }
}

pub fn times(seconds: i64) -> Timestamps {
    let t = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: t, last_modification: t }
}

fn or_root(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

/// How often a path is resolved again.
const TRIES: usize = 1_000;

/// `openat2`, again where the kernel asks for it: a `..` cannot be proved to stay within while anything on this machine is renamed or mounted, and
/// it then says EAGAIN (openat2(2)).
fn open_as(dir: impl AsFd, path: impl rustix::path::Arg + Copy, flags: OFlags, how: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    again(|| rustix::fs::openat2(&dir, path, flags | OFlags::CLOEXEC, Mode::empty(), how))
}

fn again<T>(mut tried: impl FnMut() -> rustix::io::Result<T>) -> rustix::io::Result<T> {
    for _ in 1..TRIES {
        match tried() {
            Err(Errno::AGAIN | Errno::INTR) => std::thread::yield_now(),
            opened => return opened,
        }
    }
    tried()
}

impl Root {
    /// `at` is a place of ours.
    pub fn open(at: &Path) -> Result<Root, Fault> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(at, flags, Mode::empty()).map_err(|e| files::fault("cannot open", at, &e.into()))?;
        Ok(Root { fd, at: at.to_path_buf() })
    }

    /// Where we see something, for messages.
    pub fn path_of(&self, path: &Path) -> PathBuf {
        self.at.join(path)
    }

    fn fault<'a>(&'a self, what: &'a str, path: &'a Path) -> impl FnOnce(Errno) -> Fault + 'a {
        move |e| files::fault(what, &self.at.join(path), &e.into())
    }

    /// Links are followed, and lead nowhere but into the tree.
    pub fn open_in(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let how = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        open_as(&self.fd, or_root(path), flags, how)
    }

    /// As [`Root::open_in`], and a link anywhere in the path is an error.
    pub fn open_without_links(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        open_as(&self.fd, or_root(path), flags, ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
    }

    pub fn open_dir(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        self.open_in(path, flags | OFlags::DIRECTORY)
    }

    /// The directory something lies in, and its name there.
    fn place<'a>(&self, path: &'a Path) -> rustix::io::Result<(OwnedFd, &'a OsStr)> {
        let name = path.file_name().ok_or(Errno::INVAL)?;
        Ok((self.open_dir(path.parent().unwrap_or(Path::new("")), OFlags::PATH)?, name))
    }

    /// Whether the directories that lead there are all that: no link is among them.
    pub fn parents_are_dirs(&self, path: &Path) -> bool {
        let parent = path.parent().unwrap_or(Path::new(""));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        open_as(&self.fd, or_root(parent), flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS).is_ok()
    }

    /// Of what lies there itself; None: nothing does.
    pub fn stat(&self, path: &Path) -> Option<Stat> {
        let (dir, name) = self.place(path).ok()?;
        rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()
    }

    pub fn kind(&self, path: &Path) -> Option<FileType> {
        self.stat(path).map(|s| FileType::from_raw_mode(s.st_mode))
    }

    pub fn is_dir(&self, path: &Path) -> bool {
        self.kind(path).is_some_and(FileType::is_dir)
    }

    pub fn is_file(&self, path: &Path) -> bool {
        self.kind(path).is_some_and(FileType::is_file)
    }

    /// With the directories that lead there, each with mode 0755 whatever the umask is; what is there keeps its mode.
    pub fn make_dir(&self, path: &Path) -> Result<(), Fault> {
        let mode = Mode::from_raw_mode(0o755);
        let mut at = PathBuf::new();
        for part in path.components() {
            at.push(part);
            let (dir, name) = self.place(&at).map_err(self.fault("cannot make", &at))?;
            match rustix::fs::mkdirat(&dir, name, mode) {
                Ok(()) => rustix::fs::chmodat(&dir, name, mode, AtFlags::empty()).map_err(self.fault("cannot make", &at))?,
                Err(Errno::EXIST) => {}
                Err(e) => return Err(self.fault("cannot make", &at)(e)),
            }
        }
        self.open_dir(path, OFlags::PATH).map(drop).map_err(self.fault("cannot make", path))
    }

    /// Of a directory or a plain file, not of what a link at this place leads to.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<(), Fault> {
        let act = || {
            let fd = if path.as_os_str().is_empty() {
                self.open_dir(path, OFlags::RDONLY)?
            } else {
                let (dir, name) = self.place(path)?;
                rustix::fs::openat(&dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?
            };
            rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode))
        };
        act().map_err(self.fault("cannot set the mode of", path))
    }

    /// A new file in the place of whatever file or link is there.
    pub fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<(), Fault> {
        let (dir, name) = self.place(path).map_err(self.fault("cannot write", path))?;
        match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(self.fault("cannot write", path)(e)),
        }
        let mut file = self.create(path)?;
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(self.fault("cannot write", path))?;
        file.write_all(bytes).map_err(files::at("cannot write", &self.at.join(path)))
    }

    /// A file where nothing is yet, with mode 0600, to be written.
    pub fn create(&self, path: &Path) -> Result<File, Fault> {
        let act = || {
            let (dir, name) = self.place(path)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600))
        };
        act().map(File::from).map_err(self.fault("cannot write", path))
    }

    /// Into the file that is there: its owner and mode stay.
    pub fn rewrite(&self, path: &Path, bytes: &[u8]) -> Result<(), Fault> {
        let mut file = File::from(self.plain_file(path, OFlags::WRONLY).map_err(self.fault("cannot write", path))?);
        file.set_len(0).and_then(|()| file.write_all(bytes)).map_err(files::at("cannot write", &self.at.join(path)))
    }

    fn plain_file(&self, path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
        let (dir, name) = self.place(path)?;
        // A pipe would keep who opens it waiting.
        let fd = rustix::fs::openat(&dir, name, flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode).is_file() { Ok(fd) } else { Err(Errno::INVAL) }
    }

    /// A plain file's bytes, at most `limit` of them.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Vec<u8>, Fault> {
        let fd = self.plain_file(path, OFlags::RDONLY).map_err(self.fault("cannot read", path))?;
        let mut bytes = Vec::new();
        File::from(fd).take(limit + 1).read_to_end(&mut bytes).map_err(files::at("cannot read", &self.at.join(path)))?;
        if bytes.len() as u64 > limit {
            return Err(Fault::world("too-large", format!("{} is larger than {limit} bytes", self.at.join(path).display())).again(false));
        }
        Ok(bytes)
    }

    pub fn read_link(&self, path: &Path) -> Option<PathBuf> {
        let (dir, name) = self.place(path).ok()?;
        let to = rustix::fs::readlinkat(&dir, name, Vec::new()).ok()?;
        Some(PathBuf::from(OsStr::from_bytes(to.as_bytes())))
    }

    pub fn symlink(&self, to: &str, path: &Path) -> Result<(), Fault> {
        let act = || {
            let (dir, name) = self.place(path)?;
            rustix::fs::symlinkat(to, &dir, name)
        };
        act().map_err(self.fault("cannot make the link", path))
    }

    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), Fault> {
        let act = || {
            let ((from_dir, from), (to_dir, to)) = (self.place(from)?, self.place(to)?);
            rustix::fs::renameat(&from_dir, from, &to_dir, to)
        };
        act().map_err(self.fault("cannot rename to", to))
    }

    /// What lies in a directory. A link in its place is an error.
    pub fn list(&self, path: &Path) -> Result<Vec<(OsString, FileType)>, Fault> {
        self.dir(path).and_then(|fd| names(&fd)).map_err(self.fault("cannot list", path))
    }

    /// As [`Root::list`], and no more than this is held: a directory with more is an error.
    pub fn list_at_most(&self, path: &Path, most: usize) -> Result<Vec<(OsString, FileType)>, Fault> {
        let act = || {
            let fd = self.dir(path)?;
            // The two that each directory has of itself.
            if Dir::read_from(&fd)?.take(most + 3).count() > most + 2 { Ok(None) } else { names(&fd).map(Some) }
        };
        act().map_err(self.fault("cannot list", path))?.ok_or_else(|| {
            let text = format!("{} has more than {most} files", self.at.join(path).display());
            Fault::yours("too-large", text)
        })
    }

    fn dir(&self, path: &Path) -> rustix::io::Result<OwnedFd> {
        let (dir, name) = self.place(path)?;
        rustix::fs::openat(&dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
    }

    /// A file or link; one that is gone is no error.
    pub fn remove_file(&self, path: &Path) -> Result<(), Fault> {
        match self.place(path).and_then(|(dir, name)| rustix::fs::unlinkat(&dir, name, AtFlags::empty())) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(self.fault("cannot remove", path)(e)),
        }
    }

    /// Whatever it is, with all that is in it; what is gone is no error.
    pub fn remove(&self, path: &Path) -> Result<(), Fault> {
        match self.place(path).and_then(|(dir, name)| remove_in(&dir, name, 0)) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(Errno::NAMETOOLONG) => Err(self.too_deep()),
            Err(e) => Err(self.fault("cannot remove", path)(e)),
        }
    }

    /// All that lies in a directory, and not the directory. The caller has seen that it is one: a link would be followed.
    pub fn clear(&self, path: &Path) -> Result<(), Fault> {
        let act = || {
            let dir = self.open_dir(path, OFlags::RDONLY)?;
            names(&dir)?.into_iter().try_for_each(|(name, _)| remove_in(&dir, &name, 0))
        };
        match act() {
            Err(Errno::NAMETOOLONG) => Err(self.too_deep()),
            other => other.map_err(self.fault("cannot empty", path)),
        }
    }

    fn too_deep(&self) -> Fault {
        Fault::world("tree-too-deep", format!("a directory of the tree {} is nested more than {DEPTH} deep", self.at.display()))
            .hint("a script made it without end: take it or its package out of the image")
            .again(false)
    }

    /// Shows everything in the tree; no link is followed.
    pub fn walk(&self, show: &mut dyn FnMut(&Entry) -> rustix::io::Result<()>) -> Result<(), Fault> {
        let mut at = PathBuf::new();
        let walked = self.open_dir(Path::new(""), OFlags::RDONLY).and_then(|root| walk_in(&root, OsStr::new("."), &mut at, 0, show));
        match walked {
            Ok(()) => Ok(()),
            Err(Errno::NAMETOOLONG) => Err(self.too_deep()),
            Err(e) => Err(self.fault("cannot look at", &at)(e)),
        }
    }
}

fn names(fd: &OwnedFd) -> rustix::io::Result<Vec<(OsString, FileType)>> {
    let mut all = Vec::new();
    for entry in Dir::read_from(fd)? {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if name != "." && name != ".." {
            let kind = match entry.file_type() {
                FileType::Unknown => FileType::from_raw_mode(rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?.st_mode),
                known => known,
            };
            all.push((name.to_owned(), kind));
        }
    }
    Ok(all)
}

fn down(dir: impl AsFd, name: &OsStr, depth: usize) -> rustix::io::Result<OwnedFd> {
    if depth > DEPTH {
        return Err(Errno::NAMETOOLONG);
    }
    rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

fn remove_in(dir: &OwnedFd, name: &OsStr, depth: usize) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        other => return other,
    }
    let fd = down(dir, name, depth)?;
    for (inner, _) in names(&fd)? {
        remove_in(&fd, &inner, depth + 1)?;
    }
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

fn walk_in(
    dir: &OwnedFd,
    name: &OsStr,
    at: &mut PathBuf,
    depth: usize,
    show: &mut dyn FnMut(&Entry) -> rustix::io::Result<()>,
) -> rustix::io::Result<()> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        let fd = down(dir, name, depth)?;
        for (inner, _) in names(&fd)? {
            at.push(&inner);
            walk_in(&fd, &inner, at, depth + 1, show)?;
            at.pop();
        }
    }
    show(&Entry { path: at, stat, dir, name })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A link with `..` in it was an error whenever something was mounted beside.
    #[test]
    fn what_the_kernel_wants_asked_again_is_asked_again_and_that_ends() {
        let mut left = 3;
        let mut tried = || {
            left -= 1;
            if left > 0 { Err(Errno::AGAIN) } else { Ok(left) }
        };
        assert_eq!(again(&mut tried), Ok(0));
        assert_eq!(again(|| Err::<(), _>(Errno::AGAIN)), Err(Errno::AGAIN));
        assert_eq!(again(|| Err::<(), _>(Errno::LOOP)), Err(Errno::LOOP));
    }

    #[test]
    fn a_list_has_a_bound() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        for name in ["a", "b", "c"] {
            fs::write(dir.path().join("d").join(name), "").unwrap();
        }
        let root = Root::open(dir.path()).unwrap();
        let at_most = |most| root.list_at_most(Path::new("d"), most).map(|all| all.len()).map_err(|fault| fault.code);
        assert_eq!((at_most(3), at_most(2)), (Ok(3), Err("too-large".to_string())));
    }

    /// A tree full of links to a directory outside, and the same actions as the builder takes, at each of them.
    #[test]
    fn nothing_outside_is_touched_whatever_links_there_are() {
        let dir = tempfile::tempdir().unwrap();
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir_all(outside.join("sub")).unwrap();
        fs::write(outside.join("file"), "kept").unwrap();
        files::set_mode(&outside, 0o700).unwrap();
        fs::create_dir(&tree).unwrap();
        for (name, to) in [
            ("app", outside.clone()),
            ("file", outside.join("file")),
            ("up", PathBuf::from("../outside")),
            ("self", PathBuf::from("/proc/self/root")),
        ] {
            symlink(to, tree.join(name)).unwrap();
        }
        let look = || {
            let m = fs::metadata(&outside).unwrap();
            (
                m.mode(),
                m.mtime(),
                m.mtime_nsec(),
                fs::read_dir(&outside).unwrap().count(),
                fs::read_to_string(outside.join("file")).unwrap(),
            )
        };
        let (before, root) = (look(), Root::open(&tree).unwrap());
        for name in ["app", "up", "file", "self"] {
            let link = Path::new(name);
            assert!(root.kind(link).unwrap().is_symlink());
            assert!(
                root.set_mode(link, 0o755).is_err()
                    && root.list(link).is_err()
                    && root.read(link, 9).is_err()
                    && root.rewrite(link, b"x").is_err()
            );
            for below in ["file", "sub/x", "../outside/file"] {
                let path = link.join(below);
                let _ = (root.write(&path, b"evil", 0o644), root.make_dir(&path), root.set_mode(&path, 0o777), root.remove(&path));
                assert!(root.read(&path, 99).map_or(true, |b| b != b"kept"), "{}", path.display());
                assert!(!root.parents_are_dirs(&path));
            }
            assert_eq!(look(), before, "{name}");
            root.write(link, b"ours", 0o600).unwrap();
            assert_eq!(look(), before, "{name}: the link was replaced, not followed");
        }
        root.walk(&mut |e| e.set_time(7)).unwrap();
        assert_eq!(look(), before);
    }

    #[test]
    fn a_directory_without_end_is_an_error_and_no_crash() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let mut fd = root.open_dir(Path::new(""), OFlags::RDONLY).unwrap();
        for _ in 0..300 {
            rustix::fs::mkdirat(&fd, "d", Mode::from_raw_mode(0o755)).unwrap();
            fd = rustix::fs::openat(&fd, "d", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        assert_eq!(root.walk(&mut |_| Ok(())).unwrap_err().code, "tree-too-deep");
        assert_eq!(root.remove(Path::new("d")).unwrap_err().code, "tree-too-deep");
    }

    #[test]
    fn what_is_written_reads_the_same_and_a_pipe_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        root.make_dir(Path::new("a/b")).unwrap();
        root.write(Path::new("a/b/c"), b"text", 0o640).unwrap();
        root.rewrite(Path::new("a/b/c"), b"x").unwrap();
        assert_eq!(root.read(Path::new("a/b/c"), 9).unwrap(), b"x");
        assert_eq!(root.stat(Path::new("a/b/c")).unwrap().st_mode & 0o7777, 0o640);
        assert_eq!(root.read(Path::new("a/b/c"), 0).unwrap_err().code, "too-large");
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(root.read(Path::new("pipe"), 9).is_err() && root.rewrite(Path::new("pipe"), b"x").is_err());
        root.remove(Path::new("a")).unwrap();
        assert!(root.kind(Path::new("a")).is_none());
    }
}
