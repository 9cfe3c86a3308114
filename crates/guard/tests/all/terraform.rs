//! Plans of Terraform: what would be public is denied before it exists, and what is known only after the apply is denied too.

use crate::estate;
use guard::rules::{RuleSet, gate};
use guard::{TerraformPlan, Verdict};
use serde_json::{Value, json};

fn change(address: &str, after: Value, unknown: Value) -> Value {
    let kind = address.rsplit('.').nth(1).unwrap();
    json!({"address": address, "mode": "managed", "type": kind, "name": "x",
        "change": {"actions": ["create"], "before": null, "after": after, "after_unknown": unknown}})
}

fn plan(changes: &[Value], configuration: &[(&str, &str, &str)]) -> TerraformPlan {
    let resources: Vec<Value> = configuration
        .iter()
        .map(|(address, attribute, target)| {
            json!({"address": address, "expressions": {*attribute: {"references": [format!("{target}.id"), target]}}})
        })
        .collect();
    let text = json!({"format_version": "1.2", "resource_changes": changes, "configuration": {"root_module": {"resources": resources}}});
    TerraformPlan::read(&text.to_string(), Some(estate::OWNER)).unwrap()
}

fn verdicts(plan: &TerraformPlan) -> Vec<(String, Verdict)> {
    plan.resources.iter().map(|r| (r.address.clone(), r.judgement.verdict)).collect()
}

fn open_policy(bucket: &str) -> String {
    json!({"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::{bucket}/*")}]})
        .to_string()
}

const OFF: [&str; 4] = ["block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets"];

fn switches(on: bool, bucket: &str) -> Value {
    let mut after: serde_json::Map<String, Value> = OFF.iter().map(|name| ((*name).to_string(), json!(on))).collect();
    after.insert("bucket".into(), json!(bucket));
    Value::Object(after)
}

#[test]
fn a_new_bucket_is_private_until_the_plan_opens_it() {
    use Verdict::{NotPublic, Public};
    let bucket = || change("aws_s3_bucket.b", json!({"bucket": "shop"}), json!({"id": true, "arn": true}));
    let policy = || change("aws_s3_bucket_policy.b", json!({"bucket": "shop", "policy": open_policy("shop")}), json!({}));
    let block = |on| change("aws_s3_bucket_public_access_block.b", switches(on, "shop"), json!({}));
    let acl = || change("aws_s3_bucket_acl.b", json!({"bucket": "shop", "acl": "public-read"}), json!({}));
    let owner = |rule: &str| {
        change("aws_s3_bucket_ownership_controls.b", json!({"bucket": "shop", "rule": [{"object_ownership": rule}]}), json!({}))
    };
    for (name, changes, expected) in [
        ("alone", vec![bucket()], NotPublic),
        ("a policy under S3's defaults", vec![bucket(), policy()], NotPublic),
        ("a policy with the switches off", vec![bucket(), policy(), block(false)], Public),
        ("a policy with the switches on", vec![bucket(), policy(), block(true)], NotPublic),
        ("an ACL under S3's defaults", vec![bucket(), acl(), block(false)], NotPublic),
        ("an ACL with ownership of writers", vec![bucket(), acl(), block(false), owner("ObjectWriter")], Public),
        ("an ACL that is enforced away", vec![bucket(), acl(), block(false), owner("BucketOwnerEnforced")], NotPublic),
    ] {
        let found = verdicts(&plan(&changes, &[]));
        assert_eq!(found, [("aws_s3_bucket.b".to_string(), expected)], "{name}");
    }
    // Buckets that are there already have what the plan does not say.
    let mut old = bucket();
    old["change"]["actions"] = json!(["no-op"]);
    assert_eq!(verdicts(&plan(&[old, policy()], &[]))[0].1, Public);
    let mut gone = policy();
    gone["change"]["actions"] = json!(["delete"]);
    assert_eq!(verdicts(&plan(&[bucket(), gone, block(false)], &[]))[0].1, NotPublic);
    let account = change("aws_s3_account_public_access_block.a", switches(true, ""), json!({}));
    assert_eq!(verdicts(&plan(&[bucket(), policy(), block(false), account], &[]))[0].1, NotPublic);
}

