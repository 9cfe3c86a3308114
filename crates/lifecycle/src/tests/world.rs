//! A world of two services in two tiers that obeys each decision and deploys as people do. What it counts, and what runs on what, is the
//! oracle: it knows nothing of lives.

use super::*;
use model::{RolloutId, ServiceName, TierName};
use std::collections::BTreeMap;

pub const NAMES: [&str; 2] = ["worker", "web"];
/// Letters are images of the first recipe, digits of the second.
pub const RECIPES: usize = 2;

pub fn name() -> ImageName {
    ImageName::new("base").unwrap()
}

pub fn spec() -> ImageSpec {
    ImageSpec {
        name: name(),
        base: None,
        debian: "bookworm".into(),
        packages: Vec::new(),
        rebuild: Some("daily".into()),
        max_age_ms: Some(7 * DAY),
        window: None,
        jitter_ms: 0,
        checks: Vec::new(),
        custom: Default::default(),
        oci: None,
    }
}

pub fn digest(letter: char) -> Digest {
    Digest::new(format!("sha256:{}", String::from(letter).repeat(64))).unwrap()
}

pub fn letter(digest: &Digest) -> char {
    digest.hex().chars().next().unwrap()
}

/// An image whose inputs have the same letter.
pub fn one(letter: char, at: Time) -> One {
    One::new(digest(letter), digest(letter), at)
}

pub fn recipe_of(letter: char) -> usize {
    usize::from(letter.is_ascii_digit())
}

pub fn id(recipe: usize) -> Digest {
    Digest::new(format!("sha256:{recipe:0>64}")).unwrap()
}

pub struct World {
    pub life: Life,
    pub now: Time,
    pub store: Option<Digest>,
    pub handed: Option<Handed>,
    /// What the mirrors have for each recipe.
    pub newest: [char; RECIPES],
    pub specs: [ImageSpec; RECIPES],
    /// Where each service stands, with which code, by which recipe since when, and who moved it there.
    pub on: [Digest; 2],
    pub code: [u32; 2],
    pub recipe: [Option<Digest>; 2],
    pub since: [Time; 2],
    pub moved: [Moved; 2],
    pub busy: [bool; 2],
    /// Images that the second tier cannot run, whatever its code.
    pub broken: Vec<char>,
    /// Images, and services whose settings do not fit them: 0 or 1.
    pub unusable: Vec<(char, usize)>,
    /// Code that does not run on an image.
    pub unfit: Vec<(char, u32)>,
    pub rollout: RolloutNow,
    pub rollouts: u64,
    pub counts: BTreeMap<&'static str, u32>,
}

impl World {
    pub fn new(spec: ImageSpec) -> World {
        let mut life = Life::new(name());
        let other = ImageSpec { packages: vec!["redis".into()], ..spec.clone() };
        life.recipe = Some(spec.clone());
        life.propose(Deployed { id: id(0), recipe: spec.clone(), by: "me".into(), images: vec![digest('a')] });
        life.tiers = ["back", "front"].map(|t| TierName::new(t).unwrap()).to_vec();
        let now = Time(100 * DAY);
        World {
            life,
            now,
            store: Some(digest('a')),
            handed: None,
            newest: ['a', '1'],
            specs: [spec, other],
            on: [digest('a'), digest('a')],
            code: [1, 1],
            recipe: [Some(id(0)), Some(id(0))],
            since: [now, now],
            moved: [Moved::BySomebody { from: None }, Moved::BySomebody { from: None }],
            busy: [false; 2],
            broken: Vec::new(),
            unusable: Vec::new(),
            unfit: Vec::new(),
            rollout: RolloutNow::NotThere,
            rollouts: 0,
            counts: BTreeMap::new(),
        }
    }

    pub fn seen(&self) -> Seen {
        let standing = |n: usize| Standing {
            service: ServiceName::new(NAMES[n]).unwrap(),
            tier: self.life.tiers[n].clone(),
            on: self.on[n].clone(),
            moved: self.moved[n].clone(),
            recipe: self.recipe[n].clone(),
            since: self.since[n],
            busy: self.busy[n].then(|| format!("{}.7", NAMES[n])),
            freeze: Vec::new(),
        };
        Seen {
            now: self.now,
            wall: self.now,
            current: self.store.clone(),
            services: (0..2).map(standing).collect(),
            handed: self.handed.clone(),
            test: TestNow::NotThere,
            rollout: self.rollout.clone(),
        }
    }

    pub fn users(&self) -> Vec<(ServiceName, Digest)> {
        self.seen().services.into_iter().map(|s| (s.service, s.on)).collect()
    }

    fn fits(&self, image: &Digest, service: &str) -> bool {
        !self.unusable.iter().any(|(letter, n)| digest(*letter) == *image && NAMES[*n] == service)
    }

