//! How `serve` makes backups by itself.

use model::Fault;
use std::path::{Path, PathBuf};

#[derive(Clone, Debug)]
pub struct Backups {
    pub dir: PathBuf,
    pub every_ms: u64,
    /// How many are kept.
    pub keep: usize,
    /// An alarm, when the last good one is older.
    pub max_age_ms: u64,
    pub keys_for: Option<String>,
}

impl Backups {
    /// Whether they stay when `serve` stops.
    pub fn check(&self) -> Result<(), Fault> {
        if !is_private_tmp(&std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default(), &self.dir) {
            return Ok(());
        }
        let text = format!("{}: systemd made this /tmp for the unit alone, and deletes it when the unit stops", self.dir.display());
        Err(Fault::yours("backup-place", text).hint("name a directory elsewhere, for example --backup /var/backups/afresh"))
    }
}

/// `PrivateTmp=`: the mount that the directory is on has a directory named by systemd as its root.
fn is_private_tmp(mountinfo: &str, dir: &Path) -> bool {
    let mounts = mountinfo.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(3);
        Some((words.next()?, words.next()?))
    });
    let of = mounts.filter(|(_, at)| dir.starts_with(at)).max_by_key(|(_, at)| at.len());
    of.is_some_and(|(root, _)| root.contains("/systemd-private-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_deletes_with_the_unit_is_no_place() {
        let mounts = "25 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n\
            90 25 254:0 /tmp/systemd-private-0f-afresh-serve.service-x/tmp /tmp rw,relatime shared:2 - ext4 /dev/vda rw\n\
            91 25 254:0 /var/tmp/systemd-private-0f-afresh-serve.service-y/tmp /var/tmp rw - ext4 /dev/vda rw\n\
            92 90 0:40 / /tmp/disk rw - tmpfs tmpfs rw\n\
            cut";
        for (dir, is) in [("/tmp/b", true), ("/var/tmp", true), ("/var/backups", false), ("/tmpx", false), ("/tmp/disk/b", false)] {
            assert_eq!(is_private_tmp(mounts, Path::new(dir)), is, "{dir}");
        }
        assert!(!is_private_tmp("", Path::new("/tmp")));
    }
}
