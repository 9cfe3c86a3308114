//! `count = 0` over the real server: a parked service, both ways, and the rollback of each.

use crate::common::*;
use api::control::{Opened, *};
use model::*;
use std::collections::BTreeMap;

fn of_count(program: &str, count: u32) -> DeployRequest {
    let mut request = web(program);
    request.file.services.get_mut(&name("web")).unwrap().count = count;
    request
}

async fn status(house: &House) -> ServiceStatus {
    house.client().get("/v1/services/web").await.unwrap()
}

async fn rollback(house: &House, to: Option<u64>) -> RotationStatus {
    let request = RollbackRequest { service: name("web"), to };
    let opened: Opened = house.client().post("/v1/rollback", &request).await.unwrap();
    house.end(&opened.rotations[0]).await
}

/// Who runs, how many, and which share of the customers each gets.
fn world(house: &House) -> (BTreeMap<String, u32>, BTreeMap<String, u32>) {
    (house.fake.running(), house.fake.weights("web"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_of_zero_parks_a_service_and_a_rollback_brings_back_what_served() {
    let mut house = House::new().await;
    house.through(&of_count("one", 3)).await;
    let plan: PlanAnswer = house.client().post("/v1/plan", &of_count("one", 0)).await.unwrap();
    assert!(plan.notes.iter().any(|n| n.text.contains("no server is left; 127.0.0.1:8080 stays open and answers 503")), "{:?}", plan.notes);
    assert_eq!(plan.rotations[0].plan.floor, 0);
    // The same release: it is still what is active, with no server.
    let parked = house.through(&of_count("one", 0)).await;
    assert_eq!(parked.verdict, Some(Verdict::Promoted), "{}", parked.why);
    assert_eq!(world(&house), ([("web-r1-2".to_string(), 0)].into(), BTreeMap::new()));
    let kinds: Vec<&str> = parked.plan.steps.iter().map(|s| s.step.kind()).collect();
    assert_eq!(kinds, ["bake", "scale", "shift", "drain", "retire"]);
    let now = status(&house).await;
    assert_eq!((now.count, now.healthy, now.active.unwrap().release.number, now.trouble), (0, 0, 1, None));
    // Asked for again, there is nothing to do and nothing to say; neither is there for a server that restarts.
    house.stop().await;
    house.start().await;
    let again: PlanAnswer = house.client().post("/v1/plan", &of_count("one", 0)).await.unwrap();
    assert_eq!((again.rotations.len(), again.notes.len()), (0, 0), "{again:?}");
    // Another release of a parked service is parked too.
    house.through(&of_count("two", 0)).await;
    assert_eq!(world(&house), ([("web-r2-3".to_string(), 0)].into(), BTreeMap::new()));
    let back = rollback(&house, None).await;
    assert_eq!((back.verdict, back.to.release.number), (Some(Verdict::Promoted), 1), "{}", back.why);
    assert_eq!(world(&house), ([("web-r1-4".to_string(), 3)].into(), [("web-r1-4".to_string(), 100)].into()));
    // Parked once more, and back to a release by its number: with as many servers as served.
    house.through(&of_count("two", 0)).await;
    rollback(&house, Some(2)).await;
    assert_eq!(world(&house), ([("web-r2-6".to_string(), 3)].into(), [("web-r2-6".to_string(), 100)].into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_parked_is_deployed_as_a_first_release_is() {
    let house = House::new().await;
    let first = house.through(&of_count("one", 0)).await;
    assert_eq!(first.verdict, Some(Verdict::Promoted), "{}", first.why);
    assert_eq!(world(&house), ([("web-r1-1".to_string(), 0)].into(), BTreeMap::new()));
    // A release that never gets healthy is rolled back to no server.
    let mut sick = of_count("sick", 2);
    sick.file.services.get_mut(&name("web")).unwrap().rollout.within_ms = 1_000;
    assert_eq!(house.through(&sick).await.verdict, Some(Verdict::RolledBack));
    assert_eq!(world(&house), ([("web-r1-1".to_string(), 0)].into(), BTreeMap::new()));
    assert_eq!(status(&house).await.count, 0);
    // The same release with servers; the count then grows and shrinks as ever.
    house.through(&of_count("one", 2)).await;
    assert_eq!(world(&house), ([("web-r1-3".to_string(), 2)].into(), [("web-r1-3".to_string(), 100)].into()));
    let grown = house.through(&of_count("one", 4)).await;
    assert_eq!((grown.plan.direction, world(&house).0), (Direction::Single, [("web-r1-3".to_string(), 4)].into()));
    // Parked, and then removed.
    house.through(&of_count("one", 0)).await;
    let only = || request(vec![spec("worker", "back", "one", 1, None)], None);
    let opened = house.deploy(&DeployRequest { remove: vec![name("web")], ..only() }).await.unwrap();
    let removed = house.end(&opened.removing[0]).await;
    assert_eq!(removed.final_inventory.unwrap().active, None, "{}", removed.why);
    assert!(house.fake.state().routes[&RouteName::new("web").unwrap()].1.gone);
}
