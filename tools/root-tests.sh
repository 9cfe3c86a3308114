#!/usr/bin/env bash
# Runs the tests that need root, in two lanes side by side: `image` computes, the others mostly wait for servers.
# Within a lane one test runs after the other. Prints each lane's output when it has ended; fails if either fails.
set -euo pipefail

lanes=("-p image" "-p store -p host -p server -p afresh")
logs=$(mktemp -d "${TMPDIR:-/tmp}/afresh-lanes.XXXXXX")
trap 'rm -rf "$logs"' EXIT

pids=()
for i in "${!lanes[@]}"; do
  # shellcheck disable=SC2086 # a lane is several words
  cargo test ${lanes[$i]} --locked --no-fail-fast -- --ignored --test-threads 1 >"$logs/$i" 2>&1 &
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
