//! Objects by digest: machine images, artifacts, and trees that images are built on. They are packed here, described by manifests and
//! package locks, and removed when nothing uses them. It must not know how an image is baked, or what runs where.

#![allow(clippy::disallowed_methods, reason = "the store is reached by its paths")]

mod archive;
pub mod erofs;
mod gc;
mod ignore;
mod kit_locks;
pub mod lockfile;
pub mod manifest;
mod objects;
mod pack;
mod port;
mod private;
pub mod program;
mod repository;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use archive::plain_mode;
pub use gc::Removed;
pub use ignore::{FILE as IGNORE_FILE, Ignore};
pub use kit_locks::{current_kit_lock, keep_kit_lock, kit_lock_path, kit_locks};
pub use lockfile::{Head, Index, Lock, Locked};
pub use manifest::{Form, Kind, Manifest, Package, Source};
pub use objects::{Current, Did, Store, no_lock, to_json};
pub use pack::{Stored, pack, pack_from, packed_tarball};
pub use private::private_files;
pub use repository::Repository;

/// Unpacks a tarball that is held in memory as an artifact's is, into an empty directory, at most `limit_bytes`.
#[doc(hidden)]
pub fn unpack_tarball(bytes: &[u8], root: &std::path::Path, limit_bytes: u64) -> Result<(), model::Fault> {
    let (_held, path) = disk::files::in_memory(bytes)?;
    archive::unpack(&path, root, limit_bytes)
}
