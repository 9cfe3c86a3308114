//! Locks that the tests of this crate and of those above it begin with.

use crate::lockfile::{Head, Lock, Locked};
use disk::files;
use model::Time;

/// A lock of these packages and versions.
pub fn sample(versions: &[(&str, &str)]) -> Lock {
    let digest = files::digest_of(b"recipe");
    let head = Head {
        lock: 1,
        debian: "bookworm".into(),
        arch: "amd64".into(),
        recipe: digest,
        spec: serde_json::from_value(serde_json::json!({ "name": "base", "debian": "bookworm", "packages": [] }))
            .expect("it is a good recipe"),
        asked: Time(1),
        sequence: 0,
        indexes: vec![],
        passed: vec![],
    };
    let locked = |(name, version): &(&str, &str)| Locked {
        name: (*name).into(),
        version: (*version).into(),
        arch: "amd64".into(),
        suite: "bookworm".into(),
        bytes: 1,
        sha256: files::digest_of(format!("{name}{version}").as_bytes()).hex().into(),
        url: format!("http://m/{name}"),
        source: None,
        required: false,
        level: 0,
    };
    Lock { head, packages: versions.iter().map(locked).collect() }
}
