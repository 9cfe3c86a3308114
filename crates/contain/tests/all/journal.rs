//! The state directory: one run at a time, and a journal that was cut, changed or exchanged is an error with its place.

use contain::{Event, Incidents, Journal, Kept, Place, Planned};
use guard::contain::{Plan, Setting, State};
use guard::rules::Facts;
use std::collections::BTreeMap;
use std::fs;

fn planned(image: &str) -> Planned {
    let setting = Setting::LaunchPermission { image: image.into() };
    let plan =
        Plan { kind: "ami".into(), id: image.into(), setting, before: State::On(true), after: State::On(false), cut_off: Vec::new() };
    let at = Place::Aws { account: "123456789012".into(), region: "eu-west-1".into() };
    Planned { at, plan, covers: Vec::new(), contain_command: "c".into(), undo_command: "u".into(), incident: None }
}

#[test]
fn one_run_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    assert_eq!(Journal::open(dir.path()).unwrap_err().code, "busy");
    assert!(Journal::list(dir.path()).unwrap().is_empty(), "whoever reads does not wait");
    drop(journal);
    Journal::open(dir.path()).unwrap();
}

#[test]
fn what_is_recorded_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let mut all = Vec::new();
    for n in 0..12 {
        let mut one = journal.begin(planned(&format!("ami-{n}")), "ann", 10).unwrap();
        journal.record(&mut one, Event::Contained, "ann", 9).unwrap();
        assert_eq!(one.entries()[1].at_s, 10, "time does not run back");
        assert_eq!(journal.record(&mut one, Event::Undone, "ann", 11).unwrap_err().code, "bad-journal");
        all.push(one);
    }
    assert_eq!(Journal::list(dir.path()).unwrap(), all, "in the order in which they were made");
}

/// Every length, and a bit of every byte: an error that names file and line, and the file is left as it is.
#[test]
fn any_damage_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let mut one = journal.begin(planned("ami-1"), "ann", 10).unwrap();
    journal.record(&mut one, Event::Contained, "ann", 11).unwrap();
    let path = dir.path().join("containments").join(&one.id);
    let whole = fs::read(&path).unwrap();
    let first = whole.iter().position(|b| *b == b'\n').unwrap() + 1;
    let cut = (0..whole.len()).filter(|n| *n != first).map(|n| whole[..n].to_vec());
    let flipped = (0..whole.len()).map(|n| {
        let mut bytes = whole.clone();
        bytes[n] ^= 1 << (n % 8);
        bytes
    });
    for bytes in cut.chain(flipped) {
        fs::write(&path, &bytes).unwrap();
        let fault = Journal::list(dir.path()).unwrap_err();
        assert!(fault.code == "bad-journal" && fault.message.contains(&one.id) && fault.message.contains("line "), "{fault:?}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    fs::write(&path, &whole).unwrap();
    let other = dir.path().join("containments/c9-foreign");
    fs::write(&other, &whole).unwrap();
    assert!(Journal::list(dir.path()).unwrap_err().message.contains("it belongs to"));
    fs::write(&other, vec![b'x'; 17 << 20]).unwrap();
    assert_eq!(Journal::list(dir.path()).unwrap_err().code, "too-large");
    fs::remove_file(&other).unwrap();
    // What a killed run was writing.
    fs::write(dir.path().join("containments/.c1.1.1"), "{\"half\":").unwrap();
    assert_eq!(Journal::list(dir.path()).unwrap(), [one]);
}

#[test]
fn a_directory_of_others_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    assert!(Journal::open(&dir.path().join("file/state")).is_err());
}

#[test]
fn incidents_keep_their_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let incidents = Incidents::new(&journal);
    let facts = Facts { kind: "s3_bucket".into(), id: "shop".into(), attributes: BTreeMap::new() };
    let one = incidents.open("2026-11-30", &facts, ("f", "it is public"), "ann", 10).unwrap();
    let two = incidents.open("2026-11-30", &facts, ("f", "it is public"), "ann", 10).unwrap();
    assert_eq!((one.id.as_str(), two.id.as_str()), ("INC-2026-11-30-1", "INC-2026-11-30-2"));
    let file = dir.path().join("policy.json");
    fs::write(&file, "{}").unwrap();
    let hash = incidents.keep(&one.id, &file, "ann", 11).unwrap();
    let read = Incidents::read(dir.path(), &one.id).unwrap();
    let kept = |state| vec![("policy.json".to_string(), hash.clone(), state)];
    assert_eq!(Incidents::evidence(dir.path(), &read).unwrap(), kept(Kept::Whole));
    let copy = dir.path().join("incidents").join(&one.id).join("evidence").join(&hash);
    fs::remove_file(&copy).unwrap();
    assert_eq!(Incidents::evidence(dir.path(), &read).unwrap(), kept(Kept::Missing));
    fs::write(&copy, "{ }").unwrap();
    assert_eq!(Incidents::evidence(dir.path(), &read).unwrap(), kept(Kept::Changed));
    for id in ["..", "a/b", "", "INC-9"] {
        assert_eq!(Incidents::read(dir.path(), id).unwrap_err().code, "no-such-incident", "{id:?}");
    }
    let path = dir.path().join("incidents").join(&two.id).join("record");
    let text = fs::read_to_string(&path).unwrap();
    for damaged in [
        text.replace("shop", "shed"),
        text.trim_end().to_string(),
        fs::read_to_string(dir.path().join("incidents").join(&one.id).join("record")).unwrap(),
    ] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(Incidents::list(dir.path()).unwrap_err().code, "bad-incident");
    }
}
