//! `cargo run --release -p guard --example guard_bench`: a gate of 1,000 resources against 30 rules, verdicts on 1,000 buckets, and the
//! secrets detector over 64 MiB. It prints milliseconds; the bounds are those of the issue.
#![allow(clippy::disallowed_types, clippy::disallowed_macros, clippy::unwrap_used, reason = "a measurement holds a clock and prints")]

use guard::rules::{Facts, RuleSet, gate};
use guard::secrets::Detector;
use guard::{AclGrant, Bucket, Context, Fact, Grantee, Ownership, PublicAccessBlock, Resource, SnapshotSharing, public};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Instant;

fn best_of(runs: usize, mut run: impl FnMut()) -> f64 {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1000.0
        })
        .fold(f64::MAX, f64::min)
}

/// Thirty rules, all of them about the type that every resource has: the worst case.
fn rules() -> RuleSet {
    let mut text = String::new();
    for n in 0..30 {
        write!(
            text,
            "[[rule]]\nid = \"r{n}\"\ntitle = \"t\"\nseverity = \"high\"\nenforcement = \"deny\"\nresources = [\"thing\"]\nwhy = \"{{id}}\"\nfix = \"f\"\n\
             when = [{{ attribute = \"tier\", is_not = \"test\" }}]\n\
             require = [{{ attribute = \"a{}\", is = \"ok\" }}, {{ attribute = \"list\", lacks = [\"any\", \"bad{n}\"] }}]\n\
             fail = [{{ tier = \"prod\", a{} = \"wrong\", list = [] }}]\npass = [{{ tier = \"prod\", a{} = \"ok\", list = [\"x\"] }}]\n",
            n % 12,
            n % 12,
            n % 12
        )
        .unwrap();
    }
    RuleSet::load(&text).unwrap()
}

fn things() -> Vec<Facts> {
    (0..1000)
        .map(|n| {
            let mut attributes: std::collections::BTreeMap<String, Value> = (0..12).map(|a| (format!("a{a}"), json!("ok"))).collect();
            attributes.insert("tier".into(), json!("prod"));
            attributes.insert("list".into(), json!(["db:5432", "cache:6379"]));
            if n % 50 == 0 {
                attributes.insert("a3".into(), json!("wrong"));
            }
            Facts { kind: "thing".into(), id: format!("thing-{n}"), attributes }
        })
        .collect()
}

fn buckets() -> Vec<Resource> {
    let policies = [
        json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"}]),
        json!([{"Effect": "Allow", "Principal": {"AWS": "210987654321"}, "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"}]),
        json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"},
               {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*",
                "Condition": {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}}]),
    ];
    (0..1000)
        .map(|n| {
            Resource::Bucket(Bucket {
                name: "b".into(),
                policy: Fact::Known(Some(json!({"Statement": policies[n % 3]}).to_string())),
                acl: Fact::Known(vec![AclGrant { grantee: Grantee::User("o".into()), permission: "FULL_CONTROL".into() }]),
                owner: Some("o".into()),
                ownership: Fact::Known(Ownership::ObjectWriter),
                block: Fact::Known(PublicAccessBlock::default()),
            })
        })
        .collect()
}

fn main() {
    let (set, things) = (rules(), things());
    let report = gate(&set, &things, &[], None, 0);
    let ms = best_of(20, || {
        std::hint::black_box(gate(&set, &things, &[], None, 0));
    });
    println!(
        "gate: {} resources, {} rules, {} objections: {ms:.2} ms (at most 5)",
        report.resources,
        report.rules,
        report.objections.len()
    );
    // Of the same facts in the same run: a machine that is slow is slow at both.
    let lines: Vec<String> = things.iter().map(|t| serde_json::to_string(&t.attributes).unwrap()).collect();
    let read_ms = best_of(20, || {
        lines.iter().for_each(|line| drop(std::hint::black_box(serde_json::from_str::<Value>(line).unwrap())));
    });
    println!("gate: {:.2} times what serde_json takes to read the same facts ({read_ms:.2} ms)", ms / read_ms);

    let context = Context {
        account_id: "123456789012".into(),
        partition: "aws".into(),
        organisation_block: Fact::Known(PublicAccessBlock::default()),
        account_block: Fact::Known(PublicAccessBlock::default()),
        ebs_snapshot_sharing: Fact::Known(SnapshotSharing::Unblocked),
        known_accounts: None,
        now_s: None,
    };
    let buckets = buckets();
    let ms = best_of(5, || buckets.iter().for_each(|b| drop(std::hint::black_box(public(b, &context)))));
    println!("verdicts: {} buckets, a third of them with a conditional Deny: {ms:.1} ms", buckets.len());

    let detector = Detector::built_in().unwrap();
    let (mut state, mut text) = (1_u64, Vec::with_capacity(64 << 20));
    while text.len() < 64 << 20 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let word = (state >> 33) as usize % 4096;
        text.extend_from_slice(format!("{word:x}_key = {} ", state >> 40).as_bytes());
        if word.is_multiple_of(16) {
            text.push(b'\n');
        }
    }
    let ms = best_of(3, || {
        std::hint::black_box(detector.scan(&text));
    });
    println!(
        "secrets: {} rules over 64 MiB: {ms:.0} ms, {:.0} MiB/s (1 GiB in 10 s needs 103)",
        detector.rules().len(),
        64.0 / ms * 1000.0
    );
}
