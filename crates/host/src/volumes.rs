//! Volumes of an instance: directories of the host, each mounted on the stage with its owner mapped to the service's user, and from there into
//! the root by the runtime. Nothing on the host is given another owner, and the ids of the service's range are on no disk.
//!
//! ```text
//! path ─openat2, no link─▶ the directory ─its mount cloned, owner mapped, nosuid nodev noexec─▶ stage/volumes/NAME ─▶ the place in the root
//! ```

use crate::record::Record;
use crate::{idmap, state_files, userns};
use disk::volume::Directory;
use disk::within::Root as Tree;
use model::{Fault, Volume};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directory itself. `Err` names the volume.
pub fn open(volume: &Volume, mount_point: Option<&str>, data: &Path) -> Result<Directory, Fault> {
    let named = |fault: Fault| Fault { message: format!("volume {}: {}", volume.name, fault.message), ..fault };
    let dir = disk::volume::open(&volume.source, mount_point, data).map_err(named)?;
    dir.must_be_usable(volume).map_err(named)?;
    Ok(dir)
}

/// On the stage, in the shim's own mount namespace; the runtime's mounts of them. `owner`: the service's user and group as the host has them.
/// `code`: what is at `/app`.
pub fn mount(stage: &Path, record: &Record, owner: (u32, u32), code: Option<&Path>) -> Result<Vec<Value>, Fault> {
    let mut mappings = BTreeMap::new();
    let mut mounts = Vec::new();
    // DATA/host/mounts
    let data = record.placement.mounts.ancestors().nth(2).unwrap_or(Path::new("/"));
    for volume in &record.release.volumes {
        must_have_place(volume, code)?;
        let dir = open(volume, record.placement.mount_points.get(&volume.name).map(String::as_str), data)?;
        let ids = (of_disk(dir.owner.0, owner.0), of_disk(dir.owner.1, owner.1));
        let mapping = match mappings.entry(ids) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(new) => new.insert(userns::of_mount((ids.0, owner.0), (ids.1, owner.1))?),
        };
        let place = stage.join("volumes").join(volume.name.as_str());
        state_files::make_dir(&place)?;
        let read_only = is_read_only(record, volume);
        idmap::mount_directory(&dir.fd, mapping, &place, read_only).map_err(|e| {
            Fault::world("no-idmap", format!("volume {}: {}: mapping its owner: {e}", volume.name, volume.source))
                .hint("its filesystem must support id-mapped mounts, as ext4, XFS, Btrfs and tmpfs do: `findmnt -T` shows which it is")
                .again(false)
        })?;
        mounts.push(of_runtime(volume, &place, read_only));
    }
    Ok(mounts)
}

/// A command beside an exclusive server must not be a second writer. A migration runs when the old server is gone.
fn is_read_only(record: &Record, volume: &Volume) -> bool {
    let is_beside = record.once.is_some() && record.group.migration().is_none();
    volume.read_only || record.release.exclusive && is_beside
}

fn of_runtime(volume: &Volume, place: &PathBuf, read_only: bool) -> Value {
    let mode = if read_only { "ro" } else { "rw" };
    json!({ "destination": volume.at, "type": "bind", "source": place, "options": ["bind", mode, "private", "nosuid", "nodev", "noexec"] })
}

/// Which id of the disk the service is. Root's files stay root's: no service is root on a disk. Nobody has an id of a service's range there.
fn of_disk(on_disk: u32, of_service: u32) -> u32 {
    if on_disk == 0 { of_service } else { on_disk }
}

