#!/bin/sh
# make-version.sh DIR VERSION: an artifact directory with this version of Verdaccio and what it needs (from npm), and its configuration.
# No script of a package runs here: none is needed.
set -eu
if [ $# -ne 2 ]; then
    echo "usage: $0 DIR VERSION" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
rm -rf "$1"
mkdir -p "$1"
cp "$here/config.yaml" "$1"
# Verdaccio names node-fetch by a tag, which not every mirror of npm has; this is the version that the tag means.
printf '{"private": true, "dependencies": {"verdaccio": "%s"}, "overrides": {"node-fetch": "2.7.0"}}\n' "$2" > "$1/package.json"
npm install --silent --no-audit --no-fund --ignore-scripts --omit=dev --prefix "$1"
