//! Commands to rollouts, rollbacks planned before they are made, and what a deploy keeps or removes.

use crate::common::*;
use api::control::{CommandRequest, DeployRequest, PlanAnswer, RollbackRequest, RolloutCommanded};
use model::*;
use std::time::Duration;

fn shop(program: &str) -> DeployRequest {
    request(vec![spec("web", "front", program, 2, Some("127.0.0.1:8080")), spec("worker", "back", program, 1, None)], None)
}

async fn seen(house: &House, id: &RolloutId) -> RolloutSeen {
    house.client().get(&format!("/v1/rollouts/{id}")).await.unwrap()
}

async fn command(house: &House, id: &RolloutId, command: RotationCommand) -> Result<RolloutCommanded, Fault> {
    house.client().post(&format!("/v1/rollouts/{id}/command"), &CommandRequest { command }).await
}

async fn until(house: &House, id: &RolloutId, holds: impl Fn(&RolloutSeen) -> bool) -> RolloutSeen {
    for _ in 0..2_000 {
        let now = seen(house, id).await;
        if holds(&now) {
            return now;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", seen(house, id).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_rollout_opens_no_further_tier_until_it_is_resumed() {
    let house = House::new().await;
    house.fake.state().slow = true;
    let id = house.deploy(&shop("one")).await.unwrap().rollout.unwrap();
    let done = command(&house, &id, RotationCommand::Pause).await.unwrap();
    assert_eq!((done.rotations.len(), done.waiting.as_slice(), done.promoted.len()), (1, &[name("web")][..], 0));
    assert!(seen(&house, &id).await.paused.unwrap().starts_with("root"));
    // The rotation goes on, by its own command; the tier behind it still waits.
    house.fake.state().slow = false;
    let _: serde_json::Value = house
        .client()
        .post(&format!("/v1/rotations/{}/command", done.rotations[0]), &CommandRequest { command: RotationCommand::Resume })
        .await
        .unwrap();
    house.end(&done.rotations[0]).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let held = seen(&house, &id).await;
    assert!(held.end.is_none() && held.rotations.len() == 1, "{held:?}");
    let list: Vec<RolloutSeen> = house.client().get("/v1/rollouts").await.unwrap();
    assert_eq!(list, [held]);

    let done = command(&house, &id, RotationCommand::Resume).await.unwrap();
    assert_eq!((done.rotations.len(), done.promoted.as_slice()), (0, &[name("worker")][..]));
    let end = until(&house, &id, |now| now.end.is_some()).await;
    assert_eq!((end.end, end.paused, end.rotations.len()), (Some(RolloutEnd::Promoted), None, 2));
    assert_eq!(command(&house, &id, RotationCommand::Pause).await.unwrap_err().code, "closed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_rollout_rolls_back_what_is_open_and_begins_nothing() {
    let house = House::new().await;
    let first = house.deploy(&shop("one")).await.unwrap().rollout.unwrap();
    until(&house, &first, |now| now.end.is_some()).await;
    house.fake.state().slow = true;
    let id = house.deploy(&shop("two")).await.unwrap().rollout.unwrap();
    let done = command(&house, &id, RotationCommand::Rollback).await.unwrap();
    house.fake.state().slow = false;
    assert_eq!(house.end(&done.rotations[0]).await.verdict, Some(Verdict::RolledBack));
    let end = seen(&house, &id).await;
    assert_eq!((end.end, end.rotations.len()), (Some(RolloutEnd::Halted), 1));
    assert!(end.why.unwrap().starts_with("aborted by root"));
    assert_eq!(house.status("web").await.active.unwrap().release.number, 1);
    let nobody: RolloutId = "rollout.99".parse().unwrap();
    assert_eq!(command(&house, &nobody, RotationCommand::Stop).await.unwrap_err().code, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollback_is_planned_as_it_is_made() {
    let house = House::new().await;
    house.through(&web("one")).await;
    house.through(&web("two")).await;
    let request = RollbackRequest { service: name("web"), to: None };
    let planned: PlanAnswer = house.client().post("/v1/rollback/plan", &request).await.unwrap();
    assert_eq!((planned.rotations[0].to.release.number, planned.rotations.len()), (1, 1));
    assert_eq!(house.status("web").await.rotation, None, "a plan opened something");
}

#[tokio::test(flavor = "multi_thread")]
async fn code_is_kept_unless_somebody_says_otherwise() {
    let house = House::new().await;
    house.fake.state().objects.insert(digest('c'));
    house.fake.state().artifacts.insert(digest('c'));
    let mut with = web("one");
    with.artifacts.insert(name("web"), digest('c'));
    house.through(&with).await;
    let kept = DeployRequest { keep_artifacts: true, ..web("two") };
    let planned: PlanAnswer = house.client().post("/v1/plan", &kept).await.unwrap();
    assert!(planned.notes.iter().any(|note| note.text.starts_with("keeps artifact cccccccccccc of web@r1")), "{:?}", planned.notes);
    house.through(&kept).await;
    let artifact = async || house.status("web").await.active.unwrap().release.artifact;
    assert_eq!(artifact().await, Some(digest('c')));
    house.through(&web("three")).await;
    assert_eq!(artifact().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_service_is_removed_and_a_rollback_of_it_has_nothing_against_it() {
    let house = House::new().await;
    house.through(&web("one")).await;
    let nothing = DeployRequest { remove: vec![name("web")], ..request(Vec::new(), None) };
    let planned: PlanAnswer = house.client().post("/v1/plan", &nothing).await.unwrap();
    assert!(planned.removals[0].plan.is_some());
    let id = house.deploy(&nothing).await.unwrap().removing.remove(0);
    let closed = house.end(&id).await;
    assert_eq!((closed.verdict, closed.why.as_str()), (Some(Verdict::RolledBack), "web is removed: its servers are retired"));
    let back: PlanAnswer = house.client().post("/v1/rollback/plan", &RollbackRequest { service: name("web"), to: None }).await.unwrap();
    assert_eq!((back.rotations[0].to.release.number, back.notes), (1, Vec::new()));
}
