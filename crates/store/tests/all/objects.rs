//! The store and the packing of artifacts, with real files and the real mkfs.erofs; no root needed.

use model::{Digest, ImageName, Layout, Time};
use rotation::ImageStore;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use store::{Did, Kind, Manifest, Store, pack};

fn store() -> (tempfile::TempDir, Layout, Store) {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path().join("data"));
    let store = Store::open(&layout).unwrap();
    (dir, layout, store)
}

fn sha256sum(path: &Path) -> String {
    let out = Command::new("sha256sum").arg(path).output().unwrap();
    format!("sha256:{}", String::from_utf8(out.stdout).unwrap().split(' ').next().unwrap())
}

fn put(store: &Store, name: &str, text: &str, made: u64) -> Digest {
    put_as(Kind::Image, store, name, text, made)
}

fn put_as(kind: Kind, store: &Store, name: &str, text: &str, made: u64) -> Digest {
    let work = store.work("test").unwrap();
    let file = work.path().join("object");
    fs::write(&file, text).unwrap();
    let digest = Digest::new(sha256sum(&file)).unwrap();
    let manifest = Manifest {
        kind,
        name: name.into(),
        digest: digest.clone(),
        bytes: text.len() as u64,
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

fn app(dir: &Path) {
    fs::create_dir_all(dir.join("sub/empty")).unwrap();
    for (name, text) in [("z.py", "print(1)\n"), ("a.py", "print(2)\n"), ("sub/data", "x"), ("sub/b", "")] {
        fs::write(dir.join(name), text).unwrap();
    }
    fs::set_permissions(dir.join("z.py"), fs::Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("../a.py", dir.join("sub/link")).unwrap();
}

#[test]
fn an_object_is_what_its_digest_says_or_it_is_not_there() {
    let (_dir, layout, store) = store();
    let digest = put(&store, "base", "bytes", 1);
    assert!(store.has(&digest).unwrap());
    assert_eq!(sha256sum(&layout.object(&digest)), digest.as_str());
    assert_eq!(fs::metadata(layout.object(&digest)).unwrap().permissions().mode() & 0o777, 0o444);
    store.verify(&digest).unwrap();

    fs::set_permissions(layout.object(&digest), fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(layout.object(&digest), "bytez").unwrap();
    assert!(!store.has(&digest).unwrap());
    let fault = store.verify(&digest).unwrap_err();
    assert_eq!(fault.code, "object-corrupt");
    assert!(fault.message.contains(&layout.object(&digest).display().to_string()) && fault.hint.is_some());
    assert_eq!(store.from_inputs(&digest).unwrap(), None);

    put(&store, "base", "bytes", 1);
    assert!(store.has(&digest).unwrap(), "putting it again repairs it");
    fs::remove_file(layout.object(&digest)).unwrap();
    assert!(!store.has(&digest).unwrap());
    assert_eq!(store.verify(&digest).unwrap_err().code, "object-missing");
}

#[test]
fn current_refuses_what_is_not_there_and_damage_is_told() {
    let (_dir, layout, store) = store();
    let name = ImageName::new("base").unwrap();
    assert_eq!(store.current(&name).unwrap(), None);
    let digest = put(&store, "base", "1", 1);
    store.set_current(&name, &digest).unwrap();
    assert_eq!(store.current(&name).unwrap(), Some(digest.clone()));
    let nowhere = Digest::new(format!("sha256:{}", "0".repeat(64))).unwrap();
    assert_eq!(store.set_current(&name, &nowhere).unwrap_err().code, "object-missing");
    assert_eq!(store.current(&name).unwrap(), Some(digest.clone()));

    fs::write(layout.store().join("current/base.json"), "{\"dig").unwrap();
    assert_eq!(store.current(&name).unwrap_err().code, "store-damaged");
    store.set_current(&name, &digest).unwrap();
    assert_eq!(store.current(&name).unwrap(), Some(digest.clone()), "writing it again repairs it");

    fs::write(layout.manifest(&digest), vec![0u8; 100]).unwrap();
    let (good, bad) = store.list().unwrap();
    assert_eq!((good.len(), bad[0].code.as_str()), (0, "store-damaged"));
}

#[test]
fn gc_keeps_what_is_used_current_new_or_young() {
    let (_dir, layout, store) = store();
    let all: Vec<Digest> = (0..6).map(|n| put(&store, "base", &format!("image {n}"), n)).collect();
    let other = put(&store, "other", "another", 0);
    store.set_current(&ImageName::new("base").unwrap(), &all[0]).unwrap();
    assert_eq!(store.gc(&BTreeSet::new(), 0).unwrap(), [], "all are younger than the time of grace");
    let backup = disk::lock::Lock::shared(&layout.store().join("locks/store.lock")).unwrap();
    assert_eq!(
        store.gc_after(&BTreeSet::new(), 0, 0).unwrap_err().code,
        "busy",
        "nobody waits for a backup, and nothing is removed from it"
    );
    drop(backup);
    let removed = store.gc_after(&BTreeSet::from([all[2].clone()]), 1, 0).unwrap();
    let gone: BTreeSet<Digest> = removed.iter().map(|r| r.digest.clone()).collect();
    assert_eq!(gone, BTreeSet::from([all[1].clone(), all[3].clone(), all[4].clone()]));
    for kept in [&all[0], &all[2], &all[5], &other] {
        assert!(store.has(kept).unwrap());
    }
    assert_eq!(store.from_inputs(&all[1]).unwrap(), None);
}

#[test]
fn half_made_work_of_the_dead_is_swept_and_that_of_the_living_is_not() {
    let (_dir, layout, store) = store();
    let alive = store.work("alive").unwrap();
    fs::write(alive.path().join("x"), "x").unwrap();
    let dead = layout.store().join("work/bake-1-0");
    fs::create_dir_all(dead.join("deep/er")).unwrap();
    fs::write(layout.store().join("work/bake-1-0.lock"), "").unwrap();
    fs::create_dir_all(layout.store().join("work/no-lock")).unwrap();
    let second = Store::open(&layout).unwrap();
    assert!(!dead.exists() && !layout.store().join("work/no-lock").exists());
    assert!(alive.path().join("x").exists());
    drop(alive);
    drop(second);
    assert_eq!(fs::read_dir(layout.store().join("work")).unwrap().count(), 0);
}

#[test]
fn the_same_content_is_the_same_artifact() {
    let (dir, layout, store) = store();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    app(&one);
    let first = pack(&store, &one).unwrap();
    assert_eq!((first.did, first.files), (Did::Baked, 4));
    assert_eq!(sha256sum(&layout.object(&first.manifest.digest)), first.manifest.digest.as_str());
    let written = fs::metadata(layout.object(&first.manifest.digest)).unwrap().modified().unwrap();

    // The same content: written in another order, by another umask, at another time, and as every kind of tarball.
    fs::create_dir_all(two.join("sub")).unwrap();
    std::os::unix::fs::symlink("../a.py", two.join("sub/link")).unwrap();
    for (name, text, mode) in [("sub/b", "", 0o600), ("sub/data", "x", 0o666), ("a.py", "print(2)\n", 0o644), ("z.py", "print(1)\n", 0o777)]
    {
        fs::write(two.join(name), text).unwrap();
        fs::set_permissions(two.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    fs::create_dir(two.join("sub/empty")).unwrap();
    let again = pack(&store, &two).unwrap();
    assert_eq!((again.did, &again.manifest.digest), (Did::Nothing, &first.manifest.digest));
    for (flag, name) in [("-cf", "a.tar"), ("-czf", "a.tar.gz"), ("-cJf", "a.tar.xz"), ("--zstd", "a.tar.zst")] {
        let tarball = dir.path().join(name);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&two);
        if flag == "--zstd" {
            tar.arg(flag).arg("-cf")
        } else {
            tar.arg(flag)
        };
        assert!(tar.arg(&tarball).arg(".").status().unwrap().success());
        let packed = pack(&store, &tarball).unwrap();
        assert_eq!((packed.did, &packed.manifest.digest), (Did::Nothing, &first.manifest.digest), "{name}");
    }
    assert_eq!(fs::metadata(layout.object(&first.manifest.digest)).unwrap().modified().unwrap(), written);

    // Made from nothing in another store: the same bytes.
    let elsewhere = Store::open(&Layout::new(dir.path().join("elsewhere"))).unwrap();
    let fresh = pack(&elsewhere, &two).unwrap();
    assert_eq!((fresh.did, fresh.manifest.digest), (Did::Baked, first.manifest.digest.clone()));

    fs::write(two.join("a.py"), "print(3)\n").unwrap();
    assert_ne!(pack(&store, &two).unwrap().manifest.digest, first.manifest.digest);
    assert_eq!(fs::read_dir(layout.store().join("work")).unwrap().count(), 0);
}

#[test]
fn file_order_on_disk_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..300).map(|n| format!("file-{}", (n * 7919) % 1000)).collect();
    let mut digests = BTreeSet::new();
    for (k, base) in
        [dir.path().join("up"), dir.path().join("down"), Path::new("/dev/shm").join(format!("afresh-test-{}", std::process::id()))]
            .iter()
            .enumerate()
    {
        fs::create_dir_all(base.join("app/x")).unwrap();
        let mut order: Vec<&String> = names.iter().collect();
        if k == 1 {
            order.reverse();
        }
        for name in order {
            fs::write(base.join("app").join(name), name).unwrap();
        }
        let store = Store::open(&Layout::new(base.join("data"))).unwrap();
        digests.insert(pack(&store, &base.join("app")).unwrap().manifest.digest);
        fs::remove_dir_all(base).unwrap();
    }
    assert_eq!(digests.len(), 1);
}

#[test]
fn bad_artifacts_are_told() {
    let (dir, _layout, store) = store();
    assert_eq!(pack(&store, &dir.path().join("nowhere")).unwrap_err().code, "no-such-file");
    let app = dir.path().join("app");
    fs::create_dir(&app).unwrap();
    assert_eq!(pack(&store, &app).unwrap_err().code, "empty-artifact");
    std::os::unix::fs::symlink("/etc/passwd", app.join("link")).unwrap();
    assert_eq!(pack(&store, &app).unwrap_err().code, "bad-artifact");
    fs::remove_file(app.join("link")).unwrap();
    assert!(Command::new("mkfifo").arg(app.join("pipe")).status().unwrap().success());
    assert_eq!(pack(&store, &app).unwrap_err().code, "bad-artifact");
}

/// Two at once, of the same content and of others, in threads with a store each: all whole, one object for each content.
#[test]
fn many_at_once_do_not_harm_each_other() {
    let (dir, layout, _store) = store();
    for n in 0..3 {
        let app = dir.path().join(format!("app{n}"));
        fs::create_dir(&app).unwrap();
        fs::write(app.join("f"), format!("{n}").repeat(10_000)).unwrap();
    }
    let digests: BTreeSet<Digest> = std::thread::scope(|s| {
        let started: Vec<_> = (0..9)
            .map(|n| {
                let (layout, app) = (layout.clone(), dir.path().join(format!("app{}", n % 3)));
                s.spawn(move || pack(&Store::open(&layout).unwrap(), &app).unwrap().manifest.digest)
            })
            .collect();
        started.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(digests.len(), 3);
    let store = Store::open(&layout).unwrap();
    assert!(digests.iter().all(|d| store.has(d).unwrap()));
}

#[test]
fn packages_live_as_long_as_a_lock_that_names_them() {
    let (_dir, layout, store) = store();
    let digest = put(&store, "base", "an image", 1);
    let inputs = store.manifest(&digest).unwrap().inputs;
    let line = |sha: &str| serde_json::json!({ "name": "p", "version": "1", "arch": "all", "suite": "s", "bytes": 1, "sha256": sha.repeat(64), "url": "http://m/" });
    let spec = serde_json::json!({ "name": "base", "debian": "bookworm", "packages": [] });
    let head = serde_json::json!({ "lock": 1, "debian": "bookworm", "arch": "amd64", "recipe": digest.as_str(), "spec": spec, "asked": 0, "indexes": [] });
    let lock = |sha: &str| store::Lock::parse(&format!("{head}\n{}\n", line(sha)), "test").unwrap();
    lock("a").write(&store.lock_path(&inputs)).unwrap();
    lock("b").write(&store.lock_path(&lock("b").digest())).unwrap();
    let packages = layout.store().join("packages");
    fs::create_dir_all(packages.join("partial")).unwrap();
    for sha in ["a", "b", "c"] {
        fs::write(packages.join(format!("{}.deb", sha.repeat(64))), "x").unwrap();
    }
    let kept = || ["a", "b", "c"].map(|sha| packages.join(format!("{}.deb", sha.repeat(64))).exists());
    store.gc(&BTreeSet::new(), 1).unwrap();
    assert_eq!(kept(), [true, true, true], "all are young");
    store.gc_after(&BTreeSet::new(), 1, 0).unwrap();
    assert_eq!(kept(), [true, false, false]);
    assert!(store.lock_path(&inputs).exists());
    assert_eq!(store.lock_of(&digest).unwrap_err().code, "lock-damaged", "it locks other packages than the image was built from");
    store.gc_after(&BTreeSet::new(), 0, 0).unwrap();
    assert_eq!(kept(), [false, false, false]);
}

#[test]
fn of_kept_trees_the_newest_stays_while_it_is_used() {
    let (_dir, layout, store) = store();
    let base = |name, text, made| put_as(Kind::Base, &store, name, text, made);
    let (old, new, other) = (base("a, packages only", "1", 1), base("a, packages only", "2", 2), base("b", "3", 1));
    let gone = |removed: Vec<store::Removed>| removed.into_iter().map(|r| r.digest).collect::<BTreeSet<_>>();
    assert_eq!(gone(store.gc(&BTreeSet::new(), 0).unwrap()), BTreeSet::new(), "young ones stay in any case");
    assert_eq!(gone(store.gc_after(&BTreeSet::new(), 5, 0).unwrap()), BTreeSet::from([old]), "however many images are kept");
    let week_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7 * 24 * 3600 + 60);
    for digest in [&new, &other] {
        for path in [layout.object(digest), layout.manifest(digest)] {
            fs::File::open(path).unwrap().set_modified(week_ago).unwrap();
        }
    }
    // Asked for is used.
    assert!(store.from_inputs(&other).unwrap().is_some());
    assert_eq!(gone(store.gc_after(&BTreeSet::new(), 0, 0).unwrap()), BTreeSet::from([new]));
}
