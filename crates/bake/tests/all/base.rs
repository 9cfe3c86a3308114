//! Images that share a base, baked for real over the machine's own mirror. Run them with
//! `cargo test -p bake --test all base:: -- --ignored --nocapture --test-threads 1` as root.

use crate::kit;
use bake::{Baked, From, Progress, bake, verify_rebuild};
use model::{Digest, ImageSpec, Layout};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use store::Kind;

/// Sees all there is of a tree, then does what an overlay would do in another way than a tree made from nothing.
const SCRIPT: &str = "set -eu
export LC_ALL=C
find /etc /usr /var /srv -printf '%p %y %m %U %G %n %T@ %l\\n' > /tmp/seen; sort /tmp/seen > /etc/seen
getcap -r /usr > /etc/capabilities
test -s /etc/capabilities
touch /usr/bin/perl
mv /usr/share/doc/tar /usr/share/doc/moved
rm -r /usr/share/doc/apt; mkdir /usr/share/doc/apt; echo new > /usr/share/doc/apt/new
chmod 4700 /usr/bin/gzip; ln /usr/bin/gzip /usr/bin/gzip2
dpkg-reconfigure tzdata
";

/// With capabilities on a file, and a service's users.
const BASE: [&str; 3] = ["iputils-ping", "libcap2-bin", "tzdata"];

fn spec(text: Value) -> ImageSpec {
    serde_json::from_value(text).unwrap()
}

fn on_base(name: &str, more: Value) -> ImageSpec {
    let mut text = json!({ "name": name, "debian": "bookworm", "packages": BASE });
    text.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec(text)
}

fn with_file(name: &str) -> ImageSpec {
    on_base(
        name,
        json!({ "custom": { "files": { "/etc/name": { "content": name } }, "users": { "shop": { "uid": 1000, "home": "/srv/shop" } } } }),
    )
}

fn quiet(_: Progress) {}

fn told(baked: &Baked) {
    eprintln!("{} {} {:?}\n  {:?} {:?}", baked.image, baked.digest.short(), baked.base, baked.steps, baked.notes);
}

fn did(baked: &Baked, step: &str) -> bool {
    baked.steps.iter().any(|(s, _)| s == step)
}

fn from(baked: &Baked) -> From {
    baked.base.as_ref().unwrap().from
}

#[test]
#[ignore = "needs root and a mirror"]
fn images_on_a_kept_base_are_as_from_nothing() {
    let dir = kit::Data::new();
    let store = kit::store(dir.path());
    let a = bake(&store, &with_file("a"), &mut quiet).unwrap();
    told(&a);
    assert!(from(&a) == From::Made && did(&a, "unpack") && did(&a, "keep"));

    let b = bake(&store, &on_base("b", json!({ "custom": { "script": SCRIPT } })), &mut quiet).unwrap();
    told(&b);
    assert!(from(&b) == From::Store && !did(&b, "unpack"), "the base was there");
    assert!(b.notes.iter().any(|n| n == "its script gave the same result twice"), "{:?}", b.notes);

    // The very image the others stand on: its tree is there whole.
    let plain = bake(&store, &on_base("plain", json!({})), &mut quiet).unwrap();
    told(&plain);
    assert_eq!((&plain.digest, did(&plain, "unpack")), (&a.base.as_ref().unwrap().digest, false));
    assert_eq!(store.manifest(&plain.digest).unwrap().kind, Kind::Image);

    // Further packages, with triggers and debconf, in a stage of their own.
    let further = json!({ "name": "c", "debian": "bookworm", "packages": ["ca-certificates"], "base": on_base("plain", json!({})),
        "custom": { "files": { "/etc/name": { "content": "c" } } } });
    let c = bake(&store, &spec(further), &mut quiet).unwrap();
    told(&c);
    assert!(!did(&c, "unpack") && c.packages.len() > plain.packages.len());
    let lock = store.lock_of(&c.digest).unwrap();
    let of = |level| lock.packages.iter().filter(move |p| p.level == level).map(|p| p.name.as_str()).collect::<Vec<_>>();
    assert_eq!(of(0).len(), plain.packages.len());
    assert!(of(1).contains(&"ca-certificates") && of(1).contains(&"openssl"), "{:?}", of(1));

    for baked in [&a, &b, &c] {
        let again = verify_rebuild(&store, &baked.digest, &mut quiet).unwrap();
        eprintln!("{} from nothing: {} {:?}", baked.image, again.again.short(), again.steps);
        assert!(again.is_same(), "{}: {:#?}", baked.image, again.differences);
        assert!(again.steps.iter().any(|(s, _)| s == "unpack") && !again.steps.iter().any(|(s, _)| s == "base"));
    }
}

