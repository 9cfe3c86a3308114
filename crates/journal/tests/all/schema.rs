//! Older shapes of the database, and events of a newer version.

use crate::common::*;
use journal::Database;
use model::*;
use rusqlite::Connection;
use sha2::{Digest as _, Sha256};
use std::path::Path;

/// As another program would write it: the tables of schema 1 with a journal in them.
fn from_text(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(text).unwrap();
}

/// The checksum of a row, as its documentation has it.
fn sum(parts: &[&str]) -> i64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    i64::from_le_bytes(hash.finalize()[..8].try_into().unwrap())
}

/// `web`: r1 promoted with 3 servers, then a deploy of r2 with 7 that went back, and one that was stopped.
#[test]
fn a_database_of_schema_1_is_opened_migrated_and_kept_as_it_was() {
    let dir = Dir::new();
    from_text(&dir.db(), include_str!("fixtures/schema-1.sql"));
    let store = dir.store();
    let web = name("web");
    let (known, newest, now) = store.read(|r| Ok((r.summary(&web)?, r.service(&web)?.unwrap(), r.in_force(&web)?.unwrap()))).unwrap();
    assert_eq!(known.active.unwrap().group.as_str(), "web-r1-1");
    assert!(known.groups.iter().any(|g| g.as_str() == "web-r3-3"), "what was stopped may have left something: {:?}", known.groups);
    assert_eq!((newest.spec.count, now.spec.count), (9, 3), "the desired state in force is that of the active release");
    let lines = store.read(|r| r.events(0, 1_000)).unwrap();
    assert!(lines.len() > 10 && matches!(lines[0].line.event, Event::Opened(_)));
    drop(store);
    let version = |path: &Path| -> i64 { Connection::open(path).unwrap().pragma_query_value(None, "user_version", |r| r.get(0)).unwrap() };
    assert_eq!(version(&dir.db()), 3);
    let kept = dir.db().with_file_name("afresh.db.schema-1");
    assert_eq!(version(&kept), 1, "for whoever goes back to the version before");
    assert_eq!(dir.store().read(|r| r.events(0, 1_000)).unwrap(), lines, "it is migrated once");
}

#[test]
fn an_event_of_a_newer_version_is_refused_by_words_and_not_dropped() {
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
    from_text(&dir.db(), include_str!("fixtures/schema-1.sql"));
    let all = |store: &Database| store.read(|r| Ok((r.summary(&name("web"))?, r.in_force(&name("web"))?))).unwrap();
    let store = dir.store();
    let truth = all(&store);
    drop(store);
    for sql in ["DELETE FROM summaries", "DELETE FROM summaries WHERE rotation > 0"] {
        Connection::open(dir.db()).unwrap().execute(sql, []).unwrap();
        assert_eq!(all(&dir.store()), truth);
    }
}
