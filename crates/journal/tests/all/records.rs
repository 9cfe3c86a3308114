//! What the records promise: numbers given once, one open rotation, what is derived.

use crate::common::*;
use journal::{Database, digest_of};
use model::*;
use rotation::Journal;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

#[test]
fn the_same_content_is_the_same_release() {
    let dir = Dir::new();
    let store = dir.store();
    let put = |code: &str, at| store.write(|tx| tx.put_release(&release("web", code), Time(at))).unwrap();
    let (one, two, again) = (put("one", 1), put("two", 2), put("one", 3));
    assert_eq!((one.release.number, two.release.number), (1, 2));
    assert_eq!(one, again);
    let other = store.write(|tx| tx.put_release(&release("worker", "one"), Time(4))).unwrap();
    assert_eq!(other.release.number, 1);
    assert_ne!(other.digest, one.digest);
    drop(store);
    assert_eq!(dir.store().read(|r| r.releases(&name("web"))).unwrap(), vec![one, two]);
}

#[test]
fn a_digest_is_over_content_not_over_number_or_field_order() {
    let a = release("web", "x");
    assert_eq!(digest_of(&a), digest_of(&Release { number: 9, ..a.clone() }));
    for changed in [
        Release { user: "0".into(), ..a.clone() },
        Release { port: Some(1), ..a.clone() },
        Release { env: [("A".to_string(), String::new())].into(), ..a.clone() },
        Release { health: Health { every_ms: 7, ..Health::default() }, ..a.clone() },
        Release { run: vec!["x".into(), String::new()], ..a.clone() },
    ] {
        assert_ne!(digest_of(&a), digest_of(&changed), "{changed:?}");
    }
}

#[test]
fn one_rotation_is_open_at_a_time_and_numbers_only_grow() {
    let dir = Dir::new();
    let store = dir.store();
    let first = open(&store, "web", "one", 10).unwrap();
    assert_eq!(first.as_str(), "web.1");
    let busy = open(&store, "web", "two", 11).unwrap_err();
    assert_eq!((busy.blame, busy.code.as_str()), (Blame::Yours, "busy"));
    assert!(busy.hint.unwrap().contains("web.1"));
    // The refused deploy left nothing, not even its release.
    assert_eq!(store.browse(|r| r.all_releases()).unwrap().len(), 1);
    assert_eq!(open(&store, "worker", "one", 12).unwrap().as_str(), "worker.1");
    close(&store, &first, Verdict::Promoted, 13);
    assert_eq!(open(&store, "web", "two", 14).unwrap().as_str(), "web.2");
    let rows = store.read(|r| r.rotations(None, 10)).unwrap();
    assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["web.2", "worker.1", "web.1"]);
    let open: Vec<_> = store.read(|r| r.open_rotations()).unwrap().into_iter().map(|r| r.id.to_string()).collect();
    assert_eq!(open, ["web.2", "worker.1"]);
}

#[test]
fn what_stands_is_read_off_the_last_census() {
    let dir = Dir::new();
    let store = dir.store();
    let web = name("web");
    assert_eq!(store.read(|r| r.active(&web)).unwrap(), None);
    let first = open(&store, "web", "one", 1).unwrap();
    assert_eq!(store.read(|r| r.active(&web)).unwrap(), None, "an open rotation changes nothing yet");
    let one = close(&store, &first, Verdict::Promoted, 2);
    assert_eq!(store.read(|r| r.active(&web)).unwrap(), Some(one.clone()));
    let second = open(&store, "web", "two", 3).unwrap();
    close(&store, &second, Verdict::RolledBack, 4);
    assert_eq!(store.read(|r| r.active(&web)).unwrap(), Some(one.clone()));
    let third = open(&store, "web", "three", 5).unwrap();
    let three = close(&store, &third, Verdict::Promoted, 6);
    assert_eq!(store.read(|r| r.were_active(&web, 9)).unwrap(), vec![three, one]);
}

