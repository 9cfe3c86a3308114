//! The walk: directory by directory, files before directories, names in order as far as a bounded list of them can be sorted. It opens
//! what is to be read and reads nothing.

use crate::filesystem::{self, Mounted};
use crate::job::{Job, What};
use guard::root::Exposure;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, fstat, openat2, statat};
use rustix::io::Errno;
use std::ffi::CString;

/// Deeper than any directory of a package, and less than this process may have open at once.
const DEPTH_MAX: usize = 256;
/// Names that are held of one directory at a time.
const NAMES: usize = 1024;
/// What a mode gives to other accounts; and of a directory, to pass through it.
const OTHERS: u32 = 0o007;
const PASS: u32 = 0o001;
const AS_ROOT: &str = "run the scan as root";

/// Nobody takes any more.
pub struct Stopped;

struct Walk<'a> {
    give: &'a mut dyn FnMut(Job) -> Result<(), Stopped>,
    /// Of the root.
    device: u64,
}

/// A directory that is walked.
#[derive(Clone, Copy)]
struct Place {
    device: u64,
    depth: usize,
    /// Other accounts cannot pass through it, or through one above it: what is in it is as if its mode gave them nothing. The root itself is
    /// passed by whoever is in it.
    is_closed: bool,
}

/// `root`: opened to be read.
pub fn walk(root: OwnedFd, give: &mut dyn FnMut(Job) -> Result<(), Stopped>) -> Result<(), Stopped> {
    let device = fstat(&root).map(|stat| stat.st_dev).unwrap_or_default();
    Walk { give, device }.directory(root, "", Place { device, depth: 0, is_closed: false })
}

impl Walk<'_> {
    fn directory(&mut self, fd: OwnedFd, path: &str, place: Place) -> Result<(), Stopped> {
        let shown = if path.is_empty() { "/" } else { path };
        let mut dir = match Dir::new(fd) {
            Ok(dir) => dir,
            Err(e) => return self.unseen(shown, &format!("the directory cannot be listed: {e}"), AS_ROOT),
        };
        loop {
            let mut names: Vec<CString> = Vec::new();
            let mut broken = None;
            while names.len() < NAMES {
                match dir.read() {
                    Some(Ok(entry)) if !matches!(entry.file_name().to_bytes(), b"." | b"..") => names.push(entry.file_name().to_owned()),
                    Some(Ok(_)) => {}
                    Some(Err(e)) => {
                        broken = Some(e);
                        break;
                    }
                    None => break,
                }
            }
            let is_last = names.len() < NAMES;
            if let Ok(here) = dir.fd() {
                names.sort_unstable();
                self.entries(here, path, &names, place)?;
            }
            if let Some(e) = broken {
                return self.unseen(shown, &format!("the directory cannot be listed to its end: {e}"), "check the disk");
            }
            if is_last {
                return Ok(());
            }
        }
    }

    fn entries(&mut self, here: impl AsFd, path: &str, names: &[CString], place: Place) -> Result<(), Stopped> {
        let mut directories = Vec::new();
        let is_mounted = place.device != self.device;
        for name in names {
            let inside = format!("{path}/{}", text(name.to_bytes()));
            let stat = match statat(&here, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                // It was removed since it was listed.
                Err(Errno::NOENT) => continue,
                Err(e) => {
                    self.unseen(&inside, &e.to_string(), AS_ROOT)?;
                    continue;
                }
            };
            let mode = if place.is_closed { stat.st_mode & !OTHERS } else { stat.st_mode };
            let owner = stat.st_uid;
            match FileType::from_raw_mode(mode) {
                FileType::Directory => {
                    (self.give)(Job { path: inside.clone(), mode, owner, size: 0, is_mounted, what: What::Directory })?;
                    let is_closed = place.is_closed || mode & PASS == 0;
                    directories.push((name, inside, Place { device: stat.st_dev, depth: place.depth + 1, is_closed }));
                }
                FileType::RegularFile => {
                    let what = match open(&here, name, OFlags::NONBLOCK) {
                        Ok(fd) if fstat(&fd).is_ok_and(|now| FileType::from_raw_mode(now.st_mode).is_file()) => What::File(fd),
                        Ok(_) | Err(Errno::NOENT | Errno::LOOP) => continue,
                        Err(e) => What::Unreadable(e),
                    };
                    let size = u64::try_from(stat.st_size).unwrap_or_default();
                    (self.give)(Job { path: inside, mode, owner, size, is_mounted, what })?;
                }
                _ => {}
            }
        }
        directories.into_iter().try_for_each(|(name, inside, its)| self.enter(&here, name, &inside, (place.device, its)))
    }

    fn enter(&mut self, here: impl AsFd, name: &CString, path: &str, (above, place): (u64, Place)) -> Result<(), Stopped> {
        if place.depth > DEPTH_MAX {
            return self.unseen(path, &format!("it lies more than {DEPTH_MAX} directories deep"), format!("scan it by itself: {path}"));
        }
        let fd = match open(here, name, OFlags::DIRECTORY) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP | Errno::NOTDIR) => return Ok(()),
            Err(e) => return self.unseen(path, &format!("the directory cannot be opened: {e}"), AS_ROOT),
        };
        if above != place.device {
            match filesystem::of(&fd) {
                Some(Mounted::MadeUp) => return Ok(()),
                Some(Mounted::Remote) => {
                    let fix = format!("scan it by itself, where it is: {path}");
                    return self.unseen(path, "another machine or program serves this mount, and may never answer", fix);
                }
                Some(Mounted::Disk) | None => {}
            }
        }
        self.directory(fd, path, place)
    }

    fn unseen(&mut self, path: &str, cause: &str, fix: impl Into<String>) -> Result<(), Stopped> {
        let what = What::Unseen(Exposure::unread(path, cause, fix));
        (self.give)(Job { path: path.to_string(), mode: 0, owner: 0, size: 0, is_mounted: false, what })
    }
}

/// To be read; when it was last read stays as it is, where that is ours to say.
fn open(dir: impl AsFd, name: &CString, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(&dir, name, flags | OFlags::NOATIME, Mode::empty(), how) {
        Err(Errno::PERM) => openat2(&dir, name, flags, Mode::empty(), how),
        other => other,
    }
}

/// A name as text: bytes that are none are written `\xff`.
fn text(name: &[u8]) -> String {
    let mut text = String::with_capacity(name.len());
    for piece in name.utf8_chunks() {
        text.push_str(piece.valid());
        piece.invalid().iter().for_each(|byte| text.push_str(&format!("\\x{byte:02x}")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn any_name_is_shown() {
        assert_eq!(text(b"a\xff\xfeb"), "a\\xff\\xfeb");
        assert_eq!(text("ä\n".as_bytes()), "ä\n");
    }
}
