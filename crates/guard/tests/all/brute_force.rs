//! Effective access against an evaluator that tries every request of a small universe. It shares no code with the crate.

use crate::random::Random;
use guard::policy::Policy;
use guard::policy::effective::{Request, Side, exposure};
use guard::policy::outsider::{Channel, Surroundings};
use guard::{AddressSet, Tri};
use serde_json::{Value, json};

/// One request of a stranger. Keys that are `None` are absent.
#[derive(Clone)]
struct Ask {
    action: &'static str,
    resource: &'static str,
    ip: Option<&'static str>,
    vpc: Option<&'static str>,
    org: Option<&'static str>,
    arn: Option<&'static str>,
    https: &'static str,
    referer: Option<&'static str>,
}

/// Everything that strangers can send. Fixed values of the policies (vpc-fixed, o-fixed, 203.0.113.0/24, account 1111…) are not theirs.
fn universe() -> Vec<Ask> {
    let mut all = Vec::new();
    let ways: [(Option<&str>, Option<&str>); 5] = [
        (Some("9.9.9.9"), None),
        (Some("200.1.2.3"), None),
        (Some("2a00::1"), None),
        (None, Some("vpc-theirs")),
        (None, Some("vpc-other")),
    ];
    let who: [(Option<&str>, Option<&str>); 5] = [
        (None, None),
        (None, Some("arn:aws:iam::990000000001:role/theirs")),
        (None, Some("arn:aws:iam::990000000001:role/admin")),
        (Some("o-theirs"), Some("arn:aws:iam::990000000001:role/theirs")),
        (Some("o-theirs"), Some("arn:aws:iam::990000000001:role/admin")),
    ];
    let things = [
        ("s3:GetObject", "arn:aws:s3:::b/x"),
        ("s3:GetObject", "arn:aws:s3:::b/private/x"),
        ("s3:GetObject", "arn:aws:s3:::b/site/x"),
        ("s3:PutObject", "arn:aws:s3:::b/x"),
        ("s3:PutObject", "arn:aws:s3:::b/private/x"),
        ("s3:PutObject", "arn:aws:s3:::b/site/x"),
        ("s3:ListBucket", "arn:aws:s3:::b"),
    ];
    for (action, resource) in things {
        for (ip, vpc) in ways {
            for (org, arn) in who {
                for https in ["true", "false"] {
                    for referer in [None, Some("ours"), Some("else")] {
                        all.push(Ask { action, resource, ip, vpc, org, arn, https, referer });
                    }
                }
            }
        }
    }
    all
}

fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::Array(items) => items.iter().map(|v| v.as_str().unwrap().to_string()).collect(),
        other => vec![other.as_str().unwrap().to_string()],
    }
}

fn star(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => {
            text.strip_prefix(head).is_some_and(|rest| (0..=rest.len()).any(|n| rest.is_char_boundary(n) && star(tail, &rest[n..])))
        }
    }
}

fn in_cidr(cidr: &str, ip: &str) -> bool {
    let (net, bits) = cidr.split_once('/').unwrap();
    let bits: usize = bits.parse().unwrap();
    let binary = |text: &str| -> String {
        match text.parse::<std::net::IpAddr>().unwrap() {
            std::net::IpAddr::V4(a) => format!("4{:032b}", u32::from(a)),
            std::net::IpAddr::V6(a) => format!("6{:0128b}", u128::from(a)),
        }
    };
    binary(net)[..=bits] == binary(ip)[..binary(ip).len().min(bits + 1)]
}

