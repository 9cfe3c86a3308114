"""main.py NAME...: plays each of these applications, and prints what was seen."""

import importlib
import signal
import sys
import time

from world import World, show

NAMES = ["caddy", "wagtail", "celery", "wordpress", "verdaccio"]


def main():
    names = sys.argv[1:] or NAMES
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        print(f"there is no application {unknown[0]!r}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    # Whoever ends this also ends what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    rows, failed = [], []
    for name in names:
        begun = time.monotonic()
        world = World(name)
        try:
            with world:
                importlib.import_module(name).play(world)
        except Exception:  # the world has said what and where
            failed.append(name)
        rows.append(world.row())
        world.say(f"{'failed' if name in failed else 'passed'} after {time.monotonic() - begun:.0f} s")
    show(rows)
    print(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


sys.exit(main())
