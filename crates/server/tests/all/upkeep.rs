//! Images that are kept patched by themselves: over a world in memory, with restarts wherever they fall.

use crate::common::*;
use crate::keeper::*;
use api::control::*;
use model::*;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_newer_is_baked_tested_and_rolled_out_tier_by_tier() {
    let keeper = Keeper::new(vec![check("runs", "true")]).await;
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.stands("b").await;
    keeper.is('a', "retired").await;
    let b = keeper.state_of('b').await.unwrap();
    assert_eq!(
        (b.state.as_str(), &b.changes[..], &b.cves[..]),
        ("current", &["openssl a -> b".to_string()][..], &["CVE-2026-000b".to_string()][..])
    );
    assert!(b.story.iter().any(|(_, t)| t == "tested: passed runs"), "{:?}", b.story);
    let rotations: Vec<RotationStatus> = keeper.house.client().get("/v1/rotations").await.unwrap();
    let opened = |service: &str| rotations.iter().find(|r| r.service.as_str() == service && r.to.release.image == digest('b')).unwrap();
    let (worker, web) = (opened("worker"), opened("web"));
    assert!(worker.closed.unwrap() <= web.opened, "the workers' tier first");
    assert_eq!((web.to.release.number, &web.to.release.run), (2, &vec!["serve".to_string()]), "nothing but the image differs");
    let lines: Vec<EventLine> = keeper.house.client().get("/v1/rotations/web.2/events?from=0").await.unwrap();
    let Event::Opened(opened) = &lines[0].event else { panic!() };
    assert_eq!(opened.why, "rollout.3: image base is patched: openssl a -> b (fixes CVE-2026-000b)");
    // The test's instance is gone.
    keeper.until("the test's end", async || keeper.house.fake.running().keys().all(|g| !g.starts_with("image-"))).await;
    let rows: Vec<ImageRow> = keeper.house.client().get("/v1/images").await.unwrap();
    let row = rows.iter().find(|r| r.digest == digest('b')).unwrap();
    assert_eq!((row.life.as_ref().unwrap().state.as_str(), row.life.as_ref().unwrap().newest), ("current", Some(true)));
}

