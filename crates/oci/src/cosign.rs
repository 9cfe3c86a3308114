//! Signatures of container images as `cosign sign --key` makes them: an image beside the image, at the tag `sha256-DIGEST.sig`, whose layers
//! each are a payload with a signature of it.
//!
//! ```text
//! layer: {"critical": {"identity": {"docker-reference": "registry.example.org/shop/app"},
//!                      "image": {"docker-manifest-digest": "sha256:..."}, "type": "cosign container image signature"}}
//! its annotation dev.cosignproject.cosign/signature: ECDSA P-256 over SHA-256 of these bytes, ASN.1, base64
//! ```
//!
//! A signature counts if its key does, its digest is the image's, and its identity is the repository that the image is pulled from: else
//! whoever can push could put one signed image in the place of another. cosign claims no tag by itself, so an older image of the same
//! repository passes under a newer tag; a tag that is claimed must be the one that is pulled. An empty identity claims nothing, and passes.
//! A key alone says who signed: neither certificates nor a transparency log are asked.

use crate::document;
use crate::fetch;
use crate::limits::Limits;
use crate::registry::Registry;
use crate::trouble::{bad, shown};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{Digest, Fault, Reference};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::Value;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";
/// Docker Hub by its names; cosign writes the second.
const HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];
const PAYLOAD_BYTES: u64 = 64 << 10;
/// Of an image; more are not read.
const SIGNATURES: usize = 50;
/// What comes before the point of a P-256 key in its DER form (RFC 5480).
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01,
    0x07, 0x03, 0x42, 0x00,
];
const POINT_BYTES: usize = 65;

/// A public key of cosign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignKey {
    point: Vec<u8>,
}

impl CosignKey {
    /// Of a file as `cosign generate-key-pair` writes it (`cosign.pub`), or of that in one line, without its frame.
    pub fn parse(text: &str) -> Result<CosignKey, Fault> {
        let wrong = || {
            Fault::yours("bad-key", "this is no public key of cosign: ECDSA on the curve P-256, in PEM")
                .hint("`cosign public-key --key cosign.key` prints it")
        };
        let line: String = text.lines().filter(|line| !line.starts_with("-----")).flat_map(|line| line.trim().chars()).collect();
        let bytes = BASE64.decode(line).map_err(|_| wrong())?;
        match bytes.strip_prefix(&P256[..]) {
            Some(point) if point.len() == POINT_BYTES && point[0] == 4 => Ok(CosignKey { point: point.to_vec() }),
            _ => Err(wrong()),
        }
    }

    /// In one line.
    pub fn line(&self) -> String {
        BASE64.encode([&P256[..], &self.point].concat())
    }

    fn is_good(&self, payload: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, &self.point).verify(payload, signature).is_ok()
    }
}

fn refused(why: String) -> Fault {
    bad("signature-refused", why).hint("sign it with `cosign sign --key`, or change which keys count: `afresh image policy --cosign`")
}

/// Which of the keys signed the image. `digests`: of its manifest, and of the index that lists it; either may be signed.
pub fn must_be_signed<'a>(
    from: &mut Registry,
    at: &Reference,
    digests: &[&Digest],
    keys: &'a [CosignKey],
    limits: &Limits,
) -> Result<&'a CosignKey, Fault> {
    let (mut seen, mut elsewhere) = (0, None);
    for digest in digests {
        let tag = format!("sha256-{}.sig", digest.hex());
        let Some(bytes) = from.manifest_if_there(&tag)? else { continue };
        for layer in document::files(&bytes, limits)?.iter().take(SIGNATURES) {
            let signature = layer.annotations.get(SIGNATURE).and_then(|text| BASE64.decode(text).ok());
            let (Some(signature), true) = (signature, layer.size <= PAYLOAD_BYTES) else { continue };
            seen += 1;
            let payload = fetch::document(from, layer, limits)?;
            let by = keys.iter().find(|key| key.is_good(&payload, &signature));
            let (Some(key), Some(identity)) = (by, identity_of(&payload, digest)) else { continue };
            if is_at(&identity, at) {
                return Ok(key);
            }
            elsewhere = Some(identity);
        }
    }
    let digest = digests.first().map_or("", |digest| digest.short());
    if let Some(identity) = elsewhere {
        let here = format!("{}/{}", at.registry, at.repository);
        let text = format!("the image {} at {here} was signed with cosign as {:?}", shown(digest), shown(&identity));
        let hint = format!("sign it where it is: `cosign sign --key KEY --sign-container-identity {here} {here}@sha256:...`");
        return Err(bad("signature-refused", text).hint(hint));
    }
    Err(refused(match seen {
        0 => format!("nobody signed the image {digest} with cosign, and this machine's policy asks for it"),
        n => format!("none of {n} signatures of the image {} is by a key that this machine's policy names", shown(digest)),
    }))
}

