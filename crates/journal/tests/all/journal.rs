//! The journal against a model of its documented rules, and against rivals in threads and in other processes.

use crate::common::*;
use journal::Database;
use model::*;
use proptest::prelude::*;
use rotation::{Journal, Lease, Refused};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};

#[test]
fn a_lease_is_held_lost_released_and_taken_back_by_its_own_holder() {
    let dir = Dir::new();
    let store = dir.store();
    let web = name("web");
    let a = store.take(&web, "a", Time(100), 50).unwrap();
    assert_eq!((a.fence, a.until), (Fence(100), Time(150)), "a fence begins at the wall clock");
    assert_eq!(store.take(&web, "b", Time(149), 50), Err(Refused::Held { holder: "a".into(), until: Time(150) }));
    let again = store.take(&web, "a", Time(120), 50).unwrap();
    assert_eq!((again.fence, again.until), (Fence(120), Time(170)));
    assert_eq!(store.renew(&a, Time(121), 50), Err(Refused::LeaseLost), "the same holder's older fence is lost too");
    assert_eq!(store.renew(&again, Time(130), 50).unwrap().until, Time(180));
    let b = store.take(&web, "b", Time(180), 50).unwrap();
    assert_eq!(b.fence, Fence(180));
    store.release(&again).unwrap();
    assert!(matches!(store.take(&web, "a", Time(181), 50), Err(Refused::Held { .. })), "releasing what was lost frees nothing");
    store.release(&b).unwrap();
    let last = store.take(&web, "a", Time(182), 50).unwrap();
    assert_eq!(last.fence, Fence(182));
    store.release(&last).unwrap();
    let back = store.take(&web, "a", Time(7), 50).unwrap();
    assert_eq!(back.fence, Fence(183), "a clock that goes back takes no fence back");
    // The world has seen more than this journal: whoever drives loses the lease, and the next fence is above.
    assert_eq!(store.write(|tx| tx.outrank(&web, Fence(5_000))), Ok(Some(Fence(183))));
    assert_eq!(store.renew(&back, Time(8), 50), Err(Refused::LeaseLost));
    assert_eq!(store.take(&web, "b", Time(9), 50).unwrap().fence, Fence(5_001));
    assert_eq!(store.write(|tx| tx.outrank(&web, Fence(5_001))), Ok(None));
}

#[test]
fn append_asks_for_the_newest_fence_and_the_exact_length() {
    let dir = Dir::new();
    let store = dir.store();
    let id = open(&store, "web", "one", 1).unwrap();
    let other = open(&store, "worker", "one", 1).unwrap();
    let a = store.take(&name("web"), "a", Time(10), 50).unwrap();
    store.append(&a, &id, 1, Time(11), &satisfied(0, "x")).unwrap();
    assert_eq!(store.append(&a, &id, 1, Time(11), &satisfied(0, "x")), Err(Refused::Grown));
    assert!(matches!(store.append(&a, &id, 3, Time(11), &satisfied(0, "x")), Err(Refused::Fault(f)) if f.code == "journal-gap"));
    assert!(matches!(store.append(&a, &other, 1, Time(11), &satisfied(0, "x")), Err(Refused::Fault(f)) if f.code == "wrong-lease"));
    // Time alone takes nothing away: only a newer fence does.
    store.append(&a, &id, 2, Time(10_000), &satisfied(0, "late")).unwrap();
    let b = store.take(&name("web"), "b", Time(10_000), 50).unwrap();
    assert_eq!(store.append(&a, &id, 3, Time(10_001), &satisfied(0, "too late")), Err(Refused::LeaseLost));
    let final_inventory = FinalInventory::default();
    store.append(&b, &id, 3, Time(10_001), &Event::Closed { verdict: Verdict::Stopped, why: String::new(), final_inventory }).unwrap();
    assert!(matches!(store.append(&b, &id, 4, Time(10_002), &satisfied(0, "x")), Err(Refused::Fault(f)) if f.code == "rotation-closed"));
    let nobody = RotationId::new("web.77").unwrap();
    assert!(matches!(store.append(&b, &nobody, 0, Time(1), &satisfied(0, "x")), Err(Refused::Fault(f)) if f.code == "not-found"));
    assert!(matches!(Journal::read(&store, &nobody, 0), Err(Refused::Fault(f)) if f.code == "not-found"));
    let seen: Vec<_> = Journal::read(&store, &id, 1).unwrap().into_iter().map(|l| (l.seq, l.fence.0, l.at.0)).collect();
    assert_eq!(seen, [(1, 10, 11), (2, 10, 10_000), (3, 10_000, 10_001)]);
    assert_eq!(Journal::read(&store, &id, 4).unwrap(), []);
}

