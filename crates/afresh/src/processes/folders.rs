//! The data directory and its folders, readable by root only: journals and logs may hold what clients sent. The directory itself keeps
//! the mode that it has, unless we made it; see `host::identity` for whose it is.

use crate::failure;
use host::identity::Identity;
use model::{Fault, Layout};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Creates what is missing, in a directory that is ours or empty.
pub fn make(layout: &Layout, adopt: bool) -> Result<Identity, Fault> {
    let identity = host::identity::open(layout, adopt)?;
    let folders = [layout.run(), layout.root().join("control"), layout.store(), layout.host(), layout.targets(), layout.proxy()];
    for folder in &folders {
        private(folder)?;
    }
    Ok(identity)
}

/// The image store's folder, for verbs that need no control plane. A directory that is not there yet, or empty, becomes one of Afresh's
/// by it, so that `up` and `down` know it; one that is there is left as it is, but for a store that others can look into.
pub fn store(layout: &Layout) -> Result<(), Fault> {
    let root = layout.root();
    let is_empty = std::fs::read_dir(root).map_or(!root.exists(), |mut entries| entries.next().is_none());
    if is_empty {
        host::identity::open(layout, false)?;
    }
    let store = layout.store();
    match std::fs::symlink_metadata(&store) {
        // A link may lead to any directory of this machine: what it names is not closed by us.
        Ok(seen) if seen.is_symlink() => Ok(()),
        // A copy on a read-only disk, or another user's, cannot be closed.
        Ok(seen) if seen.mode() & 0o077 == 0 || seen.uid() != nix::unistd::geteuid().as_raw() => Ok(()),
        Ok(_) => match private(&store) {
            Err(fault) if fault.code == "no-permission" => Ok(()),
            done => done,
        },
        Err(_) => private(&store),
    }
}

fn private(folder: &Path) -> Result<(), Fault> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| failure::io("cannot make", folder, &e))?;
    // It may have been there before, more open than it should be.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(|e| failure::io("cannot close", folder, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_link_in_the_store_s_place_names_is_not_closed() {
        let dir = tempfile::tempdir().unwrap();
        let (layout, other) = (Layout::new(dir.path().join("data")), dir.path().join("other"));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        let open = std::fs::Permissions::from_mode(0o755);
        for path in [layout.root(), &other] {
            std::fs::create_dir(path).unwrap();
            std::fs::set_permissions(path, open.clone()).unwrap();
        }
        std::os::unix::fs::symlink(&other, layout.store()).unwrap();
        store(&layout).unwrap();
        assert_eq!(mode(&other), 0o755);
        std::fs::remove_file(layout.store()).unwrap();
        std::fs::create_dir(layout.store()).unwrap();
        std::fs::set_permissions(layout.store(), open).unwrap();
        store(&layout).unwrap();
        assert_eq!(mode(&layout.store()), 0o700);
    }
}
