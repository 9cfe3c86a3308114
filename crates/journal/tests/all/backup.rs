//! The snapshot that a backup of the whole data directory takes: of one moment, while others write; and what is never given out again.

use crate::common::*;
use journal::Database;
use model::*;
use rotation::Journal;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

type Lines = BTreeMap<RotationId, Vec<EventLine>>;

fn lines(store: &Database) -> Lines {
    store
        .browse(|r| {
            let all = r.rotations(None, 1_000_000)?;
            all.into_iter().map(|row| Ok((row.id.clone(), r.lines(&row.id, 0)?))).collect()
        })
        .unwrap()
}

fn put(snapshot: &Path) -> Dir {
    let dir = Dir::new();
    std::fs::create_dir_all(dir.db().parent().unwrap()).unwrap();
    std::fs::rename(snapshot, dir.db()).unwrap();
    dir
}

/// Whatever becomes of the test, the writer ends.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_snapshot_under_load_is_of_one_moment() {
    let dir = Dir::new();
    let store = dir.store();
    open(&store, "web", "one", 1).unwrap();
    let (stop, committed) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let service = name("web");
            let lease = store.take(&service, "driver", Time(1), u64::MAX / 4).unwrap();
            let id = RotationId::of(&service, 1);
            let mut seq = 1;
            while !stop.load(Ordering::SeqCst) {
                store.append(&lease, &id, seq, Time(seq), &satisfied(0, "so")).unwrap();
                seq += 1;
                committed.store(seq, Ordering::SeqCst);
            }
        });
        let _stop = Stop(&stop);
        for n in 0..20 {
            let to = dir.0.path().join(format!("snapshot-{n}"));
            let before = committed.load(Ordering::SeqCst);
            // What is read meanwhile is of the copy's moment: nobody commits.
            let held = || {
                let first = lines(&store);
                std::thread::sleep(std::time::Duration::from_millis(20));
                assert_eq!(lines(&store), first, "somebody committed while the declarations were read");
                Ok(first)
            };
            let (then, services) = journal::snapshot(&dir.db(), &to, held, |r| r.service_names()).unwrap();
            assert_eq!(services, [name("web")]);
            assert!(!dir.0.path().join(format!("snapshot-{n}-wal")).exists(), "a copy is one file");
            let copy = put(&to);
            assert_eq!(lines(&copy.store()), then);
            let count = then.values().map(Vec::len).sum::<usize>() as u64;
            assert!(count >= before, "{count} lines, {before} were committed before");
            if n == 19 {
                // Others wrote on while the copy was made.
                while committed.load(Ordering::SeqCst) <= count {
                    std::thread::yield_now();
                }
            }
        }
    });
}

/// The original goes on after the backup, and the machine of the copy has a clock that is a year behind.
#[test]
fn no_fence_is_given_out_twice_also_where_the_clock_is_behind() {
    const NOW: u64 = 1_795_000_000_000;
    const YEAR: u64 = 365 * 24 * 3_600_000;
    let dir = Dir::new();
    let store = dir.store();
    let take = |store: &Database, service: &str, at: u64| store.take(&name(service), "x", Time(at), 1).unwrap().fence;
    open(&store, "web", "one", 1).unwrap();
    let mut given = vec![take(&store, "web", NOW)];
    let to = dir.0.path().join("snapshot");
    journal::snapshot(&dir.db(), &to, || Ok(()), |_| Ok(())).unwrap();
    open(&store, "api", "one", 1).unwrap();
    for hours in 0..48 {
        given.push(take(&store, "web", NOW + hours * 3_600_000));
        given.push(take(&store, "api", NOW + hours * 3_600_000));
    }
    let newest = *given.iter().max().unwrap();
    let copy = put(&to);
    for clock in [NOW - YEAR, NOW, NOW + 1] {
        let store = copy.store();
        for service in ["web", "api", "new"] {
            open(&store, service, "two", 1).ok();
            let fence = take(&store, service, clock);
            assert!(fence > newest, "{service} with a clock at {clock}: {fence:?}, and the original gave out {newest:?}");
        }
    }
    assert!(copy.store().write(|tx| tx.outrank(&name("web"), Fence(0))).unwrap().is_none());
}

#[test]
fn a_damaged_database_makes_no_snapshot() {
    let dir = Dir::new();
    let store = dir.store();
    open(&store, "web", "one", 1).unwrap();
    store.checkpoint().unwrap();
    drop(store);
    let mut bytes = std::fs::read(dir.db()).unwrap();
    let second_page = 4096;
    bytes[second_page..second_page + 64].fill(0xff);
    std::fs::write(dir.db(), bytes).unwrap();
    let to = dir.0.path().join("snapshot");
    let fault = journal::snapshot(&dir.db(), &to, || Ok(()), |_| Ok(())).unwrap_err();
    assert_eq!(fault.code, "database-damaged", "{fault:?}");
    assert!(!to.exists());
}
