//! Any bytes as a `.deb`: it is read and unpacked, or refused, and nothing is made outside of the tree.
#![no_main]

use image::parsers::{Deb, listing, unpack_all};
use libfuzzer_sys::fuzz_target;
use std::fs;

fuzz_target!(|bytes: &[u8]| {
    let dir = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
    let (file, root) = (dir.path().join("a.deb"), dir.path().join("root"));
    fs::write(&file, bytes).expect("there is room");
    fs::create_dir(&root).expect("it is new");
    if let Ok(deb) = Deb::open(&file) {
        let _ = listing(&deb);
        if deb.installed_bytes() < 4 << 20 {
            let _ = unpack_all(&root, &[&deb], &|_| {});
        }
    }
    let mut names: Vec<_> = fs::read_dir(dir.path()).expect("it is there").map(|e| e.expect("readable").file_name()).collect();
    names.sort();
    assert_eq!(names, ["a.deb", "root"], "something was made beside the tree");
});
