//! The words that people read, kept as they are: findings of every type, and every rule of the gate.

use crate::estate;
use guard::rules::{BUILT_IN, Facts, RuleSet, WaiverStore, gate, gate_of};
use guard::secrets::Detector;
use guard::waiver::Waiver;
use guard::{
    Ami, EbsSnapshot, Fact, Finding, IpPermission, Object, RdsInstance, RdsSnapshot, Resource, Route, RouteTable, SecurityGroup, Sharing,
    public,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

fn bucket(kind: &str) -> (Resource, guard::Context) {
    let item = estate::estate(1, 1).into_iter().find(|i| i.kind == kind).unwrap();
    (Resource::Bucket(item.bucket), item.context)
}

fn rule(cidr: &str) -> IpPermission {
    IpPermission {
        protocol: "tcp".into(),
        ports: Some((5432, 5432)),
        cidrs: vec![cidr.into()],
        prefix_lists: Vec::new(),
        descriptions: [("0.0.0.0/0".to_string(), "partners".to_string())].into(),
    }
}

fn database(cidr: &str) -> Resource {
    let route = Route { destination: "0.0.0.0/0".into(), target: "igw-1".into(), is_active: true };
    Resource::RdsInstance(RdsInstance {
        id: "shop".into(),
        port: 5432,
        publicly_accessible: Fact::Known(true),
        ingress: Fact::Known(vec![rule(cidr)]),
        route_tables: Fact::Known(vec![RouteTable { routes: vec![route] }]),
        has_ipv6: false,
    })
}

#[test]
fn findings() {
    let all = || Fact::Known(Sharing { with_all: true, accounts: vec![] });
    let object = Object {
        bucket: estate::bucket("shop"),
        key: "dump.sql".into(),
        acl: Fact::Known(vec![estate::grant(estate::group("global/AllUsers"), "READ")]),
    };
    let snapshot = |of_cluster| {
        let restore = Fact::Known(vec!["all".to_string()]);
        Resource::RdsSnapshot(RdsSnapshot { id: "nightly".into(), of_cluster, encrypted: Fact::Known(false), restore })
    };
    let mut cases: Vec<(Resource, guard::Context)> =
        ["acl_read", "acl_authenticated_read_acp", "star", "vpc_wildcard", "deny_unless_org", "private", "policy_unread"]
            .map(bucket)
            .into();
    let others = [
        Resource::Object(object),
        Resource::Ami(Ami { id: "ami-1".into(), launch_permission: all() }),
        Resource::EbsSnapshot(EbsSnapshot { id: "snap-1".into(), encrypted: Fact::Known(false), create_volume_permission: all() }),
        snapshot(false),
        snapshot(true),
        database("0.0.0.0/0"),
        database("10.0.0.0/8"),
        Resource::SecurityGroup(SecurityGroup { id: "sg-1".into(), ingress: Fact::Known(vec![rule("0.0.0.0/0")]) }),
    ];
    cases.extend(others.into_iter().map(|resource| (resource, estate::context())));
    let mut text = String::new();
    for (resource, context) in cases {
        let finding = Finding::new(&resource, &public(&resource, &context));
        writeln!(text, "{}", serde_json::to_string_pretty(&finding).unwrap()).unwrap();
    }
    insta::assert_snapshot!("findings", text);
}

#[test]
fn every_rule_of_the_gate() {
    let set = RuleSet::built_in().unwrap();
    let now_s = estate::NOW_S;
    let violations: &[(&str, Value)] = &[
        ("s3_bucket", json!({"verdict": "public", "statements": [{"Effect": "Allow", "Principal": "*"}]})),
        ("ami", json!({"verdict": "public"})),
        ("security_group", json!({"verdict": "public", "statements": [{"Cidrs": ["0.0.0.0/0"]}]})),
        (
            "service",
            json!({"egress": ["any"], "user": "root", "env_secrets": ["DB_URL"], "command_secrets": [], "listen": ["0.0.0.0"], "has_image": true,
                "image_age_s": 700_000, "image_max_age_s": 604_800, "signature": "none"}),
        ),
        ("image", json!({"secrets": ["/root/.ssh/id_ed25519"]})),
    ];
    let mut text = String::new();
    let mut seen = std::collections::BTreeSet::new();
    for (kind, attributes) in violations {
        for attributes in [attributes.clone(), json!({})] {
            let attributes = attributes.as_object().unwrap().clone().into_iter().collect();
            let facts = Facts { kind: (*kind).into(), id: "shop".into(), attributes };
            let at_control_plane = gate_of(WaiverStore::ControlPlane, &set, std::slice::from_ref(&facts), &[], None, now_s).objections;
            for (objection, there) in gate(&set, &[facts], &[], None, now_s).objections.into_iter().zip(at_control_plane) {
                let level = format!("{:?}", objection.enforcement).to_lowercase();
                let head = format!("{level} {} ({:?})", objection.rule, objection.severity).to_lowercase();
                writeln!(text, "{head}\n  why:  {}\n  fix:  {}\n  hint: {}", objection.why, objection.fix, objection.hint).unwrap();
                if there.hint != objection.hint {
                    writeln!(text, "  hint of a control plane: {}", there.hint).unwrap();
                }
                seen.insert(objection.rule);
            }
        }
    }
    assert_eq!(seen.len(), set.rules.len(), "a rule has no golden text");
    insta::assert_snapshot!("gate", text);
}

#[test]
fn what_became_of_a_waiver() {
    let set = RuleSet::load(&BUILT_IN.replace("enforcement = \"warn\"", "enforcement = \"deny\"")).unwrap();
    let facts = Facts { kind: "service".into(), id: "web".into(), attributes: [("user".to_string(), json!("root"))].into() };
    let at = |waivers: &[Waiver], now_s| {
        let report = gate(&set, std::slice::from_ref(&facts), waivers, None, now_s);
        report.objections.into_iter().find(|o| o.rule == "not-root").unwrap()
    };
    let evidence = at(&[], estate::NOW_S).fingerprint;
    let waiver = |evidence: &str, granted: &str, expires: &str| {
        let text = format!(
            "[[waiver]]\nrule = \"not-root\"\nresource = \"web\"\nevidence = \"{evidence}\"\nowner = \"ann\"\nreason = \"port 25\"\n\
             ticket = \"OPS-1\"\ngranted = \"{granted}\"\nexpires = \"{expires}\"\n"
        );
        Waiver::load(&text).unwrap()
    };
    let other = "0".repeat(32);
    let lines: Vec<String> = [
        (evidence.as_str(), "2026-11-28", "2026-12-12"),
        (&evidence, "2026-10-01", "2026-11-01"),
        (&evidence, "2026-12-01", "2026-12-12"),
        (&other, "2026-11-28", "2026-12-12"),
    ]
    .map(|(evidence, granted, expires)| at(&waiver(evidence, granted, expires), estate::NOW_S).hint)
    .into();
    insta::assert_snapshot!("waivers", lines.join("\n"));
}

#[test]
fn every_rule_of_the_secrets_detector() {
    let detector = Detector::built_in().unwrap();
    let mut text = String::new();
    for rule in detector.rules() {
        let leak = detector.scan(rule.fail[0].as_bytes()).remove(0);
        writeln!(text, "{}: line {}: {}: {}; {}", leak.rule, leak.line, leak.title, leak.shown, leak.fix).unwrap();
    }
    insta::assert_snapshot!("secrets", text);
}
