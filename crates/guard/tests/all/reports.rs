//! Reports for other tools, from one gate that has every standing in it.

use crate::estate;
use guard::report::{Entry, Standing, entry_of_finding, exit_code, junit, ocsf, of_gate, sarif};
use guard::rules::{BUILT_IN, Facts, RuleSet, gate};
use guard::waiver::BreakGlass;
use guard::{Finding, Resource, Verdict, public};
use serde_json::{Value, json};

fn entries() -> (Vec<(String, String)>, Vec<Entry>) {
    let deny = "severity = \"high\"\nenforcement = \"deny\"";
    let set = RuleSet::load(&BUILT_IN.replace("severity = \"high\"\nenforcement = \"warn\"", deny)).unwrap();
    let facts = |id: &str, attributes: Value| {
        let attributes = attributes.as_object().unwrap().clone().into_iter().collect();
        Facts { kind: "service".into(), id: id.into(), attributes }
    };
    let good = json!({"egress": ["any"], "user": "app", "env_secrets": [], "command_secrets": [], "listen": [], "has_image": false, "signature": "none"});
    let mut root = good.clone();
    root["user"] = json!("root");
    let mut unclear = good.clone();
    unclear.as_object_mut().unwrap().remove("user");
    let resources = [facts("a<b>&\"c\"\u{1}", good), facts("root", root), facts("unclear", unclear)];
    let found = gate(&set, &resources, &[], None, estate::NOW_S).objections;
    let unsigned = found.iter().filter(|o| o.rule == "artifact-is-signed").map(|o| (o.rule.as_str(), o.fingerprint.as_str()));
    let broken = BreakGlass::open("ann", "outage 7", &unsigned.collect::<Vec<_>>(), estate::NOW_S, 60).unwrap();
    of_gate(&set, &gate(&set, &resources, &[], Some(&broken), estate::NOW_S))
}

#[test]
fn sarif_says_what_is_suppressed() {
    let (rules, entries) = entries();
    let written = sarif("0.1.0", &rules, &entries);
    let results = written["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), entries.len());
    let known: Vec<&Value> = written["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap().iter().map(|r| &r["id"]).collect();
    for (result, entry) in results.iter().zip(&entries) {
        assert!(known.contains(&&result["ruleId"]));
        assert_eq!(result["partialFingerprints"]["afresh/v1"], json!(entry.fingerprint));
        assert_eq!(result["suppressions"].is_array(), matches!(entry.standing, Standing::Suppressed(_)));
    }
    assert!(results.iter().any(|r| r["suppressions"][0]["justification"] == "break-glass by ann: outage 7"));
}

#[test]
fn junit_escapes_names_and_counts() {
    let (rules, entries) = entries();
    let xml = junit(&rules, &entries);
    let count = |text: &str| xml.matches(text).count();
    assert!(xml.contains("name=\"service/a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}\""), "{xml}");
    assert!(!xml.contains('\u{1}'));
    let said = format!("failures=\"{}\" errors=\"{}\" skipped=\"{}\"", count("<failure "), count("<error "), count("<skipped "));
    assert!(xml.contains(&said), "{said}");
    assert!(xml.contains(&format!("tests=\"{}\"", count("<testcase "))));
    assert_eq!((count("<failure "), count("<error "), count("<skipped ")), (1, 1, 3));
    assert_eq!(count("<testcase classname=\"no-secret-in-env\" name=\"all\"/>"), 1, "a rule without objections is a test that passes");
}

#[test]
fn ocsf_lines_have_what_the_class_requires() {
    let (_, entries) = entries();
    for (line, entry) in ocsf("0.1.0", &entries, estate::NOW_S).iter().zip(&entries) {
        for field in
            ["activity_id", "category_uid", "class_uid", "type_uid", "time", "severity_id", "metadata", "finding_info", "compliance"]
        {
            assert!(!line[field].is_null(), "{field}");
        }
        assert_eq!(line["type_uid"], json!(2003 * 100 + 1));
        assert_eq!(line["status_id"] == 3, matches!(entry.standing, Standing::Suppressed(_)));
    }
}

#[test]
fn exit_codes_and_only_exposures_are_reported() {
    let findings: Vec<Finding> = estate::estate(1, 1)
        .into_iter()
        .map(|item| {
            let resource = Resource::Bucket(item.bucket);
            Finding::new(&resource, &public(&resource, &item.context))
        })
        .collect();
    let of = |verdicts: &[Verdict]| findings.iter().filter(|f| verdicts.contains(&f.verdict)).cloned().collect::<Vec<_>>();
    assert_eq!(exit_code(&findings), 1);
    assert_eq!(exit_code(&of(&[Verdict::NotPublic])), 0);
    assert_eq!(exit_code(&of(&[Verdict::NotPublic, Verdict::Unknown])), 2);
    assert_eq!(exit_code(&[]), 0);
    let reported = findings.iter().filter_map(entry_of_finding).count();
    assert_eq!(reported, of(&[Verdict::Public, Verdict::Unknown]).len());
}
