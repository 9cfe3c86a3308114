"""Second opinions on the policies of the labelled buckets: opinions.py URL LABELS.json SCAN.jsonl

moto's GetBucketPolicyStatus and Netflix's policyuniverse read the same policies. Where they differ from the scan's documented reading, a
rule of theirs must explain it; the rules look at the text alone. Exits 1 at a difference that none explains.
"""

import json
import re
import sys
from collections import Counter

import boto3
from policyuniverse.policy import Policy

url, labels, lines = sys.argv[1], json.load(open(sys.argv[2])), [json.loads(line) for line in open(sys.argv[3])]
s3 = boto3.client("s3", endpoint_url=url, region_name="us-east-1")
found = {l["id"]: l for l in lines if l.get("type") == "s3_bucket"}


def allows(policy):
    statements = policy["Statement"]
    return [s for s in (statements if isinstance(statements, list) else [statements]) if s["Effect"] == "Allow"]


def text(statements):
    return json.dumps([s.get("Condition") for s in statements if s.get("Condition")]).lower()


def moto_explains(policy, they):
    """It knows "*" alone, and takes every condition for a limit."""
    allowed = allows(policy)
    if they:
        return None
    if any(s.get("Condition") for s in allowed):
        return "moto takes every condition for a limit"
    if any("NotPrincipal" in s for s in allowed):
        return "moto does not know NotPrincipal"
    return "moto does not know federated principals" if any("Federated" in json.dumps(s["Principal"]) for s in allowed) else None


def universe_explains(policy, they):
    conditions = text(allows(policy))
    if not they:
        if "sourceip" in conditions:
            return "policyuniverse looks for /0 only"
        if "ifexists" in conditions or "forallvalues" in conditions:
            return "policyuniverse does not know that IfExists and ForAllValues hold for an absent key"
        if "federated" in json.dumps(policy).lower():
            return "policyuniverse takes a provider for an account"
        if re.search(r"userid|orgid|orgpaths|arn", conditions):
            return "policyuniverse reads a wildcard or variable behind a fixed part as a limit"
        return "policyuniverse takes a variable for a limit" if "${" in conditions else None
    for key in ["userid", "kms-key-id", "dataaccesspoint", "orgpaths", "principalorgid", "sourceip"]:
        if key in conditions:
            return f"policyuniverse does not take {key} for a limit, or not beside others"
    return None


differences, unexplained, read = Counter(), [], 0
for label in labels:
    if label["type"] != "s3_bucket" or label["id"] not in found:
        continue
    try:
        policy = json.loads(s3.get_bucket_policy(Bucket=label["id"])["Policy"])
    except s3.exceptions.ClientError:
        continue
    line = found[label["id"]]
    if line["via"] == "acl" or "acl" in label["of"] or "locked" in label["of"] or "switch" in label["of"] or "restrict" in label["of"]:
        # Not of the policy alone.
        continue
    read += 1
    ours = line["documented"] == "public"
    moto = s3.get_bucket_policy_status(Bucket=label["id"])["PolicyStatus"]["IsPublic"]
    for name, they, explains in [
        ("moto", moto, moto_explains),
        ("policyuniverse", Policy(policy).is_internet_accessible(), universe_explains),
    ]:
        if they != ours:
            reason = explains(policy, they)
            differences[reason or f"{name}: not explained"] += 1
            if reason is None:
                unexplained.append(f"{label['of']}: {name} says {they}, the scan {ours}: {json.dumps(policy)}")
print(f"{read} policies, {sum(differences.values())} differences:")
for reason, count in differences.most_common():
    print(f"{count:5} {reason}")
for line in unexplained[:20]:
    print("wrong:", line)
sys.exit(bool(unexplained))
