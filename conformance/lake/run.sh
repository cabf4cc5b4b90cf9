#!/usr/bin/env bash
# rucio-clients (PyPI, pinned, unmodified: the Python library and the `rucio` command) against /rucio: what people do with
# it, and then, with three generations of it, every method of the library and every subcommand of the programs. What once
# worked must go on working (walk/works.txt).
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

generations="35.9.2 38.6.4 41.5.1"
cache=${DTE_CONFORMANCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dte-conformance}
for version in $generations; do
  venv=$cache/lake-$version
  if ! "$venv/bin/python" -c 'import rucio.client' 2>/dev/null; then
    mkdir -p "$cache"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "rucio-clients==$version"
  fi
done
venv=$cache/lake-41.5.1

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
export RUCIO_HOME=$work TMPDIR=$work/tmp
programs=$PATH
status=0
HOME=$work PATH=$venv/bin:$programs "$venv/bin/python" "$here/check.py" "$work" || status=$?

tables=()
for version in $generations; do
  mkdir -p "$work/$version"
  bin=$cache/lake-$version/bin
  HOME=$work/$version PATH=$bin:$programs "$bin/python" "$here/walk/walk.py" "$version" "$work/$version" \
    "$work/$version/table" >"$work/$version/log" 2>&1 || { tail -n 20 "$work/$version/log" >&2; status=1; continue; }
  tables+=("$work/$version/table")
done
python3 "$here/walk/compare.py" "$here/walk/works.txt" "${tables[@]}" || status=1
exit $status
