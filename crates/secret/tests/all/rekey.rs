//! The machine's key is exchanged: by whole, killed at each point, and while others read and store.

use crate::support::{House, is};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

#[test]
fn nothing_opens_with_the_old_key_afterwards_and_versions_stay() {
    let house = House::new();
    let versions: Vec<_> = ["one", "two"].iter().map(|text| (house.put("web", text), *text)).collect();
    let old = fs::read_to_string(house.path("machine.key")).unwrap();
    assert_eq!(secret::rekey(&house.secrets).unwrap().values, 2);
    assert!(!house.path("machine.key.new").exists() && fs::read_to_string(house.path("machine.key")).unwrap() != old);
    let old = secret::identities(&old, "old").unwrap();
    for (path, bytes) in house.files().into_iter().filter(|(path, _)| !path.ends_with("machine.key") && !path.ends_with("lock")) {
        let opened = secret::decrypt_with(&crate::support::name("db"), &old, &bytes).unwrap();
        assert!(opened.is_none(), "{} opens with the old key", path.display());
    }
    for (version, text) in &versions {
        assert!(is(&house.get("web", version).unwrap(), text));
        assert_eq!(house.put("web", text), *version);
    }
}

/// Each state that a kill can leave: the new key is there, and some files are encrypted for it.
#[test]
fn killed_anywhere_it_can_be_run_again() {
    for done in 0..=3 {
        let house = House::new();
        let versions: Vec<_> = ["one", "two"].iter().map(|text| (house.put("web", text), *text)).collect();
        let whole = fs::read(house.path("machine.key")).unwrap();
        let before = house.files();
        secret::rekey(&house.secrets).unwrap();
        // Back to the middle: the new key under its other name, the old one in its place, and all but `done` files as they were.
        fs::rename(house.path("machine.key"), house.path("machine.key.new")).unwrap();
        fs::write(house.path("machine.key"), &whole).unwrap();
        let encrypted: Vec<_> = before.into_iter().filter(|(path, _)| !path.ends_with("machine.key") && !path.ends_with("lock")).collect();
        assert_eq!(encrypted.len(), 3);
        for (path, bytes) in &encrypted[done..] {
            fs::write(path, bytes).unwrap();
        }
        for (version, text) in &versions {
            assert!(is(&house.get("web", version).unwrap(), text), "in the middle, {done} done");
        }
        let third = house.put("web", "three");
        secret::rekey(&house.secrets).unwrap();
        for (version, text) in versions.iter().chain([&(third, "three")]) {
            assert!(is(&house.get("web", version).unwrap(), text), "{done} done");
        }
        assert!(!house.path("machine.key.new").exists());
    }
}

#[test]
fn readers_and_writers_notice_nothing() {
    let house = House::new();
    let first = house.put("web", "first");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            (0..20).for_each(|_| assert!(secret::rekey(&house.secrets).is_ok()));
            stop.store(true, Ordering::SeqCst);
        });
        scope.spawn(|| {
            let mut n = 0;
            while !stop.load(Ordering::SeqCst) {
                let version = house.put("worker", &format!("value {n}"));
                assert!(is(&house.get("worker", &version).unwrap(), &format!("value {n}")));
                n += 1;
            }
        });
        while !stop.load(Ordering::SeqCst) {
            assert!(is(&house.get("web", &first).unwrap(), "first"));
        }
    });
}

/// A value that opens with no key would be lost with the old one.
#[test]
fn it_stops_before_anything_is_lost() {
    let house = House::new();
    let version = house.put("web", "one");
    let path = house.path("values/web").join("f".repeat(64));
    fs::write(&path, "not an age file").unwrap();
    assert_eq!(secret::rekey(&house.secrets).unwrap_err().code, "secret-damaged");
    assert!(is(&house.get("web", &version).unwrap(), "one"));
    fs::remove_file(path).unwrap();
    secret::rekey(&house.secrets).unwrap();
    assert!(is(&house.get("web", &version).unwrap(), "one"));
}
