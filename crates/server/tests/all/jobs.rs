//! Jobs over the small world. What was due is put into the past by hand, so that nothing waits for a clock; how often a job ran is read off
//! the groups that the keeper was given.

use crate::common::*;
use api::control::DeployRequest;
use api::fleet::Alarm;
use api::jobs::{self as calls, JobHistory, JobSeen};
use api::runs::RunSeen;
use journal::Database;
use model::access::{Grant, Role};
use model::*;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MIN: u64 = 60_000;

fn job(program: &str, overlap: Overlap, retries: u32) -> Job {
    let (schedule, run) = ("* * * * *".to_string(), vec![program.to_string()]);
    Job { name: "tick".parse().unwrap(), schedule, timezone: None, run, overlap, deadline_ms: 60 * MIN, within_ms: 60 * MIN, retries }
}

fn with(jobs: Vec<Job>) -> DeployRequest {
    let mut request = web("one");
    request.file.services.values_mut().for_each(|service| service.jobs.clone_from(&jobs));
    request
}

fn tick() -> JobName {
    "tick".parse().unwrap()
}

async fn history(house: &House) -> JobHistory {
    house.client().get(&format!("{}?limit=1000", calls::one(&name("web"), &tick(), "history"))).await.unwrap()
}

async fn seen(house: &House) -> JobSeen {
    let all: Vec<JobSeen> = house.client().get(calls::JOBS).await.unwrap();
    all.into_iter().next().unwrap()
}

