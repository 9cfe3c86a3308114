//! Who says what of an image: a bill of materials (CycloneDX 1.5), its provenance (SLSA 1.0 in an in-toto statement),
//! and an ed25519 signature over that (DSSE). A host checks these before it runs the image.
//!
//! ```text
//! attested/<hex>/sbom.cdx.json          every package with its sum; its own digest stands in the provenance
//! attested/<hex>/provenance.dsse.json   subject: the image's digest; signed
//! ```

use crate::exec;
use crate::io;
use crate::lockfile::{Lock, Locked};
use crate::manifest::Manifest;
use crate::rebuild::is_script_reproducible;
use crate::store::{Store, to_json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use model::{Digest, Fault, Layout, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const BUILD_TYPE: &str = "urn:afresh:image:bake:v1";
const LIMIT: u64 = 64 << 20;

/// What signs.
pub enum Key {
    File(Box<SigningKey>),
    /// Gets the bytes to sign on its input, answers with the signature in base64; the public key is told beside it.
    Command {
        command: Vec<String>,
        public: String,
    },
}

/// A public key as people pass it on: 64 hex digits.
pub type PublicKey = String;

impl Key {
    /// Reads a key file, or makes one that only its owner can read.
    pub fn load_or_make(path: &Path) -> Result<Key, Fault> {
        if !io::exists(path) {
            make_key(path)?;
        }
        let text = io::read_limited(path, 4096)?;
        let text = String::from_utf8_lossy(&text);
        let bytes = hex::decode(text.trim()).ok().and_then(|b| <[u8; 32]>::try_from(b).ok());
        let bytes = bytes.ok_or_else(|| {
            Fault::yours("bad-key", format!("{} holds no ed25519 key: 64 hex digits are expected", path.display()))
                .hint("move that file away: a new key is made. Hosts that trust the old one must be told the new")
        })?;
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path).map_err(io::at("cannot look at", path))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(Fault::yours("key-exposed", format!("{} can be read by others (mode {:o})", path.display(), mode & 0o777))
                .hint(format!("chmod 600 {}; if others were on this machine, make a new key", path.display())));
        }
        Ok(Key::File(Box::new(SigningKey::from_bytes(&bytes))))
    }

    pub fn public(&self) -> PublicKey {
        match self {
            Key::File(key) => hex::encode(key.verifying_key().to_bytes()),
            Key::Command { public, .. } => public.clone(),
        }
    }

    fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>, Fault> {
        match self {
            Key::File(key) => Ok(key.sign(bytes).to_bytes().to_vec()),
            Key::Command { command, .. } => sign_by_command(command, bytes),
        }
    }
}

fn make_key(path: &Path) -> Result<(), Fault> {
    let dir = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    io::make_dir(dir)?;
    let random = Path::new("/dev/urandom");
    let mut seed = [0u8; 32];
    std::fs::File::open(random).and_then(|mut f| f.read_exact(&mut seed)).map_err(io::at("cannot read", random))?;
    // tempfile makes it 0600; a link, not a rename, so that of two who make it at once one key stays.
    let mut temp = tempfile::Builder::new().prefix(".key-").tempfile_in(dir).map_err(io::at("cannot write in", dir))?;
    temp.write_all(format!("{}\n", hex::encode(seed)).as_bytes())
        .and_then(|()| temp.as_file().sync_all())
        .map_err(io::at("cannot write", path))?;
    match temp.persist_noclobber(path) {
        Err(e) if e.error.kind() != std::io::ErrorKind::AlreadyExists => Err(io::fault("cannot write", path, &e.error)),
        _ => io::sync_dir(dir),
    }
}

fn sign_by_command(command: &[String], bytes: &[u8]) -> Result<Vec<u8>, Fault> {
    let (program, args) = command.split_first().ok_or_else(|| Fault::yours("bad-key", "the signing command is empty"))?;
    let mut c = exec::command(program);
    c.args(args).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = exec::spawn(&mut c, program)?;
    let sent = child.stdin.take().map(|mut i| i.write_all(bytes));
    let done = child.wait_with_output().map_err(io::at("cannot wait for", Path::new(program)))?;
    if !done.status.success() || !matches!(sent, Some(Ok(()))) {
        return Err(
            exec::ended_badly(program, done.status, &String::from_utf8_lossy(&done.stderr)).hint("the signing command must sign its input")
        );
    }
    BASE64
        .decode(String::from_utf8_lossy(&done.stdout).trim())
        .map_err(|e| Fault::world("bad-signature", format!("{program} gave no base64: {e}")).again(false))
}

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

