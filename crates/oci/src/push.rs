//! An OCI layout of one image into a registry, and what is said of it beside it: referrers, each an artifact whose subject is the image.
//! A blob that is there is not sent again.

use crate::document::{Descriptor, Image, Top, top};
use crate::http::Sent;
use crate::layout::Layout;
use crate::pull::{Options, registry};
use crate::registry::Registry;
use crate::source::Blobs;
use crate::trouble::bad;
use disk::files;
use model::{Digest, Fault, Reference};
use serde_json::{Value, json};
use std::path::Path;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// Said of an image, such as a bill of materials.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// What it is, also of its only file.
    pub media_type: &'static str,
    pub name: &'static str,
    pub bytes: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Pushed {
    pub manifest: Digest,
    /// Of each referrer, in their order.
    pub referrers: Vec<Digest>,
    /// Blobs that were sent; the others were there.
    pub sent: usize,
    pub sent_bytes: u64,
}

/// `told` hears how many bytes of all are there.
pub fn push(
    layout: &Path,
    reference: &Reference,
    options: &Options,
    referrers: &[Referrer],
    told: &mut dyn FnMut(u64, u64),
) -> Result<Pushed, Fault> {
    if reference.digest.is_some() {
        return Err(
            Fault::yours("bad-reference", "an image is pushed by a tag, and this name has a digest").hint("write REGISTRY/NAME:TAG")
        );
    }
    let mut from = Layout::directory(layout, None, &options.limits)?;
    let (manifest, _) = from.top()?;
    let Top::Image(image) = top(&manifest, &options.limits)? else {
        return Err(bad("bad-image", "the layout has an index of images in it, and one image is pushed"));
    };
    let mut push = Push { to: registry(reference, options)?, sent: 0, sent_bytes: 0 };
    push.image(layout, &image, told)?;
    let digest = files::digest_of(&manifest);
    let kind = if referrers.is_empty() { None } else { Some(descriptor(MANIFEST, &manifest)) };
    // What refers to it comes first: whoever sees the tag finds all of it.
    push.to.put_manifest(digest.as_str(), MANIFEST, &manifest)?;
    let mut listed = Vec::new();
    for one in referrers {
        listed.push(push.referrer(one, kind.as_ref())?);
    }
    push.list(&digest, &listed)?;
    push.to.put_manifest(&reference.tag, MANIFEST, &manifest)?;
    let of = |one: &Listed| one.digest.clone();
    Ok(Pushed { manifest: digest, referrers: listed.iter().map(of).collect(), sent: push.sent, sent_bytes: push.sent_bytes })
}

struct Push {
    to: Registry,
    sent: usize,
    sent_bytes: u64,
}

/// A referrer that is there.
struct Listed {
    digest: Digest,
    descriptor: Value,
    /// The registry lists it by itself.
    is_known: bool,
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": files::digest_of(bytes).as_str(), "size": bytes.len() })
}

fn written(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap_or_default()
}

impl Push {
    fn image(&mut self, layout: &Path, image: &Image, told: &mut dyn FnMut(u64, u64)) -> Result<(), Fault> {
        let blobs: Vec<&Descriptor> = image.layers.iter().chain([&image.config]).collect();
        let total = blobs.iter().map(|blob| blob.size).sum();
        let mut done = 0;
        for blob in blobs {
            self.blob(&blob.digest, Sent::File(layout.join("blobs/sha256").join(blob.digest.hex()), blob.size))?;
            done += blob.size;
            told(done, total);
        }
        Ok(())
    }

    fn blob(&mut self, digest: &Digest, body: Sent) -> Result<(), Fault> {
        if self.to.has_blob(digest)? {
            return Ok(());
        }
        self.sent_bytes += body.len();
        self.sent += 1;
        self.to.put_blob(digest, body)
    }

    fn referrer(&mut self, one: &Referrer, subject: Option<&Value>) -> Result<Listed, Fault> {
        for bytes in [EMPTY, &one.bytes] {
            self.blob(&files::digest_of(bytes), Sent::Bytes(bytes.to_vec()))?;
        }
        let mut file = descriptor(one.media_type, &one.bytes);
        file["annotations"] = json!({ "org.opencontainers.image.title": one.name });
        let manifest = written(&json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "artifactType": one.media_type,
            "config": descriptor(EMPTY_TYPE, EMPTY), "layers": [file], "subject": subject,
        }));
        let digest = files::digest_of(&manifest);
        let is_known = self.to.put_manifest(digest.as_str(), MANIFEST, &manifest)?;
        let mut listed = descriptor(MANIFEST, &manifest);
        listed["artifactType"] = json!(one.media_type);
        Ok(Listed { digest, descriptor: listed, is_known })
    }

    /// Registries that do not list referrers by themselves have an index of them, whose tag is the image's digest (distribution-spec 1.1).
    fn list(&mut self, digest: &Digest, listed: &[Listed]) -> Result<(), Fault> {
        let missing: Vec<&Listed> = listed.iter().filter(|one| !one.is_known).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let tag = format!("sha256-{}", digest.hex());
        let before: Value = self.to.manifest_if_there(&tag)?.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        let mut all: Vec<Value> = before["manifests"].as_array().cloned().unwrap_or_default();
        all.retain(|one| missing.iter().all(|new| new.descriptor["digest"] != one["digest"]));
        all.extend(missing.into_iter().map(|one| one.descriptor.clone()));
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": all });
        self.to.put_manifest(&tag, INDEX, &written(&index)).map(drop)
    }
}
