#!/usr/bin/env bash
# The FTS3 command line and Python library (PyPI fts3 3.14.2), unmodified, against /fts; then transfers between other storages, and
# object stores as ends of transfers and of `dte fs`.
#
# With DTE_URL and DTE_TOKEN set it uses that engine (scripts/with-engine.sh sets them), else it starts the example server of
# crates/transfer. The client does not read BEARER_TOKEN: a token is given with --access-token (or --fts-access-token together
# with tokens for source and destination). Plain http works; for https set X509_CERT_DIR to a folder of hashed CA certificates,
# or give --insecure.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-fts3.XXXXXX")
server=
finish() {
  if [ -n "$server" ]; then kill -INT "$server" 2>/dev/null; wait "$server" 2>/dev/null; fi
  rm -rf "$work"
}
trap finish EXIT

# The client, kept between runs. M2Crypto is compiled, which needs a C compiler, swig, and the headers of Python and OpenSSL.
venv=${DTE_FTS3_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dte/fts3-3.14.2}
if [ ! -x "$venv/bin/fts-rest-whoami" ]; then
  if ! dpkg -s gcc swig python3-dev python3-venv libssl-dev >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "installing Debian's gcc, swig, python3-dev, python3-venv and libssl-dev" >&2
    install() { DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q gcc swig python3-dev python3-venv libssl-dev; }
    { install || { apt-get update -q && install; }; } >"$work/apt.log" 2>&1 || tail -n 3 "$work/apt.log" >&2
  fi
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q fts3==3.14.2; } >"$work/install.log" 2>&1; then
    tail -n 5 "$work/install.log" >&2
    rm -rf "$venv"
    echo "SKIPPED: fts3==3.14.2 cannot be installed (needs gcc, swig, python3-dev, libssl-dev and a package index)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
  fi
fi
PATH="$venv/bin:$PATH"

if [ -z "${DTE_URL-}" ]; then
  (cd "$root" && cargo build --quiet -p dte-transfer --example serve) || exit 1
  "${CARGO_TARGET_DIR:-$root/target}/debug/examples/serve" "$work/ready" 2>"$work/server.log" &
  server=$!
  for _ in $(seq 200); do
    [ -s "$work/ready" ] && break
    kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
    sleep 0.05
  done
  DTE_URL=$(sed -n 1p "$work/ready")
  DTE_TOKEN=$(sed -n 2p "$work/ready")
fi
fts="$DTE_URL/fts"
area="$DTE_URL/dav/local/fts3-$$"
me=(-s "$fts" --access-token "$DTE_TOKEN")

passed=0 failed=0
# check NAME TEXT COMMAND…: the command succeeds and its output contains TEXT.
check() {
  local name=$1 text=$2 output status
  shift 2
  output=$("$@" 2>&1)
  status=$?
  if [ $status = 0 ] && grep -qF -- "$text" <<<"$output"; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "FAILED: $name (status $status, wanted '$text')"
    sed 's/^/    /' <<<"$output" | tail -n 15
  fi
}
# refused NAME TEXT COMMAND…: the command fails and says TEXT.
refused() {
  local name=$1 text=$2
  shift 2
  check "$name" "$text" bash -c 'output=$("$@" 2>&1); status=$?; echo "$output"; [ $status != 0 ]' refused "$@"
}
put() { curl -sf -X PUT -H "Authorization: Bearer $DTE_TOKEN" --data-binary @"$1" "$area/$2"; }
get() { curl -sf -H "Authorization: Bearer $DTE_TOKEN" "$area/$1"; }
# submit ARGUMENTS…: prints the identifier of the job.
submit() { fts-rest-transfer-submit "${me[@]}" "$@" 2>&1 | sed -n 's/^.*Job id: //p'; }

head -c 300000 /dev/urandom >"$work/data"
sum=$(python3 -c 'import sys, zlib; print("%08x" % zlib.adler32(open(sys.argv[1], "rb").read()))' "$work/data")
put "$work/data" source || { echo "the storage takes no file" >&2; exit 1; }

check "whoami" "User DN: admin" fts-rest-whoami "${me[@]}"
check "whoami as JSON" '"method": "oauth2"' fts-rest-whoami "${me[@]}" -j
refused "whoami with a bad token" "list index out of range" fts-rest-whoami -s "$fts" --access-token nonsense
check "server status" "127.0.0.1" bash -c 'fts-rest-server-status "$@" && echo 127.0.0.1' status "${me[@]}"

check "submit and wait" "Job finished with state FINISHED" \
  fts-rest-transfer-submit "${me[@]}" -b -i 1 -C both --job-metadata '{"run": 1}' "$area/source" "$area/copy" "ADLER32:$sum"
check "the bytes" "same" bash -c 'cmp "$1" "$2" && echo same' same "$work/data" <(get copy)
check "existing destination" "Job finished with state FAILED" \
  fts-rest-transfer-submit "${me[@]}" -b -i 1 "$area/source" "$area/copy"
check "overwrite" "Job finished with state FINISHED" \
  fts-rest-transfer-submit "${me[@]}" -b -i 1 -o "$area/source" "$area/copy"
check "wrong checksum" "Job finished with state FAILED" \
  fts-rest-transfer-submit "${me[@]}" -b -i 1 -C both "$area/source" "$area/wrong" ADLER32:00000001
