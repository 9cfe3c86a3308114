"""Builds a labelled estate on an emulator of AWS: estate.py URL SEED BUCKETS LABELS.json

A label says what a resource was built to be. Nothing of Afresh is used, and no answer of the emulator: its GetBucketPolicyStatus takes
every condition for a limit, and its GetBucketAcl shows grants that are not in force.
"""

import json
import os
import random
import sys

import boto3
from botocore.config import Config

URL, SEED, BUCKETS, LABELS = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
# One statement may stand alone or in a list of one. Custodian ends with an error at the first.
LISTS = "LISTS" in os.environ
REGION, OWNER, OTHER = "us-east-1", "123456789012", "210987654321"
ALL, AUTHENTICATED, LOGS = (f"http://acs.amazonaws.com/groups/{g}" for g in ("global/AllUsers", "global/AuthenticatedUsers", "s3/LogDelivery"))

rng = random.Random(SEED)
labels = []
options = dict(
    endpoint_url=URL,
    region_name=REGION,
    aws_access_key_id="testing",
    aws_secret_access_key="testing",
    config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}),
)
s3, control, ec2, rds = (boto3.client(name, **options) for name in ("s3", "s3control", "ec2", "rds"))


def without_account(request, **_):
    request.url = request.url.replace(f"//{OWNER}.", "//")


# An emulator has no host for each account.
control.meta.events.register("before-sign.s3-control", without_account)


def label(kind, id, of, public, cross="none"):
    labels.append({"type": kind, "id": id, "of": of, "public": public, "cross_account": cross})


# Buckets

IGNORE, RESTRICT = {"IgnorePublicAcls": True}, {"RestrictPublicBuckets": True}
BLOCK_ONLY = {"BlockPublicAcls": True, "BlockPublicPolicy": True}
EVERY = {**IGNORE, **RESTRICT, **BLOCK_ONLY}


