#!/usr/bin/env bash
# rucio-clients (PyPI, pinned, unmodified: the Python library and the `rucio` command) against /rucio.
#
# With DTE_URL and DTE_TOKEN set it uses that engine (scripts/with-engine.sh sets them), else it starts the example server of
# crates/lake. The client is installed into a virtual environment of its own.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-lake.XXXXXX")
server=
finish() {
  if [ -n "$server" ]; then kill -INT "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; fi
  rm -rf "$work"
}
trap finish EXIT

venv=${DTE_CONFORMANCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dte-conformance}/lake
if ! "$venv/bin/python" -c 'import rucio.client' 2>/dev/null; then
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi

if [ -z "${DTE_URL-}" ]; then
  (cd "$root" && cargo build --quiet -p dte-lake --example serve)
  "${CARGO_TARGET_DIR:-$root/target}/debug/examples/serve" "$work/ready" 2>"$work/server.log" &
  server=$!
  for _ in $(seq 200); do
    [ -s "$work/ready" ] && [ "$(wc -l <"$work/ready")" = 2 ] && break
    kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
    sleep 0.05
  done
  DTE_URL=$(sed -n 1p "$work/ready")
  DTE_TOKEN=$(sed -n 2p "$work/ready")
fi

# The client takes the first line of the token file as it is: no line end.
mkdir -p "$work/etc" "$work/storage" "$work/tmp"
printf '%s' "$DTE_TOKEN" >"$work/token"
cat >"$work/etc/rucio.cfg" <<CONFIG
[client]
rucio_host = ${DTE_URL%/}/rucio
auth_host = ${DTE_URL%/}/rucio
auth_type = oidc
auth_token_file_path = $work/token
account = root
request_retries = 3
[trace]
trace_host = ${DTE_URL%/}/rucio
CONFIG
export RUCIO_HOME=$work HOME=$work TMPDIR=$work/tmp PATH=$venv/bin:$PATH
status=0
"$venv/bin/python" "$here/check.py" "$work" || status=$?
exit $status
