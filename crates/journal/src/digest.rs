//! Checksums of rows, and the digest that says whether two releases have the same content.

use model::{Digest, Release};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// The digest of a release without its number, as JSON with sorted keys and without empty values: a field that a later version adds
/// and that is left out does not change the digest.
pub fn digest_of(release: &Release) -> Digest {
    let mut value = serde_json::to_value(release).expect("a release is plain data with text keys");
    if let Value::Object(map) = &mut value {
        map.remove("number");
    }
    let mut text = String::new();
    canonical(&value, &mut text);
    Digest::new(format!("sha256:{}", hex::encode(Sha256::digest(text)))).expect("64 hex digits of SHA-256")
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().filter(|(_, v)| !is_empty(v)).collect();
            keys.sort_by_key(|(k, _)| *k);
            out.push('{');
            for (i, (key, value)) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                canonical(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

/// The first 64 bits of SHA-256 over the parts, each with its length: enough to detect corruption, not forgery.
pub(crate) fn sum(parts: &[&dyn std::fmt::Display]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        let text = part.to_string();
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    i64::from_le_bytes(first)
}
