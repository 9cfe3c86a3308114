//! The world of a root directory: modes of files. What is changed is the file that was found, and not what has its name since.

use crate::identity;
use crate::world::{Judged, World};
use disk::files;
use disk::within::Root;
use guard::contain::{Call, FileIdentity, Setting, State};
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
        let (identity, mode) = match self.open(path).and_then(identity::of) {
            Ok(seen) => seen,
            Err(Errno::INVAL | Errno::LOOP) => {
                let place = self.root.path_of(relative(path));
                let text = format!("{} is no file or directory, or a link is among what leads to it", place.display());
                return Err(Fault::yours("no-such-resource", text).hint(format!("name what it leads to: readlink -f {}", place.display())));
            }
            Err(e) => return Err(files::fault("cannot look at", &self.root.path_of(relative(path)), &e.into())),
        };
        Ok((Setting::FileMode { path: path.to_string(), identity }, mode))
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

impl World for Host<'_> {
    fn state(&self, setting: &Setting) -> Result<State, Fault> {
        let Setting::FileMode { path, identity } = setting else { return Ok(State::Gone) };
        match self.open(path).and_then(identity::of) {
            Ok((found, mode)) if found.is(identity) => Ok(State::Mode(mode)),
            Ok(_) | Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::INVAL) => Ok(State::Gone),
            Err(e) => Err(files::fault("cannot look at", &self.root.path_of(relative(path)), &e.into())),
        }
    }

    fn write(&self, call: &Call) -> Result<(), Fault> {
        let text = |name: &str| call.parameters[name].as_str().filter(|_| call.operation == "SetFileMode");
        let mode = text("Mode").and_then(|m| u32::from_str_radix(m, 8).ok());
        let recorded = serde_json::from_value::<FileIdentity>(call.parameters["Identity"].clone());
        let (Some(path), Some(mode), Ok(recorded)) = (text("Path"), mode, recorded) else {
            return Err(Fault::ours("bad-journal", format!("no change of a host is {} with {}", call.operation, call.parameters)));
        };
        let fd = self.open(path).map_err(self.fault(path))?;
        let (found, _) = identity::of(&fd).map_err(self.fault(path))?;
        if !found.is(&recorded) {
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

    /// Nothing has the name, in a directory of the same filesystem: one that is not mounted now has its files still.
    fn is_gone(&self, setting: &Setting, _: (&str, &str)) -> Result<bool, Fault> {
        let Setting::FileMode { path, identity: FileIdentity { filesystem: Some(recorded), .. } } = setting else { return Ok(false) };
        if self.open(path).err() != Some(Errno::NOENT) {
            return Ok(false);
        }
        let parents = path.match_indices('/').map(|(at, _)| &path[..at]).rev();
        let first = parents.map(|parent| self.open(parent).and_then(identity::of)).find(|found| *found != Err(Errno::NOENT));
        Ok(first.is_some_and(|found| found.is_ok_and(|(found, _)| found.filesystem.as_ref() == Some(recorded))))
    }

    fn settles_in(&self, _: &Setting) -> Vec<Duration> {
        Vec::new()
    }
}
