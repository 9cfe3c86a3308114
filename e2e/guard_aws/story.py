"""The account of guard_story.sh: story.py URL builds it, story.py --plan prints the Terraform plan that would make the same mistake again."""

import json
import sys

from state import clients


def policy(bucket):
    statement = {"Sid": "FromTheTutorial", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def change(kind, after):
    return {
        "address": f"{kind}.exports",
        "type": kind,
        "mode": "managed",
        "change": {"actions": ["create"], "after": after, "after_unknown": {}},
    }


def plan():
    switches = ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
    return {
        "format_version": "1.2",
        "resource_changes": [
            change("aws_s3_bucket", {"bucket": "shop-exports-2"}),
            change("aws_s3_bucket_policy", {"bucket": "shop-exports-2", "policy": policy("shop-exports-2")}),
            change("aws_s3_bucket_public_access_block", {"bucket": "shop-exports-2", **dict.fromkeys(switches, False)}),
        ],
        "configuration": {},
    }


def build(url):
    s3, _, ec2, _ = clients(url)
    for n in range(12):
        s3.create_bucket(Bucket=f"shop-private-{n}")
    s3.create_bucket(Bucket="shop-exports")
    s3.put_object(Bucket="shop-exports", Key="customers.csv", Body=b"ann,ann@example.org\n")
    s3.put_bucket_policy(Bucket="shop-exports", Policy=policy("shop-exports"))
    group = ec2.create_security_group(GroupName="database", Description="database")["GroupId"]
    ec2.authorize_security_group_ingress(GroupId=group, IpProtocol="tcp", FromPort=5432, ToPort=5432, CidrIp="0.0.0.0/0")


if sys.argv[1] == "--plan":
    print(json.dumps(plan(), indent=1))
else:
    build(sys.argv[1])