    pub fn runs(&self, image: char, service: usize, code: u32) -> bool {
        let is_broken = service == 1 && self.broken.contains(&image);
        !is_broken && !self.unfit.contains(&(image, code))
    }

    /// The store's image when somebody's deploy begins, and what the control plane notes before it opens anything.
    pub fn begin_deploy(&mut self, image: char, services: &[usize]) {
        let recipe = recipe_of(image);
        let is_bad = self.life.image(&digest(image)).is_some_and(|one| one.state == State::Bad);
        if !is_bad {
            self.store = Some(digest(image));
        }
        self.life.propose(Deployed { id: id(recipe), recipe: self.specs[recipe].clone(), by: "me".into(), images: Vec::new() });
        self.life.put_under(&id(recipe), &digest(image));
        services.iter().for_each(|n| self.busy[*n] = true);
    }

    /// Tier by tier; one that fails is rolled back and halts the rest. Gives which were promoted.
    pub fn end_deploy(&mut self, image: char, code: u32, services: &[usize]) -> Vec<usize> {
        self.now = self.now.plus(1);
        services.iter().for_each(|n| self.busy[*n] = false);
        let promoted: Vec<usize> = services.iter().copied().take_while(|n| self.runs(image, *n, code)).collect();
        for n in &promoted {
            let from = std::mem::replace(&mut self.on[*n], digest(image));
            (self.code[*n], self.recipe[*n], self.since[*n]) = (code, Some(id(recipe_of(image))), self.now);
            self.moved[*n] = Moved::BySomebody { from: Some(from) };
        }
        promoted
    }

    pub fn deploy(&mut self, image: char, code: u32, services: &[usize]) -> Vec<usize> {
        self.begin_deploy(image, services);
        self.settle();
        self.end_deploy(image, code, services)
    }

    /// Somebody's rollback, to an earlier release on this image.
    pub fn roll_back(&mut self, n: usize, image: char, code: u32) {
        let from = std::mem::replace(&mut self.on[n], digest(image));
        (self.code[n], self.since[n], self.moved[n]) = (code, self.now, Moved::BySomebody { from: Some(from) });
        self.recipe[n] = self.life.recipe_of(&digest(image)).cloned();
    }

    fn recipe_in_force(&self) -> usize {
        self.specs.iter().position(|s| Some(s) == self.life.recipe.as_ref()).unwrap()
    }

    /// What must hold of every rollout that nobody asked for, whatever the life says.
    fn judge(&self, target: &Digest, services: &[(ServiceName, Digest)]) {
        for (service, on) in services.iter().filter(|(_, on)| self.life.replace.as_ref().is_none_or(|r| r.digest != *on)) {
            let n = NAMES.iter().position(|name| *name == service.as_str()).unwrap();
            assert_eq!(on, &self.on[n], "{service}");
            let own = self.recipe[n].as_ref().map(|own| *own == id(recipe_of(letter(target))));
            assert_ne!(own, Some(false), "{service} was never promoted with the recipe of {target:?}");
            if let Moved::BySomebody { from } = &self.moved[n] {
                assert_ne!(from.as_ref(), Some(target), "{service} is moved back to where somebody moved it away from");
            }
        }
    }

