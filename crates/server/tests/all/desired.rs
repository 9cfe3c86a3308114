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
    assert_eq!(failed.verdict, Some(Verdict::Returned));
    assert_eq!(house.fake.running(), [("web-r2-2".to_string(), 3)].into());
    let back = rollback(&house, None).await;
    println!("after a failed deploy of count = 7, the next rollback runs {:?}", house.fake.running());
    assert_eq!(back.verdict, Some(Verdict::Promoted));
    assert_eq!(house.fake.running().values().collect::<Vec<_>>(), [&3]);
    // Stopped halfway, with the old release active: the same.
    house.fake.state().slow = true;
    let opened = house.deploy(&of_count("three", 9)).await.unwrap();
    house.until(&opened.rotations[0], |r| r.waits.is_some()).await;
    house.ask(&opened.rotations[0], Ask::Stop).await;
    let stopped = house.end(&opened.rotations[0]).await;
    assert_eq!(stopped.census.unwrap().standing.unwrap().release.number, 1);
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
