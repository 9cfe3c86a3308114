//! The desired state in force is that of the release that is active, whatever was asked for since.

use crate::common::*;
use api::control::{Opened, *};
use model::*;

fn of_count(program: &str, count: u32) -> DeployRequest {
    let mut request = web(program);
    let web = request.file.services.get_mut(&name("web")).unwrap();
    web.count = count;
    web.rollout.within_ms = 1_000;
    request
}

async fn rollback(house: &House, to: Option<u64>) -> RotationStatus {
    let request = RollbackRequest { service: name("web"), to };
    let opened: Opened = house.client().post("/v1/rollback", &request).await.unwrap();
    house.end(&opened.rotations[0]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deploy_that_went_back_leaves_its_count_behind_nowhere() {
    let mut house = House::new().await;
    house.through(&of_count("one", 3)).await;
    house.through(&of_count("two", 3)).await;
    let failed = house.through(&of_count("sick", 7)).await;
    assert_eq!(failed.verdict, Some(Verdict::RolledBack));
    assert_eq!(house.fake.running(), [("web-r2-2".to_string(), 3)].into());
    let back = rollback(&house, None).await;
    println!("after a failed deploy of count = 7, the next rollback runs {:?}", house.fake.running());
    assert_eq!(back.verdict, Some(Verdict::Promoted));
    assert_eq!(house.fake.running().values().collect::<Vec<_>>(), [&3]);
    // Stopped halfway, with the old release active: the same.
    house.fake.state().slow = true;
    let opened = house.deploy(&of_count("three", 9)).await.unwrap();
    house.until(&opened.rotations[0], |r| r.waits.is_some()).await;
    house.ask(&opened.rotations[0], RotationCommand::Stop).await;
    let stopped = house.end(&opened.rotations[0]).await;
    assert_eq!(stopped.final_inventory.unwrap().active.unwrap().release.number, 1);
    house.fake.state().slow = false;
    house.stop().await;
    house.start().await;
    rollback(&house, Some(2)).await;
    assert_eq!(house.fake.running().values().collect::<Vec<_>>(), [&3]);
    // A count that was promoted is in force, and one that needs no rotation is so at once.
    house.through(&of_count("two", 4)).await;
    let mut waves = of_count("two", 4);
    waves.file.services.get_mut(&name("web")).unwrap().rollout.soak_ms = 31;
    assert_eq!(house.deploy(&waves).await.unwrap().rotations.len(), 0);
    assert_eq!(rollback(&house, Some(1)).await.plan.steps.iter().filter(|s| matches!(s.step, Step::Soak { for_ms: 31, .. })).count(), 2);
    assert_eq!(house.fake.running().values().collect::<Vec<_>>(), [&4]);
}

async fn plan_of(house: &House, request: &DeployRequest) -> PlanAnswer {
    house.client().post("/v1/plan", request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_it_brings_back_and_what_it_changes_back() {
    let house = House::new().await;
    house.through(&of_count("one", 3)).await;
    assert_eq!(plan_of(&house, &of_count("one", 3)).await.notes, []);
    house.through(&of_count("two", 4)).await;
    // By hand.
    rollback(&house, Some(1)).await;
    let texts = |answer: PlanAnswer| answer.notes.into_iter().map(|n| (n.at.is_some(), n.text)).collect::<Vec<_>>();
    let notes = texts(plan_of(&house, &of_count("two", 5)).await);
    println!("{notes:#?}");
    assert!(notes[0].0 && notes[0].1.contains("brings back web@r2, which was rolled back to r1 by web.3: rollback to r1, requested by "));
    assert!(notes[1].1.contains("count: 4 -> 5") && notes[1].1.contains("one") && notes[1].1.contains("two"), "{notes:?}");
    // By itself, since it never got healthy.
    house.through(&of_count("sick", 4)).await;
    let notes = texts(plan_of(&house, &of_count("sick", 4)).await);
    assert!(notes[0].1.contains("brings back web@r3, which web.4 rolled back: "), "{notes:?}");
    // Promoted since: nothing to say.
    house.through(&of_count("two", 4)).await;
    assert_eq!(texts(plan_of(&house, &of_count("two", 4)).await), []);
    // Settings alone: no server is replaced, and it is a change all the same.
    let mut settings = of_count("two", 4);
    settings.file.services.get_mut(&name("web")).unwrap().rollout.within_ms += 1_000;
    let answer = plan_of(&house, &settings).await;
    assert_eq!((answer.rotations.len(), answer.settings), (0, vec![name("web")]));
    assert_eq!(plan_of(&house, &of_count("two", 4)).await.settings, []);
    // Names of the environment are shown, values are not.
    let mut secret = of_count("two", 4);
    secret.file.services.get_mut(&name("web")).unwrap().env.insert("TOKEN".into(), "hunter2".into());
    let notes = texts(plan_of(&house, &secret).await);
    assert!(notes.iter().any(|n| n.1.contains("env.TOKEN differs")) && !format!("{notes:?}").contains("hunter2"), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_warns_of_what_was_rolled_back_before() {
    let house = House::new().await;
    house.through(&of_count("one", 3)).await;
    house.through(&of_count("two", 3)).await;
    let to = async |number: Option<u64>| {
        let opened: Opened = house.client().post("/v1/rollback", &RollbackRequest { service: name("web"), to: number }).await.unwrap();
        house.end(&opened.rotations[0]).await;
        opened.notes.into_iter().map(|note| note.text).collect::<Vec<_>>()
    };
    assert_eq!(to(None).await, [""; 0], "r1 was never rolled back");
    let notes = to(Some(2)).await;
    assert!(notes.len() == 1 && notes[0].contains("brings back web@r2, which was rolled back to r1 by web.3"), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_block_is_gone_is_removed_once_that_was_agreed() {
    let mut house = House::new().await;
    let both = request(vec![spec("web", "front", "one", 2, Some("127.0.0.1:8080")), spec("worker", "back", "one", 1, None)], None);
    let opened = house.deploy(&both).await.unwrap();
    house.end(&opened.rotations[0]).await;
    house.until_there("web.1").await;
    house.end(&RotationId::new("web.1").unwrap()).await;
    let mut only = request(vec![spec("worker", "back", "one", 1, None)], None);
    let plan = plan_of(&house, &only).await;
    assert_eq!(plan.removals.iter().map(|r| (r.service.as_str(), r.active.group.as_str())).collect::<Vec<_>>(), [("web", "web-r1-1")]);
    // Not agreed to: left, and said.
    let opened = house.deploy(&only).await.unwrap();
    assert_eq!((opened.removing.len(), opened.left), (0, vec![name("web")]));
    assert_eq!(house.fake.running().len(), 2);
    // What was not shown is not removed: another name, or one that the file has.
    for other in ["worker", "nobody"] {
        only.remove = vec![name(other)];
        assert_eq!(house.deploy(&only).await.unwrap_err().code, "not-removable");
    }
    only.remove = vec![name("web")];
    let plan = plan_of(&house, &only).await;
    let steps: Vec<&str> = plan.removals[0].plan.as_ref().unwrap().steps.iter().map(|s| s.step.kind()).collect();
    assert_eq!(steps, ["shift", "drain", "retire", "shift"], "a plan shows the steps of what it removes");
    assert_eq!(house.fake.running().len(), 2, "a plan changes nothing");
    let opened = house.deploy(&only).await.unwrap();
    let id = opened.removing[0].clone();
    house.stop().await;
    house.start().await;
    let r = house.end(&id).await;
    assert!(r.removes);
    assert_eq!(r.final_inventory.unwrap().active, None, "{:?}", r.verdict);
    assert!(r.plan.steps.iter().any(|s| matches!(s.step, Step::Drain { .. })), "its servers are drained first");
    assert_eq!(house.fake.running(), [("worker-r1-1".to_string(), 1)].into());
    assert_eq!(house.fake.weights("web"), Default::default());
    let over = |house: &House| house.fake.state().routes[&RouteName::new("web").unwrap()].1.gone;
    assert!(over(&house), "the listener is closed, and its address free");
    let services: Vec<ServiceStatus> = house.client().get("/v1/services").await.unwrap();
    assert_eq!(services.iter().map(|s| s.service.as_str()).collect::<Vec<_>>(), ["worker"]);
    let releases: Vec<ReleaseRow> = house.client().get("/v1/releases?service=web").await.unwrap();
    assert_eq!(releases.iter().map(|r| r.role.as_str()).collect::<Vec<_>>(), ["previous"], "nothing of it is active");
    only.remove = Vec::new();
    assert_eq!(plan_of(&house, &only).await.removals, []);
    // And it can come back, under names that were never used: by a rollback to what served last, and by a deploy.
    let back = rollback(&house, None).await;
    assert_eq!((back.verdict, back.to.release.number, back.removes), (Some(Verdict::Promoted), 1, false));
    assert_eq!(house.fake.running().get("web-r1-3"), Some(&2));
    assert_eq!(house.through(&web("one")).await.verdict, Some(Verdict::Promoted));
    assert!(!over(&house));
    assert_eq!(house.fake.running().len(), 2);
}

/// Found by users: a service whose first release failed was listed permanently.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_whose_first_release_failed_can_be_removed() {
    let house = House::new().await;
    let mut web = spec("web", "front", "sick", 2, Some("127.0.0.1:8080"));
    web.rollout.within_ms = 1_000;
    let opened = house.deploy(&request(vec![web], None)).await.unwrap();
    let failed = house.end(&opened.rotations[0]).await;
    assert_eq!((failed.verdict, failed.final_inventory.unwrap().active), (Some(Verdict::RolledBack), None));
    let listed = async || house.client().get::<Vec<ServiceStatus>>("/v1/services").await.unwrap().len();
    assert_eq!(listed().await, 1, "it is shown until somebody removes it");
    let empty = DeployRequest { remove: vec![name("web")], ..request(Vec::new(), None) };
    let removed = house.end(&house.deploy(&empty).await.unwrap().removing[0]).await;
    assert!(removed.removes && removed.verdict == Some(Verdict::RolledBack), "{removed:#?}");
    assert_eq!((listed().await, house.fake.running().len()), (0, 0));
    assert_eq!(house.deploy(&empty).await.unwrap_err().code, "not-removable", "once");
    // Its name and its address are free.
    house.through(&web_again()).await;
    assert_eq!(listed().await, 1);
}

fn web_again() -> DeployRequest {
    request(vec![spec("web", "front", "one", 2, Some("127.0.0.1:8080"))], None)
}

/// Two files on one host: neither of them can take the other's services away, whatever it is asked to remove.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_removes_only_what_is_named() {
    let house = House::new().await;
    let shop = request(vec![spec("web", "front", "one", 1, None), spec("old", "front", "one", 1, None)], None);
    let jobs = request(vec![spec("worker", "back", "one", 1, None)], None);
    for file in [&shop, &jobs] {
        house.until_rollout(&house.deploy(file).await.unwrap().rollout.unwrap()).await;
    }
    let mut next = request(vec![spec("web", "front", "one", 1, None)], None);
    next.remove = vec![name("old")];
    let opened = house.deploy(&next).await.unwrap();
    assert_eq!((opened.removing.len(), opened.left), (1, vec![name("worker")]));
    house.end(&opened.removing[0]).await;
    assert_eq!(house.fake.running().into_keys().collect::<Vec<_>>(), ["web-r1-1", "worker-r1-1"]);
}
