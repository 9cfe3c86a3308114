"""Turns the account's public access block on: lock.py URL"""

import sys

import boto3

control = boto3.client("s3control", endpoint_url=sys.argv[1], region_name="us-east-1")
control.meta.events.register("before-sign.s3-control", lambda request, **_: setattr(request, "url", request.url.replace("//123456789012.", "//")))
switches = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"]
control.put_public_access_block(AccountId="123456789012", PublicAccessBlockConfiguration=dict.fromkeys(switches, True))
