//! Layers that nobody should have made: each is refused with words, and nothing is left.

use crate::images::{Image, Item, Pack, device, dir, fifo, file, hard, image, of_items, record, sum, symlink, tar};
use crate::stores::{flatten, limits, place};
use disk::files;
use model::Fault;
use oci::{Layer, Limits, Options, resolve, scan, scan_all};
use std::fs;
use std::path::Path;

fn options(limits: Limits) -> Options {
    Options { limits, ..Options::default() }
}

/// The fault of a layer that is only read.
fn scanned(plain: &[u8], packed: Vec<u8>, limits: &Limits) -> Result<oci::Scan, Fault> {
    let dir = tempfile::tempdir().unwrap();
    scan(&layer(dir.path(), plain, &packed), limits)
}

fn layer(dir: &Path, plain: &[u8], packed: &[u8]) -> Layer {
    let at = dir.join("layer");
    fs::write(&at, packed).unwrap();
    Layer { digest: files::digest_of(packed), diff_id: files::digest_of(plain), at, bytes: packed.len() as u64 }
}

/// The fault of an image that has this layer this number of times.
fn repeated(plain: &[u8], times: usize, limits: &Limits) -> Fault {
    let dir = tempfile::tempdir().unwrap();
    let layer = layer(dir.path(), plain, &Pack::Zstd.pack(plain));
    scan_all(std::slice::from_ref(&layer), limits).unwrap();
    scan_all(&vec![layer; times], limits).map(drop).unwrap_err()
}

fn refused(items: &[Item], code: &str, words: &str) {
    let tar = tar(items);
    let fault = scanned(&tar, tar.clone(), &limits()).unwrap_err();
    assert!(fault.code == code && fault.message.contains(words), "{items:?}: {fault:?}");
}

#[test]
fn names_that_lead_out_are_refused_before_anything_is_written() {
    for name in ["../evil", "a/../../evil", "/../evil", "a/..", ".wh...", "a/.wh..", ".wh.", ".wh.x/y"] {
        refused(&[file(name, "x")], "bad-layer", "the ");
    }
    refused(&[dir(&"d/".repeat(300))], "bad-layer", "nested more than");
    refused(&[file(&"n".repeat(300), "x")], "bad-layer", "too long");
    refused(&[file("a", "x").pax("path", b"../x")], "bad-layer", "leads out");
    refused(&[file("a", "x").pax("path", b"b\0c")], "bad-layer", "zero byte");
}

#[test]
fn headers_that_two_readers_could_understand_differently_are_refused() {
    refused(&[Item { data: b"data".to_vec(), ..symlink("l", "x") }], "bad-layer", "has data");
    refused(&[Item { kind: b'Z', ..file("x", "") }], "bad-layer", "unknown kind");
    refused(&[file("x", "").owner(0xffff_ffff, 0)], "bad-layer", "user or group");
    refused(&[file("x", "").pax("size", b"99999999999")], "image-too-large", "more than");
    refused(&[file("x", "").pax("size", b"9999999")], "bad-layer", "no whole tar");
    refused(&[file("x", "").pax("uid", b"-1")], "bad-layer", "number");
    let many: Vec<Item> = (0..9).map(|_| Item { kind: b'g', ..file("p", "") }).chain([file("x", "")]).collect();
    refused(&many, "bad-layer", "more than 8 extended headers");
    // A name of a megabyte is not held.
    for kind in [b'L', b'K', b'x', b'g'] {
        refused(&[Item { size: Some(2 << 20), kind, ..file("long", "") }], "bad-layer", "more than 1048576");
    }
    let mut broken = tar(&[file("x", "text")]);
    broken[0] ^= 1;
    assert!(scanned(&broken, broken.clone(), &limits()).unwrap_err().message.contains("checksum"));
    for cut in [100, 512, 700] {
        let part = tar(&[file("x", "text")])[..cut].to_vec();
        let done = scanned(&part, part.clone(), &limits());
        assert_eq!(done.unwrap_err().code, "bad-layer", "{cut}");
    }
}

