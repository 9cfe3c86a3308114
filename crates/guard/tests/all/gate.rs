//! Gates, waivers and break-glass: what is missing is denied, what expires is denied, what changes is denied.

use crate::estate;
use crate::random::Random;
use guard::rules::{BUILT_IN, Disposition, Facts, Outcome, RuleSet, gate, replay};
use guard::waiver::{BreakGlass, Waiver, schedule};
use guard::{Resource, public};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NOW_S: i64 = estate::NOW_S;

fn facts(kind: &str, id: &str, attributes: Value) -> Facts {
    let attributes = attributes.as_object().unwrap().clone().into_iter().collect();
    Facts { kind: kind.into(), id: id.into(), attributes }
}

fn service(id: &str) -> Facts {
    let all = json!({"egress": ["db:5432"], "user": "app", "env_secrets": [], "command_secrets": [], "listen": ["10.0.0.5"], "has_image": true,
        "image_age_s": 60, "image_max_age_s": 604_800, "signature": "trusted"});
    facts("service", id, all)
}

/// The built-in rules, and those that warn deny.
fn set() -> RuleSet {
    RuleSet::load(&BUILT_IN.replace("enforcement = \"warn\"", "enforcement = \"deny\"")).unwrap_or_else(|fault| panic!("{fault}"))
}

#[test]
fn a_rule_without_both_samples_or_against_them_is_refused() {
    let load = |tail: &str| {
        let head = "[[rule]]\nid = \"r\"\ntitle = \"t\"\nseverity = \"low\"\nenforcement = \"deny\"\nresources = [\"x\"]\nwhy = \"w\"\nfix = \"f\"\n";
        RuleSet::load(&format!("{head}{tail}")).map(|_| ()).unwrap_err().to_string()
    };
    let require = "require = [{ attribute = \"a\", is = 1 }]\n";
    assert!(load(&format!("{require}fail = [{{ a = 2 }}]")).contains("needs a failing and a passing sample"));
    assert!(load(&format!("{require}pass = [{{ a = 1 }}]")).contains("needs a failing and a passing sample"));
    assert!(load(&format!("{require}fail = [{{ a = 1 }}]\npass = [{{ a = 1 }}]")).contains("says Passes of its failing sample 1"));
    // A sample that fails for want of an attribute shows nothing.
    assert!(load(&format!("{require}fail = [{{ b = 1 }}]\npass = [{{ a = 1 }}]")).contains("says CannotTell of its failing sample 1"));
    assert!(load(&format!("{require}fail = [{{ a = 2 }}]\npass = [{{ a = 2 }}]")).contains("says Violated of its passing sample 1"));
    assert!(load("fail = [{ a = 2 }]\npass = [{ a = 2 }]").contains("requires nothing"));
    assert!(load("require = [{ attribute = \"a\", is = 1, is_not = 2 }]\n").contains("exactly one comparison"));
    assert!(load("require = [{ attribute = \"a\", iss = 1 }]\n").contains("unknown field"));
}

#[test]
fn a_clean_service_passes_and_each_mistake_is_denied_by_its_rule() {
    assert!(gate(&set(), &[service("web")], &[], None, NOW_S).objections.is_empty());
    for (attribute, value, rule, denied) in [
        ("egress", json!(["any"]), "egress-is-named", true),
        ("user", json!("root"), "not-root", true),
        ("env_secrets", json!(["TOKEN"]), "no-secret-in-env", true),
        ("command_secrets", json!(["run"]), "no-secret-in-env", true),
        ("listen", json!(["0.0.0.0"]), "listens-on-named-addresses", false),
        ("image_age_s", json!(700_000), "image-is-fresh", true),
        ("signature", json!("none"), "artifact-is-signed", true),
    ] {
        let mut web = service("web");
        web.attributes.insert(attribute.into(), value);
        let report = gate(&set(), &[web], &[], None, NOW_S);
        let rules: Vec<&str> = report.objections.iter().map(|o| o.rule.as_str()).collect();
        assert_eq!((rules, report.is_denied()), (vec![rule], denied));
    }
}

