#!/usr/bin/env bash
# Real applications that are not ours: each is fetched, deployed from its file in examples/, used, upgraded to another version under load,
# and rolled back under load. Fails if one request failed. NAMEs select; AFRESH is the program. Needs root.
set -euo pipefail
[ -z "${AFRESH:-}" ] || AFRESH=$(realpath -m "$AFRESH")
cd "$(dirname "$0")/.."
export AFRESH=${AFRESH:-$(realpath -m "${CARGO_TARGET_DIR:-target}/ship/afresh")}
[ -x "$AFRESH" ] || { echo "there is no program $AFRESH: \`make build\`, or AFRESH=PATH" >&2; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "needs root" >&2; exit 2; }
export PYTHONDONTWRITEBYTECODE=1
exec python3 e2e/apps/main.py "$@"
