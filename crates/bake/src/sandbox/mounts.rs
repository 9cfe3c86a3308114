//! What is mounted in the sandbox, and how. Everything is named by descriptors: no path is resolved through a tree that is not ours.

use crate::sandbox::request::at;
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid, makedev, mkdirat, mknodat, openat2, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree, unmount,
};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

const PLAIN: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// Devices that scripts need; none of them keeps anything.
const DEVICES: [(&str, u32, u32); 6] = [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
/// Of /proc: what tells of the host's kernel memory, keys, timers and hardware is not there. Some of it only root may read, which is
/// who a script is where the numbers of users are the host's own.
const MASKED: [&str; 18] = [
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpageflags",
    "pagetypeinfo",
    "slabinfo",
    "vmallocinfo",
    "key-users",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
    "kpagecount",
];
/// And what can be read there and must not be written.
const READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

pub fn make_private() -> Result<(), String> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).map_err(at("cannot make its mounts private"))
}

/// A mount of what lies at a path, seen by nobody yet.
fn copy_of<Fd: AsFd>(dir: Fd, path: &Path) -> rustix::io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    if path.as_os_str().is_empty() { open_tree(dir, path, flags | OpenTreeFlags::AT_EMPTY_PATH) } else { open_tree(dir, path, flags) }
}

#[repr(C)]
struct MountAttr {
    set: u64,
    clear: u64,
    propagation: u64,
    users: u64,
}

