//! Who says what of an object: keys, signed statements (in-toto, SLSA, in DSSE envelopes), bills of materials, the signature policy, and
//! whether an image may still come onto new servers. It must not make or change an object.

#![allow(clippy::disallowed_methods, reason = "the store is reached by its paths")]

mod admission;
mod artifact;
mod container;
pub mod dsse;
mod keys;
mod launch_policy;
mod policy;
pub mod statement;

pub use admission::{Use, admit, verify_whole};
pub use artifact::{Packed, attest_artifact, pack, pack_from, pack_with, packed_tarball, verify_artifact};
pub use container::{attest_container, attest_image};
pub use keys::{Key, PublicKey, Signer, is_public_key, own_key, read_signer, signer_path, signing_key, write_signer};
pub use launch_policy::{Blame, blame, may_begin};
pub use policy::{policy_path, read_policy, set_policy_aside, write_policy};
pub use statement::{Policy, Verified, attest, verify_signature};
