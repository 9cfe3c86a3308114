"""What release this is, and the fault it was made with.

release.json lies beside this file: {"version": 2, "fault": null}. Faults are for trying out how a bad release goes back:
never-healthy, fails-under-traffic, crash-loop. Nothing but these programs knows of them.
"""

import json
import os
import sys

FAULTS = (None, "never-healthy", "fails-under-traffic", "crash-loop")


def read(directory=None):
    """The version and the fault; ends the program with a clear word if the file is not right."""
    path = os.path.join(directory or os.path.dirname(os.path.abspath(__file__)), "release.json")
    try:
        with open(path, encoding="utf-8") as file:
            said = json.load(file)
        version, fault = said["version"], said.get("fault")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.exit(f'{path}: not a release: {error!r}; expected {{"version": 1, "fault": null}}')
    if not isinstance(version, int) or fault not in FAULTS:
        sys.exit(f"{path}: version must be a whole number, fault one of {FAULTS}")
    return version, fault
