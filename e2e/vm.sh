#!/usr/bin/env bash
# The Debian package in a virtual machine with systemd, which boots from a disk that Afresh baked: install, deploy, reload, watchdog,
# upgrade under load, power cut, reboot, remove. QEMU without KVM, so it takes about twenty minutes. AFRESH is the program that bakes
# (`make build`); the package is the argument, its console and its commands are in LOG. Needs root and a mirror.
set -euo pipefail
[ -z "${AFRESH:-}" ] || AFRESH=$(realpath "$AFRESH")
deb=$(realpath "${1:?usage: e2e/vm.sh FILE.deb}")
cd "$(dirname "$0")/.."
export AFRESH=${AFRESH:-$(realpath -m "${CARGO_TARGET_DIR:-target}/ship/afresh")} LOG=${LOG:-$(realpath -m "${CARGO_TARGET_DIR:-target}/vm-log")}
[ -x "$AFRESH" ] || { echo "there is no program $AFRESH: \`make build\`, or AFRESH=PATH" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "needs root" >&2; exit 2; }
tools/deps.sh package
export PYTHONDONTWRITEBYTECODE=1
exec python3 e2e/vm/main.py "$deb"
