#!/usr/bin/env bash
# The scan of buckets beside Prowler and Cloud Custodian, on one emulator in one run, by the same labels: time, CPU, memory, calls.
#   e2e/guard_compare.sh PATH-OF-AFRESH      SEED=1 BUCKETS=1000   VENV, PROWLER_VENV, CUSTODIAN_VENV: Python environments, else they are made
set -euo pipefail
afresh=$(realpath "${1:?usage: guard_compare.sh PATH-OF-AFRESH}")
here=$(realpath "$(dirname "$0")/guard_aws")
work=$(mktemp -d /tmp/afresh-guard.XXXXXX)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf --one-file-system "$work"' EXIT
venv() { # PATH PACKAGE...
  [ -x "$1/bin/python" ] || { python3 -m venv "$1" && "$1/bin/pip" install -q "${@:2}"; }
}
venv "${VENV:=$work/venv}" 'moto[server,s3,ec2,rds]==5.2.5' 'boto3==1.44.8'
venv "${PROWLER_VENV:=$work/prowler}" prowler
venv "${CUSTODIAN_VENV:=$work/custodian}" c7n
python=$VENV/bin/python
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null
export AWS_DEFAULT_REGION=us-east-1 AWS_REGION=us-east-1

mkfifo "$work/port"
"$python" "$here/server.py" >"$work/port" 2>"$work/server.log" &
server=$!
read -r port <"$work/port"
export AWS_ENDPOINT_URL=http://127.0.0.1:$port
LISTS=1 "$python" "$here/estate.py" "$AWS_ENDPOINT_URL" "${SEED:-1}" "${BUCKETS:-1000}" "$work/labels.json"

measured() { # NAME COMMAND...
  local name=$1 begun code=0
  shift
  curl -sf "$AWS_ENDPOINT_URL/calls" >"$work/ignored"
  begun=$(date +%s%N)
  "$python" "$here/measure.py" "$work/measured" "$@" >"$work/$name.out" 2>"$work/$name.err" || code=$?
  echo "$name: exit $code, $((($(date +%s%N) - begun) / 1000000)) ms, $(cat "$work/measured"), calls: $(curl -sf "$AWS_ENDPOINT_URL/calls")"
}

measured afresh "$afresh" guard scan aws --only s3 --region us-east-1 --json
"$python" "$here/score.py" "$work/labels.json" "$work/afresh.out" | grep -E 'precision|s3_' || true
measured afresh_buckets "$afresh" guard scan aws --only s3 --region us-east-1 --objects 0 --json

cat >"$work/custodian.yml" <<'EOF'
policies:
  - name: public-acl
    resource: aws.s3
    filters:
      - type: global-grants
        allow_website: false
      - not: [{type: check-public-block, IgnorePublicAcls: true}]
  - name: public-policy
    resource: aws.s3
    filters:
      - type: cross-account
        everyone_only: true
      - not: [{type: check-public-block, RestrictPublicBuckets: true}]
EOF
measured custodian "$CUSTODIAN_VENV/bin/custodian" run --region us-east-1 --cache "$work/cache" -s "$work/custodian" "$work/custodian.yml"
"$python" "$here/compare.py" custodian "$work/labels.json" "$work/custodian"

measured prowler "$PROWLER_VENV/bin/prowler" aws --region us-east-1 --no-banner -M json-ocsf -F prowler -o "$work/prowler-out" \
  --checks s3_bucket_public_access s3_bucket_public_list_acl s3_bucket_public_write_acl s3_bucket_policy_public_write_access
"$python" "$here/compare.py" prowler "$work/labels.json" "$work/prowler-out/prowler.ocsf.json"