fn sbom_path(store: &Path) -> PathBuf {
    store.join("sbom.cdx.json")
}

fn envelope_path(store: &Path) -> PathBuf {
    store.join("provenance.dsse.json")
}

fn dir(layout: &Layout, digest: &Digest) -> PathBuf {
    layout.store().join("attested").join(digest.hex())
}

pub fn is_there(store: &Store, digest: &Digest) -> bool {
    io::exists(&envelope_path(&store.attested(digest)))
}

/// Writes bill, provenance and signature of an image that is in the store.
pub fn attest(store: &Store, lock: &Lock, manifest: &Manifest, key: &Key) -> Result<(), Fault> {
    store.verify(&manifest.digest)?;
    let sbom = to_json(&sbom(lock, manifest));
    let statement = provenance(lock, manifest, &io::digest_of(&sbom));
    seal(&store.attested(&manifest.digest), &sbom, &statement, key)
}

/// Signs a statement and puts it with the bill of materials that it names into a directory.
pub(crate) fn seal(at: &Path, sbom: &[u8], statement: &Value, key: &Key) -> Result<(), Fault> {
    let payload = serde_json::to_vec(statement).expect("JSON values can be written");
    let signed = pae(PAYLOAD_TYPE, &payload);
    let sig = key.sign(&signed)?;
    // Looked at before it takes the place of a good one: what another program gave may be anything.
    if !is_good(&key.public(), &signed, &BASE64.encode(&sig)) {
        return Err(Fault::yours("bad-signature", format!("what was given is no signature by the key {}", key.public())).hint(
            "the signing command must answer with the ed25519 signature of its input in base64, and the public key must be its own",
        ));
    }
    io::write_atomic(&sbom_path(at), sbom)?;
    let envelope = Envelope {
        payload_type: PAYLOAD_TYPE.to_string(),
        payload: BASE64.encode(&payload),
        signatures: vec![Signed { keyid: key.public(), sig: BASE64.encode(sig) }],
    };
    io::write_atomic(&envelope_path(at), &to_json(&envelope))
}

/// One package in a bill of materials.
fn component(lock: &Lock, p: &Locked) -> Value {
    let distro = if lock.head.indexes.iter().any(|i| i.origin == "Ubuntu") { "ubuntu" } else { "debian" };
    let escape = |s: &str| s.replace('%', "%25").replace('+', "%2B").replace(':', "%3A");
    json!({
        "type": "library",
        "bom-ref": format!("{}@{}", p.name, p.version),
        "name": p.name,
        "version": p.version,
        "purl": format!("pkg:deb/{distro}/{}@{}?arch={}&distro={}", escape(&p.name), escape(&p.version), p.arch, lock.head.debian),
        "hashes": [{ "alg": "SHA-256", "content": p.sha256 }],
        "externalReferences": [{ "type": "distribution", "url": p.url }],
        "properties": [{ "name": "afresh:suite", "value": p.suite }, { "name": "afresh:source", "value": p.source_name() }],
    })
}

fn sbom(lock: &Lock, manifest: &Manifest) -> Value {
    let custom = &lock.head.spec.custom;
    let property = |name: &str, value: String| json!({ "name": format!("afresh:{name}"), "value": value });
    let script = custom.script.iter().map(|script| property("script", io::digest_of(script.as_bytes()).to_string()));
    let args = custom.args.iter().map(|(name, value)| property("argument", format!("{name}={value}")));
    let users = custom.users.iter().map(|(name, user)| property("user", format!("{name} {}", user.uid)));
    let notes = manifest.notes.iter().map(|note| property("note", note.clone()));
    let mut bill = bill(&manifest.digest, &lock.head.debian, components(lock));
    bill["metadata"]["properties"] = json!(script.chain(args).chain(users).chain(notes).collect::<Vec<_>>());
    bill
}