#[test]
#[ignore = "needs root and a mirror"]
fn a_damaged_base_is_seen_and_made_anew() {
    let dir = kit::Data::new();
    let layout = Layout::new(dir.path());
    let bake = |name: &str| {
        // Opened again, as another process would: nothing is known of bytes that were read before.
        let baked = bake(&kit::store(layout.root()), &with_file(name), &mut quiet).unwrap();
        told(&baked);
        baked.base.unwrap()
    };
    let first = bake("a");
    assert_eq!(first.from, From::Made);
    let object = layout.object(&first.digest);
    let good = std::fs::read(&object).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    std::fs::write(&object, &bad).unwrap();
    let again = bake("c");
    assert_eq!((again.from, &again.digest), (From::Made, &first.digest), "a bit that was turned");
    assert!(std::fs::read(&object).unwrap() == good, "it is whole again");

    // The note of it leads to another image, which is whole: what is installed there is not what is locked here.
    let other = spec(json!({ "name": "other", "debian": "bookworm", "packages": ["ca-certificates"] }));
    let other = bake::bake(&kit::store(layout.root()), &other, &mut quiet).unwrap();
    let note = layout.store().join("inputs").join(format!("{}.json", key_of(&layout, &first.digest)));
    std::fs::write(&note, json!({ "digest": other.digest }).to_string()).unwrap();
    let again = bake("d");
    assert_eq!((again.from, &again.digest), (From::Made, &first.digest), "a note that leads astray");
    std::fs::write(&note, "{\"digest\":").unwrap();
    std::fs::File::options().write(true).open(&object).unwrap().set_len(4096).unwrap();
    let again = bake("e");
    assert_eq!((again.from, &again.digest), (From::Made, &first.digest), "both cut off");
    assert_eq!(bake("f").from, From::Store);
}

/// What a kept tree is kept under, as its manifest has it.
fn key_of(layout: &Layout, digest: &Digest) -> String {
    let manifest: Value = serde_json::from_slice(&std::fs::read(layout.manifest(digest)).unwrap()).unwrap();
    manifest["inputs"].as_str().unwrap().trim_start_matches("sha256:").to_string()
}

#[test]
#[ignore = "needs root and a mirror"]
fn two_bakes_at_once_make_their_base_once() {
    let dir = kit::Data::new();
    let layout = Layout::new(dir.path());
    let layout = &layout;
    let both: Vec<Baked> = std::thread::scope(|scope| {
        let begin = |name| scope.spawn(move || bake(&kit::store(layout.root()), &with_file(name), &mut quiet).unwrap());
        let both = [begin("a"), begin("b")];
        both.into_iter().map(|b| b.join().unwrap()).collect()
    });
    both.iter().for_each(told);
    assert_ne!(both[0].digest, both[1].digest);
    assert_eq!(both.iter().filter(|b| did(b, "unpack")).count(), 1, "one unpacked");
    assert_eq!(both.iter().filter(|b| from(b) == From::Made).count(), 1);
    assert_eq!(both[0].base.as_ref().unwrap().digest, both[1].base.as_ref().unwrap().digest);
}

/// Killed as soon as it says that it is at a step: nothing half-made is left, and the next one goes on.
#[test]
#[ignore = "needs root and a mirror"]
fn killed_while_it_keeps_or_takes_a_base() {
    let dir = kit::Data::new();
    let layout = Layout::new(dir.path());
    let recipe = dir.path().join("recipe.json");
    std::fs::write(&recipe, serde_json::to_vec(&with_file("a")).unwrap()).unwrap();
    let me = std::env::current_exe().unwrap();
    let factory = me.parent().and_then(Path::parent).unwrap().join("examples/factory");
    for step in ["keep", "customise", "base", "customise", "emit"] {
        let mut child = std::process::Command::new(&factory)
            .arg(dir.path())
            .args(["bake", &format!("@{}", recipe.display())])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|l| l.unwrap().starts_with(&format!("{step} "))), "it came to {step}");
        child.kill().unwrap();
        child.wait().unwrap();
        let store = kit::store(layout.root());
        let (_, bad) = store.list().unwrap();
        assert!(bad.is_empty(), "{step}: {bad:?}");
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        assert!(!mounts.contains(dir.path().to_str().unwrap()), "{step}: a mount is left");
    }
    let store = kit::store(layout.root());
    let baked = bake(&store, &with_file("a"), &mut quiet).unwrap();
    told(&baked);
    assert_eq!(from(&baked), From::Store, "the base outlived the bakes that were killed after it was kept");
    assert_eq!(std::fs::read_dir(layout.store().join("work")).unwrap().count(), 0);
    let again = verify_rebuild(&store, &baked.digest, &mut quiet).unwrap();
    assert!(again.is_same(), "{:#?}", again.differences);
}
