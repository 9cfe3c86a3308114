//! OCI layouts, read back by code that is not ours: every digest by its bytes, the layer by GNU tar, the whole by skopeo.

use emit::{Compress, Meta};
use model::{ContainerDefaults, ContainerHealthcheck, Digest};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const EPOCH: u64 = 1_790_000_000;

/// One of everything a root has.
fn tree(at: &Path) {
    fs::create_dir_all(at.join("etc/empty")).unwrap();
    fs::write(at.join("etc/hosts"), "127.0.0.1 localhost\n").unwrap();
    let long = at.join(format!("{}/{}", "d".repeat(90), "e".repeat(120)));
    fs::create_dir_all(&long).unwrap();
    fs::write(long.join("naïve name\nwith a line"), "long").unwrap();
    symlink("../".repeat(50) + "far", at.join("link")).unwrap();
    symlink("/etc/hosts", at.join("absolute")).unwrap();
    fs::write(at.join("twin-b"), "same").unwrap();
    fs::hard_link(at.join("twin-b"), at.join("twin-a")).unwrap();
    fs::set_permissions(at.join("twin-b"), fs::Permissions::from_mode(0o4755)).unwrap();
    nix::unistd::mkfifo(&at.join("fifo"), nix::sys::stat::Mode::from_bits_truncate(0o640)).unwrap();
    rustix::fs::lsetxattr(at.join("etc/hosts"), "user.note", b"kept\0\n=", rustix::fs::XattrFlags::empty()).ok();
    let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
    let old = rustix::fs::Timespec { tv_sec: 1_000_000_000, tv_nsec: 123 };
    let times = rustix::fs::Timestamps { last_access: old, last_modification: old };
    rustix::fs::utimensat(rustix::fs::CWD, at.join("etc/hosts"), &times, rustix::fs::AtFlags::empty()).unwrap();
}

