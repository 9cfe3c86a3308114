//! Databases of older schemas are migrated, those of this one are read as they were written, and events of a newer version are refused.

use crate::common::*;
use journal::Database;
use model::*;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::Path;

const SCHEMA_1: &str = include_str!("fixtures/schema-1.sql");
const TO_SCHEMA_2: &str = include_str!("../../src/schema_2.sql");
/// Committed when schema 3 was made: no later version may fail to open it. It is never edited; a new schema gets a file of its own.
const SCHEMA_3: &str = include_str!("fixtures/schema-3.sql");

/// The schema of this version.
const NOW: i64 = 5;

/// The checksum of a row, as its documentation has it.
fn sum(parts: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    i64::from_le_bytes(hash.finalize()[..8].try_into().unwrap())
}

fn version(path: &Path) -> i64 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |r| r.get(0)).unwrap()
}

/// What schema 1 holds, after any migration. `web`: r1 promoted with 3 servers, then a deploy of r2 with 7 that was rolled back, and one
/// that was stopped.
fn reads_as_schema_1(store: &Database) {
    let web = name("web");
    let (summary, newest, now) = store.read(|r| Ok((r.summary(&web)?, r.service(&web)?.unwrap(), r.in_force(&web)?.unwrap()))).unwrap();
    assert_eq!(summary.active.unwrap().group.as_str(), "web-r1-1");
    assert!(summary.groups.iter().any(|g| g.as_str() == "web-r3-3"), "a stopped rotation may have left groups: {:?}", summary.groups);
    assert_eq!((newest.spec.count, now.spec.count), (9, 3), "the desired state in force is that of the active release");
    let stopped = RotationId::new("web.3").unwrap();
    let commands: Vec<_> = store.read(|r| r.commands(&stopped, 0)).unwrap().into_iter().map(|c| (c.n, c.command, c.by)).collect();
    assert_eq!(commands, [(1, RotationCommand::Stop, "me".to_string())], "asks are commands");
    let verdicts = store.browse(|r| r.rotations(None, 10)?.iter().map(|row| r.verdict(row)).collect::<Result<Vec<_>, _>>()).unwrap();
    assert_eq!(verdicts, [Verdict::Stopped, Verdict::RolledBack, Verdict::Promoted].map(Some), "newest first");
}

#[test]
fn a_database_of_schema_1_is_opened_migrated_and_kept_as_it_was() {
    let dir = Dir::new();
    from_text(&dir.db(), SCHEMA_1);
    let store = dir.store();
    reads_as_schema_1(&store);
    let lines = store.read(|r| r.events(0, 1_000)).unwrap();
    assert!(lines.len() > 10 && matches!(lines[0].line.event, Event::Opened(_)));
    drop(store);
    assert_eq!(version(&dir.db()), NOW);
    let kept = dir.db().with_file_name("afresh.db.schema-1");
    assert_eq!(version(&kept), 1, "for a return to the version before");
    assert_eq!(dir.store().read(|r| r.events(0, 1_000)).unwrap(), lines, "it is migrated once");
}

#[test]
fn a_database_of_schema_2_is_opened_and_its_summaries_are_made_again() {
    let dir = Dir::new();
    from_text(&dir.db(), SCHEMA_1);
    let conn = Connection::open(dir.db()).unwrap();
    conn.execute_batch(TO_SCHEMA_2).unwrap();
    conn.pragma_update(None, "user_version", 2).unwrap();
    // As that version wrote it, with its names and a checksum that holds.
    let known = r#"{"groups":["web-r1-1"],"releases":{},"standing":null,"routed":true}"#;
    conn.execute(
        "INSERT INTO summaries (service, rotation, in_force, known, sum) VALUES ('web', 3, 1, ?1, ?2)",
        rusqlite::params![known, sum(&["web", "3", "1", known])],
    )
    .unwrap();
    drop(conn);
    reads_as_schema_1(&dir.store());
    assert_eq!(version(&dir.db()), NOW);
    let kept = dir.db().with_file_name("afresh.db.schema-2");
    assert_eq!(version(&kept), 2);
    let old: String = Connection::open(&kept).unwrap().query_row("SELECT known FROM summaries", [], |r| r.get(0)).unwrap();
    assert_eq!(old, known, "the copy is as it was");
}

/// The kind of an event or a command, as it is written.
fn kind(value: &impl serde::Serialize, key: &str) -> String {
    let value = serde_json::to_value(value).unwrap();
    value.get(key).unwrap_or(&value).as_str().unwrap().to_string()
}

