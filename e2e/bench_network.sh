#!/usr/bin/env bash
# Measures the network of servers: nftables with up to 1,000 servers, launches, and requests through bridge, rules and address translation
# against none. One JSON object a line; medians, each comparison within one run. Needs root and the workspace's sources; each measurement has
# a host of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
# The whole workspace: by single crates, dependencies would be rebuilt with other features.
run() { cargo test -q --locked --workspace "$@" -- --ignored --nocapture --test-threads 1 | grep -o '{.*}'; }
echo "nftables: whole tables, one server more or less, a look" >&2
run --lib a_thousand_servers
echo "launches: eight servers at a time, by what they may reach" >&2
run --test all launches_with_each_network
echo "requests from a server against requests from its host" >&2
run --test all requests_through_the_network
