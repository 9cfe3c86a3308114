//! Effective access against an evaluator that tries every request of a small universe. It shares no code with the crate.
//!
//! The universe has one action of each class that the random policies tell apart, so that `s3:*` and `s3:Get*` need no translation.

use crate::estate;
use crate::random::Random;
use guard::policy::effective::{Request, Side, exposure};
use guard::policy::outsider::{Channel, Surroundings};
use guard::policy::{Policy, Scope, documented};
use guard::{AccessPoint, AddressSet, Fact, Ownership, PublicAccessBlock, Resource, Tri, Verdict, public};
use serde_json::{Value, json};

/// One request of a stranger. Keys that are `None` are absent.
#[derive(Clone)]
struct Ask {
    action: &'static str,
    resource: &'static str,
    ip: Option<&'static str>,
    vpc: Option<&'static str>,
    vpce: Option<&'static str>,
    org: Option<&'static str>,
    arn: Option<&'static str>,
    account: Option<&'static str>,
    userid: Option<&'static str>,
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
    let keys = ["arn:aws:s3:::b/x", "arn:aws:s3:::b/private/x", "arn:aws:s3:::b/site/x"];
    let of_objects = ["s3:GetObject", "s3:GetObjectAcl", "s3:PutObject", "s3:DeleteObject"];
    let of_bucket = ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketAcl", "s3:PutBucketAcl"];
    let mut things: Vec<(&str, &str)> = of_bucket.iter().map(|action| (*action, "arn:aws:s3:::b")).collect();
    things.extend(of_objects.iter().flat_map(|action| keys.iter().map(move |key| (*action, *key))));
    for (action, resource) in things {
        for (ip, vpc) in ways {
            for (org, arn) in who {
                for https in ["true", "false"] {
                    for referer in [None, Some("ours"), Some("else")] {
                        let vpce = vpc.map(|_| "vpce-theirs");
                        let account = arn.map(|_| "990000000001");
                        let userid = Some(if arn.is_some() { "AROATHEIRS:session" } else { "anonymous" });
                        all.push(Ask { action, resource, ip, vpc, vpce, org, arn, account, userid, https, referer });
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
        "aws:SourceVpce" => ask.vpce,
        "aws:PrincipalAccount" => ask.account,
        "aws:userid" => ask.userid,
        "aws:PrincipalIsAWSService" => ask.account.map(|_| "false"),
        "aws:PrincipalOrgID" => ask.org,
        "aws:PrincipalArn" => ask.arn,
        "aws:SecureTransport" => Some(ask.https),
        "aws:Referer" => ask.referer,
        other => panic!("{other}"),
    };
    let (set, operator) = operator.split_once(':').unwrap_or(("", operator));
    // Over a set of no values, one of them is never met, and all of them always are.
    match (set, actual) {
        ("ForAnyValue", None) => return false,
        ("ForAllValues", None) => return true,
        _ => {}
    }
    let (operator, if_exists) = operator.strip_suffix("IfExists").map_or((operator, false), |o| (o, true));
    let hit = |test: &dyn Fn(&str, &str) -> bool| actual.is_some_and(|a| values.iter().any(|v| test(v, a)));
    match operator {
        "Null" => values.iter().any(|v| (v == "true") == actual.is_none()),
        _ if if_exists && actual.is_none() => true,
        "StringEquals" | "Bool" => hit(&|v, a| v == a),
        "StringNotEquals" => !hit(&|v, a| v == a),
        "StringEqualsIgnoreCase" => hit(&|v, a| v.to_lowercase() == a.to_lowercase()),
        "StringLike" | "ArnLike" => hit(&star),
        "StringNotLike" => !hit(&star),
        "IpAddress" => hit(&in_cidr),
        "NotIpAddress" => !hit(&in_cidr),
        other => panic!("{other}"),
    }
}

fn applies(statement: &Value, ask: &Ask) -> bool {
    let everyone = |v: &Value| v == "*" || v.get("AWS").is_some_and(|who| strings(who).iter().any(|name| name == "*"));
    let principal = match statement.get("NotPrincipal") {
        Some(_) => true,
        None => everyone(&statement["Principal"]),
    };
    let resource = match statement.get("NotResource") {
        Some(not) => !strings(not).iter().any(|r| star(r, ask.resource)),
        None => strings(&statement["Resource"]).iter().any(|r| star(r, ask.resource)),
    };
    let action = match statement.get("NotAction") {
        Some(not) => !strings(not).iter().any(|a| star(a, ask.action)),
        None => strings(&statement["Action"]).iter().any(|a| star(a, ask.action)),
    };
    let conditions = statement["Condition"].as_object().into_iter().flatten();
    let met = |(operator, keys): (&String, &Value)| {
        keys.as_object().unwrap().iter().all(|(key, values)| condition_holds(ask, operator, key, &strings(values)))
    };
    principal && resource && action && conditions.into_iter().all(met)
}

fn has(policy: &Value, effect: &str, ask: &Ask) -> bool {
    policy["Statement"].as_array().unwrap().iter().any(|s| s["Effect"] == effect && applies(s, ask))
}

fn open_to_a_stranger(policy: &Value, universe: &[Ask]) -> bool {
    universe.iter().any(|ask| has(policy, "Allow", ask) && !has(policy, "Deny", ask))
}

fn random_condition(random: &mut Random) -> (String, Value) {
    let (key, operators, values): (&str, &[&str], &[&str]) = match random.below(10) {
        0 => (
            "aws:SourceIp",
            &["IpAddress", "NotIpAddress", "IpAddressIfExists", "NotIpAddressIfExists"],
            &["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "::/0", "203.0.113.0/24"],
        ),
        1 => ("aws:SourceVpc", &["StringEquals", "StringNotEquals", "StringEqualsIfExists", "StringNotEqualsIfExists"], &["vpc-fixed"]),
        2 => ("aws:SourceVpc", &["StringLike", "StringNotLike", "StringLikeIfExists"], &["vpc-*", "vpc-fixed", "*"]),
        3 => ("aws:PrincipalOrgID", &["StringEquals", "StringNotEquals", "StringLike", "StringEqualsIfExists"], &["o-fixed"]),
        4 => {
            ("aws:SourceVpce", &["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "ForAnyValue:StringEquals"], &["vpce-fixed"])
        }
        5 => (
            "aws:PrincipalAccount",
            &["StringEquals", "StringNotEquals", "StringNotEqualsIfExists", "ForAllValues:StringEquals"],
            &["111111111111"],
        ),
        6 => ("aws:userid", &["StringLike", "StringNotLike", "StringEquals"], &["AROAFIXED:*", "anonymous"]),
        7 => ("aws:PrincipalIsAWSService", &["Bool", "BoolIfExists"], &["true", "false"]),
        8 => ("aws:PrincipalArn", &["ArnLike"], &["arn:aws:iam::*:role/admin", "arn:aws:iam::111111111111:role/*"]),
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
    if random.chance(10) {
        let action = statement.as_object_mut().unwrap().remove("Action").unwrap();
        statement["NotAction"] = action;
    }
    match random.below(11) {
        2 => statement["Principal"] = json!({"AWS": ["111111111111", "*"]}),
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

fn random_policy(random: &mut Random, first: &str) -> Value {
    let mut statements = vec![random_statement(random, first)];
    for _ in 0..random.below(4) {
        let effect = *random.pick(&["Allow", "Deny", "Deny"]);
        statements.push(random_statement(random, effect));
    }
    json!({"Statement": statements})
}

fn surroundings() -> Surroundings {
    Surroundings { owner_account: "123456789012".into(), now_s: None, stranger_account: "990000000001".into() }
}

#[test]
fn effective_access_is_that_of_every_request_tried() {
    let universe = universe();
    let mut random = Random::new(20_261_128);
    let surroundings = surroundings();
    let mut counts = [0, 0];
    for number in 0..1500 {
        let policy = random_policy(&mut random, "Allow");
        let expected = open_to_a_stranger(&policy, &universe);
        let parsed = Policy::from_value(&policy).unwrap();
        let side = Side { policy: &parsed, grants: &[], arn: "arn:aws:s3:::b", object_infix: "/" };
        let found = exposure(&[side], &Request { channel: Channel::Direct, surroundings: &surroundings, key: None });
        counts[usize::from(expected)] += 1;
        assert_eq!(found.open, Tri::from(expected), "number {number}: {policy}");
    }
    assert!(counts.iter().all(|n| *n > 250), "the policies are not mixed: {counts:?}");
}

/// Grants of an ACL, switches of four levels and a policy, all at once, through the function that scans ask.
#[test]
fn a_verdict_on_a_bucket_is_that_of_every_request_tried() {
    let universe = universe();
    let mut random = Random::new(77);
    let mut counts = [0, 0];
    for number in 0..1500 {
        let first = *random.pick(&["Allow", "Deny"]);
        let policy = random_policy(&mut random, first);
        let parsed = Policy::from_value(&policy).unwrap();
        let mut bucket = estate::bucket("b");
        bucket.policy = Fact::Known(Some(policy.to_string()));
        let grants: Vec<(&str, &str)> = (0..random.below(3))
            .map(|_| {
                let who = *random.pick(&["global/AllUsers", "global/AuthenticatedUsers", "s3/LogDelivery"]);
                (who, *random.pick(&["READ", "WRITE", "READ_ACP", "WRITE_ACP", "FULL_CONTROL"]))
            })
            .collect();
        bucket.acl = Fact::Known(grants.iter().map(|(who, what)| estate::grant(estate::group(who), what)).collect());
        let mut context = estate::context();
        let mut on = [false; 2];
        for level in [&mut context.organisation_block, &mut context.account_block, &mut bucket.block] {
            let block = PublicAccessBlock {
                block_public_acls: random.chance(30),
                ignore_public_acls: random.chance(12),
                block_public_policy: random.chance(30),
                restrict_public_buckets: random.chance(12),
            };
            on = [on[0] || block.ignore_public_acls, on[1] || block.restrict_public_buckets];
            *level = Fact::Known(block);
        }
        let enforced = random.chance(15);
        bucket.ownership = Fact::Known(if enforced { Ownership::BucketOwnerEnforced } else { Ownership::ObjectWriter });

        let granted = |ask: &Ask| {
            grants.iter().any(|(who, what)| {
                let actions: &[&str] = match *what {
                    "READ" => &["s3:ListBucket", "s3:ListBucketVersions"],
                    "WRITE" => &["s3:PutObject", "s3:DeleteObject"],
                    "READ_ACP" => &["s3:GetBucketAcl"],
                    "WRITE_ACP" => &["s3:PutBucketAcl"],
                    _ => {
                        &["s3:ListBucket", "s3:ListBucketVersions", "s3:PutObject", "s3:DeleteObject", "s3:GetBucketAcl", "s3:PutBucketAcl"]
                    }
                };
                let is_member = *who == "global/AllUsers" || (*who == "global/AuthenticatedUsers" && ask.arn.is_some());
                is_member && actions.contains(&ask.action)
            })
        };
        let is_restricted = on[1] && documented::public_statement(&parsed, Scope::Bucket).is_some();
        let expected = universe.iter().any(|ask| {
            let by_acl = !enforced && !on[0] && granted(ask);
            let by_policy = !is_restricted && has(&policy, "Allow", ask);
            (by_acl || by_policy) && !has(&policy, "Deny", ask)
        });
        counts[usize::from(expected)] += 1;
        let found = public(&Resource::Bucket(bucket), &context);
        let verdict = if expected { Verdict::Public } else { Verdict::NotPublic };
        assert_eq!(found.verdict, verdict, "number {number}: {grants:?} {on:?} {enforced} {policy}");
    }
    assert!(counts.iter().all(|n| *n > 250), "the buckets are not mixed: {counts:?}");
}

/// A request through an access point passes two policies, each of which names the object in its own way.
#[test]
fn a_verdict_on_an_access_point_is_that_of_every_request_tried() {
    const ARN: &str = "arn:aws:s3:us-west-2:123456789012:accesspoint/ap";
    let universe = universe();
    let mut random = Random::new(4);
    let mut counts = [0, 0];
    for number in 0..800 {
        let own = random_policy(&mut random, "Allow");
        let theirs = random_policy(&mut random, "Allow");
        let named = own.to_string().replace("arn:aws:s3:::b/", &format!("{ARN}/object/")).replace("arn:aws:s3:::b", ARN);
        let mut bucket = estate::bucket("b");
        bucket.policy = Fact::Known(Some(theirs.to_string()));
        let access_point = AccessPoint {
            name: "ap".into(),
            arn: ARN.into(),
            account_id: estate::OWNER.into(),
            network_origin: Fact::Known("Internet".into()),
            policy: Fact::Known(Some(named)),
            block: Fact::Known(PublicAccessBlock::default()),
            other_account_block: None,
            bucket,
        };
        let passes = |policy: &Value, ask: &Ask| has(policy, "Allow", ask) && !has(policy, "Deny", ask);
        let expected = universe.iter().any(|ask| passes(&own, ask) && passes(&theirs, ask));
        counts[usize::from(expected)] += 1;
        let found = public(&Resource::AccessPoint(access_point), &estate::context());
        assert_eq!(found.effective == Verdict::Public, expected, "number {number}: {own} {theirs}");
    }
    assert!(counts.iter().all(|n| *n > 150), "the access points are not mixed: {counts:?}");
}

/// What holds whatever the policies say: a `Deny` or a switch opens nothing, an `Allow` or a grant closes nothing.
#[test]
fn more_denial_opens_nothing_and_more_grants_close_nothing() {
    let mut random = Random::new(31);
    for number in 0..1000 {
        let mut policy = random_policy(&mut random, "Allow");
        let mut bucket = estate::bucket("b");
        let mut judged = |policy: &Value, switches: bool| {
            bucket.policy = Fact::Known(Some(policy.to_string()));
            bucket.block = Fact::Known(if switches { PublicAccessBlock::ALL } else { PublicAccessBlock::default() });
            public(&Resource::Bucket(bucket.clone()), &estate::context())
        };
        let before = judged(&policy, false);
        assert!(judged(&policy, true).verdict <= before.verdict, "number {number}: a switch opens {policy}");
        let effect = *random.pick(&["Allow", "Deny"]);
        let more = random_statement(&mut random, effect);
        policy["Statement"].as_array_mut().unwrap().push(more);
        let after = judged(&policy, false);
        if effect == "Deny" {
            assert!(after.effective <= before.effective, "number {number}: a Deny opens {policy}");
            assert_eq!(after.documented, before.documented, "number {number}: the documented rule reads a Deny in {policy}");
        } else {
            assert!(after.effective >= before.effective, "number {number}: an Allow closes {policy}");
            assert!(after.documented >= before.documented, "number {number}: an Allow closes {policy}");
        }
    }
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