#[test]
fn a_wish_has_generations() {
    let dir = Dir::new();
    let store = dir.store();
    let put = |count, at| store.write(|tx| tx.put_service(&spec("web", count), "me", Time(at))).unwrap();
    assert_eq!([put(1, 1), put(1, 2), put(2, 3), put(1, 4)], [1, 1, 2, 3]);
    let history = store.read(|r| r.history(&name("web"))).unwrap();
    assert_eq!(history.iter().map(|h| (h.generation, h.spec.count, h.at.0)).collect::<Vec<_>>(), [(1, 1, 1), (2, 2, 3), (3, 1, 4)]);
    assert_eq!(store.read(|r| r.service(&name("web"))).unwrap().unwrap().generation, 3);
}

#[test]
fn asks_are_numbered_and_a_closed_rotation_takes_none() {
    let dir = Dir::new();
    let store = dir.store();
    let id = open(&store, "web", "one", 1).unwrap();
    let ask = |ask| store.write(|tx| tx.command(&id, ask, "me", Time(2)));
    assert_eq!((ask(RotationCommand::Pause).unwrap(), ask(RotationCommand::Resume).unwrap()), (1, 2));
    let behind = Journal::commands(&store, &id, 1).unwrap();
    assert_eq!(behind, [IssuedCommand { n: 2, command: RotationCommand::Resume, by: "me".into() }]);
    close(&store, &id, Verdict::Stopped, 3);
    assert_eq!(ask(RotationCommand::Stop).unwrap_err().code, "closed");
    let nobody = RotationId::new("web.9").unwrap();
    assert_eq!(store.write(|tx| tx.command(&nobody, RotationCommand::Stop, "me", Time(3))).unwrap_err().code, "not-found");
}

#[test]
fn rollouts_remember_their_rotations_and_their_end() {
    let dir = Dir::new();
    let store = dir.store();
    let plan = RolloutPlan {
        why: "w".into(),
        by_upkeep: false,
        tiers: vec![(TierName::new("web").unwrap(), vec![(spec("web", 1), release("web", "one"))])],
    };
    let id = store.write(|tx| tx.open_rollout(&plan, Time(1))).unwrap();
    let opened = Opened {
        spec: spec("web", 1),
        from: None,
        to: GroupRelease { group: GroupName::new("web-r1-1").unwrap(), release: release("web", "one") },
        plan: Plan::default(),
        why: String::new(),
    };
    let begin = || {
        store.write(|tx| {
            tx.put_service(&spec("web", 1), "me", Time(1))?;
            tx.open_rotation(&journal::Origin { service: &name("web"), rollout: Some(&id), at: Time(2) }, |_, _| Ok(opened.clone()))
        })
    };
    let rotation = begin().unwrap();
    close(&store, &rotation, Verdict::Promoted, 3);
    assert!(begin().is_err(), "a rollout opened the same service twice");
    let seen = store.read(|r| r.rollout_seen(&id)).unwrap().unwrap();
    assert_eq!((seen.rotations, seen.end), (vec![(rotation, Some(Verdict::Promoted))], None));
    store.write(|tx| tx.end_rollout(&id, RolloutEnd::Promoted, "all of them")).unwrap();
    store.write(|tx| tx.end_rollout(&id, RolloutEnd::Halted, "late")).unwrap();
    let row = store.read(|r| r.rollout(&id)).unwrap().unwrap();
    assert_eq!((row.end, row.why.as_deref()), (Some(RolloutEnd::Promoted), Some("all of them")));
    assert!(store.read(|r| r.open_rollouts()).unwrap().is_empty());
}

