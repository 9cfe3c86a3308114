//! A database of schema 4 is read as `afresh serve` wrote it: runs, jobs with their history, migrations, and what its services had by then.

use crate::common::*;
use journal::Database;
use model::*;
use std::collections::BTreeMap;

/// Committed while schema 4 was the newest: no later version may fail to open it. It is never edited; a new schema gets a file of its own.
const SCHEMA_4: &str = include_str!("fixtures/schema-4.sql");

fn golden() -> (Dir, Database) {
    let dir = Dir::new();
    from_text(&dir.db(), SCHEMA_4);
    let store = dir.store();
    (dir, store)
}

fn job(text: &str) -> JobName {
    text.parse().unwrap()
}

fn release(store: &Database, service: &str, number: u64) -> Release {
    store.read(|r| r.release(&name(service), number)).unwrap().unwrap().release
}

fn migration(store: &Database, service: &str, number: u64) -> Option<String> {
    let digest = release(store, service, number).digest();
    store.read(|r| r.migration(&name(service), &digest)).unwrap().map(|row| row.rotation.to_string())
}

/// What was migrated is never migrated again, and what failed or has not ended is not taken for migrated.
#[test]
fn migrations_of_schema_4_are_remembered() {
    let (_dir, store) = golden();
    let of_web: Vec<_> = (1..=4).map(|number| migration(&store, "web", number)).collect();
    assert_eq!(of_web, [Some("web.1".to_string()), None, Some("web.3".to_string()), None]);
    assert_eq!(migration(&store, "found", 1).as_deref(), Some("found.2"), "by whoever took it over");
    assert_eq!(migration(&store, "mail", 1), None, "it has none");
    let ends = |rotation: &str| -> Vec<(String, i32)> {
        let lines = store.read(|r| r.lines(&RotationId::new(rotation).unwrap(), 0)).unwrap();
        let end = |line: EventLine| match line.event {
            Event::MigrationEnded { group, exit, release } => {
                assert!(store.read(|r| r.releases(&name("web"))).unwrap().iter().any(|row| row.release.digest() == release));
                Some((group.to_string(), exit.code))
            }
            _ => None,
        };
        lines.into_iter().filter_map(end).collect()
    };
    let all: Vec<_> = (1..=6).map(|n| ends(&format!("web.{n}"))).collect();
    let ended = |group: &str, code| vec![(group.to_string(), code)];
    let want = [ended("web-r1-1-m", 0), ended("web-r2-2-m", 1), ended("web-r3-3-m", 0), vec![], vec![], vec![]];
    assert_eq!(all, want, "a rollback and a second deploy of the same release ran none");
    let open = store.read(|r| r.now(&name("web"))).unwrap().unwrap().open.unwrap();
    assert_eq!(open.id.as_str(), "web.6");
    let folded = rotation::Rotation::fold(&store.read(|r| r.lines(&open.id, 0)).unwrap()).unwrap();
    let at = &folded.plan.steps[folded.cursor as usize].step;
    assert!(matches!(at, Step::Migrate { group, within_ms: 60_000, .. } if group.as_str() == "web-r4-6-m"), "{at:?}");
    assert!(folded.started.is_some() && !folded.is_migrated);
}

#[test]
fn runs_of_schema_4_are_read_and_no_number_comes_again() {
    let (_dir, store) = golden();
    let runs = store.read(|r| r.runs_of(&name("mail"), 100)).unwrap();
    let short =
        |run: &Run| (run.id.to_string(), run.command.join(" "), run.by.clone(), run.exit.as_ref().map(|exit| exit.code), run.is_over);
    let row = |n: u64, command: &str, by: &str, code, is_over| (format!("mail.x{n}"), command.to_string(), by.to_string(), code, is_over);
    let want = [
        row(4, "hang two", "root", None, false),
        row(3, "hang one", "root", Some(143), true),
        row(2, "false", "token:ci", Some(1), true),
        row(1, "true a b ü", "root", Some(0), true),
    ];
    assert_eq!(runs.iter().map(short).collect::<Vec<_>>(), want);
    assert_eq!(runs[1].stop.as_ref().map(|stop| (stop.by.as_str(), stop.kill)), Some(("root", true)));
    assert!(runs.iter().all(|run| run.release == 2 && run.job.is_none() && run.within_ms == RUN_WITHIN_MS));
    assert!(runs.iter().all(|run| run.asked > Time(0) && run.launch_by > run.asked));
    let open = store.read(|r| r.open_runs()).unwrap();
    assert!(open.iter().any(|run| run.id == runs[0].id), "whoever starts next looks after it");
    // It had been a backup: the numbers that may have been given since are not given.
    let next = store.write(|tx| tx.open_run(&name("mail"), |id| Ok(Run { id: id.clone(), ..runs[0].clone() }))).unwrap();
    assert!(next.id.number() > 100_000, "{}", next.id);
}

