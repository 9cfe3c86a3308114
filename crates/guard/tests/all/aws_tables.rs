//! Tables transcribed from AWS's documentation, each with its address.

use crate::estate;
use guard::policy::{Policy, Scope, documented};
use guard::{Fact, Resource, Verdict, public};
use serde_json::{Value, json};

fn statement(principal: Value, condition: Value) -> Value {
    let mut statement = json!({"Principal": principal, "Resource": "*", "Action": "s3:PutObject", "Effect": "Allow"});
    if !condition.is_null() {
        statement["Condition"] = condition;
    }
    statement
}

fn is_public(statements: &[Value], scope: Scope) -> bool {
    let policy = Policy::from_value(&json!({"Statement": statements})).unwrap();
    documented::public_statement(&policy, scope).is_some()
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html#access-control-block-public-access-policy-status>
#[test]
fn the_meaning_of_public() {
    // The three examples that are public, and the one that is not.
    for (principal, condition, expected) in [
        (json!({"Federated": "graph.facebook.com"}), Value::Null, true),
        (json!("*"), Value::Null, true),
        (json!("*"), json!({"StringLike": {"aws:SourceVpc": "vpc-*"}}), true),
        (json!("*"), json!({"StringEquals": {"aws:SourceVpc": "vpc-91237329"}}), false),
    ] {
        assert_eq!(is_public(&[statement(principal.clone(), condition.clone())], Scope::Bucket), expected, "{principal} {condition}");
    }
}

/// The list of keys on the same page: a fixed value limits, a wildcard or a policy variable does not.
#[test]
fn keys_whose_fixed_values_limit() {
    for (key, value) in [
        ("aws:PrincipalOrgID", "o-a1b2c3"),
        ("aws:SourceArn", "arn:aws:sns:us-east-1:123456789012:topic"),
        ("aws:SourceVpc", "vpc-1"),
        ("aws:SourceVpce", "vpce-1"),
        ("aws:SourceOwner", "123456789012"),
        ("aws:SourceAccount", "123456789012"),
        ("s3:x-amz-server-side-encryption-aws-kms-key-id", "arn:aws:kms:us-east-1:123456789012:key/1"),
        ("aws:userid", "AIDAEXAMPLEID"),
        ("s3:DataAccessPointArn", "arn:aws:s3:us-west-2:123456789012:accesspoint/a"),
        ("s3:DataAccessPointAccount", "123456789012"),
    ] {
        let with = |operator: &str, value: String| is_public(&[statement(json!("*"), json!({operator: {key: value}}))], Scope::Bucket);
        assert!(!with("StringEquals", value.into()), "{key}");
        assert!(with("StringLike", "*".into()), "{key} with a wildcard");
        assert!(with("StringEquals", format!("${{{key}}}")), "{key} with a variable");
        assert!(with("StringNotEquals", value.into()), "{key} negated");
        assert!(with("StringEqualsIfExists", value.into()), "{key} if it exists");
        assert!(with("ForAllValues:StringEquals", value.into()), "{key} for all values of none");
    }
    for key in ["aws:Referer", "aws:UserAgent", "aws:PrincipalTag/x", "aws:PrincipalType", "aws:RequestedRegion"] {
        assert!(is_public(&[statement(json!("*"), json!({"StringEquals": {key: "x"}}))], Scope::Bucket), "{key}");
    }
}

/// "aws:userid, outside the pattern AROLEID:*", and the note on access points.
#[test]
fn the_exceptions_of_the_list() {
    let with = |key: &str, value: &str, scope| is_public(&[statement(json!("*"), json!({"StringLike": {key: value}}))], scope);
    assert!(with("aws:userid", "AROLEID:*", Scope::Bucket));
    let any_name = "arn:aws:s3:us-west-2:123456789012:accesspoint/*";
    assert!(!with("s3:DataAccessPointArn", any_name, Scope::Bucket));
    assert!(with("s3:DataAccessPointArn", any_name, Scope::AccessPoint));
    assert!(with("s3:DataAccessPointArn", "arn:aws:s3:us-west-2:*:accesspoint/a", Scope::Bucket));
}

/// "How Amazon S3 evaluates a bucket policy that contains both public and non-public access grants", on the same page.
#[test]
fn one_public_statement_makes_the_policy_public() {
    let trail = statement(json!({"Service": "cloudtrail.amazonaws.com"}), Value::Null);
    let account = statement(json!({"AWS": "210987654321"}), Value::Null);
    let anyone = statement(json!("*"), Value::Null);
    assert!(!is_public(&[trail.clone(), account.clone()], Scope::Bucket));
    assert!(is_public(&[trail, account, anyone], Scope::Bucket));
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/acl-overview.html#specifying-grantee-predefined-groups>
#[test]
fn predefined_groups() {
    for (name, permission, expected) in [
        ("global/AllUsers", "READ", Verdict::Public),
        ("global/AllUsers", "READ_ACP", Verdict::Public),
        ("global/AuthenticatedUsers", "WRITE", Verdict::Public),
        ("global/AuthenticatedUsers", "WRITE_ACP", Verdict::Public),
        ("s3/LogDelivery", "WRITE", Verdict::NotPublic),
    ] {
        let mut bucket = estate::bucket("b");
        bucket.acl = Fact::Known(vec![estate::grant(estate::group(name), permission)]);
        assert_eq!(public(&Resource::Bucket(bucket), &estate::context()).verdict, expected, "{name} {permission}");
    }
}