#[test]
fn maps_of_sparse_files_are_checked() {
    let map = |pairs: &str, real: &[u8], data: &str| file("s", data).pax("GNU.sparse.map", pairs.as_bytes()).pax("GNU.sparse.size", real);
    for (pairs, real, data) in [
        ("0,9", "5", "x"),
        ("5,1,0,1", "9", "xy"),
        ("0,2,1,2", "9", "wxyz"),
        ("0,1", "9", "xy"),
        ("0", "9", "x"),
        ("18446744073709551615,2", "9", "xy"),
    ] {
        refused(&[map(pairs, real.as_bytes(), data)], "bad-layer", "sparse");
    }
    // A hole of many terabytes takes no room in the layer, and as much time to pack as if it did.
    refused(&[map("0,0", b"99999999999999", "")], "image-too-large", "holes");
    let mut old = tar(&[Item { kind: b'S', ..file("s", "xy") }]);
    let block: &mut [u8; 512] = (&mut old[..512]).try_into().unwrap();
    block[386..410].copy_from_slice(b"00000000000\x0000000000002\x00");
    block[483..495].copy_from_slice(b"00000000001\0");
    sum(block);
    assert!(scanned(&old, old.clone(), &limits()).unwrap_err().message.contains("leads out of the file"));
}

/// Scanners read images with Go: what it takes for another file, or for none, would be another tree.
#[test]
fn what_go_reads_differently_is_refused() {
    let renamed = |item: Item| item.pax("GNU.sparse.name", b"etc/ld.so.preload");
    refused(&[renamed(file("x", "").pax("path", b"usr/share/doc/x"))], "bad-layer", "sparse");
    refused(&[renamed(symlink("x", "y")).pax("GNU.sparse.map", b"0,0").pax("GNU.sparse.size", b"0")], "bad-layer", "sparse");
    refused(&[renamed(dir("x")).pax("GNU.sparse.major", b"1").pax("GNU.sparse.minor", b"0")], "bad-layer", "sparse");
    refused(&[renamed(Item { kind: b'S', ..file("x", "") })], "bad-layer", "sparse");
    let mut map = b"1\n0\n1\n".to_vec();
    crate::images::fill(&mut map);
    map.push(b'd');
    let of_version = |major: &str, minor: &str| {
        let item = Item { data: map.clone(), ..file("x", "") }.pax("GNU.sparse.realsize", b"1");
        let item = if major.is_empty() { item } else { item.pax("GNU.sparse.major", major.as_bytes()) };
        if minor.is_empty() { item } else { item.pax("GNU.sparse.minor", minor.as_bytes()) }
    };
    for (major, minor) in [("1", "1"), ("1", ""), ("2", "0"), ("", "1")] {
        refused(&[of_version(major, minor)], "bad-layer", "sparse");
    }
    let good = tar(&[of_version("1", "0")]);
    assert_eq!(scanned(&good, good.clone(), &limits()).unwrap().bytes, 1);
    let sparse = || file("x", "d").pax("GNU.sparse.map", b"0,1");
    refused(&[sparse().pax("GNU.sparse.size", b"1").pax("GNU.sparse.realsize", b"2")], "bad-layer", "sparse");
    refused(&[renamed(sparse().pax("GNU.sparse.size", b"1")).pax("GNU.sparse.name", b"")], "bad-layer", "sparse");
    refused(&[file("x", "").pax("GNU.sparse.map", b"").pax("GNU.sparse.size", b"9")], "bad-layer", "sparse");

    let extended = |kind: u8, data: Vec<u8>| Item { kind, data, ..file("p", "") };
    let path = |kind: u8| extended(kind, record(b"path", b"other"));
    let long = extended(b'L', b"other\0".to_vec());
    refused(&[path(b'X'), file("x", "")], "bad-layer", "unknown kind");
    for twice in [[path(b'x'), path(b'x')], [long.clone(), long.clone()], [path(b'x'), long.clone()], [long, path(b'x')]] {
        refused(&[&twice[..], &[file("x", "")]].concat(), "bad-layer", "extended headers");
    }
    refused(&[path(b'x'), extended(b'g', record(b"comment", b"x")), file("x", "")], "bad-layer", "extended headers");

    // Where one sees times, another sees the first part of the name.
    for (gnu, at, bytes) in [(true, 345, &b"etc"[..]), (true, 357, b"etc"), (false, 345, &[b'p'; 140])] {
        let mut tar = tar(&[file("x", "")]);
        let block: &mut [u8; 512] = (&mut tar[..512]).try_into().unwrap();
        block[257..265].copy_from_slice(if gnu { b"ustar  \0" } else { b"ustar\x0000" });
        block[at..at + bytes.len()].copy_from_slice(bytes);
        block[508..512].copy_from_slice(if gnu { b"\0\0\0\0" } else { b"tar\0" });
        sum(block);
        let fault = scanned(&tar, tar.clone(), &limits()).unwrap_err();
        assert!(fault.code == "bad-layer" && fault.message.contains("first part of its name"), "{at}: {fault:?}");
    }
}

