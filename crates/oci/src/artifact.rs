//! Files that are no container images: a service's code in a registry, or behind a link. Each is compared with its digest before anybody
//! reads it.

use crate::cosign;
use crate::document;
use crate::document::Descriptor;
use crate::fetch;
use crate::http::{Http, Request};
use crate::limits::Limits;
use crate::pull::{Options, registry};
use crate::registry::Registry;
use crate::source::Blobs;
use crate::trouble::{bad, shown};
use disk::files;
use model::{Digest, Fault, Reference};
use sha2::{Digest as _, Sha256};
use std::io::{Read, Write};
use std::path::Path;

/// An archive in a registry: the only layer of what the name leads to.
pub struct Archive {
    from: Registry,
    layer: Descriptor,
    /// What pins it.
    pub manifest: Digest,
}

impl Archive {
    pub fn resolve(reference: &Reference, options: &Options) -> Result<Archive, Fault> {
        let mut from = registry(reference, options)?;
        let (bytes, told) = from.top()?;
        let manifest = files::digest_of(&bytes);
        if let Some(told) = told.filter(|told| *told != manifest) {
            return Err(bad("wrong-digest", format!("what came for {told} has the digest {manifest}")).hint("nothing of it was kept"));
        }
        let layer = document::only_layer(&bytes, &options.limits)?;
        if !options.keys.is_empty() {
            cosign::must_be_signed(&mut from, reference, &[&manifest], &options.keys, &options.limits)?;
        }
        Ok(Archive { from, layer, manifest })
    }

    /// Of the archive's own bytes.
    pub fn sum(&self) -> &Digest {
        &self.layer.digest
    }

    /// Into a new file at `to`; `told` hears how many bytes are there, and of how many.
    pub fn fetch(&mut self, to: &Path, limits: &Limits, told: &mut dyn FnMut(u64, u64)) -> Result<(), Fault> {
        let total = self.layer.size;
        fetch::layer(&mut self.from, &self.layer, to, limits, &mut |have| told(have, total))
    }
}

/// What a link leads to, into a new file at `to`.
pub fn fetch_link(link: &str, sum: &Digest, limits: &Limits, to: &Path, told: &mut dyn FnMut(u64, u64)) -> Result<(), Fault> {
    let answer = Http::new(None, limits)?.of_link().send(&Request { url: link.to_string(), ..Request::default() })?;
    if answer.status != 200 {
        let text = format!("{} answered {} and no archive", shown(link), answer.status);
        return Err(Fault::yours("no-such-link", text).hint("is the link written right? `curl -fLO LINK` asks as we do"));
    }
    let total = answer.header("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut file = files::create_new(to, 0o600)?;
    let (mut body, mut hasher, mut have) = (answer.reader(limits), Sha256::new(), 0u64);
    let mut buffer = vec![0u8; 1 << 17];
    loop {
        let n = match body.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => {
                return Err(
                    Fault::world("blob-truncated", format!("{} broke off: {}", shown(link), shown(&e.to_string()))).hint("try again")
                );
            }
        };
        have += n as u64;
        if have > limits.layer_bytes {
            let text = format!("{} has more than {} bytes", shown(link), limits.layer_bytes);
            return Err(bad("artifact-too-large", text).hint("is it the right link? data belongs into a volume, not into code"));
        }
        file.write_all(&buffer[..n]).map_err(files::at("cannot write", to))?;
        hasher.update(&buffer[..n]);
        told(have, total);
    }
    let found = files::digest_from(hasher);
    if found == *sum {
        return Ok(());
    }
    let text = format!("{} has the digest {found}, and the service file says {sum}", shown(link));
    Err(bad("wrong-digest", text).hint("it was changed since, or cut short; write the new digest only if you know why"))
}
