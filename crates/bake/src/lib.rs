//! Recipe to object: packages are chosen and locked, fetched, unpacked and configured in a sandbox, scrubbed, packed and attested.
//! It must not decide when to bake or what runs where; it does not print and reads no environment.

#![allow(clippy::disallowed_methods, reason = "the store is reached by its paths; modules that handle trees deny this")]

pub mod apt;
mod apt_user;
mod artifact;
mod baked;
mod base;
pub mod build;
mod changes;
mod compare;
mod configure;
mod container;
mod customise;
mod deb;
mod dpkg;
mod exposed;
pub mod fetch;
mod identity;
pub mod index_files;
mod lock_lookup;
mod news;
mod open_image;
pub mod order;
pub mod packages;
mod patches;
pub mod pipeline;
pub mod progress;
mod rebuild;
pub mod recipe;
mod recipe_secrets;
mod rollback_protection;
mod sandbox;
mod scrub;
mod sources;
mod stages;
pub mod tree;
pub mod unpack;
mod version;

pub use artifact::pack_remote;
pub use baked::{Baked, Options};
pub use base::{Base, Bases, From};
pub use changes::{Changes, changes, changes_of_locks};
pub use compare::{Difference, compare_images};
pub use fetch::Fetched;
pub use lock_lookup::find_lock;
pub use news::{News, changes_of_images, fixes, news, news_against, of_packages};
pub use open_image::OpenImage;
pub use pipeline::{Looked, PatchState, bake, bake_fresh, bake_with, build, fetch, lock, look, patch_state};
pub use progress::Progress;
pub use rebuild::{Rebuilt, verify_rebuild};
pub use recipe_secrets::{Part, RecipeSecret, recipe_secrets, refusal};
pub use sandbox::{enter_sandbox, sandbox_program};

use model::{Digest, Fault};
use store::Store;

/// Whether this image was made from this very recipe; false as well if its manifest cannot be read.
pub fn is_of(store: &Store, digest: &Digest, spec: &model::ImageSpec) -> bool {
    store.manifest(digest).is_ok_and(|manifest| manifest.recipe.as_ref() == Some(&recipe::digest(spec)))
}

/// Reads a package that is held in memory as the builder reads one that was fetched: how many entries it would unpack.
#[doc(hidden)]
pub fn read_package(bytes: &[u8]) -> Result<usize, Fault> {
    let (_held, path) = disk::files::in_memory(bytes)?;
    let package = deb::Deb::open(&path)?;
    unpack::listing(&package).map(|entries| entries.len())
}

/// The public key of cosign in this text, in one line.
pub fn cosign_key(text: &str) -> Result<String, Fault> {
    oci::CosignKey::parse(text).map(|key| key.line())
}

/// Those that this machine's policy names, for whatever comes from a registry.
fn cosign_keys(store: &Store) -> Result<Vec<oci::CosignKey>, Fault> {
    let policy = attest::read_policy(store.layout())?.unwrap_or_default();
    policy.cosign.iter().map(|key| oci::CosignKey::parse(key)).collect()
}

/// Whom a recipe believes without a signature, for whoever looks at its images.
pub fn unsigned_note(spec: &model::ImageSpec) -> Option<String> {
    customise::unsigned(&spec.custom)
}
