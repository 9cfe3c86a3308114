//! Facts of services and recipes: what a file says, what its image says, and every fact left out in turn.

use guard::rules::{Outcome, RuleSet, gate};
use guard::secrets::Detector;
use guard::service_facts::{ImageAge, of_recipe, of_release, of_service};
use model::{Digest, ImageSpec, LeftToImage, Release, ServiceSpec};
use serde_json::{Value, json};

const FRESH: ImageAge = ImageAge { age_s: Some(60), max_age_s: Some(Some(604_800)) };

fn service(change: impl FnOnce(&mut Value)) -> ServiceSpec {
    let mut text = json!({
        "name": "web", "tier": "front", "image": "base", "run": ["x"], "count": 1, "user": "1000:1000", "port": 8080,
        "health": model::Health::default(), "drain": model::Drain::default(), "limits": model::Limits::default(),
        "network": { "egress": "none" }, "rollout": model::Rollout::default(),
    });
    change(&mut text);
    serde_json::from_value(text).unwrap()
}

fn release(spec: &ServiceSpec) -> Release {
    Release::of(spec, Digest::new(format!("sha256:{}", "a".repeat(64))).unwrap(), None)
}

fn token() -> String {
    ["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"].concat()
}

fn detector() -> Detector {
    Detector::built_in().unwrap()
}

fn objections(spec: &ServiceSpec) -> Vec<String> {
    let facts = of_service(spec, Some(&release(spec)), FRESH, &detector());
    gate(&RuleSet::built_in().unwrap(), &[facts], &[], None, 0).objections.into_iter().map(|o| o.rule).collect()
}

#[test]
fn each_mistake_of_a_file_is_seen_by_its_rule() {
    assert!(objections(&service(|_| {})).is_empty());
    for (key, value, rule) in [
        ("user", json!("0:1000"), "not-root"),
        ("env", json!({ "DB_PASSWORD": "tr0ub4dor" }), "no-secret-in-env"),
        ("env", json!({ "DATABASE_URL": "postgres://shop:tr0ub4dor@db/shop" }), "no-secret-in-env"),
        ("network", json!({ "egress": "any" }), "egress-is-named"),
        ("network", json!({ "egress": ["0.0.0.0/0:443"] }), "egress-is-named"),
        ("network", json!({ "egress": ["0.0.0.0/1:443", "db.example.org:5432", "128.0.0.0/1:443"] }), "egress-is-named"),
        ("run", json!(["app", format!("--token={}", token())]), "no-secret-in-env"),
        ("migrate", json!({ "run": ["app", "migrate", token()], "within_ms": 1000 }), "no-secret-in-env"),
        ("checks", json!([{ "name": "c", "run": ["curl", token()], "within_ms": 1000 }]), "no-secret-in-env"),
    ] {
        assert_eq!(objections(&service(|text| text[key] = value.clone())), [rule], "{value}");
    }
    let facts = |spec: &ServiceSpec| of_service(spec, None, FRESH, &detector()).attributes["signature"].clone();
    for (artifact, signature) in [
        ("./build", "trusted"),
        ("oci://r.example.org/shop/code:1.4", "none"),
        (&format!("oci://r.example.org/shop/code@sha256:{}", "a".repeat(64)), "trusted"),
    ] {
        assert_eq!(facts(&service(|text| text["artifact"] = json!(artifact))), signature, "{artifact}");
    }
}

/// Without its release, what the image says of the user is not known; with it, it is.
#[test]
fn what_the_image_says_is_known_of_a_release_alone() {
    let mut spec = service(|_| {});
    spec.from_image.insert(LeftToImage::User);
    assert!(!of_service(&spec, None, FRESH, &detector()).attributes.contains_key("user"));
    let root = Release { user: "0:0".into(), ..release(&spec) };
    assert_eq!(of_service(&spec, Some(&root), FRESH, &detector()).attributes["user"], 0);
    assert_eq!(of_release(&root, FRESH, &detector()).attributes["user"], 0);
}

