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
    set(&tree, user).map_err(|e| {
        Fault::world("no-idmap", format!("{}: mapping its owners: {e}", from.display()))
            .hint("id-mapped mounts of erofs need Linux 5.19 or later")
            .again(false)
    })?;
    move_mount(&tree, "", CWD, to, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).map_err(|e| state_files::at(to, "mounting", e))
}

#[allow(unsafe_code, reason = "no crate of ours wraps mount_setattr(2)")]
fn set(tree: &OwnedFd, user: &OwnedFd) -> std::io::Result<()> {
    let userns_fd = u64::try_from(user.as_raw_fd()).map_err(std::io::Error::other)?;
    let attr = libc::mount_attr { attr_set: libc::MOUNT_ATTR_IDMAP, attr_clr: 0, propagation: 0, userns_fd };
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