def read(principal="*", **condition):
    statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": "BUCKET/*"}
    return {**statement, "Condition": condition} if condition else statement


def deny(**condition):
    return {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["BUCKET", "BUCKET/*"], "Condition": condition}


def address(*cidrs):
    return read(IpAddress={"aws:SourceIp": list(cidrs)})


ORG, VPCE = {"aws:PrincipalOrgID": "o-a1b2c3d4e5"}, {"aws:SourceVpce": "vpce-1a2b3c4d"}

# kind: (acl grant, statements, block, ownership, public, cross_account)
N = None
BUCKET_KINDS = {
    "private": (N, N, N, N, False, "none"),
    "private_locked": (N, N, EVERY, "BucketOwnerEnforced", False, "none"),
    "acl_read": ((ALL, "READ"), N, N, N, True, "none"),
    "acl_write": ((ALL, "WRITE"), N, N, N, True, "none"),
    "acl_read_acp": ((ALL, "READ_ACP"), N, N, N, True, "none"),
    "acl_write_acp": ((ALL, "WRITE_ACP"), N, N, N, True, "none"),
    "acl_full": ((ALL, "FULL_CONTROL"), N, N, N, True, "none"),
    "acl_authenticated": ((AUTHENTICATED, "READ"), N, N, N, True, "none"),
    "acl_authenticated_acp": ((AUTHENTICATED, "READ_ACP"), N, N, "BucketOwnerPreferred", True, "none"),
    "acl_logs": ((LOGS, "WRITE"), N, N, N, False, "none"),
    "acl_other_account": (("user", "READ"), N, N, N, False, "known"),
    "acl_enforced": ((ALL, "READ"), N, N, "BucketOwnerEnforced", False, "none"),
    "acl_ignored": ((ALL, "READ"), N, IGNORE, N, False, "none"),
    "acl_all_switches": ((ALL, "FULL_CONTROL"), N, EVERY, N, False, "none"),
    "acl_block_only": ((ALL, "READ"), N, BLOCK_ONLY, N, True, "none"),
    "acl_restrict_only": ((ALL, "READ"), N, RESTRICT, N, True, "none"),
    "acl_and_policy": ((ALL, "READ"), [read()], N, N, True, "none"),
    "star": (N, [read()], N, N, True, "none"),
    "star_aws": (N, [read({"AWS": "*"})], N, N, True, "none"),
    "star_aws_list": (N, [read({"AWS": [OTHER, "*"]})], N, N, True, "known"),
    "star_not_action": (N, [{"Effect": "Allow", "Principal": "*", "NotAction": "s3:Put*", "Resource": ["BUCKET", "BUCKET/*"]}], N, N, True, "none"),
    "star_list_only": (N, [{"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": "BUCKET"}], N, N, True, "none"),
    "star_write": (N, [{"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "BUCKET/in/*"}], N, N, True, "none"),
    "star_restricted": (N, [read()], RESTRICT, N, False, "none"),
    "star_all_switches": (N, [read()], EVERY, N, False, "none"),
    "star_block_only": (N, [read()], BLOCK_ONLY, N, True, "none"),
    "star_ignore_only": (N, [read()], IGNORE, N, True, "none"),
    "star_enforced": (N, [read()], N, "BucketOwnerEnforced", True, "none"),
    "account": (N, [read({"AWS": OTHER})], N, N, False, "known"),
    "account_root": (N, [read({"AWS": f"arn:aws:iam::{OTHER}:root"})], RESTRICT, N, False, "known"),
    "own_role": (N, [read({"AWS": f"arn:aws:iam::{OWNER}:role/app"})], N, N, False, "none"),
    "canonical": (N, [read({"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"})], N, N, False, "known"),
    "service": (N, [{"Effect": "Allow", "Principal": {"Service": "cloudtrail.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "BUCKET/*"}], N, N, False, "none"),
    "not_principal": (N, [{"Effect": "Allow", "NotPrincipal": {"AWS": OTHER}, "Action": "s3:GetObject", "Resource": "BUCKET/*"}], N, N, True, "known"),
    "federated": (N, [read({"Federated": "accounts.google.com"})], N, N, True, "none"),
    "org": (N, [read(StringEquals=ORG)], N, N, False, "known"),
    "org_wildcard": (N, [read(StringLike={"aws:PrincipalOrgID": "o-*"})], N, N, True, "none"),
    "org_if_exists": (N, [read(StringEqualsIfExists=ORG)], N, N, True, "none"),
    "org_for_all": (N, [read(**{"ForAllValues:StringEquals": ORG})], N, N, True, "none"),
    "org_not": (N, [read(StringNotEquals=ORG)], N, N, True, "none"),
    "ip_office": (N, [address("203.0.113.0/24")], N, N, False, "unknown"),
    "ip_eight": (N, [address("52.0.0.0/8")], N, N, False, "unknown"),
    "ip_seven": (N, [address("52.0.0.0/7")], N, N, True, "none"),
    "ip_world": (N, [address("0.0.0.0/0")], N, N, True, "none"),
    "ip_halves": (N, [address("0.0.0.0/1", "128.0.0.0/1")], N, N, True, "none"),
    "ip_halves_apart": (N, [address("0.0.0.0/1"), address("128.0.0.0/1")], N, N, True, "none"),
    "ip_private": (N, [address("10.0.0.0/8", "192.168.0.0/16")], N, N, False, "unknown"),
    "ip_v6_world": (N, [address("203.0.113.0/24", "::/0")], N, N, True, "none"),
    "ip_v6_narrow": (N, [address("2001:db8::/48")], N, N, False, "unknown"),
    "ip_not": (N, [read(NotIpAddress={"aws:SourceIp": "203.0.113.0/24"})], N, N, True, "none"),
    "vpc": (N, [read(StringEquals={"aws:SourceVpc": "vpc-91237329"})], N, N, False, "unknown"),
    "vpc_wildcard": (N, [read(StringLike={"aws:SourceVpc": "vpc-*"})], N, N, True, "none"),
    "vpce": (N, [read(StringEquals=VPCE)], N, N, False, "unknown"),
    "principal_arn": (N, [read(ArnEquals={"aws:PrincipalArn": f"arn:aws:iam::{OTHER}:role/reader"})], N, N, False, "known"),
    "principal_arn_any": (N, [read(ArnLike={"aws:PrincipalArn": "arn:aws:iam::*:role/admin"})], N, N, True, "none"),
    "source_account": (N, [read(StringEquals={"aws:SourceAccount": OWNER})], N, N, False, "none"),
    "source_arn_any": (N, [read(ArnLike={"aws:SourceArn": "arn:aws:sns:*:*:*"})], N, N, True, "none"),
    "referer": (N, [read(StringLike={"aws:Referer": "https://example.org/*"})], N, N, True, "none"),
    "tls_only": (N, [read(Bool={"aws:SecureTransport": "true"})], N, N, True, "none"),
    "variable": (N, [read(StringEquals={"aws:userid": "${aws:userid}"})], N, N, True, "none"),
    "expired": (N, [read(DateLessThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"})], N, N, False, "none"),
    "until_2099": (N, [read(DateLessThan={"aws:CurrentTime": "2099-01-01T00:00:00Z"})], N, N, True, "none"),
    "deny_unless_org": (N, [read(), deny(StringNotEquals=ORG)], N, N, False, "none"),
    "deny_unless_office": (N, [read(), deny(NotIpAddress={"aws:SourceIp": "203.0.113.0/24"})], N, N, False, "none"),
    "deny_unless_vpce": (N, [read(), deny(StringNotEquals=VPCE)], N, N, False, "none"),
    "deny_one_address": (N, [read(), deny(IpAddress={"aws:SourceIp": "198.51.100.7"})], N, N, True, "none"),
    "deny_insecure": (N, [read(), deny(Bool={"aws:SecureTransport": "false"})], N, N, True, "none"),
    "deny_everything": (N, [read(), {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["BUCKET", "BUCKET/*"]}], N, N, False, "none"),
    "deny_only": (N, [deny(Bool={"aws:SecureTransport": "false"})], N, N, False, "none"),
    "acl_denied_by_policy": ((ALL, "READ"), [{"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["BUCKET", "BUCKET/*"]}], N, N, False, "none"),
}
# Look-alikes: what reads as open and is shut, and the reverse. Whom a Deny leaves is another account's access.
ROLE, EVERYTHING = f"arn:aws:iam::{OWNER}:role/app", ["BUCKET", "BUCKET/*"]


def allow(action, resource="BUCKET/*", principal="*", **condition):
    return {**read(principal, **condition), "Action": action, "Resource": resource}


BUCKET_KINDS |= {
    "deny_unless_org": (*BUCKET_KINDS["deny_unless_org"][:5], "known"),
    "deny_unless_office": (*BUCKET_KINDS["deny_unless_office"][:5], "unknown"),
    "deny_unless_vpce": (*BUCKET_KINDS["deny_unless_vpce"][:5], "unknown"),
    "deny_unless_own_account": (N, [read(), deny(StringNotEquals={"aws:PrincipalAccount": OWNER})], N, N, False, "none"),
    "deny_unless_org_if_exists": (N, [read(), deny(StringNotEqualsIfExists=ORG)], N, N, False, "known"),
    # Without an organisation the key is absent, and the Deny is not met.
    "deny_other_orgs_only": (N, [read(), deny(StringNotEquals=ORG, Null={"aws:PrincipalOrgID": "false"})], N, N, True, "none"),
    "deny_unless_vpce_or_office": (
        N,
        [read(), deny(StringNotEquals=VPCE, NotIpAddress={"aws:SourceIp": "203.0.113.0/24"})],
        N,
        N,
        False,
        "unknown",
    ),
    "deny_unless_role": (N, [read(), {"Effect": "Deny", "NotPrincipal": {"AWS": ROLE}, "Action": "s3:*", "Resource": EVERYTHING}], N, N, False, "none"),
    "deny_one_account": (N, [read(), {"Effect": "Deny", "Principal": {"AWS": OTHER}, "Action": "s3:*", "Resource": EVERYTHING}], N, N, True, "none"),
    "deny_one_prefix": (N, [read(), {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "BUCKET/private/*"}], N, N, True, "none"),
    "deny_all_but_prefix": (N, [read(), {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "NotResource": "BUCKET/site/*"}], N, N, True, "none"),
    "deny_other_action": (N, [read(), {"Effect": "Deny", "Principal": "*", "Action": ["s3:Put*", "s3:Delete*"], "Resource": EVERYTHING}], N, N, True, "none"),
    "deny_all_but_action": (N, [read(), {"Effect": "Deny", "Principal": "*", "NotAction": "s3:PutObject", "Resource": EVERYTHING}], N, N, False, "none"),
    "deny_unless_header": (N, [read(), deny(StringNotEquals={"aws:Referer": "https://example.org/"})], N, N, True, "none"),
    "deny_get_case": (N, [read(), {"Effect": "Deny", "Principal": {"AWS": "*"}, "Action": "S3:GETOBJECT", "Resource": "BUCKET/*"}], N, N, False, "none"),
    "action_any": (N, [allow("*", EVERYTHING)], N, N, True, "none"),
    "action_get_star": (N, [allow("s3:Get*")], N, N, True, "none"),
    "action_case": (N, [allow("S3:getobject")], N, N, True, "none"),
    "action_question_mark": (N, [allow("s3:?etObject")], N, N, True, "none"),
    "action_delete": (N, [allow("s3:DeleteObject")], N, N, True, "none"),
    "action_versions": (N, [allow("s3:GetObjectVersion")], N, N, True, "none"),
    "action_policy": (N, [allow("s3:PutBucketPolicy", "BUCKET")], N, N, True, "none"),
    "action_location": (N, [allow("s3:GetBucketLocation", "BUCKET")], N, N, True, "none"),
    "action_metrics": (N, [allow("s3:PutMetricsConfiguration", "BUCKET")], N, N, True, "none"),
    "action_of_queue": (N, [allow("sqs:SendMessage")], N, N, False, "none"),
    "action_on_wrong_level": (N, [allow("s3:GetObject", "BUCKET"), allow("s3:ListBucket", "BUCKET/*")], N, N, False, "none"),
    "resource_other_bucket": (N, [allow("s3:*", ["arn:aws:s3:::another-bucket", "arn:aws:s3:::another-bucket/*"])], N, N, False, "none"),
    "resource_longer_name": (N, [allow("s3:*", ["BUCKET-logs", "BUCKET-logs/*"])], N, N, False, "none"),
    "resource_one_key": (N, [allow("s3:GetObject", "BUCKET/site/index.html")], N, N, True, "none"),
    "resource_any": (N, [allow("s3:*", "*")], N, N, True, "none"),
    "resource_star_of_name": (N, [allow("s3:GetObject", "arn:aws:s3:::*/*")], N, N, True, "none"),
    "not_resource": (N, [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "NotResource": "BUCKET/private/*"}], N, N, True, "none"),
    "not_resource_all": (N, [{"Effect": "Allow", "Principal": "*", "Action": "s3:*", "NotResource": ["BUCKET", "BUCKET/*"]}], N, N, False, "none"),
    "not_action_all": (N, [{"Effect": "Allow", "Principal": "*", "NotAction": "s3:*", "Resource": EVERYTHING}], N, N, False, "none"),
    "principal_list": (N, [read({"AWS": [OTHER, f"arn:aws:iam::{OWNER}:user/ops"]})], N, N, False, "known"),
    "principal_mixed": (N, [read({"AWS": ROLE, "Service": "logging.s3.amazonaws.com", "Federated": "cognito-identity.amazonaws.com"})], N, N, True, "none"),
    "principal_saml": (N, [read({"Federated": f"arn:aws:iam::{OWNER}:saml-provider/adfs"})], N, N, True, "none"),
    "principal_oidc_in_org": (N, [read({"Federated": "cognito-identity.amazonaws.com"}, StringEquals=ORG)], N, N, False, "known"),
    "principal_not_in_org": (N, [{"Effect": "Allow", "NotPrincipal": {"AWS": OTHER}, "Action": "s3:GetObject", "Resource": "BUCKET/*", "Condition": {"StringEquals": ORG}}], N, N, False, "known"),
    "principal_oai": (N, [read({"AWS": "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E1A2B3C4D5E6F7"})], N, N, False, "known"),
    "principal_oac": (N, [read({"Service": "cloudfront.amazonaws.com"}, StringEquals={"aws:SourceArn": f"arn:aws:cloudfront::{OWNER}:distribution/E1A2B3"})], N, N, False, "none"),
    "principal_service_account": (N, [allow("s3:PutObject", principal={"Service": "delivery.logs.amazonaws.com"}, StringEquals={"aws:SourceAccount": OWNER})], N, N, False, "none"),
    "org_paths": (N, [read(**{"ForAnyValue:StringLike": {"aws:PrincipalOrgPaths": "o-a1b2c3d4e5/r-ab12/ou-ab12-11111111/*"}})], N, N, False, "known"),
    "org_null": (N, [read(Null={"aws:PrincipalOrgID": "false"})], N, N, True, "none"),
    "org_star_text": (N, [read(StringEquals={"aws:PrincipalOrgID": "*"})], N, N, False, "none"),
    "org_like_fixed": (N, [read(StringLike=ORG)], N, N, False, "known"),
    "org_and_world": (N, [read(StringEquals=ORG, IpAddress={"aws:SourceIp": "0.0.0.0/0"})], N, N, False, "known"),
    "org_and_star_apart": (N, [read(StringEquals=ORG), allow("s3:ListBucket", "BUCKET")], N, N, True, "known"),
    "vpce_list_one_star": (N, [read(StringLike={"aws:SourceVpce": ["vpce-1a2b3c4d", "vpce-*"]})], N, N, True, "none"),
    "vpc_null": (N, [read(Null={"aws:SourceVpc": "false"})], N, N, True, "none"),
    "vpc_if_exists": (N, [read(StringEqualsIfExists={"aws:SourceVpc": "vpc-91237329"})], N, N, True, "none"),
    "ip_host": (N, [address("203.0.113.7")], N, N, False, "unknown"),
    "ip_neighbours": (N, [address("52.0.0.0/8", "53.0.0.0/8")], N, N, True, "none"),
    "ip_quarters": (N, [address("0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2")], N, N, True, "none"),
    "ip_v6_31": (N, [address("2600::/31")], N, N, True, "none"),
    "ip_v6_32": (N, [address("2600:1f00::/32")], N, N, False, "unknown"),
    "ip_v6_halves": (N, [address("::/1", "8000::/1")], N, N, True, "none"),
    "ip_if_exists": (N, [read(IpAddressIfExists={"aws:SourceIp": "203.0.113.0/24"})], N, N, True, "none"),
    "ip_private_wide": (N, [address("10.0.0.0/7")], N, N, True, "none"),
    "ip_172_wide": (N, [address("172.0.0.0/6")], N, N, True, "none"),
    "mfa": (N, [read(Bool={"aws:MultiFactorAuthPresent": "true"})], N, N, True, "none"),
    "principal_tag": (N, [read(StringEquals={"aws:PrincipalTag/team": "blue"})], N, N, True, "none"),
    "object_tag": (N, [read(StringEquals={"s3:ExistingObjectTag/class": "open"})], N, N, True, "none"),
    "upload_acl": (N, [allow("s3:PutObject", StringEquals={"s3:x-amz-acl": "bucket-owner-full-control"})], N, N, True, "none"),
    "list_prefix": (N, [allow("s3:ListBucket", "BUCKET", StringLike={"s3:prefix": "site/*"})], N, N, True, "none"),
    "user_agent": (N, [read(StringEquals={"aws:UserAgent": "our-secret-agent"})], N, N, True, "none"),
    "kms_key": (N, [allow("s3:PutObject", StringEquals={"s3:x-amz-server-side-encryption-aws-kms-key-id": f"arn:aws:kms:us-east-1:{OWNER}:key/1"})], N, N, False, "unknown"),
    "source_owner": (N, [read(StringEquals={"aws:SourceOwner": OWNER})], N, N, False, "none"),
    "source_arn": (N, [read(ArnLike={"aws:SourceArn": f"arn:aws:sns:us-east-1:{OWNER}:topic"})], N, N, False, "none"),
    "userid_fixed": (N, [read(StringEquals={"aws:userid": "AIDAJQABLZS4A3QDU576Q"})], N, N, False, "known"),
    "userid_of_role": (N, [read(StringLike={"aws:userid": "AROAEXAMPLEID:*"})], N, N, False, "known"),
    "userid_any": (N, [read(StringLike={"aws:userid": "*:*"})], N, N, True, "none"),
    "variable_in_key": (N, [allow("s3:GetObject", "BUCKET/home/${aws:username}/*")], N, N, True, "none"),
    "from_2099": (N, [read(DateGreaterThan={"aws:CurrentTime": "2099-01-01T00:00:00Z"})], N, N, False, "none"),
    "epoch_past": (N, [read(NumericLessThan={"aws:EpochTime": "1577836800"})], N, N, False, "none"),
    "point_arn": (N, [allow("s3:*", EVERYTHING, ArnLike={"s3:DataAccessPointArn": f"arn:aws:s3:us-east-1:{OWNER}:accesspoint/*"})], N, N, False, "none"),
    "point_arn_any_account": (N, [allow("s3:*", EVERYTHING, ArnLike={"s3:DataAccessPointArn": "arn:aws:s3:us-east-1:*:accesspoint/*"})], N, N, True, "none"),
    "point_account_other": (N, [allow("s3:*", EVERYTHING, StringEquals={"s3:DataAccessPointAccount": OTHER})], N, N, False, "known"),
    "acl_full_preferred": ((ALL, "FULL_CONTROL"), N, N, "BucketOwnerPreferred", True, "none"),
    "acl_writer": ((AUTHENTICATED, "WRITE"), N, N, "ObjectWriter", True, "none"),
    "acl_ignored_star": ((ALL, "READ"), [read()], IGNORE, N, True, "none"),
    "acl_star_restricted": ((ALL, "READ"), [read(StringEquals=ORG)], RESTRICT, N, True, "known"),
    "acl_deny_list": ((ALL, "READ"), [{"Effect": "Deny", "Principal": "*", "Action": "s3:ListBucket*", "Resource": "BUCKET"}], N, N, False, "none"),
    "acl_deny_insecure": ((ALL, "READ"), [deny(Bool={"aws:SecureTransport": "false"})], N, N, True, "none"),
    "acl_deny_unless_vpce": ((ALL, "READ"), [deny(StringNotEquals=VPCE)], N, N, False, "none"),
    "star_both_switches": ((ALL, "READ"), [read()], {**IGNORE, **RESTRICT}, N, False, "none"),
}
# As many private buckets as of all other kinds: an account that is all holes is none.
COMPANY = [
    {"Effect": "Allow", "Principal": {"Service": "logging.s3.amazonaws.com"}, "Action": "s3:PutObject", "Resource": "BUCKET/logs/*"},
    {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OWNER}:role/ci"}, "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "BUCKET/*"},
]


