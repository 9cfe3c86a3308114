"""Breaks every call of a scan in turn, in every way: break_calls.py URL LABELS.json AFRESH [KIND...]

What is public must never be said to be private, nor be left out without a line that says so.
"""

import json
import subprocess
import sys
import urllib.parse
import urllib.request

URL, LABELS, AFRESH = sys.argv[1:4]
# What the scan gets over: the lines must be the same as without.
HARMLESS = ["throttled_twice", "elsewhere"]
KINDS = sys.argv[4:] or [
    "denied", "expired", "failed", "throttled", "page_of_proxy", "not_found_by_proxy", "nothing", "other_answer", "cut_off",
    "shorter_than_said", "huge", "same_page_again", "elsewhere_for_ever", *HARMLESS,
]  # fmt: skip
LISTS = ("List", "Describe", "GetManagedPrefixListEntries")
# The one call without which nothing can be said at all.
ACCOUNT = "sts:GetCallerIdentity"
labels = {(l["type"], l["id"]): l for l in json.load(open(LABELS))}
failures, runs = [], 0


def fault(**query):
    return int(urllib.request.urlopen(f"{URL}/break?{urllib.parse.urlencode(query)}").read())


def scan(services):
    command = [AFRESH, "guard", "scan", "aws", "--endpoint", URL, "--region", "us-east-1", "--only", services, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def by_key(lines):
    return {(l["type"], l["id"]): l["verdict"] for l in lines if "verdict" in l}


def judge(name, services, code, lines, stderr, normal, is_harmless):
    found = by_key(lines)
    if is_harmless:
        if found != normal:
            failures.append(f"{name}: {len(set(found.items()) ^ set(normal.items()))} verdicts differ from a scan without the fault")
        return
    # A listing that is not whole has a line of its own for what is missing.
    unlisted = {kind for kind, id in found if id.endswith("/*")}
    told = "s3_bucket" in unlisted and {"s3_bucket", "s3_object", "s3_access_point"} or set()
    for (kind, id), label in labels.items():
        if not label["public"] or (kind, id) not in normal:
            continue
        verdict = found.get((kind, id))
        bucket_unlisted = ("s3_object", f"{id.split('/')[0]}/*") in found
        if verdict == "not_public" or (verdict is None and kind not in unlisted | told and not bucket_unlisted):
            failures.append(f"{name}: {kind} {id} is public, the scan says {verdict}")
    if code not in (1, 2):
        failures.append(f"{name}: exit {code}: {stderr[-300:]}")
    if lines and "calls" not in lines[-1]:
        failures.append(f"{name}: no last line")


for services in ["s3", "ec2", "rds"]:
    fault()
    code, lines, stderr = scan(services)
    normal, actions = by_key(lines), lines[-1]["calls_by_action"]
    assert normal and code == 1, stderr
    for action in actions:
        for kind in KINDS:
            if kind.startswith("elsewhere") and not action.startswith("s3:Get") or kind == "same_page_again" and not action.split(":")[1].startswith(LISTS):
                continue
            if kind == "same_page_again" and "Attribute" in action:
                continue
            fault(action=action, kind=kind)
            code, lines, stderr = scan(services)
            count, name = fault(), f"{kind} {action}"
            runs += 1
            if count == 0:
                failures.append(f"{name}: the call was never made")
            if action == ACCOUNT and kind not in HARMLESS:
                if code != 3 and code != 2 or lines:
                    failures.append(f"{name}: exit {code} and {len(lines)} lines without an account")
                continue
            judge(name, services, code, lines, stderr, normal, kind in HARMLESS)
            advice = [l["fix"] for l in lines if l.get("verdict") == "unknown"]
            if kind == "denied" and advice and not any(action in fix for fix in advice):
                failures.append(f"{name}: no line has the permission that is missing: {advice[:2]}")
        print(f"{action}: broken in turn, {runs} scans so far, {len(failures)} failures", flush=True)
print(f"{runs} scans with a broken call, {len(failures)} failures")
for failure in failures[:40]:
    print("wrong:", failure)
sys.exit(bool(failures))