/// Every package of a lock and every file of its recipe, which is told as it is written there: a script may have changed it since.
pub(crate) fn components(lock: &Lock) -> Vec<Value> {
    let file = |(path, file): (&String, &model::ImageFile)| {
        json!({
            "type": "file",
            "bom-ref": format!("file:{path}"),
            "name": path,
            "hashes": [{ "alg": "SHA-256", "content": io::digest_of(file.content.as_bytes()).hex() }],
            "properties": [{ "name": "afresh:mode", "value": format!("{:04o}", file.mode) }],
        })
    };
    lock.packages.iter().map(|p| component(lock, p)).chain(lock.head.spec.custom.files.iter().map(file)).collect()
}

/// A whole bill of materials of what has this digest.
pub(crate) fn bill(of: &Digest, name: &str, components: Vec<Value>) -> Value {
    let hex = of.hex();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        // Of the image's digest, so that the same image has the same bill.
        "serialNumber": format!("urn:uuid:{}-{}-5{}-8{}-{}", &hex[0..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..32]),
        "version": 1,
        "metadata": { "component": {
            "type": "operating-system", "bom-ref": of.as_str(), "name": name, "version": of.short(),
            "hashes": [{ "alg": "SHA-256", "content": hex }],
        } },
        "components": components,
    })
}

/// What an in-toto statement lists of a lock: the indexes it was chosen from, and its packages.
pub(crate) fn materials(lock: &Lock) -> impl Iterator<Item = Value> + '_ {
    let sources = lock.packages.iter().map(|p| json!({ "uri": p.url, "name": p.name, "digest": { "sha256": p.sha256 } }));
    let indexes =
        lock.head.indexes.iter().map(|i| json!({ "name": format!("{} {}", i.origin, i.suite), "digest": { "sha256": i.digest.hex() } }));
    indexes.chain(sources)
}

fn provenance(lock: &Lock, manifest: &Manifest, sbom: &Digest) -> Value {
    let custom = &lock.head.spec.custom;
    let mut external = json!({ "recipe": lock.head.spec, "lock": lock.digest().as_str() });
    let mut internal = json!({ "tools": manifest.tools, "notes": manifest.notes });
    if let Some(script) = &custom.script {
        external["arguments"] = json!(custom.args);
        // Null: nobody looked.
        internal["script"] =
            json!({ "sha256": io::digest_of(script.as_bytes()).hex(), "isReproducible": is_script_reproducible(manifest) });
    }
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "name": manifest.name, "digest": { "sha256": manifest.digest.hex() } }],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": external,
                "internalParameters": internal,
                "resolvedDependencies": materials(lock).collect::<Vec<_>>(),
            },
            "runDetails": {
                "builder": { "id": "urn:afresh:image", "version": { "afresh": env!("CARGO_PKG_VERSION") } },
                "metadata": { "invocationId": lock.digest().as_str(), "finishedOn": rfc3339(manifest.made) },
                "byproducts": [{ "name": "sbom.cdx.json", "mediaType": "application/vnd.cyclonedx+json", "digest": { "sha256": sbom.hex() } }],
            },
        },
    })
}

/// What a host asks of an image before it runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// An image without a good signature is refused. Where not, one that has a signature must still have a good one.
    pub require: bool,
    /// Keys whose word counts.
    pub trusted: Vec<PublicKey>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// This trusted key says so.
    By(PublicKey),
    /// Nobody signed it, and the policy does not ask for it.
    Unsigned,
}

fn refused(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::world("signature-refused", format!("{what} is refused: {why}"))
        .hint("make it anew on a machine whose key this host trusts, or add that key to the trusted ones")
        .again(false)
}

/// Checks signature, subject and bill of materials; the object's own bytes are checked by the store.
pub fn verify_signature(layout: &Layout, digest: &Digest, policy: &Policy) -> Result<Verified, Fault> {
    let what = format!("image {}", digest.short());
    Ok(open(&dir(layout, digest), &what, digest, policy)?.map_or(Verified::Unsigned, |(key, _)| Verified::By(key)))
}

