//! Restarts in the middle, two at once, a world that does not answer, steps by hand, live events.

use crate::common::*;
use api::control::{Opened, *};
use model::*;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_the_middle_goes_on_within_two_seconds() {
    let mut house = House::new().await;
    house.through(&web("one")).await;
    house.fake.state().slow = true;
    let opened = house.deploy(&web("two")).await.unwrap();
    let id = opened.rotations[0].clone();
    house.until(&id, |r| r.waits.is_some()).await;
    house.stop().await;
    house.fake.state().slow = false;
    let begun = Instant::now();
    house.start().await;
    let before = house.rotation(&id).await;
    let r = house.until(&id, |r| r.events > before.events || r.verdict.is_some()).await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?} {r:#?}", begun.elapsed());
    assert_eq!(house.end(&id).await.verdict, Some(Verdict::Promoted));
    assert_eq!(house.fake.state().launched, 6, "something was launched twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_restarts_at_odd_moments_change_nothing_in_the_end() {
    let mut house = House::new().await;
    house.through(&web("one")).await;
    let opened = house.deploy(&web("two")).await.unwrap();
    for n in 0..20_u64 {
        // Odd moments, the same in every run.
        tokio::time::sleep(Duration::from_millis((n * 37) % 23)).await;
        house.stop().await;
        house.start().await;
    }
    assert_eq!(house.end(&opened.rotations[0]).await.verdict, Some(Verdict::Promoted));
    assert_eq!(house.fake.running(), [("web-r2-2".to_string(), 3)].into());
    assert_eq!(house.fake.state().launched, 6, "something was launched twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_after_a_restart() {
    let mut house = House::new().await;
    house.fake.state().slow = true;
    let both = request(vec![spec("web", "front", "one", 2, Some("127.0.0.1:8080")), spec("worker", "back", "one", 1, None)], None);
    let opened = house.deploy(&both).await.unwrap();
    house.stop().await;
    house.fake.state().slow = false;
    house.start().await;
    house.end(&opened.rotations[0]).await;
    let web = RotationId::new("web.1").unwrap();
    let begun = Instant::now();
    while house.client().get::<RotationStatus>("/v1/rotations/web.1").await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(house.end(&web).await.verdict, Some(Verdict::Promoted));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_world_that_does_not_answer_is_waited_for_and_told() {
    let house = House::new().await;
    house.through(&web("one")).await;
    house.fake.state().slow = true;
    let opened = house.deploy(&web("two")).await.unwrap();
    let id = &opened.rotations[0];
    house.until(id, |r| r.waits.is_some()).await;
    house.fake.state().down = true;
    let r = house.until(id, |r| r.waits.as_ref().is_some_and(|w| w.why.contains("the fake keeper is down"))).await;
    assert_eq!(r.verdict, None);
    let status = house.status("web").await;
    assert!(status.trouble.unwrap().contains("down"));
    assert_eq!(status.rotation.unwrap().id, *id);
    let fault = house.client().get::<Vec<InstanceRow>>("/v1/instances").await.unwrap_err();
    assert_eq!(fault.blame, Blame::World);
    let other = request(vec![spec("worker", "back", "one", 1, None)], Some("worker"));
    house.fake.state().slow = false;
    house.fake.state().down = false;
    assert_eq!(house.end(id).await.verdict, Some(Verdict::Promoted));
    house.fake.state().down = true;
    house.through_unreachable(&other).await;
    house.fake.state().down = false;
    assert_eq!(house.through(&other).await.verdict, Some(Verdict::Promoted));
}

impl House {
    async fn through_unreachable(&self, request: &DeployRequest) {
        // The first deploy of a service has nothing to look at; it opens, and waits.
        match self.deploy(request).await {
            Err(fault) => assert_eq!(fault.blame, Blame::World),
            Ok(opened) => {
                let id = &opened.rotations[0];
                self.until(id, |r| r.waits.as_ref().is_some_and(|w| w.why.contains("down"))).await;
                self.ask(id, RotationCommand::Stop).await;
                assert_eq!(self.end(id).await.verdict, Some(Verdict::Stopped));
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_at_once_are_refused() {
    let mut house = House::new().await;
    let fault = server::start(house.config()).await.err().unwrap();
    assert_eq!((fault.code.as_str(), fault.blame), ("already-served", Blame::Yours));
    assert!(fault.message.contains(&std::process::id().to_string()));
    let health: api::paths::Health = house.client().get("/v1/health").await.unwrap();
    assert_eq!(health.role, "serve", "the refused one took the socket away");
    // A dead one's socket and lock file are no hindrance.
    house.stop().await;
    assert!(Layout::new(house.dir.path()).api_socket().exists());
    house.start().await;
    house.client().get::<api::paths::Health>("/v1/health").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_database_is_told_at_the_start_and_the_lock_is_free_again() {
    let mut house = House::new().await;
    house.through(&web("one")).await;
    house.stop().await;
    let db = Layout::new(house.dir.path()).database();
    let whole = std::fs::read(&db).unwrap();
    std::fs::write(&db, &whole[..whole.len() / 2]).unwrap();
    let fault = start(house.config()).await.err().unwrap();
    assert_eq!((fault.code.as_str(), fault.blame), ("database-damaged", Blame::World));
    std::fs::write(&db, &whole).unwrap();
    house.start().await;
    assert_eq!(house.status("web").await.active.unwrap().release.number, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotten_journal_is_its_own_services_trouble() {
    let mut house = House::new().await;
    house.through(&web("one")).await;
    house.through(&request(vec![spec("worker", "back", "one", 1, None)], Some("worker"))).await;
    house.stop().await;
    let db = Layout::new(house.dir.path()).database();
    let (good, rotten) = (b"deploy of worker", b"deploy of wOrker");
    let mut bytes = std::fs::read(&db).unwrap();
    let places: Vec<usize> = (0..bytes.len() - good.len()).filter(|i| bytes[*i..].starts_with(good)).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|i| bytes[i..i + rotten.len()].copy_from_slice(rotten));
    std::fs::write(&db, &bytes).unwrap();
    house.start().await;
    let services: Vec<ServiceStatus> = house.client().get("/v1/services").await.unwrap();
    let troubles: Vec<_> = services.iter().map(|s| (s.service.as_str(), s.trouble.is_some())).collect();
    assert_eq!(troubles, [("web", false), ("worker", true)]);
    assert!(house.status("worker").await.trouble.unwrap().contains("worker.1/0"));
    let fault =
        house.client().post::<_, Opened>("/v1/deploy", &request(vec![spec("worker", "back", "two", 1, None)], Some("worker"))).await;
    let fault = fault.unwrap_err();
    assert_eq!((fault.code.as_str(), fault.blame), ("database-damaged", Blame::World));
    assert!(fault.message.contains("worker.1/0") && fault.hint.is_some(), "{fault:?}");
    let health: api::paths::Health = house.client().get("/v1/health").await.unwrap();
    assert!(health.troubles.iter().any(|t| t.contains("worker.1/0")), "{:?}", health.troubles);
    assert_eq!(house.through(&web("two")).await.verdict, Some(Verdict::Promoted));
    let fault = house.client().post::<_, GcAnswer>("/v1/gc", &()).await.unwrap_err();
    assert_eq!(fault.code, "database-damaged", "what may be in use is not known, so nothing is removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let name = server::lease_holder(&layout).unwrap();
    assert_eq!(server::lease_holder(&layout).unwrap(), name);
    for garbage in [&b""[..], b"node-1", &[0xff; 41], &[b'x'; 4000]] {
        std::fs::write(dir.path().join("control/node"), garbage).unwrap();
        let new = server::lease_holder(&layout).unwrap();
        assert_ne!(new, name);
        assert_eq!(server::lease_holder(&layout).unwrap(), new);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_are_checked_and_run_and_a_second_run_changes_nothing() {
    let house = House::new().await;
    let r = house.through(&web("one")).await;
    let step = |path: &'static str, request: StepRequest| {
        let client = house.client();
        async move { client.post::<_, StepAnswer>(path, &request).await }
    };
    let of = |step| StepRequest::Of { rotation: r.id.clone(), step };
    for n in 0..r.plan.steps.len() as u32 {
        let answer = step("/v1/steps/check", of(n)).await.unwrap();
        assert_eq!(answer.state, StepState::Satisfied, "{answer:?}");
        assert_eq!(step("/v1/steps/run", of(n)).await.unwrap().state, StepState::Satisfied);
    }
    assert_eq!(step("/v1/steps/check", of(99)).await.unwrap_err().code, "not-found");

    let group = GroupName::new("web-r1-1").unwrap();
    let hand = |step| StepRequest::Hand { service: name("web"), step };
    let scale = Step::Scale { group: group.clone(), count: 4 };
    assert_eq!(step("/v1/steps/check", hand(scale.clone())).await.unwrap().state, StepState::NotYet);
    let counters = |house: &House| {
        let state = house.fake.state();
        (state.launched, state.swaps)
    };
    let route = RouteName::new("web").unwrap();
    let image = ImageName::new("base").unwrap();
    for one in [
        scale.clone(),
        Step::Shift { route, weights: [(group.clone(), 100)].into() },
        Step::Bake { image, objects: vec![digest('a')] },
        Step::Soak { group: group.clone(), for_ms: 20, errors_ppm: 10_000, min_requests: 0, few_requests: FewRequests::GoOn },
        Step::Check { group: GroupName::new("web-r1-1-c9").unwrap(), of: group.clone(), command: vec!["true".into()], within_ms: 5_000 },
    ] {
        let first = step("/v1/steps/run", hand(one.clone())).await.unwrap();
        assert_eq!(first.state, StepState::Satisfied, "{first:?}");
        let after = counters(&house);
        let second = step("/v1/steps/run", hand(one.clone())).await.unwrap();
        assert_eq!(second.state, StepState::Satisfied, "{second:?}");
        assert_eq!(counters(&house), after, "the second run of {one:?} changed the world");
        assert_eq!(house.rotation(&second.rotation.unwrap()).await.direction, Direction::Single);
    }
    assert_eq!(house.fake.running()["web-r1-1"], 4);
    assert_eq!(step("/v1/steps/check", hand(scale)).await.unwrap().state, StepState::Satisfied);
    let gone = step("/v1/steps/run", hand(Step::Retire { group: group.clone() })).await.unwrap();
    assert_eq!(gone.state, StepState::Refused, "customers' only servers: {gone:?}");
    let nobody = Step::Scale { group: GroupName::new("web-r9-9").unwrap(), count: 1 };
    assert_eq!(step("/v1/steps/run", hand(nobody)).await.unwrap().state, StepState::Refused);
    assert_eq!(house.status("web").await.active.unwrap().group, group);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_followed_live_and_from_a_number() {
    let house = House::new().await;
    let mut live = house.client().lines("/v1/events?follow=true").await.unwrap();
    let r = house.through(&web("one")).await;
    let mut seen: Vec<Numbered> = Vec::new();
    while !matches!(seen.last().map(|n| &n.line.event), Some(Event::Closed { .. })) {
        let next = tokio::time::timeout(Duration::from_secs(20), live.next::<Numbered>()).await.unwrap();
        seen.push(next.unwrap().unwrap());
    }
    assert_eq!(seen.iter().map(|n| n.number).collect::<Vec<_>>(), (1..=r.events).collect::<Vec<_>>());
    let lines: Vec<EventLine> = house.client().get(&format!("/v1/rotations/{}/events?from=0", r.id)).await.unwrap();
    assert_eq!(seen.iter().map(|n| n.line.clone()).collect::<Vec<_>>(), lines);
    let mut rest = house.client().lines(&format!("/v1/events?after={}", r.events - 1)).await.unwrap();
    assert_eq!(rest.next::<Numbered>().await.unwrap().as_ref(), seen.last());
    assert_eq!(rest.next::<Numbered>().await.unwrap(), None);
}