#[derive(Clone, Debug)]
enum Op {
    Take { who: usize, ttl: u64 },
    Renew { lease: usize },
    Release { lease: usize },
    Append { lease: usize, ahead: i64 },
    Wait(u64),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0..3_usize, 0..60_u64).prop_map(|(who, ttl)| Op::Take { who, ttl }),
        1 => (0..8_usize).prop_map(|lease| Op::Renew { lease }),
        1 => (0..8_usize).prop_map(|lease| Op::Release { lease }),
        6 => (0..8_usize, prop_oneof![8 => Just(0_i64), 1 => -2..3_i64]).prop_map(|(lease, ahead)| Op::Append { lease, ahead }),
        2 => (0..40_u64).prop_map(Op::Wait),
        1 => Just(Op::Reopen),
    ]
}

/// The documented rules in a dozen lines, without a database.
#[derive(Default)]
struct Oracle {
    holder: String,
    fence: u64,
    until: u64,
    lines: Vec<(u64, u64)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_store_is_the_documented_journal(ops in proptest::collection::vec(op(), 1..60)) {
        let dir = Dir::new();
        let mut handles = [dir.store(), dir.store()];
        let id = open(&handles[0], "web", "one", 1).unwrap();
        let (web, mut now, mut oracle, mut leases) = (name("web"), 1_000_u64, Oracle { lines: vec![(1, 0)], ..Oracle::default() }, Vec::<Lease>::new());
        for (i, op) in ops.into_iter().enumerate() {
            let store = &handles[i % 2];
            match op {
                Op::Wait(ms) => now += ms,
                Op::Reopen => handles[i % 2] = dir.store(),
                Op::Take { who, ttl } => {
                    let holder = ["a", "b", "c"][who];
                    let free = oracle.holder.is_empty() || oracle.holder == holder || oracle.until <= now;
                    let got = store.take(&web, holder, Time(now), ttl);
                    if free {
                        oracle = Oracle { holder: holder.into(), fence: (oracle.fence + 1).max(now), until: now + ttl, lines: oracle.lines };
                        let lease = got.unwrap();
                        prop_assert_eq!((lease.fence.0, lease.until.0), (oracle.fence, oracle.until));
                        leases.push(lease);
                    } else {
                        prop_assert_eq!(got, Err(Refused::Held { holder: oracle.holder.clone(), until: Time(oracle.until) }));
                    }
                }
                Op::Renew { lease } => if let Some(lease) = leases.iter().rev().nth(lease) {
                    let got = store.renew(lease, Time(now), 30);
                    if lease.fence.0 == oracle.fence {
                        oracle.until = now + 30;
                        oracle.holder.clone_from(&lease.holder);
                        prop_assert_eq!(got.unwrap().until.0, oracle.until);
                    } else {
                        prop_assert_eq!(got, Err(Refused::LeaseLost));
                    }
                },
                Op::Release { lease } => if let Some(lease) = leases.iter().rev().nth(lease) {
                    store.release(lease).unwrap();
                    if lease.fence.0 == oracle.fence {
                        oracle.holder.clear();
                    }
                },
                Op::Append { lease, ahead } => if let Some(lease) = leases.iter().rev().nth(lease) {
                    let seq = (oracle.lines.len() as i64 + ahead).max(0) as u64;
                    let got = store.append(lease, &id, seq, Time(now), &satisfied(0, &format!("{i}")));
                    if lease.fence.0 != oracle.fence {
                        prop_assert_eq!(got, Err(Refused::LeaseLost));
                    } else if seq < oracle.lines.len() as u64 {
                        prop_assert_eq!(got, Err(Refused::Grown));
                    } else if seq > oracle.lines.len() as u64 {
                        prop_assert!(got.is_err());
                    } else {
                        got.unwrap();
                        oracle.lines.push((now, oracle.fence));
                    }
                },
            }
        }
        for store in &handles {
            let lines: Vec<_> = Journal::read(store, &id, 0).unwrap().into_iter().map(|l| (l.at.0, l.fence.0)).collect();
            prop_assert_eq!(&lines, &oracle.lines);
        }
    }
}

