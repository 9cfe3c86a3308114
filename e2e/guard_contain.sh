#!/usr/bin/env bash
# Containment on an emulator (moto), judged by the state of the whole account as boto3 reads it.
# A large estate: every exposure contained and undone, one by one and by the account's switch. A small one with every type: killed with -9 at KILLS
# calls, changed by somebody else, each kind of call denied in turn.
#   e2e/guard_contain.sh PATH-OF-AFRESH      EXPOSURES=476 BUCKETS=600 KILLS=100   VENV: a Python environment with moto and boto3, else one is made
set -euo pipefail
afresh=$(realpath "${1:?usage: guard_contain.sh PATH-OF-AFRESH}")
here=$(realpath "$(dirname "$0")/guard_aws")
exposures=${EXPOSURES:-476}
buckets=${BUCKETS:-600}
kills=${KILLS:-100}
work=$(mktemp -d /tmp/afresh-contain.XXXXXX)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf --one-file-system "$work"' EXIT
if [ -z "${VENV:-}" ]; then
  VENV=$work/venv
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q 'moto[server,s3,ec2,rds]==5.2.5' 'boto3==1.44.8'
fi
python=$VENV/bin/python
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

start() {
  [ -z "$server" ] || { kill "$server"; wait "$server" || true; }
  rm -f "$work/port"
  mkfifo "$work/port"
  "$python" "$here/server.py" >"$work/port" 2>>"$work/server.log" &
  server=$!
  read -r port <"$work/port"
  url=http://127.0.0.1:$port
}
failed=
if [ "$exposures" != 0 ]; then
  mkdir "$work/large"
  start
  "$python" "$here/estate.py" "$url" "${SEED:-1}" "$buckets" "$work/large/labels.json"
  "$python" "$here/exposures.py" "$url" "$work/large/labels.json" "$exposures"
  "$python" "$here/contain.py" "$afresh" "$url" "$work/large" "$work/large/labels.json" 0 || failed=1
fi
mkdir "$work/small"
start
"$python" "$here/exposures.py" "$url" "$work/small/labels.json" "${SMALL:-12}"
"$python" "$here/contain.py" "$afresh" "$url" "$work/small" "$work/small/labels.json" "$kills" || failed=1
exit "${failed:-0}"
