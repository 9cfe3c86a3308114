//! What holds for a whole account of a Terraform plan, and its access points.

use crate::estate;
use crate::terraform_plan::{Draft, allow, constant, open_policy, policy, refers, switches, verdict};
use crate::terraform_s3::{BUCKET, bucket, with_policy};
use guard::TerraformPlan;
use guard::Verdict::{NotPublic, Public, Unknown};
use serde_json::{Value, json};

#[test]
fn switches_count_where_they_are_of_the_account() {
    let account = |alias: &str, after: Value, unknown: Value, expressions: Value| {
        let mut all = switches(true, None);
        all.as_object_mut().unwrap().extend(after.as_object().unwrap().clone());
        with_policy(bucket(), "p", &open_policy("shop"))
            .configure(BUCKET, json!({"bucket": constant("shop")}))
            .create("aws_s3_account_public_access_block.a", all, unknown)
            .configure_with("aws_s3_account_public_access_block.a", alias, expressions)
    };
    let new = || json!({"account_id": true, "id": true});
    let of = |draft: &Draft, owner: Option<&str>| verdict(&TerraformPlan::read(&draft.text(), owner).unwrap(), BUCKET);
    let own = account("aws", json!({}), new(), json!({}));
    assert_eq!((of(&own, Some(estate::OWNER)), of(&own, None)), (NotPublic, NotPublic));
    assert_eq!(of(&account("aws.other", json!({}), new(), json!({})), Some(estate::OWNER)), Public, "another provider");
    let named = |id: &str| account("aws", json!({"account_id": id}), json!({}), json!({"account_id": constant(id)}));
    assert_eq!(of(&named(estate::OWNER), Some(estate::OWNER)), NotPublic);
    assert_eq!(of(&named(estate::OTHER), Some(estate::OWNER)), Public);
    assert_eq!(of(&named(estate::OWNER), None), Public, "whose account it is was not said");
    let later = account("aws", json!({}), new(), json!({"account_id": refers(&["data.aws_caller_identity.me.account_id"])}));
    assert_eq!(of(&later, Some(estate::OWNER)), Public);
    // Read back from AWS and not set by the configuration: it is the provider's own.
    let read_back = account("aws", json!({"account_id": estate::OWNER}), json!({}), json!({}));
    assert_eq!(of(&read_back, None), NotPublic);
    // Two of them: the worse one counts.
    let two = own
        .create("aws_s3_account_public_access_block.z", switches(false, None), new())
        .configure("aws_s3_account_public_access_block.z", json!({}));
    assert_eq!(of(&two, Some(estate::OWNER)), Public);
}

