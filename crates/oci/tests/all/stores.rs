//! A store to pull into, and layers flattened without one.

use crate::images::{Image, Pack};
use disk::files;
use disk::within::Root;
use model::{Fault, ImageName, Layout};
use oci::{Flattened, Layer, Limits, Options, Pulled, Tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;
use store::Store;

/// Waits short enough for a test.
pub fn limits() -> Limits {
    Limits { backoff: Duration::from_millis(5), silence: Duration::from_millis(700), ..Limits::default() }
}

pub struct Place {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

pub fn place() -> Place {
    place_in(&std::env::temp_dir())
}

pub fn place_in(at: &Path) -> Place {
    let dir = tempfile::tempdir_in(at).unwrap();
    let store = Store::open(&Layout::new(dir.path().join("data"))).unwrap();
    Place { dir, store }
}

impl Place {
    pub fn pull(&self, text: &str, options: &Options) -> Result<Pulled, Fault> {
        oci::pull(&self.store, &ImageName::new("app").unwrap(), text, options, &mut |_| Ok(Vec::new()), &mut |_| {})
    }

    pub fn layout(&self, image: &Image) -> String {
        let at = self.dir.path().join("layout");
        let _ = fs::remove_dir_all(&at);
        image.write(&at);
        format!("oci:{}", at.display())
    }

    /// What lies in the store besides its own folders and locks.
    pub fn left(&self) -> Vec<PathBuf> {
        let parts = ["objects", "manifests", "inputs", "current", "work", "layers", "packages"];
        let entries = parts.iter().filter_map(|p| fs::read_dir(self.store.dir(p)).ok()).flatten();
        entries.map(|e| e.unwrap().path()).collect()
    }
}

/// Lays these tars above one another at `root`.
pub fn flatten(dir: &Path, tars: &[Vec<u8>], limits: &Limits) -> Result<Flattened, Fault> {
    let root = dir.join("root");
    fs::create_dir(&root).unwrap();
    let layers: Vec<Layer> = tars
        .iter()
        .enumerate()
        .map(|(n, tar)| {
            let at = dir.join(format!("{n}.tar"));
            let packed = [Pack::Plain, Pack::Gzip, Pack::Zstd][n % 3].pack(tar);
            fs::write(&at, &packed).unwrap();
            Layer { digest: files::digest_of(&packed), diff_id: files::digest_of(tar), at, bytes: packed.len() as u64 }
        })
        .collect();
    let scans = oci::scan_all(&layers, limits)?;
    let root = Root::open(&root)?;
    let mut tree = Tree::begin(&root)?;
    for (layer, scan) in layers.iter().zip(&scans) {
        tree.apply(layer, scan, limits)?;
    }
    let flat = tree.finish()?;
    // The root is there before any layer.
    assert!(flat.entries <= 1 + scans.iter().map(|scan| scan.entries).sum::<u64>(), "more was made than was counted: {flat:?} {scans:?}");
    Ok(flat)
}
