#!/usr/bin/env bash
# The Debian package on a machine of its own: a fresh Debian root in namespaces of processes, mounts and network. It is checked by lintian,
# installed, upgraded UPGRADES times under a client whose requests may not fail, deployed to meanwhile, removed, installed again, purged.
# systemd is not the first process there, as in a container: maintainer scripts must cope, and this script starts the daemons in the
# order in which the package restarts them. With systemd: e2e/vm.sh. Needs root and a mirror.
#
#   e2e/package.sh NEW.deb [OLD.deb]      OLD is installed first, and its data plane carries the traffic throughout
set -euo pipefail

# Runs in the machine that is made below. The debs are in /debs: `first.deb`, then one of a higher version for each upgrade.
inside() {
  declare -A pids
  export DEBIAN_FRONTEND=noninteractive
  say() { echo "== $*"; }
  fail() { echo "failed: $*" >&2; tail -n 20 /var/log/afresh-*.log >&2 || true; exit 1; }
  install() { apt-get install -y -q --no-install-recommends "$1" >/var/log/apt.log 2>&1 || { cat /var/log/apt.log; fail "apt-get install $1"; }; }
  start() {
    afresh "$1" >>"/var/log/afresh-$1.log" 2>&1 &
    pids[$1]=$!
  }
  # As the package's scripts do with systemd: one after the other, and only these three processes.
  restart() {
    local role
    for role in host proxy serve; do
      [ -z "${pids[$role]:-}" ] || { kill "${pids[$role]}" || fail "$role had ended by itself"; wait "${pids[$role]}" || true; }
      start "$role"
    done
    for _ in $(seq 300); do ! afresh status >/dev/null 2>&1 || return 0; sleep 0.2; done
    fail "no control plane within a minute"
  }
  data_plane() { pgrep -f 'afresh proxy --data-plane'; }
  deploy() {
    sed -i "s/^  env .*/  env = { PORT = 8080, ROUND = \"$1\" }/" /srv/shop/afresh.hcl
    afresh deploy --file /srv/shop/afresh.hcl --yes >/var/log/deploy.log 2>&1 || { cat /var/log/deploy.log; fail "deploy $1"; }
  }

  install /debs/first.deb
  say "installed: $(dpkg-query -W -f '${Package} ${Version}, ${db:Status-Status}' afresh)"
  ls /etc/systemd/system/multi-user.target.wants/ | sed 's/^/   enabled: /'
  man -w afresh-serve >/dev/null 2>&1 || [ -e /usr/share/man/man1/afresh-serve.1.gz ] || echo "   no manual pages: this root leaves them out"
  afresh policy check | sed 's/^/   /'
  restart
  deploy 0
  say "deployed: $(afresh instance list | grep -c running || true) servers run"

  python3 /srv/client.py 8080 >/var/log/client.json &
  local client=$! before after
  before=$(data_plane)
  sleep 2
  for deb in $(ls -v /debs/[0-9]*.deb); do
    install "$deb"
    restart
    local round
    round=$(basename "$deb" .deb)
    [ $((round % 5)) -ne 0 ] || deploy "$round"
  done
  after=$(data_plane)
  say "upgraded to $(dpkg-query -W -f '${Version}' afresh); data plane $before, then $after; deployed $(afresh release list | grep -c web || true) releases"
  [ "$before" = "$after" ] || fail "the data plane is another process"
  kill -TERM "$client"
  wait "$client" || fail "requests failed: $(cat /var/log/client.json)"
  say "client: $(cat /var/log/client.json)"

  echo '# kept' >>/etc/afresh/policy.hcl
  # systemd's syntax, and no shell's: nothing of the package may run it as a script.
  echo 'SERVE_ARGS=--listen 127.0.0.1:7070' >>/etc/default/afresh
  # What systemd would stop first is here stopped by `afresh down`, which the package calls.
  apt-get remove -y -q afresh >/var/log/apt.log 2>&1 || { cat /var/log/apt.log; fail remove; }
  [ -z "$(pgrep -x afresh)" ] || fail "processes are left: $(pgrep -ax afresh)"
  ! grep -q afresh /proc/mounts || fail "mounts are left: $(grep afresh /proc/mounts)"
  [ -e /var/lib/afresh/afresh.json ] && grep -q kept /etc/afresh/policy.hcl || fail "a removal keeps data and configuration"
  say "removed: no process, no mount, data and configuration kept; links: $(ip -br link | wc -l)"

  install "$deb"
  pids=()
  restart
  for _ in $(seq 300); do ! python3 /srv/client.py 8080 1 >/dev/null 2>&1 || break; sleep 0.2; done
  python3 /srv/client.py 8080 1 >/dev/null || fail "nobody answers after the package was installed again"
  say "installed again: the same service answers, without a deploy"

  purge() { apt-get purge -y -q afresh >/var/log/apt.log 2>&1 || { cat /var/log/apt.log; fail purge; }; }
  mkdir /srv/theirs /var/lib/afresh/theirs
  touch /srv/theirs/file
  mount --bind /srv/theirs /var/lib/afresh/theirs
  purge
  [ -e /srv/theirs/file ] || fail "a purge deletes what is mounted below the data directory"
  grep -q 'something is mounted below' /var/log/apt.log || fail "a purge says nothing of what it leaves"
  umount /var/lib/afresh/theirs
  install "$deb"
  purge
  [ -z "$(pgrep -x afresh)" ] || fail "processes are left"
  local left
  left=$(find /etc /var/lib /run /usr -xdev -name '*afresh*' ! -path '/var/lib/dpkg/*' ! -path '/var/lib/apt/*' 2>/dev/null || true)
  [ -z "$left" ] || fail "a purge leaves: $left"
  say "purged: nothing is left"
}

