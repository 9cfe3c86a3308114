//! The identity of a data directory. Afresh's marker in it says which one it is, and where it was last used, so that a foreign
//! directory is never touched, a copy never takes the original's servers for its own, and a moved one keeps working.
//!
//! ```text
//! missing or empty ─▶ created and marked
//! marked ─┬ the same directory, here or renamed ─▶ known (moved: the recorded path is rewritten)
//!         ├ another one, and the marked place has the original ─▶ refused: a copy     ─ adopt ─▶ a new identity, nothing of it runs
//!         └ marked on another machine ─▶ refused                                     ─ adopt ─▶ as above
//! not marked ─┬ exactly what an older version created ─▶ marked, under the names that it has on this host
//!             └ anything else ─▶ refused
//! ```
//!
//! Names on the host (bridge, control groups) are made of the marker's `mark`, not of the path.

use crate::instance_dir::InstanceDir;
use crate::marker::{Marked, Marker, Place, forged, read, sound, write};
use crate::record::Began;
use crate::state_files::{self, names};
use model::{Fault, Layout};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    Made,
    Known,
    /// Of an older version; it is marked now.
    Marked,
    /// `renamed`: it is the same directory. Else it is on another file system, or is a copy of one that is not visible here and of which
    /// nothing runs.
    Moved {
        from: PathBuf,
        renamed: bool,
    },
    /// A copy that has its own identity now.
    Adopted {
        from: PathBuf,
    },
}

/// Before the directory is used. Creates it if it is missing; never changes the mode of an existing one.
pub fn open(layout: &Layout, adopt: bool) -> Result<Identity, Fault> {
    let root = layout.root();
    let made = !root.exists();
    if made {
        let make = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(root);
        make.map_err(|e| state_files::at(root, "making the data directory", e))?;
    }
    // Several processes may start at once: one of them marks it.
    let _lock = disk::lock::Lock::directory(root).map_err(|e| state_files::at(root, "locking", e))?;
    let place = Place::of(root)?;
    let marker = match read(layout) {
        Marked::Good(marker) => marker,
        Marked::Unsound(why) => return Err(forged(layout, &why)),
        found => {
            let fresh = made || is_empty(root);
            if !fresh {
                private(root)?;
                recognise(layout)?;
            }
            if let Marked::Damaged(why) = found {
                tracing::warn!("{why}; the directory is marked again");
            }
            let id = random_id()?;
            let mark = if fresh { id[..8].to_string() } else { mark(layout) };
            write(layout, &Marker { id, mark, made: disk::files::now(), ..Marker::at(place) })?;
            return Ok(if made || fresh { Identity::Made } else { Identity::Marked });
        }
    };
    private(root)?;
    match judge(&marker, &place, id_at, || runs_elsewhere(layout)) {
        Judged::Same if marker.is_at(&place) => Ok(Identity::Known),
        Judged::Same => note(layout, &marker, place).map(|()| Identity::Known),
        Judged::Moved => {
            let renamed = (marker.device, marker.inode) == (place.device, place.inode);
            let from = marker.path.clone();
            note(layout, &marker, place)?;
            Ok(Identity::Moved { from, renamed })
        }
        Judged::Foreign(_) if adopt => {
            forget(layout)?;
            let id = random_id()?;
            write(layout, &Marker { mark: id[..8].to_string(), id, made: disk::files::now(), ..Marker::at(place) })?;
            Ok(Identity::Adopted { from: marker.path })
        }
        Judged::Foreign(fault) => Err(fault),
    }
}

/// Before what a directory runs is ended or removed: it must be marked, or of an older version, and used here.
pub fn ours(layout: &Layout) -> Result<(), Fault> {
    match read(layout) {
        Marked::Good(marker) => match judge(&marker, &Place::of(layout.root())?, id_at, || runs_elsewhere(layout)) {
            Judged::Foreign(fault) => Err(fault),
            Judged::Same | Judged::Moved => Ok(()),
        },
        Marked::Unsound(why) => Err(forged(layout, &why)),
        Marked::Absent | Marked::Damaged(_) => recognise(layout),
    }
}