fn condition_holds(ask: &Ask, operator: &str, key: &str, values: &[String]) -> bool {
    let actual = match key {
        "aws:SourceIp" => ask.ip,
        "aws:SourceVpc" => ask.vpc,
        "aws:PrincipalOrgID" => ask.org,
        "aws:PrincipalArn" => ask.arn,
        "aws:SecureTransport" => Some(ask.https),
        "aws:Referer" => ask.referer,
        other => panic!("{other}"),
    };
    let (operator, if_exists) = operator.strip_suffix("IfExists").map_or((operator, false), |o| (o, true));
    let hit = |test: &dyn Fn(&str, &str) -> bool| actual.is_some_and(|a| values.iter().any(|v| test(v, a)));
    match operator {
        "Null" => values.iter().any(|v| (v == "true") == actual.is_none()),
        _ if if_exists && actual.is_none() => true,
        "StringEquals" | "Bool" => hit(&|v, a| v == a),
        "StringNotEquals" => !hit(&|v, a| v == a),
        "StringLike" | "ArnLike" => hit(&star),
        "StringNotLike" => !hit(&star),
        "IpAddress" => hit(&in_cidr),
        "NotIpAddress" => !hit(&in_cidr),
        other => panic!("{other}"),
    }
}

fn applies(statement: &Value, ask: &Ask) -> bool {
    let everyone = |v: &Value| v == "*" || v["AWS"] == "*";
    let principal = match statement.get("NotPrincipal") {
        Some(_) => true,
        None => everyone(&statement["Principal"]),
    };
    let resource = match statement.get("NotResource") {
        Some(not) => !strings(not).iter().any(|r| star(r, ask.resource)),
        None => strings(&statement["Resource"]).iter().any(|r| star(r, ask.resource)),
    };
    let action = strings(&statement["Action"]).iter().any(|a| star(a, ask.action));
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    let met = |(operator, keys): (&String, &Value)| {
        keys.as_object().unwrap().iter().all(|(key, values)| condition_holds(ask, operator, key, &strings(values)))
    };
    principal && resource && action && conditions.into_iter().all(met)
}

fn open_to_a_stranger(policy: &Value, universe: &[Ask]) -> bool {
    let statements = policy["Statement"].as_array().unwrap();
    universe.iter().any(|ask| {
        statements.iter().any(|s| s["Effect"] == "Allow" && applies(s, ask))
            && !statements.iter().any(|s| s["Effect"] == "Deny" && applies(s, ask))
    })
}

