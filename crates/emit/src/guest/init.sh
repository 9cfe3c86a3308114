#!/bin/busybox sh
# The first program of a machine booted from an Afresh disk: finds the volumes named on the kernel's command line, lets the kernel
# check every block of them against the root hashes named there, and hands over to the image. It changes nothing on any disk.
#
#   modules > volumes (by partition name) > dm-verity > erofs root > tmpfs overlay > /app > systemd, or the plain runner

export PATH=/bin:/sbin
/bin/busybox --install -s /bin

say() { echo "afresh: $*" >/dev/console; }

# The end of process 1 is a panic: with panic= the machine starts again, and whoever watches sees it.
die() {
    say "cannot boot: $*"
    dmesg | tail -n 15 >/dev/console
    sync
    exit 1
}

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs -o mode=0755,nosuid dev /dev || die "no devtmpfs"
mount -t tmpfs -o mode=0755,nosuid,nodev run /run

root_hash= root_table= app_hash= app_table=
for word in $(cat /proc/cmdline); do
    case $word in
    afresh.root=*) root_hash=${word#*=} ;;
    afresh.app=*) app_hash=${word#*=} ;;
    esac
done
[ -n "$root_hash" ] || die "the command line names no afresh.root"
. /afresh/volumes

# A module for hardware that is not there may refuse; then what needs it is left out, too.
take() {
    local module=$1 before
    shift
    for before; do [ -d "/sys/module/$before" ] || return; done
    insmod "/modules/$module.ko" 2>/dev/null
}
while read -r line; do take $line; done </modules/order

# The device whose partition has this name. The name holds a part of the root hash; what is behind it is checked anyway.
find_partition() {
    local tries=0 event
    while [ $tries -lt 300 ]; do
        for event in /sys/class/block/*/uevent; do
            if grep -qx "PARTNAME=$1" "$event"; then
                event=${event%/uevent}
                echo "/dev/${event##*/}"
                return 0
            fi
        done
        tries=$((tries + 1))
        usleep 100000
    done
    return 1
}

# $1: root or app, $2: its root hash, $3: its verity table with DATA and HASHES in place of the devices. Leaves the device in $opened.
open_volume() {
    local id data hashes
    case $3 in *" $2 "*) ;; *) die "the $1 hash of the command line is not the one this disk was made with" ;; esac
    id=$(echo "$2" | cut -c1-16)
    data=$(find_partition "afresh-$1-$id") || die "no partition afresh-$1-$id"
    hashes=$(find_partition "afresh-$1-hash-$id") || die "no partition afresh-$1-hash-$id"
    dmsetup --noudevsync --noudevrules create "$1" --readonly --table "$(echo "$3" | sed "s|DATA|$data|;s|HASHES|$hashes|")" >/run/dmsetup.log 2>&1 ||
        die "dm-verity refuses $data: $(cat /run/dmsetup.log)"
    for opened in /sys/class/block/dm-*; do
        [ "$(cat "$opened/dm/name")" = "$1" ] && opened=/dev/${opened##*/} && break
    done
    say "$1 is $data, checked against $2"
}

open_volume root "$root_hash" "$root_table"
mount -t erofs -o ro "$opened" /lower || die "the root volume cannot be mounted"
mount -t tmpfs -o mode=0755 rw /rw
mkdir /rw/upper /rw/work
mount -t overlay -o lowerdir=/lower,upperdir=/rw/upper,workdir=/rw/work overlay /root || die "no overlay"
mkdir -p /root/proc /root/sys /root/dev /root/run /root/app /root/tmp

if [ -n "$app_hash" ]; then
    open_volume app "$app_hash" "$app_table"
    mount -t erofs -o ro,nosuid,nodev "$opened" /root/app || die "the app volume cannot be mounted"
fi

mkdir /run/afresh
cp /bin/busybox /run/afresh/busybox
cp /afresh/* /run/afresh/

for fs in proc sys dev run; do mount --move /$fs /root/$fs; done

# systemd takes what is in /run/systemd/system as its own units; the image itself stays as it was baked.
own() {
    mkdir -p /root/run/systemd/system/multi-user.target.wants
    cp "/afresh/$1.unit" "/root/run/systemd/system/$1.service"
    ln -s "../$1.service" /root/run/systemd/system/multi-user.target.wants/
}
for init in /usr/lib/systemd/systemd /lib/systemd/systemd; do
    [ -x /root$init ] || continue
    [ -e /afresh/service ] && own afresh-service
    [ -x /root/usr/lib/systemd/systemd-udevd -o -x /root/lib/systemd/systemd-udevd ] || own afresh-power
    wants=/root/etc/systemd/system/*.wants
    ls $wants/systemd-networkd.service $wants/NetworkManager.service $wants/networking.service 2>/dev/null | grep -q . || own afresh-network
    echo "afresh: handing over to systemd" >/root/dev/console
    exec switch_root /root $init
done
echo "afresh: handing over to the plain runner" >/root/dev/console
exec switch_root /root /run/afresh/busybox sh /run/afresh/run.sh