    /// Acts as the server does, at once. False: it waits.
    pub fn step(&mut self) -> bool {
        let seen = self.seen();
        let decision = decide(&self.life, &seen);
        assert_eq!(decision, decide(&self.life, &seen), "one life, one observation, one decision");
        let back = serde_json::from_str::<Life>(&serde_json::to_string(&self.life).unwrap()).unwrap();
        assert_eq!(decision, decide(&back, &seen), "also after it was written and read");
        let now = self.now;
        let what = match decision {
            Decision::Wait { .. } => {
                let current = self.store.clone().unwrap();
                let is_everywhere = seen.behind().next().is_none();
                if let Some(one) = self.life.image_mut(&current) {
                    one.proven |= is_everywhere || seen.is_deployed(&current);
                }
                return false;
            }
            Decision::UseRecipe { deployed } => {
                assert!(self.recipe.iter().any(|own| own.as_ref() == Some(&deployed.id)), "nobody was promoted with it");
                self.life.use_recipe(&deployed, now);
                "use"
            }
            Decision::Clear { digest, .. } => {
                if self.life.cleared(&digest, now, "a deploy on it was promoted") {
                    self.store = Some(digest.clone());
                    self.life.promote(&digest, now, "a deploy on it was promoted");
                }
                "clear"
            }
            Decision::Check => {
                let newest = self.newest[self.recipe_in_force()];
                self.life.looked(Checked { at: now, inputs: digest(newest), behind: Vec::new(), unknown: None });
                "check"
            }
            Decision::Bake => {
                let newest = self.newest[self.recipe_in_force()];
                self.life.baked(one(newest, now), "test");
                if let Some(checked) = self.life.checked.as_mut() {
                    checked.inputs = digest(newest);
                }
                "bake"
            }
            Decision::Test { .. } => "test",
            Decision::Tested { digest } => {
                self.life.turn(&digest, State::Tested, now, "tested");
                "tested"
            }
            Decision::Promote { digest, why } => {
                self.store = Some(digest.clone());
                self.life.promote(&digest, now, &why);
                "promote"
            }
            Decision::Adopt { digest } => {
                if self.life.image(&digest).is_none() {
                    self.life.images.push(One { inputs: digest.clone(), baked: Time(0), by_hand: true, ..one(letter(&digest), now) });
                }
                if recipe_of(letter(&digest)) == self.recipe_in_force() {
                    self.life.put_under_recipe(&digest);
                }
                self.life.promote(&digest, now, "by hand");
                "adopt"
            }
            Decision::TakeIn { handed } => {
                let checks = Some(handed.checks);
                let baked = One { checks, inputs: handed.digest.clone(), digest: handed.digest.clone(), ..one('a', now) };
                if recipe_of(letter(&handed.digest)) == self.recipe_in_force() {
                    self.life.put_under_recipe(&handed.digest);
                }
                self.life.take_in(baked, now);
                self.handed = None;
                "taken"
            }
            Decision::RollOut { digest, services, .. } if services.iter().any(|(s, _)| !self.fits(&digest, s.as_str())) => {
                let why = "name a user, and deploy it".to_string();
                let left = |(service, on): (ServiceName, Digest)| (service, LeftOut { on, why: why.clone() });
                let unfit: Vec<_> = services.into_iter().filter(|(s, _)| !self.fits(&digest, s.as_str())).map(left).collect();
                if NAMES.iter().any(|name| self.fits(&digest, name)) {
                    self.life.leave_out(&digest, unfit, now);
                    "left out"
                } else {
                    self.store = self.life.found_bad(&digest, Evidence::Unusable, now, &why);
                    "bad"
                }
            }
            Decision::RollOut { digest, services, .. } => {
                if self.life.work.is_none() {
                    self.judge(&digest, &services);
                    let tried: Vec<_> = services.clone();
                    self.life.image_mut(&digest).unwrap().tried.extend(tried);
                    self.rollouts += 1;
                    self.life.work =
                        Some(Work::Rollout { digest: digest.clone(), id: RolloutId::of(self.rollouts), services: services.clone() });
                }
                let places: Vec<usize> = services.iter().map(|(s, _)| NAMES.iter().position(|name| *name == s.as_str()).unwrap()).collect();
                if places.iter().all(|n| self.runs(letter(&digest), *n, self.code[*n])) {
                    for n in places {
                        (self.on[n], self.moved[n]) = (digest.clone(), Moved::ByItself);
                    }
                    self.rollout = RolloutNow::Promoted;
                } else {
                    self.rollout = RolloutNow::Halted("web rolled back".into());
                }
                "rollout"
            }
            Decision::RolledOut { .. } => {
                self.life.work = None;
                self.rollout = RolloutNow::NotThere;
                "rolled"
            }
            Decision::MarkBad { digest, evidence, why } => {
                let by_hand = (0..2).any(|n| self.on[n] == digest && self.moved[n] != Moved::ByItself);
                assert!(!by_hand || matches!(evidence, Evidence::Checks(_)), "somebody's code runs on {digest:?}");
                if let Some(back) = self.life.found_bad(&digest, evidence, now, &why) {
                    self.store = Some(back);
                }
                self.life.work = None;
                self.rollout = RolloutNow::NotThere;
                "bad"
            }
            Decision::LeaveIt { .. } => {
                self.life.work = None;
                self.rollout = RolloutNow::NotThere;
                "left"
            }
        };
        *self.counts.entry(what).or_default() += 1;
        true
    }

    pub fn settle(&mut self) {
        for n in 0.. {
            assert!(n < 60, "it never comes to rest: {:?}", self.counts);
            if !self.step() {
                return;
            }
        }
    }

    pub fn days(&mut self, days: u64) {
        for _ in 0..days {
            self.now = self.now.plus(DAY);
            self.settle();
        }
    }

    pub fn count(&self, what: &str) -> u32 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    pub fn state(&self, image: char) -> Option<State> {
        self.life.image(&digest(image)).map(|one| one.state)
    }

    /// Letters of the images that worker and web stand on.
    pub fn stands(&self) -> String {
        self.on.iter().map(letter).collect()
    }

    pub fn waits(&self) -> String {
        match decide(&self.life, &self.seen()) {
            Decision::Wait { why, .. } => why,
            other => panic!("{other:?}"),
        }
    }
}