#[test]
fn a_bucket_without_a_name_yet_is_found_by_reference() {
    let bucket = change("aws_s3_bucket.b", json!({}), json!({"bucket": true, "id": true}));
    let policy = change("aws_s3_bucket_policy.p", json!({"policy": open_policy("x")}), json!({"bucket": true}));
    let block = change("aws_s3_bucket_public_access_block.k", switches(false, "x"), json!({"bucket": true}));
    let links =
        [("aws_s3_bucket_policy.p", "bucket", "aws_s3_bucket.b"), ("aws_s3_bucket_public_access_block.k", "bucket", "aws_s3_bucket.b")];
    let mut without = block.clone();
    without["change"]["after"].as_object_mut().unwrap().remove("bucket");
    let found = verdicts(&plan(&[bucket.clone(), policy.clone(), without.clone()], &links));
    assert_eq!(found.iter().map(|(a, _)| a.as_str()).collect::<Vec<_>>(), ["aws_s3_bucket.b"]);
    // Nothing says whose policy it is: it is judged by itself, as if nothing held it back.
    let alone = verdicts(&plan(&[bucket, policy, without], &[]));
    assert_eq!(alone.len(), 2);
    assert_eq!(alone.iter().find(|(a, _)| a == "aws_s3_bucket_policy.p").unwrap().1, Verdict::Public);
}

#[test]
fn what_is_known_after_the_apply_is_denied_by_the_gate() {
    let bucket = change("aws_s3_bucket.b", json!({"bucket": "shop"}), json!({}));
    let block = change("aws_s3_bucket_public_access_block.b", switches(false, "shop"), json!({}));
    let policy = change("aws_s3_bucket_policy.b", json!({"bucket": "shop"}), json!({"policy": true}));
    let plan = plan(&[bucket, block, policy], &[]);
    assert_eq!(verdicts(&plan)[0].1, Verdict::Unknown);
    let report = gate(&RuleSet::built_in().unwrap(), &plan.facts(), &[], None, estate::NOW_S);
    assert_eq!((report.is_denied(), report.exit_code()), (true, 2));
    assert_eq!(report.objections[0].resource, "aws_s3_bucket.b");
}

#[test]
fn groups_images_and_databases() {
    use Verdict::{NotPublic, Public, Unknown};
    let group = |ingress: Value, unknown: Value| change("aws_security_group.g", json!({"name": "g", "ingress": ingress}), unknown);
    let rule = |port: u16, cidr: &str| json!({"from_port": port, "to_port": port, "protocol": "tcp", "cidr_blocks": [cidr], "ipv6_cidr_blocks": []});
    let separate = |port: u16, cidr: &str| {
        let after = json!({"cidr_ipv4": cidr, "from_port": port, "to_port": port, "ip_protocol": "tcp"});
        change("aws_vpc_security_group_ingress_rule.r", after, json!({"security_group_id": true}))
    };
    let older = |kind: &str| {
        let after = json!({"type": kind, "from_port": 0, "to_port": 0, "protocol": "-1", "cidr_blocks": ["0.0.0.0/0"]});
        change("aws_security_group_rule.o", after, json!({"security_group_id": true}))
    };
    let links = [
        ("aws_vpc_security_group_ingress_rule.r", "security_group_id", "aws_security_group.g"),
        ("aws_security_group_rule.o", "security_group_id", "aws_security_group.g"),
    ];
    let none = || json!({});
    for (name, changes, expected) in [
        ("ssh", vec![group(json!([rule(22, "0.0.0.0/0")]), none())], Public),
        ("web", vec![group(json!([rule(443, "0.0.0.0/0")]), none())], NotPublic),
        ("a rule by itself", vec![group(json!([]), none()), separate(22, "0.0.0.0/0")], Public),
        ("halves in two places", vec![group(json!([rule(22, "0.0.0.0/1")]), none()), separate(22, "128.0.0.0/1")], Public),
        ("everything", vec![group(json!([]), none()), older("ingress")], Public),
        ("egress", vec![group(json!([]), none()), older("egress")], NotPublic),
        ("rules known after the apply", vec![group(Value::Null, json!({"ingress": true}))], Unknown),
        (
            "a source known after the apply",
            vec![group(json!([rule(22, "10.0.0.0/8")]), json!({"ingress": [{"cidr_blocks": [true]}]}))],
            Unknown,
        ),
    ] {
        assert_eq!(verdicts(&plan(&changes, &links)), [("aws_security_group.g".to_string(), expected)], "{name}");
    }
    assert_eq!(verdicts(&plan(&[separate(22, "0.0.0.0/0")], &[]))[0].1, Public, "a rule of a group elsewhere");
    for (change, expected) in [
        (change("aws_ami_launch_permission.a", json!({"group": "all", "image_id": "ami-1"}), none()), Public),
        (change("aws_ami_launch_permission.a", json!({"account_id": estate::OTHER}), none()), NotPublic),
        (change("aws_ami_launch_permission.a", json!({}), json!({"group": true})), Unknown),
        (change("aws_db_snapshot.s", json!({"shared_accounts": ["all"], "encrypted": false}), none()), Public),
        (change("aws_db_snapshot.s", json!({"shared_accounts": ["all"]}), json!({"encrypted": true})), Unknown),
        (change("aws_db_instance.d", json!({"publicly_accessible": false}), none()), NotPublic),
        (change("aws_db_instance.d", json!({"publicly_accessible": true}), none()), Unknown),
        (change("aws_s3_object.o", json!({"bucket": "elsewhere", "key": "k", "acl": "public-read"}), none()), Public),
    ] {
        assert_eq!(verdicts(&plan(std::slice::from_ref(&change), &[]))[0].1, expected, "{change}");
    }
}

