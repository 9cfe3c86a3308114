#!/usr/bin/env bash
# Second oracles of the scan of S3. The labelled buckets on a second emulator (ministack), and the policies read by others on the first:
# moto's GetBucketPolicyStatus and policyuniverse. Differences must have an explanation.
#   e2e/guard_second.sh PATH-OF-AFRESH      SEED=1 BUCKETS=340   VENV: a Python environment with what is installed below, else one is made
set -euo pipefail
afresh=$(realpath "${1:?usage: guard_second.sh PATH-OF-AFRESH}")
here=$(realpath "$(dirname "$0")/guard_aws")
seed=${SEED:-1} buckets=${BUCKETS:-340} started=()
work=$(mktemp -d /tmp/afresh-guard.XXXXXX)
trap 'for pid in "${started[@]}"; do kill "$pid" || true; done; rm -rf --one-file-system "$work"' EXIT
if [ -z "${VENV:-}" ]; then
  VENV=$work/venv
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q 'moto[server,s3,ec2,rds]==5.2.5' 'boto3==1.44.8' 'ministack==1.4.21' policyuniverse
fi
python=$VENV/bin/python
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
export PYTHONDONTWRITEBYTECODE=1 AWS_REGION=us-east-1
start() { # SCRIPT: sets port
  rm -f "$work/port"
  mkfifo "$work/port"
  "$python" "$here/$1" >"$work/port" 2>"$work/$1.log" &
  started+=($!)
  read -r port <"$work/port"
}
scan() { # NAME
  "$afresh" guard scan aws --only s3 --region us-east-1 --objects 0 --json >"$work/$1.jsonl" || true
  "$python" "$here/score.py" "$work/$1.json" "$work/$1.jsonl"
}

start server.py
export AWS_ENDPOINT_URL=http://127.0.0.1:$port
BUCKETS_ONLY=1 "$python" "$here/estate.py" "$AWS_ENDPOINT_URL" "$seed" "$buckets" "$work/moto.json"
scan moto
"$python" "$here/opinions.py" "$AWS_ENDPOINT_URL" "$work/moto.json" "$work/moto.jsonl"

# It has no control plane of S3: one beside it answers for an account without a block. Its account is the access key, if that is a number.
start control_without.py
control=http://127.0.0.1:$port
gateway=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$work" && exec env GATEWAY_PORT="$gateway" SERVICES=s3,sts IOT_MTLS_ENABLED=0 "$VENV/bin/ministack" >"$work/ministack.log" 2>&1) &
started+=($!)
export AWS_ENDPOINT_URL=http://127.0.0.1:$gateway AWS_ACCESS_KEY_ID=123456789012
curl -s -o "$work/ready" --retry 100 --retry-delay 1 --retry-connrefused "$AWS_ENDPOINT_URL/"
NEW_BUCKETS_ARE_SHUT=1 BUCKETS_ONLY=1 "$python" "$here/estate.py" "$AWS_ENDPOINT_URL" "$seed" "$buckets" "$work/ministack.json"
export AWS_ENDPOINT_URL_S3_CONTROL=$control
scan ministack
