//! Any bytes as a layer of a container image, above one that is full of links: it is unpacked or refused, and nothing outside is touched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
    for path in [&root, &outside, &root.join("d")] {
        fs::create_dir(path).expect("it is new");
    }
    fs::write(outside.join("file"), "kept").expect("it is new");
    for (name, to) in [("a", "../outside"), ("b", outside.to_str().expect("a plain name")), ("c", "d"), ("e", "/proc/self/root")] {
        std::os::unix::fs::symlink(to, root.join(name)).expect("it is new");
    }
    let _ = oci::unpack_layer(bytes, &root);
    let count = |dir| fs::read_dir(dir).expect("it is there").count();
    let kept = fs::read_to_string(outside.join("file")).expect("it is there");
    assert!(count(dir.path()) == 2 && count(outside.as_path()) == 1 && kept == "kept", "something outside was touched");
});
