//! A byte of the write-ahead log rots, or the log is cut off: what was acknowledged is there, or it is said that it is not.

use crate::common::*;
use journal::Database;
use model::*;
use rotation::Journal;
use std::path::Path;

/// As kill -9 leaves it: copied while it is open.
fn killed() -> (Dir, Vec<u8>, u64) {
    let dir = Dir::new();
    let store = dir.store();
    let id = open(&store, "web", "one", 1).unwrap();
    let lease = store.take(&name("web"), "a", Time(1), 1).unwrap();
    for seq in 1..8 {
        store.append(&lease, &id, seq, Time(2), &satisfied(0, "seen")).unwrap();
    }
    let lines = store.read(|r| r.events(0, 1_000)).unwrap().len() as u64;
    let copy = Dir::new();
    std::fs::create_dir_all(copy.db().parent().unwrap()).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        std::fs::copy(with(&dir.db(), suffix), with(&copy.db(), suffix)).unwrap();
    }
    let log = std::fs::read(with(&copy.db(), "-wal")).unwrap();
    assert!(log.len() > 20_000, "nothing is in the log");
    (copy, log, lines)
}

fn with(db: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = db.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Opens a fresh copy of `dir` with this log; gives how many events it knows, or the fault's code.
fn attempt(dir: &Dir, log: Option<&[u8]>, index: bool) -> Result<u64, String> {
    let copy = Dir::new();
    std::fs::create_dir_all(copy.db().parent().unwrap()).unwrap();
    std::fs::copy(dir.db(), copy.db()).unwrap();
    if let Some(log) = log {
        std::fs::write(with(&copy.db(), "-wal"), log).unwrap();
    }
    if index {
        std::fs::copy(with(&dir.db(), "-shm"), with(&copy.db(), "-shm")).unwrap();
    }
    let store = Database::open(&copy.db()).map_err(|f| f.code)?;
    store.read(|r| r.events(0, 1_000)).map(|e| e.len() as u64).map_err(|f| f.code)
}

#[test]
fn a_flipped_byte_or_a_missing_end_of_the_log_is_never_a_journal_that_knows_less() {
    let (dir, log, lines) = killed();
    assert_eq!(attempt(&dir, Some(&log), true), Ok(lines), "it is whole");
    let mut silent = Vec::new();
    let mut check = |how: String, got: Result<u64, String>| match got {
        Ok(n) if n == lines => {}
        Err(code) if code == "database-damaged" => {}
        other => silent.push(format!("{how}: {other:?} of {lines} events")),
    };
    let places: Vec<usize> = (0..64).chain((64..log.len()).step_by(997)).collect();
    for at in places {
        let mut flipped = log.clone();
        flipped[at] ^= 0x10;
        check(format!("byte {at} flipped"), attempt(&dir, Some(&flipped), true));
    }
    for cut in (0..log.len()).step_by(1_777) {
        check(format!("cut off after {cut}"), attempt(&dir, Some(&log[..cut]), true));
    }
    check("no log".into(), attempt(&dir, None, true));
    assert!(silent.is_empty(), "{} silent losses, such as {:#?}", silent.len(), &silent[..silent.len().min(4)]);
}

/// After a reboot the index is gone. A rotten frame with later transactions behind it is still known for what it is.
#[test]
fn without_the_index_only_the_last_transaction_can_be_a_torn_one() {
    let (dir, log, lines) = killed();
    let mut flipped = log.clone();
    flipped[40] ^= 1;
    assert_eq!(attempt(&dir, Some(&flipped), false), Err("database-damaged".into()), "the first frame");
    let mut header = log.clone();
    header[9] ^= 1;
    assert_eq!(attempt(&dir, Some(&header), false), Err("database-damaged".into()), "the header");
    let mut last = log.clone();
    let end = last.len() - 100;
    last[end] ^= 1;
    assert_eq!(attempt(&dir, Some(&last), false), Ok(lines - 1), "power was lost while the last one was written");
    assert_eq!(attempt(&dir, Some(&log[..log.len() - 7]), false), Ok(lines - 1));
}

#[test]
fn a_checkpoint_empties_the_log_and_a_restored_backup_is_whole() {
    let dir = Dir::new();
    let store = dir.store();
    open(&store, "web", "one", 1).unwrap();
    store.backup().unwrap();
    open(&store, "worker", "one", 2).unwrap();
    assert!(std::fs::metadata(with(&dir.db(), "-wal")).unwrap().len() > 0);
    store.checkpoint().unwrap();
    assert_eq!(std::fs::metadata(with(&dir.db(), "-wal")).unwrap().len(), 0);
    // A reader's snapshot holds it up; nobody waits.
    open(&store, "third", "one", 3).unwrap();
    store.read(|_| store.checkpoint()).unwrap();
    drop(store);
    let backup = journal::check_backup(&dir.db()).unwrap();
    assert_eq!(backup.open.iter().map(|id| id.as_str()).collect::<Vec<_>>(), ["web.1"], "what goes on with the next start");
    assert_eq!(dir.store().browse(|r| r.service_names()).unwrap().len(), 3, "it was only looked at");
    let restored = journal::restore(&dir.db()).unwrap();
    assert_eq!(restored.backup, backup);
    assert!(!restored.aside.is_empty(), "{restored:?}");
    let store = dir.store();
    let names = store.browse(|r| r.service_names()).unwrap();
    assert_eq!(names, [name("web")]);
    drop(store);
    std::fs::write(with(&dir.db(), ".backup"), b"rubbish").unwrap();
    assert_eq!(journal::restore(&dir.db()).unwrap_err().code, "database-damaged");
    assert_eq!(dir.store().browse(|r| r.service_names()).unwrap(), [name("web")], "a damaged backup replaces nothing");
    std::fs::remove_file(with(&dir.db(), ".backup")).unwrap();
    assert_eq!(journal::restore(&dir.db()).unwrap_err().code, "no-backup");
}

/// A list that takes long holds no driver up.
#[test]
fn lists_have_a_connection_of_their_own() {
    let dir = Dir::new();
    let store = dir.store();
    open(&store, "web", "one", 1).unwrap();
    let seen = store.browse(|_| std::thread::scope(|s| s.spawn(|| store.read(|r| r.service(&name("web")))).join().unwrap())).unwrap();
    assert_eq!(seen.unwrap().generation, 1);
}