/// Each fact of each service and recipe is left out in turn: no rule that reads it passes.
#[test]
fn no_missing_fact_passes() {
    let set = RuleSet::built_in().unwrap();
    let spec = service(|text| text["artifact"] = json!("./build"));
    let recipe: ImageSpec = serde_json::from_value(json!({ "name": "base", "debian": "bookworm" })).unwrap();
    let all = [of_service(&spec, Some(&release(&spec)), FRESH, &detector()), of_recipe(&recipe, &detector())];
    let mut unknown = 0;
    for facts in &all {
        for rule in set.rules.iter().filter(|rule| rule.resources.contains(&facts.kind)) {
            assert_eq!(set.outcome(rule, &facts.attributes), Outcome::Passes, "{}", rule.id);
            // `has_image` says whether a rule applies: what it requires holds either way.
            let is_read = |name: &&String| name.as_str() != "has_image" && rule.pass[0].contains_key(*name);
            let read: Vec<&String> = facts.attributes.keys().filter(is_read).collect();
            assert!(!read.is_empty(), "{} reads nothing that is a fact", rule.id);
            for name in read {
                let mut fewer = facts.attributes.clone();
                fewer.remove(name);
                assert_eq!(set.outcome(rule, &fewer), Outcome::CannotTell, "{} without {name}", rule.id);
                unknown += 1;
            }
        }
    }
    assert_eq!(unknown, 9);
    // Nothing known of the image: its age cannot be told.
    let facts = of_service(&spec, None, ImageAge::default(), &detector());
    let fresh = set.rules.iter().find(|rule| rule.id == "image-is-fresh").unwrap();
    assert_eq!(set.outcome(fresh, &facts.attributes), Outcome::CannotTell);
}

#[test]
fn a_recipe_names_where_its_secrets_are_and_not_what_they_are() {
    let token = ["gh", "p_zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"].concat();
    let base = json!({ "name": "low", "debian": "bookworm", "custom": { "script": format!("curl -H 'Authorization: {token}'") } });
    let recipe: ImageSpec = serde_json::from_value(json!({
        "name": "base", "debian": "bookworm", "base": base,
        "custom": { "args": { "DB_PASSWORD": "tr0ub4dor", "VERSION": "1" } },
    }))
    .unwrap();
    let facts = of_recipe(&recipe, &detector());
    assert_eq!(facts.attributes["secrets"], json!(["arg DB_PASSWORD", "script (GitHub token)"]));
}

/// A server starts with the variables of its image too.
#[test]
fn a_secret_in_the_environment_of_the_image_is_seen() {
    let spec = service(|_| {});
    let env = |name: &str, value: &str| std::collections::BTreeMap::from([(name.to_string(), value.to_string())]);
    let from = model::FromContainer { env: env("GITHUB_TOKEN", &token()), ..Default::default() };
    let release = Release { container: Some(from), ..release(&spec) };
    let facts = |release: &Release| of_service(&spec, Some(release), FRESH, &detector()).attributes["env_secrets"].clone();
    assert_eq!(facts(&release), json!(["GITHUB_TOKEN"]));
    assert_eq!(facts(&Release { env: env("GITHUB_TOKEN", ""), ..release }), json!([]), "the service's own is the one that counts");
}

/// Code that the file does not name was packed where it was deployed from: nothing says more of it.
#[test]
fn code_that_no_file_names_is_neither_trusted_nor_none() {
    let code = Digest::new(format!("sha256:{}", "c".repeat(64))).ok();
    let of = |spec: &ServiceSpec, artifact| {
        of_service(spec, Some(&Release { artifact, ..release(spec) }), FRESH, &detector()).attributes["signature"].clone()
    };
    let (silent, named) = (service(|_| {}), service(|text| text["artifact"] = json!("oci://r.example.org/shop/code:1.4")));
    assert_eq!(
        [of(&silent, None), of(&silent, code.clone()), of(&named, None), of(&named, code)],
        ["no_artifact", "packed", "no_artifact", "none"]
    );
}
