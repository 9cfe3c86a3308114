//! What a plan may cost, and what no model judges.

use crate::estate;
use crate::terraform_plan::{Draft, of_new_bucket, open_policy, policy, refers, switches};
use guard::Verdict::{NotPublic, Public, Unknown};
use guard::{Policy, TerraformPlan};
use serde_json::{Value, json};

#[test]
fn thousands_of_buckets_are_read_in_one_walk() {
    let mut draft = Draft::default();
    for n in 0..3000 {
        let name = format!("b{n}");
        let bucket = format!("aws_s3_bucket.{name}");
        let block = format!("aws_s3_bucket_public_access_block.{name}");
        draft = draft
            .create(&bucket, json!({"bucket": name}), of_new_bucket())
            .configure(&bucket, json!({"bucket": {"constant_value": name}}))
            .create(&block, switches(n != 2999, None), json!({"bucket": true, "id": true}))
            .configure(&block, json!({"bucket": refers(&[&format!("{bucket}.id"), &bucket])}));
    }
    let draft = draft.create("aws_s3_bucket_policy.p", json!({"bucket": "b2999", "policy": open_policy("b2999")}), json!({}));
    let plan = draft.read();
    assert_eq!(plan.resources.len(), 3000);
    assert_eq!(crate::terraform_plan::verdict(&plan, "aws_s3_bucket.b2999"), Public);
    assert_eq!(crate::terraform_plan::verdict(&plan, "aws_s3_bucket.b0"), NotPublic);
}

#[test]
fn a_policy_that_is_larger_than_aws_takes_is_not_read() {
    let padded = |length: usize| {
        let statement = json!({"Sid": "x".repeat(length), "Effect": "Allow", "Principal": {"AWS": estate::OWNER}, "Action": "s3:GetObject", "Resource": "arn:aws:s3:::shop/*"});
        policy(&[statement])
    };
    assert!(Policy::parse(&padded(20_000)).is_some());
    assert!(Policy::parse(&padded(20_481)).is_none());
    // White space does not count.
    assert!(Policy::parse(&format!("{}{}", " ".repeat(50_000), padded(100))).is_some());
    let draft = Draft::default().keep("aws_s3_bucket.b", json!({"bucket": "shop", "id": "shop"})).create(
        "aws_s3_bucket_policy.p",
        json!({"bucket": "shop", "policy": padded(21_000)}),
        json!({}),
    );
    assert_eq!(draft.verdict("aws_s3_bucket.b"), Unknown);
}

#[test]
fn what_no_model_judges_is_counted() {
    let draft = Draft::default()
        .keep("aws_s3_bucket.b", json!({"bucket": "shop", "id": "shop"}))
        .create("aws_sqs_queue_policy.q", json!({"policy": policy(&[]), "queue_url": "q"}), json!({}))
        .create("aws_sqs_queue_policy.r", json!({"policy": null}), json!({"policy": true}))
        .create("aws_lambda_function_url.u", json!({"authorization_type": "NONE"}), json!({}))
        .create("aws_redshift_cluster.c", json!({"publicly_accessible": true}), json!({}))
        .create("aws_iam_policy.i", json!({"policy": "{}"}), json!({}))
        .create("aws_subnet.s", json!({"map_public_ip_on_launch": true}), json!({}))
        .create("google_storage_bucket_iam_member.g", json!({"member": "allUsers"}), json!({}))
        .create("awscc_s3_bucket_policy.g", json!({"policy_document": "{}"}), json!({}))
        .change("aws_sns_topic_policy.gone", &["delete"], json!({"policy": "{}"}), Value::Null, json!({}))
        .create("aws_s3_bucket_public_access_block.k", switches(true, Some("shop")), json!({}))
        .create("aws_vpc_security_group_egress_rule.e", json!({}), json!({}));
    let found: Vec<(String, usize, bool)> = draft.read().not_judged.into_iter().map(|n| (n.kind, n.resources, n.can_let_in)).collect();
    let named = |kind: &str, count: usize, opens: bool| (kind.to_string(), count, opens);
    assert_eq!(
        found,
        [
            named("aws_lambda_function_url", 1, true),
            named("aws_redshift_cluster", 1, true),
            named("aws_sqs_queue_policy", 2, true),
            named("awscc_s3_bucket_policy", 1, true),
            named("google_storage_bucket_iam_member", 1, true),
            named("aws_iam_policy", 1, false),
            named("aws_subnet", 1, false),
        ]
    );
}

#[test]
fn a_plan_that_terraform_could_not_finish_is_refused() {
    let mut plan: Value = serde_json::from_str(&Draft::default().text()).unwrap();
    assert!(TerraformPlan::read(&plan.to_string(), None).is_ok());
    plan["errored"] = json!(true);
    assert!(TerraformPlan::read(&plan.to_string(), None).unwrap_err().to_string().contains("errors"));
}