/// As [`verify_signature`], for the attestations in a directory; gives who signed and the statement. None: nobody signed, and need not.
pub(crate) fn open(at: &Path, what: &str, digest: &Digest, policy: &Policy) -> Result<Option<(PublicKey, Value)>, Fault> {
    let path = envelope_path(at);
    if !io::exists(&path) {
        return if policy.require { Err(refused(what, "it has no signature, and the policy asks for one")) } else { Ok(None) };
    }
    let envelope: Envelope = serde_json::from_slice(&io::read_limited(&path, LIMIT)?)
        .map_err(|e| refused(what, format!("{} is damaged: {e}", path.display())))?;
    let payload = BASE64.decode(&envelope.payload).map_err(|e| refused(what, format!("its signed statement is damaged: {e}")))?;
    if envelope.payload_type != PAYLOAD_TYPE {
        return Err(refused(what, format!("what is signed is of type {}", envelope.payload_type)));
    }
    let signed = pae(&envelope.payload_type, &payload);
    let good = policy.trusted.iter().find(|key| envelope.signatures.iter().any(|s| is_good(key, &signed, &s.sig)));
    let Some(key) = good else {
        let by: Vec<&str> = envelope.signatures.iter().map(|s| s.keyid.as_str()).collect();
        return Err(refused(what, format!("no trusted key signed it (it names {})", by.join(", "))));
    };
    let statement: Value = serde_json::from_slice(&payload).map_err(|e| refused(what, format!("its signed statement is no JSON: {e}")))?;
    if statement["subject"][0]["digest"]["sha256"].as_str() != Some(digest.hex()) {
        return Err(refused(what, "the signature is of other bytes"));
    }
    let sbom = io::digest_file(&sbom_path(at)).map_err(|f| refused(what, f.message))?.0;
    if statement["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"].as_str() != Some(sbom.hex()) {
        return Err(refused(what, "its bill of materials was changed after it was signed"));
    }
    Ok(Some((key.clone(), statement)))
}

fn is_good(key: &str, signed: &[u8], sig: &str) -> bool {
    let key = hex::decode(key).ok().and_then(|b| <[u8; 32]>::try_from(b).ok()).and_then(|b| VerifyingKey::from_bytes(&b).ok());
    let sig = BASE64.decode(sig).ok().and_then(|b| Signature::from_slice(&b).ok());
    matches!((key, sig), (Some(k), Some(s)) if k.verify_strict(signed, &s).is_ok())
}

/// `2026-11-22T16:22:10Z`
pub fn rfc3339(at: Time) -> String {
    let seconds = at.0 / 1000;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // The civil calendar from days since 1970-01-01, the year taken to begin in March.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_date_does() {
        // `date -u -d @1795222382 +%FT%TZ` and the like said so.
        assert_eq!(rfc3339(Time(1_795_222_382_000)), "2026-11-21T00:53:02Z");
        assert_eq!(rfc3339(Time(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Time(1_709_208_000_999)), "2024-02-29T12:00:00Z");
    }

    #[test]
    fn the_encoding_is_that_of_the_dsse_protocol() {
        assert_eq!(pae("http://example.com/HelloWorld", b"hello world"), b"DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    }

    /// RFC 8032, 7.1, test 2.
    #[test]
    fn signatures_are_those_of_the_rfc() {
        let seed: [u8; 32] = hex::decode("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb").unwrap().try_into().unwrap();
        let key = Key::File(Box::new(SigningKey::from_bytes(&seed)));
        assert_eq!(key.public(), "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let sig = key.sign(&[0x72]).unwrap();
        assert_eq!(
            hex::encode(&sig),
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        );
        assert!(is_good(&key.public(), &[0x72], &BASE64.encode(&sig)));
        assert!(!is_good(&key.public(), &[0x73], &BASE64.encode(&sig)));
        assert!(!is_good("zz", &[0x72], "!!"));
    }

    #[test]
    fn a_key_is_made_once_and_kept_from_others() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/key");
        let first = Key::load_or_make(&path).unwrap().public();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(Key::load_or_make(&path).unwrap().public(), first);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(Key::load_or_make(&path).err().unwrap().code, "key-exposed");
        std::fs::write(&path, "short").unwrap();
        assert_eq!(Key::load_or_make(&path).err().unwrap().code, "bad-key");
    }
}