#[test]
fn directories_that_no_entry_speaks_of_are_counted() {
    let few = Limits { entries: 100, ..limits() };
    let deep: Vec<Item> = (0..9).map(|n| file(&format!("{n}/{}f", "a/".repeat(20)), "")).collect();
    let fault = scanned(&tar(&deep), tar(&deep), &few).unwrap_err();
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 100 entries"), "{fault:?}");
    // One that is there already is not made again.
    let count = |items: &[Item]| scanned(&tar(items), tar(items), &few).unwrap().entries;
    assert_eq!(count(&(0..90).map(|n| file(&format!("a/b/c/{n}"), "")).collect::<Vec<_>>()), 93);
    assert_eq!(count(&[dir("a"), dir("a/b"), file("a/b/c", ""), file("a/x", ""), file("y", "")]), 5);
    // What was left out is not there.
    assert_eq!(count(&[device("d"), file("d/x", "")]), 3);
}

#[test]
fn limits_hold_for_all_layers_together() {
    let whiteouts: Vec<Item> = (0..40).map(|n| file(&format!("{n}/.wh.{}", "n".repeat(200)), "")).collect();
    let fault = repeated(&tar(&whiteouts), 9, &Limits { name_bytes: 64 << 10, ..limits() });
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 65536 bytes of names"), "{fault:?}");
    let fault = repeated(&tar(&whiteouts), 9, &Limits { entries: 300, ..limits() });
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 300 entries"), "{fault:?}");
    let fault = repeated(&tar(&[file("f", &"x".repeat(400_000))]), 9, &Limits { plain_bytes: 1 << 20, ..limits() });
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 1048576 bytes"), "{fault:?}");
    // 20 GiB of holes in a layer of 4 kB kept a core busy for two minutes.
    let hole = tar(&[file("hole", "x").pax("GNU.sparse.map", b"0,1").pax("GNU.sparse.size", b"300000")]);
    let fault = repeated(&hole, 9, &Limits { hole_bytes: 1 << 20, ..limits() });
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 1048576 bytes of holes"), "{fault:?}");
    let attributes = tar(&[file("f", "x").xattr("user.x", &[b'x'; 1000])]);
    let fault = repeated(&attributes, 9, &Limits { attribute_bytes: 8000, ..limits() });
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 8000 bytes of extended attributes"), "{fault:?}");
    // What no entry has, unpacks all the same.
    let mut behind = tar(&[file("f", "x")]);
    behind.resize(behind.len() + 400_000, 0);
    let fault = repeated(&behind, 9, &Limits { plain_bytes: 1 << 20, ..limits() });
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 1048576 bytes unpacked"), "{fault:?}");
}

