//! What tells a file from another that has its name since: its inode, when that was made, and on which filesystem.

use guard::contain::FileIdentity;
use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, StatxFlags, fstatfs, makedev, statx};
use rustix::io::Errno;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// linux/magic.h. A change of a file's mode makes another inode of it, which is born then.
const OVERLAY: u64 = 0x794c_7630;

/// Identity and mode of a file or directory. A link, a socket or a device is none whose mode is changed here.
pub fn of(fd: impl AsFd) -> rustix::io::Result<(FileIdentity, u32)> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::BTIME | StatxFlags::MNT_ID;
    let stat = statx(&fd, "", AtFlags::EMPTY_PATH, wanted)?;
    let mode = u32::from(stat.stx_mode);
    let kind = FileType::from_raw_mode(mode);
    if !kind.is_file() && !kind.is_dir() {
        return Err(Errno::INVAL);
    }
    let has = |flag: StatxFlags| stat.stx_mask & flag.bits() != 0;
    let keeps_inodes = fstatfs(&fd).is_ok_and(|fs| fs.f_type as u64 & 0xffff_ffff != OVERLAY);
    let born = (has(StatxFlags::BTIME) && keeps_inodes).then(|| format!("{}.{:09}", stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec));
    let device = makedev(stat.stx_dev_major, stat.stx_dev_minor);
    let mount = has(StatxFlags::MNT_ID).then(|| mount(stat.stx_mnt_id)).flatten();
    let filesystem = filesystem(device, mount.as_ref(), born.is_some());
    Ok((FileIdentity { inode: stat.stx_ino, device, born, filesystem }, mode & 0o7777))
}

/// A mounted filesystem, as /proc/self/mountinfo says: where it is mounted, and what from.
struct Mount {
    at: String,
    source: String,
}

fn mount(id: u64) -> Option<Mount> {
    let text = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    text.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut fields = before.split(' ');
        (fields.next()?.parse() == Ok(id)).then_some(())?;
        Some(Mount { at: fields.nth(3)?.to_string(), source: after.split(' ').nth(1)?.to_string() })
    })
}

/// Its UUID, or where it is mounted: there it is known again only by files that say when they were made.
fn filesystem(device: u64, mount: Option<&Mount>, has_births: bool) -> Option<String> {
    // Some filesystems have devices that are no disk's; what they are mounted from is one.
    let disk = mount.and_then(|m| std::fs::metadata(&m.source).ok()).map(|m| m.rdev()).filter(|rdev| *rdev != 0);
    let by_place = || mount.filter(|_| has_births).map(|m| format!("mounted at {}", m.at));
    uuid(&[Some(device), disk]).map(|uuid| format!("UUID {uuid}")).or_else(by_place)
}

fn uuid(devices: &[Option<u64>]) -> Option<String> {
    let names = std::fs::read_dir(Path::new("/dev/disk/by-uuid")).ok()?;
    let is_it = |path: &Path| std::fs::metadata(path).is_ok_and(|found| devices.contains(&Some(found.rdev())));
    names.flatten().find(|name| is_it(&name.path())).and_then(|name| name.file_name().into_string().ok())
}
