#!/bin/sh
# make-version.sh DIR VERSION [FAULT]: an artifact directory, the shop's programs with another release.json.
set -eu
if [ $# -lt 2 ] || [ $# -gt 3 ]; then
    echo "usage: $0 DIR VERSION [never-healthy|fails-under-traffic|crash-loop]" >&2
    exit 2
fi
case "$2" in '' | *[!0-9]*) echo "$0: VERSION is a whole number, not '$2'" >&2; exit 2 ;; esac
case "${3-}" in
    '') fault=null ;;
    never-healthy | fails-under-traffic | crash-loop) fault="\"$3\"" ;;
    *) echo "$0: there is no fault '$3'" >&2; exit 2 ;;
esac
mkdir -p "$1"
cp "$(dirname "$0")"/app/*.py "$1"/
printf '{"version": %s, "fault": %s}\n' "$2" "$fault" > "$1/release.json"