#[test]
fn attributes_that_no_filesystem_keeps_are_refused() {
    refused(&[file("x", "").xattr("user.x", &[b'x'; 60_000])], "bad-layer", "extended attributes");
    let many = (0..40).fold(file("x", ""), |item, n| item.xattr(&format!("user.{n}"), &[b'x'; 100]));
    refused(&[many], "bad-layer", "extended attributes");
    // What is left out takes no room.
    let left_out = tar(&[file("x", "").xattr("trusted.x", &[b'x'; 60_000]).xattr("user.x", &[b'x'; 3000])]);
    scanned(&left_out, left_out.clone(), &limits()).unwrap();
}

#[test]
fn a_layout_is_not_read_through_links() {
    let image = of_items(&[vec![file("f", "x")]], Pack::Gzip);
    let place = place();
    let config = format!("blobs/sha256/{}", files::digest_of(&image.blobs[1]).hex());
    for linked in ["oci-layout", "index.json", "blobs", "blobs/sha256", &config] {
        let name = place.layout(&image);
        resolve(&name, &options(limits())).unwrap();
        let (at, outside) = (place.dir.path().join("layout").join(linked), place.dir.path().join("outside"));
        fs::rename(&at, &outside).unwrap();
        std::os::unix::fs::symlink(&outside, &at).unwrap();
        let fault = resolve(&name, &options(limits())).err().unwrap_or_else(|| panic!("{linked} was read through a link"));
        assert!(fault.message.contains("link"), "{linked}: {fault:?}");
        let _ = fs::remove_dir_all(&outside).or_else(|_| fs::remove_file(&outside));
    }
}

#[test]
fn reading_a_layer_ends_at_its_time() {
    let over = || Limits { until: Some(std::time::Instant::now()), ..limits() };
    let one = tar(&[file("f", "x")]);
    // Members that hold nothing: nothing comes out of them, and no limit sees them.
    let empty = Pack::Gzip.pack(b"").repeat(20_000);
    for (plain, packed) in [(&one, Pack::Gzip.pack(&one)), (&Vec::new(), empty)] {
        scanned(plain, packed.clone(), &limits()).unwrap();
        let fault = scanned(plain, packed, &over()).unwrap_err();
        assert!(fault.code == "image-too-large" && fault.message.contains("takes more than"), "{fault:?}");
    }
}

#[test]
fn bombs_end_at_their_limit() {
    let zeros = tar(&[file("zeros", &"\0".repeat(8 << 20))]);
    let small = Limits { plain_bytes_any: 1 << 20, ratio: 10, ..limits() };
    for pack in [Pack::Gzip, Pack::Zstd] {
        let fault = scanned(&zeros, pack.pack(&zeros), &small).unwrap_err();
        assert!(fault.code == "image-too-large" && fault.message.contains("unpacks to more than 1048576 bytes"), "{fault:?}");
        scanned(&zeros, pack.pack(&zeros), &limits()).unwrap();
    }
    let many: Vec<Item> = (0..200).map(|n| file(&format!("f{n}"), "")).collect();
    let fault = scanned(&tar(&many), tar(&many), &Limits { entries: 199, ..limits() }).unwrap_err();
    assert!(fault.code == "image-too-large" && fault.message.contains("more than 199 entries"), "{fault:?}");
    let whole = Pack::Gzip.pack(&zeros);
    assert_eq!(scanned(&zeros, whole[..whole.len() - 9].to_vec(), &limits()).unwrap_err().code, "bad-layer", "a checksum that is cut off");
    assert_eq!(scanned(b"other", whole, &limits()).unwrap_err().code, "bad-layer", "another diff_id");
    // A window of two gigabytes, of which a decoder would have to keep all.
    let wide = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0, 0, 0];
    assert_eq!(scanned(b"", wide.to_vec(), &limits()).unwrap_err().code, "bad-layer");
}

