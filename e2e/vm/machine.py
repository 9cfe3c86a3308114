"""A virtual machine without KVM: its console goes to a file, and commands are typed on its second serial line."""

import os
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

FIRMWARE = ["/usr/share/ovmf/OVMF.fd", "/usr/share/qemu/OVMF.fd"]
BOOT_S = 600


class Failed(Exception):
    pass


class Machine:
    def __init__(self, work, log, disk, drive, port):
        self.work, self.log, self.disk, self.drive, self.port = Path(work), log, disk, drive, port
        self.console = Path(work) / "console"
        self.qemu = self.line = None
        self.count = 0

    def start(self):
        """Returns when somebody can type. The second drive keeps what is written."""
        path = self.work / "line"
        path.unlink(missing_ok=True)
        firmware = next(f for f in FIRMWARE if os.path.exists(f))
        self.qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35,accel=tcg", "-cpu", "max"]
            + ["-smp", "2", "-m", "2048", "-no-reboot", "-bios", firmware]
            + ["-chardev", f"file,id=console,append=on,path={self.console}", "-serial", "chardev:console"]
            + ["-chardev", f"socket,id=line,server=on,wait=off,path={path}", "-serial", "chardev:line"]
            + ["-drive", f"file={self.disk},format=raw,if=virtio,readonly=on", "-drive", f"file={self.drive},format=raw,if=virtio"]
            + ["-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:8080"]
            + ["-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"],
            stdin=subprocess.DEVNULL,
        )
        self.begun = time.monotonic()
        end = time.monotonic() + BOOT_S
        self.line = socket.socket(socket.AF_UNIX)
        while self.line.connect_ex(str(path)):
            self.check()
            time.sleep(0.1)
        self.rest = b""
        while True:
            try:
                self.run("PS1= PS2=", within=5)
                return time.monotonic() - self.begun
            except TimeoutError:
                self.check()
                if time.monotonic() > end:
                    raise Failed("nobody can type: see the console")

    def check(self):
        if self.qemu.poll() is not None:
            raise Failed(f"QEMU ended with {self.qemu.returncode}: see the console")

    def run(self, command, within=300, ok=(0,)):
        """What the command printed. It must exit with one of `ok`."""
        self.count += 1
        mark = f"<{os.getpid()}-{self.count}-"
        # The mark that is typed is not the mark that is printed.
        self.line.sendall(f"{{ {command}\n}} </dev/null 2>&1; printf '{mark}%s>\\n' $?\n".encode())
        end = time.monotonic() + within
        pattern = re.compile(re.escape(mark).encode() + rb"(\d+)>\r?\n")
        while not (found := pattern.search(self.rest)):
            self.line.settimeout(max(0.1, end - time.monotonic()))
            if time.monotonic() > end:
                raise TimeoutError(command)
            try:
                read = self.line.recv(65536)
            except TimeoutError:
                continue
            if not read:
                self.check()
                raise Failed("the line was closed")
            self.rest += read
        text = self.rest[: found.start()].decode(errors="replace").replace("\r", "")
        self.rest = self.rest[found.end() :]
        with open(self.log, "a") as log:
            log.write(f"$ {command}\n{text}[{found[1].decode()}]\n")
        if int(found[1]) not in ok:
            raise Failed(f"{command}: exit {found[1].decode()}: {text}")
        return text.strip()

    def wait_end(self, within):
        """After `systemctl reboot`: QEMU ends with the machine."""
        try:
            self.qemu.wait(within)
        except subprocess.TimeoutExpired:
            raise Failed(f"the machine still runs after {within} s") from None
        self.line.close()

    def cut(self):
        """The power fails: what it has not synced is lost."""
        self.qemu.kill()
        self.qemu.wait()
        self.line.close()

    def close(self):
        if self.qemu and self.qemu.poll() is None:
            self.qemu.kill()
            self.qemu.wait()


def drive(path, tree, mib):
    """An ext4 disk with what is in the directory."""
    with open(path, "wb") as file:
        file.truncate(mib << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", "-d", tree, path], check=True)


def modules(data, out):
    """Of the kernel that disks of this data directory boot: its package is in the store, named by the lock of the kit."""
    import json

    lock = next((Path(data) / "store/kits").glob("*.lock")).read_text()
    rows = [json.loads(line) for line in lock.splitlines()[1:]]
    kernel = next(row for row in rows if re.fullmatch(r"linux-image-\d.*", row["name"]))
    unpacked = Path(out) / ".kernel"
    subprocess.run(["dpkg-deb", "-x", f"{data}/store/packages/{kernel['sha256']}.deb", unpacked], check=True)
    shutil.move(unpacked / "lib", Path(out) / "lib")
    shutil.rmtree(unpacked)
    subprocess.run(["depmod", "-b", out, kernel["name"].removeprefix("linux-image-")], check=True)
