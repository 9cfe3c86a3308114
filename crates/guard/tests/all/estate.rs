//! A labelled estate of buckets: the label is known because the bucket was built to have it.
//!
//! Each kind is one idea (a grant, a switch, a condition). Noise that changes nothing varies spelling, order and company.

use crate::random::Random;
use guard::{AclGrant, Bucket, Context, CrossAccount, Fact, Grantee, Ownership, PublicAccessBlock, SnapshotSharing, Verdict};
use serde_json::{Value, json};

pub const OWNER: &str = "123456789012";
pub const OTHER: &str = "210987654321";
pub const NOW_S: i64 = 1_795_906_440;

pub struct Labelled {
    pub kind: &'static str,
    pub bucket: Bucket,
    pub context: Context,
    pub documented: Verdict,
    pub effective: Verdict,
    pub cross_account: CrossAccount,
}

impl Labelled {
    pub fn verdict(&self) -> Verdict {
        self.effective
    }
}

pub fn context() -> Context {
    Context {
        account_id: OWNER.into(),
        partition: "aws".into(),
        organisation_block: Fact::Known(PublicAccessBlock::default()),
        account_block: Fact::Known(PublicAccessBlock::default()),
        ebs_snapshot_sharing: Fact::Known(SnapshotSharing::Unblocked),
        known_accounts: None,
        now_s: Some(NOW_S),
    }
}

pub fn bucket(name: &str) -> Bucket {
    Bucket {
        name: name.into(),
        policy: Fact::Known(None),
        acl: Fact::Known(vec![grant(Grantee::User("owner".into()), "FULL_CONTROL")]),
        owner: Some("owner".into()),
        ownership: Fact::Known(Ownership::ObjectWriter),
        block: Fact::Known(PublicAccessBlock::default()),
    }
}

pub fn grant(grantee: Grantee, permission: &str) -> AclGrant {
    AclGrant { grantee, permission: permission.into() }
}

pub fn group(name: &str) -> Grantee {
    Grantee::Group(format!("http://acs.amazonaws.com/groups/{name}"))
}

/// What a kind adds to a private bucket.
enum Make {
    Acl(&'static str, &'static str),
    /// Statements, with BUCKET for the bucket's ARN.
    Policy(fn() -> Value),
    Both(&'static str, &'static str, fn() -> Value),
    Nothing,
}

enum Twist {
    None,
    Bucket(PublicAccessBlock),
    Account(PublicAccessBlock),
    Organisation(PublicAccessBlock),
    Enforced,
    PolicyUnread,
    AclUnread,
    BlockUnread,
    PolicyUnreadAccountLocked,
    AclUnreadEnforced,
}

const OFF: PublicAccessBlock =
    PublicAccessBlock { block_public_acls: false, ignore_public_acls: false, block_public_policy: false, restrict_public_buckets: false };
const IGNORE: PublicAccessBlock = PublicAccessBlock { ignore_public_acls: true, ..OFF };
const RESTRICT: PublicAccessBlock = PublicAccessBlock { restrict_public_buckets: true, ..OFF };
const BLOCK_ONLY: PublicAccessBlock = PublicAccessBlock { block_public_acls: true, block_public_policy: true, ..OFF };

