//! Bakes machine images, packs artifacts, and keeps both by digest.
//! It must not decide when to bake or what runs where; it does not print and reads no environment.

pub mod apt;
mod archive;
mod bake;
pub mod emit;
mod erofs;
mod exec;
mod io;
mod locks;
mod manifest;
mod near;
mod pack;
mod packages;
mod progress;
mod scrub;
mod sources;
mod store;
mod tree;

pub use bake::{Baked, Did, bake, bake_fresh};
pub use manifest::{Kind, Manifest, Package};
pub use pack::{Packed, pack};
pub use progress::Progress;
pub use store::{Current, Removed, Store};

use model::{Digest, Fault, ImageName};

/// The image a recipe gave last.
pub fn current(store: &Store, image: &ImageName) -> Result<Option<Digest>, Fault> {
    store.current(image)
}