check "nothing was left there" "nothing" bash -c 'curl -sf -H "Authorization: Bearer $1" "$2" || echo nothing' x "$DTE_TOKEN" "$area/wrong"
check "no source" "One or more files failed" \
  fts-rest-transfer-submit "${me[@]}" -b -i 1 "$area/none" "$area/nowhere"
refused "local file" "Can not transfer local files (file:///etc/passwd)" \
  fts-rest-transfer-submit "${me[@]}" file:///etc/passwd "$area/x"
refused "relative URL" "Missing scheme (nonsense)" fts-rest-transfer-submit "${me[@]}" nonsense "$area/x"
refused "bad token" "token" fts-rest-transfer-submit -s "$fts" --access-token nonsense "$area/source" "$area/x"
check "dry run" '"verify_checksum": "n"' fts-rest-transfer-submit "${me[@]}" --dry-run "$area/source" "$area/x"

python3 - "$area" "$DTE_TOKEN" "$sum" >"$work/bulk.json" <<'PYTHON'
import json, sys
area, token, checksum = sys.argv[1:]
file = lambda n: {"sources": [f"{area}/source"], "destinations": [f"{area}/bulk/{n}"], "source_tokens": [token],
    "destination_tokens": [token], "checksum": f"ADLER32:{checksum}", "filesize": 300000, "metadata": {"n": n}}
print(json.dumps({"files": [file(n) for n in range(25)], "params": {"verify_checksum": "both", "priority": 4}}))
PYTHON
check "bulk" "Job finished with state FINISHED" fts-rest-transfer-submit "${me[@]}" -b -i 1 -C both -f "$work/bulk.json"
check "bulk bytes" "same" bash -c 'cmp "$1" "$2" && echo same' same "$work/data" <(get bulk/24)
check "separate tokens" "Job finished with state FINISHED" fts-rest-transfer-submit -s "$fts" --fts-access-token "$DTE_TOKEN" \
  --src-access-token "$DTE_TOKEN" --dst-access-token "$DTE_TOKEN" -b -i 1 "$area/source" "$area/tokens"

job=$(submit -C both --retry 2 -p 5 "$area/source" "$area/status")
sleep 1
check "status" "Status: FINISHED" fts-rest-transfer-status "${me[@]}" "$job"
check "status: priority" "Priority: 5" fts-rest-transfer-status "${me[@]}" "$job"
check "status as JSON: files" '"file_state": "FINISHED"' fts-rest-transfer-status "${me[@]}" -j "$job"
check "status as JSON: nothing deleted" '"dm": []' fts-rest-transfer-status "${me[@]}" -j "$job"
refused "status of no job" "00000000-0000-0000-0000-000000000000" fts-rest-transfer-status "${me[@]}" 00000000-0000-0000-0000-000000000000

# A source that cannot be reached is tried again for a while.
job=$(submit --retry 9 https://no-such-host.invalid/x "$area/never")
check "list" "$job" fts-rest-transfer-list "${me[@]}"
check "list by storage" "$job" fts-rest-transfer-list "${me[@]}" --source https://no-such-host.invalid
check "list as JSON" "$job" fts-rest-transfer-list "${me[@]}" -u admin -j
check "cancel" "CANCELED" fts-rest-transfer-cancel "${me[@]}" "$job"
check "cancel again" "CANCELED" fts-rest-transfer-cancel "${me[@]}" "$job"
check "status of a cancelled job" "Reason: Job canceled by the user" fts-rest-transfer-status "${me[@]}" "$job"

check "ban a storage" "No jobs affected" fts-rest-ban "${me[@]}" --storage https://no-such-host.invalid
refused "nothing is moved from there" "https://no-such-host.invalid is banned" fts-rest-transfer-submit "${me[@]}" https://no-such-host.invalid/x "$area/x"
check "lift that" "" fts-rest-ban "${me[@]}" --storage https://no-such-host.invalid --unban
check "ban a submitter" "No jobs affected" fts-rest-ban "${me[@]}" --user somebody
check "lift that" "" fts-rest-ban "${me[@]}" --user somebody --unban

results=$(python3 "$here/library.py" "$fts" "$DTE_TOKEN" "$area" "$sum" 2>&1)
counts=$(tail -n 1 <<<"$results")
grep -v '^COUNTS ' <<<"$results"
if [[ $counts =~ ^COUNTS\ ([0-9]+)\ ([0-9]+)$ ]]; then
  passed=$((passed + BASH_REMATCH[1]))
  failed=$((failed + BASH_REMATCH[2]))
else
  failed=$((failed + 1))
  echo "FAILED: the library's checks did not come to their end"
fi
skipped=0
# also PROGRAM WHAT: counts the checks of another program.
also() {
  local results counts
  results=$("$here/$1" 2>&1)
  counts=$(tail -n 1 <<<"$results")
  sed '$d' <<<"$results"
  if [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    skipped=$((skipped + BASH_REMATCH[3]))
  else
    failed=$((failed + 1))
    echo "FAILED: $2 did not come to their end"
  fi
}
also third-party.sh "the transfers between other storages"
also objects.sh "the checks with an object store"
note=; [ "$skipped" = 0 ] || note=", $skipped skipped"
echo "$passed passed, $failed failed$note"
[ $failed = 0 ]
