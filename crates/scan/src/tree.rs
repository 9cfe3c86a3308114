//! Answers of the tree to `guard`: what a configuration file includes, what packages say of files. Links are followed, as the service would, and lead nowhere but into
//! the tree. Files and lists beyond the bounds are not known.

use crate::{checksum, is_over};
use disk::within::Root;
use guard::root::{Checksum, Tree};
use guard::{Fact, Missing};
use rustix::fs::{Dir, FileType, OFlags, fstat};
use rustix::io::Errno;
use std::cell::Cell;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

const NAMES_MAX: usize = 100_000;

/// How much is read of one file, and of all.
#[derive(Clone, Copy)]
pub struct Bounds {
    pub file: u64,
    pub all: u64,
    /// Files and directories.
    pub count: u64,
}

/// For lists of packages: those of a large system are a quarter of it.
pub const LISTS_MAX: Bounds = Bounds { file: 16 << 20, all: 64 << 20, count: 200_000 };
/// For what one configuration file includes: one that includes itself twelve times would be read without end.
pub const INCLUDED_MAX: Bounds = Bounds { file: 1 << 20, all: 8 << 20, count: 200 };

pub struct Answers<'a> {
    root: &'a Root,
    bounds: Bounds,
    left: Cell<u64>,
    count_left: Cell<u64>,
    until: Option<Instant>,
}

impl<'a> Answers<'a> {
    pub fn new(root: &'a Root, bounds: Bounds, until: Option<Instant>) -> Answers<'a> {
        Answers { root, bounds, left: Cell::new(bounds.all), count_left: Cell::new(bounds.count), until }
    }

    /// For the next file that is judged.
    pub fn renew(&self) {
        self.left.set(self.bounds.all);
        self.count_left.set(self.bounds.count);
    }

    fn count(&self) -> Result<(), Errno> {
        if is_over(self.until) {
            return Err(Errno::TIMEDOUT);
        }
        self.count_left.set(self.count_left.get().checked_sub(1).ok_or(Errno::FBIG)?);
        Ok(())
    }

    fn bytes(&self, path: &str) -> Result<Option<Vec<u8>>, Errno> {
        self.count()?;
        let path = relative(path);
        let place = match self.root.open_in(path, OFlags::PATH) {
            Ok(place) => place,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e),
        };
        if !FileType::from_raw_mode(fstat(&place)?.st_mode).is_file() {
            return Ok(None);
        }
        // A pipe in its place by now would keep who opens it waiting.
        let fd = self.root.open_in(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        if !FileType::from_raw_mode(fstat(&fd)?.st_mode).is_file() {
            return Ok(None);
        }
        let limit = self.bounds.file.min(self.left.get());
        let mut bytes = Vec::new();
        File::from(fd).take(limit + 1).read_to_end(&mut bytes).map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
        if bytes.len() as u64 > limit {
            return Err(Errno::FBIG);
        }
        self.left.set(self.left.get() - bytes.len() as u64);
        Ok(Some(bytes))
    }

    fn digits(&self, path: &str, kind: Checksum) -> Result<String, Errno> {
        let path = relative(path);
        let place = self.root.open_in(path, OFlags::PATH)?;
        if !FileType::from_raw_mode(fstat(&place)?.st_mode).is_file() {
            return Err(Errno::NOENT);
        }
        let fd = self.root.open_in(path, OFlags::RDONLY | OFlags::NONBLOCK)?;
        checksum::of(&fd, kind, self.until)
    }

    fn names(&self, path: &str) -> Result<Option<Vec<String>>, Errno> {
        self.count()?;
        let fd = match self.root.open_dir(relative(path), OFlags::RDONLY) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if names.len() == NAMES_MAX {
                return Err(Errno::FBIG);
            }
            // No service is configured by a file whose name is no text.
            names.extend(std::str::from_utf8(name).ok().map(str::to_string));
        }
        names.sort();
        Ok(Some(names))
    }
}

fn relative(path: &str) -> &Path {
    Path::new(path.trim_start_matches('/'))
}

fn fact<T>(answer: Result<T, Errno>) -> Fact<T> {
    answer.map_or_else(|e| Fact::Unknown(Missing(e.to_string())), Fact::Known)
}

impl Tree for Answers<'_> {
    fn read(&self, path: &str) -> Fact<Option<Vec<u8>>> {
        fact(self.bytes(path))
    }

    fn checksum(&self, path: &str, kind: Checksum) -> Fact<String> {
        fact(self.digits(path, kind))
    }

    fn list(&self, path: &str) -> Fact<Option<Vec<String>>> {
        fact(self.names(path))
    }
}
