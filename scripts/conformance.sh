#!/usr/bin/env bash
# Real clients against a running engine: scripts/conformance.sh AREA…
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
for area in "$@"; do
  script=conformance/$area/run.sh
  if [ ! -x "$script" ]; then
    echo "there is no area '$area'; there are: $(ls conformance/*/run.sh | xargs -n1 dirname | xargs -n1 basename | tr '\n' ' ')" >&2
    exit 2
  fi
  echo "== conformance: $area"
  # An area may want more than an empty engine.
  command=up
  [ ! -f "conformance/$area/engine" ] || command=$(cat "conformance/$area/engine")
  DTE_ENGINE_COMMAND=$command scripts/with-engine.sh "$script" || { echo "FAILED: conformance $area" >&2; status=1; }
done
exit $status
