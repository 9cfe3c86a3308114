//! Recipes come into force by promotions alone, and an image is bad only by what shows something of the image. Each test was seen to fail
//! on the lives of before, in which a recipe was in force from its deploy on.

use super::world::*;
use super::*;
use model::RolloutId;

fn settled() -> World {
    let mut w = World::new(spec());
    w.settle();
    w
}

#[test]
fn a_deploy_that_fails_leaves_no_recipe_behind_it_and_its_correction_is_promoted() {
    // What is to blame: the code, wherever it runs; or both, as the new code needs the new packages and the old code does not run on them.
    for (unfit, fails) in [(vec![('1', 2), ('a', 2)], 2), (vec![('1', 1), ('1', 2)], 2)] {
        let mut w = settled();
        w.unfit = unfit;
        assert_eq!(w.deploy('1', fails, &[0, 1]), [0usize; 0]);
        w.days(5);
        assert_eq!((w.stands().as_str(), w.count("rollout"), w.count("bad")), ("aa", 0, 0), "{:?}", w.life);
        assert_eq!(w.life.recipe, Some(spec()));
        // What was in force is patched as before.
        w.newest[0] = 'b';
        w.days(1);
        assert_eq!((w.stands().as_str(), w.state('1')), ("bb", Some(State::Retired)));
        // The same packages, with code that runs on them.
        assert_eq!(w.deploy('1', 3, &[0, 1]), [0, 1]);
        w.days(2);
        assert_eq!((w.stands().as_str(), &w.life.recipe), ("11", &Some(w.specs[1].clone())));
        w.newest[1] = '2';
        w.days(1);
        assert_eq!(w.stands(), "22");
    }
}

#[test]
fn a_service_that_was_not_promoted_with_a_recipe_is_not_moved_to_its_images() {
    let mut w = settled();
    w.broken = vec!['1'];
    assert_eq!(w.deploy('1', 2, &[0, 1]), [0], "the worker's tier is promoted, the other is not");
    w.days(3);
    assert_eq!((w.stands().as_str(), &w.life.recipe), ("1a", &Some(w.specs[1].clone())));
    assert!(w.waits().contains("web was deployed with another recipe"), "{}", w.waits());
    w.newest = ['b', '2'];
    w.days(1);
    assert_eq!(w.stands(), "2a", "the recipe in force is patched where it was promoted");
    assert_eq!(w.deploy('2', 3, &[1]), [1]);
    w.days(1);
    w.newest[1] = '3';
    w.days(1);
    assert_eq!(w.stands(), "33");
    assert!(!w.waits().contains("another recipe"), "{}", w.waits());
}

#[test]
fn somebodys_deploy_on_a_bad_image_is_not_undone_and_clears_it() {
    let mut w = settled();
    w.newest[0] = 'b';
    w.unfit = vec![('b', 1)];
    w.days(1);
    assert_eq!((w.stands().as_str(), w.state('b')), ("aa", Some(State::Bad)));
    let bad = w.life.image(&digest('b')).unwrap();
    assert_eq!((&bad.evidence, bad.may_run_other_code()), (&Some(Evidence::Rollout(RolloutId::of(1))), true));
    assert_eq!(w.deploy('b', 2, &[1]), [1]);
    let before = w.count("rollout");
    w.days(3);
    assert_eq!((w.stands().as_str(), w.state('b'), w.count("clear")), ("ab", Some(State::Current), 1), "{:?}", w.life);
    assert_eq!(w.count("rollout"), before, "the worker's code was tried on it, and web's is left alone");
    assert_eq!(w.life.image(&digest('b')).unwrap().evidence, None);
    w.newest[0] = 'c';
    w.days(1);
    assert_eq!(w.stands(), "cc");
}

