//! The kit of a disk and the disk's attestation: a real kit over the machine's own mirror, a tiny root that stands for an image.
//! `cargo test -p emit --test all disk:: -- --ignored --nocapture` as root; about ten seconds, and the kernel's 30 MB are fetched once.

use crate::kit;
use attest::{Policy, Verified};
use emit::{Artifact, DiskInputs};
use emit::{DiskMade, Which};
use model::{Digest, Fault, ImageSpec, Layout, Time};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::{Kind, Lock, Manifest, Store};

fn spec() -> ImageSpec {
    serde_json::from_value(serde_json::json!({ "name": "base", "debian": "bookworm", "packages": [] })).unwrap()
}

fn digest_of(file: &Path) -> Digest {
    let said = Command::new("sha256sum").arg(file).output().unwrap();
    Digest::new(format!("sha256:{}", String::from_utf8(said.stdout).unwrap().split(' ').next().unwrap())).unwrap()
}

/// An erofs volume of one file in the store, as an image (with a lock, signed) or as an artifact.
fn object(store: &Store, kind: Kind, kit: &Lock) -> Manifest {
    let work = tempfile::tempdir_in(store.layout().store()).unwrap();
    let tree = work.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(tree.join("file"), format!("{kind:?}")).unwrap();
    let out = work.path().join("volume");
    let mut make = Command::new("mkfs.erofs");
    make.args(["-T1000000000", "-U", "00000000-0000-4000-8000-000000000000", "--quiet"]).arg(&out).arg(&tree);
    assert!(make.output().unwrap().status.success());
    let mut lock = kit.clone();
    lock.head.spec = spec();
    lock.packages.truncate(2);
    let package =
        |p: &store::Locked| store::Package { name: p.name.clone(), version: p.version.clone(), arch: p.arch.clone(), source: None };
    let manifest = Manifest {
        kind,
        name: "base".into(),
        digest: digest_of(&out),
        bytes: 0,
        packages: lock.packages.iter().map(package).collect(),
        recipe: None,
        inputs: lock.digest(),
        made: Time(1),
        tools: Default::default(),
        seconds: Vec::new(),
        notes: Vec::new(),
        source: None,
        container: None,
    };
    store.put(&out, &manifest).unwrap();
    if kind == Kind::Image {
        lock.write(&store.lock_path(&lock.digest())).unwrap();
        attest::attest(store, &lock, &manifest, &attest::signing_key(store).unwrap()).unwrap();
    }
    manifest
}

struct World {
    store: Store,
    dir: tempfile::TempDir,
    image: Manifest,
    code: Manifest,
}

impl Drop for World {
    fn drop(&mut self) {
        kit::keep(self.dir.path());
    }
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&Layout::new(dir.path())).unwrap();
        let kit = emit::lock_kit(&store, &spec(), &mut |_| {}).unwrap();
        kit::lend_some(dir.path(), |name| kit.packages.iter().any(|p| name == format!("{}.deb", p.sha256)));
        let (image, code) = (object(&store, Kind::Image, &kit), object(&store, Kind::Artifact, &kit));
        World { store, dir, image, code }
    }

    fn policy(&self) -> Policy {
        Policy { require: true, artifacts: false, trusted: vec![attest::signing_key(&self.store).unwrap().public()], ..Policy::default() }
    }

    fn emit(&self, name: &str, which: Which) -> PathBuf {
        let out = self.dir.path().join(name);
        let kit = emit::kit(&self.store, &spec(), which, &mut |_| {}).unwrap();
        let (root, code) = (self.store.path(&self.image.digest).unwrap(), self.store.path(&self.code.digest).unwrap());
        let artifact = Some(Artifact::Inside(&code));
        let inputs = DiskInputs { root_erofs: &root, kit: &kit.kit, artifact, release: None, cmdline_extra: "quiet" };
        let emitted = emit::disk(&inputs, &out).unwrap();
        let made = DiskMade {
            disk: &out,
            emitted: &emitted,
            apart: None,
            image: &self.image,
            artifact: Some(&self.code.digest),
            kit: &kit,
            release: None,
            cmdline: "quiet",
        };
        let at = emit::attest_disk(&self.store, &made, &attest::signing_key(&self.store).unwrap()).unwrap();
        assert_eq!(at, emit::attested_beside(&out));
        out
    }

    fn refused(&self, disk: &Path) -> Fault {
        let fault = emit::verify_disk(&self.store, disk, &self.policy()).unwrap_err();
        println!("{}: {}", fault.code, fault.message);
        assert!(fault.hint.is_some());
        fault
    }
}

