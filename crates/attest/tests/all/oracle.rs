//! Our signatures, read by others: envelopes are opened by a few lines of Python that know nothing of us, and OpenSSL checks the
//! ed25519. The other way round, OpenSSL signs by a command, and we check. Needs python3 and openssl.

use attest::{Key, Policy, Signer, Verified};
use model::{Digest, Layout, Time};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{Form, Kind, Manifest, Source, Store};

/// The DSSE protocol's own text was all this was written from. Prints type, subject and the digest of the bill of materials.
const READER: &str = r#"
import base64, json, pathlib, subprocess, sys, tempfile
envelope = json.load(open(sys.argv[1]))
body = base64.b64decode(envelope["payload"], validate=True)
kind = envelope["payloadType"].encode()
pae = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(body), body)
with tempfile.TemporaryDirectory() as d:
    d = pathlib.Path(d)
    (d / "message").write_bytes(pae)
    (d / "key").write_bytes(bytes.fromhex("302a300506032b6570032100") + bytes.fromhex(sys.argv[2]))
    for s in envelope["signatures"]:
        (d / "sig").write_bytes(base64.b64decode(s["sig"], validate=True))
        subprocess.run(["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", d / "key", "-keyform", "DER", "-rawin",
                        "-in", d / "message", "-sigfile", d / "sig"], check=True, stdout=subprocess.DEVNULL)
statement = json.loads(body)
assert len(envelope["signatures"]) == 1 and statement["_type"] == "https://in-toto.io/Statement/v1"
made = statement["predicate"]["runDetails"].get("byproducts", [])
print(kind.decode(), statement["subject"][0]["digest"]["sha256"], *[b["digest"]["sha256"] for b in made])
"#;

const SIGNER: &str = r#"#!/usr/bin/env python3
import base64, subprocess, sys, tempfile
key, trouble = sys.argv[1], sys.argv[2:]
if trouble == ["--locked"]:
    sys.exit("the token is locked: three wrong PINs")
message = sys.stdin.buffer.read()
if trouble == ["--other"]:
    message += b"!"
with tempfile.NamedTemporaryFile() as f:
    f.write(message)
    f.flush()
    done = subprocess.run(["openssl", "pkeyutl", "-sign", "-inkey", key, "-rawin", "-in", f.name], check=True, capture_output=True)
print("asked OpenSSL", file=sys.stderr)
print(base64.b64encode(done.stdout).decode())
"#;

fn well(c: &mut Command) -> Vec<u8> {
    let done = c.output().unwrap_or_else(|e| panic!("{c:?}: {e}: this test needs python3 and openssl"));
    assert!(done.status.success(), "{c:?}: {}", String::from_utf8_lossy(&done.stderr));
    done.stdout
}

/// What the others read: type, subject, bill.
fn read(envelope: &Path, public: &str) -> Vec<String> {
    let said = well(Command::new("python3").args(["-c", READER]).arg(envelope).arg(public));
    String::from_utf8(said).unwrap().split_whitespace().map(str::to_string).collect()
}

fn sha256sum(path: &Path) -> String {
    String::from_utf8(well(Command::new("sha256sum").arg(path))).unwrap().split(' ').next().unwrap().to_string()
}

struct World {
    dir: tempfile::TempDir,
    store: Store,
    image: Digest,
    lock: store::Lock,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&Layout::new(dir.path().join("data"))).unwrap();
    let work = store.work("test").unwrap();
    let object = work.path().join("object");
    fs::write(&object, "an image").unwrap();
    let image = Digest::new(format!("sha256:{}", sha256sum(&object))).unwrap();
    let manifest = Manifest {
        kind: Kind::Image,
        name: "base".into(),
        digest: image.clone(),
        bytes: 8,
        packages: Vec::new(),
        recipe: None,
        inputs: image.clone(),
        made: Time(1),
        tools: BTreeMap::new(),
        seconds: Vec::new(),
        notes: Vec::new(),
        source: None,
        container: None,
    };
    store.put(&object, &manifest).unwrap();
    let spec = serde_json::json!({ "name": "base", "debian": "bookworm", "packages": ["curl"] });
    let head =
        serde_json::json!({ "lock": 1, "debian": "bookworm", "arch": "amd64", "recipe": image, "spec": spec, "asked": 0, "indexes": [] });
    let line = serde_json::json!({ "name": "curl", "version": "1:7.8+b1", "arch": "amd64", "suite": "s", "bytes": 1, "sha256": "a".repeat(64), "url": "http://m/" });
    let lock = store::Lock::parse(&format!("{head}\n{line}\n"), "test").unwrap();
    World { dir, store, image, lock }
}

impl World {
    fn envelope(&self, digest: &Digest) -> PathBuf {
        self.store.attested(digest).join("provenance.dsse.json")
    }

    fn attest(&self, key: &Key) -> Result<(), model::Fault> {
        attest::attest(&self.store, &self.lock, &self.store.manifest(&self.image).unwrap(), key)
    }

    fn app(&self) -> PathBuf {
        let app = self.dir.path().join("app");
        fs::create_dir_all(&app).unwrap();
        fs::write(app.join("web.py"), "print()").unwrap();
        app
    }

