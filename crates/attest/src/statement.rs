//! Who says what of an image: a bill of materials (CycloneDX 1.5), its provenance (SLSA 1.0 in an in-toto statement),
//! and an ed25519 signature over that (DSSE). A host checks these before it runs the image.
//!
//! ```text
//! attested/<hex>/sbom.cdx.json          every package with its sum; its own digest stands in the provenance
//! attested/<hex>/provenance.dsse.json   subject: the image's digest; signed
//! ```

use crate::dsse;
use crate::keys::{Key, PublicKey};
use disk::files;
use jiff::Timestamp;
use model::{Digest, Fault, ImageFile, Layout, Time};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use store::lockfile::{Lock, Locked};
use store::manifest::Manifest;
use store::{Store, to_json};

const BUILD_TYPE: &str = "urn:afresh:image:bake:v1";
/// Of a container image.
pub const PULLED: &str = "urn:afresh:image:pull:v1";

pub fn sbom_path(store: &Path) -> PathBuf {
    store.join("sbom.cdx.json")
}

pub fn envelope_path(store: &Path) -> PathBuf {
    store.join("provenance.dsse.json")
}

pub fn dir(layout: &Layout, digest: &Digest) -> PathBuf {
    layout.store().join("attested").join(digest.hex())
}

/// Whether the papers of an image are there and fit each other and the image, whoever signed them: who may sign is the policy's to say.
pub fn is_whole(store: &Store, digest: &Digest) -> bool {
    let policy = Policy { require: true, trusted: dsse::signers(&envelope_path(&store.attested(digest))), ..Policy::default() };
    verify_signature(store.layout(), digest, &policy).is_ok()
}

/// Writes bill, provenance and signature of an image that is in the store.
pub fn attest(store: &Store, lock: &Lock, manifest: &Manifest, key: &Key) -> Result<(), Fault> {
    store.verify(&manifest.digest)?;
    let sbom = to_json(&sbom(lock, manifest));
    let statement = provenance(lock, manifest, &files::digest_of(&sbom));
    seal(&store.attested(&manifest.digest), &sbom, &statement, key)
}

/// Signs a statement and puts it with the bill of materials that it names into a directory.
pub fn seal(at: &Path, sbom: &[u8], statement: &Value, key: &Key) -> Result<(), Fault> {
    let envelope = dsse::seal(statement, key)?;
    files::write_atomic(&sbom_path(at), sbom)?;
    files::write_atomic(&envelope_path(at), &envelope)
}

