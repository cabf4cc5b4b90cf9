#!/usr/bin/env bash
# Runs a command against an engine of its own: scripts/with-engine.sh COMMAND…
# The command finds DTE_URL, DTE_TOKEN (of the administrator), DTE_LOGIN (a link to the page), DTE_BIN and DTE_DATA_DIR.
# DTE_ENGINE_COMMAND is what runs (default: up). Only what was started here is stopped.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
export DTE_BIN=${DTE_BIN:-$target/debug/dte}
[ -x "$DTE_BIN" ] || (cd "$root" && cargo build --quiet -p dte -p enso-model)
export DTE_DATA_DIR
DTE_DATA_DIR=$(mktemp -d "${TMPDIR:-/tmp}/dte-engine.XXXXXX")
chmod 711 "$DTE_DATA_DIR"
engine=
finish() {
  status=$?
  if [ -n "$engine" ]; then kill "$engine" 2>/dev/null || true; wait "$engine" 2>/dev/null || true; fi
  if [ $status != 0 ] && [ -f "$DTE_DATA_DIR/engine.log" ]; then tail -n 30 "$DTE_DATA_DIR/engine.log" >&2; fi
  rm -rf "$DTE_DATA_DIR"
  exit $status
}
trap finish EXIT
# shellcheck disable=SC2086
"$DTE_BIN" ${DTE_ENGINE_COMMAND-up} --data-dir "$DTE_DATA_DIR/data" --listen 127.0.0.1:0 --ready-file "$DTE_DATA_DIR/ready" ${DTE_ENGINE_FLAGS-} \
  2>"$DTE_DATA_DIR/engine.log" >&2 &
engine=$!
for _ in $(seq 600); do
  [ -s "$DTE_DATA_DIR/ready" ] && break
  kill -0 "$engine" 2>/dev/null || { echo "the engine did not start" >&2; exit 1; }
  sleep 0.05
done
DTE_URL="http://$(cat "$DTE_DATA_DIR/ready")"
case $(cat "$DTE_DATA_DIR/ready") in http*) DTE_URL=$(cat "$DTE_DATA_DIR/ready") ;; esac
DTE_TOKEN=$("$DTE_BIN" token --data-dir "$DTE_DATA_DIR/data")
DTE_LOGIN=$("$DTE_BIN" ui --data-dir "$DTE_DATA_DIR/data")
export DTE_URL DTE_TOKEN DTE_LOGIN
"$@"
