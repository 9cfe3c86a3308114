//! Migrations on the real program: once for each release, before its first server; a failure ends the rotation before anything changed; and
//! whatever is killed, never two at once and never again after success. How often one ran is counted from what it printed.

use crate::fleet::world::{Fleet, Users, patience, send};
use crate::machine::kills;
use model::{Event, EventLine, InstanceId, RotationId, Verdict};
use nix::sys::signal::Signal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Release `n`, which is migrated by this script.
fn service(fleet: &Fleet, n: u32, within: &str, migrate: &str) -> String {
    format!(
        "service \"web\" {{\n  tier = \"web\"\n  image = image.base\n  run = [\"busybox\", \"httpd\", \"-f\", \"-p\", \"8080\", \"-h\", \"/www\"]\n  \
         env {{ RELEASE = \"{n}\" }}\n  port = 8080\n  count = 1\n  \
         health {{ path = \"/healthz\"  every = \"100ms\"  timeout = \"1s\"  healthy_for = \"0s\" }}\n  drain {{ within = \"1s\" }}\n  \
         limits {{ memory = \"32MiB\"  cpu = 0.5  pids = 64 }}\n  route {{ listen = \"{}\" }}\n  \
         migrate {{ run = [\"sh\", \"-c\", {}]  within = \"{within}\" }}\n  \
         rollout {{ soak = \"0s\"  within = \"1m\" }}\n}}\n",
        fleet.listen,
        serde_json::to_string(migrate).unwrap(),
    )
}

/// What every migration of the service printed, by its server.
fn printed(fleet: &Fleet) -> Vec<(String, String)> {
    let logs = std::fs::read_dir(fleet.layout().host().join("logs")).into_iter().flatten().flatten();
    let of_migration = |name: &str| name.contains("-m-");
    let mut all: Vec<(String, String)> = logs
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.to_string(), String::from_utf8_lossy(&std::fs::read(entry.path()).ok()?).into_owned()))
        })
        .filter(|(name, _)| of_migration(name))
        .collect();
    all.sort();
    all
}

fn count(fleet: &Fleet, word: &str) -> usize {
    printed(fleet).iter().map(|(_, text)| text.matches(word).count()).sum()
}

fn lines(fleet: &Fleet, id: &RotationId) -> Vec<EventLine> {
    // The control plane may be on its way back.
    fleet.get(&format!("/v1/rotations/{id}/events")).unwrap_or_default()
}

