#!/usr/bin/env bash
# Formatting, lints and documentation. Says so when the toolchain lacks a part.
set -uo pipefail
cd "$(dirname "$0")/.."
passed=0 failed=0 skipped=0
step() { # NAME COMMAND…
  local name=$1; shift
  if "$@"; then passed=$((passed + 1)); else echo "FAILED: $name" >&2; failed=$((failed + 1)); fi
}
if cargo fmt --version >/dev/null 2>&1; then step "cargo fmt --check" cargo fmt --all --check
else echo "SKIPPED: cargo fmt is not in this toolchain"; skipped=$((skipped + 1)); fi
if cargo clippy --version >/dev/null 2>&1; then step "cargo clippy" cargo clippy --quiet --workspace --all-targets -- -D warnings
else echo "SKIPPED: cargo clippy is not in this toolchain"; skipped=$((skipped + 1)); fi
RUSTDOCFLAGS="-D warnings" step "cargo doc" cargo doc --quiet --workspace --no-deps
echo "check: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
