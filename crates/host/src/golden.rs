//! State files as an older version left them: `tests/golden/COMMIT`, never edited. This version reads each, and would write the same again,
//! so that the older one reads what this one leaves.

use crate::declared::Declared;
use crate::record::{Record, Started};
use crate::{marker, state_files, uids};
use model::{Layout, ServiceName};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::path::Path;

fn golden(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/a7662f7").join(name)
}

fn same<T: Serialize + DeserializeOwned>(name: &str) -> T {
    let read = state_files::read_json::<T>(&golden(name)).good().unwrap_or_else(|| panic!("{name} is not read"));
    let text = std::fs::read(golden(name)).unwrap();
    let old: Value = serde_json::from_slice(disk::state::content(&text)).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), old, "{name}: the older version would not read what this one writes");
    read
}

#[test]
fn state_files_of_the_last_version_are_read_and_written_alike() {
    let gone = same::<Declared>("web-r1-1.json");
    assert_eq!(gone.spec.desired, model::DesiredGroup::Gone);
    let exclusive = same::<Declared>("web-r1-3.json");
    assert!(exclusive.stamp > gone.stamp, "a later rotation's");
    same::<Declared>("client-r1-1.json");
    let record = same::<Record>("record.json");
    assert!(record.release.exclusive && !record.release.volumes.is_empty());
    same::<Started>("started.json");
    same::<marker::Marker>("afresh.json");
}

#[test]
fn a_directory_of_the_last_version_is_known_by_its_marker_and_keeps_its_ids() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    std::fs::create_dir(layout.host()).unwrap();
    std::fs::copy(golden("afresh.json"), dir.path().join("afresh.json")).unwrap();
    std::fs::copy(golden("uids.json"), layout.host().join("uids.json")).unwrap();
    assert_eq!(crate::identity::mark(&layout), "fc77599a");
    let text = std::fs::read(golden("uids.json")).unwrap();
    let given: Value = serde_json::from_slice(disk::state::content(&text)).unwrap();
    let uids = uids::Uids::open(&layout, "fc77599a");
    let range = uids.of(&ServiceName::new("web").unwrap()).unwrap();
    assert_eq!(serde_json::to_value(range).unwrap(), given["services"]["web"]);
}
