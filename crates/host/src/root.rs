//! The root of an instance, in a mount namespace of its shim: the image below, a bounded tmpfs above, the owners mapped. All of it is
//! mounted on one empty directory of the host that everybody may traverse, and named relative to it, so that the instance's own root
//! needs no right on the path to it, and its list of mounts names no path of the host.
//!
//! ```text
//! /run/afresh (a tmpfs, seen by this shim alone)
//!   image, code   the objects, owners mapped        upper, work   what the instance writes
//!   root          overlay: upper over image         app           overlay, read-only: code
//!   private, secrets                                see private_files
//! ```

use crate::record::Record;
use crate::userns::Range;
use crate::{etc, idmap, mounts, state_files};
use model::{Fault, Limits};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Empty on the host, and never removed: other data directories use it as well.
const STAGE: &str = "/run/afresh";
pub const ROOT: &str = "root";
/// What an instance may write to `/tmp`, and to its root; these pages count as its memory as well.
pub const SCRATCH_BYTES_MAX: u64 = 1 << 30;

pub struct Root {
    /// What is beside the root, seen by this shim alone.
    pub stage: PathBuf,
    pub path: PathBuf,
    /// The service's own code, to be mounted at `/app`.
    pub code: Option<PathBuf>,
}

/// What an instance may write to its tmpfs.
pub fn scratch_bytes(limits: &Limits) -> u64 {
    (limits.memory_bytes / 2).min(SCRATCH_BYTES_MAX)
}

/// A mount namespace for this thread, with a tmpfs of its own on the stage. Its content disappears with the last process in it.
pub fn stage(options: &str) -> Result<PathBuf, Fault> {
    let stage = PathBuf::from(STAGE);
    let none: Option<&str> = None;
    let no = |doing: &'static str| move |e: nix::Error| state_files::at(Path::new(STAGE), doing, e);
    // The runtime enters a directory of this name whenever it runs something inside, and it does so outside of our mounts.
    state_files::make_dir(&stage.join(ROOT))?;
    unshare(CloneFlags::CLONE_NEWNS).map_err(no("making a mount namespace"))?;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(no("making mounts private"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("scratch"), &stage, Some("tmpfs"), flags, Some(options)).map_err(no("mounting the scratch tmpfs"))?;
    state_files::make_dir(&stage.join(ROOT))?;
    Ok(stage)
}

/// To be called on the main thread of a process that does nothing else: it changes the working directory.
pub fn make(record: &Record, user: &OwnedFd, range: Range) -> Result<Root, Fault> {
    let placement = &record.placement;
    let stage = stage(&format!("size={},mode=0755", scratch_bytes(&record.release.limits)))?;
    for name in ["image", "upper", "work", "code", "none", "app"] {
        state_files::make_dir(&stage.join(name))?;
    }
    idmap::mount(&placement.image_mount, user, &stage.join("image"))?;
    let upper = stage.join("upper");
    own(&upper, range)?;
    write_etc(&upper, record, range)?;
    make_tmp(&upper, range)?;
    let none = MsFlags::empty();
    overlay(&stage, ROOT, "lowerdir=image,upperdir=upper,workdir=work", none)?;
    let code = match &placement.artifact_mount {
        None => None,
        Some(artifact) => {
            idmap::mount(artifact, user, &stage.join("code"))?;
            // Over nothing, so that the instance sees an overlay and not the device below it.
            overlay(&stage, "app", "lowerdir=code:none", MsFlags::MS_RDONLY)?;
            Some(stage.join("app"))
        }
    };
    // Our copies of mounts of objects would keep them busy as long as this process runs; what it uses, it has mounted itself.
    for other in mounts::below(&placement.mounts.canonicalize().unwrap_or_else(|_| placement.mounts.clone())) {
        mounts::unmount(&other)?;
    }
    Ok(Root { path: stage.join(ROOT), code, stage })
}

/// The kernel shows an overlay's directories to its users as they were named: relative to the stage they are single words.
fn overlay(stage: &Path, name: &str, options: &str, flags: MsFlags) -> Result<(), Fault> {
    let no = |doing: &'static str| move |e: std::io::Error| state_files::at(Path::new(STAGE), doing, e);
    // By descriptor and not by name: the shim's working directory is the instance's directory, wherever that is moved.
    let here = File::open(".").map_err(no("opening where we are"))?;
    std::env::set_current_dir(stage).map_err(no("entering"))?;
    let flags = flags | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let made = mount(Some("overlay"), name, Some("overlay"), flags, Some(options));
    rustix::process::fchdir(&here).map_err(|e| no("leaving")(e.into()))?;
    made.map_err(|e| state_files::at(&stage.join(name), "mounting the overlay", e))
}

/// Makes the instance's own root its owner.
fn own(path: &Path, range: Range) -> Result<(), Fault> {
    chown(path, Some(range.0), Some(range.0)).map_err(|e| state_files::at(path, "giving it to the instance", e))
}

/// The runtime gives the tmpfs on `/tmp` the mode of the directory below it, and an image may have any mode there.
fn make_tmp(upper: &Path, range: Range) -> Result<(), Fault> {
    let tmp = upper.join("tmp");
    state_files::make_dir(&tmp)?;
    own(&tmp, range)?;
    std::fs::set_permissions(&tmp, std::fs::Permissions::from_mode(0o1777)).map_err(|e| state_files::at(&tmp, "setting its mode", e))
}

/// In the instance's own layer, over what the image has.
fn write_etc(upper: &Path, record: &Record, range: Range) -> Result<(), Fault> {
    if !record.placement.image_mount.join("etc").is_dir() {
        return Ok(());
    }
    let etc = upper.join("etc");
    state_files::make_dir(&etc)?;
    own(&etc, range)?;
    let put = |name: &str, text: String| {
        std::fs::write(etc.join(name), text).map_err(|e| state_files::at(&etc.join(name), "writing", e))?;
        own(&etc.join(name), range)
    };
    etc::files(record).into_iter().try_for_each(|(name, text)| put(name, text))
}
