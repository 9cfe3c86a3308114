//! How old images are, by the store of this machine.

use crate::context::Context;
use crate::show;
use model::{ImageName, ServiceFile};
use std::collections::BTreeMap;

/// Of the images that are current in the store of this machine. An image that it does not have is baked by the deploy, and is new then.
pub fn ages(context: &Context, file: &ServiceFile) -> BTreeMap<ImageName, u64> {
    let mut ages = BTreeMap::new();
    if context.is_remote() {
        return ages;
    }
    let store = context.layout.store();
    if std::fs::metadata(&store).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return file.images.keys().map(|name| (name.clone(), 0)).collect();
    }
    let Ok(apart) = tempfile::tempdir() else { return ages };
    let Ok(store) = store::Store::open_to_read(&context.layout, apart.path()) else { return ages };
    let now = show::now();
    for name in file.images.keys() {
        let age_s = match store.current(name) {
            Ok(None) => 0,
            Ok(Some(digest)) => match store.manifest(&digest) {
                Ok(manifest) => now.since(manifest.made) / 1000,
                Err(_) => continue,
            },
            Err(_) => continue,
        };
        ages.insert(name.clone(), age_s);
    }
    ages
}
