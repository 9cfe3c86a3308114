//! Jobs on the real program: of the release that is active, with output and exit code of their command, and at most once for each start,
//! whatever is killed. What comes due by the calendar is tested over the small world of `server`, where time can be set.

use crate::fleet::world::{Fleet, patience, send};
use crate::machine::kills;
use api::jobs::{self, JobHistory};
use model::{JobName, ServiceName, Verdict};
use nix::sys::signal::Signal;
use std::process::Output;
use std::time::{Duration, Instant};

const SCRIPT: &str = "echo job $RELEASE; sleep 0.2; echo done; exit 4";

fn service(n: u32, schedule: &str, script: &str) -> String {
    format!(
        "service \"web\" {{\n  tier = \"web\"\n  image = image.base\n  run = [\"sh\", \"-c\", \"while :; do sleep 1; done\"]\n  \
         env {{ RELEASE = \"{n}\" }}\n  count = 1\n  drain {{ within = \"1s\" }}\n  limits {{ memory = \"32MiB\"  cpu = 0.5  pids = 64 }}\n  \
         health {{ every = \"100ms\"  healthy_for = \"0s\" }}\n  rollout {{ soak = \"0s\"  within = \"1m\" }}\n  \
         job \"report\" {{ schedule = \"{schedule}\"  timezone = \"Europe/Berlin\"  run = [\"sh\", \"-c\", {}] }}\n}}\n",
        serde_json::to_string(script).unwrap(),
    )
}

fn text(out: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr))
}

fn history(fleet: &Fleet) -> Option<JobHistory> {
    let (service, job): (ServiceName, JobName) = ("web".parse().unwrap(), "report".parse().unwrap());
    fleet.get(&format!("{}?limit=1000", jobs::one(&service, &job, "history"))).ok()
}

#[test]
#[ignore = "needs root"]
fn a_job_runs_in_the_active_release_and_each_start_at_most_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut fleet = Fleet::bare(dir.path(), "data");
    let yearly = "0 0 1 1 *";
    for n in [1, 2] {
        assert_eq!(fleet.deploy_service(&service(n, yearly, SCRIPT)).verdict, Some(Verdict::Promoted));
        let out = fleet.run(&["job", "run", "web", "report"]);
        assert_eq!(
            (out.status.code(), String::from_utf8_lossy(&out.stdout).as_ref()),
            (Some(4), format!("job {n}\ndone\n").as_str()),
            "{}",
            text(&out)
        );
    }
    let listed = text(&fleet.run(&["job", "list"]));
    assert!(listed.contains("report") && listed.contains("0 0 1 1 * Europe/Berlin") && listed.contains("exit 4"), "{listed}");
    let told = text(&fleet.run(&["job", "history", "web", "report"]));
    assert!(told.contains("by hand") && told.contains("r1") && told.contains("r2"), "{told}");
    let check = fleet.run(&["status", "--check"]);
    assert!(check.status.code() == Some(8) && text(&check).contains("job report failed in web.x2"), "{}", text(&check));
    // A job is no part of a release: another one replaces no server.
    let servers = |fleet: &Fleet| {
        let rows: Vec<api::control::InstanceRow> = fleet.get("/v1/instances").unwrap();
        rows.into_iter().map(|row| row.seen.id).filter(|id| id.group().is_some_and(|group| group.run().is_none())).collect::<Vec<_>>()
    };
    let before = servers(&fleet);
    fleet.change(&service(2, yearly, "echo began; sleep 0.5; echo done"));
    assert_eq!(servers(&fleet), before);

    let mut started = 0;
    for round in 0..kills() {
        let out = fleet.run(&["job", "run", "web", "report", "--detach"]);
        started += u64::from(out.status.success());
        // In every second round it may have begun.
        if round % 2 == 1 {
            std::thread::sleep(Duration::from_millis(100 + round * 17 % 90));
        }
        let ours = fleet.data.display().to_string();
        for pid in crate::migrations::processes(&ours) {
            send(pid, Signal::SIGKILL);
        }
        fleet.reap();
        fleet.start(&[]).unwrap();
        let begun = Instant::now();
        while !history(&fleet).is_some_and(|past| past.runs.iter().all(|seen| seen.run.is_over)) {
            assert!(begun.elapsed() < patience(), "{:?}", history(&fleet));
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let past = history(&fleet).unwrap();
    assert_eq!(past.runs.len() as u64, 2 + started);
    for seen in &past.runs {
        let printed = std::fs::read_to_string(fleet.layout().log(&seen.instance)).unwrap_or_default();
        assert!(printed.matches("began").count() <= 1, "{}: {printed}", seen.run.id);
    }
    let ends: Vec<String> = past.runs.iter().map(|seen| seen.run.exit.as_ref().unwrap().how()).collect();
    println!("{started} started, {} killed at every process: {ends:?}", kills());
}