    /// A key of OpenSSL's, a command that signs with it, and its public half.
    fn openssl(&self) -> (Vec<String>, String) {
        let (key, script) = (self.dir.path().join("key.pem"), self.dir.path().join("sign.py"));
        well(Command::new("openssl").args(["genpkey", "-algorithm", "ed25519", "-out"]).arg(&key));
        let der = well(Command::new("openssl").args(["pkey", "-pubout", "-outform", "DER", "-in"]).arg(&key));
        fs::write(&script, SIGNER).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let public = der[der.len() - 32..].iter().map(|b| format!("{b:02x}")).collect();
        ([&script, &key].map(|p| p.to_string_lossy().into_owned()).to_vec(), public)
    }
}

#[test]
fn others_open_what_we_sealed() {
    let w = world();
    let key = Key::load_or_make(&w.dir.path().join("key")).unwrap();
    w.attest(&key).unwrap();
    let bill = sha256sum(&w.store.attested(&w.image).join("sbom.cdx.json"));
    assert_eq!(read(&w.envelope(&w.image), &key.public()), ["application/vnd.in-toto+json", w.image.hex(), &bill]);

    let packed = attest::pack_with(&w.store, &w.app(), &key).unwrap();
    assert_eq!(read(&w.envelope(&packed.digest), &key.public()), ["application/vnd.in-toto+json", packed.digest.hex()]);
    let source = w.store.manifest(&packed.digest).unwrap().source.unwrap();
    let path = w.app().canonicalize().unwrap().to_string_lossy().into_owned();
    assert_eq!(source, Source { path, form: Form::Directory, sum: None, files: 1 });
}

#[test]
fn we_take_what_a_command_signed() {
    let w = world();
    let (command, public) = w.openssl();
    let key = Key::command(command.clone(), &public.to_uppercase()).unwrap();
    w.attest(&key).unwrap();
    assert_eq!(read(&w.envelope(&w.image), &public)[1], w.image.hex());
    let policy = Policy { require: true, artifacts: true, trusted: vec![public.clone()], ..Policy::default() };
    assert_eq!(attest::verify_signature(w.store.layout(), &w.image, &policy).unwrap(), Verified::By(public.clone()));

    // Said once for the machine, it signs whatever is packed there.
    attest::write_signer(&w.store, Some(&Signer::Command { command, public: public.clone() })).unwrap();
    let packed = attest::pack(&w.store, &w.app()).unwrap();
    assert_eq!((&packed.signed_by, attest::own_key(&w.store).unwrap()), (&public, Some(public.clone())));
    assert_eq!(attest::verify_artifact(w.store.layout(), &packed.digest, &policy).unwrap(), Verified::By(public));
    assert!(!w.store.layout().store().join("keys").exists(), "no key of its own was made");
}

#[test]
fn a_command_that_does_not_sign_changes_nothing_and_its_words_are_shown() {
    let w = world();
    let (command, public) = w.openssl();
    w.attest(&Key::command(command.clone(), &public).unwrap()).unwrap();
    let good = fs::read(w.envelope(&w.image)).unwrap();
    let with = |more: &str| [command.clone(), vec![more.to_string()]].concat();
    for (command, public, code, says) in [
        (with("--locked"), public.clone(), "tool-failed", "the token is locked: three wrong PINs"),
        (with("--other"), public.clone(), "bad-signature", "no signature by the key"),
        (command.clone(), "ab".repeat(32), "bad-signature", "no signature by the key"),
        (vec!["cat".to_string(), "/dev/null".to_string()], public.clone(), "bad-signature", "0 bytes, and a signature has 64"),
        (vec![command[0].clone(), "/no/such/key".to_string()], public.clone(), "tool-failed", "/no/such/key"),
        (vec!["/no/such/program".to_string()], public.clone(), "tool-failed", "/no/such/program"),
    ] {
        let fault = w.attest(&Key::command(command.clone(), &public).unwrap()).unwrap_err();
        assert!(fault.code == code && fault.message.contains(says) && fault.hint.is_some(), "{command:?}: {fault:?}");
        assert_eq!(fs::read(w.envelope(&w.image)).unwrap(), good, "{command:?}");
    }
}

#[test]
fn a_signer_that_cannot_be_read_signs_nothing() {
    let w = world();
    let path = attest::signer_path(&w.store);
    for bad in ["", "{}", "[]", "{\"key\": 1}", "{\"command\": [\"x\"]}", "{\"key\": \"/x\", \"public\": \"y\"}"] {
        fs::write(&path, bad).unwrap();
        let fault = attest::pack(&w.store, &w.app()).unwrap_err();
        assert!(fault.code == "bad-signer" && fault.message.contains("signer.json") && fault.hint.is_some(), "{bad}: {fault:?}");
    }
    fs::write(&path, "{\"key\": \"/no/such/key\"}").unwrap();
    assert_eq!(attest::pack(&w.store, &w.app()).unwrap_err().code, "no-such-file", "only the store's own key is made");
    for bad in [Signer::File { key: "/dev/null".into() }, Signer::Command { command: Vec::new(), public: "ab".repeat(32) }] {
        assert_eq!(attest::write_signer(&w.store, Some(&bad)).unwrap_err().code, "bad-key");
    }
    attest::write_signer(&w.store, None).unwrap();
    attest::pack(&w.store, &w.app()).unwrap();
}