/// Every journal folds, and says what the version that wrote it said.
#[test]
fn a_database_of_schema_3_reads_as_it_was_written() {
    let dir = Dir::new();
    from_text(&dir.db(), SCHEMA_3);
    let store = dir.store();
    let lines = store.read(|r| r.events(0, 10_000)).unwrap();
    let kinds: BTreeSet<String> = lines.iter().map(|l| kind(&l.line.event, "event")).collect();
    let all = ["closed", "command_taken", "opened", "plan_replaced", "step_satisfied", "step_started"];
    assert_eq!(kinds, all.map(String::from).into());
    let text = serde_json::to_string(&lines.iter().map(|l| &l.line).collect::<Vec<_>>()).unwrap();
    assert!(text.contains("ModuleNotFoundError: No module named 'x'"), "a failure is kept with the plan that it caused");

    let rows = store.browse(|r| r.rotations(None, 100)).unwrap();
    let mut verdicts = BTreeSet::new();
    let mut commands = BTreeSet::new();
    for row in &rows {
        let (lines, given) = store.read(|r| Ok((r.lines(&row.id, 0)?, r.commands(&row.id, 0)?))).unwrap();
        let folded = rotation::Rotation::fold(&lines).unwrap();
        assert_eq!(folded.closed.as_ref().map(|c| c.verdict), store.read(|r| r.verdict(row)).unwrap(), "{}", row.id);
        verdicts.extend(folded.closed.map(|c| kind(&c.verdict, "")));
        commands.extend(given.iter().map(|c| kind(&c.command, "")));
    }
    assert_eq!(verdicts, ["promoted", "rolled_back", "stopped"].map(String::from).into());
    assert_eq!(commands, ["pause", "resume", "rollback", "stop"].map(String::from).into());

    let now = |service: &str| store.read(|r| r.now(&name(service))).unwrap().unwrap();
    let active = |now: &journal::Now| now.summary.active.as_ref().map(|s| s.group.to_string());
    let [web, worker, old, found] = ["web", "worker", "old", "found"].map(now);
    assert_eq!(
        (active(&web).as_deref(), web.in_force.spec.count),
        (Some("web-r6-5"), 4),
        "in force without a rotation, after a manual step"
    );
    assert_eq!(web.open.map(|r| r.id.to_string()).as_deref(), Some("web.7"));
    assert_eq!((active(&worker).as_deref(), worker.in_force.spec.count), (Some("worker-r3-4"), 0), "parked");
    assert!(old.is_removed && !worker.is_removed && !found.is_removed);
    assert_eq!((active(&found).as_deref(), found.in_force.spec.count), (Some("found-r1-1"), 2), "adopted");
    let ends: Vec<_> = (1..=3).map(|n| store.read(|r| r.rollout(&RolloutId::of(n))).unwrap().unwrap().end.unwrap()).collect();
    assert_eq!(ends, [RolloutEnd::Promoted, RolloutEnd::Halted, RolloutEnd::Promoted]);
    let lease = store.read(|r| r.lease(&name("web"))).unwrap().unwrap();
    assert!(lease.holder.starts_with("node-") && lease.fence > Fence(0));
}

/// A summary is derived: the journals of every service come to what was written when they were closed.
#[test]
fn summaries_of_schema_3_are_what_its_journals_come_to() {
    let dir = Dir::new();
    from_text(&dir.db(), SCHEMA_3);
    let all = |store: &Database| {
        // The count of `web` came in force without a rotation, which no journal says.
        let in_force = |r: &journal::Records<'_>, s: &ServiceName| -> Result<_, Fault> {
            Ok(r.in_force(s)?.filter(|_| s.as_str() != "web").map(|row| row.spec))
        };
        let service = |s: ServiceName| store.read(|r| Ok((r.summary(&s)?, in_force(r, &s)?))).unwrap();
        store.browse(|r| r.service_names()).unwrap().into_iter().map(service).collect::<Vec<_>>()
    };
    let written = all(&dir.store());
    Connection::open(dir.db()).unwrap().execute("DELETE FROM summaries", []).unwrap();
    assert_eq!(all(&dir.store()), written);
}

#[test]
fn an_event_of_a_newer_version_is_refused_with_a_reason_and_not_dropped() {
    let dir = Dir::new();
    let store = dir.store();
    let id = open(&store, "web", "one", 1).unwrap();
    let other = open(&store, "worker", "one", 1).unwrap();
    drop(store);
    let body = r#"{"event":"teleported","to":"mars"}"#;
    let conn = Connection::open(dir.db()).unwrap();
    conn.execute(
        "INSERT INTO events (rotation, seq, at, fence, body, sum) VALUES ('web.1', 1, 2, 3, ?1, ?2)",
        rusqlite::params![body, sum(&["web.1", "1", "2", "3", body])],
    )
    .unwrap();
    drop(conn);
    let store = dir.store();
    for fault in [
        store.read(|r| r.lines(&id, 0)).unwrap_err(),
        store.read(|r| r.summary(&name("web"))).unwrap_err(),
        store.read(|r| r.events(0, 100)).unwrap_err(),
    ] {
        assert_eq!((fault.code.as_str(), fault.blame), ("unknown-event", Blame::Yours));
        assert!(fault.message.contains("`teleported`") && fault.message.contains("web.1/1") && fault.hint.is_some(), "{fault:?}");
    }
    assert_eq!(store.read(|r| r.lines(&other, 0)).unwrap().len(), 1, "other services go on");
}

/// Summaries are derived: without them, or with one that is behind, the journals say the same.
#[test]
fn a_summary_that_is_missing_or_behind_is_made_again_from_the_journals() {
    let dir = Dir::new();
    from_text(&dir.db(), SCHEMA_1);
    let all = |store: &Database| store.read(|r| Ok((r.summary(&name("web"))?, r.in_force(&name("web"))?))).unwrap();
    let store = dir.store();
    let truth = all(&store);
    drop(store);
    for sql in ["DELETE FROM summaries", "DELETE FROM summaries WHERE rotation > 0"] {
        Connection::open(dir.db()).unwrap().execute(sql, []).unwrap();
        assert_eq!(all(&dir.store()), truth);
    }
}