/// Random resources for every rule: its samples and mixtures of their values.
fn resources(set: &RuleSet, random: &mut Random, count: usize) -> Vec<Facts> {
    let values: &[(&str, &[Value])] = &[
        ("verdict", &[json!("public"), json!("not_public")]),
        ("egress", &[json!(["any"]), json!(["db:5432"]), json!([])]),
        ("user", &[json!("root"), json!("app"), json!(0)]),
        ("env_secrets", &[json!([]), json!(["T"])]),
        ("command_secrets", &[json!([]), json!(["run"])]),
        ("listen", &[json!(["0.0.0.0"]), json!(["10.0.0.5"])]),
        ("has_image", &[json!(true), json!(false)]),
        ("image_age_s", &[json!(5), json!(700_000)]),
        ("image_max_age_s", &[json!(604_800)]),
        ("signature", &[json!("trusted"), json!("none")]),
        ("secrets", &[json!([]), json!(["/k"])]),
    ];
    let kinds: Vec<&String> = set.rules.iter().flat_map(|r| &r.resources).collect();
    (0..count)
        .map(|n| {
            let attributes = values.iter().map(|(name, all)| ((*name).to_string(), random.pick(all).clone())).collect();
            Facts { kind: (*random.pick(&kinds)).clone(), id: format!("r{n}"), attributes }
        })
        .collect()
}

#[test]
fn no_missing_attribute_passes() {
    let set = set();
    let mut random = Random::new(9);
    let (mut violated, mut required) = (0, 0);
    for item in resources(&set, &mut random, 1000) {
        for rule in set.rules.iter().filter(|r| r.resources.contains(&item.kind)) {
            let before = set.outcome(rule, &item.attributes);
            for name in item.attributes.keys() {
                let mut fewer = item.attributes.clone();
                fewer.remove(name);
                let after = set.outcome(rule, &fewer);
                // A missing attribute makes nothing pass that did not, and nothing clear that is not.
                if before == Outcome::Violated {
                    violated += 1;
                    assert!(matches!(after, Outcome::Violated | Outcome::CannotTell), "{} without {name}", rule.id);
                }
                if after == Outcome::CannotTell {
                    required += 1;
                    let report = gate(&set, &[Facts { attributes: fewer, ..item.clone() }], &[], None, NOW_S);
                    let found = report.objections.iter().find(|o| o.rule == rule.id).unwrap();
                    assert_eq!(found.missing, [name.as_str()]);
                }
            }
        }
    }
    assert!(violated > 1000 && required > 1000, "{violated} {required}");
    // All attributes gone: every rule objects.
    for rule in &set.rules {
        assert_eq!(set.outcome(rule, &BTreeMap::new()), Outcome::CannotTell, "{}", rule.id);
    }
}

#[test]
fn an_attribute_of_the_wrong_kind_is_not_known() {
    let set = set();
    for (name, value) in [("env_secrets", json!(0)), ("egress", json!("any")), ("image_age_s", json!("old"))] {
        let mut web = service("web");
        web.attributes.insert(name.into(), value);
        let report = gate(&set, &[web], &[], None, NOW_S);
        assert!(report.objections[0].why.contains("wrong kind"), "{:?}", report.objections);
    }
}

/// What runs today is deployed tomorrow: of a service's rules, only the one about secrets refuses by itself.
#[test]
fn the_built_in_rules_refuse_secrets_and_warn_of_the_rest() {
    let built_in = RuleSet::built_in().unwrap();
    let bad = json!({"egress": ["any"], "user": 0, "env_secrets": [], "command_secrets": [], "listen": ["0.0.0.0"], "has_image": true,
        "image_age_s": 700_000, "image_max_age_s": 604_800, "signature": "none"});
    let report = gate(&built_in, &[facts("service", "web", bad)], &[], None, NOW_S);
    assert_eq!((report.objections.len(), report.is_denied()), (5, false));
    let leak = gate(&built_in, &[facts("service", "web", json!({"env_secrets": ["TOKEN"]}))], &[], None, NOW_S);
    let denied: Vec<&str> = leak.objections.iter().filter(|o| o.disposition == Disposition::Denied).map(|o| o.rule.as_str()).collect();
    assert_eq!(denied, ["no-secret-in-env"]);
}

#[test]
fn an_image_that_grows_older_is_the_same_finding() {
    let at = |age: u64, limit: u64| {
        let mut web = service("web");
        web.attributes.insert("image_age_s".into(), json!(age));
        web.attributes.insert("image_max_age_s".into(), json!(limit));
        gate(&set(), &[web], &[], None, NOW_S).objections[0].fingerprint.clone()
    };
    assert_eq!(at(700_000, 604_800), at(700_001, 604_800));
    assert_ne!(at(700_000, 604_800), at(700_000, 3600));
}

#[test]
fn an_unknown_verdict_is_denied_with_code_2() {
    let mut bucket = estate::bucket("b");
    bucket.policy = guard::Fact::denied("s3:GetBucketPolicy");
    let resource = Resource::Bucket(bucket);
    let facts = Facts::of_judgement(&resource, &public(&resource, &estate::context()));
    let report = gate(&set(), &[facts], &[], None, NOW_S);
    assert_eq!((report.is_denied(), report.exit_code()), (true, 2));
    assert_eq!(report.objections[0].missing, ["verdict"]);
}

