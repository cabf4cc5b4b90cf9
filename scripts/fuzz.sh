#!/usr/bin/env bash
# Coverage-guided fuzzing of each parser that meets the network: scripts/fuzz.sh [SECONDS per target] [TARGET…]
# libFuzzer on stable Rust: the instrumentation is LLVM's own pass, so cargo-fuzz and a nightly toolchain are not needed (who has them may
# say `cargo fuzz run TARGET` in the folder). What was found interesting is kept in the target folder and begun with next time.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
[ $# = 0 ] || shift
root=$PWD
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
mapfile -t all < <(sed -n 's/^name = "\(.*\)"$/\1/p' fuzz/Cargo.toml | tail -n +2)
targets=("${@:-${all[@]}}")
coverage=level=4,inline-8bit-counters,pc-table,trace-compares
flags="--cfg fuzzing -Cpasses=sancov-module"
for part in ${coverage//,/ }; do flags="$flags -Cllvm-args=-sanitizer-coverage-$part"; done

started=$SECONDS
# With a target named, the flags hold for it alone: build scripts and macros stay as they are.
RUSTFLAGS=$flags cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$host"
echo "built in $((SECONDS - started)) s"

# Engines of targets have temporary folders.
TMPDIR=$(mktemp -d "${TMPDIR:-/tmp}/dte-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT
found=$CARGO_TARGET_DIR/found
# 0: another beginning on each run, to look for more. CI names one, so that a change is judged by what it changed.
seed=${FUZZ_SEED:-0}
status=0 passed=0 failed=0
for target in "${targets[@]}"; do
  mkdir -p "$CARGO_TARGET_DIR/corpus/$target" "$found"
  log=$CARGO_TARGET_DIR/$target.log
  if "$CARGO_TARGET_DIR/$host/release/$target" -max_total_time="$seconds" -seed="$seed" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
    -dict=fuzz/words.dict -print_final_stats=1 -artifact_prefix="$found/$target-" \
    "$CARGO_TARGET_DIR/corpus/$target" "fuzz/corpus/$target" >"$log" 2>&1; then
    passed=$((passed + 1))
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    printf '%-12s %10s executions, %s edges\n' "$target" "$runs" "$edges"
  else
    failed=$((failed + 1)) status=1
    echo "$target FAILED:"
    grep -vE '^#[0-9]|^INFO|^stat::' "$log" | tail -n 30
    echo "again: $CARGO_TARGET_DIR/$host/release/$target FILE (one of $found/$target-*)"
  fi
done
echo "fuzz: $passed passed, $failed failed"
exit $status