/// Takes, appends, loses: until the journal has `goal` lines. Gives what was acknowledged to it: seq, fence, marker.
fn contend(store: &Database, id: &RotationId, me: &str, goal: u64, now: impl Fn() -> u64) -> Vec<(u64, u64, String)> {
    let mut acknowledged = Vec::new();
    loop {
        let lines = Journal::read(store, id, 0).unwrap();
        let mut seq = lines.len() as u64;
        if seq >= goal {
            return acknowledged;
        }
        let Ok(lease) = store.take(&id.service(), me, Time(now()), 3) else { continue };
        // It goes on until it is thrown out, as a driver that stalls and wakes does.
        for k in 0..4 {
            let marker = format!("{me} {} {k}", lease.fence.0);
            match store.append(&lease, id, seq, Time(now()), &satisfied(0, &marker)) {
                Ok(()) => {
                    acknowledged.push((seq, lease.fence.0, marker));
                    seq += 1;
                }
                Err(Refused::LeaseLost | Refused::Grown) => break,
                Err(other) => panic!("{me}: {other:?}"),
            }
        }
    }
}

/// Each line belongs to exactly the one who was told so, in the order of fences.
fn audit(store: &Database, id: &RotationId, mut acknowledged: Vec<(u64, u64, String)>) {
    acknowledged.sort();
    let lines: Vec<_> = Journal::read(store, id, 1)
        .unwrap()
        .into_iter()
        .map(|l| {
            let Event::StepSatisfied { seen, .. } = l.event else { panic!("{l:?}") };
            (l.seq, l.fence.0, seen)
        })
        .collect();
    assert_eq!(lines, acknowledged);
    assert!(lines.windows(2).all(|w| w[0].1 <= w[1].1), "fences went back");
}

#[test]
fn rivals_in_threads_never_both_win() {
    let dir = Dir::new();
    let store = dir.store();
    let id = open(&store, "web", "one", 1).unwrap();
    let clock = AtomicU64::new(10);
    let (path, clock, id) = (dir.db(), &clock, &id);
    let acknowledged = std::thread::scope(|scope| {
        let threads: Vec<_> = ["a", "b", "c"]
            .into_iter()
            .map(|me| {
                let path = path.clone();
                scope.spawn(move || contend(&Database::open(&path).unwrap(), id, me, 80, || clock.fetch_add(1, Ordering::SeqCst)))
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    audit(&store, id, acknowledged);
}

/// Not a test by itself: what the next test runs in other processes.
#[test]
fn child_of_the_race() {
    let Ok(db) = std::env::var("STORE_RACE_DB") else { return };
    let store = Database::open(db.as_ref()).unwrap();
    let id = RotationId::new("web.1").unwrap();
    let started = std::time::Instant::now();
    let me = format!("p{}", std::process::id());
    for (seq, fence, marker) in contend(&store, &id, &me, 80, || started.elapsed().as_millis() as u64) {
        println!("ACK\t{seq}\t{fence}\t{marker}");
    }
}

#[test]
fn rivals_in_processes_never_both_win() {
    let dir = Dir::new();
    let store = dir.store();
    let id = open(&store, "web", "one", 1).unwrap();
    let children: BTreeMap<u32, _> = (0..3)
        .map(|_| {
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "journal::child_of_the_race", "--nocapture"])
                .env("STORE_RACE_DB", dir.db())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            (child.id(), child)
        })
        .collect();
    let mut acknowledged = Vec::new();
    for child in children.into_values() {
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success());
        for line in String::from_utf8(out.stdout).unwrap().lines() {
            // The harness prints its own words on the same line as the first.
            let Some((_, line)) = line.split_once("ACK\t") else { continue };
            let mut parts = line.split('\t');
            let mut next = || parts.next().unwrap().to_string();
            acknowledged.push((next().parse().unwrap(), next().parse().unwrap(), next()));
        }
    }
    audit(&store, &id, acknowledged);
}
