#!/usr/bin/env bash
# What is published of a release, in DIR: a tarball, an OCI image of the control plane, the Debian package, a bill of materials (CycloneDX),
# and SHA256SUMS. Every file's time is EPOCH. PROGRAM bakes the image (as root, from a mirror) and is what is shipped; PACKAGED has
# what it made of itself (`make packaged`).
#
#   dist.sh PROGRAM PACKAGED DEB DIR EPOCH
set -euo pipefail
program=$(realpath "$1") packaged=$(realpath "$2") deb=$(realpath "$3") dir=$(realpath -m "$4") epoch=$5
cd "$(dirname "$0")/.."
[ "$(id -u)" -eq 0 ] || { echo "needs root: it bakes an image" >&2; exit 2; }
tools/deps.sh package
rm -rf "$dir"
mkdir -p "$dir"
work=$(mktemp -d "${TMPDIR:-/tmp}/afresh-dist.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
version=$("$program" --version | cut -d' ' -f2)
archive() { tar --sort=name --mtime="@$epoch" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw "$@"; }

# rustup's toolchain has no musl here, and a static glibc finds no names where its own libraries are not: the C library stays the system's.
glibc=$(objdump -T "$program" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 | tr -d _ | tr '[:upper:]' '[:lower:]')
name=afresh-$version-x86_64-linux-$glibc
mkdir -p "$work/$name/packaging"
cp -r "$packaged"/{afresh,man,afresh.bash,_afresh,afresh.fish} LICENSE README.md GLOSSARY.md crates/config/REFERENCE.md "$work/$name"
cp -r packaging/{systemd,default,policy.hcl,tmpfiles.conf,sysctl.conf} "$work/$name/packaging"
archive -C "$work" -c "$name" | xz -6 >"$dir/$name.tar.xz"

# The system below the program is baked and emitted as any image; the program is a second layer.
"$program" bake --file packaging/control-plane.hcl --data-dir "$work/data" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
"$program" image emit control-plane --oci "$work/oci" --data-dir "$work/data" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }
mkdir -p "$work/layer/usr/bin"
cp "$packaged/afresh" "$work/layer/usr/bin/afresh"
archive -C "$work/layer" -cf "$work/layer.tar" usr
# Keeper and balancer run on the host: the data directory is where they meet.
python3 tools/oci_layer.py "$work/oci" "$work/layer.tar" "afresh:$version" \
  '{"Entrypoint": ["/usr/bin/afresh"], "Cmd": ["serve"], "User": "0:0", "WorkingDir": "/", "Volumes": {"/var/lib/afresh": {}}}'
archive -C "$work/oci" -cf "$dir/afresh-$version.oci.tar" .

# Of Cargo.lock, for what is built in on this platform.
SOURCE_DATE_EPOCH=$epoch cargo cyclonedx --manifest-path crates/afresh/Cargo.toml --format json --spec-version 1.5 --target x86_64-unknown-linux-gnu --quiet
# A random number and the directory of the sources would make two bills of one source differ.
python3 - crates/afresh/afresh.cdx.json "$dir/afresh.cdx.json" <<'P'
import json, os, sys
bill = json.loads(open(sys.argv[1]).read().replace(f"file://{os.getcwd()}/", "file:///afresh/"))
bill.pop("serialNumber", None)
json.dump(bill, open(sys.argv[2], "w"), indent=1, sort_keys=True)
P
find crates -name '*.cdx.json' -delete

cp "$deb" "$dir"
(cd "$dir" && sha256sum -- * >"$work/sums" && cp "$work/sums" SHA256SUMS)
ls -l "$dir"
