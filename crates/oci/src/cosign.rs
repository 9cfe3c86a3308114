//! Signatures of container images as `cosign sign --key` makes them: an image beside the image, at the tag `sha256-DIGEST.sig`, whose layers
//! each are a payload with a signature of it.
//!
//! ```text
//! layer: {"critical": {"image": {"docker-manifest-digest": "sha256:..."}, "type": "cosign container image signature"}}
//! its annotation dev.cosignproject.cosign/signature: ECDSA P-256 over SHA-256 of these bytes, ASN.1, base64
//! ```
//!
//! A key alone says who signed: neither certificates nor a transparency log are asked.

use crate::document;
use crate::fetch;
use crate::limits::Limits;
use crate::registry::Registry;
use crate::trouble::{bad, shown};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use model::{Digest, Fault};
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::Value;

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const KIND: &str = "cosign container image signature";
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
    digests: &[&Digest],
    keys: &'a [CosignKey],
    limits: &Limits,
) -> Result<&'a CosignKey, Fault> {
    let mut seen = 0;
    for digest in digests {
        let tag = format!("sha256-{}.sig", digest.hex());
        let Some(bytes) = from.manifest_if_there(&tag)? else { continue };
        for layer in document::files(&bytes, limits)?.iter().take(SIGNATURES) {
            let signature = layer.annotations.get(SIGNATURE).and_then(|text| BASE64.decode(text).ok());
            let (Some(signature), true) = (signature, layer.size <= PAYLOAD_BYTES) else { continue };
            seen += 1;
            let payload = fetch::document(from, layer, limits)?;
            let by = keys.iter().find(|key| key.is_good(&payload, &signature));
            if let (Some(key), true) = (by, is_of(&payload, digest)) {
                return Ok(key);
            }
        }
    }
    let digest = digests.first().map_or("", |digest| digest.short());
    Err(refused(match seen {
        0 => format!("nobody signed the image {digest} with cosign, and this machine's policy asks for it"),
        n => format!("none of {n} signatures of the image {} is by a key that this machine's policy names", shown(digest)),
    }))
}

pub fn nowhere(text: &str) -> Fault {
    refused(format!("{} is no image of a registry, so nobody signed it with cosign, and this machine's policy asks for it", shown(text)))
}

fn is_of(payload: &[u8], digest: &Digest) -> bool {
    let said: Value = serde_json::from_slice(payload).unwrap_or_default();
    said["critical"]["type"] == KIND && said["critical"]["image"]["docker-manifest-digest"] == digest.as_str()
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
        assert!(is_of(payload.as_bytes(), &one) && !is_of(payload.as_bytes(), &other));
        assert!(!is_of(payload.replace(KIND, "atomic container signature").as_bytes(), &one) && !is_of(b"{}", &one) && !is_of(b"", &one));
    }
}