type Kind = (&'static str, Make, Twist, Verdict, Verdict, CrossAccount);

fn read(principal: Value, condition: Value) -> Value {
    let mut statement = json!({"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "BUCKET/*"});
    if !condition.is_null() {
        statement["Condition"] = condition;
    }
    statement
}

fn anyone(condition: Value) -> Value {
    json!([read(json!("*"), condition)])
}

fn addresses(cidrs: &[&str]) -> Value {
    anyone(json!({"IpAddress": {"aws:SourceIp": cidrs}}))
}

fn deny(condition: Value) -> Value {
    json!({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["BUCKET", "BUCKET/*"], "Condition": condition})
}

#[rustfmt::skip]
fn kinds() -> Vec<Kind> {
    use Make::{Acl, Both, Nothing, Policy};
    use Verdict::{NotPublic as N, Public as P, Unknown as U};
    let (none, known, unknown) = (CrossAccount::None, CrossAccount::Known, CrossAccount::Unknown);
    vec![
        ("private", Nothing, Twist::None, N, N, none),
        ("acl_read", Acl("global/AllUsers", "READ"), Twist::None, P, P, none),
        ("acl_write", Acl("global/AllUsers", "WRITE"), Twist::None, P, P, none),
        ("acl_read_acp", Acl("global/AllUsers", "READ_ACP"), Twist::None, P, P, none),
        ("acl_write_acp", Acl("global/AllUsers", "WRITE_ACP"), Twist::None, P, P, none),
        ("acl_full_control", Acl("global/AllUsers", "FULL_CONTROL"), Twist::None, P, P, none),
        ("acl_authenticated", Acl("global/AuthenticatedUsers", "READ"), Twist::None, P, P, none),
        ("acl_authenticated_read_acp", Acl("global/AuthenticatedUsers", "READ_ACP"), Twist::None, P, P, none),
        ("acl_log_delivery", Acl("s3/LogDelivery", "WRITE"), Twist::None, N, N, none),
        ("acl_other_account", Acl("user", "READ"), Twist::None, N, N, known),
        ("acl_enforced_away", Acl("global/AllUsers", "READ"), Twist::Enforced, N, N, none),
        ("acl_ignored_by_bucket", Acl("global/AllUsers", "READ"), Twist::Bucket(IGNORE), N, N, none),
        ("acl_ignored_by_account", Acl("global/AllUsers", "READ"), Twist::Account(IGNORE), N, N, none),
        ("acl_ignored_by_organisation", Acl("global/AllUsers", "READ"), Twist::Organisation(IGNORE), N, N, none),
        ("acl_under_block_only", Acl("global/AllUsers", "READ"), Twist::Bucket(BLOCK_ONLY), P, P, none),
        ("acl_under_restrict_only", Acl("global/AllUsers", "READ"), Twist::Account(RESTRICT), P, P, none),
        ("acl_denied_by_policy", Both("global/AllUsers", "READ", || json!([{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["BUCKET", "BUCKET/*"]}])), Twist::None, P, N, none),
        ("acl_unread", Nothing, Twist::AclUnread, U, U, unknown),
        ("acl_unread_enforced", Nothing, Twist::AclUnreadEnforced, N, N, none),
        ("star", Policy(|| anyone(Value::Null)), Twist::None, P, P, none),
        ("aws_star", Policy(|| json!([read(json!({"AWS": "*"}), Value::Null)])), Twist::None, P, P, none),
        ("star_in_list", Policy(|| json!([read(json!({"AWS": [OTHER, "*"]}), Value::Null)])), Twist::None, P, P, known),
        ("star_settings_only", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:GetBucketLocation", "Resource": "BUCKET"}])), Twist::None, P, P, none),
        ("star_not_action", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "NotAction": "s3:Put*", "Resource": ["BUCKET", "BUCKET/*"]}])), Twist::None, P, P, none),
        ("star_not_resource", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "NotResource": "BUCKET/private/*"}])), Twist::None, P, P, none),
        ("star_restricted_by_bucket", Policy(|| anyone(Value::Null)), Twist::Bucket(RESTRICT), N, N, none),
        ("star_restricted_by_account", Policy(|| anyone(Value::Null)), Twist::Account(RESTRICT), N, N, none),
        ("star_restricted_by_organisation", Policy(|| anyone(Value::Null)), Twist::Organisation(RESTRICT), N, N, none),
        ("star_under_block_only", Policy(|| anyone(Value::Null)), Twist::Bucket(BLOCK_ONLY), P, P, none),
        ("star_under_ignore_only", Policy(|| anyone(Value::Null)), Twist::Account(IGNORE), P, P, none),
        ("star_and_enforced", Policy(|| anyone(Value::Null)), Twist::Enforced, P, P, none),
        ("block_unread", Policy(|| anyone(Value::Null)), Twist::BlockUnread, U, U, none),
        ("block_unread_private", Nothing, Twist::BlockUnread, N, N, none),
        ("policy_unread", Nothing, Twist::PolicyUnread, U, U, unknown),
        ("policy_unread_locked", Nothing, Twist::PolicyUnreadAccountLocked, N, N, unknown),
        ("account", Policy(|| json!([read(json!({"AWS": OTHER}), Value::Null)])), Twist::None, N, N, known),
        ("account_restricted", Policy(|| json!([read(json!({"AWS": format!("arn:aws:iam::{OTHER}:root")}), Value::Null)])), Twist::Bucket(RESTRICT), N, N, known),
        ("own_role", Policy(|| json!([read(json!({"AWS": format!("arn:aws:iam::{OWNER}:role/app")}), Value::Null)])), Twist::None, N, N, none),
        ("canonical_user", Policy(|| json!([read(json!({"CanonicalUser": "79a5"}), Value::Null)])), Twist::None, N, N, known),
        ("service", Policy(|| json!([{"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "BUCKET/*"}])), Twist::None, N, N, none),
        ("not_principal", Policy(|| json!([{"Effect": "Allow", "NotPrincipal": {"AWS": OTHER}, "Action": "s3:GetObject", "Resource": "BUCKET/*"}])), Twist::None, P, P, known),
        ("federated", Policy(|| json!([read(json!({"Federated": "graph.facebook.com"}), Value::Null)])), Twist::None, P, P, none),
        ("org", Policy(|| anyone(json!({"StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}}))), Twist::None, N, N, known),
        ("org_wildcard", Policy(|| anyone(json!({"StringLike": {"aws:PrincipalOrgID": "o-*"}}))), Twist::None, P, P, none),
        ("org_if_exists", Policy(|| anyone(json!({"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-a1b2c3"}}))), Twist::None, P, P, none),
        ("org_for_all_values", Policy(|| anyone(json!({"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}}))), Twist::None, P, P, none),
        ("org_for_any_value", Policy(|| anyone(json!({"ForAnyValue:StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}}))), Twist::None, N, N, known),
        ("org_not", Policy(|| anyone(json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}}))), Twist::None, P, P, none),
        ("org_null", Policy(|| anyone(json!({"Null": {"aws:PrincipalOrgID": "false"}}))), Twist::None, P, P, none),
        ("org_path", Policy(|| anyone(json!({"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-a1b2c3/r-x/*"}}))), Twist::None, P, N, known),
        ("ip_narrow", Policy(|| addresses(&["203.0.113.0/24"])), Twist::None, N, N, unknown),
        ("ip_slash_8", Policy(|| addresses(&["52.0.0.0/8"])), Twist::None, N, N, unknown),
        ("ip_slash_7", Policy(|| addresses(&["52.0.0.0/7"])), Twist::None, P, P, none),
        ("ip_world", Policy(|| addresses(&["0.0.0.0/0"])), Twist::None, P, P, none),
        ("ip_halves", Policy(|| addresses(&["0.0.0.0/1", "128.0.0.0/1"])), Twist::None, P, P, none),
        ("ip_halves_in_two_statements", Policy(|| json!([addresses(&["0.0.0.0/1"])[0], addresses(&["128.0.0.0/1"])[0]])), Twist::None, P, P, none),
        ("ip_neighbours_in_two_statements", Policy(|| json!([addresses(&["52.0.0.0/8"])[0], addresses(&["53.0.0.0/8"])[0]])), Twist::None, P, P, unknown),
        ("ip_private", Policy(|| addresses(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"])), Twist::None, N, N, unknown),
        ("ip_private_and_neighbour", Policy(|| addresses(&["10.0.0.0/7"])), Twist::None, P, P, none),
        ("ip_v6_broad", Policy(|| addresses(&["2001::/20"])), Twist::None, P, P, none),
        ("ip_v6_narrow", Policy(|| addresses(&["2001:db8::/32"])), Twist::None, N, N, unknown),
        ("ip_narrow_and_v6_world", Policy(|| addresses(&["203.0.113.0/24", "::/0"])), Twist::None, P, P, none),
        ("ip_if_exists", Policy(|| anyone(json!({"IpAddressIfExists": {"aws:SourceIp": "203.0.113.0/24"}}))), Twist::None, P, P, none),
        ("ip_not", Policy(|| anyone(json!({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}))), Twist::None, P, P, none),
        ("vpc", Policy(|| anyone(json!({"StringEquals": {"aws:SourceVpc": "vpc-91237329"}}))), Twist::None, N, N, unknown),
        ("vpc_wildcard", Policy(|| anyone(json!({"StringLike": {"aws:SourceVpc": "vpc-*"}}))), Twist::None, P, P, none),
        ("vpce_list_with_wildcard", Policy(|| anyone(json!({"StringLike": {"aws:SourceVpce": ["vpce-1a2b3c4d", "vpce-*"]}}))), Twist::None, P, P, none),
        ("vpc_null", Policy(|| anyone(json!({"Null": {"aws:SourceVpc": false}}))), Twist::None, P, P, none),
        ("principal_arn", Policy(|| anyone(json!({"ArnEquals": {"aws:PrincipalArn": format!("arn:aws:iam::{OTHER}:role/reader")}}))), Twist::None, N, N, known),
        ("principal_arn_of_one_account", Policy(|| anyone(json!({"ArnLike": {"aws:PrincipalArn": format!("arn:aws:iam::{OTHER}:role/*")}}))), Twist::None, P, N, known),
        ("principal_arn_of_any_account", Policy(|| anyone(json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/admin"}}))), Twist::None, P, P, none),
        ("principal_tag", Policy(|| anyone(json!({"StringEquals": {"aws:PrincipalTag/team": "blue"}}))), Twist::None, P, P, none),
        ("userid", Policy(|| anyone(json!({"StringEquals": {"aws:userid": "AROAEXAMPLEID:session"}}))), Twist::None, N, N, known),
        ("userid_of_role", Policy(|| anyone(json!({"StringLike": {"aws:userid": "AROAEXAMPLEID:*"}}))), Twist::None, P, N, known),
        ("source_account", Policy(|| anyone(json!({"StringEquals": {"aws:SourceAccount": OWNER}}))), Twist::None, N, N, none),
        ("source_arn_any", Policy(|| anyone(json!({"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:*"}}))), Twist::None, P, P, none),
        ("kms_key", Policy(|| anyone(json!({"StringEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:us-east-1:123456789012:key/k"}}))), Twist::None, N, N, unknown),
        ("delegated", Policy(|| anyone(json!({"StringEquals": {"s3:DataAccessPointAccount": OWNER}}))), Twist::None, N, N, none),
        ("delegated_by_arn", Policy(|| anyone(json!({"ArnLike": {"s3:DataAccessPointArn": "arn:aws:s3:us-west-2:123456789012:accesspoint/*"}}))), Twist::None, N, N, none),
        ("delegated_to_all", Policy(|| anyone(json!({"ArnLike": {"s3:DataAccessPointArn": "arn:aws:s3:us-west-2:*:accesspoint/*"}}))), Twist::None, P, P, none),
        ("variable", Policy(|| anyone(json!({"StringEquals": {"aws:userid": "${aws:userid}"}}))), Twist::None, P, P, none),
        ("referer", Policy(|| anyone(json!({"StringLike": {"aws:Referer": "https://example.org/*"}}))), Twist::None, P, P, none),
        ("secure_transport", Policy(|| anyone(json!({"Bool": {"aws:SecureTransport": true}}))), Twist::None, P, P, none),
        ("until_2020", Policy(|| anyone(json!({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}))), Twist::None, P, N, none),
        ("until_2099", Policy(|| anyone(json!({"DateLessThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}))), Twist::None, P, P, none),
        ("object_action_on_bucket", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "BUCKET"}])), Twist::None, P, N, none),
        ("deny_unless_org", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}}))])), Twist::None, P, N, known),
        ("deny_unless_org_if_exists", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEqualsIfExists": {"aws:PrincipalOrgID": "o-a1b2c3"}}))])), Twist::None, P, N, known),
        ("deny_if_org_differs_and_present", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}, "Null": {"aws:PrincipalOrgID": "false"}}))])), Twist::None, P, P, none),
        ("deny_unless_ip", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}))])), Twist::None, P, N, unknown),
        ("deny_unless_vpce", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}}))])), Twist::None, P, N, unknown),
        ("deny_unless_one_of_two", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEquals": {"aws:SourceVpce": "vpce-1a2b3c4d"}, "NotIpAddress": {"aws:SourceIp": "203.0.113.0/24"}}))])), Twist::None, P, N, unknown),
        ("deny_unless_org_or_service", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEqualsIfExists": {"aws:PrincipalOrgID": "o-a1b2c3"}, "BoolIfExists": {"aws:PrincipalIsAWSService": "false"}}))])), Twist::None, P, N, none),
        ("deny_unless_source_of_any_account", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"ArnNotLike": {"aws:SourceArn": "arn:aws:sns:*:*:*"}}))])), Twist::None, P, P, none),
        ("aws_service_only", Policy(|| anyone(json!({"Bool": {"aws:PrincipalIsAWSService": "true"}}))), Twist::None, P, N, none),
        ("ip_two_conditions_narrow", Policy(|| anyone(json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}, "StringEquals": {"aws:PrincipalOrgID": "o-a1b2c3"}}))), Twist::None, N, N, known),
        ("account_with_wildcard", Policy(|| json!([read(json!({"AWS": "arn:aws:iam::*:root"}), Value::Null)])), Twist::None, P, P, known),
        ("deny_unless_header", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEquals": {"aws:Referer": "https://example.org/"}}))])), Twist::None, P, P, none),
        ("deny_one_address", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"IpAddress": {"aws:SourceIp": "198.51.100.7"}}))])), Twist::None, P, P, none),
        ("deny_all", Policy(|| json!([read(json!("*"), Value::Null), {"Effect": "Deny", "Principal": "*", "Action": "s3:Get*", "Resource": "BUCKET/*"}])), Twist::None, P, N, none),
        ("deny_one_prefix", Policy(|| json!([read(json!("*"), Value::Null), {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "BUCKET/private/*"}])), Twist::None, P, P, none),
        ("deny_all_but_one_prefix", Policy(|| json!([read(json!("*"), Value::Null), {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "NotResource": "BUCKET/site/*"}])), Twist::None, P, P, none),
        ("deny_one_account", Policy(|| json!([read(json!("*"), Value::Null), {"Effect": "Deny", "Principal": {"AWS": OTHER}, "Action": "s3:*", "Resource": "BUCKET/*"}])), Twist::None, P, P, none),
        ("deny_insecure", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"Bool": {"aws:SecureTransport": "false"}}))])), Twist::None, P, P, none),
        ("action_of_no_table", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:GetSomethingNew", "Resource": "BUCKET/*"}])), Twist::None, P, P, none),
        ("star_metrics_only", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:PutMetricsConfiguration", "Resource": "BUCKET"}])), Twist::None, P, P, none),
        ("action_of_another_service", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "BUCKET/*"}])), Twist::None, P, N, none),
        ("canonical_owner", Policy(|| json!([read(json!({"CanonicalUser": "owner"}), Value::Null)])), Twist::None, N, N, none),
        ("deny_unless_own_account", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"StringNotEquals": {"aws:PrincipalAccount": OWNER}}))])), Twist::None, P, N, none),
        ("deny_unless_other_account", Policy(|| json!([read(json!("*"), Value::Null), deny(json!({"ArnNotLike": {"aws:PrincipalArn": format!("arn:aws:iam::{OTHER}:role/*")}}))])), Twist::None, P, N, known),
        ("not_principal_denied", Policy(|| json!([read(json!("*"), Value::Null), {"Effect": "Deny", "NotPrincipal": {"AWS": format!("arn:aws:iam::{OWNER}:role/app")}, "Action": "s3:*", "Resource": ["BUCKET", "BUCKET/*"]}])), Twist::None, P, N, none),
        ("oidc", Policy(|| json!([read(json!({"Federated": "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"}), Value::Null)])), Twist::None, P, P, none),
        ("saml", Policy(|| json!([read(json!({"Federated": "arn:aws:iam::123456789012:saml-provider/adfs"}), Value::Null)])), Twist::None, P, P, none),
        ("origin_access_identity", Policy(|| json!([read(json!({"AWS": "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1A2B3C4D5E6F7"}), Value::Null)])), Twist::None, N, N, known),
        ("origin_access_control", Policy(|| json!([read(json!({"Service": "cloudfront.amazonaws.com"}), json!({"StringEquals": {"aws:SourceArn": format!("arn:aws:cloudfront::{OWNER}:distribution/E1")}}))])), Twist::None, N, N, none),
        ("list_on_objects_only", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": "BUCKET/*"}])), Twist::None, P, N, none),
        ("resource_of_another_bucket", Policy(|| json!([{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::another", "arn:aws:s3:::another/*"]}])), Twist::None, P, N, none),
        ("world_by_network_of_vpc", Policy(|| anyone(json!({"IpAddress": {"aws:VpcSourceIp": "10.0.0.0/8"}}))), Twist::None, P, P, none),
        ("mfa", Policy(|| anyone(json!({"Bool": {"aws:MultiFactorAuthPresent": "true"}}))), Twist::None, P, P, none),
        ("from_2099", Policy(|| anyone(json!({"DateGreaterThan": {"aws:CurrentTime": "2099-01-01T00:00:00Z"}}))), Twist::None, P, N, none),
        ("object_tag", Policy(|| anyone(json!({"StringEquals": {"s3:ExistingObjectTag/class": "open"}}))), Twist::None, P, P, none),
        ("deny_only", Policy(|| json!([deny(json!({"Bool": {"aws:SecureTransport": "false"}}))])), Twist::None, N, N, none),
    ]
}

pub fn kinds_count() -> usize {
    kinds().len()
}

/// `rounds` buckets of every kind.
pub fn estate(seed: u64, rounds: usize) -> Vec<Labelled> {
    let mut random = Random::new(seed);
    let mut all = Vec::new();
    for round in 0..rounds {
        for kind in kinds() {
            all.push(build(kind, round, &mut random));
        }
    }
    all
}

fn build((kind, make, twist, documented, effective, cross_account): Kind, round: usize, random: &mut Random) -> Labelled {
    let name = format!("{}-{round}-{:04x}", kind.replace('_', "-"), random.below(0x10000));
    let mut bucket = bucket(&name);
    let mut context = context();
    let (acl, statements) = match make {
        Make::Acl(group, permission) => (Some((group, permission)), None),
        Make::Policy(make) => (None, Some(make())),
        Make::Both(group, permission, make) => (Some((group, permission)), Some(make())),
        Make::Nothing => (None, None),
    };
    if let (Some((name, permission)), Fact::Known(grants)) = (acl, &mut bucket.acl) {
        grants.push(grant(if name == "user" { Grantee::User("stranger".into()) } else { group(name) }, permission));
        random.chance(50).then(|| grants.reverse());
    }
    if let Some(statements) = statements {
        bucket.policy = Fact::Known(Some(policy_text(statements, &format!("arn:aws:s3:::{name}"), random)));
    } else if random.chance(30) {
        bucket.policy = Fact::Known(Some(policy_text(json!([]), &format!("arn:aws:s3:::{name}"), random)));
    }
    match twist {
        Twist::None => {}
        Twist::Bucket(block) => bucket.block = Fact::Known(block),
        Twist::Account(block) => context.account_block = Fact::Known(block),
        Twist::Organisation(block) => context.organisation_block = Fact::Known(block),
        Twist::Enforced => bucket.ownership = Fact::Known(Ownership::BucketOwnerEnforced),
        Twist::PolicyUnread => bucket.policy = Fact::denied("s3:GetBucketPolicy"),
        Twist::AclUnread => bucket.acl = Fact::denied("s3:GetBucketAcl"),
        Twist::BlockUnread => bucket.block = Fact::denied("s3:GetBucketPublicAccessBlock"),
        Twist::PolicyUnreadAccountLocked => {
            bucket.policy = Fact::denied("s3:GetBucketPolicy");
            context.account_block = Fact::Known(PublicAccessBlock::ALL);
        }
        Twist::AclUnreadEnforced => {
            bucket.acl = Fact::denied("s3:GetBucketAcl");
            bucket.ownership = Fact::Known(Ownership::BucketOwnerEnforced);
        }
    }
    Labelled { kind, bucket, context, documented, effective, cross_account }
}

fn policy_text(statements: Value, arn: &str, random: &mut Random) -> String {
    let mut statements = statements.as_array().cloned().unwrap_or_default();
    let company = [
        json!({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "BUCKET/*", "Condition": {"Bool": {"aws:SecureTransport": false}}}),
        json!({"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "BUCKET/logs/*"}),
        json!({"Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{OWNER}:role/ci")}, "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "BUCKET/*"}),
    ];
    for other in company {
        if random.chance(40) {
            let place = random.below(statements.len() as u64 + 1) as usize;
            statements.insert(place, other);
        }
    }
    if statements.is_empty() {
        statements.push(json!({"Effect": "Allow", "Principal": {"AWS": OWNER}, "Action": "s3:GetObject", "Resource": "BUCKET/*"}));
    }
    for (number, statement) in statements.iter_mut().enumerate() {
        random.chance(50).then(|| statement["Sid"] = json!(format!("Sid{number}")));
        vary(statement, random);
    }
    let one = statements.len() == 1 && random.chance(50);
    let statement = if one { statements.remove(0) } else { Value::Array(statements) };
    json!({"Version": "2012-10-17", "Statement": statement}).to_string().replace("BUCKET", arn)
}

/// Spelling that IAM reads alike: a scalar or a list of one, operators and keys in any case.
fn vary(statement: &mut Value, random: &mut Random) {
    for field in ["Action", "Resource", "NotAction", "NotResource"] {
        if let Some(value) = statement.get_mut(field) {
            as_list(value, random);
        }
    }
    let Some(Value::Object(condition)) = statement.get_mut("Condition") else { return };
    let mut varied = serde_json::Map::new();
    for (operator, keys) in condition.iter() {
        let mut changed = serde_json::Map::new();
        for (key, value) in keys.as_object().unwrap() {
            let mut value = value.clone();
            as_list(&mut value, random);
            changed.insert(any_case(key, random), value);
        }
        varied.insert(any_case(operator, random), Value::Object(changed));
    }
    *condition = varied;
}

fn as_list(value: &mut Value, random: &mut Random) {
    if !value.is_array() && random.chance(50) {
        *value = json!([value.clone()]);
    }
}

fn any_case(text: &str, random: &mut Random) -> String {
    match random.below(4) {
        0 => text.to_ascii_lowercase(),
        1 => text.to_ascii_uppercase(),
        _ => text.to_string(),
    }
}