/// `mount_setattr` on one mount; rustix does not have it yet.
#[allow(unsafe_code, reason = "the one system call here that no library wraps; its argument is a plain structure that outlives the call")]
fn set_attributes(mount: BorrowedFd<'_>, set: MountAttrFlags, users: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
    let idmap = if users.is_some() { MountAttrFlags::MOUNT_ATTR_IDMAP } else { MountAttrFlags::empty() };
    let attr = MountAttr {
        set: u64::from((set | idmap).bits()),
        clear: 0,
        propagation: 0,
        users: users.map_or(0, |fd| u64::from(fd.as_raw_fd().unsigned_abs())),
    };
    let empty = c"";
    // SAFETY: the descriptor, the empty path and the structure live until the call returns; the kernel reads as many bytes as are named.
    let done = unsafe {
        nix::libc::syscall(
            nix::libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            empty.as_ptr(),
            nix::libc::AT_EMPTY_PATH,
            std::ptr::from_ref(&attr),
            size_of::<MountAttr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

pub fn own_program() -> Option<OwnedFd> {
    let mount = copy_of(CWD, Path::new("/proc/self/exe")).ok()?;
    set_attributes(mount.as_fd(), PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY, None).ok()?;
    Some(mount)
}

fn open(path: &Path) -> std::io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// Whether files there can be seen with the numbers of another user namespace: it depends on the kernel, the filesystem, and whose it is.
/// Err: that is not known.
pub fn can_be_shifted(path: &Path, users: &Path) -> Result<bool, String> {
    let users = open(users).map_err(at("cannot open its user namespace"))?;
    let mount = copy_of(CWD, path).map_err(|e| format!("cannot take hold of {}: {e}", path.display()))?;
    match set_attributes(mount.as_fd(), MountAttrFlags::empty(), Some(users.as_fd())) {
        Ok(()) => Ok(true),
        Err(e) if means_never(&e) => Ok(false),
        Err(e) => Err(format!("cannot map the users of {}: {e}", path.display())),
    }
}

/// mount_setattr(2): no such call or flag (Linux before 5.12), a filesystem that cannot be mapped, one that another user namespace owns.
/// What has another reason, such as too few descriptors, must not lead to a weaker sandbox.
fn means_never(error: &std::io::Error) -> bool {
    use nix::libc::{EINVAL, ENOSYS, EOPNOTSUPP, EPERM};
    matches!(error.raw_os_error(), Some(ENOSYS | EINVAL | EOPNOTSUPP | EPERM))
}

/// A new filesystem, not attached yet.
fn new(kind: &str, options: &[(&str, String)], attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options {
        fsconfig_set_string(&fs, *key, value.as_str())?;
    }
    fsconfig_create(&fs)?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn tmpfs(mode: &str, size: &str, root: u32, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let options = [
        ("mode", mode.into()),
        ("size", size.into()),
        ("nr_inodes", "1000000".into()),
        ("uid", root.to_string()),
        ("gid", root.to_string()),
    ];
    new("tmpfs", &options, attributes)
}

/// A directory right below `dir`, which must be one itself and no link.
fn below(dir: BorrowedFd<'_>, name: &str, is_dir: bool) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let flags = if is_dir { flags | OFlags::DIRECTORY } else { flags };
    openat2(dir, name, flags, Mode::empty(), ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS)
}

fn attach(mount: &OwnedFd, to: BorrowedFd<'_>) -> rustix::io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", to, "", flags)
}

/// Puts a new, all but empty root together, makes it the root of this mount namespace, and lets go of the old one.
/// The tree lies in it as /tree: what runs in the tree sees, as it did before, that it is not at the root of PID 1.
/// `first`: the host's number of the root of `users`; 0: the numbers are the host's own, and files are seen as they are.
pub fn enter(tree: &Path, packages: &Path, users: BorrowedFd<'_>, first: u32) -> Result<(), String> {
    let shift = (first != 0).then_some(users);
    let tree_mount = copy_of(CWD, tree).map_err(at("cannot take hold of the tree"))?;
    set_attributes(tree_mount.as_fd(), MountAttrFlags::MOUNT_ATTR_NODEV, shift).map_err(at("cannot map the tree's users"))?;
    let packages_mount = copy_of(CWD, packages).map_err(at("cannot take hold of the packages"))?;
    set_attributes(packages_mount.as_fd(), PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY, shift)
        .map_err(at("cannot map the packages' users"))?;

    let root = tmpfs("755", "64k", first, PLAIN).map_err(at("cannot make its root"))?;
    mkdirat(&root, "tree", Mode::from_raw_mode(0o755)).map_err(at("cannot make its root"))?;
    let place =
        rustix::fs::open(tree, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).map_err(at("cannot open the tree"))?;
    let dev = devices(first)?;
    attach(&root, place.as_fd()).map_err(at("cannot mount its root"))?;
    let spot = below(root.as_fd(), "tree", true).map_err(at("cannot make its root"))?;
    attach(&tree_mount, spot.as_fd()).map_err(at("cannot mount the tree"))?;

    let into = |mount: &OwnedFd, name: &str| {
        let spot = below(tree_mount.as_fd(), name, true).map_err(|e| format!("/{name} of the tree is not a directory: {e}"))?;
        attach(mount, spot.as_fd()).map_err(|e| format!("cannot mount /{name}: {e}"))
    };
    into(&dev, "dev")?;
    let shm = tmpfs("1777", "256m", first, PLAIN).map_err(at("cannot make /dev/shm"))?;
    attach(&shm, below(dev.as_fd(), "shm", true).map_err(at("cannot make /dev/shm"))?.as_fd()).map_err(at("cannot mount /dev/shm"))?;
    let proc = new("proc", &[], PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC).map_err(at("cannot make /proc"))?;
    into(&proc, "proc")?;
    hide(&proc, &dev)?;
    let run = tmpfs("755", "64m", first, PLAIN).map_err(at("cannot make /run"))?;
    dir(&run, "lock", 0o1777, first)?;
    into(&run, "run")?;
    let tmp = new(
        "tmpfs",
        &[("mode", "1777".into()), ("nr_inodes", "1000000".into()), ("uid", first.to_string()), ("gid", first.to_string())],
        PLAIN,
    )
    .map_err(at("cannot make /tmp"))?;
    dir(&tmp, "packages", 0o755, first)?;
    into(&tmp, "tmp")?;
    let spot = below(tmp.as_fd(), "packages", true).map_err(at("cannot open /tmp/packages"))?;
    attach(&packages_mount, spot.as_fd()).map_err(at("cannot mount /tmp/packages"))?;

    rustix::process::fchdir(&root).map_err(at("cannot enter its root"))?;
    nix::unistd::pivot_root(".", ".").map_err(at("cannot change its root"))?;
    unmount(".", UnmountFlags::DETACH).map_err(at("cannot let go of the old root"))?;
    rustix::process::chdir("/").map_err(at("cannot enter its root"))?;
    set_attributes(root.as_fd(), MountAttrFlags::MOUNT_ATTR_RDONLY, None).map_err(at("cannot close its root"))
}

fn dir(of: &OwnedFd, name: &str, mode: u32, owner: u32) -> Result<(), String> {
    let mode = Mode::from_raw_mode(mode);
    mkdirat(of, name, mode)
        .and_then(|()| rustix::fs::chmodat(of, name, mode, AtFlags::empty()))
        .and_then(|()| rustix::fs::chownat(of, name, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)), AtFlags::empty()))
        .map_err(|e| format!("cannot make the directory {name}: {e}"))
}

/// Root of a user namespace may make no devices: it gets the machine's own, which are the same.
fn devices(owner: u32) -> Result<OwnedFd, String> {
    let fail = |e: rustix::io::Errno| format!("cannot make /dev: {e}");
    let dev = tmpfs("755", "1m", owner, MountAttrFlags::MOUNT_ATTR_NOSUID).map_err(fail)?;
    dir(&dev, "pts", 0o755, owner)?;
    dir(&dev, "shm", 0o1777, owner)?;
    for (name, major, minor) in DEVICES {
        let mode = Mode::from_raw_mode(0o666);
        if mknodat(&dev, name, rustix::fs::FileType::CharacterDevice, mode, makedev(major, minor)).is_ok() {
            rustix::fs::chmodat(&dev, name, mode, AtFlags::empty()).map_err(fail)?;
            rustix::fs::chownat(&dev, name, Some(Uid::from_raw(owner)), Some(Gid::from_raw(owner)), AtFlags::empty()).map_err(fail)?;
        } else {
            mknodat(&dev, name, rustix::fs::FileType::RegularFile, mode, 0).map_err(fail)?;
            let own = copy_of(CWD, &Path::new("/dev").join(name)).map_err(fail)?;
            attach(&own, below(dev.as_fd(), name, false).map_err(fail)?.as_fd()).map_err(fail)?;
        }
    }
    for (to, name) in [("/proc/self/fd", "fd"), ("fd/0", "stdin"), ("fd/1", "stdout"), ("fd/2", "stderr")] {
        symlinkat(to, &dev, name).map_err(fail)?;
    }
    Ok(dev)
}

fn hide(proc: &OwnedFd, dev: &OwnedFd) -> Result<(), String> {
    for name in READ_ONLY {
        let Ok(spot) = below(proc.as_fd(), name, false) else { continue };
        let closed = copy_of(&spot, Path::new(""))
            .map_err(std::io::Error::from)
            .and_then(|own| {
                set_attributes(own.as_fd(), PLAIN | MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_RDONLY, None)
                    .map(|()| own)
            })
            .and_then(|own| Ok(attach(&own, spot.as_fd())?));
        closed.map_err(|e| format!("cannot make /proc/{name} read-only: {e}"))?;
    }
    for name in MASKED {
        let Ok(spot) = below(proc.as_fd(), name, false) else { continue };
        let is_dir =
            rustix::fs::statat(&spot, "", AtFlags::EMPTY_PATH).is_ok_and(|s| rustix::fs::FileType::from_raw_mode(s.st_mode).is_dir());
        let over = if is_dir { tmpfs("555", "4k", 0, PLAIN | MountAttrFlags::MOUNT_ATTR_RDONLY) } else { copy_of(dev, Path::new("null")) };
        over.and_then(|over| attach(&over, spot.as_fd())).map_err(|e| format!("cannot hide /proc/{name}: {e}"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_machine_cannot_do_makes_do_with_less() {
        let of = |code: i32| means_never(&std::io::Error::from_raw_os_error(code));
        use nix::libc::{EBADF, EINVAL, EMFILE, ENOENT, ENOMEM, ENOSYS, EOPNOTSUPP, EPERM};
        assert!([ENOSYS, EINVAL, EOPNOTSUPP, EPERM].into_iter().all(of));
        assert!(![EBADF, EMFILE, ENOENT, ENOMEM].into_iter().any(of));
        let why = can_be_shifted(Path::new("/"), Path::new("/no/such/namespace")).unwrap_err();
        assert!(why.contains("cannot open its user namespace"), "{why}");
        let why = can_be_shifted(Path::new("/no/such/tree"), Path::new("/proc/self/ns/user")).unwrap_err();
        assert!(why.contains("/no/such/tree"), "{why}");
    }
}
