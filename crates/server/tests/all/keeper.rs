//! A control plane that keeps images, with a mirror and a baker in memory and a clock that runs fast.

use crate::common::*;
use api::control::*;
use lifecycle::{Change, Life};
use model::*;
use server::{Config, Factory, Fresh, Made, Pace};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use store::Repository;

pub fn base() -> ImageName {
    ImageName::new("base").unwrap()
}

/// A mirror and a baker of letters: the packages of day `b` give the image `bbb…`. A recipe that names packages gives digits.
pub struct Bakery {
    fake: Arc<Fake>,
    pub state: Mutex<Mirror>,
}

pub struct Mirror {
    pub newest: char,
    /// Of the recipe that names packages.
    pub newest_other: char,
    pub current: Option<Digest>,
    /// What the lock of an image says.
    pub made_of: BTreeMap<Digest, ImageSpec>,
    pub down: bool,
    /// Letters that cannot be baked.
    pub hopeless: Vec<char>,
    /// The baker panics at it, once.
    pub panics: Option<char>,
    pub looks: u32,
    /// Images whose registry keeps everybody waiting, and whether one waits.
    pub held: BTreeMap<ImageName, bool>,
    pub bakes: BTreeMap<char, u32>,
}

impl Mirror {
    fn newest_of(&self, spec: &ImageSpec) -> char {
        if spec.packages.is_empty() { self.newest } else { self.newest_other }
    }
}

impl Bakery {
    fn new(fake: Arc<Fake>) -> Arc<Bakery> {
        let state = Mirror {
            newest: 'a',
            newest_other: '1',
            current: Some(digest('a')),
            made_of: BTreeMap::new(),
            down: false,
            hopeless: Vec::new(),
            panics: None,
            looks: 0,
            held: BTreeMap::new(),
            bakes: BTreeMap::new(),
        };
        Arc::new(Bakery { fake, state: Mutex::new(state) })
    }

    fn made(digest: &Digest) -> Made {
        Made { digest: digest.clone(), inputs: digest.clone(), made: Time(1), why: "there was no image of these packages".into() }
    }

    pub fn set(&self, change: impl FnOnce(&mut Mirror)) {
        change(&mut self.state.lock().unwrap());
    }
}

pub fn letter(digest: &Digest) -> String {
    digest.hex()[..1].to_string()
}

fn change(from: &Digest, to: &Digest) -> Vec<Change> {
    let all = Change { name: "openssl".into(), from: Some(letter(from)), to: Some(letter(to)) };
    if from == to { Vec::new() } else { vec![all] }
}

