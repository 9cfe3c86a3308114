//! The record of an incident: what was written stays, and it closes only with a rule that would have refused it.

use crate::estate;
use guard::incident::{Event, Incident, reply_template, security_txt};
use guard::rules::{Facts, RuleSet};
use guard::{Fact, Finding, Resource, Verdict, parse_s, public};
use serde_json::json;

const T: i64 = estate::NOW_S;

fn facts() -> (Facts, Finding) {
    let mut bucket = estate::bucket("shop");
    let policy = json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::shop/*"}});
    bucket.policy = Fact::Known(Some(policy.to_string()));
    let resource = Resource::Bucket(bucket);
    let judgement = public(&resource, &estate::context());
    (Facts::of_judgement(&resource, &judgement), Finding::new(&resource, &judgement))
}

fn opened() -> Incident {
    let (facts, finding) = facts();
    Incident::open("INC-1", &facts, &finding.fingerprint, &finding.why, "scan", T).unwrap()
}

fn contained() -> Incident {
    let mut incident = opened();
    incident.append(Event::Evidence { name: "policy.json".into(), sha256: "ab".repeat(32) }, "scan", T + 5).unwrap();
    incident.append(Event::Contained { change: "RestrictPublicBuckets on bucket shop".into() }, "ann", T + 40).unwrap();
    incident.append(Event::Verified { verdict: Verdict::NotPublic }, "ann", T + 42).unwrap();
    incident.append(Event::Cause { text: "a policy copied from a | tutorial".into() }, "bob", T + 9000).unwrap();
    incident
}

fn rules(enforcement: &str, fail: &str) -> RuleSet {
    let rule = |id: &str, kind: &str| {
        format!(
            "[[rule]]\nid = \"{id}\"\ntitle = \"t\"\nseverity = \"high\"\nenforcement = \"{enforcement}\"\nresources = [\"{kind}\"]\nwhy = \"w\"\nfix = \"f\"\n\
             require = [{{ attribute = \"verdict\", is = \"not_public\" }}]\nfail = [{{ {fail} }}]\npass = [{{ verdict = \"not_public\" }}]\n"
        )
    };
    RuleSet::load(&(rule("mine", "s3_bucket") + &rule("other", "ami"))).unwrap()
}

#[test]
fn it_closes_only_with_a_rule_whose_sample_it_is() {
    let good = rules("deny", "verdict = \"public\"");
    let refused = |mut incident: Incident, rule: &str, set: &RuleSet| incident.close(rule, set, "bob", T + 9999).unwrap_err().fault;
    assert!(refused(opened(), "mine", &good).contains("is not contained yet"));
    assert!(refused(contained(), "none", &good).contains("is not among the rules"));
    assert!(refused(contained(), "other", &good).contains("would not have refused it"));
    assert!(refused(contained(), "mine", &rules("warn", "verdict = \"public\"")).contains("only warns"));
    let elsewhere = rules("deny", "verdict = \"public\", documented = \"not_public\"");
    assert!(refused(contained(), "mine", &elsewhere).contains("no failing sample with the facts"));
    let mut incident = contained();
    incident.close("mine", &good, "bob", T + 9999).unwrap();
    assert!(incident.is_closed());
    assert!(incident.append(Event::Note { text: "more".into() }, "bob", T + 99_999).is_err());
    let mut by_hand = contained();
    assert!(by_hand.append(Event::Closed { rule: "mine".into() }, "bob", T + 9999).is_err());
}

#[test]
fn what_was_undone_is_neither_closed_nor_told_to_be_shut() {
    let mut incident = contained();
    incident.append(Event::Undone { change: "RestrictPublicBuckets on bucket shop".into() }, "ann", T + 9001).unwrap();
    let set = rules("deny", "verdict = \"public\"");
    assert!(incident.close("mine", &set, "bob", T + 9002).unwrap_err().fault.contains("is not contained any more"));
    assert!(!reply_template(&incident).contains("The access was closed"));
    assert!(incident.append(Event::Verified { verdict: Verdict::NotPublic }, "ann", T + 9002).is_err());
    incident.append(Event::Contained { change: "again".into() }, "ann", T + 9003).unwrap();
    incident.append(Event::Verified { verdict: Verdict::NotPublic }, "ann", T + 9004).unwrap();
    assert!(reply_template(&incident).contains("The access was closed"));
    incident.close("mine", &set, "bob", T + 9005).unwrap();
}

/// Nothing is left to contain of what does not exist any more; of another resource there is.
#[test]
fn what_does_not_exist_any_more_needs_no_containment() {
    let set = rules("deny", "verdict = \"public\"");
    let gone = |resource: &str| Event::Gone { kind: "s3_bucket".into(), resource: resource.into() };
    let mut incident = opened();
    let other = Event::Exposed { kind: "s3_bucket".into(), resource: "stock".into(), fingerprint: "f".into(), why: "w".into() };
    incident.append(other, "scan", T + 1).unwrap();
    incident.append(gone("shop"), "ann", T + 2).unwrap();
    assert!(incident.is_gone("s3_bucket", "shop") && !incident.is_gone("s3_bucket", "stock") && !incident.is_gone("ami", "shop"));
    let verified = || Event::Verified { verdict: Verdict::NotPublic };
    assert!(!incident.is_contained() && incident.append(verified(), "ann", T + 3).is_err(), "the other is open");
    incident.append(gone("stock"), "ann", T + 4).unwrap();
    incident.append(verified(), "ann", T + 5).unwrap();
    incident.append(Event::Cause { text: "c".into() }, "bob", T + 6).unwrap();
    let text = incident.markdown();
    assert!(text.contains("gone: s3_bucket stock does not exist any more"), "{text}");
    incident.close("mine", &set, "bob", T + 7).unwrap();
    assert_eq!(Incident::read(&incident.to_lines(), None).unwrap(), incident);
    // A note that says so is none.
    let mut noted = opened();
    noted.append(Event::Note { text: "gone: s3_bucket shop".into() }, "eve", T + 1).unwrap();
    assert!(!noted.is_contained());
}

#[test]
fn entries_are_in_order_and_say_who() {
    let mut incident = opened();
    let note = |text: &str| Event::Note { text: text.into() };
    assert!(incident.append(note("x"), " ", T).unwrap_err().fault.contains("who made it"));
    assert!(incident.append(note("x"), "ann", T - 1).unwrap_err().fault.contains("older"));
    assert!(
        incident.append(Event::Verified { verdict: Verdict::NotPublic }, "ann", T).unwrap_err().fault.contains("after it is contained")
    );
    assert!(incident.append(Event::Evidence { name: "a".into(), sha256: "ab".into() }, "ann", T).is_err());
    let mut contained = contained();
    for verdict in [Verdict::Public, Verdict::Unknown] {
        assert!(contained.append(Event::Verified { verdict }, "ann", T + 9999).is_err(), "{verdict:?}");
    }
}

#[test]
fn a_record_that_was_changed_anywhere_is_refused() {
    let incident = contained();
    let text = incident.to_lines();
    assert_eq!(Incident::read(&text, Some(incident.head())).unwrap(), incident);
    let lines: Vec<&str> = text.lines().collect();
    for gone in 0..lines.len() {
        let mut fewer = lines.clone();
        fewer.remove(gone);
        let fewer = fewer.join("\n");
        // A cut at the end is noticed by whoever kept the last hash.
        assert!(Incident::read(&fewer, Some(incident.head())).is_err(), "line {gone} is gone");
        assert_eq!(Incident::read(&fewer, None).is_ok(), gone == lines.len() - 1, "line {gone} is gone");
    }
    for place in 0..text.len() {
        let mut bytes = text.clone().into_bytes();
        let change = if bytes[place].is_ascii_digit() { b'0' + (bytes[place] - b'0' + 1) % 10 } else { b'x' };
        if bytes[place] == b'\n' || bytes[place] == change {
            continue;
        }
        bytes[place] = change;
        let changed = String::from_utf8(bytes).unwrap();
        if let Ok(read) = Incident::read(&changed, None) {
            assert_eq!(read, incident, "byte {place}");
        }
    }
    assert!(Incident::read("", None).is_err() && Incident::read("{}", None).is_err());
}

#[test]
fn the_review_and_the_answer() {
    let mut incident = contained();
    incident.close("mine", &rules("deny", "verdict = \"public\""), "bob", T + 9999).unwrap();
    insta::assert_snapshot!("incident", format!("{}\n{}", incident.markdown(), reply_template(&incident)));
}

#[test]
fn a_security_txt_has_what_the_rfc_requires() {
    let expires_s = parse_s("2027-11-28").unwrap();
    let text = security_txt("mailto:security@example.org", Some("https://example.org/policy"), expires_s).unwrap();
    assert!(text.starts_with("Contact: mailto:security@example.org\nExpires: 2027-11-28T00:00:00Z\n"), "{text}");
    for (contact, policy) in [("security@example.org", None), ("mailto:a@b\nExpires: never", None), ("mailto:a@b", Some("http://x"))] {
        assert!(security_txt(contact, policy, expires_s).is_err(), "{contact} {policy:?}");
    }
}