/// 8 hex digits that mark things on this host as a directory's. For a directory without a marker: those of its instances, else those
/// of its path, as in older versions.
pub fn mark(layout: &Layout) -> String {
    sound(layout).map(|marker| marker.mark).or_else(|| carried(layout)).unwrap_or_else(|| {
        let root = layout.root().canonicalize().unwrap_or_else(|_| layout.root().to_path_buf());
        hex::encode(Sha256::digest(root.as_os_str().as_encoded_bytes()))[..8].to_string()
    })
}

fn carried(layout: &Layout) -> Option<String> {
    names(&layout.instances()).into_iter().find_map(|name| {
        let record: crate::record::Record = state_files::read_json(&InstanceDir(layout.instances().join(name)).record()).good()?;
        let mark = record.placement.cgroup.strip_prefix("/afresh-")?.split('/').next()?;
        (mark.len() == 8 && mark.bytes().all(|b| b.is_ascii_hexdigit())).then(|| mark.to_string())
    })
}

/// Whether the data directory at another place is this one, for example the one that a bridge's alias names.
pub fn is_other(layout: &Layout, there: &Path) -> bool {
    let own = sound(layout).map(|marker| marker.id);
    let which = |root: &Path| std::fs::metadata(root).ok().map(|meta| (meta.dev(), meta.ino()));
    let same_place = which(there).is_some() && which(there) == which(layout.root());
    // Where no marked directory exists any more, a bridge of this one's name is this one's own. One with the same id is a copy.
    !same_place && (own.is_none() || there.join("afresh.json").exists())
}

/// Marks what was unpacked from a backup: it starts nothing before somebody says, by [`open`] with `adopt`, that the original is gone.
/// Whether it is cannot be seen from here: it may be on another machine.
pub fn mark_restored(layout: &Layout, backed_up: model::Time) -> Result<(), Fault> {
    match read(layout) {
        // Older versions of Afresh do not know `restored`: to them it is another machine's.
        Marked::Good(marker) => write(layout, &Marker { machine: "0".repeat(32), restored: Some(backed_up), ..marker }),
        Marked::Unsound(why) => Err(forged(layout, &why)),
        Marked::Absent | Marked::Damaged(_) => {
            Err(Fault::yours("bad-backup", "the backup has no marker of a data directory: afresh.json").hint("make another backup"))
        }
    }
}

enum Judged {
    Same,
    Moved,
    Foreign(Fault),
}

type At = Option<(String, (u64, u64))>;

/// The id that a directory elsewhere is marked with, and which directory it is.
fn id_at(root: &Path) -> At {
    let meta = std::fs::metadata(root).ok()?;
    let marker = sound(&Layout::new(root))?;
    Some((marker.id, (meta.dev(), meta.ino())))
}

/// An instance of this directory runs, and its shim does not hold the lock in this directory but the one in another. The records here
/// are a copy, and acting on them would end another directory's servers.
fn runs_elsewhere(layout: &Layout) -> Option<String> {
    names(&layout.instances()).into_iter().find(|name| {
        let place = InstanceDir(layout.instances().join(name));
        let began = state_files::read_json::<Began>(&place.began()).good();
        began.is_some_and(|shim| crate::process::open(shim.pid, shim.pid_start).is_some()) && !disk::lock::is_held(&place.lock())
    })
}