fn random_condition(random: &mut Random) -> (String, Value) {
    let (key, operators, values): (&str, &[&str], &[&str]) = match random.below(6) {
        0 => (
            "aws:SourceIp",
            &["IpAddress", "NotIpAddress", "IpAddressIfExists", "NotIpAddressIfExists"],
            &["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "203.0.113.0/24"],
        ),
        1 => ("aws:SourceVpc", &["StringEquals", "StringNotEquals", "StringEqualsIfExists", "StringNotEqualsIfExists"], &["vpc-fixed"]),
        2 => ("aws:SourceVpc", &["StringLike", "StringNotLike", "StringLikeIfExists"], &["vpc-*", "vpc-fixed", "*"]),
        3 => ("aws:PrincipalOrgID", &["StringEquals", "StringNotEquals", "StringLike", "StringEqualsIfExists"], &["o-fixed"]),
        4 => ("aws:PrincipalArn", &["ArnLike"], &["arn:aws:iam::*:role/admin", "arn:aws:iam::111111111111:role/*"]),
        _ => ("aws:Referer", &["StringEquals", "StringNotEquals", "StringEqualsIfExists"], &["ours"]),
    };
    let operator = *random.pick(operators);
    if random.chance(12) {
        return ("Null".into(), json!({key: [*random.pick(&["true", "false"])]}));
    }
    let chosen: Vec<&str> = values.iter().copied().filter(|_| random.chance(60)).collect();
    let chosen = if chosen.is_empty() { vec![*random.pick(values)] } else { chosen };
    (operator.into(), json!({key: chosen}))
}

fn random_statement(random: &mut Random, effect: &str) -> Value {
    let action = *random.pick(&["s3:*", "s3:GetObject", "s3:PutObject", "s3:ListBucket", "s3:Get*"]);
    let resources: &[&[&str]] =
        &[&["arn:aws:s3:::b", "arn:aws:s3:::b/*"], &["arn:aws:s3:::b/*"], &["arn:aws:s3:::b/private/*"], &["arn:aws:s3:::b/site/*"]];
    let mut statement = json!({"Effect": effect, "Action": action});
    let resource = if random.chance(85) { "Resource" } else { "NotResource" };
    statement[resource] = json!(random.pick(resources));
    match random.below(10) {
        0 => statement["NotPrincipal"] = json!({"AWS": "111111111111"}),
        1 => statement["Principal"] = json!({"AWS": "111111111111"}),
        _ => statement["Principal"] = json!("*"),
    }
    let mut condition = serde_json::Map::new();
    for _ in 0..random.below(4) {
        let (operator, keys) = random_condition(random);
        condition.insert(operator, keys);
    }
    if random.chance(15) {
        condition.insert("Bool".into(), json!({"aws:SecureTransport": [*random.pick(&["true", "false"])]}));
    }
    statement["Condition"] = Value::Object(condition);
    statement
}

/// The catalogue has more actions than the universe. A policy of these actions only is judged alike by both.
fn narrowed(policy: &mut Value) {
    for statement in policy["Statement"].as_array_mut().unwrap() {
        statement["Action"] = match statement["Action"].as_str().unwrap() {
            "s3:*" => json!(["s3:GetObject", "s3:PutObject", "s3:ListBucket"]),
            "s3:Get*" => json!(["s3:GetObject"]),
            other => json!([other]),
        };
    }
}

#[test]
fn effective_access_is_that_of_every_request_tried() {
    let universe = universe();
    let mut random = Random::new(20_261_128);
    let surroundings = Surroundings { owner_account: "123456789012".into(), now_s: None, stranger_account: "990000000001".into() };
    let mut counts = [0, 0];
    for number in 0..2500 {
        let mut statements = vec![random_statement(&mut random, "Allow")];
        for _ in 0..random.below(4) {
            let effect = *random.pick(&["Allow", "Deny", "Deny"]);
            statements.push(random_statement(&mut random, effect));
        }
        let mut policy = json!({"Statement": statements});
        narrowed(&mut policy);
        let expected = open_to_a_stranger(&policy, &universe);
        let parsed = Policy::from_value(&policy).unwrap();
        let side = Side { policy: &parsed, grants: &[], arn: "arn:aws:s3:::b", object_infix: "/" };
        let found = exposure(&[side], &Request { channel: Channel::Direct, surroundings: &surroundings, key: None });
        counts[usize::from(expected)] += 1;
        assert_eq!(found.open, Tri::from(expected), "number {number}: {policy:#}");
    }
    assert!(counts.iter().all(|n| *n > 500), "the policies are not mixed: {counts:?}");
}

#[test]
fn breadth_of_a_union_is_that_of_a_bitmap() {
    // Prefixes of 12 bits at most: 4096 blocks say everything about a set.
    let mut random = Random::new(5);
    let private = |block: usize| (0x0a0..=0x0af).contains(&block) || block == 0xac1;
    let mut counts = [0, 0];
    for _ in 0..3000 {
        let mut bitmap = [false; 4096];
        let mut cidrs = Vec::new();
        let base = random.below(256);
        for _ in 0..=random.below(24) {
            let prefix = 7 + random.below(6) as usize;
            let first = if random.chance(80) { (base + random.below(4)) % 256 } else { *random.pick(&[10, 11, 172, 8]) };
            let block = (first as usize * 16 + random.below(16) as usize) >> (12 - prefix) << (12 - prefix);
            cidrs.push(format!("{}.{}.0.0/{prefix}", block / 16, block % 16 * 16));
            bitmap[block..block + (1 << (12 - prefix))].fill(true);
        }
        let expected = (0..128).any(|n| {
            let range = n * 32..(n + 1) * 32;
            range.clone().all(|b| bitmap[b]) && !range.clone().all(private)
        });
        counts[usize::from(expected)] += 1;
        let set = AddressSet::from_cidrs(cidrs.iter().map(String::as_str)).unwrap();
        assert_eq!(set.is_broad(), expected, "{cidrs:?}");
    }
    assert!(counts.iter().all(|n| *n > 200), "the sets are not mixed: {counts:?}");
}
