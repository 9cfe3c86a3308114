//! The data directory and its folders, for root's eyes only: journals and logs may hold what customers sent. The directory itself keeps
//! the mode that it has, unless we made it; see `host::identity` for whose it is.

use crate::failure;
use host::identity::Identity;
use model::{Fault, Layout};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

/// Makes what is missing, in a directory that is ours or is nobody's.
pub fn make(layout: &Layout, adopt: bool) -> Result<Identity, Fault> {
    let identity = host::identity::open(layout, adopt)?;
    let folders = [layout.run(), layout.root().join("control"), layout.store(), layout.host(), layout.targets(), layout.proxy()];
    for folder in &folders {
        private(folder)?;
    }
    Ok(identity)
}

fn private(folder: &Path) -> Result<(), Fault> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| failure::io("cannot make", folder, &e))?;
    // It may have been there before, more open than it should be.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(|e| failure::io("cannot close", folder, &e))
}
