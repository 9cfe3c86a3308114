//! Parts of the control plane that panic or always fail: started again, counted, and reported in `health` and `why`.

use crate::common::*;
use api::control::*;
use api::paths::Health;
use model::*;
use std::time::{Duration, Instant};

async fn troubles(house: &House) -> Vec<String> {
    house.client().get::<Health>("/v1/health").await.unwrap().troubles
}

async fn until_trouble(house: &House, so: impl Fn(&str) -> bool) -> String {
    let begun = Instant::now();
    loop {
        if let Some(found) = troubles(house).await.into_iter().find(|t| so(t)) {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "health says nothing of it: {:?}", troubles(house).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_rollouts_leaves_no_rollout_open_and_health_says_so() {
    let house = House::new().await;
    assert_eq!(troubles(&house).await, Vec::<String>::new());
    let both = request(vec![spec("web", "front", "one", 2, Some("127.0.0.1:8080")), spec("worker", "back", "one", 1, None)], None);
    house.fake.state().panics = Some(("rollouts", 2));
    let opened = house.deploy(&both).await.unwrap();
    let rollout = format!("/v1/rollouts/{}", opened.rollout.unwrap());
    let begun = Instant::now();
    loop {
        let seen: RolloutSeen = house.client().get(&rollout).await.unwrap();
        if seen.end.is_some() {
            assert_eq!(seen.end, Some(RolloutEnd::Promoted));
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(20), "the rollout is left open; health says {:?}", troubles(&house).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let told = until_trouble(&house, |t| t.starts_with("rollouts panicked 2 times")).await;
    assert!(told.contains("the fake world gave way"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_panics_is_started_again_and_why_says_so() {
    let house = House::new().await;
    house.fake.state().panics = Some(("drive web.1", 3));
    let opened = house.deploy(&web("one")).await.unwrap();
    let id = &opened.rotations[0];
    let told = |r: &RotationStatus| r.waits.as_ref().is_some_and(|w| w.why.contains("driver of web.1 panicked") && w.until.is_some());
    house.until(id, |r| told(r) || r.verdict.is_some()).await;
    assert_eq!(house.end(id).await.verdict, Some(Verdict::Promoted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_driver_that_always_fails_says_so_in_why_and_in_health() {
    let house = House::new().await;
    house.through(&web("one")).await;
    house.fake.state().slow = true;
    let opened = house.deploy(&web("two")).await.unwrap();
    let id = &opened.rotations[0];
    house.until(id, |r| r.waits.is_some()).await;
    house.fake.state().down = true;
    let r = house.until(id, |r| r.waits.as_ref().is_some_and(|w| w.why.contains("times in a row"))).await;
    assert!(r.waits.unwrap().why.starts_with("driver of web.2 has failed"));
    until_trouble(&house, |t| t.starts_with("driver of web.2 has failed")).await;
    // It is over when it succeeds, and health says that too.
    (house.fake.state().down, house.fake.state().slow) = (false, false);
    assert_eq!(house.end(id).await.verdict, Some(Verdict::Promoted));
    let begun = Instant::now();
    while !troubles(&house).await.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", troubles(&house).await);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