fn root_service() -> Facts {
    let mut web = service("web");
    web.attributes.insert("user".into(), json!("root"));
    web
}

fn waiver(evidence: &str, granted: &str, expires: &str) -> String {
    format!(
        "[[waiver]]\nrule = \"not-root\"\nresource = \"web\"\nevidence = \"{evidence}\"\nowner = \"ann\"\nreason = \"port 25\"\n\
         ticket = \"OPS-1\"\ngranted = \"{granted}\"\nexpires = \"{expires}\"\n"
    )
}

#[test]
fn a_waiver_lifts_one_finding_until_it_expires_or_the_evidence_changes() {
    let set = set();
    let denied = gate(&set, &[root_service()], &[], None, NOW_S);
    let evidence = denied.objections[0].fingerprint.clone();
    assert!(denied.objections[0].hint.contains(&evidence));
    let waivers = Waiver::load(&waiver(&evidence, "2026-11-28", "2026-12-12")).unwrap();
    let at = |facts: &Facts, now_s: i64| gate(&set, std::slice::from_ref(facts), &waivers, None, now_s);

    let live = at(&root_service(), NOW_S);
    assert!(!live.is_denied());
    assert!(matches!(&live.objections[0].disposition, Disposition::Waived { owner, .. } if owner == "ann"));

    let end = guard::parse_s("2026-12-12").unwrap();
    assert!(!at(&root_service(), end - 1).is_denied());
    let expired = at(&root_service(), end);
    assert!(expired.is_denied());
    assert!(expired.objections[0].hint.starts_with("the waiver of ann expired on 2026-12-12; ask for a waiver"));

    let mut other = root_service();
    other.attributes.insert("user".into(), json!(0));
    let changed = at(&other, NOW_S);
    assert!(changed.is_denied() && changed.objections[0].hint.contains("void: the evidence changed"));
    assert!(at(&Facts { id: "web2".into(), ..root_service() }, NOW_S).is_denied(), "another resource");
    // An attribute that the rule does not read is no evidence.
    let mut same = root_service();
    same.attributes.insert("image_age_s".into(), json!(61));
    assert!(!at(&same, NOW_S).is_denied());
}

#[test]
fn waivers_that_are_not_whole_or_too_long_are_refused() {
    let good = "0".repeat(32);
    assert!(Waiver::load(&waiver(&good, "2026-11-28", "2027-02-26")).is_ok(), "90 days");
    for (text, fault) in [
        (waiver(&good, "2026-11-28", "2027-02-27"), "lasts longer than 90 days"),
        (waiver(&good, "2026-11-28", "2026-11-28"), "expires before it is granted"),
        (waiver("abc", "2026-11-28", "2026-12-01"), "evidence must be the fingerprint"),
        (waiver(&good, "soon", "2026-12-01"), "granted is no date"),
        (waiver(&good, "2026-11-28", "2026-12-01").replace("\"web\"", "\"web*\""), "one exact resource"),
        (waiver(&good, "-9223372036854775808", "9223372036854775807"), "granted is no date"),
        (waiver(&good, "2026-11-28", "99999999999999"), "expires is no date"),
        (waiver(&good, "2026-11-28", "2026-12-01").replace("\"ann\"", "\" \""), "owner is empty"),
        (waiver(&good, "2026-11-28", "2026-12-01").replace("ticket = \"OPS-1\"\n", ""), "missing field"),
    ] {
        let found = Waiver::load(&text).unwrap_err().to_string();
        assert!(found.contains(fault), "{found}");
    }
    // 14 days for critical rules.
    let set = set();
    let leak = |days: &str| {
        let mut web = service("web");
        web.attributes.insert("env_secrets".into(), json!(["T"]));
        let evidence = gate(&set, &[web.clone()], &[], None, NOW_S).objections[0].fingerprint.clone();
        let waivers = Waiver::load(&waiver(&evidence, "2026-11-28", days).replace("not-root", "no-secret-in-env")).unwrap();
        gate(&set, &[web], &waivers, None, NOW_S).is_denied()
    };
    assert!(!leak("2026-12-12") && leak("2026-12-13"));
}

#[test]
fn waivers_are_listed_by_their_end() {
    let good = "0".repeat(32);
    let text =
        waiver(&good, "2026-11-01", "2026-11-20") + &waiver(&good, "2026-11-28", "2026-12-12") + &waiver(&good, "2026-11-28", "2026-12-01");
    let waivers = Waiver::load(&text).unwrap();
    assert_eq!(schedule(&waivers, NOW_S).iter().map(|(days, _)| *days).collect::<Vec<_>>(), [-9, 2, 13]);
}

