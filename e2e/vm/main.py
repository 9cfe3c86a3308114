"""The package in a virtual machine, from its installation to its purge: see e2e/vm.sh."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "apps"))
from load import Load  # noqa: E402
from machine import Failed, Machine, drive, modules  # noqa: E402

AFRESH = os.environ["AFRESH"]
BEGUN = time.monotonic()
UNITS = ["afresh-host", "afresh-proxy", "afresh-serve"]


def say(text):
    print(f"== {time.monotonic() - BEGUN:5.0f} s: {text}", flush=True)


def until(what, look, within=300):
    end = time.monotonic() + within
    while not (found := look()):
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {within} s")
        time.sleep(0.5)
    return found


def answers(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/hello?id=vm", timeout=10) as answer:
            return answer.status == 200
    except OSError:
        return False


def bake(work, deb):
    """The machine's disk with what is brought to it as its code, and a drive with the image that its servers will run on."""
    data = Path(os.environ.get("VM_DATA") or work / "data")

    def afresh(*words, data=data):
        with open(work / "bake.log", "a") as log:
            done = subprocess.run([AFRESH, "--data-dir", data, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if done.returncode:
            raise Failed(f"afresh {' '.join(map(str, words))}: {(work / 'bake.log').read_text()[-2000:]}")

    afresh("bake", "--file", HERE / "machine.hcl")
    disk = work / "machine.disk"
    # The first one only chooses the kernel, whose modules the second one brings.
    afresh("image", "emit", "machine", "--disk", disk)
    brought = work / "brought"
    brought.mkdir()
    modules(data, brought)
    shutil.copytree(HERE.parents[1] / "examples/shop/app", brought / "shop/app")
    shutil.copy(HERE / "shop.hcl", brought / "shop/afresh.hcl")
    shutil.copy(deb, brought / "afresh.deb")
    subprocess.run(["dpkg-deb", "-R", deb, work / "deb"], check=True)
    control = work / "deb/DEBIAN/control"
    control.write_text("".join("Version: 9.0.0\n" if line.startswith("Version:") else line for line in control.open()))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Zzstd", "-z1", "-b", work / "deb", brought / "newer.deb"], check=True, stdout=subprocess.DEVNULL)
    afresh("image", "emit", "machine", "--disk", disk, "--artifact", brought)

    # Of the data directory the store alone: the rest belongs to the machine that made it.
    afresh("bake", "--file", HERE / "shop.hcl", data=work / "servers")
    tree = work / "tree/afresh"
    tree.mkdir(parents=True)
    shutil.move(work / "servers/store", tree / "store")
    drive(work / "drive", tree.parent, 3072)
    return disk, work / "drive"


def install(machine):
    machine.run("systemctl is-system-running --wait", within=600, ok=(0, 1))
    begun = time.monotonic()
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends /app/afresh.deb", within=600)
    say(f"installed in {time.monotonic() - begun:.0f} s: {machine.run('dpkg-query -W afresh')}")
    for unit in UNITS:
        state = machine.run(f"systemctl is-active {unit}; systemctl is-enabled {unit}", ok=(0, 1, 3)).split()
        if state != ["active", "enabled"]:
            raise Failed(f"{unit}: {state}: {machine.run(f'journalctl -u {unit} -n 30 --no-pager')}")
    print(machine.run("for u in afresh-host afresh-proxy afresh-serve; do systemd-analyze security --no-pager $u | tail -1; done"))
    machine.run("for u in afresh-host afresh-proxy afresh-serve; do systemd-analyze security --no-pager $u; done")
    print(machine.run("systemd-analyze verify /usr/lib/systemd/system/afresh-*.service 2>&1; systemctl --no-pager status 'afresh-*' | head -60"))
    print(machine.run("afresh doctor", ok=range(256)))


def deploy(machine, port, round):
    machine.run(f"cp -r /app/shop /root/; sed -i 's/ROUND = .[0-9]*./ROUND = \"{round}\"/' /root/shop/afresh.hcl")
    begun = time.monotonic()
    # Without KVM an answer may come too late for a client; what was accepted goes on, and asking again changes nothing.
    machine.run("(cd /root/shop; for i in 1 2 3; do ! afresh deploy --yes || exit 0; done; exit 1)", within=900)
    until("an answer", lambda: answers(port))
    say(f"deployed in {time.monotonic() - begun:.0f} s, and it answers: {machine.run('afresh instance list').splitlines()[1:]}")


def servers(machine):
    return machine.run("pgrep -f 'host --shim' | sort; pgrep -f 'proxy --data-plane'")


def reload_and_watchdog(machine, port):
    before = servers(machine)
    machine.run("echo '# changed' >>/etc/afresh/policy.hcl; systemctl reload afresh-host afresh-proxy afresh-serve; sleep 2")
    print(machine.run("journalctl --no-pager -o short -g 'SIGHUP' -n 6", ok=(0, 1)))
    machine.run("echo 'nonsense {' >/etc/afresh/policy.hcl; systemctl reload afresh-serve; sleep 2; rm /etc/afresh/policy.hcl")
    print(machine.run("journalctl --no-pager -o short -p err -u afresh-serve -n 3"))
    # A shorter wait than the package's.
    for unit in UNITS:
        machine.run(f"mkdir -p /run/systemd/system/{unit}.service.d; printf '[Service]\\nWatchdogSec=20\\n' >/run/systemd/system/{unit}.service.d/w.conf")
    machine.run("systemctl daemon-reload; systemctl restart afresh-host afresh-proxy afresh-serve", within=300)
    for unit in UNITS:
        pid = machine.run(f"systemctl show -P MainPID {unit}")
        begun = time.monotonic()
        machine.run(f"kill -STOP {pid}")
        new = lambda: machine.run(f"systemctl show -P MainPID {unit}") not in (pid, "0") and machine.run(f"systemctl is-active {unit}", ok=(0, 3)) == "active"
        until(f"{unit} is restarted by its watchdog", new, 300)
        say(f"{unit} hung: systemd replaced it after {time.monotonic() - begun:.0f} s; it answers: {answers(port)}")
    if servers(machine) != before:
        raise Failed(f"servers or data plane are others: {before!r}, {servers(machine)!r}")
    machine.run("rm -r /run/systemd/system/afresh-*.service.d; systemctl daemon-reload; systemctl restart afresh-host afresh-proxy afresh-serve")
    say("servers and data plane are the processes that they were before reload, hangs and restarts")


def upgrade(machine, port):
    before = servers(machine)
    load = Load(port, {"hello": lambda connection, number: connection.send("GET", f"/hello?id={number}") and None}, 5)
    time.sleep(3)
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends /app/newer.deb", within=600)
    until("the control plane", lambda: machine.run("afresh status >/dev/null", ok=range(256)) is not None)
    time.sleep(5)
    load.finish()
    for thread in load.threads:
        thread.join()
    say(f"upgraded to {machine.run('dpkg-query -W afresh')}: {sum(load.sent.values())} requests, {len(load.failures)} failed {load.failures[:3]}")
    if load.failures:
        raise Failed("requests failed")
    if servers(machine) != before:
        raise Failed("servers or data plane are others after the upgrade")


def releases(machine):
    """Names and roles; nothing where no control plane answers."""
    return [line.split()[:2] for line in machine.run("afresh release list", ok=range(256)).splitlines() if "@r" in line]


def come_back(machine, port, what, end):
    before = releases(machine)
    end()
    booted = machine.start()
    until("an answer after " + what, lambda: answers(port), 600)
    say(f"{what}: a shell after {booted:.0f} s, answers after {time.monotonic() - machine.begun:.0f} s, without a word from anyone")
    if before:
        until("a control plane with the same releases", lambda: releases(machine) == before)


def remove(machine, port):
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get remove -y afresh", within=600)
    left = machine.run("pgrep -ax afresh; grep ' /run/afresh' /proc/mounts; ls /run/afresh /sys/class/net 2>&1; nft list ruleset | head -5", ok=range(256))
    say(f"removed; processes, mounts and networks that are left: {left.split()}; it answers: {answers(port)}")
    machine.run("test -e /var/lib/afresh/afresh.json && ! pgrep -x afresh")
    machine.run("DEBIAN_FRONTEND=noninteractive apt-get purge -y afresh", within=600)
    print(machine.run("ls -la /var/lib/afresh /etc/afresh 2>&1; systemctl list-unit-files 'afresh*' --no-pager; systemctl --failed --no-pager", ok=range(256)))


def main():
    work = Path(tempfile.mkdtemp(prefix="afresh-vm.", dir=os.environ.get("TMPDIR")))
    log = Path(os.environ["LOG"])
    log.mkdir(parents=True, exist_ok=True)
    (log / "commands").unlink(missing_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    machine = None
    try:
        disk, second = bake(work, Path(sys.argv[1]))
        say(f"baked a disk of {disk.stat().st_size >> 20} MiB")
        machine = Machine(work, log / "commands", disk, second, port)
        say(f"booted: a shell after {machine.start():.0f} s: {machine.run('uname -r; systemctl --version | head -1').splitlines()}")
        install(machine)
        deploy(machine, port, 1)
        print(machine.run("journalctl --no-pager -o verbose -u afresh-serve -n 1; journalctl --no-pager -u 'afresh-*' -n 12"))
        reload_and_watchdog(machine, port)
        upgrade(machine, port)
        deploy(machine, port, 2)
        come_back(machine, port, "the power failed", machine.cut)
        come_back(machine, port, "reboot", lambda: (machine.line.sendall(b"systemctl reboot\n"), machine.wait_end(300)))
        machine.run("systemctl disable --now afresh-serve")
        come_back(machine, port, "the power failed, and no control plane is started", machine.cut)
        machine.run("systemctl enable --now afresh-serve", within=300)
        remove(machine, port)
        say("purged, and nothing is left")
    except Failed as failed:
        print(f"failed: {failed}", file=sys.stderr)
        sys.exit(1)
    finally:
        if machine:
            machine.close()
            shutil.copy(machine.console, log / "console") if machine.console.exists() else None
        if not os.environ.get("KEEP"):
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