async fn until(house: &House, what: &str, so: impl Fn(&JobHistory) -> bool) -> JobHistory {
    let begun = Instant::now();
    loop {
        let now = history(house).await;
        if so(&now) {
            return now;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}: {now:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The control plane was down since then.
async fn since_minutes(house: &mut House, minutes: u64) {
    house.stop().await;
    let store = Database::open(&Layout::new(house.dir.path()).database()).unwrap();
    store
        .write(|tx| {
            // It may have been stopped before it looked at its jobs at all.
            let calendar = tx.in_force(&name("web"))?.unwrap().spec.jobs[0].calendar();
            let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
            let fresh = JobState { calendar, settled: Time(now), ..JobState::default() };
            let state = tx.job_state(&name("web"), &tick())?.unwrap_or(fresh);
            // What was started in a minute that is over, or soon will be, stays settled: it cannot have been missed since.
            let over = if now % MIN > 40_000 { now } else { now - now % MIN };
            let dues = tx.runs_of_job(&name("web"), &tick(), 1_000)?.into_iter().filter_map(|run| run.job?.due);
            let started = dues.filter(|due| due.0 < over).max().unwrap_or_default();
            let settled = Time(state.settled.0 - minutes * MIN).max(started);
            tx.put_job_state(&name("web"), &tick(), &JobState { settled, ..state })
        })
        .unwrap();
    drop(store);
    house.start().await;
}

/// With its jobs in force.
async fn deployed(jobs: Vec<Job>) -> House {
    let house = House::new().await;
    house.through(&with(jobs)).await;
    let begun = Instant::now();
    while seen(&house).await.next.is_none() {
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house
}

async fn alarms(house: &House) -> Vec<String> {
    let all: Vec<Alarm> = house.client().get("/v1/alarms").await.unwrap();
    all.into_iter().filter(|alarm| alarm.code.starts_with("job-")).map(|alarm| format!("{}: {}", alarm.code, alarm.text)).collect()
}

/// Runs of the job that the keeper was ever given.
fn groups(house: &House) -> usize {
    house.fake.state().groups.keys().filter(|group| group.run().is_some()).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_newest_of_what_came_due_runs_whatever_is_killed_when() {
    let mut house = deployed(vec![job("true", Overlap::Forbid, 0)]).await;
    for round in 0..kills() {
        since_minutes(&mut house, 5).await;
        tokio::time::sleep(Duration::from_millis((round * 37) % 23)).await;
    }
    let past = until(&house, "the newest runs", |now| now.runs.iter().all(|seen| seen.run.is_over) && !now.runs.is_empty()).await;
    let dues: Vec<Time> = past.runs.iter().filter_map(|seen| seen.run.job.as_ref()?.due).collect();
    let distinct: BTreeSet<Time> = dues.iter().copied().collect();
    assert_eq!(dues.len(), distinct.len(), "a time was started twice: {dues:?}");
    assert!(dues.iter().all(|due| due.0.is_multiple_of(MIN)));
    assert_eq!(groups(&house), dues.len(), "each run is one group");
    for missed in &past.missed {
        assert!(!dues.iter().any(|due| (missed.first..=missed.last).contains(due)), "{missed:?} was started: {dues:?}");
    }
    house.server.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_missed_is_in_the_history_and_an_alarm_until_a_run_succeeds() {
    // Due once a year: nothing of it is in time now.
    let yearly = Job { schedule: "0 0 1 1 *".to_string(), deadline_ms: MIN, ..job("true", Overlap::Forbid, 0) };
    let mut house = deployed(vec![yearly]).await;
    since_minutes(&mut house, 2 * 366 * 24 * 60).await;
    let past = until(&house, "it is missed", |now| !now.missed.is_empty()).await;
    assert!((2..=3).contains(&past.missed[0].count), "{:?}", past.missed);
    let told = alarms(&house).await;
    assert!(told.iter().any(|text| text.starts_with("job-missed: web: job tick missed ")), "{told:?}");
    let begun = Instant::now();
    loop {
        let started: Result<RunSeen, Fault> = house.client().post(&calls::one(&name("web"), &tick(), "run"), &()).await;
        if started.is_ok_and(|seen| seen.run.by == "job tick, started by root") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until(&house, "it succeeds", |now| now.runs.iter().any(|seen| seen.run.exit.as_ref().is_some_and(Exit::succeeded))).await;
    assert_eq!(alarms(&house).await, Vec::<String>::new());
    house.server.unwrap().stop().await;
}

/// The fake's one-shots ended long ago, so no pause is left before another attempt.
#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_tried_again_and_then_an_alarm() {
    let mut house = deployed(vec![job("false", Overlap::Forbid, 2)]).await;
    since_minutes(&mut house, 1).await;
    let attempts = |now: &JobHistory| {
        let mut by_due: BTreeMap<Time, Vec<u32>> = BTreeMap::new();
        for start in now.runs.iter().filter_map(|seen| seen.run.job.clone()) {
            by_due.entry(start.due.unwrap()).or_default().insert(0, start.attempt);
        }
        by_due
    };
    let past = until(&house, "three attempts", |now| attempts(now).values().any(|all| all.len() == 3)).await;
    assert!(attempts(&past).values().all(|all| [1, 2, 3].starts_with(all)), "{:?}", attempts(&past));
    let told = alarms(&house).await;
    assert!(told.iter().any(|text| text.starts_with("job-failed: web: job tick failed in web.x")), "{told:?}");
    house.server.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_has_not_ended_is_waited_for_or_replaced() {
    for (overlap, ended) in [(Overlap::Forbid, false), (Overlap::Replace, true)] {
        let mut house = deployed(vec![job("hang", overlap, 0)]).await;
        since_minutes(&mut house, 1).await;
        until(&house, "it runs", |now| now.runs.len() == 1).await;
        since_minutes(&mut house, 0).await;
        house.stop().await;
        let store = Database::open(&Layout::new(house.dir.path()).database()).unwrap();
        // The run that is open was of an earlier time.
        store
            .write(|tx| {
                let mut run = tx.runs_of_job(&name("web"), &tick(), 1)?.remove(0);
                let start = run.job.as_mut().unwrap();
                start.due = start.due.map(|due| Time(due.0 - 10 * MIN));
                let state = tx.job_state(&name("web"), &tick())?.unwrap();
                tx.put_run(&run)?;
                tx.put_job_state(&name("web"), &tick(), &JobState { settled: Time(state.settled.0 - 2 * MIN), ..state })
            })
            .unwrap();
        drop(store);
        house.start().await;
        if ended {
            let past = until(&house, "the first is replaced", |now| now.runs.len() == 2 && now.runs[1].run.is_over).await;
            let first = &past.runs[1].run;
            assert_eq!((first.exit.as_ref().unwrap().code, first.stop.as_ref().unwrap().by.as_str()), (143, "job tick: it is due again"));
        } else {
            let begun = Instant::now();
            while !seen(&house).await.waits.is_some_and(|why| why.contains("web.x1 has not ended")) {
                assert!(begun.elapsed() < Duration::from_secs(60));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert_eq!(history(&house).await.runs.len(), 1);
            let busy: Result<RunSeen, Fault> = house.client().post(&calls::one(&name("web"), &tick(), "run"), &()).await;
            assert_eq!(busy.unwrap_err().code, "busy");
        }
        house.server.unwrap().stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_is_paused_parked_or_removed_does_not_run_and_says_why() {
    let mut house = deployed(vec![job("true", Overlap::Forbid, 0)]).await;
    let paused: JobSeen = house.client().post(&calls::one(&name("web"), &tick(), "pause"), &()).await.unwrap();
    assert_eq!((paused.paused.unwrap().by.as_str(), paused.next), ("root", None));
    since_minutes(&mut house, 5).await;
    let begun = Instant::now();
    let settled = async |house: &House| {
        while seen(house).await.waits.is_none() {
            assert!(begun.elapsed() < Duration::from_secs(60));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    settled(&house).await;
    let _: JobSeen = house.client().post(&calls::one(&name("web"), &tick(), "resume"), &()).await.unwrap();
    let runs = history(&house).await;
    assert!(runs.missed.is_empty() && runs.runs.len() <= 1, "{runs:?}");
    // Parked.
    let mut parked = with(vec![job("true", Overlap::Forbid, 0)]);
    parked.file.services.values_mut().for_each(|service| service.count = 0);
    house.through(&parked).await;
    assert_eq!(seen(&house).await.waits.as_deref(), Some("web is parked (count = 0)"));
    let before = groups(&house);
    since_minutes(&mut house, 5).await;
    settled(&house).await;
    assert_eq!(groups(&house), before);
    let refused: Result<RunSeen, Fault> = house.client().post(&calls::one(&name("web"), &tick(), "run"), &()).await;
    assert!(refused.unwrap_err().message.contains("web is parked"));
    // Taken out of the file, it is gone, and new if it comes back; nothing of the service is replaced for it.
    house.through(&with(Vec::new())).await;
    let none: Vec<JobSeen> = house.client().get(calls::JOBS).await.unwrap();
    assert!(none.is_empty());
    let opened = house.deploy(&with(vec![job("true", Overlap::Forbid, 0)])).await.unwrap();
    assert_eq!(opened.unchanged, [name("web")]);
    assert_eq!(seen(&house).await.job.name, tick());
    house.server.unwrap().stop().await;
}

/// Nobody's jobs keep all others from theirs: four of one service run at once, and sixteen of all.
#[tokio::test(flavor = "multi_thread")]
async fn four_of_a_service_run_at_once_and_sixteen_of_all_and_the_others_wait() {
    let house = House::new().await;
    // Never due by themselves meanwhile.
    let hanging =
        |n: usize| Job { name: format!("job-{n}").parse().unwrap(), schedule: "0 0 31 2 *".into(), ..job("hang", Overlap::Forbid, 0) };
    let services: Vec<String> = (1..=5).map(|n| format!("web-{n}")).collect();
    let specs =
        services.iter().map(|service| ServiceSpec { jobs: (10..20).map(hanging).collect(), ..spec(service, "back", "one", 1, None) });
    let mut request = request(specs.collect(), None);
    for service in &services {
        request.service = Some(name(service));
        house.through(&request).await;
    }
    let mut started = Vec::new();
    for service in &services {
        // Whoever may deploy that service alone.
        let grant = Grant { role: Role::Deploy, services: [name(service)].into(), tiers: BTreeSet::new() };
        let theirs = house.client().token(Some(house.token(service, grant).await));
        let (mut of_service, mut whys) = (0, BTreeSet::new());
        for n in 10..20 {
            match theirs.post::<_, RunSeen>(&calls::one(&name(service), &hanging(n).name, "run"), &()).await {
                Ok(_) => of_service += 1,
                Err(fault) => drop(whys.insert(fault.code)),
            }
        }
        assert_eq!(whys, ["busy".to_string()].into());
        started.push(of_service);
    }
    assert_eq!(started, [4, 4, 4, 4, 0]);
    let open: Vec<RunSeen> = house.client().get("/v1/runs?limit=1000").await.unwrap();
    assert_eq!(open.iter().filter(|seen| seen.run.exit.is_none()).count(), 16);
    house.server.unwrap().stop().await;
}

/// The same bound where they are due by the calendar.
#[tokio::test(flavor = "multi_thread")]
async fn no_more_than_four_of_a_service_that_are_due_at_once_are_started() {
    let jobs: Vec<Job> = (10..20).map(|n| Job { name: format!("job-{n}").parse().unwrap(), ..job("hang", Overlap::Forbid, 0) }).collect();
    let house = House::new().await;
    let mut house = {
        house.through(&with(jobs.clone())).await;
        house
    };
    house.stop().await;
    let store = Database::open(&Layout::new(house.dir.path()).database()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let state = JobState { calendar: jobs[0].calendar(), settled: Time(u64::try_from(now).unwrap() - 2 * MIN), ..JobState::default() };
    store.write(|tx| jobs.iter().try_for_each(|job| tx.put_job_state(&name("web"), &job.name, &state))).unwrap();
    drop(store);
    house.start().await;
    let begun = Instant::now();
    loop {
        let all: Vec<JobSeen> = house.client().get(calls::JOBS).await.unwrap();
        let wait = all.iter().filter(|seen| seen.waits.as_ref().is_some_and(|why| why.contains("at most 4 of a service"))).count();
        assert!(groups(&house) <= 4, "{} run", groups(&house));
        if groups(&house) == 4 && wait == 6 {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{all:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    house.server.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_deploy_a_service_may_not_touch_its_jobs() {
    let house = deployed(vec![job("true", Overlap::Forbid, 0)]).await;
    let token = async |role, service: &str| {
        let grant = Grant { role, services: [name(service)].into(), tiers: BTreeSet::new() };
        house.token(&format!("{service}-{role:?}").to_lowercase(), grant).await
    };
    for token in [token(Role::Read, "web").await, token(Role::Deploy, "mail").await] {
        let theirs = house.client().token(Some(token));
        for call in ["run", "pause", "resume"] {
            let refused: Result<serde_json::Value, Fault> = theirs.post(&calls::one(&name("web"), &tick(), call), &()).await;
            assert_eq!(refused.unwrap_err().code, "forbidden", "{call}");
        }
    }
    house.server.unwrap().stop().await;
}

/// Whoever asks at the same moment: one starts it, the others hear that it runs.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_many_start_at_once_runs_once() {
    let rare = Job { schedule: "0 0 31 2 *".into(), ..job("hang", Overlap::Forbid, 0) };
    let house = House::new().await;
    house.through(&with((10..14).map(|n| Job { name: format!("job-{n}").parse().unwrap(), ..rare.clone() }).collect())).await;
    for n in 10..14 {
        let path = calls::one(&name("web"), &format!("job-{n}").parse().unwrap(), "run");
        let mut asks = tokio::task::JoinSet::new();
        for _ in 0..16 {
            let (client, path) = (house.client(), path.clone());
            asks.spawn(async move { client.post::<_, RunSeen>(&path, &()).await });
        }
        let answers = asks.join_all().await;
        let started = answers.iter().filter(|answer| answer.is_ok()).count();
        assert!(answers.iter().all(|answer| answer.as_ref().err().is_none_or(|fault| fault.code == "busy")), "{answers:?}");
        assert_eq!(started, 1, "job-{n}");
    }
    house.server.unwrap().stop().await;
}

/// An older copy of the journal was put back by hand: servers run of which it says nothing. Nothing is added to them, and what is missed
/// meanwhile is recorded.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_beside_servers_that_no_journal_knows_waits_and_says_so() {
    let mut house = deployed(vec![job("true", Overlap::Forbid, 0)]).await;
    let (control, kept) = (house.dir.path().join("control"), house.dir.path().join("kept"));
    house.stop().await;
    crate::lost::copy(&control, &kept);
    house.start().await;
    let mut next = with(vec![job("true", Overlap::Forbid, 0)]);
    next.file.services.values_mut().for_each(|service| service.run = vec!["two".to_string()]);
    house.through(&next).await;
    house.stop().await;
    std::fs::remove_dir_all(&control).unwrap();
    crate::lost::copy(&kept, &control);
    house.start().await;
    let before = history(&house).await;
    since_minutes(&mut house, 5).await;
    let after = until(&house, "what is over is recorded", |now| now.missed.len() > before.missed.len()).await;
    let ids = |history: &JobHistory| history.runs.iter().map(|seen| seen.run.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&after), ids(&before), "nothing was started");
    let why = seen(&house).await.waits.unwrap();
    assert!(why.contains("web"), "{why}");
    house.server.unwrap().stop().await;
}
