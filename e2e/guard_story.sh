#!/usr/bin/env bash
# The life of one exposure, told in commands: an outsider writes, it is found, contained in under a minute, investigated, closed by a rule; the same
# mistake is refused in a plan, waived for two weeks, and refused again when they are over. Prints each command with what it answers, and fails
# where an answer or an exit code is not the one of the story. On an emulator of AWS (moto) and a control plane of its own. Needs root.
#   e2e/guard_story.sh PATH-OF-AFRESH      VENV: a Python environment with moto and boto3, else one is made
set -euo pipefail
program=$(realpath "${1:?usage: guard_story.sh PATH-OF-AFRESH}")
here=$(realpath "$(dirname "$0")/guard_aws")
[ "$(id -u)" -eq 0 ] || { echo "needs root: the control plane is root's" >&2; exit 2; }
work=$(mktemp -d /tmp/afresh-story.XXXXXX)
started=()
finish() {
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" || true; done
  rm -rf --one-file-system "$work"
}
trap finish EXIT
if [ -z "${VENV:-}" ]; then
  VENV=$work/venv
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q 'moto[server,s3,ec2,rds]==5.2.5' 'boto3==1.44.8'
fi
mkdir "$work/bin" "$work/shop"
ln -s "$program" "$work/bin/afresh"
export PATH=$work/bin:$PATH NO_COLOR=1 AFRESH_DATA_DIR=$work/data USER=ann
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_REGION=us-east-1

say() { printf '\n## %s\n' "$*"; }
# tell EXIT COMMAND...: prints a command and its answer, which stays in $work/answer.
tell() {
  local wanted=$1 status=0
  shift
  printf '\n$ %s\n' "$*"
  "$@" >"$work/answer" 2>&1 || status=$?
  cat "$work/answer"
  [ "$status" -eq "$wanted" ] || { echo "guard_story: exit $status, where the story has $wanted" >&2; exit 1; }
}
# holds TEXT...: the last answer has all of them.
holds() {
  local text
  for text in "$@"; do
    grep -qF -- "$text" "$work/answer" || { echo "guard_story: the last answer does not say: $text" >&2; exit 1; }
  done
}
# What the last objection names as its evidence.
evidence() { grep -oE -- '--evidence [0-9a-f]{32}' "$work/answer" | head -1 | cut -d' ' -f2; }
later() { env LD_PRELOAD="$(echo /usr/lib/*/faketime/libfaketime.so.1)" FAKETIME="$1" NO_FAKE_STAT=1 "${@:2}"; }

mkfifo "$work/port"
"$VENV/bin/python" "$here/server.py" >"$work/port" 2>"$work/server.log" &
started+=($!)
read -r port <"$work/port"
export AWS_ENDPOINT_URL=http://127.0.0.1:$port
"$VENV/bin/python" "$here/story.py" "$AWS_ENDPOINT_URL"
mkdir -m 700 "$work/data"
cd "$work/shop"

say "Monday, 09:00. An outsider writes that customers' data lies in public. What does?"
begun=$SECONDS
tell 1 afresh guard scan aws --endpoint "$AWS_ENDPOINT_URL" --region us-east-1
holds shop-exports sg- "3 exposed"

say "Stop the bleeding first: everything exposed, by the smallest change that can be taken back exactly."
tell 0 afresh guard stop-the-bleeding --now --endpoint "$AWS_ENDPOINT_URL" --region us-east-1
incident=$(grep -oE 'INC-[0-9-]+' "$work/answer" | head -1)
[ -n "$incident" ] || { echo "guard_story: no incident was opened" >&2; exit 1; }
tell 0 afresh guard scan aws --endpoint "$AWS_ENDPOINT_URL" --region us-east-1
took=$((SECONDS - begun))
echo "(from the report to a clean scan: $took s)"
[ "$took" -lt 60 ] || { echo "guard_story: that is not under a minute" >&2; exit 1; }
tell 0 afresh guard contained
holds "public access block of account"

say "The outsider gets an answer."
tell 0 afresh guard answer "$incident"
holds "The access was closed on"

say "Then the investigation. It is all on record, and the record cannot be changed unseen."
printf '2026-11-28T21:14:03Z 198.51.100.7 GET shop-exports/customers.csv\n' >access.log
tell 0 afresh guard incident evidence "$incident" access.log
tell 0 afresh guard incident note "$incident" "one reader beside our own: the outsider who told us"
tell 3 afresh guard incident close "$incident" data-is-not-public
holds "is not given a cause yet"
tell 0 afresh guard incident cause "$incident" "a bucket policy copied from a tutorial, made by Terraform; no plan was checked"

say "It closes only by a rule that refuses it from now on."
tell 3 afresh guard incident close "$incident" egress-is-named
tell 0 afresh guard incident close "$incident" data-is-not-public
tell 0 afresh guard incident export "$incident"
holds "State: closed" "kept, and its hash is as recorded" "guardrail: rule data-is-not-public"

say "Wednesday. Somebody makes the same mistake: the pipeline checks Terraform's plan."
"$VENV/bin/python" "$here/story.py" --plan >plan.json
tell 1 afresh guard check plan.json
holds data-is-not-public aws_s3_bucket.exports "afresh guard waive"
found=$(evidence)

say "It is meant to be public, for a fortnight, says who answers for it."
tell 0 afresh guard waive data-is-not-public aws_s3_bucket.exports --evidence "$found" --owner bob@example.org --ticket OPS-17 --days 14 --reason "price list for the fair"
tell 0 afresh guard check plan.json
holds "waived by bob@example.org until"
tell 0 afresh guard waivers
holds "in 1" OPS-17

say "The fortnight is over."
tell 1 later +15d afresh guard check plan.json
holds "the waiver of bob@example.org expired on"

say "The same in a deploy: a password in a service file. The control plane judges by rules of its own."
cat >afresh.hcl <<'HCL'
image "base" {
  debian   = "bookworm"
  packages = ["python3"]
}

service "exports" {
  tier  = "web"
  count = 1
  image = image.base
  run   = ["python3", "-m", "http.server", "8080"]
  port  = 8080
  env {
    DB_PASSWORD = "tr0ub4dor"
  }
}
HCL
serve() {
  "$@" afresh up >"$work/up.log" 2>&1 &
  started+=($!)
  for _ in $(seq 300); do afresh status >/dev/null 2>&1 && return; sleep 0.2; done
  cat "$work/up.log" >&2
  exit 1
}
stop() {
  kill "${started[-1]}"
  wait "${started[-1]}" || true
  unset 'started[-1]'
}
serve env
tell 4 afresh plan exports
holds no-secret-in-env "afresh.hcl:13 (DB_PASSWORD)" "move it to a secret block"
found=$(evidence)
tell 0 afresh guard waive --control-plane no-secret-in-env exports --evidence "$found" --owner bob@example.org --ticket OPS-18 --days 14 --reason "rotated on the 14th"
tell 0 afresh plan exports
holds "waived by bob@example.org until"
tell 0 afresh guard waivers --control-plane
stop
serve later +15d
tell 4 afresh plan exports
holds "the waiver of bob@example.org expired on"
stop
printf '\nguard_story: as told\n'
