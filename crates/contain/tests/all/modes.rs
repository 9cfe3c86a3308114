//! Modes of files: of the file that was found, by no link, and back to the bit.

use contain::{By, Host, Journal, Judged, Outcome, Place, Planned, World, begin_undo, carry_on};
use guard::Verdict;
use guard::contain::{Plan, State};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

fn now() -> i64 {
    10
}

const BY: By<'static> = By { name: "ann", now_s: &now };

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
    assert!(begin_undo(&journal, &host, &mut containment, ("bob", "why"), &BY).unwrap().is_none());
    assert_eq!(carry_on(&journal, &host, &mut containment, &BY).unwrap(), Outcome::Undone);
    assert_eq!(mode(&file), 0o1222);
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