/// Pure, except for the functions that it gets for reading.
fn judge(marker: &Marker, place: &Place, id_at: impl Fn(&Path) -> At, runs_elsewhere: impl Fn() -> Option<String>) -> Judged {
    if let Some(backed_up) = marker.restored {
        let (here, there) = (place.path.display(), marker.path.display());
        let text = format!("{here}: restored from a backup of {there}, and nobody has said that the original is gone");
        let fault = Fault::world("restored-dir", format!("{text}; nothing was started, ended or changed")).again(false);
        return Judged::Foreign(fault.hint(format!(
            "if the original runs, two would serve the same and write the same volumes. Once it has ended for good: \
             `afresh restore --original-gone --yes --data-dir {here}`, then start it; what was deployed after the backup (made {}) is not in it",
            day(backed_up)
        )));
    }
    if !marker.machine.is_empty() && !place.machine.is_empty() && marker.machine != place.machine {
        let text = format!("{}: this data directory was used on another machine, at {}", place.path.display(), marker.path.display());
        return Judged::Foreign(refused("other-machine", text));
    }
    if marker.path == place.path {
        return Judged::Same;
    }
    // Another name of the same directory (a bind mount, a rename) is not a copy.
    let original = id_at(&marker.path).filter(|(id, at)| *id == marker.id && *at != (place.device, place.inode));
    match original {
        Some(_) => {
            let text = format!("{}: this is a copy of {}, whose servers are not its own", place.path.display(), marker.path.display());
            Judged::Foreign(refused("copied-dir", text))
        }
        // Renamed: the same directory.
        None if (marker.device, marker.inode) == (place.device, place.inode) => Judged::Moved,
        // Moved to another file system, or a copy of an original that is not visible here: that may not be mounted.
        None => match runs_elsewhere() {
            Some(instance) => {
                let (here, there) = (place.path.display(), marker.path.display());
                let text = format!(
                    "{here}: this is a copy: {instance} runs from another directory, formerly {there}; that may not be mounted here"
                );
                Judged::Foreign(refused("copied-dir", text))
            }
            None => Judged::Moved,
        },
    }
}

fn refused(code: &str, text: String) -> Fault {
    Fault::world(code, format!("{text}; nothing was started, ended or changed"))
        .hint("give it an identity of its own, of which nothing runs yet: `afresh up --adopt`; or use the original")
        .again(false)
}

/// `2026-11-29T20:15:00Z`
fn day(at: model::Time) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| "at an unknown time".to_string(), |at| at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// Records where it is used now. On a full disk the marker stays as it was, and the next start checks again.
fn note(layout: &Layout, marker: &Marker, place: Place) -> Result<(), Fault> {
    let new = Marker { id: marker.id.clone(), mark: marker.mark.clone(), made: marker.made, ..Marker::at(place) };
    if let Err(fault) = write(layout, &new) {
        tracing::warn!("{fault}");
    }
    Ok(())
}

fn random_id() -> Result<String, Fault> {
    let path = Path::new("/proc/sys/kernel/random/uuid");
    let uuid = std::fs::read_to_string(path).map_err(|e| state_files::at(path, "reading", e))?;
    Ok(uuid.trim().replace('-', ""))
}

/// What may exist in a new file system made by mkfs.
fn is_empty(root: &Path) -> bool {
    std::fs::read_dir(root).is_ok_and(|entries| entries.flatten().all(|entry| entry.file_name() == "lost+found"))
}

/// Other users who can write into it could replace anything in it.
fn private(root: &Path) -> Result<(), Fault> {
    let meta = std::fs::metadata(root).map_err(|e| state_files::at(root, "looking at", e))?;
    let us = nix::unistd::geteuid().as_raw();
    if meta.uid() != us && us == 0 || meta.mode() & 0o022 != 0 {
        let text = format!("{}: others can write into it (owner {}, mode {:o})", root.display(), meta.uid(), meta.mode() & 0o7777);
        return Err(
            Fault::yours("open-dir", text).hint(format!("change its owner and mode: chown root: {0} && chmod 700 {0}", root.display()))
        );
    }
    Ok(())
}

const DIRS: &[&str] = &["run", "control", "store", "host", "targets", "proxy", "sources.d"];
const FILES: &[&str] = &["policy.json", "signer.json", "up.log", "up.log.1", "afresh.json", "afresh.json.spare"];
const STORE: &[&str] = &["objects", "manifests", "inputs", "current", "locks", "work"];

