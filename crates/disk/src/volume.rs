//! Opens a directory of the host that is to be a volume. Servers write into volumes, so no link on the way to one is followed: one that a
//! server planted would lead anywhere on the host. What is returned is the directory itself, not a path that could change meanwhile.
//! Who may have which directory is not known here.

use model::{Fault, Volume, volume};
use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags, StatxAttributes, StatxFlags, fstat, openat, openat2, statx};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// A path has no more parts: a bound for the way up to the root.
const DEPTH: usize = 512;

pub struct Directory {
    pub fd: OwnedFd,
    /// Who owns it on the host: user and group.
    pub owner: (u32, u32),
}

impl Directory {
    /// Whether a service can have it as this volume. What it wrote into a directory of root's would be root's, set-uid programs too.
    pub fn must_be_usable(&self, volume: &Volume) -> Result<(), Fault> {
        let source = &volume.source;
        if volume.read_only || self.owner.0 != 0 && self.owner.1 != 0 {
            return Ok(());
        }
        let whose = if self.owner.0 == 0 { "belongs to root" } else { "belongs to the group root" };
        Err(Fault::yours("volume-owner", format!("{source} {whose}, and the service would write root's files"))
            .hint(format!("give it to a system user of its own: `useradd --system NAME && chown -R NAME: {source}`")))
    }
}

/// `mount_point`: a directory that must be one, else what is kept on it is not there. `data`: a data directory of ours, which is never a
/// volume, nor in one.
pub fn open(source: &str, mount_point: Option<&str>, data: &Path) -> Result<Directory, Fault> {
    volume::source(source).map_err(Fault::from)?;
    if let Some(point) = mount_point
        && !is_mount_point(&resolve(point)?).map_err(|e| gone(point, &e.to_string()))?
    {
        return Err(gone(point, "nothing is mounted there").hint(format!("mount it: `mount {point}`; `findmnt {point}` shows it then")));
    }
    let fd = resolve(source)?;
    if let Some(point) = mount_point
        && !lies_in(&fd, &resolve(point)?).map_err(|e| gone(source, &e.to_string()))?
    {
        return Err(gone(source, &format!("it is not on what is mounted at {point}")));
    }
    let unreadable = |e: Errno| gone(source, &e.to_string());
    let ours = open_dir(data).map_err(|e| Fault::world("io", format!("{}: {e}", data.display())))?;
    // By what they are, not by their names: a path to either may lead over another mount.
    let (own, of_data) = (id(&fd).map_err(unreadable)?, id(&ours).map_err(unreadable)?);
    if ancestors(&ours).map_err(unreadable)?.contains(&own) || ancestors(&fd).map_err(unreadable)?.contains(&of_data) {
        let said = format!("{source} is the data directory of Afresh, is in it, or holds it");
        return Err(Fault::yours("volume-refused", said).hint("choose a directory of its own, such as /srv/uploads"));
    }
    let stat = fstat(&fd).map_err(unreadable)?;
    Ok(Directory { fd, owner: (stat.st_uid, stat.st_gid) })
}

