//! Bakes machine images, packs artifacts, and keeps both by digest.
//! It must not decide when to bake or what runs where; it does not print and reads no environment.

#![allow(clippy::disallowed_methods, reason = "the store is reached by its paths; modules that handle trees deny this")]

pub mod apt;
mod archive;
mod artifact;
mod attest;
mod attest_disk;
mod bake;
mod base;
mod build;
mod changes;
mod compare;
mod configure;
mod custom;
mod deb;
mod dpkg;
mod dsse;
pub mod emit;
mod erofs;
mod exec;
mod fetch;
mod identity;
mod io;
mod keys;
mod kits;
mod known;
pub mod life;
mod lockfile;
mod locks;
mod manifest;
mod near;
mod order;
mod pack;
mod packages;
mod policy;
mod progress;
mod rebuild;
mod recipe;
mod sandbox;
mod scrub;
mod seen;
mod sources;
mod stages;
mod store;
mod tree;
mod unpack;
mod version;
mod within;

pub use artifact::{attest_artifact, verify_artifact};
pub use attest::{Policy, Verified, attest, verify_signature};
pub use attest_disk::{DiskMade, DiskSaid, MadeOf, admit_disk, attest_disk, attested_beside, rebuild_disk, verify_disk};
pub use bake::{Baked, Did, Looked, Options, PatchState, bake, bake_fresh, bake_with, build, fetch, lock, look, patch_state};
pub use base::{Base, Bases, From};
pub use changes::{Changes, changes, changes_of_locks};
pub use compare::{Difference, compare_images};
pub use fetch::Fetched;
pub use keys::{Key, PublicKey, Signer, is_public_key, own_key, read_signer, signer_path, signing_key, write_signer};
pub use kits::{KitState, MachineKit, Which, kept_kit, kit, kit_lock_path, kit_state, lock_kit};
pub use known::find_lock;
pub use lockfile::{Head, Index, Lock, Locked};
pub use manifest::{Form, Kind, Manifest, Package, Source};
pub use pack::{Packed, pack, pack_with};
pub use policy::{admit, policy_path, read_policy, verify_whole, write_policy};
pub use progress::Progress;
pub use rebuild::{Rebuilt, verify_rebuild};
pub use sandbox::{enter_sandbox, sandbox_program};
pub use store::{Current, Removed, Store};

use model::{Digest, Fault, ImageName};

/// Whether this image was made from this very recipe; false as well if its manifest cannot be read.
pub fn is_of(store: &Store, digest: &Digest, spec: &model::ImageSpec) -> bool {
    store.manifest(digest).is_ok_and(|manifest| manifest.recipe.as_ref() == Some(&recipe::digest(spec)))
}

/// Reads a package that is held in memory as the builder reads one that was fetched: how many entries it would unpack.
#[doc(hidden)]
pub fn read_package(bytes: &[u8]) -> Result<usize, Fault> {
    let (_held, path) = io::in_memory(bytes)?;
    let package = deb::Deb::open(&path)?;
    unpack::listing(&package).map(|entries| entries.len())
}

/// Unpacks a tarball that is held in memory as an artifact's is, into an empty directory, at most so many bytes.
#[doc(hidden)]
pub fn unpack_tarball(bytes: &[u8], root: &std::path::Path, limit_bytes: u64) -> Result<(), Fault> {
    let (_held, path) = io::in_memory(bytes)?;
    archive::unpack(&path, root, limit_bytes)
}

/// Whom a recipe believes without a signature, for whoever looks at its images.
pub fn unsigned_note(spec: &model::ImageSpec) -> Option<String> {
    custom::unsigned(&spec.custom)
}

/// The image a recipe gave last.
pub fn current(store: &Store, image: &ImageName) -> Result<Option<Digest>, Fault> {
    store.current(image)
}
