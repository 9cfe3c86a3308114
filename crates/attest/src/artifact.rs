//! Who says where a service's code was packed from: an in-toto statement with SLSA provenance, signed as an image's is, but with no
//! bill of materials, as nobody knows what is in other people's code.
//!
//! ```text
//! attested/<hex>/provenance.dsse.json   subject: the artifact's digest; what was packed, from where, by what; signed
//! ```

use crate::dsse;
use crate::keys::{Key, PublicKey};
use crate::policy::read_policy;
use crate::statement;
use crate::statement::{NOBODY, Policy, Verified, envelope_path, is_built_as, open_envelope, refused};
use disk::files;
use model::{Digest, Fault, Layout};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;
use store::manifest::{Form, Manifest};
use store::{Did, Store, Stored, program};

/// An artifact in the store, signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Packed {
    pub digest: Digest,
    pub did: Did,
    pub bytes: u64,
    pub files: u64,
    /// The public key whose signature it has.
    pub signed_by: PublicKey,
    pub seconds: f64,
}

/// Packs a directory or a tarball (tar, tar.gz, tar.xz, tar.zst) into the store, and signs it. The same content again writes nothing.
pub fn pack(store: &Store, path: &Path) -> Result<Packed, Fault> {
    pack_and(|| store::pack(store, path), |manifest| attest_by_own_key(store, manifest))
}

/// As [`pack`], of a file that was fetched from elsewhere.
pub fn pack_from(store: &Store, path: &Path, from: &str) -> Result<Packed, Fault> {
    pack_and(|| store::pack_from(store, path, from), |manifest| attest_by_own_key(store, manifest))
}

/// The artifact that came of a tarball of these bytes, signed.
pub fn packed_tarball(store: &Store, sum: &Digest) -> Result<Option<Packed>, Fault> {
    let Some(manifest) = store::packed_tarball(store, sum)? else { return Ok(None) };
    pack_and(|| Ok(Stored { manifest, did: Did::Nothing, files: 0 }), |manifest| attest_by_own_key(store, manifest)).map(Some)
}

/// As [`pack`], signed by this key.
pub fn pack_with(store: &Store, path: &Path, key: &Key) -> Result<Packed, Fault> {
    pack_and(|| store::pack(store, path), |manifest| attest_artifact(store, manifest, key).map(|_| key.public()))
}

fn pack_and(
    pack: impl FnOnce() -> Result<Stored, Fault>,
    sign: impl FnOnce(&Manifest) -> Result<PublicKey, Fault>,
) -> Result<Packed, Fault> {
    let since = Instant::now();
    let Stored { manifest, did, files } = pack()?;
    let signed_by = sign(&manifest)?;
    Ok(Packed { digest: manifest.digest, did, bytes: manifest.bytes, files, signed_by, seconds: program::seconds_since(since) })
}

const BUILD_TYPE: &str = "urn:afresh:artifact:pack:v1";

/// Signs an artifact of the store, unless this key's good signature is there already; true: it was signed now.
pub fn attest_artifact(store: &Store, manifest: &Manifest, key: &Key) -> Result<bool, Fault> {
    let policy = Policy { artifacts: true, trusted: vec![key.public()], ..Policy::default() };
    if verify_artifact(store.layout(), &manifest.digest, &policy).is_ok() {
        return Ok(false);
    }
    store.verify(&manifest.digest)?;
    let envelope = dsse::seal(&provenance(manifest), key)?;
    files::write_atomic(&envelope_path(&store.attested(&manifest.digest)), &envelope)?;
    Ok(true)
}

/// As [`attest_artifact`] with this machine's own key, but another's good signature stays, unless the policy does not trust it.
pub fn attest_by_own_key(store: &Store, manifest: &Manifest) -> Result<PublicKey, Fault> {
    let key = crate::keys::signing_key(store)?;
    let there = dsse::signers(&envelope_path(&store.attested(&manifest.digest)));
    let trusted = match read_policy(store.layout()) {
        Ok(Some(policy)) => there.into_iter().filter(|k| policy.trusted.contains(k)).collect(),
        // A policy that cannot be read is reported by whoever would use it.
        Ok(None) | Err(_) => there,
    };
    let policy = Policy { artifacts: true, trusted, ..Policy::default() };
    if let Ok(Verified::By(other)) = verify_artifact(store.layout(), &manifest.digest, &policy) {
        return Ok(other);
    }
    attest_artifact(store, manifest, &key)?;
    Ok(key.public())
}

/// Checks signature and subject, where the policy asks for it; the object's own bytes are checked by the store.
pub fn verify_artifact(layout: &Layout, digest: &Digest, policy: &Policy) -> Result<Verified, Fault> {
    if !policy.artifacts {
        return Ok(Verified::Unsigned);
    }
    let (path, what) = (envelope_path(&statement::dir(layout, digest)), format!("artifact {}", digest.short()));
    if !files::exists(&path) {
        return Err(refused(&what, NOBODY));
    }
    let (statement, key) = open_envelope(&path, &what, digest, policy)?;
    is_built_as(&statement, BUILD_TYPE).map_err(|why| refused(&what, why))?;
    Ok(Verified::By(key))
}

