#!/usr/bin/env bash
# Runs the tests that need root, in four lanes side by side: two bake, two mostly wait for servers.
# Within a lane one test runs after the other. Prints each lane's output when it has ended, with the time of each test; fails if one fails.
# Words after it select tests by name, in one lane. The whole workspace is built at once: by single crates, dependencies would be rebuilt
# with other features.
set -euo pipefail

# `crate=a,b`: the tests whose names contain a or b; `crate!a,b`: the others.
fleet_bakes=apps::,life::,month::,nothing_new::
lanes=("bake afresh=$fleet_bakes" "store oci attest emit journal proxy afresh=faults::" "host contain" "server afresh!faults::,$fleet_bakes")
[ $# -eq 0 ] || lanes=("bake store oci attest emit journal proxy host contain server afresh")
logs=$(mktemp -d "${TMPDIR:-/tmp}/afresh-lanes.XXXXXX")
trap 'rm -rf "$logs"' EXIT

timed=$(realpath "$(dirname "$0")/timed.py")
begun=$SECONDS
cargo test --workspace --locked --no-run --message-format=json | python3 -c '
import json, os, sys
for line in sys.stdin:
    built = json.loads(line)
    if built["reason"] == "compiler-artifact" and built["executable"] and built["profile"]["test"]:
        folder = os.path.dirname(built["manifest_path"])
        print(os.path.basename(folder), folder, built["executable"])
' >"$logs/built"
echo "root tests: built in $((SECONDS - begun)) s"

# Every test of one lane; the exit is the worst.
lane() {
  local worst=0 part crate select
  for part in $1; do
    crate=${part%%[=!]*}
    select=("${@:2}")
    case $part in
      *=*) IFS=, read -ra select <<<"${part#*=}" ;;
      *!*) IFS=, read -ra select <<<"${part#*!}" && mapfile -t select < <(printf -- '--skip\n%s\n' "${select[@]}") ;;
    esac
    while read -r name folder program; do
      [ "$name" = "$crate" ] || continue
      echo "-- $part: $program"
      (cd "$folder" && CARGO_MANIFEST_DIR=$folder "$program" --ignored --test-threads 1 "${select[@]}" </dev/null 2>&1 | "$timed") || worst=1
    done <"$logs/built"
  done
  return "$worst"
}

pids=()
for i in "${!lanes[@]}"; do
  lane "${lanes[$i]}" "$@" >"$logs/$i" 2>&1 &
  pids+=($!)
done
failed=0
for i in "${!lanes[@]}"; do
  status=0
  wait "${pids[$i]}" || status=$?
  echo "== lane ${lanes[$i]}: exit $status after $SECONDS s"
  cat "$logs/$i"
  [ "$status" -eq 0 ] || failed=1
done
exit "$failed"
