//! Deploys from request to verdict, over a world in memory.

use crate::common::*;
use api::control::{Opened, *};
use model::*;

fn weights(group: &str) -> std::collections::BTreeMap<String, u32> {
    [(group.to_string(), 100)].into()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_deploy_the_second_and_the_same_again() {
    let house = House::new().await;
    let first = house.through(&web("one")).await;
    assert_eq!(first.verdict, Some(Verdict::Promoted), "{first:#?}");
    assert_eq!(house.fake.running(), [("web-r1-1".to_string(), 3)].into());
    assert_eq!(house.fake.weights("web"), weights("web-r1-1"));
    let second = house.through(&web("two")).await;
    assert_eq!(second.verdict, Some(Verdict::Promoted), "{second:#?}");
    assert_eq!(second.from.unwrap().group.as_str(), "web-r1-1");
    assert_eq!(house.fake.running(), [("web-r2-2".to_string(), 3)].into());
    assert_eq!(house.fake.weights("web"), weights("web-r2-2"));

    let again = house.deploy(&web("two")).await.unwrap();
    assert_eq!((again.rotations.len(), again.unchanged), (0, vec![name("web")]));
    let status = house.status("web").await;
    assert_eq!((status.count, status.healthy, status.rotation.is_none(), status.trouble), (3, 3, true, None));
    let releases: Vec<ReleaseRow> = house.client().get("/v1/releases?service=web").await.unwrap();
    assert_eq!(releases.iter().map(|r| (r.release.number, r.role.as_str())).collect::<Vec<_>>(), [(1, "previous"), (2, "active")]);
    let instances: Vec<InstanceRow> = house.client().get("/v1/instances").await.unwrap();
    assert_eq!(instances.len(), 3);
    assert!(instances.iter().all(|i| i.release == 2 && i.balancer.is_some()));
    let images: Vec<ImageRow> = house.client().get("/v1/images").await.unwrap();
    assert_eq!((images[0].instances, images[0].releases.as_slice()), (3, &["web@r1".to_string(), "web@r2".to_string()][..]));
}

/// What the loop and the journal cost by themselves: the world answers at once, soak and healthy_for are 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_costs_little_of_ours() {
    let house = House::new().await;
    let quick = |program: &str| {
        let mut request = web(program);
        request.file.services.get_mut(&name("web")).unwrap().rollout =
            Rollout { waves: vec![Wave::Percent(100)], soak_ms: 0, ..Rollout::default() };
        request
    };
    house.through(&quick("one")).await;
    let r = house.through(&quick("two")).await;
    let took_ms = r.closed.unwrap().since(r.opened);
    println!("{took_ms} ms for {} steps, {} events", r.plan.steps.len(), r.events);
    assert!(took_ms < 5_000, "{took_ms} ms");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_count_differs() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let mut more = web("one");
    more.file.services.get_mut(&name("web")).unwrap().count = 5;
    let r = house.through(&more).await;
    assert_eq!((r.verdict, r.direction, r.plan.steps.len()), (Some(Verdict::Promoted), Direction::Single, 1));
    assert_eq!(house.fake.running(), [("web-r1-1".to_string(), 5)].into());
    assert_eq!(house.fake.state().launched, 5);
    let status = house.status("web").await;
    assert_eq!((status.count, status.active.unwrap().group.as_str().to_string()), (5, "web-r1-1".to_string()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_never_gets_healthy_and_what_fails_under_traffic_goes_back() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let mut sick = web("sick");
    sick.file.services.get_mut(&name("web")).unwrap().rollout.within_ms = 1_000;
    let r = house.through(&sick).await;
    assert_eq!(r.verdict, Some(Verdict::RolledBack), "{r:#?}");
    assert_eq!(house.fake.running(), [("web-r1-1".to_string(), 3)].into());
    let mut bad = web("bad");
    bad.file.services.get_mut(&name("web")).unwrap().rollout.soak_ms = 300;
    let r = house.through(&bad).await;
    assert_eq!(r.verdict, Some(Verdict::RolledBack), "{r:#?}");
    assert_eq!(house.fake.running(), [("web-r1-1".to_string(), 3)].into());
    assert_eq!(house.fake.weights("web"), weights("web-r1-1"));
    assert_eq!(house.status("web").await.active.unwrap().release.number, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn rollback_and_an_earlier_release_bring_the_whole_release_in_a_new_group() {
    let house = House::new().await;
    let nothing: Result<Opened, Fault> = rollback(&house, None).await;
    assert_eq!(nothing.unwrap_err().code, "not-found");
    house.through(&web("one")).await;
    assert_eq!(rollback(&house, None).await.unwrap_err().code, "nothing-before");
    let mut two = web("two");
    two.file.services.get_mut(&name("web")).unwrap().env.insert("MODE".into(), "new".into());
    house.through(&two).await;
    let opened = rollback(&house, None).await.unwrap();
    let r = house.end(&opened.rotations[0]).await;
    assert_eq!((r.verdict, r.to.group.as_str(), r.to.release.env.len()), (Some(Verdict::Promoted), "web-r1-3", 0));
    assert_eq!(house.fake.running(), [("web-r1-3".to_string(), 3)].into());
    let opened = rollback(&house, Some(2)).await.unwrap();
    assert_eq!(house.end(&opened.rotations[0]).await.to.group.as_str(), "web-r2-4");
    assert_eq!(rollback(&house, Some(2)).await.unwrap().unchanged, [name("web")]);
    assert_eq!(rollback(&house, Some(9)).await.unwrap_err().code, "not-found");
    let earlier = DeployRequest { release: Some(1), ..web("three") };
    assert_eq!(house.through(&earlier).await.to.group.as_str(), "web-r1-5");
    let releases: Vec<ReleaseRow> = house.client().get("/v1/releases").await.unwrap();
    assert_eq!(releases.len(), 2, "a rollback makes no release");
}

async fn rollback(house: &House, to: Option<u64>) -> Result<Opened, Fault> {
    house.client().post("/v1/rollback", &RollbackRequest { service: name("web"), to }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn users_pause_resume_return_and_stop() {
    let house = House::new().await;
    house.through(&web("one")).await;
    house.fake.state().slow = true;
    let opened = house.deploy(&web("two")).await.unwrap();
    let id = &opened.rotations[0];
    house.ask(id, RotationCommand::Pause).await;
    house.until(id, |r| r.paused && r.waits.is_some()).await;
    assert_eq!(house.deploy(&web("three")).await.unwrap_err().code, "busy");
    house.ask(id, RotationCommand::Resume).await;
    let waits = house.until(id, |r| !r.paused && r.waits.is_some()).await.waits.unwrap();
    assert!(!waits.why.is_empty() && waits.until.is_some(), "{waits:?}");
    house.ask(id, RotationCommand::Rollback).await;
    house.fake.state().slow = false;
    assert_eq!(house.end(id).await.verdict, Some(Verdict::RolledBack));

    house.fake.state().slow = true;
    let opened = house.deploy(&web("two")).await.unwrap();
    let id = &opened.rotations[0];
    house.until(id, |r| r.waits.is_some()).await;
    house.ask(id, RotationCommand::Stop).await;
    let r = house.end(id).await;
    assert_eq!(r.verdict, Some(Verdict::Stopped));
    house.fake.state().slow = false;
    let closed: Result<serde_json::Value, Fault> =
        house.client().post(&format!("/v1/rotations/{id}/command"), &CommandRequest { command: RotationCommand::Pause }).await;
    assert_eq!(closed.unwrap_err().code, "closed");
    // A rollback returns to what is active still, not to the release before it; as the next deploy, it retires what the stopped one left.
    let opened = rollback(&house, None).await.unwrap();
    let r = house.end(&opened.rotations[0]).await;
    assert_eq!(r.to.release.number, 1);
    assert_eq!(r.verdict, Some(Verdict::Promoted), "{r:#?}");
    assert_eq!(house.fake.running().len(), 1, "{:?}", house.fake.running());
}

fn shop(worker: &str, web: &str) -> DeployRequest {
    request(vec![spec("web", "front", web, 2, Some("127.0.0.1:8080")), spec("worker", "back", worker, 1, None)], None)
}

async fn rollout_end(house: &House, id: &RolloutId) -> RolloutSeen {
    loop {
        let seen: RolloutSeen = house.client().get(&format!("/v1/rollouts/{id}")).await.unwrap();
        if seen.end.is_some() {
            return seen;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_tier_by_tier_and_halts() {
    let house = House::new().await;
    let planned: PlanAnswer = house.client().post("/v1/plan", &shop("one", "one")).await.unwrap();
    assert_eq!(planned.rotations.iter().map(|r| r.service.as_str()).collect::<Vec<_>>(), ["worker", "web"]);
    let none: Vec<RotationStatus> = house.client().get("/v1/rotations").await.unwrap();
    assert!(none.is_empty(), "a plan opened something");

    let opened = house.deploy(&shop("one", "one")).await.unwrap();
    assert_eq!(opened.rotations.iter().map(|r| r.as_str()).collect::<Vec<_>>(), ["worker.1"], "the first tier at once, the second not yet");
    let seen = rollout_end(&house, &opened.rollout.unwrap()).await;
    assert_eq!(seen.end, Some(RolloutEnd::Promoted));
    let order: Vec<_> = seen.rotations.iter().map(|(id, v)| (id.to_string(), *v)).collect();
    assert_eq!(order, [("worker.1".to_string(), Some(Verdict::Promoted)), ("web.1".to_string(), Some(Verdict::Promoted))]);
    let (worker, web): (RotationStatus, RotationStatus) =
        (house.rotation(&seen.rotations[0].0).await, house.rotation(&seen.rotations[1].0).await);
    assert!(worker.closed.unwrap() <= web.opened);

    let same = house.deploy(&shop("one", "one")).await.unwrap();
    assert_eq!((same.rollout, same.unchanged.len()), (None, 2));
    // Only what differs is rotated.
    let half = house.deploy(&shop("one", "two")).await.unwrap();
    assert_eq!(half.unchanged, [name("worker")]);
    assert_eq!(rollout_end(&house, &half.rollout.unwrap()).await.rotations.len(), 1);

    let mut broken = shop("sick", "three");
    broken.file.services.get_mut(&name("worker")).unwrap().rollout.within_ms = 1_000;
    let opened = house.deploy(&broken).await.unwrap();
    let seen = rollout_end(&house, &opened.rollout.unwrap()).await;
    assert_eq!(seen.end, Some(RolloutEnd::Halted));
    assert!(seen.why.unwrap().contains("worker was rolled back"));
    assert_eq!(seen.rotations.len(), 1, "the tier behind was begun");
    assert_eq!(house.status("web").await.active.unwrap().release.number, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_cannot_be_are_refused_and_leave_nothing() {
    let house = House::new().await;
    let edit = |f: &dyn Fn(&mut DeployRequest)| {
        let mut r = web("one");
        f(&mut r);
        r
    };
    let spec = |f: fn(&mut ServiceSpec)| edit(&|r| f(r.file.services.get_mut(&name("web")).unwrap()));
    for (request, code) in [
        (edit(&|r| r.images.clear()), "image-not-baked"),
        (edit(&|r| r.images.values_mut().for_each(|d| *d = digest('b'))), "image-missing"),
        (edit(&|r| drop(r.artifacts.insert(name("web"), digest('c')))), "artifact-missing"),
        (edit(&|r| r.service = Some(name("nobody"))), "not-found"),
        (edit(&|r| r.release = Some(7)), "not-found"),
        (edit(&|r| (r.service, r.release) = (None, Some(1))), "bad-request"),
        (edit(&|r| r.file.services.clear()), "not-found"),
        (edit(&|r| (r.service, r.file.services) = (None, Default::default())), "no-service"),
        (spec(|s| s.artifact = Some("./dist".into())), "artifact-not-packed"),
    ] {
        let fault = house.deploy(&request).await.unwrap_err();
        assert_eq!((fault.code.as_str(), fault.blame), (code, Blame::Yours), "{fault:?}");
        let planned: Result<PlanAnswer, Fault> = house.client().post("/v1/plan", &request).await;
        assert_eq!(planned.unwrap_err().code, code);
    }
    let long = "w".repeat(33);
    let fault = house.deploy(&request(vec![crate::common::spec(&long, "front", "one", 1, None)], Some(&long))).await.unwrap_err();
    assert_eq!(fault.code, "bad-service-file");
    let both = vec![
        crate::common::spec("web", "front", "x", 1, Some("127.0.0.1:80")),
        crate::common::spec("api", "front", "x", 1, Some("127.0.0.1:80")),
    ];
    assert_eq!(house.deploy(&request(both, None)).await.unwrap_err().code, "bad-service-file");
    house.through(&web("one")).await;
    let other = request(vec![crate::common::spec("api", "front", "x", 1, Some("127.0.0.1:8080"))], Some("api"));
    assert_eq!(house.deploy(&other).await.unwrap_err().code, "listen-taken");
    let services: Vec<ServiceStatus> = house.client().get("/v1/services").await.unwrap();
    assert_eq!(services.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn gc_keeps_what_stands_what_stood_and_what_is_open() {
    let house = House::new().await;
    for letter in ['b', 'c', 'd', 'e', 'f'] {
        house.fake.state().objects.insert(digest(letter));
    }
    for letter in ['a', 'b', 'c', 'd'] {
        let mut request = web("one");
        request.images.values_mut().for_each(|d| *d = digest(letter));
        house.through(&request).await;
    }
    house.fake.state().slow = true;
    let mut request = web("one");
    request.images.values_mut().for_each(|d| *d = digest('e'));
    house.deploy(&request).await.unwrap();
    let answer: GcAnswer = house.client().post("/v1/gc", &()).await.unwrap();
    assert_eq!(answer, GcAnswer { removed: vec![digest('a'), digest('f')], kept: 4, freed_bytes: 10, secrets: 0 });
}

/// A plan of what is not baked yet opens nothing, and cannot be deployed as it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_not_baked_yet_can_be_planned_with_and_not_deployed() {
    let house = House::new().await;
    let mut next = web("one");
    next.images.values_mut().for_each(|digest| *digest = self::digest('9'));
    let plan = async |request: &DeployRequest| house.client().post::<_, PlanAnswer>("/v1/plan", request).await;
    assert_eq!(plan(&next).await.unwrap_err().code, "image-missing");
    next.unbaked = next.images.values().cloned().collect();
    assert_eq!(plan(&next).await.unwrap().rotations.len(), 1);
    assert_eq!(house.deploy(&next).await.unwrap_err().code, "bad-request");
    // For that image alone.
    next.images.values_mut().for_each(|digest| *digest = self::digest('8'));
    assert_eq!(plan(&next).await.unwrap_err().code, "image-missing");
    assert!(house.fake.running().is_empty() && house.client().get::<Vec<ServiceStatus>>("/v1/services").await.unwrap().is_empty());
}
