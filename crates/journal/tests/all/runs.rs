//! Runs as records: numbers are given once, what is open is kept, and what a disk corrupts is reported.

use crate::common::*;
use journal::Database;
use model::*;

fn begin(store: &Database, service: &str) -> Run {
    let make = |id: &RunId| {
        Ok(Run {
            id: id.clone(),
            release: 1,
            group: Run::group_of(id, 1)?,
            command: vec!["true".into()],
            by: "me".into(),
            asked: Time(id.number()),
            within_ms: 1_000,
            launch_by: Time(99),
            env: Default::default(),
            stop: None,
            exit: None,
            is_over: false,
            job: None,
        })
    };
    store.write(|tx| tx.open_run(&name(service), make)).unwrap()
}

fn end(store: &Database, run: &Run, code: i32) {
    let run = Run { exit: Some(Exit::new(code, Time(5))), is_over: true, ..run.clone() };
    store.write(|tx| tx.put_run(&run)).unwrap();
}

fn ids(runs: &[Run]) -> Vec<&str> {
    runs.iter().map(|run| run.id.as_str()).collect()
}

#[test]
fn runs_are_numbered_by_service_and_listed() {
    let dir = Dir::new();
    let store = dir.store();
    let [a, b, other] = ["web", "web", "mail"].map(|service| begin(&store, service));
    assert_eq!([&a, &b, &other].map(|run| run.group.as_str()), ["web-r1-x1", "web-r1-x2", "mail-r1-x1"]);
    end(&store, &a, 3);
    drop(store);
    let store = dir.store();
    assert_eq!(ids(&store.read(|r| r.open_runs()).unwrap()), ["mail.x1", "web.x2"]);
    assert_eq!(ids(&store.read(|r| r.open_runs_of(&name("web"))).unwrap()), ["web.x2"]);
    assert_eq!(ids(&store.read(|r| r.runs_of(&name("web"), 9)).unwrap()), ["web.x2", "web.x1"]);
    assert_eq!(ids(&store.browse(|r| r.all_runs(2)).unwrap()), ["mail.x1", "web.x2"]);
    assert_eq!(store.read(|r| r.run(&a.id)).unwrap().unwrap().exit.unwrap().code, 3);
    assert_eq!(begin(&store, "web").id.as_str(), "web.x3");
}

/// Whatever is pruned, no number is given twice, and nothing that is open is forgotten.
#[test]
fn old_runs_are_forgotten_and_no_number_comes_again() {
    let dir = Dir::new();
    let store = dir.store();
    let open = begin(&store, "web");
    for n in 2..=700 {
        let run = begin(&store, "web");
        assert_eq!(run.id.number(), n);
        end(&store, &run, 0);
    }
    let kept = store.read(|r| r.runs_of(&name("web"), 10_000)).unwrap();
    assert!((500..=502).contains(&kept.len()), "{}", kept.len());
    assert!(kept.first().unwrap().id.number() == 700 && kept.last().unwrap().id == open.id);
}

#[test]
fn a_backup_that_is_put_back_gives_no_number_a_second_time() {
    let dir = Dir::new();
    let store = dir.store();
    begin(&store, "web");
    store.backup().unwrap();
    (0..3).for_each(|_| drop(begin(&store, "web")));
    drop(store);
    journal::restore(&dir.db()).unwrap();
    let store = dir.store();
    let first = begin(&store, "web").id.number();
    assert!(first > 4 && begin(&store, "mail").id.number() > 4, "{first}");
    assert_eq!(begin(&store, "web").id.number(), first + 1);
}

#[test]
fn a_row_that_was_changed_by_nobody_is_reported() {
    let dir = Dir::new();
    let store = dir.store();
    let run = begin(&store, "web");
    drop(store);
    for sql in ["UPDATE runs SET body = replace(body, 'true', 'rm -r')", "UPDATE runs SET over = 1"] {
        let conn = rusqlite::Connection::open(dir.db()).unwrap();
        let before: (String, i64) = conn.query_row("SELECT body, over FROM runs", [], |r| Ok((r.get(0)?, r.get(1)?))).unwrap();
        conn.execute(sql, []).unwrap();
        drop(conn);
        let fault = dir.store().read(|r| r.run(&run.id)).unwrap_err();
        assert!(fault.message.contains("runs") && fault.message.contains("web.x1"), "{fault:?}");
        let conn = rusqlite::Connection::open(dir.db()).unwrap();
        conn.execute("UPDATE runs SET body = ?1, over = ?2", rusqlite::params![before.0, before.1]).unwrap();
    }
}