def make_bucket(name, acl=N, statements=N, block=N, ownership=N):
    s3.create_bucket(Bucket=name)
    if "NEW_BUCKETS_ARE_SHUT" in os.environ:
        # As on AWS since April 2023: every switch is on, and ACLs are off.
        s3.delete_public_access_block(Bucket=name)
        ownership = ownership or "ObjectWriter"
    if ownership:
        s3.put_bucket_ownership_controls(Bucket=name, OwnershipControls={"Rules": [{"ObjectOwnership": ownership}]})
    if acl:
        put_acl(lambda **policy: s3.put_bucket_acl(Bucket=name, **policy), s3.get_bucket_acl(Bucket=name)["Owner"], acl)
    if statements:
        put_policy(name, statements)
    if block:
        switches = dict.fromkeys(EVERY, False) | block
        s3.put_public_access_block(Bucket=name, PublicAccessBlockConfiguration=switches)


def put_acl(put, owner, acl):
    grantee = {"Type": "CanonicalUser", "ID": "f" * 64} if acl[0] == "user" else {"Type": "Group", "URI": acl[0]}
    own = {"Grantee": {"Type": "CanonicalUser", "ID": owner["ID"]}, "Permission": "FULL_CONTROL"}
    grants = [own, {"Grantee": grantee, "Permission": acl[1]}]
    rng.shuffle(grants)
    put(AccessControlPolicy={"Owner": {"ID": owner["ID"]}, "Grants": grants})


