"""Judges containments on an emulator by its state, read by boto3 alone: contain.py AFRESH URL WORK LABELS KILLS

1. every exposure contained one by one and undone: the hash of the whole state is that of before;
2. killed with -9 at KILLS calls of a containment and of an undo: every setting is original or contained, and the next run finishes;
3. a change of somebody else between the two is never overwritten;
4. each kind of call denied in turn: nothing is recorded as contained that is not.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request

import state

AFRESH, URL, WORK, LABELS, KILLS = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], int(sys.argv[5])
s3, control, ec2, rds = state.clients(URL)
failed = []


def check(holds, what):
    if not holds:
        failed.append(what)
        print(f"FAILED: {what}")


def hook(**fault):
    """Kills a process, or denies an action, at one of the calls that change something: see server.py."""
    urllib.request.urlopen(urllib.request.Request(f"{URL}/fault", data=json.dumps(fault).encode())).read()


def guard(*args, name="state"):
    command = [AFRESH, "guard", *args, "--json", "--state", f"{WORK}/{name}"]
    if args[0] not in ("contained", "incident"):
        command += ["--endpoint", URL, "--region", "us-east-1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=WORK)
    out, err = process.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    return process.returncode, lines, err


def undo(*ids, name="state"):
    return guard("undo", *ids, "--owner", "e2e", "--reason", "the trial is over", "--now", name=name)


def in_force(name="state"):
    return [line for line in guard("contained", name=name)[1] if line["state"] == "contained"]


def one_by_one(exposures):
    before = state.read(URL)
    begun = time.time()
    code, lines, err = guard("stop-the-bleeding", "--now", "--one-by-one", "--objects", "10")
    took = time.time() - begun
    last = lines[-1] if lines else {}
    print(f"one by one: exit {code}, {json.dumps(last)}, {took:.1f} s")
    check(code == 0, f"exit 0 and not {code}: {err[-500:]} {[l for l in lines[:-1] if l.get('result') != 'contained'][:3]}")
    check(last.get("exposed", 0) >= exposures, f"{last.get('exposed')} of {exposures} exposures were found")
    rest = subprocess.run([AFRESH, "guard", "scan", "aws", "--endpoint", URL, "--region", "us-east-1"], capture_output=True, text=True)
    check(rest.returncode == 0, f"the scan says after it: {rest.stdout[-300:]}")
    changed = state.read(URL)
    check(state.digest(changed) != state.digest(before), "the state changed")
    code, lines, err = undo("--all")
    print(f"undone: exit {code}, {json.dumps(lines[-1] if lines else err[-500:])}")
    after = state.read(URL)
    check(code == 0 and state.digest(after) == state.digest(before), f"after the undo it is {difference(before, after)}")
    print(f"the whole state before {state.digest(before)[:16]}, contained {state.digest(changed)[:16]}, undone {state.digest(after)[:16]}")
    return before, changed


def by_account(before):
    code, lines, err = guard("stop-the-bleeding", "--now", name="account")
    print(f"by the account's switch: exit {code}, {json.dumps(lines[-1] if lines else err[-500:])}")
    check(code == 0, f"exit 0 and not {code}: {err[-500:]}")
    code, lines, err = undo("--all", name="account")
    check(code == 0 and state.digest(state.read(URL)) == state.digest(before), f"the account's switch undone: {lines[-1:] or err[-300:]}")


def difference(before, after):
    keys = [key for key in before.keys() | after.keys() if before.get(key) != after.get(key)]
    return {key: (before.get(key), after.get(key)) for key in sorted(keys)[:2]}


def held(*args, name):
    """The same, stopped before it begins, so that it can be killed at one of its calls."""
    command = [AFRESH, "guard", *args, "--json", "--state", f"{WORK}/{name}", "--endpoint", URL, "--region", "us-east-1"]
    stops = ["sh", "-c", 'kill -STOP $$; exec "$@"', "sh"]
    process = subprocess.Popen(stops + command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=WORK)
    os.waitpid(process.pid, os.WUNTRACED)
    return process


def kills(before, changed, targets):
    killed, mixed, total = 0, 0, {}
    undoing = ("undo", "--all", "--owner", "e2e", "--reason", "the trial is over", "--now")
    for n in range(KILLS):
        kind, id = targets[n % len(targets)]
        name, is_undo = f"kill-{n}", n // len(targets) % 2 == 1
        containing = ("contain", id, "--kind", kind, "--now")
        if (kind, is_undo) not in total:
            guard(*containing, name="count") if is_undo else None
            hook(record=True)
            guard(*(undoing if is_undo else containing), name="count")
            total[kind, is_undo] = len(json.loads(urllib.request.urlopen(f"{URL}/fault").read()))
            hook()
            None if is_undo else guard(*undoing, name="count")
        if is_undo:
            guard(*containing, name=name)
        process = held(*(undoing if is_undo else containing), name=name)
        hook(kill_at=n * 5 % total[kind, is_undo], pid=process.pid)
        os.kill(process.pid, signal.SIGCONT)
        killed += process.wait() == -9
        hook()
        now = state.read(URL)
        for key in now:
            mix = now[key] not in (before.get(key), changed.get(key))
            mixed += mix
            check(not mix, f"kill {n} of {kind} {id}: {key} is a mix: {now[key]}")
        guard("contain", "--now", name=name)
        listed = guard("contained", name=name)[1]
        left = [line for line in listed if line["state"] in ("planned", "undoing")]
        check(not left, f"kill {n} of {kind} {id}: {left} is not finished by the next run")
        if in_force(name):
            undo("--all", name=name)
        after = state.read(URL)
        check(after == before, f"kill {n} of {kind} {id}: undone it is {difference(before, after)}")
    check(killed >= KILLS * 9 // 10, f"{killed} of {KILLS} were killed")
    print(f"killed with -9 at {killed} of {KILLS} calls: {mixed} mixes, every interrupted run finished by the next")


def changed_by_others(targets):
    # One that is closed by its block: the policy of the others is no setting of the block.
    bucket = next(id for kind, id in targets if kind == "s3_bucket" and not id.startswith("half-of-all"))
    code, lines, _ = guard("contain", bucket, "--kind", "s3_bucket", "--now", name="others")
    check(code == 0, f"contain {bucket}: {lines}")
    theirs = dict.fromkeys(["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"], True)
    s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=theirs)
    code, lines, _ = undo("--all", name="others")
    now = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    check(code == 1 and now == theirs, f"a change of others was overwritten: exit {code}, {now}")
    print(f"changed by somebody else: exit {code}, {lines[0]['text'] if lines else ''}")


def denials(targets):
    kinds = {}
    for kind, id in targets:
        kinds.setdefault(kind, id)
    tried = 0
    for kind, id in sorted(kinds.items()):
        name = f"healthy-{kind}"
        hook(record=True)
        code, lines, _ = guard("contain", id, "--kind", kind, "--now", name=name)
        actions = json.loads(urllib.request.urlopen(f"{URL}/fault").read())
        hook()
        undo("--all", name=name)
        for number, action in enumerate(sorted(set(actions))):
            name = f"denied-{kind}-{number}"
            before = state.read(URL)
            hook(deny=action)
            code, lines, err = guard("contain", id, "--kind", kind, "--now", name=name)
            hook()
            after = state.read(URL)
            contained = in_force(name) if os.path.exists(f"{WORK}/{name}") else []
            check(not contained or (code == 0 and after != before), f"{kind} {action} denied: recorded as contained, exit {code}")
            if contained:
                undo("--all", name=name)
            else:
                guard("contain", "--now", name=name)
                undo("--all", name=name)
            check(state.read(URL) == before, f"{kind} {action} denied: not undone: {difference(before, state.read(URL))}")
            tried += 1
    print(f"{tried} kinds of calls denied in turn: nothing recorded as contained that is not")


with open(LABELS) as file:
    labels = json.load(file)
exposures = sum(label["public"] for label in labels)
before, changed = one_by_one(exposures)
by_account(before)
if KILLS:
    targets = [(label["type"], label["id"]) for label in labels if label["public"]]
    kills(before, changed, targets)
    changed_by_others(targets)
    denials(targets)
sys.exit(1 if failed else 0)
