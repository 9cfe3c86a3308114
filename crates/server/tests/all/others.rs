//! What belongs to another service, or to nobody any more, by the time it matters.

use crate::common::*;
use api::control::*;
use model::*;
use std::time::{Duration, Instant};

fn worker(program: &str) -> DeployRequest {
    request(vec![spec("worker", "back", program, 2, None)], Some("worker"))
}

async fn step(house: &House, way: &str, service: &str, step: Step) -> Result<StepAnswer, Fault> {
    let request = StepRequest::Hand { service: name(service), step };
    house.client().post(&format!("/v1/steps/{way}"), &request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_by_hand_touches_no_group_of_another_service() {
    let house = House::new().await;
    house.through(&web("one")).await;
    house.through(&worker("one")).await;
    let group = GroupName::new("worker-r1-1").unwrap();
    let of_web = GroupName::new("web-r1-1").unwrap();
    let steps = [
        Step::Retire { group: group.clone() },
        Step::Scale { group: group.clone(), count: 0 },
        Step::Drain { group: group.clone(), within_ms: 1 },
        Step::Soak { group: group.clone(), for_ms: 1, errors_ppm: 0, min_requests: 0, few_requests: FewRequests::GoOn },
        Step::Check { group: group.clone(), of: of_web.clone(), command: vec!["true".into()], within_ms: 1_000 },
        Step::Check { group: GroupName::new("web-r1-1-c9").unwrap(), of: group.clone(), command: vec!["true".into()], within_ms: 1_000 },
        Step::Shift { route: RouteName::new("web").unwrap(), weights: [(group.clone(), 100)].into() },
        Step::Retire { group: GroupName::new("worker-r9-9").unwrap() },
    ];
    for wanted in steps {
        for way in ["check", "run"] {
            let fault = step(&house, way, "web", wanted.clone()).await.expect_err(&format!("{way} {wanted:?}"));
            assert_eq!(fault.code, "another-service", "{way} {wanted:?}: {fault:?}");
        }
    }
    assert_eq!(house.fake.running(), [("web-r1-1".to_string(), 3), ("worker-r1-1".to_string(), 2)].into());
    let rotations: Vec<RotationStatus> = house.client().get("/v1/rotations?service=web").await.unwrap();
    assert_eq!(rotations.len(), 1, "nothing was opened");
}

/// A journal of before: a step that names another service's group was opened, and stopped since it never came true.
#[tokio::test(flavor = "multi_thread")]
async fn a_journal_that_names_another_services_group_wedges_nothing() {
    let mut house = House::new().await;
    house.through(&web("one")).await;
    house.through(&worker("one")).await;
    house.stop().await;
    {
        let store = journal::Database::open(&Layout::new(house.dir.path()).database()).unwrap();
        let active = store.read(|r| r.active(&name("web"))).unwrap().unwrap();
        let row = store.read(|r| r.service(&name("web"))).unwrap().unwrap();
        let step = Step::Retire { group: GroupName::new("worker-r1-1").unwrap() };
        let plan = Plan {
            direction: Direction::Single,
            steps: vec![PlannedStep { step, wave: None, capacity: 3 }],
            peak: 3,
            floor: 0,
            ..Plan::default()
        };
        let open = |tx: &journal::Tx<'_>| {
            tx.open_rotation(&journal::Origin { service: &name("web"), rollout: None, at: Time(1) }, |_, from| {
                Ok(model::Opened { spec: row.spec.clone(), from, to: active.clone(), plan: plan.clone(), why: "by hand".into() })
            })
        };
        store.write(open).unwrap();
    }
    house.start().await;
    let id = RotationId::new("web.2").unwrap();
    house.until(&id, |r| r.waits.is_some() || r.verdict.is_some()).await;
    let _ = house
        .client()
        .post::<_, serde_json::Value>("/v1/rotations/web.2/command", &CommandRequest { command: RotationCommand::Stop })
        .await;
    house.end(&id).await;
    // The next rotations of both services go through, and nobody retires the other's servers.
    let r = house.through(&web("two")).await;
    assert_eq!(r.verdict, Some(Verdict::Promoted), "{r:#?}");
    assert_eq!(house.fake.running(), [("web-r2-3".to_string(), 3), ("worker-r1-1".to_string(), 2)].into());
    assert_eq!(house.through(&worker("two")).await.verdict, Some(Verdict::Promoted));
}

async fn rollout_end(house: &House, id: &RolloutId) -> RolloutSeen {
    let begun = Instant::now();
    loop {
        let seen: RolloutSeen = house.client().get(&format!("/v1/rollouts/{id}")).await.unwrap();
        if seen.end.is_some() {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{seen:#?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Between the request and the second tier, somebody takes the listener, or the image goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_later_tier_is_admitted_anew() {
    for image_goes in [false, true] {
        let house = House::new().await;
        house.fake.state().objects.insert(digest('b'));
        house.fake.state().slow = true;
        let both = request(vec![spec("web", "front", "one", 2, Some("127.0.0.1:8080")), spec("worker", "back", "one", 1, None)], None);
        let rollout = house.deploy(&both).await.unwrap().rollout.unwrap();
        // The first tier has looked for its image.
        house.until(&RotationId::new("worker.1").unwrap(), |r| r.cursor > 0).await;
        if image_goes {
            house.fake.state().objects.remove(&digest('a'));
        } else {
            let mut rival = request(vec![spec("rival", "front", "one", 1, Some("127.0.0.1:8080"))], Some("rival"));
            rival.images = [(ImageName::new("base").unwrap(), digest('b'))].into();
            house.deploy(&rival).await.unwrap();
        }
        house.fake.state().slow = false;
        let seen = rollout_end(&house, &rollout).await;
        assert_eq!(seen.end, Some(RolloutEnd::Halted), "{seen:#?}");
        assert_eq!(seen.rotations.len(), 1, "the second tier was begun: {seen:#?}");
        let why = seen.why.unwrap();
        println!("{why}");
        assert!(why.contains(if image_goes { "is not in the store" } else { "listens on 127.0.0.1:8080" }), "{why}");
    }
}