def put_policy(name, statements, company=True):
    all = [dict(s) for s in statements] + [dict(c) for c in COMPANY if company and rng.random() < 0.3]
    rng.shuffle(all)
    for number, statement in enumerate(all):
        if rng.random() < 0.5:
            statement["Sid"] = f"Sid{number}"
        if "Condition" in statement:
            statement["Condition"] = {any_case(o): {any_case(k): v for k, v in keys.items()} for o, keys in statement["Condition"].items()}
    text = json.dumps({"Version": "2012-10-17", "Statement": all if LISTS or len(all) > 1 or rng.random() < 0.5 else all[0]})
    s3.put_bucket_policy(Bucket=name, Policy=text.replace("BUCKET", f"arn:aws:s3:::{name}"))


def any_case(text):
    return rng.choice([text, text, text.lower(), text.upper()])


def buckets():
    kinds = list(BUCKET_KINDS)
    for number in range(BUCKETS):
        kind = kinds[number // 2 % len(kinds)] if number % 2 else rng.choice(["private", "private", "private_locked", "own_role"])
        acl, statements, block, ownership, public, cross = BUCKET_KINDS[kind]
        name = f"{kind.replace('_', '-')}-{number}-{rng.randrange(1 << 16):04x}"
        make_bucket(name, acl, statements, block, ownership)
        label("s3_bucket", name, kind, public, cross)


# Objects


def put_object(bucket, key, of, public, acl=N):
    s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    if acl:
        # moto reads an object's grants from headers alone.
        grantee = f'id="{"f" * 64}"' if acl[0] == "user" else f'uri="{acl[0]}"'
        s3.put_object_acl(Bucket=bucket, Key=key, **{{"READ": "GrantRead", "READ_ACP": "GrantReadACP"}[acl[1]]: grantee})
    label("s3_object", f"{bucket}/{key}", of, public, "known" if acl and acl[0] == "user" else "none")


def objects(rounds):
    for r in range(rounds):
        tag = f"{r}-{rng.randrange(1 << 16):04x}"
        make_bucket(f"objects-plain-{tag}")
        label("s3_bucket", f"objects-plain-{tag}", "objects", False)
        for key, of, public, acl in [
            ("a.txt", "object_private", False, N),
            ("dump/customers 2024+ü.sql", "object_public", True, (ALL, "READ")),
            ("b.txt", "object_authenticated", True, (AUTHENTICATED, "READ")),
            ("c.txt", "object_read_acp", True, (ALL, "READ_ACP")),
            ("d.txt", "object_other_account", False, ("user", "READ")),
        ]:
            put_object(f"objects-plain-{tag}", key, of, public, acl)
        for name, block, ownership in [("ignored", IGNORE, N), ("enforced", N, "BucketOwnerEnforced")]:
            bucket = f"objects-{name}-{tag}"
            make_bucket(bucket, N, N, block, ownership)
            label("s3_bucket", bucket, f"objects_{name}", False)
            put_object(bucket, "a.txt", f"object_{name}", False, (ALL, "READ"))
        bucket = f"objects-site-{tag}"
        make_bucket(bucket, N, [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "BUCKET/site/*"}])
        label("s3_bucket", bucket, "objects_site", True)
        put_object(bucket, "site/index.html", "object_by_policy", True)
        put_object(bucket, "private/x.csv", "object_beside_policy", False)