fn blob(layout: &Path, digest: &Value) -> PathBuf {
    layout.join("blobs/sha256").join(digest.as_str().unwrap().strip_prefix("sha256:").unwrap())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn sha256sum(path: &Path) -> String {
    let said = Command::new("sha256sum").arg(path).output().unwrap();
    String::from_utf8(said.stdout).unwrap().split_whitespace().next().unwrap().to_string()
}

/// Every blob is what its name says, everything named is there with its size, and nothing else is.
fn check_layout(layout: &Path) -> Value {
    assert_eq!(json(&layout.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&layout.join("index.json"));
    let top = &index["manifests"][0];
    let manifest = json(&blob(layout, &top["digest"]));
    let mut named = BTreeSet::new();
    for descriptor in [top, &manifest["config"], &manifest["layers"][0]] {
        let at = blob(layout, &descriptor["digest"]);
        assert_eq!(fs::metadata(&at).unwrap().len(), descriptor["size"].as_u64().unwrap());
        assert_eq!(descriptor["digest"], format!("sha256:{}", sha256sum(&at)));
        named.insert(at.file_name().unwrap().to_os_string());
    }
    let there: BTreeSet<_> = fs::read_dir(layout.join("blobs/sha256")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(there, named);
    manifest
}

#[test]
fn a_layout_is_whole_and_its_layer_is_the_tree() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out, back) = (dir.path().join("tree"), dir.path().join("out"), dir.path().join("back"));
    fs::create_dir_all(&back).unwrap();
    tree(&from);
    let meta = Meta { name: "base:1".into(), epoch: EPOCH, ..Meta::default() };
    let emitted = emit::oci(&from, &out, &meta).unwrap();
    let manifest = check_layout(&out);
    assert_eq!(json(&out.join("index.json"))["manifests"][0]["digest"], emitted.digest.to_string());
    let layer = blob(&out, &manifest["layers"][0]["digest"]);
    let plain = Command::new("sh").args(["-c", "gzip -dc \"$1\" | sha256sum", "sh"]).arg(&layer).output().unwrap();
    let config = json(&blob(&out, &manifest["config"]["digest"]));
    let plain = String::from_utf8(plain.stdout).unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", plain.split_whitespace().next().unwrap()));
    assert_eq!(config["created"], "2026-09-21T14:13:20Z");

    let done = Command::new("tar").args(["--xattrs", "--xattrs-include=*", "-xpzf"]).arg(&layer).arg("-C").arg(&back).output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert_eq!(fs::read_link(back.join("link")).unwrap(), fs::read_link(from.join("link")).unwrap());
    let long = format!("{}/{}/naïve name\nwith a line", "d".repeat(90), "e".repeat(120));
    assert_eq!(fs::read(back.join(long)).unwrap(), b"long");
    let (a, b) = (fs::metadata(back.join("twin-a")).unwrap(), fs::metadata(back.join("twin-b")).unwrap());
    assert_eq!((a.ino(), a.mode() & 0o7777), (b.ino(), 0o4755));
    assert!(fs::metadata(back.join("fifo")).unwrap().file_type().is_fifo());
    assert!(fs::symlink_metadata(back.join("socket")).is_err());
    let hosts = fs::metadata(back.join("etc/hosts")).unwrap();
    assert_eq!((hosts.mtime(), hosts.mtime_nsec()), (1_000_000_000, 0));
    assert_eq!(fs::metadata(back.join("etc/empty")).unwrap().mtime(), EPOCH as i64, "what is newer than the image's time has that time");
    let mut note = [0u8; 64];
    if let Ok(size) = rustix::fs::lgetxattr(from.join("etc/hosts"), "user.note", note.as_mut_slice()) {
        let mut back_note = [0u8; 64];
        let back_size = rustix::fs::lgetxattr(back.join("etc/hosts"), "user.note", back_note.as_mut_slice()).unwrap();
        assert_eq!(note[..size], back_note[..back_size]);
    }
}

/// Found by a reader: a container image that was pushed on had lost its entrypoint.
#[test]
fn a_container_image_keeps_what_it_says_of_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("tree"), dir.path().join("out"));
    tree(&from);
    let said = ContainerDefaults {
        entrypoint: vec!["/app".into()],
        cmd: vec!["--serve".into()],
        env: [("MODE".to_string(), "live".to_string())].into(),
        user: Some("app".into()),
        ids: Some((1000, 1000)),
        workdir: Some("/srv".into()),
        ports: vec!["8080/tcp".into()],
        volumes: vec!["/data".into()],
        stop_signal: Some("SIGINT".into()),
        healthcheck: Some(ContainerHealthcheck {
            test: vec!["/probe".into()],
            interval_ms: Some(5_000),
            timeout_ms: None,
            start_period_ms: None,
            retries: Some(2),
        }),
    };
    emit::oci(&from, &out, &Meta { epoch: EPOCH, defaults: Some(&said), ..Meta::default() }).unwrap();
    let manifest = check_layout(&out);
    let config = json(&blob(&out, &manifest["config"]["digest"]));
    assert_eq!(
        config["config"],
        serde_json::json!({
            "Entrypoint": ["/app"], "Cmd": ["--serve"], "Env": ["MODE=live"], "User": "app", "WorkingDir": "/srv", "ExposedPorts": { "8080/tcp": {} },
            "Volumes": { "/data": {} }, "StopSignal": "SIGINT",
            "Healthcheck": { "Test": ["CMD", "/probe"], "Interval": 5_000_000_000u64, "Timeout": 0, "StartPeriod": 0, "Retries": 2 },
        })
    );
    let (bare, none) = (dir.path().join("bare"), ContainerDefaults::default());
    emit::oci(&from, &bare, &Meta { epoch: EPOCH, defaults: Some(&none), ..Meta::default() }).unwrap();
    assert_eq!(json(&blob(&bare, &check_layout(&bare)["config"]["digest"]))["config"], serde_json::json!({}));
}