pub fn nowhere(text: &str) -> Fault {
    refused(format!("{} is no image of a registry, so nobody signed it with cosign, and this machine's policy asks for it", shown(text)))
}

/// The identity that a payload claims for the image of this digest. None: it is not of this image.
fn identity_of(payload: &[u8], digest: &Digest) -> Option<String> {
    let said: Value = serde_json::from_slice(payload).ok()?;
    let critical = &said["critical"];
    let is_of = critical["type"] == KIND && critical["image"]["docker-manifest-digest"] == digest.as_str();
    match &critical["identity"]["docker-reference"] {
        _ if !is_of => None,
        Value::Null => Some(String::new()),
        Value::String(identity) => Some(identity.clone()),
        _ => None,
    }
}

/// Whether an identity is this repository, whatever its registry is called by.
fn is_at(identity: &str, at: &Reference) -> bool {
    if identity.is_empty() {
        return true;
    }
    let name = identity.split('@').next().unwrap_or(identity);
    let (repository, tag) = match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    };
    let Some((registry, repository)) = repository.split_once('/') else { return false };
    let hub = |registry: &str| if HUB.contains(&registry) { HUB[0].to_string() } else { registry.to_ascii_lowercase() };
    let is_tag = at.digest.is_some() || tag.is_none_or(|tag| tag == at.tag);
    hub(registry) == hub(&at.registry) && repository == at.repository && is_tag
}

#[cfg(test)]
mod tests {
    use super::*;

    // `openssl ecparam -genkey -name prime256v1 -noout | openssl ec -pubout` made it.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEju8qC4zIFVsa/9QjUWrt9pZjKsik\ntLaAnKM3mTt1j+nneGpJd7fF4mQYlxCVL+N0SMeLvgjg1sqvreXU3wj25w==\n-----END PUBLIC KEY-----\n";

    #[test]
    fn keys_are_of_one_kind() {
        let key = CosignKey::parse(PEM).unwrap();
        assert_eq!(CosignKey::parse(&key.line()).unwrap(), key);
        for bad in [
            "",
            "x",
            "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n",
        ] {
            assert_eq!(CosignKey::parse(bad).unwrap_err().code, "bad-key", "{bad:?}");
        }
    }

    #[test]
    fn a_payload_is_of_one_image() {
        let (one, other) = (Digest::of(b"one"), Digest::of(b"other"));
        let payload =
            format!(r#"{{"critical":{{"identity":{{}},"image":{{"docker-manifest-digest":"{one}"}},"type":"{KIND}"}},"optional":null}}"#);
        let of = |payload: &str, digest| identity_of(payload.as_bytes(), digest);
        assert_eq!((of(&payload, &one).as_deref(), of(&payload, &other)), (Some(""), None));
        assert_eq!(of(&payload.replace("{}", r#"{"docker-reference":"r/a"}"#), &one).as_deref(), Some("r/a"));
        for bad in [&payload.replace(KIND, "atomic container signature"), "{}", "", &payload.replace("{}", r#"{"docker-reference":7}"#)] {
            assert_eq!(of(bad, &one), None, "{bad}");
        }
    }

    /// (what is pulled, the identity that was signed, whether it counts)
    #[test]
    fn a_signature_is_of_one_repository() {
        for (pulled, identity, counts) in [
            ("r.example:5000/shop/app:1", "r.example:5000/shop/app", true),
            ("r.example:5000/shop/app:1", "R.example:5000/shop/app", true),
            ("r.example:5000/shop/app:1", "", true),
            ("r.example:5000/shop/app:1", "r.example:5000/shop/app:1", true),
            ("r.example:5000/shop/app:1", "r.example:5000/shop/app:2", false),
            ("r.example:5000/shop/app:1", "r.example:5000/shop/other", false),
            ("r.example:5000/shop/app:1", "r.example/shop/app", false),
            ("r.example:5000/shop/app:1", "other.example:5000/shop/app", false),
            ("r.example:5000/shop/app:1", "app", false),
            ("r.example:5000/shop/app:1", "r.example:5000", false),
            ("r.example/shop/app:1", "r.example/shop/app@sha256:00", true),
            ("docker.io/library/redis:7", "index.docker.io/library/redis", true),
            ("docker.io/library/redis:7", "index.docker.io/library/nginx", false),
            ("docker.io/library/redis:7", "docker.io.example/library/redis", false),
        ] {
            assert_eq!(is_at(identity, &pulled.parse().unwrap()), counts, "{pulled} {identity}");
        }
        let pinned = format!("r.example/a@{}", Digest::of(b"x"));
        assert!(is_at("r.example/a:1", &pinned.parse().unwrap()), "who pins a digest asks for no tag");
    }
}