# Access points

DELEGATED = {
    "Effect": "Allow",
    "Principal": {"AWS": "*"},
    "Action": "s3:*",
    "Resource": ["BUCKET", "BUCKET/*"],
    "Condition": {"StringEquals": {"s3:DataAccessPointAccount": OWNER}},
}
# kind: (bucket delegates, policy open to, vpc, block, bucket's block, public)
POINT_KINDS = {
    "point_public": (True, "*", False, {}, {}, True),
    "point_account": (True, {"AWS": f"arn:aws:iam::{OTHER}:root"}, False, {}, {}, False),
    "point_without_policy": (True, N, False, {}, {}, False),
    "point_vpc": (True, "*", True, {}, {}, False),
    "point_own_block": (True, "*", False, RESTRICT, {}, False),
    "point_bucket_block": (True, "*", False, {}, RESTRICT, False),
    "point_not_delegated": (False, "*", False, {}, {}, False),
    "point_in_org": (True, "org", False, {}, {}, False),
    "point_wildcard_org": (True, "org*", False, {}, {}, True),
    "point_federated": (True, {"Federated": "cognito-identity.amazonaws.com"}, False, {}, {}, True),
    "point_ignore_only": (True, "*", False, IGNORE, BLOCK_ONLY, True),
    # Without a choice every switch of an access point is on.
    "point_default_block": (True, "*", False, EVERY, {}, False),
}