fn provenance(manifest: &Manifest) -> Value {
    // One that was packed before this was kept has no source; the digest of its content is known all the same.
    let source = manifest.source.as_ref();
    let uri = source.map(|s| if s.path.starts_with('/') { file_uri(&s.path) } else { s.path.clone() });
    let sum = source.and_then(|s| s.sum.as_ref()).map(|sum| json!({ "sha256": sum.hex() }));
    let mut from = json!({ "digest": sum.unwrap_or(json!({ "afreshContent": manifest.inputs.hex() })) });
    if let Some(uri) = &uri {
        from["uri"] = json!(uri);
    }
    let built = json!({
        "buildType": BUILD_TYPE,
        "externalParameters": {
            "source": uri,
            "form": source.map(|s| match s.form { Form::Directory => "directory", Form::Tarball => "tarball" }),
        },
        "internalParameters": { "files": source.map(|s| s.files), "bytes": manifest.bytes, "notes": manifest.notes },
        "resolvedDependencies": [from],
    });
    let subject = json!([{ "name": manifest.name, "digest": { "sha256": manifest.digest.hex() } }]);
    statement::slsa(subject, built, statement::run_details("artifact", manifest.inputs.as_str(), manifest.made))
}

/// RFC 8089, with everything escaped that could mean something else.
fn file_uri(path: &str) -> String {
    let mut uri = String::from("file://");
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'.' | b'_' | b'~') {
            uri.push(char::from(byte));
        } else {
            let _ = write!(uri, "%{byte:02X}");
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn app(dir: &std::path::Path, name: &str, text: &str) -> std::path::PathBuf {
        let app = dir.join(name);
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("f"), text).unwrap();
        app
    }

    #[test]
    fn only_the_right_word_for_the_right_artifact_admits_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Layout::new(dir.path().join("data"))).unwrap();
        let layout = store.layout().clone();
        let [one, two] = ["one", "two"].map(|n| pack(&store, &app(dir.path(), n, n)).unwrap());
        let own = crate::keys::own_key(&store).unwrap().unwrap();
        assert_eq!(one.signed_by, own);
        let asks = |artifacts: bool, key: &str| Policy { artifacts, trusted: vec![key.to_string()], ..Policy::default() };
        let verify = |digest: &Digest, policy: &Policy| verify_artifact(&layout, digest, policy).map_err(|f| f.message);
        assert_eq!(verify(&one.digest, &asks(true, &own)), Ok(Verified::By(own.clone())));

        let stranger = Key::load_or_make(&dir.path().join("stranger")).unwrap();
        assert!(verify(&one.digest, &asks(true, &stranger.public())).unwrap_err().contains("no trusted key signed it"));
        assert_eq!(verify(&one.digest, &asks(false, &stranger.public())), Ok(Verified::Unsigned), "nobody asks");

        // The signature of one laid beside the other, a changed statement, no signature.
        let [at, other] = [&one, &two].map(|p| envelope_path(&store.attested(&p.digest)));
        let good = fs::read(&at).unwrap();
        fs::write(&other, &good).unwrap();
        assert!(verify(&two.digest, &asks(true, &own)).unwrap_err().contains("of other bytes"));
        fs::write(&at, String::from_utf8(good.clone()).unwrap().replace("\"payload\": \"ey", "\"payload\": \"ez")).unwrap();
        assert!(verify(&one.digest, &asks(true, &own)).unwrap_err().contains("no trusted key signed it"));
        for cut in [0, 1, good.len() / 2] {
            fs::write(&at, &good[..cut]).unwrap();
            assert!(verify(&one.digest, &asks(true, &own)).unwrap_err().contains("is damaged"));
        }
        fs::remove_file(&at).unwrap();
        assert!(verify(&one.digest, &asks(true, &own)).unwrap_err().contains("no signature, and the policy asks"));

        // To pack it again repairs it, whoever's signature was there; another's good one stays.
        assert_eq!(pack(&store, &dir.path().join("one")).unwrap().signed_by, own);
        assert_eq!(verify(&one.digest, &asks(true, &own)), Ok(Verified::By(own.clone())));
        assert_eq!(pack_with(&store, &dir.path().join("one"), &stranger).unwrap().signed_by, stranger.public());
        assert_eq!(pack(&store, &dir.path().join("one")).unwrap().signed_by, stranger.public());
        crate::policy::write_policy(&layout, &asks(true, &own)).unwrap();
        assert_eq!(pack(&store, &dir.path().join("one")).unwrap().signed_by, own, "the policy trusts no stranger");
    }

    #[test]
    fn it_is_said_what_was_packed_and_from_where() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Layout::new(dir.path().join("data"))).unwrap();
        let path = app(dir.path(), "my app", "x").canonicalize().unwrap();
        let packed = pack(&store, &path).unwrap();
        let at = envelope_path(&store.attested(&packed.digest));
        let (said, _) = dsse::open(&at, &[crate::keys::own_key(&store).unwrap().unwrap()]).unwrap();
        let build = &said["predicate"]["buildDefinition"];
        let uri = format!("file://{}", path.display()).replace(' ', "%20");
        assert_eq!(build["externalParameters"], json!({ "source": uri, "form": "directory" }));
        assert_eq!(build["internalParameters"]["files"], 1);
        assert_eq!(said["subject"][0]["name"], "my app");
        assert_eq!(said["subject"][0]["digest"]["sha256"], packed.digest.hex());

        let tarball = dir.path().join("app.tar");
        let made = std::process::Command::new("tar").arg("-cf").arg(&tarball).arg("-C").arg(app(dir.path(), "b", "y")).arg(".").status();
        assert!(made.unwrap().success());
        let packed = pack(&store, &tarball).unwrap();
        let (said, _) = dsse::open(&envelope_path(&store.attested(&packed.digest)), &[packed.signed_by]).unwrap();
        let sum = std::process::Command::new("sha256sum").arg(&tarball).output().unwrap();
        let sum = String::from_utf8(sum.stdout).unwrap();
        let from = &said["predicate"]["buildDefinition"]["resolvedDependencies"][0];
        assert_eq!(from["digest"]["sha256"].as_str(), sum.split(' ').next());
    }
}
