//! What a place of container images must be able to do: a registry, an OCI layout, an archive of one.

use crate::document::Descriptor;
use model::{Digest, Fault};
use std::io::Read;

/// Bytes of an image by digest. None of them is believed: who asks compares them with the digest.
pub trait Blobs {
    /// What the name leads to, and its digest if the source says one.
    fn top(&mut self) -> Result<(Vec<u8>, Option<Digest>), Fault>;

    /// A manifest that an index lists.
    fn manifest(&mut self, of: &Descriptor) -> Result<Vec<u8>, Fault>;

    /// From this byte on. The number is where it begins in truth: a source may only have the whole.
    fn open(&mut self, of: &Descriptor, from: u64) -> Result<(u64, Box<dyn Read + '_>), Fault>;

    /// Whether who asks would be given this blob, of this size. What cannot be found out is no.
    fn offers(&mut self, of: &Descriptor) -> bool;

    /// Whether a body that broke off may go on at another try.
    fn may_retry(&self) -> bool;
}