def access_points(rounds):
    for r in range(rounds):
        for kind, (delegates, principal, vpc, block, bucket_block, public) in POINT_KINDS.items():
            name = f"{kind.replace('_', '-')}-{r}-{rng.randrange(1 << 16):04x}"
            make_bucket(name, block=bucket_block)
            if delegates:
                put_policy(name, [DELEGATED], company=False)
            label("s3_bucket", name, f"bucket_of_{kind}", False)
            switches = dict.fromkeys(EVERY, False) | block
            network = {"VpcConfiguration": {"VpcId": "vpc-1a2b3c4d"}} if vpc else {}
            control.create_access_point(
                AccountId=OWNER, Name=name, Bucket=name, PublicAccessBlockConfiguration=switches, **network
            )
            if principal:
                arn = f"arn:aws:s3:{REGION}:{OWNER}:accesspoint/{name}"
                org = {"StringEquals": ORG} if principal == "org" else {"StringLike": {"aws:PrincipalOrgID": "o-*"}} if principal == "org*" else N
                statement = {"Effect": "Allow", "Principal": "*" if org else principal, "Action": "s3:GetObject", "Resource": f"{arn}/object/*"}
                if org:
                    statement["Condition"] = org
                policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
                control.put_access_point_policy(AccountId=OWNER, Name=name, Policy=policy)
            label("s3_access_point", name, kind, public, "known" if kind in ("point_account", "point_in_org") else "none")


# kind: (a bucket delegates, policy open to, block, public, cross_account)
MULTI_REGION_KINDS = {
    "multi_region_public": (True, "*", {}, True, "none"),
    "multi_region_own_block": (True, "*", RESTRICT, False, "none"),
    "multi_region_account": (True, {"AWS": OTHER}, {}, False, "known"),
    "multi_region_without_policy": (True, N, {}, False, "none"),
    "multi_region_not_delegated": (False, "*", {}, False, "none"),
}


def multi_region_access_points(rounds):
    for r in range(rounds):
        for kind, (delegates, principal, block, public, cross) in MULTI_REGION_KINDS.items():
            name = f"{kind.replace('_', '-')}-{r}-{rng.randrange(1 << 16):04x}"
            buckets = [f"{name}-a", f"{name}-b"]
            for bucket in buckets:
                make_bucket(bucket)
                label("s3_bucket", bucket, f"bucket_of_{kind}", False)
            if delegates:
                put_policy(buckets[1], [DELEGATED], company=False)
            details = {"Name": name, "PublicAccessBlock": dict.fromkeys(EVERY, False) | block, "Regions": [{"Bucket": b} for b in buckets]}
            control.create_multi_region_access_point(AccountId=OWNER, ClientToken=name, Details=details)
            alias = control.get_multi_region_access_point(AccountId=OWNER, Name=name)["AccessPoint"]["Alias"]
            if principal:
                resource = f"arn:aws:s3::{OWNER}:accesspoint/{alias}/object/*"
                statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject", "Resource": resource}
                policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
                control.put_multi_region_access_point_policy(AccountId=OWNER, ClientToken=name, Details={"Name": name, "Policy": policy})
            label("s3_access_point", name, kind, public, cross)


# Images, snapshots, groups


