//! Any bytes as an artifact's tarball: it is unpacked or refused, within its limit, and nothing is made outside of the tree.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::fs;

const LIMIT_BYTES: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let root = dir.path().join("root");
    fs::create_dir(&root).expect("it is new");
    let _ = store::unpack_tarball(bytes, &root, LIMIT_BYTES);
    let names: Vec<_> = fs::read_dir(dir.path()).expect("it is there").map(|e| e.expect("readable").file_name()).collect();
    assert_eq!(names, ["root"], "something was made beside the tree");
});