#[test]
#[ignore = "needs root and a mirror"]
fn a_disk_is_its_image_code_and_kit_and_is_signed_for() {
    let world = World::new();
    let kit = emit::kept_kit(&world.store, &spec()).unwrap();
    assert!(kit.packages.iter().any(|p| p.name.starts_with("linux-image-6.1.0-")), "{:?}", kit.packages);
    assert!(kit.packages.iter().all(|p| p.suite.starts_with("bookworm") && p.url.contains("://") && p.bytes > 0));
    assert!(!kit.packages.iter().any(|p| p.name.starts_with("initramfs")), "what would only run on an installed system stays out");

    let disk = world.emit("one.disk", Which::Kept);
    // From the lock and the package store alone, named by its first digits, in a process that is root without a network or with one.
    let again = world.emit("two.disk", Which::Lock(kit.digest().short()));
    assert_eq!(digest_of(&disk), digest_of(&again));

    let said = emit::verify_disk(&world.store, &disk, &world.policy()).unwrap();
    let key = world.policy().trusted[0].clone();
    assert_eq!(said.verified, Verified::By(key.clone()));
    let made = said.made_of.clone().unwrap();
    assert_eq!((&made.image, &made.artifact, &made.kit_lock), (&world.image.digest, &Some(world.code.digest.clone()), &kit.digest()));
    assert!(made.image_by == Some(key) && made.is_lock_here && made.components == kit.packages.len() + 2, "{made:?}");
    assert_eq!(emit::rebuild_disk(&world.store, &disk, &said, &mut |_| {}).unwrap(), (said.digest.clone(), Vec::new()));

    // What is not as it was signed for is refused, each for its reason.
    let file = std::fs::File::options().write(true).open(&again).unwrap();
    file.write_all_at(b"x", 1 << 21).unwrap();
    assert!(world.refused(&again).message.contains("the signature is of other bytes"));
    let (at, lock) = (emit::attested_beside(&disk), store::kit_lock_path(&world.store, &kit.digest()));
    for (path, from, to, says) in [
        (at.join("sbom.cdx.json"), "CycloneDX", "cyclonedx", "its bill of materials was changed"),
        (at.join("provenance.dsse.json"), "\"payload\": \"ey", "\"payload\": \"ez", "no trusted key signed it"),
        (lock.clone(), kit.packages[0].sha256.as_str(), &"0".repeat(64), "its kit's lock is damaged"),
        // Whoever changes it on purpose takes out the sum at its end too.
        (lock, kit.packages[0].sha256.as_str(), &"0".repeat(64), "which was not signed for"),
    ] {
        let good = std::fs::read_to_string(&path).unwrap();
        let mut bad = good.replacen(from, to, 1);
        if says.contains("not signed for") {
            bad.truncate(bad.rfind("\n{\"sum\"").unwrap() + 1);
        }
        assert_ne!(bad, good);
        std::fs::write(&path, &bad).unwrap();
        let message = world.refused(&disk).message;
        assert!(message.contains(says), "{message}");
        std::fs::write(&path, good).unwrap();
    }
    emit::verify_disk(&world.store, &disk, &world.policy()).unwrap();

    // The machine's policy counts for disks too.
    let layout = world.store.layout();
    attest::write_policy(layout, &world.policy()).unwrap();
    emit::admit_disk(layout, &disk, None).unwrap();
    std::fs::remove_dir_all(&at).unwrap();
    assert!(emit::admit_disk(layout, &disk, None).unwrap_err().message.contains("it has no signature, and the policy asks for one"));
}

#[test]
#[ignore = "needs root and a mirror"]
fn a_kit_that_is_behind_says_so_and_its_packages_live_as_long_as_its_lock() {
    let world = World::new();
    let kit = emit::kept_kit(&world.store, &spec()).unwrap();
    let state = emit::kit_state(&world.store, &spec(), &mut |_| {}).unwrap().unwrap();
    assert!(state.behind.is_empty() && state.lock == kit.digest() && state.packages == kit.packages.len(), "{state:?}");

    // As if a newer busybox had come since.
    let mut old = kit.clone();
    let package = old.packages.iter_mut().find(|p| p.name == "busybox-static").unwrap();
    (package.version, package.sha256) = ("1:1.0-1".to_string(), "0".repeat(64));
    old.write(&store::kit_lock_path(&world.store, &old.digest())).unwrap();
    let current = world.store.layout().store().join("kits/current").join(format!("{}.json", old.head.recipe.hex()));
    std::fs::write(&current, serde_json::json!({ "digest": old.digest(), "since": 1 }).to_string()).unwrap();
    let state = emit::kit_state(&world.store, &spec(), &mut |_| {}).unwrap().unwrap();
    let told: Vec<String> = state.behind.iter().map(ToString::to_string).collect();
    println!("{told:?}");
    assert!(told.len() == 1 && told[0].starts_with("busybox-static 1:1.0-1 -> 1:1.35"), "{told:?}");
    assert_eq!(emit::lock_kit(&world.store, &spec(), &mut |_| {}).unwrap().digest(), kit.digest());

    emit::kit(&world.store, &spec(), Which::Kept, &mut |_| {}).unwrap();
    let debs = || {
        std::fs::read_dir(world.store.layout().store().join("packages")).unwrap().filter(|e| e.as_ref().unwrap().path().is_file()).count()
    };
    assert_eq!(debs(), kit.packages.len());
    world.store.gc_after(&Default::default(), 1, 0).unwrap();
    assert_eq!(debs(), kit.packages.len(), "what the kept kit needs stays");
}
