#!/usr/bin/env bash
# Everything that must hold: unit and API tests on SQLite and PostgreSQL, the demo under kill -9, one smoke run of each real
# client. Sets up what it needs and says so. Prints the runners' closing lines at the end.
set -uo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
logs=$CARGO_TARGET_DIR/test-logs
mkdir -p "$logs"
started=$SECONDS
pg=
cleanup() { [ -z "$pg" ] || scripts/postgres.sh stop "$pg"; }
trap cleanup EXIT

if [ -z "${DTE_TEST_POSTGRES-}" ]; then
  pg=$(mktemp -d "${TMPDIR:-/tmp}/dte-postgres.XXXXXX") && chmod 755 "$pg"
  if url=$(scripts/postgres.sh start "$pg"); then
    export DTE_TEST_POSTGRES=$url
    echo "PostgreSQL for this run: $url"
  else
    echo "SKIPPED: tests on PostgreSQL, because it could not be installed or started"
  fi
fi
[ "${DTE_TEST_SYSTEM-}" = 1 ] || echo "SKIPPED: tests that change the system (set DTE_TEST_SYSTEM=1 to run them)"

status=0
echo "building"
cargo build --quiet --workspace || exit 1
echo "unit, API and fault tests"
cargo test --quiet --workspace --no-fail-fast >"$logs/cargo.log" 2>&1 || status=1
[ $status = 0 ] || grep -vE '^(running|\.+$|test result: ok)' "$logs/cargo.log" | tail -n 120

smoke=${DTE_SMOKE_AREAS-$(for script in conformance/*/run.sh; do basename "$(dirname "$script")"; done)}
for area in $smoke; do
  if DTE_SMOKE=1 scripts/conformance.sh "$area" >"$logs/conformance-$area.log" 2>&1; then :; else
    status=1
    tail -n 40 "$logs/conformance-$area.log"
  fi
done

echo
echo "== closing lines ($((SECONDS - started)) s)"
awk '/^test result:/ { passed += $4; failed += $6; ignored += $8 } END { printf "cargo: %d passed, %d failed, %d skipped\n", passed, failed, ignored }' "$logs/cargo.log"
grep -h '^test result: FAILED' "$logs/cargo.log" || true
for area in $smoke; do printf '%s: ' "$area"; grep -hE '^[0-9]+ passed, [0-9]+ failed' "$logs/conformance-$area.log" | tail -n 1 || echo "no result"; done
grep -h 'SKIPPED' "$logs"/*.log | sort | uniq -c || true
exit $status