/// Whatever the image is bad by, and whether the deploy left the current image or another.
#[test]
fn what_somebody_deployed_or_rolled_back_is_not_undone() {
    let mut w = settled();
    assert_eq!(w.deploy('b', 2, &[0, 1]), [0, 1]);
    w.newest[0] = 'b';
    w.days(1);
    w.roll_back(1, 'a', 1);
    w.days(3);
    assert_eq!((w.stands().as_str(), w.count("rollout")), ("ba", 0), "nobody but somebody ever moved it");
    w.newest[0] = 'c';
    w.days(1);
    assert_eq!(w.stands(), "cc", "the next image goes there again");

    let checks = Evidence::Checks(Vec::new());
    w.newest[0] = 'd';
    w.life.baked(super::one('d', w.now), "test");
    w.life.found_bad(&digest('d'), checks, w.now, "check x failed");
    for code in [3, 4] {
        assert_eq!(w.deploy('d', code, &[1]), [1]);
        w.days(2);
        assert_eq!((w.stands().as_str(), w.state('d')), ("cd", Some(State::Bad)));
    }
    w.newest[0] = 'e';
    w.days(1);
    assert_eq!(w.stands(), "ee");
}

#[test]
fn an_image_that_is_cleared_takes_no_newer_one_s_place() {
    let mut w = settled();
    w.newest[0] = 'b';
    w.unfit = vec![('b', 1)];
    w.days(1);
    w.newest[0] = 'c';
    w.days(1);
    assert_eq!(w.stands(), "cc");
    assert_eq!(w.deploy('b', 2, &[1]), [1]);
    for _ in 0..2 {
        w.settle();
        assert_eq!((w.stands().as_str(), w.state('b'), w.state('c')), ("cb", Some(State::Retired), Some(State::Current)));
        w.now = w.now.plus(DAY);
    }
}

#[test]
fn a_deploy_that_fails_on_a_bad_image_leaves_it_bad() {
    let mut w = settled();
    w.newest[0] = 'b';
    w.unfit = vec![('b', 1), ('b', 2)];
    w.days(1);
    assert_eq!(w.deploy('b', 2, &[0, 1]), [0usize; 0]);
    w.days(2);
    assert_eq!((w.stands().as_str(), w.state('b'), w.count("clear")), ("aa", Some(State::Bad), 0));
}

/// It was promoted while the rollout of the same image was under way elsewhere.
#[test]
fn a_rollout_that_fails_is_no_evidence_against_an_image_on_which_a_deploy_was_promoted() {
    let mut w = settled();
    w.newest[0] = 'b';
    w.broken = vec!['b'];
    w.now = w.now.plus(DAY);
    while w.stands() != "ba" {
        assert!(w.step());
    }
    w.begin_deploy('b', &[0]);
    assert_eq!(w.end_deploy('b', 2, &[0]), [0]);
    w.days(2);
    assert_eq!((w.stands().as_str(), w.state('b'), w.count("left")), ("ba", Some(State::Current), 1));
}

#[test]
fn a_rollback_by_hand_brings_back_the_recipe_and_is_left_alone() {
    let mut w = settled();
    assert_eq!(w.deploy('1', 2, &[0, 1]), [0, 1]);
    w.days(1);
    w.now = w.now.plus(1);
    w.roll_back(1, 'a', 1);
    w.days(2);
    assert_eq!((w.stands().as_str(), &w.life.recipe), ("1a", &Some(spec())), "the newest word is of the first recipe");
    w.now = w.now.plus(1);
    w.roll_back(0, 'a', 1);
    w.newest[0] = 'b';
    w.days(1);
    assert_eq!(w.stands(), "bb");
}

/// It was retired, tested again and made current in place of what somebody was about to deploy.
#[test]
fn what_somebody_bakes_of_another_recipe_stays_current_until_the_next_look() {
    let mut w = settled();
    w.days(1);
    w.now = w.now.plus(1);
    w.begin_deploy('1', &[0, 1]);
    w.settle();
    assert_eq!((w.state('1'), w.state('a'), w.count("bake")), (Some(State::Current), Some(State::Retired), 0));
    assert!(w.waits().contains("only a deploy brings it to services"), "{}", w.waits());
    // Also what was handed over with checks: it is no look at what is in force.
    let mut w = settled();
    let checked = w.life.checked.clone();
    w.now = w.now.plus(DAY / 2);
    w.handed = handed('1', Vec::new());
    w.settle();
    assert_eq!((w.state('1'), &w.life.checked, w.stands().as_str()), (Some(State::Current), &checked, "aa"));
    w.days(1);
    assert_eq!((w.state('1'), w.state('a'), w.stands().as_str()), (Some(State::Retired), Some(State::Current), "aa"));
}

