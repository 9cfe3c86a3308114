#!/usr/bin/env python3
"""Passes a test program's output on and adds to each result how long the test took. Its tests must run one after the other.

After the last line: the slowest tests, and how long all took. Ends as its input does, so the program's exit is asked of the program.
"""
import os
import sys
import time

SLOWEST = 12
took, begun, line = [], time.monotonic(), b""
first, name = begun, "?"


def pass_on(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


# By bytes as they come: the name of a test is printed when it begins, its result, on the same line, when it has ended.
while data := os.read(0, 1 << 16):
    for piece in data.splitlines(keepends=True):
        line += piece
        if line.startswith(b"test ") and b" ... " in line and name == "?":
            name, begun = line[5:].split(b" ", 1)[0].decode(), time.monotonic()
        if not line.endswith(b"\n"):
            pass_on(piece)
            continue
        # What a test prints with --nocapture stands between its name and its result.
        result = line.split(b" ... ")[-1].strip() if line.startswith(b"test ") else line.strip()
        if name != "?" and (result in (b"ok", b"FAILED") or result.startswith(b"ignored")):
            seconds = time.monotonic() - begun
            took.append((seconds, name))
            piece = piece.rstrip(b"\n") + b" (%.1f s)\n" % seconds
            name = "?"
        pass_on(piece)
        line = b""
for seconds, test in sorted(took, reverse=True)[:SLOWEST]:
    print(f"slow: {seconds:6.1f} s {test}")
print(f"{len(took)} tests took {time.monotonic() - first:.0f} s")
