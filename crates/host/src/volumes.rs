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
}
