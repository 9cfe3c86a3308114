//! Access points and objects: two policies that must both admit a request, and ACLs of single objects.

use crate::estate;
use guard::{AccessPoint, Fact, Object, PublicAccessBlock, Resource, Verdict, public};
use serde_json::{Value, json};

const ARN: &str = "arn:aws:s3:us-west-2:123456789012:accesspoint/ap";

fn policy(statement: Value) -> Fact<Option<String>> {
    Fact::Known(Some(json!({"Statement": statement}).to_string()))
}

fn access_point(condition: Value) -> AccessPoint {
    let mut statement = json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": format!("{ARN}/object/*")});
    if !condition.is_null() {
        statement["Condition"] = condition;
    }
    let mut bucket = estate::bucket("b");
    bucket.policy = policy(json!({"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "*",
        "Resource": ["arn:aws:s3:::b", "arn:aws:s3:::b/*"],
        "Condition": {"StringEquals": {"s3:DataAccessPointAccount": estate::OWNER}}}));
    AccessPoint {
        name: "ap".into(),
        arn: ARN.into(),
        account_id: estate::OWNER.into(),
        network_origin: Fact::Known("Internet".into()),
        policy: policy(statement),
        block: Fact::Known(PublicAccessBlock::default()),
        other_account_block: None,
        bucket,
    }
}

fn judge(access_point: AccessPoint) -> (Verdict, Verdict, Verdict) {
    let found = public(&Resource::AccessPoint(access_point), &estate::context());
    (found.verdict, found.documented, found.effective)
}

#[test]
fn a_public_access_point_needs_a_bucket_that_delegates() {
    use Verdict::{NotPublic, Public, Unknown};
    assert_eq!(judge(access_point(Value::Null)), (Public, Public, Public));
    let mut alone = access_point(Value::Null);
    alone.bucket.policy = Fact::Known(None);
    assert_eq!(judge(alone), (NotPublic, Public, NotPublic));
    let mut unread = access_point(Value::Null);
    unread.bucket.policy = Fact::denied("s3:GetBucketPolicy");
    assert_eq!(judge(unread), (Public, Public, Unknown));
}

#[test]
fn an_access_point_of_a_vpc_is_never_public() {
    let mut of_vpc = access_point(Value::Null);
    of_vpc.network_origin = Fact::Known("VPC".into());
    assert_eq!(judge(of_vpc).0, Verdict::NotPublic);
    let mut unread = access_point(Value::Null);
    unread.network_origin = Fact::denied("s3:GetAccessPoint");
    assert_eq!(judge(unread).0, Verdict::Unknown);
}

#[test]
fn each_of_the_four_levels_restricts_an_access_point() {
    let on = Fact::Known(PublicAccessBlock { restrict_public_buckets: true, ..Default::default() });
    let mut by_itself = access_point(Value::Null);
    by_itself.block = on.clone();
    assert_eq!(judge(by_itself).0, Verdict::NotPublic);
    let mut by_bucket = access_point(Value::Null);
    by_bucket.bucket.block = on.clone();
    assert_eq!(judge(by_bucket).0, Verdict::NotPublic);
    let mut by_other_account = access_point(Value::Null);
    by_other_account.other_account_block = Some(on.clone());
    assert_eq!(judge(by_other_account).0, Verdict::NotPublic);
    let mut context = estate::context();
    context.account_block = on;
    assert_eq!(public(&Resource::AccessPoint(access_point(Value::Null)), &context).verdict, Verdict::NotPublic);
}

#[test]
fn a_fixed_organisation_limits_an_access_point() {
    assert_eq!(judge(access_point(json!({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}}))).0, Verdict::NotPublic);
    assert_eq!(judge(access_point(json!({"ArnLike": {"s3:DataAccessPointArn": ARN}}))).0, Verdict::Public);
}

#[test]
fn an_object_is_judged_by_its_own_acl_and_the_statements_that_reach_its_key() {
    let object = |key: &str| Object { bucket: estate::bucket("b"), key: key.into(), acl: Fact::Known(Vec::new()) };
    let verdict = |object: Object| public(&Resource::Object(object), &estate::context()).verdict;
    assert_eq!(verdict(object("a")), Verdict::NotPublic);
    let mut by_acl = object("a");
    by_acl.acl = Fact::Known(vec![estate::grant(estate::group("global/AllUsers"), "READ")]);
    assert_eq!(verdict(by_acl.clone()), Verdict::Public);
    by_acl.bucket.block = Fact::Known(PublicAccessBlock { ignore_public_acls: true, ..Default::default() });
    assert_eq!(verdict(by_acl), Verdict::NotPublic);
    let site = |key: &str| {
        let mut object = object(key);
        object.bucket.policy =
            policy(json!({"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/site/*"}));
        verdict(object)
    };
    assert_eq!(site("site/index.html"), Verdict::Public);
    assert_eq!(site("private/list.csv"), Verdict::NotPublic);
    let mut unread = object("a");
    unread.acl = Fact::denied("s3:GetObjectAcl");
    assert_eq!(verdict(unread), Verdict::Unknown);
}

#[test]
fn other_accounts_of_an_object_are_those_of_its_own_acl() {
    let grant = |id: &str| estate::grant(guard::Grantee::User(id.into()), "READ");
    let cross = |of_bucket: &str, of_object: &str| {
        let mut bucket = estate::bucket("b");
        bucket.acl = Fact::Known(vec![grant(of_bucket)]);
        let object = Object { bucket, key: "a".into(), acl: Fact::Known(vec![grant(of_object)]) };
        public(&Resource::Object(object), &estate::context()).cross_account
    };
    assert_eq!(cross("owner", "stranger"), guard::CrossAccount::Known);
    assert_eq!(cross("stranger", "owner"), guard::CrossAccount::None);
}
