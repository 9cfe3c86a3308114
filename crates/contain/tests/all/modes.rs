//! Modes of files: of the file that was found, by no link, and back to the bit.

use contain::{By, Host, Journal, Judged, Outcome, Place, Planned, Undo, World, begin_undo, carry_on};
use guard::Verdict;
use guard::contain::{FileIdentity, Plan, Setting, State};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn now() -> i64 {
    10
}

const BY: By<'static> = By { name: "ann", now_s: &now };
const UNDO: Undo<'static> = Undo { owner: "bob", reason: "why", opens: &[] };

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

/// Public while others can write it.
fn judge(root: &Path) -> impl Fn(&str) -> Result<Judged, model::Fault> + '_ {
    |path| {
        let is_open = mode(&root.join(path.trim_start_matches('/'))) & 0o002 != 0;
        Ok(Judged { verdict: if is_open { Verdict::Public } else { Verdict::NotPublic }, missing: String::new() })
    }
}

fn planned(host: &Host, root: &Path, path: &str) -> Planned {
    let (setting, before) = host.mode_of(path).unwrap();
    let plan = Plan {
        kind: "file".into(),
        id: path.into(),
        setting,
        before: State::Mode(before),
        after: State::Mode(before & !0o002),
        cut_off: Vec::new(),
    };
    let (contain_command, undo_command) = (plan.contain().unwrap().command, plan.undo().unwrap().command);
    let at = Place::Host { root: root.display().to_string() };
    Planned { at, plan, covers: vec![("file".into(), path.into())], contain_command, undo_command, incident: None }
}

#[test]
fn the_mode_of_the_file_that_was_found() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, journal) = (dir.path(), Journal::open(state.path()).unwrap());
    fs::create_dir(root.join("etc")).unwrap();
    let file = root.join("etc/job");
    fs::write(&file, "x").unwrap();
    // Not readable by whoever changes it either, and with a bit beside those of the mode.
    fs::set_permissions(&file, Permissions::from_mode(0o1222)).unwrap();
    let judged = judge(root);
    let host = Host::new(root, &judged).unwrap();
    let (mut containment, outcome) = contain::contain(&journal, &host, planned(&host, root, "/etc/job"), &BY).unwrap();
    assert_eq!((outcome, mode(&file)), (Outcome::Contained, 0o1220));
    assert!(begin_undo(&journal, &host, &mut containment, &UNDO, &BY).unwrap().is_none());
    assert_eq!(carry_on(&journal, &host, &mut containment, &BY).unwrap(), Outcome::Undone);
    assert_eq!(mode(&file), 0o1222);
}

/// Inodes are given again, and devices get other numbers: it is the same file only if it was made at the same time.
#[test]
fn a_file_is_known_again_by_when_it_was_made() {
    let recorded = FileIdentity { inode: 7, device: 3, born: Some("1.000000002".into()), filesystem: Some("UUID a".into()) };
    let found = recorded.clone();
    assert!(found.is(&recorded));
    assert!(FileIdentity { device: 9, ..found.clone() }.is(&recorded), "after the system started again");
    assert!(!FileIdentity { born: Some("1.000000003".into()), ..found.clone() }.is(&recorded), "the inode was given again");
    assert!(!FileIdentity { born: None, ..found.clone() }.is(&recorded), "what was known cannot be told now");
    assert!(!FileIdentity { filesystem: Some("UUID b".into()), ..found.clone() }.is(&recorded));
    assert!(!FileIdentity { filesystem: None, ..found.clone() }.is(&recorded));
    assert!(!FileIdentity { inode: 8, ..found.clone() }.is(&recorded));
    // As an older version recorded it.
    let old: Setting = serde_json::from_str(r#"{"setting": "file_mode", "path": "/x", "device": 3, "inode": 7}"#).unwrap();
    let Setting::FileMode { identity: old, .. } = old else { panic!() };
    assert!(found.is(&old) && !FileIdentity { device: 9, ..found }.is(&old));
}

#[test]
fn an_inode_that_was_given_again_is_another_file() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, journal) = (dir.path(), Journal::open(state.path()).unwrap());
    let file = root.join("job");
    let make = || {
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o666)).unwrap();
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(&file).unwrap())
    };
    let first = make();
    let judged = judge(root);
    let host = Host::new(root, &judged).unwrap();
    let plan = planned(&host, root, "/job");
    let Setting::FileMode { identity, .. } = &plan.plan.setting else { panic!() };
    let Some(born) = &identity.born else { return eprintln!("this filesystem does not say when a file was made") };
    assert!(born.contains('.') && identity.filesystem.is_some(), "{identity:?}");
    let (mut containment, _) = contain::contain(&journal, &host, plan, &BY).unwrap();
    // ext4 gives the inode to the next file; if it does not, there is nothing to see here.
    let is_again = (0..50).any(|_| {
        fs::remove_file(&file).unwrap();
        make() == first
    });
    eprintln!("the inode was given again: {is_again}");
    fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
    let outcome = begin_undo(&journal, &host, &mut containment, &UNDO, &BY).unwrap();
    assert_eq!((outcome, mode(&file)), (Some(Outcome::Conflict(State::Gone)), 0o664));
    // Nothing has the name any more.
    fs::remove_file(&file).unwrap();
    let outcome = begin_undo(&journal, &host, &mut containment, &UNDO, &BY).unwrap();
    assert_eq!((outcome, containment.standing.name()), (Some(Outcome::Gone), "gone"));
}

