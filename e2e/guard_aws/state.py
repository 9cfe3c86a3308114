"""The state of an emulated account, read by boto3 and by nothing of Afresh: state.py URL prints its hash, state.py URL FILE writes it too.

Blocks, policies, ACLs, websites, permissions, flags and rules, sorted. The identifiers of security group rules are left out: a rule that is
authorised again has another.
"""

import hashlib
import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

OWNER = "123456789012"


def clients(url):
    options = dict(
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id="testing",
        aws_secret_access_key="testing",
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}),
    )
    s3, control, ec2, rds = (boto3.client(name, **options) for name in ("s3", "s3control", "ec2", "rds"))
    # An emulator has no host for each account.
    control.meta.events.register("before-sign.s3-control", lambda request, **_: setattr(request, "url", request.url.replace(f"//{OWNER}.", "//")))
    return s3, control, ec2, rds


def answer(call, *absent, **parameters):
    """The answer, or None where the service says that there is none."""
    try:
        found = call(**parameters)
    except ClientError as error:
        if error.response["Error"]["Code"] in absent:
            return None
        raise
    found.pop("ResponseMetadata", None)
    return found


def canonical(value):
    if isinstance(value, dict):
        return {k: canonical(v) for k, v in value.items() if k != "ResponseMetadata"}
    if isinstance(value, list):
        return sorted((canonical(v) for v in value), key=lambda v: json.dumps(v, sort_keys=True, default=str))
    return value


def block(call, **parameters):
    found = answer(call, "NoSuchPublicAccessBlockConfiguration", **parameters)
    return found and found["PublicAccessBlockConfiguration"]


def rules(group):
    """One source each: how they are grouped is not a state."""
    found = []
    for rule in group["IpPermissions"]:
        ports = {k: rule.get(k) for k in ("IpProtocol", "FromPort", "ToPort")}
        for list, name in [("IpRanges", "CidrIp"), ("Ipv6Ranges", "CidrIpv6"), ("PrefixListIds", "PrefixListId"), ("UserIdGroupPairs", "GroupId")]:
            found += [{**ports, "source": source[name], "description": source.get("Description")} for source in rule.get(list, [])]
    return found


def read(url):
    s3, control, ec2, rds = clients(url)
    state = {"account": block(control.get_public_access_block, AccountId=OWNER)}
    for bucket in (b["Name"] for b in s3.list_buckets()["Buckets"]):
        policy = answer(s3.get_bucket_policy, "NoSuchBucketPolicy", Bucket=bucket)
        state["bucket", bucket] = {
            "block": block(s3.get_public_access_block, Bucket=bucket),
            "policy": policy and policy["Policy"],
            "acl": answer(s3.get_bucket_acl, Bucket=bucket),
            "ownership": answer(s3.get_bucket_ownership_controls, "OwnershipControlsNotFoundError", Bucket=bucket),
            "website": answer(s3.get_bucket_website, "NoSuchWebsiteConfiguration", Bucket=bucket),
        }
        for key in (o["Key"] for o in s3.list_objects_v2(Bucket=bucket).get("Contents", [])):
            state["object", bucket, key] = answer(s3.get_object_acl, Bucket=bucket, Key=key)
    for point in control.list_access_points(AccountId=OWNER, MaxResults=1000)["AccessPointList"]:
        name = point["Name"]
        found = answer(control.get_access_point, AccountId=OWNER, Name=name)
        policy = answer(control.get_access_point_policy, "NoSuchAccessPointPolicy", AccountId=OWNER, Name=name)
        state["point", name] = {"block": found.get("PublicAccessBlockConfiguration"), "policy": policy and policy["Policy"]}
    # The emulator lists what it brings as well.
    for image in (i for i in ec2.describe_images(Owners=["self"])["Images"] if i["OwnerId"] == OWNER):
        found = ec2.describe_image_attribute(ImageId=image["ImageId"], Attribute="launchPermission")
        state["image", image["ImageId"]] = found["LaunchPermissions"]
    for snapshot in (s for s in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"] if s["OwnerId"] == OWNER):
        found = ec2.describe_snapshot_attribute(SnapshotId=snapshot["SnapshotId"], Attribute="createVolumePermission")
        state["snapshot", snapshot["SnapshotId"]] = found["CreateVolumePermissions"]
    for group in ec2.get_paginator("describe_security_groups").paginate().search("SecurityGroups[]"):
        state["group", group["GroupId"]] = rules(group)
    for instance in rds.get_paginator("describe_db_instances").paginate().search("DBInstances[]"):
        state["instance", instance["DBInstanceIdentifier"]] = instance["PubliclyAccessible"]
    for snapshot in rds.get_paginator("describe_db_snapshots").paginate(SnapshotType="manual").search("DBSnapshots[]"):
        name = snapshot["DBSnapshotIdentifier"]
        found = rds.describe_db_snapshot_attributes(DBSnapshotIdentifier=name)["DBSnapshotAttributesResult"]
        state["db snapshot", name] = found["DBSnapshotAttributes"]
    for snapshot in rds.get_paginator("describe_db_cluster_snapshots").paginate(SnapshotType="manual").search("DBClusterSnapshots[]"):
        name = snapshot["DBClusterSnapshotIdentifier"]
        found = rds.describe_db_cluster_snapshot_attributes(DBClusterSnapshotIdentifier=name)["DBClusterSnapshotAttributesResult"]
        state["cluster snapshot", name] = found["DBClusterSnapshotAttributes"]
    return {" ".join(k) if isinstance(k, tuple) else k: canonical(v) for k, v in state.items()}


def digest(state):
    return hashlib.sha256(json.dumps(state, sort_keys=True, default=str).encode()).hexdigest()


if __name__ == "__main__":
    found = read(sys.argv[1])
    if len(sys.argv) > 2:
        with open(sys.argv[2], "w") as file:
            json.dump(found, file, indent=1, sort_keys=True, default=str)
    print(digest(found))
