"""The shop's worker: takes jobs from a spool, does them, and keeps a heartbeat.

  worker.py           work until SIGTERM; the job in hand is finished first
  worker.py --check   exit 0 if the worker beside it has a fresh heartbeat, else 1

A job is a file {"id": n, "text": "..."}; doing it is to hash the text some thousand times. Since this is an example without
customers' orders, the worker fills its spool itself. SPOOL names the directory, by default one under /tmp.
"""

import hashlib
import json
import os
import signal
import sys
import time

import release

HEARTBEAT_MAX_AGE_S = 5
JOB_ROUNDS = 2000
PAUSE_S = 0.2
JOBS_WAITING = 4

SPOOL = os.environ.get("SPOOL", "/tmp/shop-spool")


def put(path, said):
    """A file is there whole or not at all."""
    half = f"{path}.{os.getpid()}.half"
    with open(half, "w", encoding="utf-8") as file:
        json.dump(said, file)
    os.rename(half, path)


def check():
    """Health as the keeper asks for it."""
    try:
        with open(os.path.join(SPOOL, "heartbeat"), encoding="utf-8") as file:
            said = json.load(file)
        age_s = time.monotonic() - said["at"]
        os.kill(said["pid"], 0)
    except (OSError, ValueError, KeyError, TypeError) as error:
        print(f"no heartbeat: {error!r}")
        return 1
    print(f"version {said['version']}, {said['done']} jobs done, heartbeat {age_s:.1f} s old")
    return 0 if 0 <= age_s <= HEARTBEAT_MAX_AGE_S else 1


def fill(todo, number):
    """Keeps a few jobs waiting."""
    while len(os.listdir(todo)) < JOBS_WAITING:
        number += 1
        put(os.path.join(SPOOL, f"job-{number:08}"), {"id": number, "text": f"order {number} " * 20})
        os.rename(os.path.join(SPOOL, f"job-{number:08}"), os.path.join(todo, f"{number:08}"))
    return number


def work(path):
    """One job. One that cannot be read is set aside, not retried."""
    try:
        with open(path, encoding="utf-8") as file:
            job = json.load(file)
        digest = job["text"].encode()
    except (OSError, ValueError, KeyError, AttributeError) as error:
        print(f"{path}: set aside: {error!r}", flush=True)
        os.replace(path, os.path.join(SPOOL, "bad-" + os.path.basename(path)))
        return
    for _ in range(JOB_ROUNDS):
        digest = hashlib.sha256(digest).digest()
    put(os.path.join(SPOOL, "last"), {"id": job["id"], "sha256": digest.hex()})
    os.unlink(path)


def main():
    version, fault = release.read()
    if fault == "crash-loop":
        sys.exit("this release crashes: it was made with that fault")
    ending = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.append(True))
    todo = os.path.join(SPOOL, "todo")
    os.makedirs(todo, exist_ok=True)
    print(f"worker, version {version}, takes jobs from {todo}", flush=True)
    done = number = 0
    failing = fault == "never-healthy"
    while not ending:
        if not failing:
            put(os.path.join(SPOOL, "heartbeat"), {"at": time.monotonic(), "pid": os.getpid(), "version": version, "done": done})
        number = fill(todo, number)
        for name in sorted(os.listdir(todo)):
            if ending:
                break
            work(os.path.join(todo, name))
            done += 1
            # A worker has no answers to fail with; it dies at its work instead.
            if fault == "fails-under-traffic" and done == 40:
                sys.exit("this release fails at its work: it was made with that fault")
        time.sleep(PAUSE_S)
    print(f"ends after {done} jobs", flush=True)


if __name__ == "__main__":
    sys.exit(check() if sys.argv[1:] == ["--check"] else main())