/// A directory that is not mounted has no file of that name, and its filesystem has it still.
#[test]
fn a_file_is_gone_only_from_the_filesystem_that_it_was_on() {
    let dir = tempfile::tempdir().unwrap();
    let judged = judge(dir.path());
    let host = Host::new(dir.path(), &judged).unwrap();
    fs::create_dir_all(dir.path().join("srv")).unwrap();
    fs::write(dir.path().join("srv/file"), "x").unwrap();
    let (setting, _) = host.mode_of("/srv/file").unwrap();
    let Setting::FileMode { path, identity } = setting.clone() else { panic!() };
    let gone = |setting: &Setting| host.is_gone(setting, ("file", "/srv/file")).unwrap();
    assert!(!gone(&setting), "it is there");
    fs::remove_dir_all(dir.path().join("srv")).unwrap();
    assert_eq!(gone(&setting), identity.filesystem.is_some());
    for filesystem in [Some("UUID of-another".to_string()), None] {
        let elsewhere = Setting::FileMode { path: path.clone(), identity: FileIdentity { filesystem, ..identity.clone() } };
        assert!(!gone(&elsewhere), "{elsewhere:?}");
    }
    symlink("/nowhere", dir.path().join("srv")).unwrap();
    assert!(!gone(&setting), "a link is in the way");
}

#[test]
fn what_took_its_place_is_left_alone() {
    let (dir, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (root, journal) = (dir.path(), Journal::open(state.path()).unwrap());
    fs::create_dir_all(root.join("etc")).unwrap();
    let (file, precious) = (root.join("etc/job"), root.join("precious"));
    for path in [&file, &precious] {
        fs::write(path, "x").unwrap();
        fs::set_permissions(path, Permissions::from_mode(0o666)).unwrap();
    }
    let judged = judge(root);
    let host = Host::new(root, &judged).unwrap();
    let plan = planned(&host, root, "/etc/job");
    // The same name, another file; a link to another file; a link among the directories.
    let held = root.join("held");
    let exchanges: [&dyn Fn(); 3] = [&|| fs::copy(&precious, &file).map(drop).unwrap(), &|| symlink(&precious, &file).unwrap(), &|| {
        fs::rename(root.join("etc"), root.join("etc-of-others")).unwrap();
        fs::hard_link(&precious, root.join("etc-of-others/job")).unwrap();
        symlink("etc-of-others", root.join("etc")).unwrap();
    }];
    for exchange in exchanges {
        fs::rename(&file, &held).unwrap();
        exchange();
        let (_, outcome) = contain::contain(&journal, &host, plan.clone(), &BY).unwrap();
        assert_eq!(outcome, Outcome::Conflict(State::Gone));
        assert!(host.write(&plan.plan.contain().unwrap()).is_err(), "also where it was exchanged at the last moment");
        assert_eq!((mode(&precious), mode(&held)), (0o666, 0o666));
        if root.join("etc").is_symlink() {
            break;
        }
        fs::remove_file(&file).unwrap();
        fs::rename(&held, &file).unwrap();
    }
    for path in ["/etc/job", "/../etc/passwd", "/no/such"] {
        assert!(host.mode_of(path).is_err(), "{path}");
    }
}
