//! The state directory: one run at a time, and a journal that was cut, changed or exchanged is an error with its place.

use contain::{Event, Incidents, Journal, Kept, Place, Planned};
use guard::contain::{Plan, Setting, State};
use guard::rules::Facts;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

fn planned(image: &str) -> Planned {
    let setting = Setting::LaunchPermission { image: image.into() };
    let plan =
        Plan { kind: "ami".into(), id: image.into(), setting, before: State::On(true), after: State::On(false), cut_off: Vec::new() };
    let at = Place::Aws { account: "123456789012".into(), region: "eu-west-1".into(), endpoint: None };
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
    let cut = (0..whole.len()).map(|n| whole[..n].to_vec());
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
    fs::remove_file(&path).unwrap();
    assert!(Journal::list(dir.path()).unwrap_err().message.contains("the record is missing"));
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

/// As a run leaves it that was killed after the record and before its head, and as an older version wrote it.
#[test]
fn a_record_may_be_longer_than_was_noted_and_never_another() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let mut one = journal.begin(planned("ami-1"), "ann", 10).unwrap();
    let head = dir.path().join("heads").join(&one.id);
    let noted = fs::read(&head).unwrap();
    journal.record(&mut one, Event::Contained, "ann", 11).unwrap();
    let path = dir.path().join("containments").join(&one.id);
    let contained = fs::read(&path).unwrap();
    fs::write(&head, noted).unwrap();
    assert_eq!(Journal::list(dir.path()).unwrap(), [one.clone()]);
    let undoing = Event::Undoing { owner: "bob".into(), reason: "why".into(), opens: Vec::new() };
    journal.record(&mut one, undoing, "ann", 12).unwrap();
    fs::write(&path, &contained).unwrap();
    let fault = Journal::list(dir.path()).unwrap_err();
    assert!(fault.code == "bad-journal" && fault.message.contains("2 of the 3 entries"), "{fault:?}");
    // The same number of lines, and another history.
    fs::remove_file(&head).unwrap();
    let mut other = Journal::list(dir.path()).unwrap().remove(0);
    journal.record(&mut other, Event::Undoing { owner: "eve".into(), reason: "why".into(), opens: Vec::new() }, "eve", 12).unwrap();
    let theirs = fs::read(&head).unwrap();
    fs::write(&path, one_of(&one)).unwrap();
    assert_eq!(fs::read(&head).unwrap(), theirs);
    assert!(Journal::list(dir.path()).unwrap_err().message.contains("is not the one that was noted"));
    fs::write(&head, "{").unwrap();
    assert_eq!(Journal::list(dir.path()).unwrap_err().code, "bad-journal");
}

fn one_of(containment: &contain::Containment) -> String {
    containment.entries().iter().map(|e| serde_json::to_string(e).unwrap() + "\n").collect()
}

/// A record that cannot be read again would stop every later run, so none is written.
#[test]
fn a_record_is_never_larger_than_what_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let mut large = planned("ami-1");
    large.covers = vec![("ami".into(), "x".repeat(9 << 20))];
    assert_eq!(journal.begin(large.clone(), "ann", 10).unwrap_err().code, "too-large");
    assert!(Journal::list(dir.path()).unwrap().is_empty());
    large.covers = vec![("ami".into(), "x".repeat(7 << 20))];
    let mut one = journal.begin(large, "ann", 10).unwrap();
    journal.record(&mut one, Event::Contained, "ann", 11).unwrap();
    // Every undo that is refused adds what was seen; one that has begun can be finished.
    let undoing = || Event::Undoing { owner: "bob".into(), reason: "why".into(), opens: Vec::new() };
    let seen = State::Policy(Some("x".repeat(1 << 20)));
    let refused = (0..20).find_map(|_| {
        let refused = journal.record(&mut one, undoing(), "ann", 12).err();
        if refused.is_none() {
            journal.record(&mut one, Event::Conflict { seen: seen.clone() }, "ann", 12).unwrap();
        }
        refused
    });
    assert_eq!(refused.unwrap().code, "too-large");
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
    let note = guard::incident::Event::Note { text: "x".into() };
    incidents.append(&two.id, vec![note], "ann", 12).unwrap();
    let path = dir.path().join("incidents").join(&two.id).join("record");
    let text = fs::read_to_string(&path).unwrap();
    for damaged in [
        text.lines().next().unwrap().to_string() + "\n",
        text.replace("shop", "shed"),
        text.trim_end().to_string(),
        fs::read_to_string(dir.path().join("incidents").join(&one.id).join("record")).unwrap(),
    ] {
        fs::write(&path, damaged).unwrap();
        assert_eq!(Incidents::list(dir.path()).unwrap_err().code, "bad-incident");
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(Incidents::list(dir.path()).unwrap_err().code, "bad-incident", "the record is missing");
}

/// A pipe without a writer, a device without an end, a directory; and a link to a plain file, which is one.
#[test]
fn evidence_is_a_plain_file() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::open(dir.path()).unwrap();
    let incidents = Incidents::new(&journal);
    let facts = Facts { kind: "s3_bucket".into(), id: "shop".into(), attributes: BTreeMap::new() };
    let one = incidents.open("2026-11-30", &facts, ("f", "it is public"), "ann", 10).unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    for path in [pipe.as_path(), Path::new("/dev/zero"), dir.path()] {
        assert_eq!(incidents.keep(&one.id, path, "ann", 11).unwrap_err().code, "not-a-file", "{path:?}");
    }
    fs::write(dir.path().join("log"), "nobody").unwrap();
    std::os::unix::fs::symlink("log", dir.path().join("link")).unwrap();
    incidents.keep(&one.id, &dir.path().join("link"), "ann", 11).unwrap();
}
