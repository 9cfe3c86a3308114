//! Lets apt talk to mirrors as its own user, `_apt`, as it does on any Debian.
//!
//! Whoever answers for a mirror is not trusted, and what parses its answers must not be root. apt gives that to `_apt`, but only where
//! `_apt` reaches the directory that it downloads into, and the store is closed to everybody. So apt runs in a mount namespace where that
//! directory alone is seen a second time, at `/var/lib/apt`, whose own content no apt of ours needs. No path to it appears outside of the
//! namespace, and no other part of the store is seen by `_apt` within. What was downloaded is `_apt`'s until [`take`] made it root's:
//! the namespace has ended by then with every process in it, links are not followed, and only then are its bytes compared.
//!
//! Where apt cannot be confined so (not root, no `_apt`, no right to mount) its own setting says that nobody else is to be used.

use disk::files;
use model::Fault;
use nix::unistd::{Gid, Uid, User};
use rustix::fs::{FileType, Mode, OFlags};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use store::program;

const USER: &str = "_apt";
const SEEN_AT: &str = "/var/lib/apt";
const SCRIPT: &str = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
const UNSHARE: [&str; 6] = ["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"];

/// A directory of ours, and where apt sees it.
pub struct Place {
    dir: PathBuf,
    user: Option<Uid>,
}

impl Place {
    pub fn of(dir: &Path) -> Self {
        Self { dir: dir.to_path_buf(), user: user() }
    }

    /// Where apt sees the directory.
    pub fn seen(&self) -> &Path {
        if self.user.is_some() { Path::new(SEEN_AT) } else { &self.dir }
    }

    /// The setting that goes with it.
    pub fn setting(&self) -> String {
        format!("APT::Sandbox::User \"{}\";\n", if self.user.is_some() { USER } else { "root" })
    }

    /// A program of apt's, which ends with all that it started.
    pub fn command(&self, seconds: u32, name: &str) -> Command {
        if self.user.is_none() {
            return program::command_within(seconds, name);
        }
        let mut c = program::command("unshare");
        c.args(UNSHARE).args(["--", "sh", "-c", SCRIPT, "sh"]).arg(&self.dir).arg(SEEN_AT);
        c.args(["timeout", "--signal=KILL", &seconds.to_string(), name]);
        c
    }

    /// Makes a directory in it that everybody within may look into; "" is the directory itself.
    pub fn make_dir(&self, part: &str) -> Result<(), Fault> {
        let path = self.dir.join(part);
        files::make_dir(&path)?;
        files::set_mode(&path, 0o755)
    }

    /// Makes a directory in it, or gives the directory itself, to whoever downloads.
    pub fn make_dir_for_downloads(&self, part: &str) -> Result<(), Fault> {
        let path = self.dir.join(part);
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&path);
        let given = made.and_then(|()| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)));
        let given = given.and_then(|()| self.user.map_or(Ok(()), |user| std::os::unix::fs::lchown(&path, Some(user.as_raw()), None)));
        given.map_err(files::at("cannot make", &path))
    }
}

/// Whether there is a file; it is root's from now on, and nobody can write to it any more. What is no plain file of one name is removed.
pub fn take(path: &Path) -> Result<bool, Fault> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let opened = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        opened => opened,
    };
    let is_plain = |file: &std::os::fd::OwnedFd| {
        rustix::fs::fstat(file).is_ok_and(|seen| FileType::from_raw_mode(seen.st_mode).is_file() && seen.st_nlink == 1)
    };
    let Some(file) = opened.ok().filter(is_plain) else {
        files::remove_file(path)?;
        return Ok(false);
    };
    let owner = if Uid::effective().is_root() { (Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT)) } else { (None, None) };
    let taken = rustix::fs::fchown(&file, owner.0, owner.1).and_then(|()| rustix::fs::fchmod(&file, Mode::from_raw_mode(0o444)));
    taken.map_err(|e| files::fault("cannot take", path, &e.into()))?;
    Ok(true)
}

/// None: apt cannot be confined here.
fn user() -> Option<Uid> {
    static FOUND: OnceLock<Option<Uid>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let user = User::from_name(USER).ok().flatten().filter(|_| Uid::effective().is_root())?;
        let mut trial = program::command("unshare");
        trial.args(UNSHARE).args(["--", "sh", "-c", SCRIPT, "sh", "/tmp", SEEN_AT, "true"]);
        let can = program::run(&mut trial, "unshare").is_ok_and(|done| done.status.success());
        can.then_some(user.uid).filter(|uid| *uid != Uid::from_raw(0) && Gid::effective() == Gid::from_raw(0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// As a program that answers for a mirror could leave them.
    #[test]
    fn only_a_plain_file_of_one_name_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("elsewhere"), "x").unwrap();
        fs::set_permissions(at("elsewhere"), fs::Permissions::from_mode(0o600)).unwrap();
        assert!(!take(&at("missing")).unwrap());
        symlink(at("elsewhere"), at("link")).unwrap();
        fs::hard_link(at("elsewhere"), at("twice")).unwrap();
        nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "twice", "pipe"] {
            assert!(!take(&at(name)).unwrap() && fs::symlink_metadata(at(name)).is_err(), "{name} is gone");
        }
        assert_eq!(
            (fs::read_to_string(at("elsewhere")).unwrap().as_str(), fs::metadata(at("elsewhere")).unwrap().mode() & 0o777),
            ("x", 0o600)
        );
        assert!(take(&at("elsewhere")).unwrap());
        let seen = fs::metadata(at("elsewhere")).unwrap();
        assert_eq!((seen.mode() & 0o777, seen.uid()), (0o444, Uid::effective().as_raw()));
    }

    #[test]
    fn one_that_cannot_be_confined_says_so_to_apt() {
        let place = Place { dir: "/x".into(), user: None };
        assert_eq!((place.seen(), place.setting().as_str()), (Path::new("/x"), "APT::Sandbox::User \"root\";\n"));
        let place = Place { dir: "/x".into(), user: Some(Uid::from_raw(42)) };
        assert_eq!((place.seen(), place.setting().as_str()), (Path::new("/var/lib/apt"), "APT::Sandbox::User \"_apt\";\n"));
    }
}