#[test]
fn what_is_linked_to_nothing_in_the_plan_counts_against_it() {
    let bucket = change("aws_s3_bucket.b", json!({"bucket": "shop"}), json!({}));
    let policy = change("aws_s3_bucket_policy.b", json!({"bucket": "shop", "policy": open_policy("shop")}), json!({}));
    let mut block = change("aws_s3_bucket_public_access_block.k", switches(false, "x"), json!({"bucket": true}));
    block["change"]["after"].as_object_mut().unwrap().remove("bucket");
    assert_eq!(verdicts(&plan(&[bucket, policy, block], &[]))[0].1, Verdict::Public, "whose switches are off is not known");
}

#[test]
fn modules_and_indices_refer_to_their_own() {
    let in_module = |index: &str, kind: &str, after: Value| {
        let mut change = change(&format!("module.shops[\"{index}.x\"].{kind}.b"), after, json!({"bucket": true}));
        change["type"] = json!(kind);
        change
    };
    let mut changes = Vec::new();
    for (index, on) in [("a", true), ("b", false)] {
        let mut after = switches(on, "");
        after.as_object_mut().unwrap().remove("bucket");
        changes.push(in_module(index, "aws_s3_bucket", json!({})));
        changes.push(in_module(index, "aws_s3_bucket_public_access_block", after));
        changes.push(in_module(index, "aws_s3_bucket_policy", json!({"policy": open_policy("*")})));
    }
    let resources: Vec<Value> = ["aws_s3_bucket_public_access_block.b", "aws_s3_bucket_policy.b"]
        .map(|address| json!({"address": address, "expressions": {"bucket": {"references": ["aws_s3_bucket.b.id", "aws_s3_bucket.b"]}}}))
        .into();
    let configuration = json!({"root_module": {"module_calls": {"shops": {"module": {"resources": resources}}}}});
    let text = json!({"resource_changes": changes, "configuration": configuration}).to_string();
    let found = verdicts(&TerraformPlan::read(&text, None).unwrap());
    assert_eq!(
        found.iter().map(|(a, _)| a.as_str()).collect::<Vec<_>>(),
        ["module.shops[\"a.x\"].aws_s3_bucket.b", "module.shops[\"b.x\"].aws_s3_bucket.b"]
    );
    assert_eq!(found.iter().map(|(_, v)| *v).collect::<Vec<_>>(), [Verdict::NotPublic, Verdict::Public]);
}

#[test]
fn what_is_no_plan_is_refused_with_a_hint() {
    for text in ["", "{", "{}", "{\"resource_changes\": [{}]}", "{\"resource_changes\": [{\"address\": \"a.b\", \"type\": \"aws_x\"}]}"] {
        assert!(TerraformPlan::read(text, None).unwrap_err().to_string().ends_with("write it with `terraform show -json FILE`"), "{text}");
    }
}
