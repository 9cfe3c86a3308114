//! Mounts of erofs objects, once per digest and shared by instances. What only one instance uses is mounted by its shim, in the
//! shim's own mount namespace, and so can never be left behind.

use crate::{command, state_files};
use model::{Digest, Fault, Layout};
use nix::mount::{MntFlags, umount2};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(30);

pub fn root(layout: &Layout) -> PathBuf {
    layout.host().join("mounts")
}

pub fn place(layout: &Layout, digest: &Digest) -> PathBuf {
    root(layout).join(digest.hex())
}

/// Mount points of this thread's namespace below a directory, innermost last.
pub fn below(directory: &Path) -> Vec<PathBuf> {
    let text = std::fs::read("/proc/thread-self/mountinfo").unwrap_or_default();
    parse(&String::from_utf8_lossy(&text)).into_iter().filter(|point| point.starts_with(directory)).collect()
}

/// Field 5 of each line of mountinfo, with its octal escapes undone.
fn parse(mountinfo: &str) -> Vec<PathBuf> {
    mountinfo.lines().filter_map(|line| line.split(' ').nth(4)).map(|field| PathBuf::from(unescape(field))).collect()
}

fn unescape(field: &str) -> String {
    let mut out: Vec<u8> = Vec::new();
    let bytes = field.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        let octal = field.get(i + 1..i + 4).filter(|_| bytes[i] == b'\\').and_then(|digits| u8::from_str_radix(digits, 8).ok());
        out.push(octal.unwrap_or(bytes[i]));
        i += if octal.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Digests that are mounted now.
pub fn mounted(layout: &Layout) -> BTreeSet<String> {
    below(&canonical(&root(layout))).iter().filter_map(|p| p.file_name()?.to_str().map(str::to_string)).collect()
}

/// Places where one object is mounted over another, once for each surplus mount.
pub fn doubled(layout: &Layout) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    below(&canonical(&root(layout))).into_iter().filter(|point| !seen.insert(point.clone())).collect()
}

/// The kernel names mount points by their real path.
fn canonical(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// True: it was mounted now; false: it was already. The caller holds the object's lock.
pub fn ensure(layout: &Layout, digest: &Digest) -> Result<bool, Fault> {
    let place = place(layout, digest);
    state_files::make_dir(&place)?;
    if below(&canonical(&root(layout))).contains(&canonical(&place)) {
        return Ok(false);
    }
    let object = layout.object(digest);
    let mut mount = Command::new("mount");
    mount.args(["-t", "erofs", "-o", "loop,ro,nosuid,nodev,noatime"]).arg(&object).arg(&place);
    command::must(&mut mount, "", WITHIN).map_err(|fault| {
        Fault::world("object-not-mountable", fault.message).hint("check that this kernel has erofs and loop devices: `afresh doctor`")
    })?;
    Ok(true)
}

/// The loop device is removed with its mount. Running instances keep what they have mounted.
pub fn unmount(point: &Path) -> Result<(), Fault> {
    umount2(point, MntFlags::MNT_DETACH).map_err(|e| state_files::at(point, "unmounting", e))
}

/// Loop devices with a backing file below a directory: device and file.
pub fn loops(directory: &Path) -> Vec<(String, PathBuf)> {
    state_files::names(Path::new("/sys/block"))
        .into_iter()
        .filter(|name| name.starts_with("loop"))
        .filter_map(|name| {
            let file = std::fs::read_to_string(format!("/sys/block/{name}/loop/backing_file")).ok()?;
            let file = PathBuf::from(file.trim_end_matches('\n').trim_end_matches(" (deleted)"));
            file.starts_with(directory).then_some((format!("/dev/{name}"), file))
        })
        .collect()
}

pub fn detach_loop(device: &str) -> Result<(), Fault> {
    command::must(Command::new("losetup").args(["-d", device]), "", WITHIN).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_read_with_its_escapes() {
        let text = "22 1 7:0 / /d/host/mounts/aa ro - erofs /dev/loop0 ro\n23 1 0:5 / /with\\040space\\134x rw - tmpfs t rw\nshort\n";
        assert_eq!(parse(text), [PathBuf::from("/d/host/mounts/aa"), PathBuf::from("/with space\\x")]);
        assert_eq!(unescape("a\\9"), "a\\9");
    }
}
