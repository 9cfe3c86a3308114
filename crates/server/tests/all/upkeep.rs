//! Images that are kept patched by themselves: over a world in memory, with restarts wherever they fall.

use crate::common::*;
use api::control::*;
use lifecycle::Change;
use model::*;
use server::{Config, Factory, Fresh, Made, Pace};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A mirror and a baker of letters: the packages of day `b` give the image `bbb…`.
struct Bakery {
    fake: Arc<Fake>,
    state: Mutex<Mirror>,
}

struct Mirror {
    newest: char,
    current: Option<Digest>,
    down: bool,
    /// Letters that cannot be baked.
    hopeless: Vec<char>,
    looks: u32,
    bakes: BTreeMap<char, u32>,
}

impl Bakery {
    fn new(fake: Arc<Fake>) -> Arc<Bakery> {
        let state = Mirror { newest: 'a', current: Some(digest('a')), down: false, hopeless: Vec::new(), looks: 0, bakes: BTreeMap::new() };
        Arc::new(Bakery { fake, state: Mutex::new(state) })
    }

    fn made(digest: &Digest) -> Made {
        Made { digest: digest.clone(), inputs: digest.clone(), made: Time(1), why: "there was no image of these packages".into() }
    }

    fn set(&self, change: impl FnOnce(&mut Mirror)) {
        change(&mut self.state.lock().unwrap());
    }
}

fn letter(digest: &Digest) -> String {
    digest.hex()[..1].to_string()
}

fn change(from: &Digest, to: &Digest) -> Vec<Change> {
    let all = Change { name: "openssl".into(), from: Some(letter(from)), to: Some(letter(to)) };
    if from == to { Vec::new() } else { vec![all] }
}

impl Factory for Bakery {
    fn fresh(&self, _: &ImageSpec, against: Option<&Digest>) -> Result<Fresh, Fault> {
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Err(Fault::world("mirror-unreachable", "the mirror is down"));
        }
        state.looks += 1;
        let inputs = digest(state.newest);
        Ok(Fresh { behind: against.map(|a| change(a, &inputs)).unwrap_or_default(), inputs, unknown: None })
    }

    fn bake(&self, _: &ImageSpec) -> Result<Made, Fault> {
        let mut state = self.state.lock().unwrap();
        let newest = state.newest;
        *state.bakes.entry(newest).or_default() += 1;
        if state.hopeless.contains(&newest) {
            return Err(Fault::world("maintainer-script-failed", "a script of the package x failed").again(false));
        }
        self.fake.state().objects.insert(digest(newest));
        Ok(Self::made(&digest(newest)))
    }

    fn known(&self, digest: &Digest) -> Result<Made, Fault> {
        Ok(Self::made(digest))
    }

    fn current(&self, _: &ImageName) -> Result<Option<Digest>, Fault> {
        Ok(self.state.lock().unwrap().current.clone())
    }

    fn make_current(&self, _: &ImageName, digest: &Digest) -> Result<(), Fault> {
        self.set(|s| s.current = Some(digest.clone()));
        Ok(())
    }

    fn changes(&self, from: &Digest, to: &Digest) -> Result<Vec<Change>, Fault> {
        Ok(change(from, to))
    }

    fn fixes(&self, _: &Digest, to: &Digest) -> Result<Vec<String>, Fault> {
        Ok(vec![format!("CVE-2026-000{}", letter(to))])
    }
}

/// An hour goes by in a tenth of a second: a day in 2.4 seconds.
const SPEED: u64 = 36_000;

struct Keeper {
    house: House,
    bakery: Arc<Bakery>,
    anchor: Time,
}

impl Keeper {
    async fn new(checks: Vec<ImageCheck>) -> Keeper {
        let mut house = House::new().await;
        house.stop().await;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let bakery = Bakery::new(house.fake.clone());
        let mut keeper = Keeper { house, bakery, anchor: Time(u64::try_from(since.as_millis()).unwrap()) };
        keeper.start().await;
        let mut request =
            request(vec![spec("worker", "back", "work", 1, None), spec("web", "front", "serve", 2, Some("127.0.0.1:8080"))], None);
        let recipe = ImageSpec {
            name: ImageName::new("base").unwrap(),
            base: None,
            debian: "bookworm".into(),
            packages: Vec::new(),
            rebuild: Some("0 */6 * * *".into()),
            max_age_ms: Some(7 * 86_400_000),
            window: None,
            jitter_ms: 0,
            checks,
            custom: Default::default(),
            oci: None,
        };
        request.file.images.insert(recipe.name.clone(), recipe);
        // What fails must fail soon, and what is only slow, on a machine that does much else, must not.
        request.file.services.values_mut().for_each(|s| s.rollout.within_ms = 5_000);
        keeper.house.deploy(&request).await.unwrap();
        keeper.stands("a").await;
        keeper
    }

