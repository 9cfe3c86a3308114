//! The world of a root directory: modes of files. What is changed is the file that was found, and not what has its name since.

use crate::world::{Judged, World};
use disk::files;
use disk::within::Root;
use guard::contain::{Call, Setting, State};
use model::Fault;
use rustix::fd::{AsRawFd, OwnedFd};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::path::Path;
use std::time::Duration;

/// By the verdict function: a path within the root.
pub type Judge<'a> = dyn Fn(&str) -> Result<Judged, Fault> + 'a;

pub struct Host<'a> {
    root: Root,
    judge: &'a Judge<'a>,
}

impl<'a> Host<'a> {
    pub fn new(root: &Path, judge: &'a Judge<'a>) -> Result<Host<'a>, Fault> {
        Ok(Host { root: Root::open(root)?, judge })
    }

    /// The setting of the file or directory at a path, and its mode. Neither it nor what leads to it may be a link.
    pub fn mode_of(&self, path: &str) -> Result<(Setting, u32), Fault> {
        let (device, inode, mode) = match self.open(path).and_then(|fd| seen(&fd)) {
            Ok(seen) => seen,
            Err(Errno::INVAL | Errno::LOOP) => {
                let place = self.root.path_of(relative(path));
                let text = format!("{} is no file or directory, or a link is among what leads to it", place.display());
                return Err(Fault::yours("no-such-resource", text).hint(format!("name what it leads to: readlink -f {}", place.display())));
            }
            Err(e) => return Err(files::fault("cannot look at", &self.root.path_of(relative(path)), &e.into())),
        };
        Ok((Setting::FileMode { path: path.to_string(), device, inode }, mode))
    }

    fn open(&self, path: &str) -> rustix::io::Result<OwnedFd> {
        self.root.open_without_links(relative(path), OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn fault(&self, path: &str) -> impl FnOnce(Errno) -> Fault {
        let path = self.root.path_of(relative(path));
        move |e| files::fault("cannot set the mode of", &path, &e.into())
    }
}

/// A path of a finding begins at the root of the tree.
fn relative(path: &str) -> &Path {
    Path::new(path.trim_start_matches('/'))
}

/// Device, inode and mode of a file or directory. A link, a socket or a device is none whose mode is changed here.
fn seen(fd: &OwnedFd) -> rustix::io::Result<(u64, u64, u32)> {
    let stat = rustix::fs::fstat(fd)?;
    let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
    if !kind.is_file() && !kind.is_dir() {
        return Err(Errno::INVAL);
    }
    Ok((stat.st_dev, stat.st_ino, stat.st_mode & 0o7777))
}

impl World for Host<'_> {
    fn state(&self, setting: &Setting) -> Result<State, Fault> {
        let Setting::FileMode { path, device, inode } = setting else { return Ok(State::Gone) };
        match self.open(path).and_then(|fd| seen(&fd)) {
            Ok((at, number, mode)) if (at, number) == (*device, *inode) => Ok(State::Mode(mode)),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => Ok(State::Gone),
            Err(e) => Err(files::fault("cannot look at", &self.root.path_of(relative(path)), &e.into())),
        }
    }

    fn write(&self, call: &Call) -> Result<(), Fault> {
        let text = |name: &str| call.parameters[name].as_str();
        let number = |name: &str| call.parameters[name].as_u64();
        let mode = text("Mode").and_then(|m| u32::from_str_radix(m, 8).ok());
        let wanted = (call.operation == "SetFileMode").then_some(()).and_then(|()| text("Path").zip(number("Device").zip(number("Inode"))));
        let (Some((path, place)), Some(mode)) = (wanted, mode) else {
            return Err(Fault::ours("bad-journal", format!("no change of a host is {} with {}", call.operation, call.parameters)));
        };
        let fd = self.open(path).map_err(self.fault(path))?;
        let (device, inode, _) = seen(&fd).map_err(self.fault(path))?;
        if (device, inode) != place {
            let text = format!("{} is another file than the one that was found", self.root.path_of(relative(path)).display());
            return Err(Fault::yours("file-replaced", text).hint("scan again: nothing was changed"));
        }
        // By the descriptor: the file need not be readable, and opening it for reading could wait.
        let held = format!("/proc/self/fd/{}", fd.as_raw_fd());
        rustix::fs::chmod(held.as_str(), Mode::from_raw_mode(mode)).map_err(self.fault(path))
    }

    fn judge(&self, _: &str, id: &str) -> Result<Judged, Fault> {
        (self.judge)(id)
    }

    fn settles_in(&self, _: &Setting) -> Vec<Duration> {
        Vec::new()
    }
}