#[test]
#[ignore = "needs root: files of many users"]
fn nothing_outside_is_touched_wherever_links_lead() {
    let dir_ = tempfile::tempdir().unwrap();
    let outside = dir_.path().join("outside");
    fs::create_dir_all(outside.join("sub")).unwrap();
    fs::write(outside.join("file"), "kept").unwrap();
    let to = outside.to_str().unwrap();
    let lower =
        vec![symlink("out", to), symlink("up", "../outside"), symlink("file", &format!("{to}/file")), symlink("self", "/proc/self/root")];
    let uppers: Vec<Vec<Item>> = vec![
        vec![file("out/new", "evil")],
        vec![file("up/new", "evil"), file("up/file", "evil")],
        vec![file("file", "evil")],
        vec![hard("h", "out/file")],
        vec![hard("h", "file"), file("h", "evil")],
        vec![dir("out").mode(0o777), file("out/x", "evil")],
        vec![file("out/.wh.file", "")],
        vec![file("up/.wh..wh..opq", "")],
        vec![file("self/etc/evil", "")],
    ];
    for upper in uppers {
        let place = tempfile::tempdir_in(dir_.path()).unwrap();
        let _ = flatten(place.path(), &[tar(&lower), tar(&upper)], &limits());
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "kept", "{upper:?}");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 2, "{upper:?}");
        assert!(!std::path::Path::new("/etc/evil").exists());
    }
}

#[test]
#[ignore = "needs root: files of many users"]
fn trees_that_cannot_be_are_refused() {
    let cases: Vec<(Vec<Vec<Item>>, &str)> = vec![
        (vec![vec![file("f", "x"), file("f/g", "x")]], "/f"),
        (vec![vec![symlink("l", "nowhere"), file("l/x", "x")]], "/l"),
        (vec![vec![symlink("l", "l"), file("l/x", "x")]], "/l"),
        (vec![vec![hard("h", "nothing")]], "no file of this layer"),
        (vec![vec![dir("d"), hard("h", "d")]], "no file of this layer"),
        (vec![vec![dir("d"), file("d/f", "x")], vec![hard("d", "d/f")]], "no file of this layer"),
        (vec![vec![hard("h", "../x")]], "leads out"),
        (vec![vec![fifo(".")]], "root and no directory"),
        (vec![vec![symlink("l", "")]], "no file can have"),
        (vec![vec![file("c", "x").xattr("security.capability", b"nonsense")]], "security.capability"),
        // Each name is bounded; links that begin where the last one ended are not.
        (
            vec![
                (0..3)
                    .flat_map(|n| {
                        let front = if n == 0 { String::new() } else { format!("l{n}/") };
                        let deep = format!("{front}{}", "d/".repeat(150));
                        vec![file(&format!("{deep}x"), ""), symlink(&format!("l{}", n + 1), deep.trim_end_matches('/'))]
                    })
                    .collect(),
            ],
            "nested more than",
        ),
    ];
    for (layers, words) in cases {
        let dir = tempfile::tempdir().unwrap();
        let tars: Vec<Vec<u8>> = layers.iter().map(|l| tar(l)).collect();
        let fault = flatten(dir.path(), &tars, &limits()).unwrap_err();
        assert!(fault.code == "bad-layer" && fault.message.contains(words), "{layers:?}: {fault:?}");
    }
}

/// An image whose manifest is changed by hand before it is written.
fn changed(image: &Image, change: impl FnOnce(&mut serde_json::Value)) -> Image {
    let mut manifest: serde_json::Value = serde_json::from_slice(&image.manifest).unwrap();
    change(&mut manifest);
    let manifest = manifest.to_string().into_bytes();
    let mut blobs = image.blobs.clone();
    *blobs.last_mut().unwrap() = manifest.clone();
    Image { blobs, manifest, layers: image.layers.clone() }
}