    async fn start(&mut self) {
        let upkeep = server::Upkeep { factory: self.bakery.clone(), pace: Pace { anchor: self.anchor, speed: SPEED } };
        self.house.server = Some(server::start(Config { upkeep: Some(upkeep), ..self.house.config() }).await.unwrap());
    }

    /// Over TCP, with a token to deploy one service.
    async fn deployer_of_web(&mut self) -> api::Client {
        self.house.stop().await;
        let upkeep = server::Upkeep { factory: self.bakery.clone(), pace: Pace { anchor: self.anchor, speed: SPEED } };
        let listen = Some("127.0.0.1:0".parse().unwrap());
        self.house.server = Some(server::start(Config { upkeep: Some(upkeep), listen, ..self.house.config() }).await.unwrap());
        let grant = model::access::Grant { role: model::access::Role::Deploy, services: [name("web")].into(), tiers: Default::default() };
        let token = self.house.token("ci", grant).await;
        api::Client::tcp(self.house.server.as_ref().unwrap().address().unwrap().to_string()).token(Some(token))
    }

    async fn history(&self) -> ImageHistory {
        self.house.client().get("/v1/images/base/history").await.unwrap()
    }

    /// Letters of the images that worker and web stand on.
    async fn on(&self) -> String {
        let mut text = String::new();
        for service in ["worker", "web"] {
            let active = self.house.status(service).await.active;
            text.push_str(&active.map_or("-".to_string(), |s| letter(&s.release.image)));
        }
        text
    }

    async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !so().await {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what} never came: {} {:#?}", self.on().await, self.history().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Both services stand on it, and nothing is under way.
    async fn stands(&self, letter: &str) {
        let both = letter.repeat(2);
        self.until(letter, async || {
            let quiet = self.house.status("web").await.rotation.is_none() && self.house.status("worker").await.rotation.is_none();
            quiet && self.on().await == both
        })
        .await;
    }

    async fn state_of(&self, letter: char) -> Option<ImageStory> {
        self.history().await.images.into_iter().find(|i| i.digest == digest(letter))
    }

    async fn is(&self, letter: char, state: &str) {
        self.until(state, async || self.state_of(letter).await.is_some_and(|i| i.state == state)).await;
    }
}

fn check(name: &str, command: &str) -> ImageCheck {
    ImageCheck { name: name.into(), what: ImageProbe::Run { command: vec![command.into()] }, within_ms: 60_000 }
}

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
    let again = RebuildRequest { again: true };
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
            // Dropped as by kill -9: nothing is waited for but the directory.
            drop(keeper.house.server.take());
            let begun = Instant::now();
            while begun.elapsed() < Duration::from_secs(20) {
                let upkeep = server::Upkeep { factory: keeper.bakery.clone(), pace: Pace { anchor: keeper.anchor, speed: SPEED } };
                match server::start(Config { upkeep: Some(upkeep), ..keeper.house.config() }).await {
                    Ok(server) => {
                        keeper.house.server = Some(server);
                        break;
                    }
                    Err(fault) => {
                        assert_eq!(fault.code, "already-served", "{fault:?}");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
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
    let recipe = |keeper: &Keeper| {
        let repository = store::Repository::open(&Layout::new(keeper.house.dir.path())).unwrap();
        repository.load(&ImageName::new("base").unwrap()).unwrap().0.recipe.unwrap()
    };
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
    let life = |keeper: &Keeper| {
        let repository = store::Repository::open(&Layout::new(keeper.house.dir.path())).unwrap();
        repository.load(&ImageName::new("base").unwrap()).unwrap().0
    };
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
    let refused = client.post::<_, serde_json::Value>("/v1/images/base/rebuild", &RebuildRequest { again: false }).await.unwrap_err();
    assert_eq!(refused.code, "forbidden");
    assert!(refused.hint.unwrap().contains("administrator"));
}
