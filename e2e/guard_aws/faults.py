"""Answers that go wrong, for the server, and the names of calls by their IAM action."""

import io
import re
from urllib.parse import parse_qs

from werkzeug.wrappers import Response

KINDS = {
    # The permission is missing, the credentials are no more.
    "denied": (403, "AccessDenied"),
    "expired": (400, "ExpiredToken"),
    # The service is not there.
    "throttled": (503, "SlowDown"),
    "failed": (500, "InternalError"),
}
PAGE = "<html><head><title>Sign in</title></head><body>Welcome to the guest network</body></html>"
EMPTY = '<?xml version="1.0"?><Result><Buckets/><Contents/></Result>'
# Where the token of the next page stands.
TOKENS = {
    "s3:ListAllMyBuckets": ("ContinuationToken", r"</ListAllMyBucketsResult>"),
    "s3:ListBucket": ("NextContinuationToken", r"</ListBucketResult>"),
    "s3:ListAccessPoints": ("NextToken", r"</ListAccessPointsResult>"),
    "s3:ListMultiRegionAccessPoints": ("NextToken", r"</ListMultiRegionAccessPointsResult>"),
    "ec2:": ("nextToken", r"</Describe\w+Response>|</GetManagedPrefixListEntriesResponse>"),
    "rds:": ("Marker", r"</Describe\w+Result>"),
}
OF_BUCKET = {
    "policy": "s3:GetBucketPolicy",
    "acl": "s3:GetBucketAcl",
    "publicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "ownershipControls": "s3:GetBucketOwnershipControls",
    "list-type": "s3:ListBucket",
}


def action_of(scope, request):
    service = scope[3] if len(scope) > 3 else ""
    if service != "s3":
        body = request.get_data(cache=False)
        request.environ["wsgi.input"] = io.BytesIO(body)
        return f"{service}:{parse_qs(body.decode()).get('Action', [''])[0]}"
    path = request.path.removeprefix("/v20180820/")
    if path != request.path:
        for pattern, action in [
            (r"configuration/publicAccessBlock", "s3:GetAccountPublicAccessBlock"),
            (r"accesspoint", "s3:ListAccessPoints"),
            (r"accesspoint/[^/]+", "s3:GetAccessPoint"),
            (r"accesspoint/[^/]+/policy", "s3:GetAccessPointPolicy"),
            (r"mrap/instances", "s3:ListMultiRegionAccessPoints"),
            (r"mrap/instances/[^/]+/policy", "s3:GetMultiRegionAccessPointPolicy"),
        ]:
            if re.fullmatch(pattern, path):
                return action
    if request.path == "/":
        return "s3:ListAllMyBuckets"
    if "acl" in request.args and request.path.strip("/").count("/"):
        return "s3:GetObjectAcl"
    return next((action for name, action in OF_BUCKET.items() if name in request.args), "s3:?")


def error(status, code):
    body = f"<?xml version='1.0'?><ErrorResponse><Error><Code>{code}</Code><Message>by the test</Message></Error></ErrorResponse>"
    return Response(body, status, content_type="text/xml")


def with_next_page(answer, action):
    """The same token after every page."""
    name, end = next((v for k, v in TOKENS.items() if action.startswith(k)), ("NextToken", "$"))
    text = re.sub(f"<{name}>[^<]*</{name}>|<{name} ?/>", "", answer.get_data(as_text=True))
    answer.set_data(re.sub(end, lambda found: f"<{name}>again</{name}>{found.group()}", text, count=1))
    return answer


def broken(kind, number, action, scope, answer):
    """The answer to the call of this number. None: as it should be."""
    if kind in KINDS:
        return error(*KINDS[kind])
    if kind == "throttled_twice":
        return error(503, "SlowDown") if number <= 2 else None
    if kind == "elsewhere" and scope[2] != "eu-west-1" or kind == "elsewhere_for_ever":
        region = "eu-west-1" if scope[2] != "eu-west-1" else "us-east-1"
        moved = error(301, "PermanentRedirect")
        moved.headers["x-amz-bucket-region"] = region
        return moved
    if kind == "page_of_proxy":
        return Response(PAGE, 200, content_type="text/html")
    if kind == "not_found_by_proxy":
        return Response(PAGE, 404, content_type="text/html")
    if kind == "nothing":
        return Response("", 200)
    if kind == "other_answer":
        return Response(EMPTY, 200, content_type="text/xml")
    if kind == "huge":
        # 24 MiB, of which a client should not read more than its limit.
        return Response(("<a>x</a>" * (1 << 13) for _ in range(384)), 200, content_type="text/xml")
    if kind in ("cut_off", "shorter_than_said"):
        whole = answer()
        body = whole.get_data()
        cut = Response(body[: len(body) * 2 // 3], whole.status, content_type=whole.content_type)
        if kind == "shorter_than_said":
            cut.headers["Content-Length"] = str(len(body))
        return cut
    return with_next_page(answer(), action) if kind == "same_page_again" else None