/// Which of two recipes is in force follows from desired states alone; a deploy that is refused or killed names none.
#[test]
fn a_recipe_that_was_only_proposed_changes_nothing() {
    let mut w = settled();
    w.begin_deploy('1', &[]);
    w.days(1);
    assert_eq!((w.stands().as_str(), &w.life.recipe, w.count("rollout")), ("aa", &Some(spec()), 0));
    // Many of them push out neither the one in force nor each other's images.
    for n in 0..30 {
        let recipe = ImageSpec { max_age_ms: Some(n), ..spec() };
        w.life.propose(Deployed { id: digest('f'), recipe, by: "me".into(), images: Vec::new() });
        w.life.propose(Deployed {
            id: id(100 + n as usize),
            recipe: ImageSpec { max_age_ms: Some(n), ..spec() },
            by: "me".into(),
            images: Vec::new(),
        });
    }
    assert!(w.life.deployed.len() <= 8 && w.life.in_force().is_some_and(|d| d.id == id(0)), "{:?}", w.life.deployed);
    w.newest[0] = 'b';
    w.days(1);
    assert_eq!(w.stands(), "bb");
    w.life.propose(Deployed { id: id(0), recipe: spec(), by: "me".into(), images: Vec::new() });
    assert!(w.life.is_of_recipe(&digest('a')) && w.life.is_of_recipe(&digest('b')), "deployed again it keeps its images");
}

#[test]
fn another_schedule_alone_is_in_force_at_once_and_its_images_are_the_same() {
    let mut w = settled();
    w.specs[1] = ImageSpec { rebuild: Some("weekly".into()), ..spec() };
    w.life.propose(Deployed { id: id(1), recipe: w.specs[1].clone(), by: "me".into(), images: Vec::new() });
    w.life.put_under(&id(1), &digest('a'));
    w.newest[1] = 'a';
    w.now = w.now.plus(1);
    (w.recipe, w.since) = ([Some(id(1)), Some(id(1))], [w.now; 2]);
    w.settle();
    assert_eq!((&w.life.recipe, w.count("rollout")), (&Some(w.specs[1].clone()), 0));
    assert!(w.life.is_of_recipe(&digest('a')));
}

#[test]
fn the_image_to_return_to_is_of_the_recipe_in_force() {
    let mut w = settled();
    assert_eq!(w.deploy('1', 2, &[0, 1]), [0, 1]);
    w.days(1);
    (w.newest[1], w.broken) = ('2', vec!['2']);
    w.days(1);
    assert_eq!((w.stands().as_str(), w.state('2'), w.state('1')), ("11", Some(State::Bad), Some(State::Current)));
    // Without one there is none, and nothing moves.
    w.store = w.life.went_bad(&digest('1'), State::Revoked, w.now, "so").or(w.store);
    assert_eq!((w.life.fallback(), w.life.current()), (None, None));
    w.days(1);
    assert_eq!(w.stands(), "11");
}

/// (what it is bad by, the checks of its recipe now, whether it is tested again)
#[test]
fn an_image_is_tested_again_when_its_recipe_has_other_checks() {
    let check = |path: &str| ImageCheck { name: "x".into(), what: ImageProbe::Absent { path: path.into() }, within_ms: 1_000 };
    let (one, other) = (vec![check("/one")], vec![check("/other")]);
    for (evidence, checks, again) in [
        (Some(Evidence::Checks(one.clone())), &one, false),
        (Some(Evidence::Checks(one.clone())), &other, true),
        (Some(Evidence::Checks(one.clone())), &Vec::new(), true),
        (Some(Evidence::Rollout(RolloutId::of(1))), &other, false),
        // An older version did not record it.
        (None, &one, true),
    ] {
        let mut w = settled();
        let mut bad = super::one('1', w.now);
        (bad.state, bad.evidence) = (State::Bad, evidence.clone());
        w.life.images.push(bad);
        w.handed = handed('1', checks.clone());
        assert!(w.step());
        assert_eq!(w.state('1') == Some(State::Candidate), again, "{evidence:?} {checks:?}");
        assert_eq!(w.life.image(&digest('1')).unwrap().evidence.is_none(), again);
    }
}

