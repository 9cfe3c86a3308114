#!/usr/bin/env bash
# Real applications that are not ours: each is fetched, deployed from its file in examples/, used, upgraded to another version under load,
# and rolled back under load. Fails if one request failed. NAMEs select; AFRESH is the program. Needs root.
set -euo pipefail
cd "$(dirname "$0")/.."
AFRESH=$(realpath -m "${AFRESH:-${CARGO_TARGET_DIR:-target}/ship/afresh}")
export AFRESH
[ -x "$AFRESH" ] || { echo "there is no program $AFRESH: \`make build\`, or AFRESH=PATH" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "needs root" >&2; exit 2; }
export PYTHONDONTWRITEBYTECODE=1
exec python3 e2e/apps/main.py "$@"
