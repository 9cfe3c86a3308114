//! Makes the data directory, for root's eyes only: journals and logs may hold what customers sent.

use crate::failure;
use model::{Fault, Layout};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

pub fn make(layout: &Layout) -> Result<(), Fault> {
    let folders = [
        layout.root().to_path_buf(),
        layout.run(),
        layout.root().join("control"),
        layout.store(),
        layout.host(),
        layout.targets(),
        layout.proxy(),
    ];
    for folder in &folders {
        private(folder)?;
    }
    Ok(())
}

fn private(folder: &Path) -> Result<(), Fault> {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|e| failure::io("cannot make", folder, &e))?;
    // It may have been there before, more open than it should be.
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).map_err(|e| failure::io("cannot close", folder, &e))
}