/// One thread asked everybody's registries in turn: a slow one kept all other images from their fixes, rollbacks and alarms.
#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_keeps_everybody_waiting_holds_up_its_own_images_alone() {
    let keeper = Keeper::new(vec![check("runs", "true")]).await;
    let own = |image: &str, registry: &str| {
        let mut request = request(vec![spec(image, "front", "serve", 1, None)], None);
        let reference = format!("{registry}/app:1");
        let source = ContainerSource { reference, auth: None, ca: None, plain_http: false };
        let recipe = ImageSpec { rebuild: Some("0 */6 * * *".into()), debian: String::new(), oci: Some(source), ..recipe(image) };
        request.images = [(recipe.name.clone(), digest('a'))].into();
        request.file.services.get_mut(&name(image)).unwrap().image = recipe.name.clone();
        request.file.images = [(recipe.name.clone(), recipe)].into();
        request
    };
    let slow = ImageName::new("aslow").unwrap();
    keeper.house.deploy(&own("aslow", "slow.example.org")).await.unwrap();
    keeper.house.deploy(&own("beside", "slow.example.org")).await.unwrap();
    keeper.bakery.set(|s| s.held = [(slow.clone(), false)].into());
    keeper.until("it is asked", async || keeper.bakery.state.lock().unwrap().held[&slow]).await;
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.stands("b").await;
    keeper.house.fake.state().sick.insert(digest('c'));
    keeper.bakery.set(|s| s.newest = 'c');
    keeper.is('c', "bad").await;
    keeper.stands("b").await;
    let waits = async || keeper.house.client().get::<ImageHistory>("/v1/images/beside/history").await.unwrap().waits;
    keeper.until("its turn", async || waits().await.is_some_and(|w| w.why == "slow.example.org is asked for another image first")).await;
    // Once it answers, the other one's turn comes.
    keeper.bakery.set(|s| s.held.clear());
    keeper.until("an answer", async || waits().await.is_some_and(|w| !w.why.contains("another image first"))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_goes_back_everywhere_and_is_not_tried_again_until_it_differs() {
    let keeper = Keeper::new(vec![check("runs", "true")]).await;
    keeper.house.fake.state().sick.insert(digest('c'));
    keeper.bakery.set(|s| s.newest = 'c');
    keeper.is('c', "bad").await;
    keeper.stands("a").await;
    let told = keeper.state_of('c').await.unwrap().story.pop().unwrap().1;
    assert!(told.starts_with("bad: rollout.2: worker was rolled back"), "{told}");
    let looks = keeper.bakery.state.lock().unwrap().looks;
    keeper.until("three more looks", async || keeper.bakery.state.lock().unwrap().looks > looks + 3).await;
    assert_eq!(keeper.bakery.state.lock().unwrap().bakes.get(&'c'), Some(&1));
    assert_eq!((keeper.on().await, keeper.bakery.state.lock().unwrap().current.clone()), ("aa".to_string(), Some(digest('a'))));
    assert_eq!(keeper.history().await.newest, Some(false));
    keeper
        .until("what it waits for", async || {
            keeper.history().await.waits.is_some_and(|w| w.why.contains("not tried again until its packages differ"))
        })
        .await;
    // Somebody who knows better asks for it: it is tried once more, and is as bad as before.
    let again = RebuildRequest { again: true, digest: None };
    let _: serde_json::Value = keeper.house.client().post("/v1/images/base/rebuild", &again).await.unwrap();
    keeper
        .until("a second end", async || {
            keeper.state_of('c').await.unwrap().story.iter().filter(|(_, t)| t.starts_with("bad: rollout")).count() == 2
        })
        .await;
    keeper.stands("a").await;
    keeper.bakery.set(|s| s.newest = 'd');
    keeper.stands("d").await;
    // One that cannot be baked leaves everything as it is, and says so.
    keeper.bakery.set(|s| (s.newest, s.hopeless) = ('e', vec!['e']));
    keeper.until("an alarm", async || keeper.history().await.alarms.iter().any(|a| a.contains("a script of the package x failed"))).await;
    assert_eq!(keeper.on().await, "dd");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_its_check_is_never_current() {
    let keeper = Keeper::new(vec![check("runs", "true"), check("never", "false")]).await;
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.is('b', "bad").await;
    let told = keeper.state_of('b').await.unwrap().story.pop().unwrap().1;
    assert_eq!(told, "bad: check never failed: exit 1");
    assert_eq!((keeper.on().await, keeper.bakery.state.lock().unwrap().current.clone()), ("aa".to_string(), Some(digest('a'))));
    let rotations: Vec<RotationStatus> = keeper.house.client().get("/v1/rotations").await.unwrap();
    assert_eq!(rotations.len(), 2, "only the first deploy");
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_wherever_they_fall_change_nothing() {
    let mut keeper = Keeper::new(vec![check("runs", "true")]).await;
    keeper.house.fake.state().sick.insert(digest('c'));
    for (round, newest) in "bcdef".chars().enumerate() {
        keeper.bakery.set(|s| s.newest = newest);
        for n in 0..12u64 {
            tokio::time::sleep(Duration::from_millis((n * 37 + round as u64 * 23) % 190)).await;
            keeper.restart().await;
        }
        if newest == 'c' {
            keeper.is('c', "bad").await;
            keeper.stands("b").await;
        } else {
            keeper.stands(&newest.to_string()).await;
        }
    }
    for (letter, state) in [('a', "retired"), ('b', "retired"), ('c', "bad"), ('d', "retired"), ('e', "retired"), ('f', "current")] {
        keeper.is(letter, state).await;
    }
    // What a test of an image left behind when its serve was killed is found and removed.
    keeper.until("two groups", async || keeper.house.fake.running().len() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_image_is_refused_told_and_replaced() {
    let keeper = Keeper::new(Vec::new()).await;
    keeper.bakery.set(|s| s.newest = 'b');
    keeper.stands("b").await;
    let revoke = async |digest: &str, replace: bool| -> Result<RevokeAnswer, Fault> {
        let request = RevokeRequest { digest: digest.into(), why: "a key was baked in".into(), replace };
        keeper.house.client().post("/v1/images/revoke", &request).await
    };
    for (bad, code) in [("", "bad-digest"), ("bbb", "bad-digest"), ("zzzzzzzz", "bad-digest"), ("123456", "not-found")] {
        assert_eq!(revoke(bad, false).await.unwrap_err().code, code, "{bad}");
    }
    let unsaid = RevokeRequest { digest: "bbbbbb".into(), why: " ".into(), replace: false };
    let fault = keeper.house.client().post::<_, RevokeAnswer>("/v1/images/revoke", &unsaid).await.unwrap_err();
    assert_eq!(fault.code, "bad-reason", "revoked without a reason");
    let begun = Instant::now();
    let answer = loop {
        match revoke("bbbbbb", false).await {
            Err(fault) if fault.code == "busy" && begun.elapsed() < Duration::from_secs(10) => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            answer => break answer.unwrap(),
        }
    };
    assert_eq!((answer.services.len(), answer.current, answer.replaced), (2, Some(digest('a')), false));
    let mut request = web("serve");
    request.images.insert(ImageName::new("base").unwrap(), digest('b'));
    let fault = keeper.house.deploy(&request).await.unwrap_err();
    assert_eq!(fault.code, "image-revoked");
    assert!(fault.message.contains("a key was baked in"), "{}", fault.message);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(keeper.on().await, "bb", "nothing moves by itself");
    assert!(answer.instances.values().sum::<u32>() >= 2, "{:?}", answer.instances);
    let upkeep: Vec<ImageUpkeep> = keeper.house.client().get("/v1/images/upkeep").await.unwrap();
    let [one] = &upkeep[..] else { panic!("{upkeep:?}") };
    assert_eq!((&one.current, one.services.len(), one.next_look.is_some()), (&Some(digest('a')), 2, true));
    assert!(one.alarms.iter().any(|a| a.contains("a key was baked in")), "{one:?}");
    assert_eq!(one.held_up.as_ref().map(|(d, state, _)| (d.clone(), state.as_str())), Some((digest('b'), "revoked")));
    assert!(revoke("bbbbbb", true).await.unwrap().replaced);
    keeper.stands("a").await;
    let begun = Instant::now();
    loop {
        let events: Vec<ImageEvent> = keeper.house.client().get("/v1/images/events").await.unwrap();
        assert!(events.is_sorted_by_key(|e| e.at));
        let alarms: Vec<&str> = events.iter().filter(|e| e.alarm).map(|e| e.text.as_str()).collect();
        let of = |start: &str| alarms.iter().any(|a| a.starts_with(start) && a.contains("a key was baked in"));
        if of("alarm: ") && of("over after ") {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{alarms:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // Whoever asks from the time of the last event on gets every event of that millisecond.
    let all: Vec<ImageEvent> = keeper.house.client().get("/v1/images/events").await.unwrap();
    for at in all.iter().map(|e| e.at) {
        let from: Vec<ImageEvent> = keeper.house.client().get(&format!("/v1/images/events?from={}", at.0)).await.unwrap();
        let same = |events: &[ImageEvent]| events.iter().filter(|e| e.at == at).count();
        assert!(same(&from) >= same(&all), "events of {at:?} are lost");
    }
    let swept: GcAnswer = keeper.house.client().post("/v1/gc", &()).await.unwrap();
    assert!(!swept.removed.contains(&digest('a')));
}

/// A recipe decides what every service on its image runs. A request that only removes has a file too, and what it says of images was
/// recorded unchecked: who could deploy one service could so run any script in the images of all.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_brings_in_no_recipe() {
    let mut keeper = Keeper::new(Vec::new()).await;
    let recipe = |keeper: &Keeper| keeper.life().recipe.unwrap();
    let before = recipe(&keeper);
    let client = keeper.deployer_of_web().await;
    let mut hostile = before.clone();
    hostile.packages.push("a-package-of-mine".into());
    let mut request = request(Vec::new(), None);
    request.file.images = [(hostile.name.clone(), hostile)].into();
    request.file.tiers.clear();
    request.remove = [name("web")].into();
    let refused = client.post::<_, api::control::Opened>("/v1/deploy", &request).await;
    assert_eq!(recipe(&keeper), before, "the recipe of a caller who may give none: {refused:?}");
    assert_eq!(refused.unwrap_err().code, "policy-recipe");
    // With the recipe that the host has, it removes.
    request.file.images = [(before.name.clone(), before.clone())].into();
    assert_eq!(client.post::<_, api::control::Opened>("/v1/deploy", &request).await.unwrap().removing.len(), 1);
    assert_eq!(recipe(&keeper), before);
}

/// In which order tiers follow a new image concerns every service; who may deploy one of them does not decide it.
#[tokio::test(flavor = "multi_thread")]
async fn the_order_of_tiers_is_not_for_who_deploys_one_service() {
    let mut keeper = Keeper::new(Vec::new()).await;
    let life = |keeper: &Keeper| keeper.life();
    let before = life(&keeper);
    assert_eq!(before.tiers.len(), 2, "{:?}", before.tiers);
    let client = keeper.deployer_of_web().await;
    let mut request = request(vec![spec("web", "front", "serve", 2, Some("127.0.0.1:8080"))], Some("web"));
    request.file.images.insert(ImageName::new("base").unwrap(), before.recipe.clone().unwrap());
    request.file.tiers.reverse();
    let _: api::control::Opened = client.post("/v1/deploy", &request).await.unwrap();
    assert_eq!(life(&keeper).tiers, before.tiers);
    // The administrator's word counts.
    keeper.house.deploy(&request).await.unwrap();
    assert_eq!(life(&keeper).tiers, request.file.tiers);
    images_for(&client, &keeper).await;
}

/// `status` and `why` for a token of one service, and how far its image is: of the other service not a word.
async fn images_for(client: &api::Client, keeper: &Keeper) {
    let own: Vec<ImageUpkeep> = client.get("/v1/images/upkeep").await.unwrap();
    assert_eq!(own.iter().flat_map(|one| &one.services).map(|(s, _)| s.as_str()).collect::<Vec<_>>(), ["web"]);
    // What a rollout says of an image names every service that it turned.
    keeper.bakery.set(|mirror| mirror.newest = 'b');
    keeper.stands("b").await;
    keeper
        .until("its story is told", async || keeper.state_of('b').await.is_some_and(|i| i.story.iter().any(|(_, t)| t.contains("worker"))))
        .await;
    let history: ImageHistory = client.get("/v1/images/base/history").await.unwrap();
    let text = format!("{history:?}{:?}", client.get::<Vec<ImageUpkeep>>("/v1/images/upkeep").await.unwrap());
    assert!(!text.contains("worker"), "{text}");
    let newest = history.images.iter().find(|one| one.digest == digest('b')).unwrap();
    assert_eq!((newest.state.as_str(), newest.services.as_slice()), ("current", &[name("web")][..]));
    let texts: Vec<&str> = newest.story.iter().map(|(_, text)| text.as_str()).collect();
    assert!(
        texts.contains(&"made current: every check passed") && texts.iter().any(|t| t.starts_with("(hidden: names services")),
        "{texts:?}"
    );
    // An image of none of its services; and what concerns all says who can.
    let grant = model::access::Grant { role: model::access::Role::Read, services: [name("nobody")].into(), tiers: Default::default() };
    let token = keeper.house.token("eyes", grant).await;
    let other = api::Client::tcp(keeper.house.server.as_ref().unwrap().address().unwrap().to_string()).token(Some(token.clone()));
    assert_eq!(other.get::<Vec<ImageUpkeep>>("/v1/images/upkeep").await.unwrap(), []);
    assert_eq!(other.get::<ImageHistory>("/v1/images/base/history").await.unwrap_err().code, "forbidden");
    let refused =
        client.post::<_, serde_json::Value>("/v1/images/base/rebuild", &RebuildRequest { again: false, digest: None }).await.unwrap_err();
    assert_eq!(refused.code, "forbidden");
    assert!(refused.hint.unwrap().contains("administrator"));
}

/// Killed in the middle of a bake, a control plane began it again and said nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_bake_that_was_killed_is_a_failure_on_record_and_tried_again() {
    let mut keeper = Keeper::new(Vec::new()).await;
    keeper.house.stop().await;
    keeper.bakery.set(|s| s.newest = 'b');
    let repository = store::Repository::open(&Layout::new(keeper.house.dir.path())).unwrap();
    let mut life = keeper.life();
    life.baking = Some(lifecycle::Baking { begun: Time(1), inputs: digest('b') });
    repository.save(&life).unwrap();
    keeper.start().await;
    is_on_record_and_tried_again(&keeper).await;
}

/// Its thread ends with it, and the control plane goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_bake_that_panics_is_a_failure_on_record_and_tried_again() {
    let keeper = Keeper::new(Vec::new()).await;
    keeper.bakery.set(|s| (s.newest, s.panics) = ('b', Some('b')));
    is_on_record_and_tried_again(&keeper).await;
    assert_eq!(keeper.bakery.state.lock().unwrap().bakes.get(&'b'), Some(&2));
}

async fn is_on_record_and_tried_again(keeper: &Keeper) {
    keeper.stands("b").await;
    let told = async |start: &str| {
        let events: Vec<ImageEvent> = keeper.house.client().get("/v1/images/events").await.unwrap();
        let is_told = |e: &ImageEvent| e.alarm && e.text.starts_with(start) && e.text.ends_with("ended in the middle of it");
        events.iter().any(is_told)
    };
    assert!(told("alarm: base: the bake fails").await);
    keeper.until("its end", async || told("over after").await).await;
    assert_eq!(keeper.life().baking, None);
}