#[test]
fn events_are_numbered_over_all_and_followers_are_told() {
    let dir = Dir::new();
    let store = dir.store();
    let told = Arc::new(AtomicU32::new(0));
    let counter = told.clone();
    store.on_change(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    let web = open(&store, "web", "one", 1).unwrap();
    let worker = open(&store, "worker", "one", 2).unwrap();
    assert_eq!(told.load(Ordering::SeqCst), 2);
    close(&store, &web, Verdict::Promoted, 3);
    assert_eq!(told.load(Ordering::SeqCst), 3, "a lease is no news, a line is");
    let all = store.read(|r| r.events(0, 100)).unwrap();
    let places: Vec<_> = all.iter().map(|n| (n.number, n.line.rotation.clone(), n.line.seq)).collect();
    assert_eq!(places, [(1, web.clone(), 0), (2, worker, 0), (3, web, 1)]);
    assert_eq!(store.read(|r| r.events(2, 100)).unwrap(), all[2..]);
    assert_eq!(store.read(|r| r.last_event()).unwrap(), 3);
}

#[test]
fn what_is_pretended_leaves_nothing() {
    let dir = Dir::new();
    let store = dir.store();
    let number = store.pretend(|tx| Ok(tx.put_release(&release("web", "one"), Time(1))?.release.number)).unwrap();
    assert_eq!(number, 1);
    assert!(store.browse(|r| r.all_releases()).unwrap().is_empty());
}

#[test]
fn a_backup_put_in_place_jumps_ahead_of_what_the_world_has_seen() {
    let dir = Dir::new();
    let store = dir.store();
    let id = open(&store, "web", "one", 1).unwrap();
    let active = close(&store, &id, Verdict::Promoted, 2);
    store.backup().unwrap();
    store.backup().unwrap();
    // What comes after the backup is lost with the original; the world has seen it.
    let second = open(&store, "web", "two", 3).unwrap();
    close(&store, &second, Verdict::Promoted, 4);
    let fence_seen = store.take(&name("web"), "x", Time(u64::MAX / 8), 1).unwrap().fence;
    let backup = store.backup_path();
    drop(store);
    std::fs::remove_file(dir.db()).unwrap();
    assert_eq!(
        Database::open(&dir.db()).err().map(|f| f.code).as_deref(),
        Some("database-damaged"),
        "a lost database is not replaced by an empty one"
    );
    std::fs::copy(&backup, dir.db()).unwrap();
    let store = dir.store();
    assert_eq!(store.read(|r| r.active(&name("web"))).unwrap(), Some(active));
    assert!(store.take(&name("web"), "y", Time(5), 1).unwrap().fence > fence_seen);
    assert!(open(&store, "web", "three", 6).unwrap().number() > second.number());
    drop(store);
    let fence = |store: &Database| store.read(|r| r.lease(&name("web"))).unwrap().unwrap().fence;
    assert_eq!(fence(&dir.store()), fence(&dir.store()), "it jumps once");
}

#[test]
fn a_service_is_renamed_and_its_former_names_stay() {
    let dir = Dir::new();
    let store = dir.store();
    let [web, shop, store_name] = ["web", "shop", "store"].map(name);
    assert!(store.read(|r| r.names()).unwrap().is_empty());
    store.write(|tx| tx.rename(&web, &shop, "me", Time(1))).unwrap();
    store.write(|tx| tx.rename(&web, &store_name, "me", Time(2))).unwrap();
    // What is rolled back with its transaction was never there.
    store.pretend(|tx| tx.rename(&web, &web, "me", Time(3))).unwrap();
    drop(store);
    let names = dir.store().read(|r| r.names()).unwrap();
    assert_eq!((names.name_of(&web), names.former(&shop), names.id_of(&store_name)), (&store_name, Some(&web), &web));
    let conn = rusqlite::Connection::open(dir.db()).unwrap();
    let rows: Vec<(String, i64, i64)> = conn
        .prepare("SELECT name, current, at FROM names ORDER BY name")
        .unwrap()
        .query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(rows, [("shop".to_string(), 0, 2), ("store".to_string(), 1, 2)]);
    // A row that was changed on the disk is reported, not used.
    conn.execute("UPDATE names SET service = 'api' WHERE name = 'shop'", []).unwrap();
    drop(conn);
    let fault = dir.store().read(|r| r.names()).unwrap_err();
    assert!(fault.message.contains("names") && fault.message.contains("shop"), "{fault:?}");
}
