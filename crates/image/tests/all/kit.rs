//! What tests that bake for real share.

use image::Store;
use model::Layout;
use std::path::{Path, PathBuf};

/// Where the program for measuring lies that is built with the tests.
pub fn factory() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    me.parent().and_then(|d| d.parent()).unwrap().join("examples/factory")
}

/// A store in a data directory of the test's own. A test's `main` is the harness's, so scripts run by the program for measuring.
pub fn store(data: &Path) -> Store {
    image::sandbox_program(&factory());
    Store::open(&Layout::new(data)).unwrap()
}
