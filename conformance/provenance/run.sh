#!/usr/bin/env bash
# The W3C reference library (PyPI prov 3.2.3) reads what the engine states, and what /yprov gives back.
#
# Documents of the builder are checked always; with DTE_URL and DTE_TOKEN set (scripts/with-engine.sh sets them) also uploads,
# downloads and subgraphs of that engine.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-prov.XXXXXX")
trap 'rm -rf "$work"' EXIT

venv=${DTE_PROV_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dte/prov-3.2.3}
if ! "$venv/bin/python" -c 'import prov.model' 2>/dev/null; then
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q prov==3.2.3; } >"$work/install.log" 2>&1; then
    tail -n 5 "$work/install.log" >&2
    rm -rf "$venv"
    echo "SKIPPED: prov==3.2.3 cannot be installed (needs a package index)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
  fi
fi

runs=40
make() { (cd "$root" && cargo run --quiet -p dte-provenance --example prov-document -- "$runs" "$@"); }
make >"$work/document.json" && make provn >"$work/document.provn" || exit 1
"$venv/bin/python" "$here/check.py" "$work/document.json" "$work/document.provn" "$runs" ${DTE_URL:+"$DTE_URL" "$DTE_TOKEN"}
