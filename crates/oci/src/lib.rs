//! Container images: pulled by digest, verified, their layers flattened into one tree, which becomes an object of the store as every image's
//! does. It must not decide what an image is for; it does not print and reads no environment.

#![allow(clippy::disallowed_methods, reason = "the store is reached by its paths; modules that handle trees deny this")]

mod accounts;
mod artifact;
mod attributes;
mod challenge;
mod cosign;
mod credentials;
mod document;
mod fetch;
mod flatten;
mod http;
mod layer;
mod layout;
mod limits;
mod name;
mod packages;
mod pax;
mod peer;
mod pull;
mod push;
mod registry;
mod source;
mod sparse;
mod tar_entries;
mod tar_header;
mod trouble;
mod workdir;

pub use artifact::{Archive, fetch_link};
pub use cosign::CosignKey;
pub use credentials::is_exposed;
pub use flatten::{Flattened, Tree};
pub use layer::{Layer, Scan, scan, scan_all};
pub use limits::Limits;
pub use pull::{Inspect, Options, Progress, Pulled, Resolved, Unpacked, inputs, pull, resolve, tag_digest};
pub use push::{Pushed, Referrer, push};

/// Bytes as a layer, above what is at `root`. For fuzzing: its digest is not known, so that it is refused at its end at the latest.
#[doc(hidden)]
pub fn unpack_layer(bytes: &[u8], root: &std::path::Path) -> Result<Flattened, model::Fault> {
    let (_held, at) = disk::files::in_memory(bytes)?;
    let digest = disk::files::digest_of(bytes);
    let layer = Layer { digest: digest.clone(), diff_id: digest, at, bytes: bytes.len() as u64 };
    let limits = Limits { plain_bytes: 1 << 20, entries: 1000, ..Limits::default() };
    let scan = scan(&layer, &limits).unwrap_or_default();
    let root = disk::within::Root::open(root)?;
    let mut tree = Tree::begin(&root)?;
    let applied = tree.apply(&layer, &scan, &limits);
    let flat = tree.finish()?;
    applied.map(|()| flat)
}