if [ "${1:-}" = --inside ]; then
  inside
  exit
fi

cd "$(dirname "$0")/.."
new=$(realpath "${1:?usage: e2e/package.sh NEW.deb [OLD.deb]}")
old=$(realpath "${2:-$new}")
[ "$(id -u)" -eq 0 ] || { echo "needs root" >&2; exit 2; }
tools/deps.sh package
work=$(mktemp -d "${TMPDIR:-/tmp}/afresh-package.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root

# Info is shown, warnings and errors fail.
lintian --allow-root --fail-on warning --display-info "$new"
echo "== lintian: clean"

mmdebstrap --quiet --variant=minbase --include=runc,erofs-utils,nftables,iproute2,util-linux,mount,ca-certificates,procps,python3 \
  "${SUITE:-bookworm}" "$root" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
mkdir -p "$root/debs" "$root/srv" "$root/.old"
cp "$old" "$root/debs/first.deb"
# The same files under higher versions, packed in little time.
dpkg-deb -R "$new" "$work/deb"
for i in $(seq "${UPGRADES:-20}"); do
  sed -i "s/^Version: .*/Version: 9.0.$i/" "$work/deb/DEBIAN/control"
  dpkg-deb --root-owner-group -Zzstd -z1 -b "$work/deb" "$root/debs/$i.deb" >/dev/null
done
cp -r examples/shop "$root/srv/shop"
cat >"$root/srv/shop/afresh.hcl" <<'H'
image "base" {
  debian   = "bookworm"
  packages = ["python3"]
}

service "web" {
  tier     = "web"
  image    = image.base
  artifact = "app"
  run      = ["python3", "web.py"]
  env = { PORT = 8080 }
  port   = 8080
  count  = 2
  health { path = "/healthz"  every = "200ms"  healthy_for = "500ms" }
  drain { signal = "TERM"  within = "10s" }
  route { listen = "127.0.0.1:8080" }
  rollout { waves = ["1", "100%"]  soak = "1s"  within = "60s" }
}
H
cp e2e/apps/load.py "$root/srv/load.py"
cat >"$root/srv/client.py" <<'P'
"""20 requests a second over kept connections until TERM, or as many as are named. Exits with 1 if one failed."""
import json, signal, sys, time
sys.path.insert(0, "/srv")
from load import Connection, Load

port, count = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
if count:
    for number in range(count):
        Connection(port).send("GET", f"/hello?id={number}")
    sys.exit()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
load = Load(port, {"hello": lambda connection, number: connection.send("GET", f"/hello?id={number}") and None}, 20)
signal.sigwait([signal.SIGTERM])
load.finish()
for thread in load.threads:
    thread.join()
print(json.dumps({"requests": sum(load.sent.values()), "failed": len(load.failures), "slowest_s": round(load.slowest_s, 3),
                  "seconds": round(time.monotonic() - load.begun, 1), "why": load.failures[:5]}))
sys.exit(1 if load.failures or not load.sent else 0)
P
# The image comes from a mirror, which the machine itself does not reach.
"${AFRESH:-target/ship/afresh}" bake --file "$root/srv/shop/afresh.hcl" --data-dir "$root/var/lib/afresh" >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
echo "== a Debian root of its own is made, its image is baked"

cp "$0" "$root/srv/package.sh"
unshare --mount --net --pid --uts --ipc --fork --kill-child --propagation private bash -euo pipefail -c '
  root=$1
  mount --bind "$root" "$root"
  mount --rbind /dev "$root/dev"
  # Not the one of the machine around it: /sys/class/net shows the network of whoever mounted it.
  mount -t sysfs sysfs "$root/sys"
  mount --rbind /sys/fs/cgroup "$root/sys/fs/cgroup"
  mount -t proc proc "$root/proc"
  mount -t tmpfs tmpfs "$root/run"
  hostname machine
  ip link set lo up
  cd "$root"
  pivot_root . .old
  umount -l .old
  exec bash /srv/package.sh --inside
' bash "$root"
