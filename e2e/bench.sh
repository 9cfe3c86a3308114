#!/usr/bin/env bash
# Measures what we promise to be quick: the simulator, a scan, a rotation of three servers with nothing to wait for, and the image factory.
# One JSON object a line.
set -euo pipefail
afresh=${1:?usage: bench.sh PATH-OF-AFRESH}

echo "simulator: 20,000 seeds" >&2
"$afresh" sim --seeds 20000 --json
echo "guard: a root of 1 GiB" >&2
"$(dirname "$0")/bench_guard.sh" "$afresh"
echo "guard: a gate of 1,000 resources and 30 rules, against a parser of JSON" >&2
cargo run -q --release --locked -p guard --example guard_bench >&2
if [ "$(id -u)" -ne 0 ]; then
  echo "not root: the rotation was left out" >&2
  exit 0
fi
echo "rotation: 3 web servers, no soak, no healthy_for, image at hand" >&2
"$afresh" demo --measure 5 --json | tail -n 1
"$(dirname "$0")/bench_network.sh"
"$(dirname "$0")/bench_image.sh" "$afresh"