#[test]
fn jobs_of_schema_4_have_their_history() {
    let (_dir, store) = golden();
    let web = name("web");
    let names = ["fails", "hangs", "idle", "tick", "yearly"];
    assert_eq!(store.browse(|r| r.job_names()).unwrap(), names.map(|text| (web.clone(), job(text))));
    let spec = store.read(|r| r.in_force(&web)).unwrap().unwrap().spec;
    let states: BTreeMap<&str, JobState> =
        names.iter().map(|text| (*text, store.read(|r| r.job_state(&web, &job(text))).unwrap().unwrap())).collect();
    for one in &spec.jobs {
        let state = &states[one.name.as_str()];
        assert_eq!((state.calendar.clone(), state.settled > Time(0)), (one.calendar(), true), "{}: it is no new job", one.name);
    }
    let of = |text: &str| spec.jobs.iter().find(|one| one.name == job(text)).unwrap();
    assert_eq!((of("yearly").timezone.as_deref(), of("hangs").overlap, of("fails").retries), (Some("Europe/Berlin"), Overlap::Replace, 1));
    assert_eq!(states["idle"].paused.as_ref().map(|pause| pause.by.as_str()), Some("root"));
    assert!(states.values().filter(|state| state.paused.is_some()).count() == 1);
    // Due once a year, found too late: nothing is started for it now.
    let missed = &states["yearly"].missed;
    assert!(missed.len() == 2 && missed.iter().all(|one| one.count == 1 && one.first == one.last && one.at > one.last), "{missed:?}");
    assert_eq!(missed[0].why, "nothing was there to start it in time");
    let runs = |text: &str| store.read(|r| r.runs_of_job(&web, &job(text), 100)).unwrap();
    assert!(runs("yearly").is_empty() && runs("idle").is_empty());
    for text in ["fails", "hangs", "tick"] {
        let runs = runs(text);
        let newest = runs[0].job.as_ref().unwrap().due.unwrap();
        assert!(newest <= states[text].settled && newest.0 % 60_000 == 0, "{text}: what was started is settled");
        assert!(runs.iter().all(|run| run.by == format!("job {text}") && run.job.as_ref().unwrap().name == job(text)));
    }
    assert!(runs("tick").iter().all(|run| run.exit.as_ref().is_some_and(Exit::succeeded)));
    let attempts: Vec<_> = runs("fails").iter().rev().map(|run| run.job.as_ref().unwrap().attempt).collect();
    assert!(attempts.starts_with(&[1, 2]), "{attempts:?}");
    let hangs = runs("hangs");
    assert_eq!(hangs[1].stop.as_ref().unwrap().by, "job hangs: it is due again");
    assert!(hangs[0].exit.is_none() && !hangs[0].is_over && hangs[1].is_over);
}

/// What services had when schema 4 was the newest: volumes, networks, secrets, exclusive servers, plans with a time when nobody serves.
#[test]
fn services_and_journals_of_schema_4_are_read_whole() {
    let (_dir, store) = golden();
    let now = |service: &str| store.read(|r| r.now(&name(service))).unwrap().unwrap();
    let active = |service: &str| now(service).summary.active.unwrap();
    assert_eq!(["found", "mail", "web"].map(|s| active(s).group.to_string()), ["found-r1-1", "mail-r2-2", "web-r3-5"]);
    let web = active("web").release;
    let volume = &web.volumes[0];
    assert_eq!((volume.source.as_str(), volume.at.as_str(), volume.read_only), ("/var/tmp/golden", "/fonts", true));
    assert_eq!(web.network.egress.list().iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.0/8:5432"]);
    let mail = active("mail").release;
    assert!(mail.exclusive && mail.secrets.versions.len() == 1 && mail.secrets.used.env.contains_key("URL"));
    // A release whose digest changed would be another one: its servers would be replaced, and its migration run again.
    for (service, count) in [("web", 4), ("mail", 2), ("found", 1)] {
        let all = store.read(|r| r.releases(&name(service))).unwrap();
        for row in &all {
            let again = store.write(|tx| tx.put_release(&row.release, Time(1))).unwrap();
            assert_eq!((again.release.number, again.at), (row.release.number, row.at), "{}", row.release.label());
        }
        assert_eq!(all.len(), count);
    }
    let (mut verdicts, mut gaps) = (BTreeMap::new(), 0);
    for row in store.browse(|r| r.rotations(None, 100)).unwrap() {
        let folded = rotation::Rotation::fold(&store.read(|r| r.lines(&row.id, 0)).unwrap()).unwrap();
        assert_eq!(folded.closed.as_ref().map(|c| c.verdict), store.read(|r| r.verdict(&row)).unwrap(), "{}", row.id);
        gaps += usize::from(folded.opened.plan.gap.is_some_and(|gap| gap.at_least_ms < gap.at_most_ms));
        verdicts.insert(row.id.to_string(), folded.closed.map(|closed| closed.verdict));
    }
    use Verdict::{Promoted, RolledBack};
    let want = [
        ("found.2", Some(Promoted)),
        ("mail.1", Some(Promoted)),
        ("mail.2", Some(Promoted)),
        ("web.1", Some(Promoted)),
        ("web.2", Some(RolledBack)),
        ("web.3", Some(Promoted)),
        ("web.4", Some(Promoted)),
        ("web.5", Some(Promoted)),
        ("web.6", None),
    ];
    assert_eq!(verdicts, want.map(|(id, verdict)| (id.to_string(), verdict)).into());
    assert_eq!(gaps, 1, "while mail was replaced nobody served");
}