/// As a part of a package URL has it: nothing in it ends the part.
pub fn escaped(text: &str) -> String {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b".~_-".contains(b);
    text.bytes().map(|b| if plain(&b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// One package in a bill of materials.
fn component(lock: &Lock, p: &Locked) -> Value {
    let distro = if lock.head.indexes.iter().any(|i| i.origin == "Ubuntu") { "ubuntu" } else { "debian" };
    let escape = escaped;
    json!({
        "type": "library",
        "bom-ref": format!("{}@{}", p.name, p.version),
        "name": p.name,
        "version": p.version,
        "purl": format!("pkg:deb/{distro}/{}@{}?arch={}&distro={}", escape(&p.name), escape(&p.version), escape(&p.arch), escape(&lock.head.debian)),
        "hashes": [{ "alg": "SHA-256", "content": p.sha256 }],
        "externalReferences": [{ "type": "distribution", "url": p.url }],
        "properties": [{ "name": "afresh:suite", "value": p.suite }, { "name": "afresh:source", "value": p.source_name() }],
    })
}

fn sbom(lock: &Lock, manifest: &Manifest) -> Value {
    let levels = lock.head.spec.levels();
    let customs = || levels.iter().map(|level| &level.custom);
    let property = |name: &str, value: String| json!({ "name": format!("afresh:{name}"), "value": value });
    let script = customs().flat_map(|c| &c.script).map(|script| property("script", files::digest_of(script.as_bytes()).to_string()));
    let args = customs().flat_map(|c| &c.args).map(|(name, value)| property("argument", format!("{name}={value}")));
    let users = customs().flat_map(|c| &c.users).map(|(name, user)| property("user", format!("{name} {}", user.uid)));
    let notes = manifest.notes.iter().map(|note| property("note", note.clone()));
    let mut bill = bill(&manifest.digest, &lock.head.debian, components(lock));
    bill["metadata"]["properties"] = json!(script.chain(args).chain(users).chain(notes).collect::<Vec<_>>());
    bill
}

/// Every package of a lock and every file of its recipe, as it is written there: a script may have changed it since.
pub fn components(lock: &Lock) -> Vec<Value> {
    let levels = lock.head.spec.levels();
    // A file of the same place in an image with a base is the one that is there.
    let files: BTreeMap<&String, &ImageFile> = levels.iter().flat_map(|level| &level.custom.files).collect();
    let file = |(path, file): (&String, &ImageFile)| {
        json!({
            "type": "file",
            "bom-ref": format!("file:{path}"),
            "name": path,
            "hashes": [{ "alg": "SHA-256", "content": files::digest_of(file.content.as_bytes()).hex() }],
            "properties": [{ "name": "afresh:mode", "value": format!("{:04o}", file.mode) }],
        })
    };
    lock.packages.iter().map(|p| component(lock, p)).chain(files.into_iter().map(file)).collect()
}

/// A whole bill of materials of what has this digest.
pub fn bill(of: &Digest, name: &str, components: Vec<Value>) -> Value {
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
pub fn materials(lock: &Lock) -> impl Iterator<Item = Value> + '_ {
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
            json!({ "sha256": files::digest_of(script.as_bytes()).hex(), "isReproducible": manifest.is_script_reproducible() });
    }
    let mut run = run_details("image", lock.digest().as_str(), manifest.made);
    run["byproducts"] = bill_made(sbom);
    let built = json!({
        "buildType": BUILD_TYPE,
        "externalParameters": external,
        "internalParameters": internal,
        "resolvedDependencies": materials(lock).collect::<Vec<_>>(),
    });
    slsa(json!([{ "name": manifest.name, "digest": { "sha256": manifest.digest.hex() } }]), built, run)
}

/// The in-toto statement that these subjects were built so: SLSA's provenance, form 1.
pub fn slsa(subject: Value, build_definition: Value, run_details: Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subject,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": { "buildDefinition": build_definition, "runDetails": run_details },
    })
}

/// Who built, in which run, until when.
pub fn run_details(builder: &str, run: &str, finished: Time) -> Value {
    json!({
        "builder": { "id": format!("urn:afresh:{builder}"), "version": { "afresh": env!("CARGO_PKG_VERSION") } },
        "metadata": { "invocationId": run, "finishedOn": rfc3339(finished) },
    })
}

/// The bill of materials beside a statement.
pub fn bill_made(sbom: &Digest) -> Value {
    json!([{ "name": "sbom.cdx.json", "mediaType": "application/vnd.cyclonedx+json", "digest": { "sha256": sbom.hex() } }])
}

/// What a host asks of an image, and of a service's code, before it runs them.
/// A rule of a later version is not passed over: one that is not understood refuses everything, as what cannot be read does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// An image without a good signature is refused. Where not, one that has a signature must still have a good one.
    pub require: bool,
    /// An artifact without a good signature is refused. Where not, nobody looks: it was packed where it was deployed from.
    #[serde(default)]
    pub artifacts: bool,
    /// Keys whose word counts.
    pub trusted: Vec<PublicKey>,
    /// Keys whose word counted once. While there is one, no signature is passed over, also where nobody is trusted any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distrusted: Vec<PublicKey>,
    /// Keys of cosign, in one line each. While there is one, a container image or code from a
    /// registry is pulled only if one of them signed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cosign: Vec<String>,
    /// No new group begins on an image that is marked bad. (None ever begins on one that is revoked.)
    #[serde(default)]
    pub refuse_bad: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verified {
    /// This trusted key says so.
    By(PublicKey),
    /// Nobody signed it, and the policy does not ask for it.
    Unsigned,
}

