#!/usr/bin/env bash
# Builds every fuzz target with coverage counters and runs each for FUZZ_S seconds (60). What was found lies in fuzz/found.
# No nightly compiler is needed: the counters are an LLVM pass, and no sanitizer is used, since the code is safe Rust.
set -euo pipefail
cd "$(dirname "$0")/../fuzz"

export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
export CARGO_TARGET_DIR=${FUZZ_TARGET_DIR:-$PWD/target}
# A target triple keeps the counters out of build scripts and macros.
triple=$(rustc -vV | sed -n 's/^host: //p')
cargo build --release --locked --target "$triple"
mkdir -p found
failed=0
for source in targets/*.rs; do
  name=$(basename "$source" .rs)
  [ $# -eq 0 ] || [[ " $* " == *" $name "* ]] || continue
  mkdir -p "corpus/$name"
  echo "== $name: ${FUZZ_S:-60} s"
  seeds=()
  [ ! -d "seeds/$name" ] || seeds=("seeds/$name")
  "$CARGO_TARGET_DIR/$triple/release/$name" -max_total_time="${FUZZ_S:-60}" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
    -artifact_prefix="found/$name-" "corpus/$name" "${seeds[@]}" >"found/$name.log" 2>&1 || failed=1
  grep -v -e '^#' -e '# Uses:' "found/$name.log" | tail -n 12 || true
done
exit "$failed"