/// What an older version created: only its directories and files, with a sign in them that only it writes.
fn recognise(layout: &Layout) -> Result<(), Fault> {
    let root = layout.root();
    let foreign = |what: String| {
        Err(Fault::yours("foreign-dir", format!("{}: not a data directory of Afresh: {what}; nothing was changed", root.display()))
            .hint("choose an empty or new directory with --data-dir"))
    };
    let all = names(root);
    for name in all.iter().filter(|name| *name != "lost+found" && !name.starts_with(".afresh")) {
        let meta = std::fs::symlink_metadata(root.join(name)).map_err(|e| state_files::at(&root.join(name), "looking at", e))?;
        let known = meta.is_dir() && DIRS.contains(&name.as_str()) || meta.is_file() && FILES.contains(&name.as_str());
        if !known {
            return foreign(format!("it holds {name:?}"));
        }
    }
    let node = std::fs::read_to_string(root.join("control/node")).is_ok_and(|text| text.starts_with("node-") && text.len() == 41);
    let network = state_files::read_json::<serde_json::Value>(&layout.host().join("network.json")).good();
    let network = network.is_some_and(|value| value["subnet"].as_str().is_some_and(|s| s.ends_with(".0/24")));
    let store = STORE.iter().all(|part| layout.store().join(part).is_dir());
    // Created by an `afresh up` that was killed right after its start.
    let begun = DIRS[..6].iter().all(|dir| root.join(dir).is_dir()) && layout.run().join("process-up.lock").is_file();
    if node || network || store || begun { Ok(()) } else { foreign("nothing in it was created by Afresh".to_string()) }
}