#[test]
fn break_glass_lifts_named_rules_for_hours_and_never_a_hard_one() {
    let set = set();
    let fingerprint = |facts: Facts| gate(&set, &[facts], &[], None, NOW_S).objections[0].fingerprint.clone();
    let image = || facts("image", "i", json!({"secrets": ["/k"]}));
    let (root, hard) = (fingerprint(root_service()), fingerprint(image()));
    let opened = BreakGlass::open("ann", "outage 7", &[("not-root", &root), ("no-secret-in-image", &hard)], NOW_S, 3600).unwrap();
    let at = |facts: Facts, now_s| gate(&set, &[facts], &[], Some(&opened), now_s);
    let lifted = at(root_service(), NOW_S);
    assert!(!lifted.is_denied() && matches!(lifted.objections[0].disposition, Disposition::BrokenGlass { .. }), "recorded, not hidden");
    assert!(at(root_service(), NOW_S + 3600).is_denied(), "expired");
    assert!(at(root_service(), NOW_S - 1).is_denied(), "not yet opened");
    assert!(at(image(), NOW_S).is_denied(), "hard");
    let mut other = root_service();
    other.id = "api".into();
    assert!(at(other, NOW_S).is_denied(), "the same rule of another service");
    let mut unnamed = service("web");
    unnamed.attributes.insert("signature".into(), json!("none"));
    assert!(at(unnamed, NOW_S).is_denied(), "not named");
    let (one, all) = (&[("x", "f")][..], &[("*", "f")][..]);
    for (owner, reason, lifted, lasts) in
        [("", "r", one, 60), ("o", " ", one, 60), ("o", "r", &[], 60), ("o", "r", all, 60), ("o", "r", one, 14_401)]
    {
        assert!(BreakGlass::open(owner, reason, lifted, NOW_S, lasts).is_err());
    }
}

#[test]
fn a_rule_is_tried_on_the_past_before_it_is_turned_on() {
    let mut changes: Vec<Vec<Facts>> = (0..38).map(|_| vec![service("web"), service("api")]).collect();
    changes.push(vec![root_service()]);
    changes.push(vec![service("api"), root_service()]);
    let mut unclear = service("web");
    unclear.attributes.remove("user");
    changes.push(vec![unclear]);
    let found = replay(&set(), &changes).into_iter().find(|r| r.rule == "not-root").unwrap();
    assert_eq!(found.sentence(), "not-root would have denied 3 of 41 deploys, 1 of them because a fact was missing");
}

/// To accept that a fact is not known is not to accept what it turns out to be, nor that another one is not known.
#[test]
fn a_waiver_of_what_cannot_be_told_covers_nothing_else() {
    let without = |names: &[&str]| {
        let mut web = service("web");
        names.iter().for_each(|name| drop(web.attributes.remove(*name)));
        web
    };
    let of = |web: Facts| gate(&set(), &[web], &[], None, NOW_S).objections.into_iter().find(|o| o.rule == "image-is-fresh").unwrap();
    let mut old = service("web");
    old.attributes.insert("image_age_s".into(), json!(9_999_999));
    let all = [of(without(&["image_age_s"])), of(without(&["image_max_age_s"])), of(without(&["image_age_s", "image_max_age_s"])), of(old)];
    let fingerprints: std::collections::BTreeSet<&String> = all.iter().map(|o| &o.fingerprint).collect();
    assert_eq!(fingerprints.len(), 4);
}

/// A gate asks every rule of every resource: what would keep it busy for minutes is refused when it is read.
#[test]
fn rules_are_bounded() {
    let rule = |id: &str, tests: &str, sample: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\ntitle = \"t\"\nseverity = \"low\"\nenforcement = \"deny\"\nresources = [\"service\"]\nwhy = \"w\"\nfix = \"f\"\n\
             require = [{tests}]\nfail = [{{ a = 2 }}]\npass = [{{ a = 1{sample} }}]\n"
        )
    };
    let test = "{ attribute = \"a\", is = 1 },";
    let many = (0..501).map(|n| rule(&format!("r{n}"), test, "")).collect::<String>();
    let wide = (0..65).map(|n| format!(", a{n} = 1")).collect::<String>();
    for (text, what) in
        [(many, "one too many"), (rule("r", &test.repeat(65), ""), "more than 64"), (rule("r", test, &wide), "more than 64")]
    {
        let fault = RuleSet::load(&text).unwrap_err().to_string();
        assert!(fault.contains(what), "{fault}");
    }
    assert!(RuleSet::load(&rule("r", &test.repeat(64), "")).is_ok());
}
