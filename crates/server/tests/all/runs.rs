//! Runs over the small world: every end is recorded, nothing of a run is left, and who may not run anything is refused and in the audit.

use crate::common::*;
use api::control::AuditLine;
use api::runs::{self, RunRequest, RunSeen, RunStopRequest};
use model::access::{Grant, Role};
use model::*;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

fn request(command: &[&str]) -> RunRequest {
    RunRequest { command: command.iter().map(ToString::to_string).collect(), release: None, within_ms: None, env: Default::default() }
}

async fn begin(house: &House, request: &RunRequest) -> Result<RunSeen, Fault> {
    house.client().post(&runs::of(&name("web")), request).await
}

async fn until(house: &House, id: &RunId, so: impl Fn(&RunSeen) -> bool) -> RunSeen {
    let begun = Instant::now();
    loop {
        let seen: RunSeen = house.client().get(&runs::one(id)).await.unwrap();
        if so(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "it never came: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn over(house: &House, id: &RunId) -> Exit {
    until(house, id, |seen| seen.run.is_over).await.run.exit.unwrap()
}

async fn deployed() -> House {
    let house = House::new().await;
    house.through(&web("one")).await;
    house
}

fn code<T: std::fmt::Debug>(result: Result<T, Fault>) -> String {
    result.unwrap_err().code
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_is_recorded_and_nothing_of_it_is_left() {
    let house = deployed().await;
    let running = house.fake.running();
    let good = begin(&house, &request(&["true"])).await.unwrap();
    let bad = begin(&house, &request(&["false", "a"])).await.unwrap();
    assert_eq!((good.run.id.as_str(), good.instance.as_str()), ("web.x1", "web-r1-x1-1"));
    assert!(over(&house, &good.run.id).await.succeeded());
    assert_eq!(over(&house, &bad.run.id).await.code, 1);
    assert_eq!(house.fake.running(), running, "the servers are as they were, and no group of a run is left");
    // It was of the service's own release, and bounded.
    house.through(&web("two")).await;
    let old = begin(&house, &RunRequest { release: Some(1), ..request(&["hang"]) }).await.unwrap();
    until(&house, &old.run.id, |_| house.fake.running().contains_key("web-r1-x3")).await;
    let (_, spec, ..) = house.fake.state().groups[&GroupName::new("web-r1-x3").unwrap()].clone();
    let DesiredGroup::Run { release, once: Some(once), count: 1 } = spec.desired else { panic!("{spec:?}") };
    assert_eq!((release.run, once.run, once.within_ms), (vec!["one".to_string()], vec!["hang".to_string()], Some(RUN_WITHIN_MS)));
    let all: Vec<RunSeen> = house.client().get(runs::RUNS).await.unwrap();
    assert_eq!(all.iter().map(|seen| seen.run.id.as_str()).collect::<Vec<_>>(), ["web.x3", "web.x2", "web.x1"]);
    let stopped: RunSeen = house.client().post(&runs::stop(&old.run.id), &RunStopRequest { kill: false }).await.unwrap();
    assert_eq!(stopped.run.stop.unwrap().by, "root");
    assert_eq!(over(&house, &old.run.id).await.code, 143);
    // Of one that is over nothing is left to stop.
    let again: RunSeen = house.client().post(&runs::stop(&old.run.id), &RunStopRequest { kill: true }).await.unwrap();
    assert!(again.run.is_over && !again.run.stop.unwrap().kill);
    house.server.unwrap().stop().await;
}

/// The control plane is killed at every stage of runs; the next one goes on, and nothing is launched twice.
#[tokio::test(flavor = "multi_thread")]
async fn runs_go_on_over_restarts_and_while_the_keeper_is_away() {
    let mut house = deployed().await;
    house.fake.state().down = true;
    let waiting = begin(&house, &request(&["true"])).await.unwrap();
    let seen = until(&house, &waiting.run.id, |seen| seen.waits.is_some()).await;
    assert!(seen.waits.unwrap().contains("down") && seen.run.exit.is_none());
    house.stop().await;
    house.fake.state().down = false;
    house.start().await;
    assert!(over(&house, &waiting.run.id).await.succeeded());
    let hanging = begin(&house, &request(&["hang"])).await.unwrap();
    until(&house, &hanging.run.id, |_| house.fake.running().contains_key("web-r1-x2")).await;
    let launched = house.fake.state().launched;
    house.stop().await;
    house.start().await;
    let _: RunSeen = house.client().post(&runs::stop(&hanging.run.id), &RunStopRequest::default()).await.unwrap();
    house.stop().await;
    house.start().await;
    assert_eq!(over(&house, &hanging.run.id).await.code, 143);
    assert_eq!(house.fake.state().launched, launched);
    house.server.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_run_is_refused() {
    let house = House::new().await;
    assert_eq!(code(begin(&house, &request(&["true"])).await), "not-found");
    house.through(&web("one")).await;
    for (bad, want) in [
        (request(&[]), "bad-command"),
        (request(&[""]), "bad-command"),
        (request(&["a\0b"]), "bad-command"),
        (RunRequest { release: Some(9), ..request(&["true"]) }, "not-found"),
        (RunRequest { env: [("AFRESH_GROUP".to_string(), "x".to_string())].into(), ..request(&["true"]) }, "bad-env"),
        (RunRequest { within_ms: Some(1), ..request(&["true"]) }, "bad-time"),
        (RunRequest { within_ms: Some(u64::MAX), ..request(&["true"]) }, "bad-time"),
    ] {
        assert_eq!(code(begin(&house, &bad).await), want, "{bad:?}");
    }
    assert_eq!(code(house.client().get::<RunSeen>("/v1/runs/web.x1").await), "not-found");
    assert_eq!(code(house.client().get::<RunSeen>("/v1/runs/web.1").await), "bad-name");
    // A hundred at once: no more than a bound of them are open, and each that was refused says so.
    let mut refused = 0;
    for _ in 0..100 {
        match begin(&house, &request(&["hang"])).await {
            Ok(_) => {}
            Err(fault) => {
                assert_eq!(fault.code, "too-many-runs");
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 84);
    house.server.unwrap().stop().await;
}

/// A group of that name is there, and no row of the journal made it: it is left alone, and the run says that it was not started.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_somebody_used_is_not_used_again() {
    let house = deployed().await;
    let group = GroupName::new("web-r1-x1").unwrap();
    let spec = GroupSpec { group: group.clone(), service: name("web"), desired: DesiredGroup::Gone };
    rotation::Provider::declare(&*house.fake, Stamp { fence: Fence(7), seq: 1 }, &spec).unwrap();
    let run = begin(&house, &request(&["true"])).await.unwrap();
    let exit = until(&house, &run.run.id, |seen| seen.run.exit.is_some()).await.run.exit.unwrap();
    assert!(!exit.succeeded(), "{exit:?}");
    assert_eq!(house.fake.state().groups[&group].0, Stamp { fence: Fence(7), seq: 1 });
    house.server.unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_identities_of_the_host_policy_run_anything_and_every_try_is_in_the_audit() {
    let mut house = House::new().await;
    house.stop().await;
    std::fs::write(house.dir.path().join("policy.hcl"), "run = [\"token:runner\"]\n").unwrap();
    house.server = Some(start(server::Config { listen: Some("127.0.0.1:0".parse().unwrap()), ..house.config() }).await.unwrap());
    house.through(&web("one")).await;
    let address = house.server.as_ref().unwrap().address().unwrap().to_string();
    let grant = |role, service: &str| Grant { role, services: [name(service)].into(), tiers: BTreeSet::new() };
    let mut tokens = Vec::new();
    for (who, grant) in [
        ("runner", grant(Role::Deploy, "web")),
        ("deployer", grant(Role::Deploy, "web")),
        ("other", grant(Role::Deploy, "mail")),
        ("reader", grant(Role::Read, "web")),
    ] {
        let token = house.token(who, grant).await;
        tokens.push(api::Client::tcp(address.clone()).token(Some(token)));
    }
    let [runner, deployer, other, reader] = &tokens[..] else { unreachable!() };
    let path = runs::of(&name("web"));
    let secret = request(&["sh", "-c", "echo hello\nworld"]);
    let mine: RunSeen = runner.post(&path, &secret).await.unwrap();
    assert_eq!(code(deployer.post::<_, RunSeen>(&path, &secret).await), "policy-run");
    assert_eq!(code(other.post::<_, RunSeen>(&path, &secret).await), "forbidden");
    assert_eq!(code(reader.post::<_, RunSeen>(&path, &secret).await), "forbidden");
    assert_eq!(mine.run.by, "token:runner");
    // Nobody sees, stops or lists those of another's service.
    let one = runs::one(&mine.run.id);
    assert_eq!(code(other.get::<RunSeen>(&one).await), "forbidden");
    assert_eq!(code(other.post::<_, RunSeen>(&runs::stop(&mine.run.id), &RunStopRequest::default()).await), "forbidden");
    assert_eq!(code(reader.post::<_, RunSeen>(&runs::stop(&mine.run.id), &RunStopRequest::default()).await), "forbidden");
    assert!(other.get::<Vec<RunSeen>>(runs::RUNS).await.unwrap().is_empty());
    assert_eq!(reader.get::<Vec<RunSeen>>(runs::RUNS).await.unwrap().len(), 1);
    let lines: Vec<AuditLine> = house.client().get("/v1/audit?limit=1000").await.unwrap();
    let of = |who: &str| lines.iter().find(|l| l.who == format!("token:{who}") && l.what.ends_with("/runs")).cloned().unwrap_or_default();
    assert_eq!((of("runner").outcome.as_str(), of("runner").on.as_str()), ("done", "web,web.x1"));
    assert_eq!(of("runner").detail, "sh -c echo hello?world", "one line, as it was asked for");
    assert_eq!((of("deployer").outcome.as_str(), of("deployer").detail.as_str()), ("refused", "sh -c echo hello?world"));
    assert_eq!((of("other").outcome.as_str(), of("reader").outcome.as_str()), ("refused", "refused"));
    house.server.unwrap().stop().await;
}

/// What a run needs stays in the store.
#[tokio::test(flavor = "multi_thread")]
async fn objects_of_a_run_are_not_collected() {
    let house = deployed().await;
    let mut next = web("two");
    for (letter, program) in [('b', "two"), ('c', "three"), ('d', "four"), ('e', "five")] {
        house.fake.state().objects.insert(digest(letter));
        next = web(program);
        next.images.insert(ImageName::new("base").unwrap(), digest(letter));
        house.through(&next).await;
    }
    let run = begin(&house, &RunRequest { release: Some(1), ..request(&["hang"]) }).await.unwrap();
    let _: api::control::GcAnswer = house.client().post("/v1/gc", &serde_json::json!({})).await.unwrap();
    assert!(house.fake.state().swept.last().unwrap().contains(&digest('a')));
    let _: RunSeen = house.client().post(&runs::stop(&run.run.id), &RunStopRequest::default()).await.unwrap();
    over(&house, &run.run.id).await;
    let _: api::control::GcAnswer = house.client().post("/v1/gc", &serde_json::json!({})).await.unwrap();
    assert!(!house.fake.state().swept.last().unwrap().contains(&digest('a')));
    drop(next);
    house.server.unwrap().stop().await;
}

/// Found by users: a run had no variable of its own. Its value is for whoever may deploy, and in no audit.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_has_variables_of_its_own() {
    let house = deployed().await;
    let env = [("LEVEL".to_string(), "hunter2".to_string())];
    let run = begin(&house, &RunRequest { env: env.clone().into(), ..request(&["hang"]) }).await.unwrap();
    until(&house, &run.run.id, |_| house.fake.running().contains_key("web-r1-x1")).await;
    let (_, spec, ..) = house.fake.state().groups[&GroupName::new("web-r1-x1").unwrap()].clone();
    let DesiredGroup::Run { release, once: Some(once), .. } = spec.desired else { panic!("{spec:?}") };
    assert!(once.env == env.clone().into() && !release.env.contains_key("LEVEL"), "the release is as it was");
    let own: serde_json::Value = house.client().get(&runs::one(&run.run.id)).await.unwrap();
    let reader = house.token("eyes", Grant { role: Role::Read, services: Default::default(), tiers: Default::default() }).await;
    let read: serde_json::Value = house.client().token(Some(reader)).get(&runs::one(&run.run.id)).await.unwrap();
    assert_eq!((&own["env"]["LEVEL"], &read["env"]["LEVEL"]), (&"hunter2".into(), &"(hidden)".into()));
    let audit: Vec<AuditLine> = house.client().get("/v1/audit?limit=100").await.unwrap();
    let line = audit.iter().find(|line| line.detail.contains("hang")).unwrap();
    assert_eq!(line.detail, "LEVEL=... hang");
    assert!(!format!("{audit:?}").contains("hunter2"));
    house.server.unwrap().stop().await;
}