#[test]
fn a_life_of_an_older_version_is_read_and_goes_on() {
    let mut w = settled();
    let mut old = serde_json::to_value(&w.life).unwrap();
    assert!(old.as_object_mut().unwrap().remove("deployed").is_some());
    w.life = serde_json::from_value(old).unwrap();
    w.recipe = [None, None];
    w.newest[0] = 'b';
    w.days(1);
    assert_eq!(w.stands(), "bb");
    // And with what the control plane finds out at the first deploy.
    let images = vec![digest('a'), digest('b')];
    w.life.propose(Deployed { id: id(0), recipe: spec(), by: "an older version".into(), images });
    assert_eq!(w.deploy('1', 2, &[1]), [1]);
    assert_eq!(w.stands(), "b1");
    w.roll_back(1, 'b', 1);
    w.newest[0] = 'c';
    w.days(1);
    assert_eq!(w.stands(), "cc");
}

struct Luck(u64);

impl Luck {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

/// Mirrors, deploys, failures, rollbacks and looks in any order: the world judges every rollout. In the end a deploy that works is promoted,
/// stays, and is patched.
#[test]
fn whatever_happens_nothing_of_a_recipe_that_was_not_promoted_is_rolled_out() {
    let (letters, digits) = (['a', 'b', 'c', 'd', 'e', 'f'], ['1', '2', '3', '4', '5', '6', '7', '8', '9']);
    let (mut bad, mut cleared, mut used) = (0, 0, 0);
    for seed in 0..300 {
        let mut luck = Luck(seed);
        let mut w = settled();
        let mut place = [0usize; 2];
        for _ in 0..25 {
            w.now = w.now.plus(1 + luck.below(DAY / 2));
            match luck.below(9) {
                // Something newer, which code that serves may not run on.
                0 | 8 => {
                    let recipe = luck.below(2) as usize;
                    place[recipe] = (place[recipe] + 1).min(4);
                    w.newest = [letters[place[0]], digits[place[1]]];
                    if luck.below(2) == 0 {
                        w.unfit.push((w.newest[recipe], w.code[luck.below(2) as usize]));
                    }
                }
                1 | 2 => {
                    let image = w.newest[luck.below(2) as usize];
                    let which: &[usize] = [&[0usize, 1][..], &[0], &[1]][luck.below(3) as usize];
                    w.deploy(image, 1 + luck.below(3) as u32, which);
                }
                3 => w.unfit.push((w.newest[luck.below(2) as usize], 1 + luck.below(3) as u32)),
                4 => w.unfit.clear(),
                5 => {
                    let n = luck.below(2) as usize;
                    w.roll_back(n, w.newest[luck.below(2) as usize], w.code[n]);
                }
                6 => {
                    if let Some(digest) = w.life.newest(State::Bad).map(|one| one.digest.clone()) {
                        w.life.try_again(&digest, w.now, "me");
                    }
                }
                _ => {
                    for _ in 0..luck.below(6) {
                        w.step();
                    }
                    continue;
                }
            }
            w.settle();
        }
        (bad, cleared, used) = (bad + w.count("bad"), cleared + w.count("clear"), used + w.count("use"));
        w.unfit.clear();
        let recipe = luck.below(2) as usize;
        let image = w.newest[recipe];
        w.now = w.now.plus(1);
        assert_eq!(w.deploy(image, 9, &[0, 1]), [0, 1]);
        w.days(3);
        assert_eq!(w.stands(), format!("{image}{image}"), "seed {seed}: {:?}", w.life);
        assert_eq!(w.life.recipe.as_ref(), Some(&w.specs[recipe]), "seed {seed}");
        let next = [letters[place[0] + 1], digits[place[1] + 1]][recipe];
        w.newest[recipe] = next;
        w.days(2);
        assert_eq!(w.stands(), format!("{next}{next}"), "seed {seed}: {:?}", w.life);
    }
    assert!(bad > 50 && cleared > 10 && used > 300, "too little happened: {bad} {cleared} {used}");
}
