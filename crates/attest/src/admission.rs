//! Whether an image may become the root of a server, and an artifact its code: the signature policy, asked at each use.

use crate::artifact::verify_artifact;
use crate::launch_policy::may_begin;
use crate::policy::read_policy;
use crate::statement::{Policy, Verified, verify_signature};
use disk::files;
use model::{Digest, Fault, ImageName, Layout};
use serde_json::Value;
use std::collections::BTreeSet;
use store::manifest::Manifest;

const MANIFEST_LIMIT: u64 = 16 << 20;
const BILL_LIMIT: u64 = 64 << 20;

/// What an object is used as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use<'a> {
    /// `image`: as the release names it. `begins`: for a group that has no server yet.
    Root {
        image: &'a ImageName,
        begins: bool,
    },
    Code,
}

/// What a host asks before it uses an image or an artifact; reads the policy each time, so that a change of it counts at once.
pub fn admit(layout: &Layout, used: &Use<'_>, digest: &Digest) -> Result<(), Fault> {
    let policy = read_policy(layout)?.unwrap_or_default();
    match used {
        Use::Code => return verify_artifact(layout, digest, &policy).map(drop),
        Use::Root { image, begins: true } => may_begin(layout, image, digest, policy.refuse_bad)?,
        Use::Root { .. } => {}
    }
    // A policy that names no key and asks for no signature says nothing of signatures.
    if policy.require || !policy.trusted.is_empty() || !policy.distrusted.is_empty() {
        verify_whole(layout, digest, &policy).map(drop)
    } else {
        Ok(())
    }
}

