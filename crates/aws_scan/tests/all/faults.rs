//! Every kind of call failing in turn, in every manner: what cannot be proved is never said to be not public.
//!
//! The oracle asks nothing of the scan's code: a call that fails hides its answer, so the answer may be the worst one. A resource that
//! would be public by that answer must not be called not public.

use crate::fake::{FAULTS, Fake, Mode, World, block, world};
use guard::{Finding, Verdict};
use std::collections::BTreeMap;

type Verdicts = BTreeMap<(String, String), Verdict>;

fn estate() -> World {
    world(&[
        "private",
        "own",
        "star",
        "acl",
        "star-restricted",
        "star-ignored",
        "acl-ignored",
        "acl-restricted",
        "acl-enforced",
        "star-ignored-restricted",
        "star-acl",
        "objects",
        "objects-ignored",
        "objects-enforced",
        "delegates",
        "delegates-restricted",
    ])
}

fn verdicts(found: &[Finding]) -> Verdicts {
    found.iter().map(|f| ((f.kind.clone(), f.id.clone()), f.verdict)).collect()
}

fn run(world: &World, action: &str, mode: Mode) -> Option<Verdicts> {
    let fake = Fake::start(World { special: Some((action.to_string(), mode)), ..world.clone() });
    // Without an account nothing is scanned, and nothing is said.
    let found = fake.scan(&[]).ok()?;
    assert!(fake.count(action) > 0, "{action} was not called");
    Some(verdicts(&found.0))
}

fn failing_calls_prove_nothing(world: &World, faults: &[Mode]) {
    let healthy = Fake::start(world.clone());
    let expected = verdicts(&healthy.scan(&[]).unwrap().0);
    assert!(!expected.values().any(|v| *v == Verdict::Unknown), "{expected:?}");
    let actions: Vec<String> = healthy.seen.lock().unwrap().keys().cloned().collect();
    for action in actions {
        let worst = run(world, &action, Mode::Open);
        for mode in faults {
            let Some(found) = run(world, &action, *mode) else {
                assert_eq!(action, "sts:GetCallerIdentity");
                continue;
            };
            let worst = worst.as_ref().unwrap();
            for (key, healthy) in &expected {
                let (kind, id) = key;
                match found.get(key) {
                    Some(Verdict::NotPublic) => {
                        assert_ne!(*healthy, Verdict::Public, "{action} {mode:?}: {kind} {id} is public and called not public");
                        let at_worst = worst.get(key).copied();
                        assert_ne!(
                            at_worst,
                            Some(Verdict::Public),
                            "{action} {mode:?}: {kind} {id} may be public and is called not public"
                        );
                    }
                    Some(_) => {}
                    None => {
                        let stands_in = found.iter().any(|((k, i), v)| k == kind && i.ends_with("/*") && *v == Verdict::Unknown);
                        let all_unlisted = found.iter().any(|((k, i), _)| k == "s3_bucket" && i.ends_with("/*"));
                        assert!(stands_in || all_unlisted, "{action} {mode:?}: {kind} {id} has no line, and no line says so");
                    }
                }
            }
        }
    }
}

#[test]
fn an_account_without_a_block() {
    failing_calls_prove_nothing(&estate(), FAULTS);
}

#[test]
fn an_account_whose_block_is_half_on() {
    let few = [Mode::Denied, Mode::Truncated];
    failing_calls_prove_nothing(&World { account_block: Some(block(true, false)), ..estate() }, &few);
    failing_calls_prove_nothing(&World { account_block: Some(block(false, true)), ..estate() }, &few);
}

#[test]
fn an_account_whose_block_is_on() {
    // Without the call about the block nothing is known of it, and each bucket is read.
    let world = World { account_block: Some(block(true, true)), ..estate() };
    for mode in FAULTS {
        let found = run(&world, "s3:GetAccountPublicAccessBlock", *mode).unwrap();
        assert!(!found.contains_key(&("s3_account".into(), crate::fake::ACCOUNT.into())), "{mode:?}");
        for name in ["star", "acl"] {
            assert_eq!(found[&("s3_bucket".to_string(), name.to_string())], Verdict::Unknown, "{mode:?}");
        }
    }
}
