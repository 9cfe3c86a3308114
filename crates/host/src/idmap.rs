//! Mounts a tree a second time with the owners of its files mapped into a user namespace: root's files in the image become the
//! instance root's, though the image is shared by all services and owned by root on the host. Changes nothing in it.

use crate::state_files;
use model::Fault;
use rustix::fs::CWD;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

/// `from`, a mount point, is mounted at `to` as well, in this mount namespace.
pub fn mount(from: &Path, user: &OwnedFd, to: &Path) -> Result<(), Fault> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(CWD, from, flags).map_err(|e| state_files::at(from, "cloning the mount", e))?;
    set(&tree, user, 0).map_err(|e| {
        Fault::world("no-idmap", format!("{}: mapping its owners: {e}", from.display()))
            .hint("id-mapped mounts of erofs need Linux 5.19 or later")
            .again(false)
    })?;
    move_mount(&tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|e| state_files::at(to, "mounting", e))
}

/// A directory of the host, that one alone without what is mounted below it, with neither devices, nor programs, nor set-uid bits. `Err`: the
/// filesystem cannot map owners, or the kernel cannot.
pub fn mount_directory(from: &OwnedFd, mapping: &OwnedFd, to: &Path, read_only: bool) -> std::io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(from, "", flags)?;
    let bounds = libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    set(&tree, mapping, bounds | if read_only { libc::MOUNT_ATTR_RDONLY } else { 0 })?;
    Ok(move_mount(&tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

#[allow(unsafe_code, reason = "no crate of ours wraps mount_setattr(2)")]
fn set(tree: &OwnedFd, user: &OwnedFd, more: u64) -> std::io::Result<()> {
    let userns_fd = u64::try_from(user.as_raw_fd()).map_err(std::io::Error::other)?;
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP | more, attr_clr: 0, propagation: libc::MS_PRIVATE, userns_fd };
    // SAFETY: the kernel reads an empty C string and as many bytes of `attr` as the last argument says; both live until it returns.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attr,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