fn access_point(after: Value, unknown: Value) -> Draft {
    let delegated = json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": ["arn:aws:s3:::shop", "arn:aws:s3:::shop/*"],
        "Condition": {"StringEquals": {"s3:DataAccessPointAccount": estate::OWNER}}});
    let mut all = json!({"name": "ap", "bucket": "shop", "vpc_configuration": []});
    all.as_object_mut().unwrap().extend(after.as_object().unwrap().clone());
    with_policy(bucket(), "p", &policy(&[delegated])).create("aws_s3_access_point.a", all, unknown)
}

fn switched_off(name: &str) -> Value {
    let mut all = switches(true, None);
    all[name] = json!(false);
    json!([all])
}

fn of_access_point(region: &str) -> String {
    policy(&[allow(&format!("arn:aws:s3:{region}:{}:accesspoint/ap/object/*", estate::OWNER))])
}

#[test]
fn an_access_point_is_judged_in_its_region_and_account() {
    const POINT: &str = "aws_s3_access_point.a";
    let off = || switched_off("restrict_public_buckets");
    let open = |region: &str| {
        access_point(json!({"policy": of_access_point(region), "public_access_block_configuration": off()}), json!({"arn": true}))
    };
    for region in ["us-east-1", "eu-west-3"] {
        assert_eq!(open(region).verdict(POINT), Public, "{region}");
        // The account is not said: the policy names it.
        assert_eq!(verdict(&TerraformPlan::read(&open(region).text(), None).unwrap(), POINT), Public, "{region}");
    }
    let anything = access_point(json!({"policy": policy(&[allow("*")]), "public_access_block_configuration": off()}), json!({"arn": true}));
    assert_eq!(anything.verdict(POINT), Public);
    let whose = verdict(&TerraformPlan::read(&anything.text(), None).unwrap(), POINT);
    assert_eq!(whose, Unknown, "whether the bucket delegates to this account cannot be told");
    let misnamed = policy(&[allow(&format!("arn:aws:s3:us-east-1:{}:accesspoint/other/object/*", estate::OWNER))]);
    assert_eq!(access_point(json!({"policy": misnamed, "public_access_block_configuration": off()}), json!({})).verdict(POINT), Unknown);
    let private = || json!({"policy": policy(&[]), "public_access_block_configuration": off()});
    assert_eq!(access_point(private(), json!({})).verdict(POINT), NotPublic);
    // A policy of its own resource.
    let beside = |after: Value, references: Value| {
        access_point(private(), json!({"arn": true}))
            .create("aws_s3control_access_point_policy.q", after, json!({"access_point_arn": true}))
            .configure("aws_s3control_access_point_policy.q", json!({"access_point_arn": references}))
    };
    let link = || refers(&["aws_s3_access_point.a.arn", "aws_s3_access_point.a"]);
    assert_eq!(beside(json!({"policy": of_access_point("eu-west-3")}), link()).verdict(POINT), Public);
    assert_eq!(beside(json!({"policy": policy(&[])}), link()).verdict(POINT), NotPublic);
    let stray = beside(json!({"policy": of_access_point("eu-west-3")}), refers(&["var.arn"]));
    assert_eq!(stray.verdict("aws_s3control_access_point_policy.q"), Unknown, "what shuts an access point elsewhere is not in the plan");
    let named = Draft::default().create(
        "aws_s3control_access_point_policy.q",
        json!({"access_point_arn": format!("arn:aws:s3:eu-west-3:{}:accesspoint/ap", estate::OWNER), "policy": policy(&[])}),
        json!({}),
    );
    assert_eq!(named.verdict("aws_s3control_access_point_policy.q"), NotPublic);
}

#[test]
fn a_switch_that_is_known_later_is_not_on() {
    const POINT: &str = "aws_s3_access_point.a";
    let point = |block: Value, unknown: Value| {
        access_point(json!({"policy": of_access_point("us-east-1"), "public_access_block_configuration": block}), unknown).verdict(POINT)
    };
    assert_eq!(point(json!([]), json!({})), NotPublic, "S3 gives a new one every switch");
    assert_eq!(point(json!([switches(true, None)]), json!({})), NotPublic);
    let mut unset = switches(true, None);
    unset["restrict_public_buckets"] = Value::Null;
    assert_eq!(point(json!([unset]), json!({})), NotPublic, "the provider's default is on");
    let unknown = json!({"public_access_block_configuration": [{"restrict_public_buckets": true}]});
    assert_ne!(point(json!([unset]), unknown), NotPublic);
    assert_ne!(point(Value::Null, json!({"public_access_block_configuration": true})), NotPublic);
    // The same of a bucket, and of the account.
    let draft = with_policy(Draft::default().keep(BUCKET, json!({"bucket": "shop", "id": "shop"})), "p", &open_policy("shop"));
    let mut of_shop = unset.clone();
    of_shop["bucket"] = json!("shop");
    let later = draft.clone().create("aws_s3_bucket_public_access_block.k", of_shop, json!({"restrict_public_buckets": true}));
    assert_eq!(later.verdict(BUCKET), Unknown);
    let of_account = draft
        .create("aws_s3_account_public_access_block.a", unset, json!({"restrict_public_buckets": true, "account_id": true}))
        .configure(BUCKET, json!({}))
        .configure("aws_s3_account_public_access_block.a", json!({"restrict_public_buckets": refers(&["local.on"])}));
    assert_eq!(of_account.verdict(BUCKET), Unknown);
}

#[test]
fn what_the_owners_account_decides_is_unknown_where_it_was_not_said() {
    let mut statement = allow("arn:aws:s3:::shop/*");
    statement["Condition"] = json!({"StringEquals": {"aws:ResourceAccount": estate::OWNER}});
    let draft = with_policy(bucket(), "p", &policy(&[statement]));
    assert_eq!(draft.verdict(BUCKET), Public);
    assert_eq!(verdict(&TerraformPlan::read(&draft.text(), None).unwrap(), BUCKET), Unknown);
}
