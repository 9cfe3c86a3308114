//! Values of secrets on this machine: encrypted at rest, addressed by keyed digests, never shown.
//!
//! ```text
//! DATA/secrets/            root alone (0700)
//!   machine.key            the machine's age identity, made at first use (0600); machine.key.new while it is exchanged
//!   version.key            what versions are digested with, encrypted for the machine
//!   values/SERVICE/VERSION one value, encrypted for the machine: an ordinary age file
//! ```
//!
//! A value is stored for one service: a version that another service stored means nothing to it, whoever knows it. The control plane
//! stores and collects; the keeper reads, also while no control plane runs. Nothing here prints, and no message has a value or its length.

mod age_file;
mod machine_key;
mod protect;
mod rekey;
mod store;
mod value;

pub use age::x25519::Identity;
pub use age_file::{decrypt_with, encrypt_for, identities, is_recipient};
pub use machine_key::is_lost;
pub use protect::protect_memory;
pub use rekey::{Rekeyed, rekey};
pub use store::{Secrets, Stored};
pub use value::Value;