pub fn refused(what: &str, why: impl std::fmt::Display) -> Fault {
    Fault::world("signature-refused", format!("{what} is refused: {why}"))
        .hint("make it again on a machine whose key this host trusts, or add that key to the trusted ones")
        .again(false)
}

/// Checks signature, subject and bill of materials; the object's own bytes are checked by the store.
pub fn verify_signature(layout: &Layout, digest: &Digest, policy: &Policy) -> Result<Verified, Fault> {
    let what = format!("image {}", digest.short());
    let Some((key, statement)) = open(&dir(layout, digest), &what, digest, policy)? else { return Ok(Verified::Unsigned) };
    let built = is_built_as(&statement, BUILD_TYPE);
    built.or_else(|why| is_built_as(&statement, PULLED).map_err(|_| why)).map_err(|why| refused(&what, why))?;
    Ok(Verified::By(key))
}

/// As [`verify_signature`], for the attestations in a directory; gives who signed and the statement. None: nobody signed, and need not.
pub fn open(at: &Path, what: &str, digest: &Digest, policy: &Policy) -> Result<Option<(PublicKey, Value)>, Fault> {
    let path = envelope_path(at);
    if !files::exists(&path) {
        return if policy.require { Err(refused(what, NOBODY)) } else { Ok(None) };
    }
    let (statement, key) = open_envelope(&path, what, digest, policy)?;
    let sbom = files::digest_file(&sbom_path(at)).map_err(|f| refused(what, f.message))?.0;
    if statement["predicate"]["runDetails"]["byproducts"][0]["digest"]["sha256"].as_str() != Some(sbom.hex()) {
        return Err(refused(what, "its bill of materials was changed after it was signed"));
    }
    Ok(Some((key, statement)))
}

pub const NOBODY: &str = "it has no signature, and the policy asks for one";

/// The statement of an envelope, if a trusted key signed it and it is of these bytes.
pub fn open_envelope(path: &Path, what: &str, digest: &Digest, policy: &Policy) -> Result<(Value, PublicKey), Fault> {
    let (statement, key) = dsse::open(path, &policy.trusted).map_err(|why| refused(what, why))?;
    if statement["subject"][0]["digest"]["sha256"].as_str() != Some(digest.hex()) {
        return Err(refused(what, "the signature is of other bytes"));
    }
    Ok((statement, key))
}

/// Whether a statement is of this sort; of which, if not. Code that somebody signed is no machine's root.
pub fn is_built_as(statement: &Value, build_type: &str) -> Result<(), String> {
    let sort = statement["predicate"]["buildDefinition"]["buildType"].as_str();
    if sort == Some(build_type) {
        Ok(())
    } else {
        Err(format!("the signature is of what was built as {}", sort.unwrap_or("nothing we know")))
    }
}

/// `2026-11-22T16:22:10Z`, to the second; a time after the year 9999 is the last second of it.
pub fn rfc3339(at: Time) -> String {
    let seconds = i64::try_from(at.0 / 1000).ok().and_then(|s| Timestamp::from_second(s).ok());
    format!("{:.0}", seconds.unwrap_or(Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_date_does() {
        // `date -u -d @1795222382 +%FT%TZ` and the like said so.
        assert_eq!(rfc3339(Time(1_795_222_382_000)), "2026-11-21T00:53:02Z");
        assert_eq!(rfc3339(Time(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(Time(951_782_399_000)), "2000-02-28T23:59:59Z");
        assert_eq!(rfc3339(Time(4_107_542_400_000)), "2100-03-01T00:00:00Z");
        assert_eq!(rfc3339(Time(u64::MAX)).get(..4), Some("9999"));
        assert_eq!(rfc3339(Time(1_709_208_000_999)), "2024-02-29T12:00:00Z");
    }
}
