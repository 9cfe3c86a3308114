#!/usr/bin/env bash
# The scan of AWS on an emulator whose answers go wrong: every call of it in turn, in every way (denied, throttled, expired, cut off, a
# proxy's page, elsewhere, the same page again, ...). What is public is never said to be private, nor left out in silence.
#   e2e/guard_faults.sh PATH-OF-AFRESH [KIND...]      SEED=1   VENV: a Python environment with moto and boto3, else one is made
set -euo pipefail
afresh=$(realpath "${1:?usage: guard_faults.sh PATH-OF-AFRESH [KIND...]}")
here=$(realpath "$(dirname "$0")/guard_aws")
work=$(mktemp -d /tmp/afresh-guard.XXXXXX)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf --one-file-system "$work"' EXIT
if [ -z "${VENV:-}" ]; then
  VENV=$work/venv
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q 'moto[server,s3,ec2,rds]==5.2.5' 'boto3==1.44.8'
fi
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
export PYTHONDONTWRITEBYTECODE=1
mkfifo "$work/port"
"$VENV/bin/python" "$here/server.py" >"$work/port" 2>"$work/server.log" &
server=$!
read -r port <"$work/port"
MULTI_REGION=1 ROUNDS=1 "$VENV/bin/python" "$here/estate.py" "http://127.0.0.1:$port" "${SEED:-1}" 24 "$work/labels.json"
"$VENV/bin/python" "$here/break_calls.py" "http://127.0.0.1:$port" "$work/labels.json" "$afresh" "${@:2}"