fn text(out: &std::process::Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

#[test]
#[ignore = "needs root"]
fn a_release_is_migrated_once_and_a_failure_ends_the_rotation_before_anything_changed() {
    let dir = tempfile::tempdir().unwrap();
    let fleet = Fleet::bare(dir.path(), "data");
    let first = fleet.deploy_service(&service(&fleet, 1, "1m", "echo began $RELEASE; echo done"));
    assert_eq!(first.verdict, Some(Verdict::Promoted), "{}", first.why);
    let steps: Vec<&str> = first.plan.steps.iter().map(|s| s.step.kind()).collect();
    assert_eq!(steps, ["bake", "migrate", "retire", "scale", "shift"]);
    let users = Users::start(fleet.listen);
    let servers = || -> Vec<InstanceId> {
        let rows: Vec<api::control::InstanceRow> = fleet.get("/v1/instances").unwrap();
        rows.into_iter().map(|row| row.seen.id).collect()
    };
    let before = servers();
    let migrate = "echo began $RELEASE; echo one; echo 'relation \"orders\" does not exist' >&2; exit 3";
    for _ in 0..2 {
        let failed = fleet.deploy_service(&service(&fleet, 2, "1m", migrate));
        assert_eq!(failed.verdict, Some(Verdict::RolledBack));
        assert!(failed.why.contains("failed: exit 3") && failed.why.contains("relation \"orders\" does not exist"), "{}", failed.why);
        assert_eq!(servers(), before, "no server was touched");
        let logs = text(&fleet.run(&["logs", &format!("{}-m-1", failed.to.group)]));
        assert!(logs.contains("relation \"orders\" does not exist"), "{logs}");
        let events = text(&fleet.run(&["events", "--service", "web"]));
        assert!(events.contains(&format!("migration {}-m: exit 3", failed.to.group)), "{events}");
    }
    let slow = fleet.deploy_service(&service(&fleet, 3, "1s", "echo began $RELEASE; sleep 100"));
    assert!(slow.verdict == Some(Verdict::RolledBack) && slow.why.contains("ran for longer than it may"), "{}", slow.why);
    let refused = fleet.run(&["rollback", "web", "--to", "2", "--yes"]);
    assert!(!refused.status.success() && text(&refused).contains("migration never succeeded"), "{}", text(&refused));
    let second = fleet.deploy_service(&service(&fleet, 4, "1m", "echo began $RELEASE"));
    assert_eq!(second.verdict, Some(Verdict::Promoted), "{}", second.why);
    // Back, and forward again: neither runs one.
    for (to, told) in [("1", "data stays as the migration of web@r4 left it"), ("4", "web@r4")] {
        let back = fleet.run(&["rollback", "web", "--to", to, "--yes"]);
        let said = text(&back);
        assert!(back.status.success() && said.contains(told) && !said.contains(" migrate "), "{said}");
    }
    let began: Vec<usize> = (1..=4).map(|n| count(&fleet, &format!("began {n}"))).collect();
    assert_eq!(began, [1, 2, 1, 1], "{:?}", printed(&fleet));
    let (sent, failed) = users.finish();
    assert!(failed.is_empty() && sent > 50, "{failed:?} of {sent}");
}

/// What has happened when everything is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// The journal has this many lines.
    Lines(u64),
    /// The migration has printed this.
    Printed(&'static str),
}

const MOMENTS: [Moment; 10] = [
    Moment::Printed("began"),
    Moment::Lines(4),
    Moment::Printed("done"),
    Moment::Lines(1),
    Moment::Lines(2),
    Moment::Lines(3),
    Moment::Printed("half"),
    Moment::Lines(5),
    Moment::Lines(6),
    Moment::Lines(7),
];

const SLEEP: &str = "0.7061";

fn until(what: &str, mut look: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !look() {
        assert!(begun.elapsed() < patience(), "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Processes whose command line has this, but not this test and not its clients.
fn processes(part: &str) -> Vec<u32> {
    let all = std::fs::read_dir("/proc").unwrap().flatten().filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    all.filter(|pid| *pid != std::process::id())
        .filter(|pid| std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains(part)))
        .collect()
}

/// Watches for two migrations at once.
struct Watch {
    stop: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn start() -> Watch {
        let (stop, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, max) = (stop.clone(), most.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                max.fetch_max(processes(&format!("sleep\0{SLEEP}")).len(), Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        Watch { stop, most, thread }
    }

    fn most(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().unwrap();
        self.most.load(Ordering::SeqCst)
    }
}

/// Every process of ours, those that watch servers too: in every second round, what the migration itself does is killed as well.
#[test]
#[ignore = "needs root"]
fn whatever_is_killed_a_migration_succeeds_once_and_the_journal_says_how_often_it_ran() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::bare(dir.path(), "data");
    let watch = Watch::start();
    println!("| killed at | killed | ran | succeeded | verdicts | the journal says |\n| --- | --- | --- | --- | --- | --- |");
    for round in 0..kills().min(MOMENTS.len() as u64) {
        let moment = MOMENTS[round as usize];
        let n = u32::try_from(round).unwrap() + 1;
        let script = format!("echo began {n}; sleep {SLEEP}; echo half {n}; sleep {SLEEP}; echo done {n}");
        let text = service(&fleet, n, "1m", &script);
        let id = fleet.begin_deploy(&text);
        match moment {
            Moment::Lines(count) => until("the journal grows", || lines(&fleet, &id).len() as u64 >= count),
            Moment::Printed(word) => until("it prints", || count(&fleet, &format!("{word} {n}")) > 0),
        }
        let all = round % 2 == 0;
        let ours = fleet.data.display().to_string();
        let victims: Vec<u32> = processes(&ours)
            .into_iter()
            .filter(|pid| {
                all || !std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| String::from_utf8_lossy(&line).contains("shim"))
            })
            .collect();
        victims.iter().for_each(|pid| send(*pid, Signal::SIGKILL));
        fleet.reap();
        fleet.start(&[]).unwrap();
        let mut ends = vec![fleet.end(&id)];
        while ends.last().unwrap().verdict != Some(Verdict::Promoted) {
            assert!(ends.len() < 3, "{ends:?}");
            ends.push(fleet.deploy_service(&text));
        }
        let recorded: Vec<bool> = ends
            .iter()
            .flat_map(|end| lines(&fleet, &end.id))
            .filter_map(|line| if let Event::MigrationEnded { exit, .. } = line.event { Some(exit.succeeded()) } else { None })
            .collect();
        let (began, done) = (count(&fleet, &format!("began {n}")), count(&fleet, &format!("done {n}")));
        let verdicts: Vec<_> = ends.iter().map(|end| end.verdict.unwrap()).collect();
        println!(
            "| {moment:?} | {} with{} shims | {began} | {done} | {verdicts:?} | {recorded:?} |",
            victims.len(),
            if all { "" } else { "out" }
        );
        assert_eq!(recorded.iter().filter(|good| **good).count(), 1, "{moment:?}");
        assert!(began <= recorded.len(), "{moment:?}: it ran {began} times, and {recorded:?} is recorded");
        // It may be killed between its last line and its end; then nobody knows, and it runs again.
        assert!(done == 1 || all && done <= began, "{moment:?}: it was done {done} times");
        if !all {
            assert_eq!((began, verdicts.as_slice()), (1, [Verdict::Promoted].as_slice()), "{moment:?}");
        }
        let last = ends.last().unwrap();
        let journal = lines(&fleet, &last.id);
        let started = journal
            .iter()
            .position(|l| matches!(l.event, Event::StepStarted { step, .. } if last.plan.steps[step as usize].step.kind() == "scale"));
        let ended = journal.iter().position(|l| matches!(l.event, Event::MigrationEnded { .. }));
        assert!(ended.is_some() && ended < started, "{moment:?}: {journal:?}");
    }
    assert!(watch.most() <= 1, "two migrations ran at once");
}