fn open_dir(path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

fn resolve(path: &str) -> Result<OwnedFd, Fault> {
    let root = open_dir(Path::new("/")).map_err(|e| gone("/", &e.to_string()))?;
    let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(&root, path.trim_start_matches('/'), flags, Mode::empty(), how).map_err(|e| match e {
        Errno::NOENT => gone(path, "there is no such directory")
            .hint(format!("`ls -ld {path}` shows it; was its disk mounted, or the directory moved?")),
        Errno::NOTDIR => Fault::yours("volume-refused", format!("{path} is no directory"))
            .hint("a volume is a directory, and not a file, a device or a socket"),
        Errno::LOOP => Fault::yours("volume-refused", format!("a symbolic link is on the path {path}"))
            .hint(format!("name the directory without links: `realpath {path}` prints its path")),
        Errno::ACCESS => Fault::world("volume-closed", format!("{path}: permission denied")),
        e => gone(path, &e.to_string()),
    })
}

/// Again: it may be mounted a moment later.
fn gone(path: &str, why: &str) -> Fault {
    Fault::world("volume-gone", format!("{path}: {why}"))
}

fn is_mount_point(fd: &OwnedFd) -> rustix::io::Result<bool> {
    let shown = statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS)?;
    Ok(shown.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// By what both are: what was mounted at a path when it was looked at may be unmounted by now.
fn lies_in(fd: &OwnedFd, dir: &OwnedFd) -> rustix::io::Result<bool> {
    Ok(is_mount_point(dir)? && ancestors(fd)?.contains(&id(dir)?))
}

fn id(fd: impl AsFd) -> rustix::io::Result<(u64, u64)> {
    fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}

/// A directory and all that it lies in, by device and inode, up to the root.
fn ancestors(fd: &OwnedFd) -> rustix::io::Result<Vec<(u64, u64)>> {
    let mut all = vec![id(fd)?];
    let mut at = openat(fd, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    while all.len() < DEPTH && all.last() != Some(&id(&at)?) {
        all.push(id(&at)?);
        at = openat(&at, c"..", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn place() -> tempfile::TempDir {
        tempfile::tempdir_in("/var/tmp").unwrap()
    }

    fn code(source: &Path, data: &Path) -> String {
        open(source.to_str().unwrap(), None, data).map_or_else(|fault| fault.code, |_| "taken".to_string())
    }

    /// A server writes into its volume; a later deploy names a path in it.
    #[test]
    fn no_link_on_the_way_is_followed() {
        let (dir, data) = (place(), place());
        let volume = dir.path().join("uploads");
        std::fs::create_dir_all(volume.join("real/in")).unwrap();
        symlink("/etc", volume.join("etc")).unwrap();
        symlink("real", volume.join("short")).unwrap();
        symlink("../../../../..", volume.join("up")).unwrap();
        symlink("/proc/self/root/etc", volume.join("magic")).unwrap();
        for bad in ["etc", "short", "up", "magic", "etc/ssl", "short/in", "up/etc", "real/../etc"] {
            let code = code(&volume.join(bad), data.path());
            assert!(["volume-refused", "bad-path"].contains(&code.as_str()), "{bad}: {code}");
        }
        assert_eq!(code(&volume.join("real/in"), data.path()), "taken");
    }

    #[test]
    fn only_a_directory_is_a_volume_and_never_one_of_ours() {
        let (dir, data) = (place(), place());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, dir.path().join("pipe"), rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        for bad in ["file", "socket", "pipe"] {
            assert_eq!(code(&dir.path().join(bad), data.path()), "volume-refused", "{bad}");
        }
        assert_eq!(code(&dir.path().join("nothing"), data.path()), "volume-gone");
        std::fs::create_dir_all(data.path().join("host/instances")).unwrap();
        let outer = place();
        std::fs::create_dir_all(outer.path().join("data/host")).unwrap();
        for (bad, data) in [
            (data.path().to_path_buf(), data.path()),
            (data.path().join("host/instances"), data.path()),
            (outer.path().to_path_buf(), &*outer.path().join("data/host")),
        ] {
            assert_eq!(code(&bad, data), "volume-refused", "{}", bad.display());
        }
        // The data directory by another name.
        symlink(data.path(), dir.path().join("link")).unwrap();
        assert_eq!(code(&data.path().join("host"), &dir.path().join("link")), "volume-refused");
    }

    #[test]
    fn a_directory_where_nothing_is_mounted_is_no_mount_point() {
        let (dir, data) = (place(), place());
        let text = dir.path().to_str().unwrap();
        let fault = open(text, Some(text), data.path()).err().unwrap();
        assert_eq!((fault.code.as_str(), fault.again), ("volume-gone", true));
        // /proc is one on every host, and this directory is not on it.
        let fault = open(text, Some("/proc"), data.path()).err().unwrap();
        assert!(fault.code == "volume-gone" && fault.message.contains("it is not on what is mounted at /proc"), "{fault:?}");
        let [inner, outer, other] = ["/proc/sys/kernel", "/proc", text].map(|path| open_dir(Path::new(path)).unwrap());
        assert!(lies_in(&inner, &outer).unwrap() && lies_in(&outer, &outer).unwrap());
        assert!(!lies_in(&other, &outer).unwrap() && !lies_in(&outer, &inner).unwrap());
        assert!(!lies_in(&other, &other).unwrap(), "nothing is mounted there any more");
        let owner = open(text, None, data.path()).unwrap().owner;
        assert_eq!(owner, (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    }
}
