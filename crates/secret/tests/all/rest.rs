//! What is stored, for whom, and what is said where it cannot be read.

use crate::support::{House, is, name, service, value};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

const CANARY: &str = "hunter2-hunter2-hunter2";

#[test]
fn equal_values_have_equal_versions_and_nothing_of_them_lies_on_the_disk() {
    let house = House::new();
    let first = house.put("web", CANARY);
    assert_eq!(house.put("web", CANARY), first, "twice");
    assert_ne!(house.put("worker", CANARY), first, "of another service: it could else be guessed there");
    assert_ne!(house.put("web", "another"), first);
    let other = house.secrets.put(&service("web"), &name("db-2"), &value(CANARY)).unwrap();
    assert_ne!(other, first, "of another name");
    assert!(is(&house.get("web", &first).unwrap(), CANARY));
    for (path, bytes) in house.files() {
        let found = bytes.windows(7).any(|part| part == b"hunter2");
        assert!(!found, "{}", path.display());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    assert_eq!(fs::metadata(house.path("")).unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(house.secrets.version(&service("web"), &name("db"), &value(CANARY)).unwrap(), first);
    assert_ne!(House::new().put("web", CANARY), first, "of another machine");
}

#[test]
fn a_value_is_stored_for_one_service() {
    let house = House::new();
    let version = house.put("web", CANARY);
    let fault = house.get("worker", &version).unwrap_err();
    assert_eq!(fault.code, "secret-missing");
    let has = |of: &str| house.secrets.must_have(&service(of), &name("db"), &version).is_ok();
    assert!(has("web") && !has("worker"));
    // Nor is a file of one service opened for another.
    let recipient = house.secrets.recipient(&service("web")).unwrap();
    let file = secret::encrypt_for(&recipient, &value(CANARY)).unwrap();
    assert!(is(&house.secrets.open(&service("web"), &name("db"), &file).unwrap(), CANARY));
    assert_eq!(house.secrets.open(&service("worker"), &name("db"), &file).unwrap_err().code, "secret-other-recipient");
    // A version under another name is none: a release that pins it as another secret gets nothing.
    assert_eq!(house.secrets.get(&service("web"), &name("other"), &version).unwrap_err().code, "secret-damaged");
}

#[test]
fn keys_that_are_lost_are_said_and_never_made_again() {
    for (file, harm) in [
        ("machine.key", None),
        ("machine.key", Some("")),
        ("machine.key", Some("AGE-SECRET-KEY-1XXXX")),
        ("machine.key", Some("# only a comment\n")),
        ("version.key", None),
        ("version.key", Some("age-encryption.org/v1\n")),
    ] {
        let house = House::new();
        let version = house.put("web", CANARY);
        let kept = fs::read(house.path(file)).unwrap();
        match harm {
            None => fs::remove_file(house.path(file)).unwrap(),
            Some(text) => fs::write(house.path(file), text).unwrap(),
        }
        let said = [
            house.get("web", &version).unwrap_err(),
            house.secrets.check().unwrap_err(),
            house.secrets.put(&service("web"), &name("db"), &value("other")).unwrap_err(),
            secret::rekey(&house.secrets).unwrap_err(),
        ];
        for fault in said {
            let lost =
                secret::is_lost(&fault) || (file == "version.key" && fault.code.starts_with("secret-")) || fault.code == "no-such-file";
            assert!(lost && fault.hint.is_some(), "{file} {harm:?}: {fault:?}");
        }
        fs::write(house.path(file), kept).unwrap();
        assert!(is(&house.get("web", &version).unwrap(), CANARY), "put back, all is readable again");
    }
    let house = House::new();
    assert!(house.secrets.check().is_ok(), "nothing depends on a key yet");
    assert!(house.secrets.list().unwrap().is_empty());
}

#[test]
fn a_damaged_value_is_said_and_never_given_out() {
    let house = House::new();
    let (version, other) = (house.put("web", CANARY), house.put("web", "another"));
    let path = house.path("values/web").join(version.as_str());
    let whole = fs::read(&path).unwrap();
    let swapped = fs::read(house.path("values/web").join(other.as_str())).unwrap();
    let mut flipped = whole.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [&b""[..], &whole[..whole.len() - 1], &whole[..40], &flipped, &swapped, &vec![b'x'; 1 << 20]] {
        fs::write(&path, bytes).unwrap();
        let fault = house.get("web", &version).unwrap_err();
        assert_eq!(fault.code, "secret-damaged");
        assert!(!format!("{fault:?}").contains("hunter2"));
    }
    assert_eq!(house.put("web", CANARY), version, "given again");
    assert!(is(&house.get("web", &version).unwrap(), CANARY));
}

#[test]
fn what_nobody_keeps_is_deleted_after_its_grace() {
    let house = House::new();
    let (kept, gone) = (house.put("web", "one"), house.put("web", "two"));
    house.put("worker", "one");
    fs::write(house.path("values/web").join(format!(".{kept}.7.7")), "half made").unwrap();
    let keep = BTreeSet::from([(service("web"), kept.clone())]);
    assert!(house.secrets.sweep(&keep, 3_600_000).unwrap().is_empty(), "they may be needed by a deploy under way");
    assert_eq!(house.secrets.sweep(&keep, 0).unwrap().len(), 2);
    assert!(house.get("web", &kept).is_ok());
    assert_eq!(house.get("web", &gone).unwrap_err().code, "secret-missing");
    let names: Vec<_> = house.secrets.list().unwrap().into_iter().map(|stored| (stored.service, stored.version)).collect();
    assert_eq!(names, [(service("web"), kept)]);
    assert!(!house.path("values/worker").exists(), "an empty directory goes");
    assert_eq!(fs::read_dir(house.path("values/web")).unwrap().count(), 1);
}