/// The signature, and that the store's own notes tell of the packages that were signed for.
pub fn verify_whole(layout: &Layout, digest: &Digest, policy: &Policy) -> Result<Verified, Fault> {
    let verified = verify_signature(layout, digest, policy)?;
    if verified == Verified::Unsigned {
        return Ok(verified);
    }
    let refused = |why: String| {
        Fault::world("signature-refused", format!("image {} is refused: {why}", digest.short()))
            .hint("bake it again: its notes in the store were changed after it was signed")
            .again(false)
    };
    let path = layout.manifest(digest);
    let manifest: Manifest = serde_json::from_slice(&files::read_limited(&path, MANIFEST_LIMIT)?)
        .map_err(|e| refused(format!("{} is damaged: {e}", path.display())))?;
    if &manifest.digest != digest {
        return Err(refused(format!("{} tells of another image", path.display())));
    }
    let path = layout.store().join("attested").join(digest.hex()).join("sbom.cdx.json");
    let bill: Value = serde_json::from_slice(&files::read_limited(&path, BILL_LIMIT)?)
        .map_err(|e| refused(format!("{} is damaged: {e}", path.display())))?;
    let text = |c: &Value, key: &str| c[key].as_str().unwrap_or_default().to_string();
    // The recipe's own files stand there too.
    let listed = bill["components"].as_array().into_iter().flatten().filter(|c| c["type"] == "library");
    let signed: BTreeSet<(String, String)> = listed.map(|c| (text(c, "name"), text(c, "version"))).collect();
    let noted: BTreeSet<(String, String)> = manifest.packages.iter().map(|p| (p.name.clone(), p.version.clone())).collect();
    match signed.symmetric_difference(&noted).next() {
        None => Ok(verified),
        Some((name, version)) => {
            let only = if signed.contains(&(name.clone(), version.clone())) { "what was signed" } else { "the store's notes" };
            Err(refused(format!("{name} {version} is only in {only}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::{Key, PublicKey, signing_key};
    use crate::policy::{policy_path, write_policy};
    use store::Store;
    use store::manifest::Kind;

    fn admit_image(layout: &Layout, digest: &Digest, begins: bool) -> Result<(), Fault> {
        admit(layout, &Use::Root { image: &ImageName::new("base").unwrap(), begins }, digest)
    }

    #[test]
    fn a_policy_that_cannot_be_read_admits_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let image = files::digest_of(b"image");
        admit_image(&layout, &image, true).unwrap();
        let key = "ab".repeat(32);
        for (text, says) in [
            ("", "EOF"),
            ("{\"trusted\": []}", "require"),
            ("{\"require\": true, \"trusted\": []}", "no key is trusted"),
            ("{\"require\": false, \"artifacts\": true, \"trusted\": []}", "no key is trusted"),
            ("{\"require\": false, \"trusted\": [\"zz\"]}", "no public key"),
        ] {
            std::fs::write(policy_path(&layout), text).unwrap();
            let fault = admit_image(&layout, &image, true).unwrap_err();
            assert!(fault.code == "bad-policy" && fault.message.contains(says) && fault.hint.is_some(), "{fault:?}");
        }
        write_policy(&layout, &Policy { require: true, trusted: vec![key], ..Policy::default() }).unwrap();
        assert_eq!(admit_image(&layout, &image, true).unwrap_err().code, "signature-refused");
        write_policy(&layout, &Policy { require: false, ..Policy::default() }).unwrap();
        admit_image(&layout, &image, true).unwrap();
    }

    /// A store with one attested image of two packages, and the key that signed it.
    fn attested(dir: &std::path::Path) -> (Store, Digest, PublicKey) {
        let store = Store::open(&Layout::new(dir)).unwrap();
        let lock = store::testing::sample(&[("a", "1"), ("b", "2")]);
        let package = |p: &store::lockfile::Locked| store::manifest::Package {
            name: p.name.clone(),
            version: p.version.clone(),
            arch: p.arch.clone(),
            source: None,
        };
        let manifest = Manifest {
            kind: Kind::Image,
            name: "base".to_string(),
            digest: files::digest_of(b"root"),
            bytes: 4,
            packages: lock.packages.iter().map(package).collect(),
            recipe: None,
            inputs: lock.digest(),
            made: model::Time(1),
            tools: Default::default(),
            seconds: Vec::new(),
            notes: Vec::new(),
            source: None,
            container: None,
        };
        let work = store.work("test").unwrap();
        std::fs::write(work.path().join("object"), b"root").unwrap();
        store.put(&work.path().join("object"), &manifest).unwrap();
        let key = signing_key(&store).unwrap();
        crate::statement::attest(&store, &lock, &manifest, &key).unwrap();
        (store, manifest.digest, key.public())
    }

    fn refusal(layout: &Layout, image: &Digest) -> String {
        // A group that has begun is asked for as well: only what is revoked or bad makes a difference there.
        let faults = [true, false].map(|begins| admit_image(layout, image, begins).unwrap_err());
        assert_eq!(faults[0].message, faults[1].message);
        let [fault, _] = faults;
        assert!(fault.code == "signature-refused" && fault.hint.is_some(), "{fault:?}");
        assert!(fault.message.contains(image.short()), "it names the image: {fault:?}");
        fault.message
    }

    #[test]
    fn only_the_right_word_for_the_right_image_admits_it() {
        let dir = tempfile::tempdir().unwrap();
        let (store, image, key) = attested(dir.path());
        let layout = store.layout().clone();
        let ask =
            |key: &str| write_policy(&layout, &Policy { require: true, trusted: vec![key.to_string()], ..Policy::default() }).unwrap();
        ask(&key);
        admit_image(&layout, &image, true).unwrap();

        let stranger = Key::load_or_make(&dir.path().join("stranger")).unwrap().public();
        ask(&stranger);
        assert!(refusal(&layout, &image).contains("no trusted key signed it"));
        ask(&key);

        let changed = |path: std::path::PathBuf, from: &str, to: &str, says: &str| {
            let good = std::fs::read_to_string(&path).unwrap();
            assert!(good.contains(from), "{from} is not in {}", path.display());
            std::fs::write(&path, good.replace(from, to)).unwrap();
            let said = refusal(&layout, &image);
            assert!(said.contains(says), "{said}");
            std::fs::write(&path, good).unwrap();
            admit_image(&layout, &image, true).unwrap();
        };
        let at = store.attested(&image);
        changed(layout.manifest(&image), "\"2\"", "\"3\"", "b 2 is only in what was signed");
        changed(layout.manifest(&image), image.hex(), &"0".repeat(64), "tells of another image");
        changed(layout.manifest(&image), "{", "", "is damaged");
        changed(at.join("sbom.cdx.json"), "CycloneDX", "cyclonedx", "its bill of materials was changed after it was signed");
        changed(at.join("provenance.dsse.json"), "\"payload\": \"ey", "\"payload\": \"ez", "no trusted key signed it");

        // The whole attestation of this image, given to another one.
        let other = files::digest_of(b"other");
        std::fs::create_dir_all(store.attested(&other)).unwrap();
        for name in ["sbom.cdx.json", "provenance.dsse.json"] {
            std::fs::copy(at.join(name), store.attested(&other).join(name)).unwrap();
        }
        assert!(refusal(&layout, &other).contains("the signature is of other bytes"));

        // The only key is distrusted: its images are refused at once, whether signatures are asked for or not.
        for require in [true, false] {
            let policy = Policy { require, trusted: Vec::new(), distrusted: vec![key.to_string()], ..Policy::default() };
            write_policy(&layout, &policy).unwrap();
            assert!(refusal(&layout, &image).contains("no trusted key signed it"), "{require}");
        }
        ask(&key);

        std::fs::remove_file(at.join("provenance.dsse.json")).unwrap();
        assert!(refusal(&layout, &image).contains("it has no signature, and the policy asks for one"));
        write_policy(&layout, &Policy { require: false, trusted: vec![key], ..Policy::default() }).unwrap();
        admit_image(&layout, &image, true).unwrap();
    }
}