/// The code is read-only, so that no directory can be made in it.
fn must_have_place(volume: &Volume, code: Option<&Path>) -> Result<(), Fault> {
    let (Some(code), Some(within)) = (code, volume.at.strip_prefix("/app/")) else { return Ok(()) };
    if Tree::open(code)?.is_dir(Path::new(within)) {
        return Ok(());
    }
    let said = format!("volume {}: the service's code has no directory {within:?} to mount it on", volume.name);
    Err(Fault::yours("volume-no-place", said)
        .hint(format!("make an empty directory {within:?} in the artifact, or choose a place outside of /app")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{record, release};
    use nix::mount::MsFlags;
    use nix::sched::{CloneFlags, unshare};
    use rustix::fs::{CWD, FileType, RenameFlags, makedev, mknodat, renameat_with};
    use std::fs::File;
    use std::io::ErrorKind;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::process::Command;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    #[test]
    fn root_of_a_disk_is_nobody() {
        assert_eq!((of_disk(1_000, 0x7000_03e8), of_disk(0, 0x7000_03e8)), (1_000, 0x7000_03e8));
    }

    #[test]
    fn a_mount_is_never_more_than_was_said() {
        let volume = Volume {
            name: model::VolumeName::new("uploads").unwrap(),
            source: "/srv/uploads".to_string(),
            at: "/uploads".to_string(),
            read_only: false,
        };
        let options = |read_only| of_runtime(&volume, &"/s".into(), read_only)["options"].to_string();
        for read_only in [true, false] {
            for option in ["nosuid", "nodev", "noexec", "private"] {
                assert!(options(read_only).contains(&format!("\"{option}\"")), "{option}");
            }
        }
        assert!(options(true).contains("\"ro\"") && !options(false).contains("\"ro\""));
        let mut one = record(release(1));
        assert!(!is_read_only(&one, &volume));
        one.once = Some(model::OneShot::of(vec!["true".to_string()]));
        assert!(!is_read_only(&one, &volume), "commands write too");
        one.release.exclusive = true;
        assert!(is_read_only(&one, &volume), "but not beside an exclusive server");
        one.once = None;
        assert!(!is_read_only(&one, &volume));
    }

    /// Of the disk, and of the service on this host.
    const ON_DISK: u32 = 4_711;
    const OF_SERVICE: u32 = 70_000;

    struct Place {
        _dir: tempfile::TempDir,
        base: PathBuf,
        record: Record,
    }

    impl Place {
        /// `base/volume`, of [`ON_DISK`], is the only volume of the record.
        fn new(read_only: bool) -> Self {
            let dir = tempfile::tempdir_in("/var/tmp").unwrap();
            let base = dir.path().to_path_buf();
            for name in ["volume", "outside", "stage", "data/host/mounts"] {
                std::fs::create_dir_all(base.join(name)).unwrap();
            }
            let source = base.join("volume").to_str().unwrap().to_string();
            chown(&source, Some(ON_DISK), Some(ON_DISK)).unwrap();
            let mut record = record(release(1));
            record.placement.mounts = base.join("data/host/mounts");
            let name = model::VolumeName::new("uploads").unwrap();
            record.release.volumes.push(Volume { name, source, at: "/uploads".to_string(), read_only });
            Self { _dir: dir, base, record }
        }

        fn mount(&self) -> Result<PathBuf, Fault> {
            let stage = self.base.join("stage");
            mount(&stage, &self.record, (OF_SERVICE, OF_SERVICE), None).map(|_| stage.join("volumes/uploads"))
        }
    }

    /// In a mount namespace of its own: what it mounts is seen by nobody else.
    fn apart<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let apart = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
            nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            act()
        });
        apart.join().unwrap()
    }

    /// Each bound on its own: the runtime mounts it once more with the same options, which would hide that one is missing here.
    #[test]
    #[ignore = "needs root"]
    fn a_directory_is_mounted_without_devices_programs_and_set_uid_bits_and_its_owner_is_mapped() {
        for read_only in [false, true] {
            let place = Place::new(read_only);
            let volume = place.base.join("volume");
            mknodat(CWD, volume.join("zero"), FileType::CharacterDevice, 0o666.into(), makedev(1, 5)).unwrap();
            std::fs::copy("/bin/true", volume.join("program")).unwrap();
            chown(volume.join("program"), Some(ON_DISK), Some(ON_DISK)).unwrap();
            std::fs::set_permissions(volume.join("program"), PermissionsExt::from_mode(0o6755)).unwrap();
            std::fs::write(volume.join("of-root"), "").unwrap();
            std::fs::create_dir(volume.join("below")).unwrap();
            apart(move || {
                nix::mount::mount(Some("below"), &volume.join("below"), Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
                std::fs::write(volume.join("below/file"), "").unwrap();
                let there = place.mount().unwrap();
                let table = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
                let line = table.lines().find(|line| line.contains(there.to_str().unwrap())).unwrap();
                let options: Vec<&str> = line.split(' ').nth(5).unwrap().split(',').collect();
                let mode = if read_only { "ro" } else { "rw" };
                for option in ["nosuid", "nodev", "noexec", "idmapped", mode] {
                    assert!(options.contains(&option), "{option}: {line}");
                }
                assert!(!line.contains("shared:"), "{line}");
                let denied = Some(ErrorKind::PermissionDenied);
                assert_eq!(File::open(there.join("zero")).err().map(|e| e.kind()), denied, "a device");
                assert_eq!(Command::new(there.join("program")).status().err().map(|e| e.kind()), denied, "a program");
                let owner = |name: &str| std::fs::metadata(there.join(name)).map(|meta| (meta.uid(), meta.gid())).unwrap();
                assert_eq!((owner("program"), owner("of-root")), ((OF_SERVICE, OF_SERVICE), (65_534, 65_534)));
                assert!(!there.join("below/file").exists(), "what is mounted below it");
                if read_only {
                    assert_eq!(File::create(there.join("new")).err().map(|e| e.kind()), Some(ErrorKind::ReadOnlyFilesystem));
                }
            });
        }
    }

    /// Whoever may write around the directory exchanges it with a link while it is mounted, again and again.
    #[test]
    #[ignore = "needs root"]
    fn a_directory_that_is_exchanged_while_it_is_mounted_leads_nowhere_else() {
        let place = Place::new(false);
        let (volume, link) = (place.base.join("volume"), place.base.join("link"));
        std::fs::write(volume.join("own"), "").unwrap();
        std::fs::write(place.base.join("outside/secret"), "").unwrap();
        chown(place.base.join("outside"), Some(ON_DISK), Some(ON_DISK)).unwrap();
        std::os::unix::fs::symlink(place.base.join("outside"), &link).unwrap();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        let attacker = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, &volume, CWD, &link, RenameFlags::EXCHANGE).unwrap();
            }
        });
        let (mounted, refused) = apart(move || {
            let (mut mounted, mut refused, begun) = (0, 0, Instant::now());
            while (mounted < 50 || refused < 50) && begun.elapsed() < Duration::from_secs(60) {
                match place.mount() {
                    Ok(there) => {
                        let names: Vec<_> = std::fs::read_dir(&there).unwrap().map(|entry| entry.unwrap().file_name()).collect();
                        assert_eq!(names, ["own"]);
                        nix::mount::umount(&there).unwrap();
                        mounted += 1;
                    }
                    Err(fault) => {
                        assert_eq!(fault.code, "volume-refused", "{fault:?}");
                        refused += 1;
                        std::thread::yield_now();
                    }
                }
            }
            is_over.store(true, Ordering::Relaxed);
            (mounted, refused)
        });
        attacker.join().unwrap();
        assert!(mounted >= 50 && refused >= 50, "{mounted} mounted, {refused} refused");
    }
}
