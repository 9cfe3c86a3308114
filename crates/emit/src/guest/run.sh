#!/run/afresh/busybox sh
# Process 1 of a machine whose image has no systemd: network, the service, a new one when it ends, a clean end at the power button.
# It must not hide an exit: every one is reported on the console.
#
#   start > running -(exits)-> told > after a second: start        running -(power button: TERM)-> signal > within > power off

B=/run/afresh/busybox
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
say() { echo "afresh: $*" >/dev/console; }

$B mkdir -p /dev/pts /dev/shm
$B mount -t devpts -o mode=0620,nosuid,noexec devpts /dev/pts
$B mount -t tmpfs -o mode=1777,nosuid,nodev shm /dev/shm
$B chmod 1777 /tmp
$B sh /run/afresh/network.sh &

service= stopping=
# Set by the image's release; without one there is nothing to run, only a machine to look at.
signal=TERM within=30
[ -e /run/afresh/stop ] && . /run/afresh/stop

# A process that ended and was not waited for yet is still listed, as Z.
alive() { [ -n "$service" ] && $B grep -q "^State:.[^Z]" "/proc/$service/status" 2>/dev/null; }

stop() {
    stopping=1
    if alive; then
        say "power button: the service gets $signal and at most $within seconds"
        $B kill -"$signal" "$service"
        local left=$((within * 10))
        while [ $left -gt 0 ] && alive; do
            $B usleep 100000
            left=$((left - 1))
        done
        alive && say "the service did not end by itself"
    fi
    say "off"
    $B poweroff -f
}
trap stop TERM
$B sh /run/afresh/power.sh "$B kill -TERM 1" 2>/dev/null &

if [ ! -e /run/afresh/service ]; then
    say "no service is part of this disk"
    while :; do $B sleep 3600 & wait $!; done
fi
while [ -z "$stopping" ]; do
    $B sh /run/afresh/service </dev/null >/dev/console 2>&1 &
    service=$!
    say "the service runs as process $service"
    wait $service
    code=$?
    [ -n "$stopping" ] && break
    say "the service ended with $code; again in a second"
    $B sleep 1
done
while :; do $B sleep 1; done
