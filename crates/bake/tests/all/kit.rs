//! What tests that bake for real share.

use model::Layout;
use std::fs;
use std::path::{Path, PathBuf};
use store::Store;

/// Where the program for measuring lies that is built with the tests.
pub fn factory() -> PathBuf {
    let me = std::env::current_exe().unwrap();
    me.parent().and_then(|d| d.parent()).unwrap().join("examples/factory")
}

/// A store in a data directory of the test's own. A test's `main` is the harness's, so scripts run by the program for measuring.
pub fn store(data: &Path) -> Store {
    bake::sandbox_program(&factory());
    Store::open(&Layout::new(data)).unwrap()
}

/// How often a test kills: `AFRESH_KILLS` (ARCHITECTURE, "Tests").
pub fn kills() -> usize {
    std::env::var("AFRESH_KILLS").map_or(20, |text| text.parse().expect("AFRESH_KILLS is a number"))
}

/// Package files that were fetched by any test, by their SHA-256. Whoever uses one reads it whole and compares.
fn fetched() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages");
    fs::create_dir_all(&dir).unwrap();
    dir
}

fn link_all(from: &Path, to: &Path, wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_str().unwrap();
        if path.is_file() && name.ends_with(".deb") && wanted(name) && !to.join(name).exists() {
            // A file of another filesystem, which cannot be linked, comes whole or not at all.
            let half = to.join(format!("{name}.{}", std::process::id()));
            fs::hard_link(&path, &half).or_else(|_| fs::copy(&path, &half).map(drop)).unwrap();
            fs::rename(&half, to.join(name)).unwrap();
        }
    }
}

/// Gives a data directory the package files that other tests fetched, so that the mirror is asked once for each.
pub fn lend(data: &Path) {
    lend_some(data, |_| true);
}

pub fn lend_some(data: &Path, wanted: impl Fn(&str) -> bool) {
    let packages = data.join("store/packages");
    fs::create_dir_all(&packages).unwrap();
    link_all(&fetched(), &packages, wanted);
}

/// Keeps what a data directory fetched for other tests.
pub fn keep(data: &Path) {
    link_all(&data.join("store/packages"), &fetched(), |_| true);
}

/// A data directory of a test's own that begins with the packages that others fetched.
pub struct Data(tempfile::TempDir);

impl Data {
    pub fn new() -> Data {
        let dir = tempfile::tempdir().unwrap();
        lend(dir.path());
        Data(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        keep(self.path());
    }
}
