#!/usr/bin/env bash
# The HTCondor site. HTCondor's daemons and programs are in no registry that can be used here, so programs of the tests stand in for
# them (crates/compute/tests/support/condor.py); submit descriptions are read by HTCondor's own parser, and constraints are
# evaluated by its own ClassAds, both from the PyPI package `htcondor`. Not run against a real pool.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-htcondor.XXXXXX")
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" -q install htcondor==25.14.1
"$work/venv/bin/python" -c 'import htcondor2, classad2' 2>/dev/null || { echo "FAILED: the package htcondor does not work"; exit 1; }
if (cd "$root" && DTE_TEST_HTCONDOR_PYTHON=$work/venv/bin/python cargo test -p dte-compute --test htcondor pods_on_a_pool -- --nocapture) >"$work/log" 2>&1; then
  echo "ok: pods live and end on a pool whose queue is stood in for, with HTCondor's own parser and ClassAds"
  echo "1 passed, 0 failed, 0 skipped"
else
  tail -n 40 "$work/log"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