def images(rounds):
    source = ec2.run_instances(ImageId=ec2.describe_images()["Images"][0]["ImageId"], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    for r in range(rounds):
        for kind, permission, public, cross in [
            ("image_private", N, False, "none"),
            ("image_public", {"Group": "all"}, True, "none"),
            ("image_shared", {"UserId": OTHER}, False, "known"),
            ("image_of_org", {"OrganizationArn": f"arn:aws:organizations::{OTHER}:organization/o-a1b2c3d4e5"}, False, "known"),
        ]:
            image = ec2.create_image(InstanceId=source, Name=f"{kind}-{r}")["ImageId"]
            if permission:
                ec2.modify_image_attribute(ImageId=image, LaunchPermission={"Add": [permission]})
            label("ami", image, kind, public, cross)
        for kind, change, encrypted, public, cross in [
            ("snapshot_private", {}, False, False, "none"),
            ("snapshot_public", {"GroupNames": ["all"]}, False, True, "none"),
            ("snapshot_shared", {"UserIds": [OTHER]}, False, False, "known"),
            ("snapshot_encrypted", {}, True, False, "none"),
            ("snapshot_shared_and_public", {"GroupNames": ["all"], "UserIds": [OTHER]}, False, True, "known"),
        ]:
            volume = ec2.create_volume(AvailabilityZone=f"{REGION}a", Size=1, Encrypted=encrypted)["VolumeId"]
            snapshot = ec2.create_snapshot(VolumeId=volume)["SnapshotId"]
            if change:
                ec2.modify_snapshot_attribute(
                    SnapshotId=snapshot, Attribute="createVolumePermission", OperationType="add", **change
                )
            label("ebs_snapshot", snapshot, kind, public, cross)


def tcp(first, last, *cidrs, protocol="tcp"):
    ranges = {
        "IpRanges": [{"CidrIp": c} for c in cidrs if ":" not in c and not c.startswith("pl-")],
        "Ipv6Ranges": [{"CidrIpv6": c} for c in cidrs if ":" in c],
        "PrefixListIds": [{"PrefixListId": c} for c in cidrs if c.startswith("pl-")],
    }
    ports = {} if protocol == "-1" else {"FromPort": first, "ToPort": last}
    return {"IpProtocol": protocol, **ports, **{k: v for k, v in ranges.items() if v}}


def prefix_list(name, *cidrs):
    entries = [{"Cidr": c} for c in cidrs]
    made = ec2.create_managed_prefix_list(PrefixListName=name, MaxEntries=5, AddressFamily="IPv4", Entries=entries)
    return made["PrefixList"]["PrefixListId"]


def make_group(name, vpc, rules):
    group = ec2.create_security_group(GroupName=name, Description=name, VpcId=vpc)["GroupId"]
    if rules:
        ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=rules)
    return group


def groups(rounds, vpc):
    world, office = prefix_list("world", "0.0.0.0/1", "128.0.0.0/1"), prefix_list("office", "203.0.113.0/24")
    upper = prefix_list("upper", "128.0.0.0/1")
    kinds = [
        ("group_closed", [], False),
        ("group_ssh_world", [tcp(22, 22, "0.0.0.0/0")], True),
        ("group_ssh_office", [tcp(22, 22, "203.0.113.0/24")], False),
        ("group_ssh_halves", [tcp(22, 22, "0.0.0.0/1", "128.0.0.0/1")], True),
        ("group_ssh_halves_apart", [tcp(22, 22, "0.0.0.0/1"), tcp(20, 25, "128.0.0.0/1")], True),
        ("group_ssh_v6", [tcp(22, 22, "::/0")], True),
        ("group_web", [tcp(443, 443, "0.0.0.0/0"), tcp(80, 80, "0.0.0.0/0")], False),
        ("group_all_ports", [tcp(0, 65535, "0.0.0.0/0")], True),
        ("group_all_protocols", [tcp(0, 0, "0.0.0.0/0", protocol="-1")], True),
        ("group_range_over_postgres", [tcp(5000, 6000, "0.0.0.0/0")], True),
        ("group_range_of_nothing", [tcp(40000, 41000, "0.0.0.0/0")], False),
        ("group_snmp", [tcp(161, 161, "0.0.0.0/0", protocol="udp")], True),
        ("group_ping", [tcp(-1, -1, "0.0.0.0/0", protocol="icmp")], False),
        ("group_private", [tcp(0, 0, "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", protocol="-1")], False),
        ("group_list_world", [tcp(22, 22, world)], True),
        ("group_list_office", [tcp(22, 22, office)], False),
        ("group_list_and_half", [tcp(22, 22, "0.0.0.0/1"), tcp(22, 22, upper)], True),
        ("group_ssh_by_number", [tcp(22, 22, "0.0.0.0/0", protocol="6")], True),
        ("group_ssh_over_udp", [tcp(22, 22, "0.0.0.0/0", protocol="udp")], False),
        ("group_v6_unicast", [tcp(3389, 3389, "2000::/3")], True),
        ("group_v6_office", [tcp(3389, 3389, "2001:db8:1::/48")], False),
        ("group_v6_halves", [tcp(3389, 3389, "::/1"), tcp(3389, 3389, "8000::/1")], True),
        ("group_eighths", [tcp(6379, 6379, *(f"{n * 32}.0.0.0/3" for n in range(8)))], True),
        ("group_all_protocols_v6", [tcp(0, 0, "::/0", protocol="-1")], True),
        ("group_all_udp", [tcp(0, 65535, "0.0.0.0/0", protocol="udp")], True),
        ("group_high_ports", [tcp(1024, 65535, "0.0.0.0/0")], True),
        ("group_icmp_v6", [tcp(-1, -1, "::/0", protocol="icmpv6")], False),
        ("group_encapsulation", [tcp(-1, -1, "0.0.0.0/0", protocol="47")], False),
        ("group_itself", "itself", False),
        ("group_web_and_own", [tcp(443, 443, "0.0.0.0/0"), tcp(5432, 5432, "10.1.0.0/16")], False),
        ("group_one_host", [tcp(22, 22, "198.51.100.7/32")], False),
        ("group_docker", [tcp(2375, 2376, "0.0.0.0/0")], True),
        ("group_memcached", [tcp(11211, 11211, "0.0.0.0/0", protocol="udp")], True),
        ("group_egress_only", "egress", False),
    ]
    for r in range(rounds):
        for kind, rules, public in kinds:
            group = make_group(f"{kind}-{r}", vpc, [] if isinstance(rules, str) else [dict(rule) for rule in rules])
            if rules == "itself":
                pairs = {"IpProtocol": "-1", "UserIdGroupPairs": [{"GroupId": group}]}
                ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[pairs])
            label("security_group", group, kind, public)


