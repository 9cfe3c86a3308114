"""A data directory of its own with Afresh over it, what an application needs beside it, and the load that is sent meanwhile.

Everything that is started is ended again, by its process id.
"""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

from load import Load

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120


def free_port():
    """A port below those that the kernel gives to whoever asks for any."""
    first = 20_000 + os.getpid() % 9_000
    for port in range(first, first + 1_000):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("0.0.0.0", port))
            except OSError:
                continue
        if port not in free_port.given:
            free_port.given.add(port)
            return port
    raise RuntimeError("no port is free")


free_port.given = set()


def until(what, look, patience_s=PATIENCE_S):
    end = time.monotonic() + patience_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise RuntimeError(f"{what}: not within {patience_s} s")
        time.sleep(0.1)


class World:
    def __init__(self, name):
        self.name = name
        self.dir = Path(tempfile.mkdtemp(prefix=f"afresh-{name}."))
        os.chmod(self.dir, 0o755)
        self.example = self.dir / "example"
        shutil.copytree(ROOT / "examples" / name, self.example, ignore=shutil.ignore_patterns("app", "new"))
        self.program = os.environ["AFRESH"]
        self.children = []
        self.load = None
        self.loads = []
        self.up = None
        self.file = self.example / "afresh.hcl"

    def __enter__(self):
        return self

    def __exit__(self, kind, error, _trace):
        if self.load:
            self.load.stopped.set()
        if kind:
            traceback.print_exception(error)
            self.tell("status")
            for service in self.services():
                self.tell("why", service)
                self.tell("logs", service, "--tail", "30")
        if self.up:
            self.afresh("down", "--yes", check=False)
            self.end(self.up, "up")
        for child in reversed(self.children):
            self.end(child, child.args[0])
        if kind:
            self.say(f"left to look at: {self.dir}")
        else:
            shutil.rmtree(self.dir)

    # -- processes

    def start(self, *command, end=signal.SIGTERM, **more):
        """A process beside Afresh, such as a database."""
        log = open(self.dir / f"{Path(command[0]).name}.log", "ab")
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **more)
        child.end_signal = end
        self.children.append(child)
        return child

    def end(self, child, name):
        if child.poll() is None:
            child.send_signal(getattr(child, "end_signal", signal.SIGTERM))
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            self.say(f"{name} did not end, and is killed")
            child.kill()
            child.wait()

    def say(self, text):
        print(f"[{self.name}] {text}", flush=True)

    def afresh(self, *args, check=True, quiet=True):
        begun = time.monotonic()
        command = [self.program, "--data-dir", str(self.dir / "data"), "--file", str(self.file), "--no-color", *args]
        done = subprocess.run(command, cwd=self.example, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        text = done.stdout + done.stderr
        with open(self.dir / "afresh.log", "a") as log:
            log.write(f"$ afresh {' '.join(args)}\n{text}(exit {done.returncode})\n")
        if check and done.returncode:
            raise RuntimeError(f"afresh {' '.join(args)}: exit {done.returncode}\n{text}")
        if not quiet:
            self.say(f"afresh {' '.join(args)}: exit {done.returncode} after {time.monotonic() - begun:.1f} s")
        return done

    def tell(self, *args):
        """For whoever looks for the reason of a failure."""
        done = self.afresh(*args, check=False)
        print(f"$ afresh {' '.join(args)}\n{done.stdout}{done.stderr}", flush=True)

    def begin(self, policy=""):
        """Afresh runs, under this host policy."""
        path = self.dir / "policy.hcl"
        path.write_text(policy)
        log = open(self.dir / "up.log", "ab")
        command = [self.program, "--data-dir", str(self.dir / "data"), "--file", str(self.file), "up", "--policy", str(path)]
        self.up = subprocess.Popen(command, cwd=self.example, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def answers():
            if self.up.poll() is not None:
                raise RuntimeError(f"`afresh up` ended:\n{(self.dir / 'up.log').read_text()}")
            return self.afresh("status", "--json", check=False).returncode == 0

        until("`afresh up` answers", answers)

    # -- the example

    def edit(self, *pairs):
        """Another port for each one that the example names."""
        text = self.file.read_text()
        for old, new in pairs:
            if old not in text:
                raise RuntimeError(f"{self.file.name} of {self.name} has no {old!r}")
            text = text.replace(old, new)
        self.file.write_text(text)

    def services(self):
        return re.findall(r'^service "([^"]+)"', self.file.read_text(), re.M)

    def secret(self, name, value):
        path = self.example / name
        path.write_text(value)
        path.chmod(0o600)

    def password(self):
        return secrets.token_urlsafe(24)

    def version(self, artifact, *args):
        """Makes an artifact by the example's own script."""
        begun = time.monotonic()
        subprocess.run([self.example / "make-version.sh", artifact, *args], check=True, stdin=subprocess.DEVNULL)
        self.say(f"made {artifact.name} in {time.monotonic() - begun:.1f} s")

    def deploy(self, artifact):
        # A service file names the artifact of each service; what a deploy of the whole file takes is what lies there.
        link = self.example / "app"
        if link.is_symlink():
            link.unlink()
        link.symlink_to(artifact)
        self.afresh("deploy", "--yes", quiet=False)

    def run(self, service, *command):
        return self.afresh("run", service, "--", *command).stdout

    # -- load

    def begin_load(self, port, kinds, rate, **more):
        self.load = Load(port, kinds, rate, **more)

    def end_load(self, what):
        load, self.load = self.load.finish(), None
        self.loads.append((what, load))
        self.say(f"{what}: {load}")
        for failure in load.failures[:20]:
            self.say(f"  failed at {failure[0]} s: {failure[1]}: {failure[2]}")
        if load.failures:
            raise RuntimeError(f"{what}: {len(load.failures)} requests failed")
        return load

    def must(self, what, is_so, detail=""):
        if not is_so:
            raise RuntimeError(f"it is not so that {what}: {detail}")
        self.say(f"seen: {what}{f': {detail}' if detail else ''}")

    def row(self):
        """For the table: the name, and what was sent under each load."""
        return self.name, [(what, sum(load.sent.values()), len(load.failures), load.slowest_s) for what, load in self.loads]


def show(rows, out=sys.stdout):
    """The table: what was done under load, how many requests were sent, how many failed, and the slowest answer."""
    print(f"\n{'application':<12} {'under load':<34} {'requests':>9} {'failed':>7} {'slowest':>9}", file=out)
    for name, sums in rows:
        for what, sent, failed, slowest in sums:
            print(f"{name:<12} {what:<34} {sent:>9} {failed:>7} {slowest:>7.1f} s", file=out)