/// skopeo reads every blob, checks its digest, and for the second form unpacks the layer.
#[test]
#[ignore = "needs skopeo"]
fn skopeo_takes_the_layout() {
    let dir = tempfile::tempdir().unwrap();
    let (from, out) = (dir.path().join("tree"), dir.path().join("out"));
    tree(&from);
    let emitted = emit::oci(&from, &out, &Meta { name: "base:1".into(), epoch: EPOCH, ..Meta::default() }).unwrap();
    let source = format!("oci:{}:base:1", out.display());
    let said = Command::new("skopeo").args(["inspect", "--raw"]).arg(&source).output();
    let said = said.unwrap_or_else(|e| panic!("cannot start skopeo: {e}: apt install skopeo (`make deps-test` does)"));
    assert_eq!(
        format!("sha256:{}", sha256_of(&said.stdout, dir.path())),
        emitted.digest.to_string(),
        "{}",
        String::from_utf8_lossy(&said.stderr)
    );
    for target in ["dir:", "docker-archive:"] {
        let to = format!("{target}{}", dir.path().join(target.trim_end_matches(':')).display());
        let done = Command::new("skopeo").args(["--insecure-policy", "copy", "--quiet", &source, &to]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
}

fn sha256_of(bytes: &[u8], dir: &Path) -> String {
    fs::write(dir.join("raw"), bytes).unwrap();
    sha256sum(&dir.join("raw"))
}

#[test]
fn equal_trees_made_in_another_order_give_equal_layouts() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    for (at, names) in [(&one, ["a", "b", "c"]), (&two, ["c", "a", "b"])] {
        fs::create_dir(at).unwrap();
        names.iter().for_each(|n| fs::write(at.join(n), n).unwrap());
        fs::hard_link(at.join("b"), at.join("z")).unwrap();
    }
    for compress in [Compress::Gzip, Compress::None] {
        let meta = Meta { epoch: EPOCH, compress, ..Meta::default() };
        let first = emit::oci(&one, &dir.path().join("x"), &meta).unwrap();
        assert_eq!(first, emit::oci(&two, &dir.path().join("y"), &meta).unwrap());
        check_layout(&dir.path().join("x"));
    }
}

#[test]
fn what_cannot_be_emitted_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let (file, out) = (dir.path().join("file"), dir.path().join("out"));
    assert_eq!(emit::oci(&file, &out, &Meta::default()).unwrap_err().code, "no-such-file");
    fs::write(&file, vec![0; 8192]).unwrap();
    assert_eq!(emit::volume(&file, &out).unwrap_err().code, "not-erofs");
    if nix::unistd::Uid::effective().is_root() {
        assert_eq!(emit::oci(&file, &out, &Meta::default()).unwrap_err().code, "cannot-mount");
    }
    assert!(!out.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half-made is left");
}

#[test]
#[ignore = "needs root and erofs-utils: mounts by loop"]
fn the_erofs_object_and_its_tree_give_one_layout() {
    let dir = tempfile::tempdir().unwrap();
    let (from, volume) = (dir.path().join("tree"), dir.path().join("volume"));
    tree(&from);
    fs::remove_file(from.join("socket")).unwrap();
    // Not -T: with it mkfs.erofs 1.5 gives every file that one time.
    let mut make = Command::new("mkfs.erofs");
    make.args(["-zlz4", "--preserve-mtime", "--quiet"]).arg(&volume).arg(&from).env("SOURCE_DATE_EPOCH", EPOCH.to_string());
    let done = make.output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let meta = Meta { epoch: EPOCH, ..Meta::default() };
    let by_tree = emit::oci(&from, &dir.path().join("x"), &meta).unwrap();
    let by_volume = emit::oci(&volume, &dir.path().join("y"), &meta).unwrap();
    let digests: Vec<&Digest> = vec![&by_tree.digest, &by_volume.digest];
    println!("{digests:?}");
    assert_eq!(by_tree, by_volume);
}
