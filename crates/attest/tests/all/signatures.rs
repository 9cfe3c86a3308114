//! Signatures and the policy that asks for them: whose word a host takes for an image.

use attest::{Policy, Verified, verify_signature};
use model::{Digest, Layout, Time};
use std::collections::BTreeMap;
use std::fs;
use store::{Kind, Manifest, Store};

fn store() -> (tempfile::TempDir, Layout, Store) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("data"));
    let store = Store::open(&layout).unwrap();
    (dir, layout, store)
}

fn put(store: &Store, name: &str, text: &str, made: u64) -> Digest {
    let work = store.work("test").unwrap();
    let file = work.path().join("object");
    fs::write(&file, text).unwrap();
    let (digest, bytes) = disk::files::digest_file(&file).unwrap();
    let manifest = Manifest {
        kind: Kind::Image,
        name: name.into(),
        digest: digest.clone(),
        bytes,
        packages: vec![],
        recipe: None,
        inputs: digest.clone(),
        made: Time(made),
        tools: BTreeMap::new(),
        seconds: vec![],
        notes: vec![],
        source: None,
        container: None,
    };
    store.put(&file, &manifest).unwrap();
    digest
}

fn attested() -> (tempfile::TempDir, Layout, Store, Digest, String) {
    let (dir, layout, store) = store();
    let digest = put(&store, "base", "an image", 1);
    let zero = format!("sha256:{}", "0".repeat(64));
    let spec = serde_json::json!({ "name": "base", "debian": "bookworm", "packages": ["curl"] });
    let head =
        serde_json::json!({ "lock": 1, "debian": "bookworm", "arch": "amd64", "recipe": zero, "spec": spec, "asked": 0, "indexes": [] });
    let line = serde_json::json!({ "name": "curl", "version": "1:7.8+b1", "arch": "amd64", "suite": "s", "bytes": 1, "sha256": "a".repeat(64), "url": "http://m/" });
    let lock = store::Lock::parse(&format!("{head}\n{line}\n"), "test").unwrap();
    let key = attest::Key::load_or_make(&dir.path().join("key")).unwrap();
    attest::attest(&store, &lock, &store.manifest(&digest).unwrap(), &key).unwrap();
    (dir, layout, store, digest, key.public())
}

#[test]
fn a_host_takes_only_what_a_trusted_key_says_of_this_very_image() {
    let (dir, layout, store, digest, key) = attested();
    let stranger = attest::Key::load_or_make(&dir.path().join("stranger")).unwrap().public();
    let policy =
        |require: bool, keys: &[&String]| Policy { require, trusted: keys.iter().map(|k| (*k).clone()).collect(), ..Policy::default() };
    assert_eq!(verify_signature(&layout, &digest, &policy(true, &[&stranger, &key])).unwrap(), Verified::By(key.clone()));
    assert_eq!(verify_signature(&layout, &digest, &policy(false, &[&stranger])).unwrap_err().code, "signature-refused");

    let unsigned = put(&store, "base", "another image", 2);
    assert_eq!(verify_signature(&layout, &unsigned, &policy(false, &[&key])).unwrap(), Verified::Unsigned);
    assert_eq!(verify_signature(&layout, &unsigned, &policy(true, &[&key])).unwrap_err().code, "signature-refused");

    // The signature of one image laid beside another.
    let (from, to) = (store.attested(&digest), store.attested(&unsigned));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(&from).unwrap().flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let fault = verify_signature(&layout, &unsigned, &policy(true, &[&key])).unwrap_err();
    assert!(fault.message.contains("of other bytes"), "{fault:?}");

    // A bill of materials that was changed, and an envelope of which any byte was.
    let sbom = from.join("sbom.cdx.json");
    let good = fs::read(&sbom).unwrap();
    assert!(String::from_utf8_lossy(&good).contains("pkg:deb/debian/curl@1%3A7.8%2Bb1?arch=amd64&distro=bookworm"));
    fs::write(&sbom, [&good[..], b" "].concat()).unwrap();
    assert!(verify_signature(&layout, &digest, &policy(true, &[&key])).unwrap_err().message.contains("bill of materials"));
    fs::write(&sbom, good).unwrap();
    let path = from.join("provenance.dsse.json");
    let good = fs::read(&path).unwrap();
    for at in (0..good.len()).step_by(37) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        match verify_signature(&layout, &digest, &policy(true, &[&key])) {
            Err(f) => assert_eq!(f.code, "signature-refused", "byte {at}"),
            // White space and the key's name are not signed: names are hints in DSSE.
            Ok(by) => assert_eq!(by, Verified::By(key.clone())),
        }
    }
    for cut in [0, 1, good.len() / 2] {
        fs::write(&path, &good[..cut]).unwrap();
        assert_eq!(verify_signature(&layout, &digest, &policy(false, &[&key])).unwrap_err().code, "signature-refused");
    }
}
