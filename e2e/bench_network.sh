#!/usr/bin/env bash
# Measures the network of servers: nftables with up to 1,000 servers, and requests through bridge, rules and address translation against none.
# One JSON object a line; medians, each pair within one run. Needs root and the workspace's sources; each measurement has a host of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
run() { cargo test -q --locked -p host "$@" -- --ignored --nocapture --test-threads 1 | grep '^{'; }
echo "nftables: whole tables, one server more or less, a look" >&2
run --lib a_thousand_servers
echo "requests from a server against requests from its host" >&2
run --test all requests_through_the_network