# Databases


def network():
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    names = {}
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    for number, name in enumerate(["outside", "inside", "halves", "nat", "partner"]):
        table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
        blocks = {"outside": ["0.0.0.0/0"], "halves": ["0.0.0.0/1", "128.0.0.0/1"], "partner": ["203.0.113.0/24"]}.get(name, [])
        for block in blocks:
            ec2.create_route(RouteTableId=table, DestinationCidrBlock=block, GatewayId=gateway)
        subnets = []
        for zone in "ab":
            block = f"10.1.{number * 2 + (zone == 'b')}.0/24"
            subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=block, AvailabilityZone=f"{REGION}{zone}")["Subnet"]["SubnetId"]
            ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
            subnets.append(subnet)
        if name == "nat":
            through = ec2.create_nat_gateway(SubnetId=subnets[0], AllocationId=address)["NatGateway"]["NatGatewayId"]
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=through)
        rds.create_db_subnet_group(DBSubnetGroupName=name, DBSubnetGroupDescription=name, SubnetIds=subnets)
        names[name] = name
    return vpc


def databases(rounds, vpc):
    world = make_group("db-world", vpc, [tcp(5432, 5432, "0.0.0.0/0")])
    halves = [make_group(f"db-half-{n}", vpc, [tcp(5432, 5432, c)]) for n, c in enumerate(["0.0.0.0/1", "128.0.0.0/1"])]
    office = make_group("db-office", vpc, [tcp(5432, 5432, "203.0.113.0/24")])
    other_port = make_group("db-other-port", vpc, [tcp(3306, 3306, "0.0.0.0/0")])
    v6 = make_group("db-v6", vpc, [tcp(5432, 5432, "::/0")])
    for group, public in [(world, True), (halves[0], True), (halves[1], True), (office, False), (other_port, True), (v6, True)]:
        # Half of the world is more than a /8, and open to strangers.
        label("security_group", group, "group_of_database", public)
    for r in range(rounds):
        for kind, flag, of, subnets, public in [
            ("db_public", True, [world], "outside", True),
            ("db_two_halves", True, halves, "outside", True),
            ("db_flag_only", True, [office], "outside", False),
            ("db_other_port", True, [other_port], "outside", False),
            ("db_no_route", True, [world], "inside", False),
            ("db_no_flag", False, [world], "outside", False),
            ("db_v6_without_v6", True, [v6], "outside", False),
            ("db_route_halves", True, [world], "halves", True),
            ("db_behind_nat", True, [world], "nat", False),
            ("db_route_to_partner", True, [world], "partner", False),
            ("db_one_of_two_groups", True, [office, world], "outside", True),
            ("db_nothing", False, [office], "inside", False),
        ]:
            name = f"{kind.replace('_', '-')}-{r}"
            rds.create_db_instance(
                DBInstanceIdentifier=name, DBInstanceClass="db.t3.micro", Engine="postgres", Port=5432, AllocatedStorage=20,
                MasterUsername="admin1", MasterUserPassword="password-of-nobody", PubliclyAccessible=flag,
                VpcSecurityGroupIds=of, DBSubnetGroupName=subnets,
            )  # fmt: skip
            label("rds_instance", name, kind, public)
        cluster = f"cluster-{r}"
        rds.create_db_cluster(
            DBClusterIdentifier=cluster, Engine="aurora-postgresql", MasterUsername="admin1", MasterUserPassword="password-of-nobody"
        )
        for kind, values, public, cross in [
            ("private", [], False, "none"),
            ("public", ["all"], True, "none"),
            ("shared", [OTHER], False, "known"),
            ("shared_and_public", [OTHER, "all"], True, "known"),
        ]:
            name = f"snapshot-{kind.replace('_', '-')}-{r}"
            rds.create_db_snapshot(DBSnapshotIdentifier=name, DBInstanceIdentifier=f"db-public-{r}")
            label("rds_snapshot", name, f"rds_snapshot_{kind}", public, cross)
            rds.create_db_cluster_snapshot(DBClusterSnapshotIdentifier=f"c{name}", DBClusterIdentifier=cluster)
            label("rds_cluster_snapshot", f"c{name}", f"rds_cluster_snapshot_{kind}", public, cross)
            if values:
                rds.modify_db_snapshot_attribute(DBSnapshotIdentifier=name, AttributeName="restore", ValuesToAdd=values)
                rds.modify_db_cluster_snapshot_attribute(DBClusterSnapshotIdentifier=f"c{name}", AttributeName="restore", ValuesToAdd=values)


# The count of each other kind. A few are enough where answers are broken.
ROUNDS = int(os.environ.get("ROUNDS", 0))
buckets()
if "BUCKETS_ONLY" not in os.environ:
    objects(ROUNDS or 8)
    access_points(ROUNDS or 4)
    if "MULTI_REGION" in os.environ:
        multi_region_access_points(ROUNDS or 2)
    images(ROUNDS or 10)
    vpc = network()
    groups(ROUNDS or 6, vpc)
    databases(ROUNDS or 5, vpc)
with open(LABELS, "w") as file:
    json.dump(labels, file)
print(f"{len(labels)} resources of {len({l['of'] for l in labels})} kinds, {sum(l['public'] for l in labels)} of them public")
