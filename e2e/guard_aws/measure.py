"""Runs a command and writes its CPU time and memory: measure.py FILE COMMAND..."""

import os
import resource
import sys

code = os.spawnvp(os.P_WAIT, sys.argv[2], sys.argv[2:])
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    file.write(f"{used.ru_utime + used.ru_stime:.2f} s CPU, {used.ru_maxrss / 1024:.1f} MB")
sys.exit(code)
