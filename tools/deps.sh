#!/usr/bin/env bash
# Installs what is missing of the Debian packages that building, baking and running need. What is there is left alone.
# `deps.sh test` adds what only the tests need: QEMU with its firmware, a registry, and other people's tools to check our disks and trees with.
# `deps.sh package` adds what the package is tried with. `deps.sh apps` adds the databases of `make apps`. Services that they bring are not started.
set -euo pipefail

declare -A needs=(
  [cc]=gcc
  [mkfs.erofs]=erofs-utils
  [ip]=iproute2
  [nft]=nftables
  [tar]=tar
  [setpriv]=util-linux
  [apt-get]=apt
)
if [ "${1:-}" = test ]; then
  needs+=(
    [mmdebstrap]=mmdebstrap
    [qemu-system-x86_64]=qemu-system-x86
    [veritysetup]=cryptsetup-bin
    [sgdisk]=gdisk
    [mkfs.vfat]=dosfstools
    [mcopy]=mtools
    [faketime]=faketime
    [busybox]=busybox-static
    [gpg]=gnupg
    [openssl]=openssl
    [age]=age
    [buildah]=buildah
    [skopeo]=skopeo
    [umoci]=umoci
    [docker-registry]=docker-registry
    [python3]=python3
  )
fi
if [ "${1:-}" = package ]; then
  needs+=(
    [mmdebstrap]=mmdebstrap
    [lintian]=lintian
    [qemu-system-x86_64]=qemu-system-x86
    [mkfs.ext4]=e2fsprogs
    [depmod]=kmod
    [xz]=xz-utils
    [python3]=python3
  )
fi
if [ "${1:-}" = apps ]; then
  needs+=(
    [redis-server]=redis-server
    [redis-cli]=redis-tools
    [mariadbd]=mariadb-server-core
    [my_print_defaults]=mariadb-client-core
    [npm]=npm
    [python3]=python3
  )
fi
PATH=$PATH:/usr/sbin
missing=()
for program in "${!needs[@]}"; do
  command -v "$program" >/dev/null || missing+=("${needs[$program]}")
done
command -v runc >/dev/null || command -v crun >/dev/null || command -v youki >/dev/null || missing+=(runc)
case ${1:-} in test | package) [ -e /usr/share/ovmf/OVMF.fd ] || [ -e /usr/share/qemu/OVMF.fd ] || missing+=(ovmf) ;; esac
[ "${1:-}" != apps ] || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || missing+=(postgresql)
case ${1:-} in test | apps) python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip) ;; esac
[ -e /usr/include/stdlib.h ] || missing+=(libc6-dev)
[ -e /etc/ssl/certs/ca-certificates.crt ] || missing+=(ca-certificates)

if ! command -v cargo >/dev/null; then
  echo "Rust is missing: https://rustup.rs" >&2
  exit 7
fi
if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "missing: ${missing[*]}; install them, or run this as root" >&2
  exit 7
fi
echo "installing ${missing[*]}"
export DEBIAN_FRONTEND=noninteractive
if [ -n "${1:-}" ] && [ ! -e /usr/sbin/policy-rc.d ]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod +x /usr/sbin/policy-rc.d
fi
apt-get update -q </dev/null
apt-get install -y -q --no-install-recommends "${missing[@]}" </dev/null
