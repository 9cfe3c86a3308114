//! Exposures of a tree on disk against its labels.

use crate::estate::Estate;
use guard::root::Purpose;
use guard::{Finding, Verdict};
use std::collections::BTreeSet;
use std::path::Path;

pub fn findings(root: &Path, purpose: Purpose, threads: usize) -> Vec<Finding> {
    let mut found = Vec::new();
    let options = scan::Options { purpose, threads, until: None };
    scan::scan(root, &options, &mut |event| {
        if let scan::Event::Finding(finding) = event {
            found.push(finding.clone());
        }
    })
    .unwrap();
    found
}

#[test]
fn everything_planted_is_found_and_look_alikes_are_not() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let mut estate = Estate::clean(dir.path(), seed);
        assert_eq!(findings(dir.path(), Purpose::Image, 2), [], "a clean system");
        estate.plant_all();
        estate.plant_look_alikes();
        assert!(estate.exposed.len() >= 30 && estate.look_alikes.len() == 13);
        let found = findings(dir.path(), Purpose::Image, 2);
        let public: BTreeSet<&str> = found.iter().filter(|f| f.verdict == Verdict::Public).map(|f| f.id.as_str()).collect();
        let labels: BTreeSet<&str> = estate.exposed.iter().map(|(path, _)| path.as_str()).collect();
        let missed: Vec<_> = estate.exposed.iter().filter(|(path, _)| !public.contains(path.as_str())).collect();
        assert!(missed.is_empty(), "seed {seed}: missed {missed:?}");
        let alarms: Vec<_> = found.iter().filter(|f| !labels.contains(f.id.as_str())).map(|f| (&f.id, &f.why)).collect();
        assert!(alarms.is_empty(), "seed {seed}: false alarms {alarms:?}");
        assert_eq!(found.len(), labels.len(), "seed {seed}: one row for each: {:?}", found.iter().map(|f| &f.id).collect::<Vec<_>>());
        assert!(found.iter().all(|f| !f.fix.is_empty() && f.kind == "file"));
    }
}

#[test]
fn the_order_is_the_same_whoever_judges() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 7);
    estate.plant_all();
    let alone = findings(dir.path(), Purpose::Image, 1);
    for _ in 0..5 {
        assert_eq!(findings(dir.path(), Purpose::Image, 8), alone);
    }
}

/// Whoever cannot pass through a directory above a file reads and changes nothing in it, whatever its own mode says.
#[test]
fn what_lies_behind_a_closed_directory_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 12);
    let key = estate.key("");
    let (inside, script) = ("/root/registry/src/key.pem", "/root/bin/backup.sh");
    estate.write(inside, 0o644, &key);
    estate.write(script, 0o777, "#!/bin/sh\n");
    let found = |mode: u32, purpose| {
        Estate::mode(dir.path(), "root", mode);
        findings(dir.path(), purpose, 2).into_iter().map(|f| f.id).collect::<Vec<String>>()
    };
    assert_eq!(found(0o700, Purpose::Host), [""; 0]);
    assert_eq!(found(0o750, Purpose::Host), [""; 0], "its group is not everybody");
    // A name that is known needs no list of the directory.
    assert_eq!(found(0o711, Purpose::Host), [script, inside]);
    assert_eq!(found(0o700, Purpose::Image), [inside], "who has the image has all of it");
}

/// Small, and larger than what is read at once: with the keys of its own tests in it, as libgnutls has them.
#[test]
fn a_key_that_a_package_ships_is_known_to_all_until_the_file_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 11);
    let key = estate.key("");
    let (small, large, copy) = ("usr/lib/libtls.so.30", "usr/lib/libcrypt.so.3", "usr/lib/copy.so");
    let tail = vec![0x90; 9 << 20];
    estate.write(small, 0o644, format!("\x7fELF{key}\0"));
    estate.write(large, 0o644, [b"\x7fELF", tail.as_slice(), key.as_bytes()].concat());
    estate.write("var/lib/dpkg/info/libtls30.list", 0o644, format!("/{small}\n/{large}\n"));
    estate.sum("libtls30", &[small, large]);
    assert_eq!(findings(dir.path(), Purpose::Image, 2), []);
    // One byte at the end, far from the key; and the same file where no package put it.
    estate.write(large, 0o644, [b"\x7fELF", tail.as_slice(), key.as_bytes(), b"\0"].concat());
    estate.write(copy, 0o644, format!("\x7fELF{key}\0"));
    let found: Vec<String> = findings(dir.path(), Purpose::Image, 2).into_iter().map(|f| f.id).collect();
    assert_eq!(found, [format!("/{copy}"), format!("/{large}")]);
}

#[test]
fn a_host_keeps_its_own_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut estate = Estate::clean(dir.path(), 9);
    let key = estate.key("");
    estate.write("/etc/ssl/private/site.key", 0o600, &key);
    assert_eq!(findings(dir.path(), Purpose::Host, 2), []);
    assert_eq!(findings(dir.path(), Purpose::Image, 2).len(), 1);
    estate.write("/etc/ssl/private/site.key", 0o644, &key);
    assert_eq!(findings(dir.path(), Purpose::Host, 2).len(), 1);
}
