#!/usr/bin/env bash
# The scan of AWS beside labels, on an emulator (moto): an estate is built from a seed, scanned, and judged by how it was built.
# Then the account's block is turned on: two calls must answer for all of S3.
#   e2e/guard_aws.sh PATH-OF-AFRESH      SEED=1 BUCKETS=1000   VENV: a Python environment with moto and boto3, else one is made
set -euo pipefail
afresh=$(realpath "${1:?usage: guard_aws.sh PATH-OF-AFRESH}")
here=$(realpath "$(dirname "$0")/guard_aws")
seed=${SEED:-1}
buckets=${BUCKETS:-1000}
work=$(mktemp -d /tmp/afresh-guard.XXXXXX)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf --one-file-system "$work"' EXIT
if [ -z "${VENV:-}" ]; then
  VENV=$work/venv
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q 'moto[server,s3,ec2,rds]==5.2.5' 'boto3==1.44.8'
fi
python=$VENV/bin/python
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null

mkfifo "$work/port"
"$python" "$here/server.py" >"$work/port" 2>"$work/server.log" &
server=$!
read -r port <"$work/port"
url=http://127.0.0.1:$port
MULTI_REGION=1 "$python" "$here/estate.py" "$url" "$seed" "$buckets" "$work/labels.json"

scan() { # NAME FLAGS...
  local name=$1 begun code=0
  shift
  curl -sf "$url/calls" >"$work/ignored"
  begun=$(date +%s%N)
  "$python" "$here/measure.py" "$work/$name.measured" "$afresh" guard scan aws --endpoint "$url" --region us-east-1 --json "$@" >"$work/$name.jsonl" || code=$?
  echo "$name: exit $code, $((($(date +%s%N) - begun) / 1000000)) ms, $(cat "$work/$name.measured"), calls that the emulator counted: $(curl -sf "$url/calls")"
  tail -n 1 "$work/$name.jsonl"
}
scan all
"$python" "$here/score.py" "$work/labels.json" "$work/all.jsonl" || failed=1

"$python" "$here/lock.py" "$url"
scan locked --only s3
lines=$(grep -c '"verdict"' "$work/locked.jsonl")
calls=$(tail -n 1 "$work/locked.jsonl" | grep -o '"calls":[0-9]*' | cut -d: -f2)
[ "$lines" = 1 ] && [ "$calls" = 2 ] || { echo "an account whose block is on: $lines lines and $calls calls, must be 1 and 2" >&2; failed=1; }
exit "${failed:-0}"
