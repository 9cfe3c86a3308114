//! A signed statement as it lies on the disk: an in-toto statement in a DSSE envelope. It knows nothing of what is stated.
//!
//! ```text
//! statement ─▶ pre-authentication encoding ─▶ ed25519 ─▶ {"payloadType", "payload": base64, "signatures": [{"keyid", "sig"}]}
//! ```

use crate::keys::{Key, PublicKey, is_good};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use disk::files;
use model::Fault;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::path::Path;
use store::to_json;

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const LIMIT: u64 = 64 << 20;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signed>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Signed {
    keyid: String,
    sig: String,
}

/// DSSE's pre-authentication encoding: what is really signed.
fn pae(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut bytes = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    bytes.extend_from_slice(payload);
    bytes
}

/// The envelope of a statement, signed. The signature is looked at before it takes the place of a good one: what another program
/// gave may be anything.
pub fn seal(statement: &Value, key: &Key) -> Result<Vec<u8>, Fault> {
    let payload = serde_json::to_vec(statement).expect("JSON values can be written");
    let signed = pae(PAYLOAD_TYPE, &payload);
    let sig = BASE64.encode(key.sign(&signed)?);
    if !is_good(&key.public(), &signed, &sig) {
        return Err(Fault::yours("bad-signature", format!("what was given is no signature by the key {}", key.public())).hint(
            "the signing command must answer with the ed25519 signature of its input in base64, and the public key must be its own",
        ));
    }
    Ok(to_json(&Envelope {
        payload_type: PAYLOAD_TYPE.to_string(),
        payload: BASE64.encode(&payload),
        signatures: vec![Signed { keyid: key.public(), sig }],
    }))
}

/// The statement, and which of the trusted keys signed it; why not, if none did.
pub fn open(path: &Path, trusted: &[PublicKey]) -> Result<(Value, PublicKey), String> {
    let damaged = |e: &dyn std::fmt::Display| format!("{} is damaged: {e}", path.display());
    let bytes = files::read_limited(path, LIMIT).map_err(|f| f.message)?;
    let envelope: Envelope = serde_json::from_slice(&bytes).map_err(|e| damaged(&e))?;
    let payload = BASE64.decode(&envelope.payload).map_err(|e| format!("its signed statement is damaged: {e}"))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(format!("what is signed is of type {}", envelope.payload_type));
    }
    let signed = pae(&envelope.payload_type, &payload);
    let good = trusted.iter().find(|key| envelope.signatures.iter().any(|s| is_good(key, &signed, &s.sig)));
    let Some(key) = good else {
        let by: Vec<&str> = envelope.signatures.iter().map(|s| s.keyid.as_str()).collect();
        return Err(format!("no trusted key signed it (it names {})", by.join(", ")));
    };
    let statement = serde_json::from_slice(&payload).map_err(|e| format!("its signed statement is no JSON: {e}"))?;
    Ok((statement, key.clone()))
}

/// The keys that an envelope says it is signed by, each with a good signature; empty where there is none.
pub fn signers(path: &Path) -> Vec<PublicKey> {
    let Ok(bytes) = files::read_limited(path, LIMIT) else { return Vec::new() };
    let Ok(envelope) = serde_json::from_slice::<Envelope>(&bytes) else { return Vec::new() };
    let Ok(payload) = BASE64.decode(&envelope.payload) else { return Vec::new() };
    let signed = pae(&envelope.payload_type, &payload);
    envelope.signatures.into_iter().filter(|s| is_good(&s.keyid, &signed, &s.sig)).map(|s| s.keyid).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_encoding_is_that_of_the_dsse_protocol() {
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }
}