#[test]
#[ignore = "needs root: files of many users"]
fn images_that_lie_leave_nothing() {
    let good = of_items(&[vec![dir("d"), file("d/f", "x")]], Pack::Gzip);
    let place = place();
    let mut wrong_layer = good.clone();
    wrong_layer.blobs[0] = Pack::Gzip.pack(b"something else");
    let config = |change: fn(&mut serde_json::Value)| {
        let tars = vec![tar(&[file("x", "")])];
        let mut value: serde_json::Value = serde_json::from_slice(&image(&tars, Pack::Plain, serde_json::json!({})).blobs[1]).unwrap();
        change(&mut value);
        let bytes = value.to_string().into_bytes();
        let mut image = image(&tars, Pack::Plain, serde_json::json!({}));
        image.blobs[1] = bytes.clone();
        changed(&image, |m| m["config"] = crate::images::descriptor("application/vnd.oci.image.config.v1+json", &bytes))
    };
    let ten_thousand = changed(&good, |m| m["layers"] = serde_json::Value::Array(vec![m["layers"][0].clone(); 10_000]));
    let cases = [
        (changed(&good, |m| m["layers"][0]["size"] = 5.into()), "image-too-large", "larger than the 5 bytes"),
        (changed(&good, |m| m["layers"][0]["size"] = 5_000_000.into()), "blob-truncated", "broke off"),
        (changed(&good, |m| m["layers"][0]["size"] = u64::MAX.into()), "image-too-large", ""),
        (changed(&good, |m| m["layers"][0]["digest"] = format!("sha256:{}", "0".repeat(64)).into()), "no-such-blob", ""),
        (changed(&good, |m| m["layers"][0]["digest"] = "md5:1".into()), "bad-image", "cannot be read"),
        (
            changed(&good, |m| m["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip".into()),
            "bad-image",
            "foreign",
        ),
        (changed(&good, |m| m["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into()), "no-container-image", "helm"),
        (changed(&good, |m| m["schemaVersion"] = 1.into()), "old-image", ""),
        (changed(&good, |m| m["layers"] = serde_json::json!([])), "bad-image", "no layers"),
        (ten_thousand, "image-too-large", "10000 layers, more than 500"),
        (config(|c| c["architecture"] = "s390x".into()), "other-architecture", "s390x"),
        (config(|c| c["os"] = "windows".into()), "other-architecture", "windows"),
        (config(|c| c["rootfs"]["diff_ids"] = serde_json::json!([])), "bad-image", "digests of 0"),
        (
            config(|c| c["rootfs"]["diff_ids"][0] = format!("sha256:{}", "1".repeat(64)).into()),
            "bad-layer",
            "unpacked it has not the digest",
        ),
        (config(|c| c["config"]["Env"] = serde_json::json!(["=x"])), "bad-image", "variable"),
        (config(|c| c["config"]["WorkingDir"] = "/proc/self/fd/7".into()), "image-workdir", "/proc"),
    ];
    for (image, code, words) in cases {
        let at = place.layout(&image);
        // The blob that is changed keeps the name of what it was.
        let fault = place.pull(&at, &options(limits())).unwrap_err();
        assert!(fault.code == code && fault.message.contains(words), "{code} {words}: {fault:?}");
        assert_eq!(place.left(), Vec::<std::path::PathBuf>::new(), "{code}");
    }
    let at = place.layout(&good);
    let blob = place.dir.path().join("layout/blobs/sha256").join(files::digest_of(&good.layers[0]).hex());
    let mut bytes = fs::read(&blob).unwrap();
    bytes[20] ^= 1;
    fs::write(&blob, bytes).unwrap();
    assert_eq!(place.pull(&at, &options(limits())).unwrap_err().code, "wrong-digest");
    assert_eq!(place.left(), Vec::<std::path::PathBuf>::new());
    // All that is done with layers has one time together.
    let at = place.layout(&good);
    let fault = place.pull(&at, &options(Limits { unpack: std::time::Duration::ZERO, ..limits() })).unwrap_err();
    assert!(fault.code == "image-too-large" && fault.message.contains("takes more than"), "{fault:?}");
    assert_eq!(place.left(), Vec::<std::path::PathBuf>::new());
    assert_eq!(record(b"a", b"b"), b"6 a=b\n");
}