impl Factory for Bakery {
    fn fresh(&self, spec: &ImageSpec, against: Option<&Digest>) -> Result<Fresh, Fault> {
        let is_held = || self.state.lock().unwrap().held.get_mut(&spec.name).map(|waits| *waits = true).is_some();
        while is_held() {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut state = self.state.lock().unwrap();
        if state.down {
            return Err(Fault::world("mirror-unreachable", "the mirror is down"));
        }
        state.looks += 1;
        let inputs = digest(state.newest_of(spec));
        Ok(Fresh { behind: against.map(|a| change(a, &inputs)).unwrap_or_default(), inputs, unknown: None })
    }

    fn is_of(&self, digest: &Digest, spec: &ImageSpec) -> bool {
        letter(digest).starts_with(|c: char| c.is_ascii_digit()) != spec.packages.is_empty()
    }

    fn recipe(&self, digest: &Digest) -> Option<ImageSpec> {
        self.state.lock().unwrap().made_of.get(digest).cloned()
    }

    fn bake(&self, spec: &ImageSpec) -> Result<Made, Fault> {
        let mut state = self.state.lock().unwrap();
        let newest = state.newest_of(spec);
        *state.bakes.entry(newest).or_default() += 1;
        if state.panics.take_if(|letter| *letter == newest).is_some() {
            drop(state);
            panic!("a bug of the baker");
        }
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
pub const SPEED: u64 = 36_000;

pub struct Keeper {
    pub house: House,
    pub bakery: Arc<Bakery>,
    pub anchor: Time,
}

impl Keeper {
    pub async fn new(checks: Vec<ImageCheck>) -> Keeper {
        let mut house = House::new().await;
        house.stop().await;
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let bakery = Bakery::new(house.fake.clone());
        let mut keeper = Keeper { house, bakery, anchor: Time(u64::try_from(since.as_millis()).unwrap()) };
        keeper.start().await;
        let request = request_of(checks);
        keeper.house.deploy(&request).await.unwrap();
        keeper.stands("a").await;
        keeper.until("its recipe is in force", async || keeper.life().recipe.is_some()).await;
        keeper
    }

    pub async fn start(&mut self) {
        let upkeep = server::Upkeep { factory: self.bakery.clone(), pace: Pace { anchor: self.anchor, speed: SPEED } };
        self.house.server = Some(start(Config { upkeep: Some(upkeep), ..self.house.config() }).await.unwrap());
    }

    /// Dropped as by kill -9: nothing is waited for but the directory.
    pub async fn restart(&mut self) {
        drop(self.house.server.take());
        self.start().await;
    }

    /// Over TCP, with a token to deploy one service.
    pub async fn deployer_of_web(&mut self) -> api::Client {
        self.house.stop().await;
        let upkeep = server::Upkeep { factory: self.bakery.clone(), pace: Pace { anchor: self.anchor, speed: SPEED } };
        let listen = Some("127.0.0.1:0".parse().unwrap());
        self.house.server = Some(start(Config { upkeep: Some(upkeep), listen, ..self.house.config() }).await.unwrap());
        let grant = model::access::Grant { role: model::access::Role::Deploy, services: [name("web")].into(), tiers: Default::default() };
        let token = self.house.token("ci", grant).await;
        api::Client::tcp(self.house.server.as_ref().unwrap().address().unwrap().to_string()).token(Some(token))
    }

    pub fn life(&self) -> Life {
        Repository::open(&Layout::new(self.house.dir.path())).unwrap().load(&base()).unwrap().0
    }

    pub async fn history(&self) -> ImageHistory {
        self.house.client().get("/v1/images/base/history").await.unwrap()
    }

    /// Letters of the images that worker and web stand on.
    pub async fn on(&self) -> String {
        let mut text = String::new();
        for service in ["worker", "web"] {
            let active = self.house.status(service).await.active;
            text.push_str(&active.map_or("-".to_string(), |s| letter(&s.release.image)));
        }
        text
    }

    pub async fn until(&self, what: &str, so: impl AsyncFn() -> bool) {
        let begun = Instant::now();
        while !so().await {
            assert!(begun.elapsed() < Duration::from_secs(60), "{what} never came: {} {:#?}", self.on().await, self.history().await);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Both services stand on it, and nothing is under way.
    pub async fn stands(&self, letter: &str) {
        let both = letter.repeat(2);
        self.until(letter, async || {
            let quiet = self.house.status("web").await.rotation.is_none() && self.house.status("worker").await.rotation.is_none();
            quiet && self.on().await == both
        })
        .await;
    }

    pub async fn state_of(&self, letter: char) -> Option<ImageStory> {
        self.history().await.images.into_iter().find(|i| i.digest == digest(letter))
    }

    pub async fn is(&self, letter: char, state: &str) {
        self.until(state, async || self.state_of(letter).await.is_some_and(|i| i.state == state)).await;
    }
}

pub fn check(name: &str, command: &str) -> ImageCheck {
    ImageCheck { name: name.into(), what: ImageProbe::Run { command: vec![command.into()] }, within_ms: 60_000 }
}

/// A worker and a web service on one image that has a schedule.
pub fn request_of(checks: Vec<ImageCheck>) -> DeployRequest {
    let mut request =
        request(vec![spec("worker", "back", "work", 1, None), spec("web", "front", "serve", 2, Some("127.0.0.1:8080"))], None);
    let recipe = ImageSpec { rebuild: Some("0 */6 * * *".into()), max_age_ms: Some(7 * 86_400_000), checks, ..recipe("base") };
    request.file.images.insert(recipe.name.clone(), recipe);
    // What fails must fail soon, and what is only slow, on a machine that does much else, must not.
    request.file.services.values_mut().for_each(|s| s.rollout.within_ms = 5_000);
    request
}