/// A copy has files of servers, sockets and locks that are not its own. What was declared, the journals and the store stay.
fn forget(layout: &Layout) -> Result<(), Fault> {
    for instance in names(&layout.instances()) {
        let place = InstanceDir(layout.instances().join(instance));
        if disk::lock::is_held(&place.lock()) {
            return Err(Fault::world("in-use", format!("{}: a server runs from this directory", place.0.display())).again(false));
        }
    }
    let host = layout.host();
    let mounted = crate::mounts::below(&host.canonicalize().unwrap_or_else(|_| host.clone()));
    if let Some(point) = mounted.first() {
        return Err(Fault::world("in-use", format!("{}: it is mounted", point.display())).again(false));
    }
    for dir in [layout.instances(), host.join("runtime"), host.join("mounts"), layout.targets(), layout.run()] {
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(state_files::at(&dir, "removing", e)),
            _ => {}
        }
    }
    for file in [host.join("network.json"), host.join("happened.jsonl"), host.join("happened.jsonl.1")] {
        disk::state::remove(&file).map_err(|e| state_files::at(&file, "removing", e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::marker::path;
    use std::os::unix::fs::PermissionsExt;

    fn code(result: Result<Identity, Fault>) -> String {
        match result {
            Ok(identity) => format!("{identity:?}").split([' ', '{']).next().unwrap().to_string(),
            Err(fault) => fault.code,
        }
    }

    fn copy(from: &Path, to: &Path) {
        assert!(std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap().success());
    }

    #[test]
    fn a_directory_is_made_known_moved_copied_and_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b, c) = (Layout::new(dir.path().join("a")), Layout::new(dir.path().join("b")), Layout::new(dir.path().join("c")));
        assert_eq!(code(open(&a, false)), "Made");
        assert_eq!(std::fs::metadata(a.root()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!((code(open(&a, false)), code(open(&a, true))), ("Known".into(), "Known".into()));
        let first = mark(&a);
        copy(a.root(), b.root());
        assert_eq!((code(open(&b, false)), ours(&b).unwrap_err().code), ("copied-dir".into(), "copied-dir".into()));
        assert_eq!(code(open(&a, false)), "Known");
        std::fs::rename(a.root(), c.root()).unwrap();
        assert_eq!(code(open(&c, false)), "Moved");
        assert_eq!((code(open(&c, false)), mark(&c)), ("Known".into(), first.clone()), "the names stay");
        // Now the copy's marker names an empty place: it looks like a moved directory, but `c` has that id as well.
        std::fs::create_dir_all(b.instances().join("web-r1-1-1")).unwrap();
        copy(c.root(), &dir.path().join("d"));
        let d = Layout::new(dir.path().join("d"));
        assert_eq!(code(open(&d, false)), "copied-dir");
        assert_eq!(code(open(&d, true)), "Adopted");
        assert!(mark(&d) != first && code(open(&d, false)) == "Known" && code(open(&c, false)) == "Known");
    }

    #[test]
    fn a_copy_that_is_adopted_forgets_what_ran() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Layout::new(dir.path().join("a")), Layout::new(dir.path().join("b")));
        open(&a, false).unwrap();
        for dir in [a.instances().join("web-r1-1-1"), a.groups(), a.targets(), a.run(), a.store()] {
            std::fs::create_dir_all(dir).unwrap();
        }
        std::fs::write(a.host().join("network.json"), "{}").unwrap();
        copy(a.root(), b.root());
        let own = disk::lock::Lock::try_exclusive(&InstanceDir(b.instances().join("web-r1-1-1")).lock()).unwrap();
        assert_eq!(code(open(&b, true)), "in-use", "a server runs out of the copy itself");
        drop(own);
        assert_eq!(code(open(&b, true)), "Adopted");
        assert!(!b.instances().exists() && !b.host().join("network.json").exists() && !b.run().exists());
        assert!(b.groups().is_dir() && b.store().is_dir() && a.instances().join("web-r1-1-1").is_dir());
    }

    #[test]
    fn what_was_restored_waits_until_somebody_says_that_the_original_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Layout::new(dir.path().join("a")), Layout::new(dir.path().join("b")));
        open(&a, false).unwrap();
        copy(a.root(), b.root());
        std::fs::create_dir_all(b.groups()).unwrap();
        mark_restored(&b, model::Time(1_795_000_000_000)).unwrap();
        // Also where the original is not to be seen, and at the very place where it was.
        for gone in [false, true] {
            if gone {
                std::fs::remove_dir_all(a.root()).unwrap();
                std::fs::rename(b.root(), a.root()).unwrap();
            }
            let place = if gone { &a } else { &b };
            let fault = open(place, false).unwrap_err();
            assert!(fault.code == "restored-dir" && fault.hint.unwrap().contains("2026-11-18T11:06:40Z"), "{}", fault.message);
            assert_eq!(ours(place).unwrap_err().code, "restored-dir");
        }
        let before = mark(&a);
        assert_eq!((code(open(&a, true)), code(open(&a, false))), ("Adopted".into(), "Known".into()));
        assert!(mark(&a) != before && a.groups().is_dir());
        std::fs::remove_file(path(&a)).unwrap();
        std::fs::remove_file(disk::state::spare(&path(&a))).unwrap();
        assert_eq!(mark_restored(&a, model::Time(1)).unwrap_err().code, "bad-backup");
    }

    #[test]
    fn another_machine_is_another_and_a_machine_without_an_id_is_none() {
        let place = |machine: &str, path: &str, inode| Place {
            machine: machine.to_string(),
            boot: "b".to_string(),
            path: PathBuf::from(path),
            device: 1,
            inode,
        };
        let marker = |machine: &str| Marker { id: "x".to_string(), ..Marker::at(place(machine, "/a", 7)) };
        let nowhere = |_: &Path| None;
        let nothing = || None;
        let judge = |marker: &Marker, place: &Place, id_at: &dyn Fn(&Path) -> At| super::judge(marker, place, id_at, nothing);
        let there = |_: &Path| Some(("x".to_string(), (1, 7)));
        assert!(matches!(judge(&marker("m"), &place("n", "/a", 7), &nowhere), Judged::Foreign(f) if f.code == "other-machine"));
        assert!(matches!(judge(&marker(""), &place("n", "/a", 7), &nowhere), Judged::Same));
        assert!(matches!(judge(&marker("m"), &place("m", "/a", 9), &there), Judged::Same), "put back from a backup");
        assert!(matches!(judge(&marker("m"), &place("m", "/b", 7), &there), Judged::Moved), "another name of the same one");
        assert!(matches!(judge(&marker("m"), &place("m", "/b", 9), &nowhere), Judged::Moved));
        assert!(matches!(judge(&marker("m"), &place("m", "/b", 9), &there), Judged::Foreign(f) if f.code == "copied-dir"));
        let other = |_: &Path| Some(("y".to_string(), (1, 7)));
        assert!(matches!(judge(&marker("m"), &place("m", "/b", 9), &other), Judged::Moved), "another one is where it was");
        // The original is not visible, and a server of its records runs without holding the lock in this directory.
        let lives = || Some("web-r1-1-1".to_string());
        let judged = |inode| super::judge(&marker("m"), &place("m", "/b", inode), nowhere, lives);
        assert!(matches!(judged(9), Judged::Foreign(f) if f.code == "copied-dir" && f.message.contains("web-r1-1-1")));
        assert!(matches!(judged(7), Judged::Moved), "the same directory, renamed: its servers are its own");
    }

    /// A copy whose original is not mounted: the servers of the original run, and nobody holds the locks in the copy.
    #[test]
    fn a_copy_of_an_original_out_of_sight_is_refused_while_that_runs() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Layout::new(dir.path().join("a")), Layout::new(dir.path().join("b")));
        open(&a, false).unwrap();
        let place = InstanceDir(a.instances().join("web-r1-1-1"));
        std::fs::create_dir_all(&place.0).unwrap();
        let pid = i32::try_from(std::process::id()).unwrap();
        let began = Began { pid, pid_start: crate::process::start_of(pid).unwrap() };
        state_files::write_json(&place.began(), &began).unwrap();
        let _shim = disk::lock::Lock::try_exclusive(&place.lock()).unwrap().unwrap();
        copy(a.root(), b.root());
        std::fs::rename(a.root(), dir.path().join("unmounted")).unwrap();
        let fault = open(&b, false).unwrap_err();
        assert!(fault.code == "copied-dir" && fault.message.contains("web-r1-1-1"), "{fault:?}");
        assert_eq!(ours(&b).unwrap_err().code, "copied-dir");
        // Mounted elsewhere, or renamed, the original is known by the lock that its server holds.
        assert_eq!(code(open(&Layout::new(dir.path().join("unmounted")), false)), "Moved");
    }

    #[test]
    fn a_bridge_of_a_copy_is_another_s() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (Layout::new(dir.path().join("a")), Layout::new(dir.path().join("b")));
        open(&a, false).unwrap();
        assert!(!is_other(&a, a.root()) && !is_other(&a, &dir.path().join("gone")));
        std::os::unix::fs::symlink(a.root(), dir.path().join("link")).unwrap();
        assert!(!is_other(&a, &dir.path().join("link")));
        copy(a.root(), b.root());
        assert!(is_other(&a, b.root()), "the same id, and another directory");
        open(&b, true).unwrap();
        assert!(is_other(&a, b.root()));
    }

    #[test]
    fn what_somebody_else_made_is_refused_and_stays_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("theirs");
        let layout = Layout::new(&root);
        std::fs::create_dir(&root).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        for names in [&["letter.txt"][..], &["run/"], &["run/", "host/"], &["run/", "control/", "store/", "host/", "targets/", "proxy/"]] {
            for name in names {
                match name.strip_suffix('/') {
                    Some(name) => std::fs::create_dir(root.join(name)).unwrap(),
                    None => std::fs::write(root.join(name), "dear").unwrap(),
                }
            }
            assert_eq!(
                (code(open(&layout, true)), ours(&layout).unwrap_err().code),
                ("foreign-dir".into(), "foreign-dir".into()),
                "{names:?}"
            );
            assert!(!path(&layout).exists() && std::fs::metadata(&root).unwrap().permissions().mode() & 0o777 == 0o755);
            std::fs::remove_dir_all(&root).unwrap();
            std::fs::create_dir(&root).unwrap();
            std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        // Empty: it is used, and its mode stays.
        assert_eq!(code(open(&layout, false)), "Made");
        assert_eq!(std::fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o755);
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
        assert_eq!(code(open(&layout, false)), "open-dir");
    }

    #[test]
    fn what_an_older_version_made_is_marked_under_its_old_names() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        std::fs::create_dir_all(dir.path().join("control")).unwrap();
        std::fs::write(dir.path().join("control/node"), "node-00000000-0000-0000-0000-000000000000").unwrap();
        let by_path = mark(&layout);
        assert_eq!(code(open(&layout, false)), "Marked");
        assert_eq!(mark(&layout), by_path);
        std::fs::write(dir.path().join("holiday.jpg"), "").unwrap();
        assert_eq!(code(open(&layout, false)), "Known", "a marked one may hold more");
    }
}
