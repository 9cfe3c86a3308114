//! Signature Version 4. <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use crate::credentials::keys::Credentials;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// What is signed of a request.
pub struct Signable<'a> {
    pub method: &'a str,
    pub host: &'a str,
    /// Encoded once, as it is sent.
    pub path: &'a str,
    /// Not encoded.
    pub query: &'a [(String, String)],
    /// Names in lower case.
    pub headers: &'a [(&'static str, String)],
    pub body: &'a [u8],
    pub region: &'a str,
    pub service: &'a str,
    /// S3 signs the hash of the body as a header, and a path that is encoded once. The others encode the path again.
    pub is_s3: bool,
}

/// The headers that carry the signature. `now` is `20150830T123600Z`.
pub fn headers(request: &Signable, credentials: &Credentials, now: &str) -> Vec<(&'static str, String)> {
    let body_hash = hex::encode(Sha256::digest(request.body));
    let mut added = vec![("x-amz-date", now.to_string())];
    if request.is_s3 {
        added.push(("x-amz-content-sha256", body_hash.clone()));
    }
    if let Some(token) = &credentials.session_token {
        added.push(("x-amz-security-token", token.clone()));
    }
    let mut signed: Vec<(&str, &str)> = request.headers.iter().chain(&added).map(|(name, value)| (*name, value.trim())).collect();
    signed.push(("host", request.host));
    signed.sort_unstable();
    let names = signed.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let path = if request.is_s3 { request.path.to_string() } else { encode(request.path, true) };
    let query = query_string(request.query);
    let canonical = format!("{}\n{path}\n{query}\n{lines}\n{names}\n{body_hash}", request.method);
    let day = now.get(..8).unwrap_or(now);
    let scope = format!("{day}/{}/{}/aws4_request", request.region, request.service);
    let to_sign = format!("AWS4-HMAC-SHA256\n{now}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let seed = format!("AWS4{}", credentials.secret_key).into_bytes();
    let key = [day, request.region, request.service, "aws4_request"].iter().fold(seed, |key, part| mac(&key, part.as_bytes()));
    let signature = hex::encode(mac(&key, to_sign.as_bytes()));
    let id = &credentials.access_key;
    let value = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    added.push(("authorization", value));
    added
}

fn mac(key: &[u8], text: &[u8]) -> Vec<u8> {
    // HMAC takes keys of every length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    mac.update(text);
    mac.finalize().into_bytes().to_vec()
}

/// Percent-encodes all but unreserved characters. `is_path`: slashes stay.
pub fn encode(text: &str, is_path: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (is_path && byte == b'/') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// Sorted by encoded name, as it is signed and sent.
pub fn query_string(pairs: &[(String, String)]) -> String {
    let mut encoded: Vec<(String, String)> = pairs.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    encoded.sort();
    encoded.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Credentials {
        Credentials::fixed("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", None)
    }

    fn signed(request: &Signable, credentials: &Credentials, now: &str) -> String {
        headers(request, credentials, now).into_iter().find(|(name, _)| *name == "authorization").unwrap().1
    }

    fn signature(text: &str) -> &str {
        text.rsplit_once("Signature=").unwrap().1
    }

    const VANILLA: Signable<'static> = Signable {
        method: "GET",
        host: "example.amazonaws.com",
        path: "/",
        query: &[],
        headers: &[],
        body: b"",
        region: "us-east-1",
        service: "service",
        is_s3: false,
    };

    /// Of AWS's published test suite.
    #[test]
    fn published_vectors() {
        let now = "20150830T123600Z";
        assert_eq!(signature(&signed(&VANILLA, &example(), now)), "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31");
        let query = [("Param2".to_string(), "value2".to_string()), ("Param1".to_string(), "value1".to_string())];
        let ordered = Signable { query: &query, ..VANILLA };
        assert_eq!(signature(&signed(&ordered, &example(), now)), "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500");
        let post = Signable { method: "POST", ..VANILLA };
        assert_eq!(signature(&signed(&post, &example(), now)), "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b");
    }

    /// The example of S3's API reference, `GET ?lifecycle`.
    #[test]
    fn published_example_of_s3() {
        let query = [("lifecycle".to_string(), String::new())];
        let request = Signable { host: "examplebucket.s3.amazonaws.com", query: &query, service: "s3", is_s3: true, ..VANILLA };
        let credentials = Credentials::fixed("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", None);
        let found = signed(&request, &credentials, "20130524T000000Z");
        assert_eq!(signature(&found), "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543");
        assert!(found.contains("SignedHeaders=host;x-amz-content-sha256;x-amz-date,"), "{found}");
    }

    #[test]
    fn names_of_objects_are_encoded_once() {
        assert_eq!(encode("a b/ü+~.txt", true), "a%20b/%C3%BC%2B~.txt");
        assert_eq!(encode("a/b=c", false), "a%2Fb%3Dc");
    }
}
