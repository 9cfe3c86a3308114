//! State files as an older version left them: `tests/golden/COMMIT`, never edited. This version reads each, and would write the same again,
//! so that the older one reads what this one leaves.

use crate::applied::Applied;
use crate::state_files::read_json;
use api::proxy::DeclareRoute;
use model::TargetFile;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

fn same<T: Serialize + DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/a7662f7").join(name);
    let read: T = read_json::<T>(&path).good().unwrap_or_else(|| panic!("{name} is not read"));
    let text = std::fs::read(&path).unwrap();
    let old: Value = serde_json::from_slice(disk::state::content(&text)).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), old, "{name}: the older version would not read what this one writes");
    read
}

#[test]
fn state_files_of_the_last_version_are_read_and_written_alike() {
    let inside = same::<DeclareRoute>("worker.json");
    assert_eq!(inside.spec.route.as_str(), "worker");
    let applied = same::<Applied>("applied.json");
    assert!(applied.epoch > 0 && !applied.stamps.is_empty());
    assert!(!same::<TargetFile>("target.json").targets.is_empty());
}
