#!/usr/bin/env bash
# Transfers between storages that are not this engine's: two edges of other engines, which trust this one's issuer, and XRootD 5.5
# (Debian). They copy by themselves (pull, else push); where neither can, the bytes go through the engine. Ordered with the FTS3
# command line; every copy is checked at its destination.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
summary() { echo "$1 passed, $2 failed, $3 skipped"; }
venv=${DTE_FTS3_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dte/fts3-3.14.2}

if [ "${DTE_NETWORK_OF_OUR_OWN-}" != 1 ]; then
  "$root/conformance/edge/xrootd.sh" || { summary 0 0 1; exit 0; }
  [ -x "$venv/bin/fts-rest-whoami" ] || { echo "SKIPPED: the FTS3 command line is not there"; summary 0 0 1; exit 0; }
  (cd "$root" && cargo build --quiet -p dte-edge --example serve-edge && cargo build --quiet -p dte-transfer --example serve) || exit 1
  DTE_NETWORK_OF_OUR_OWN=1 exec unshare -n "$0"
fi

ip link set lo up
PATH="$venv/bin:$PATH"
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-third-party.XXXXXX")
chmod 755 "$work"
pids=()
finish() {
  for pid in "${pids[@]}"; do kill -INT "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null; wait "$pid" 2>/dev/null; done
  rm -rf "$work"
}
trap finish EXIT
passed=0 failed=0
bad() { failed=$((failed + 1)); echo "FAILED: $1"; [ ! -s "$work/out" ] || tail -n 12 "$work/out" | cut -c 1-300 | sed "s/^/    /"; }
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then passed=$((passed + 1)); else bad "$name"; fi; }
ready() { for _ in $(seq 200); do [ -s "$1" ] && return; sleep 0.05; done; return 1; }

# shellcheck source=../edge/xrootd.sh
source "$root/conformance/edge/xrootd.sh"
start_xrootd
# A server that takes and gives files and copies nothing by itself.
cat >"$work/plain.py" <<'PYTHON'
import http.server, os, sys
class Plain(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def done(self, code):
        self.send_response(code); self.send_header("Content-Length", "0"); self.end_headers()
    def do_PUT(self):
        if "100-continue" in self.headers.get("Expect", ""): self.send_response_only(100); self.end_headers()
        with open(self.translate_path(self.path), "wb") as file: file.write(self.rfile.read(int(self.headers["Content-Length"])))
        self.done(201)
    def do_MOVE(self):
        os.rename(self.translate_path(self.path), self.translate_path("/" + self.headers["Destination"].split("/", 3)[3])); self.done(201)
    def do_MKCOL(self): self.done(405)
    def do_DELETE(self):
        os.unlink(self.translate_path(self.path)); self.done(204)
os.chdir(sys.argv[1])
http.server.ThreadingHTTPServer(("127.0.0.1", 18090), Plain).serve_forever()
PYTHON
mkdir "$work/plain"
python3 "$work/plain.py" "$work/plain" 2>"$work/plain.log" &
pids+=($!)
allow='[http.outbound]
allow = ["127.0.0.0/8", "::1"]
'
target="${CARGO_TARGET_DIR:-$root/target}/debug/examples"
"$target/serve" "$work/fts" "$allow" 2>"$work/fts.log" &
pids+=($!)
ready "$work/fts" || exit 1
read -r engine token < <(tr '\n' ' ' <"$work/fts")
trusting="$allow
[edge]
fsync = false
[edge.third_party]
marker_interval = '1s'
[[identity.trusted_issuers]]
issuer = '$engine/oidc'
"
for edge in one two; do
  "$target/serve-edge" "$work/$edge" "$trusting" 2>"$work/$edge.log" &
  pids+=($!)
done
ready "$work/one" && ready "$work/two" || { tail -n 5 "$work/one.log"; exit 1; }
for _ in $(seq 200); do curl -s -o "$work/probe" "$peer/" && break; sleep 0.05; done
read -r one token1 < <(tr '\n' ' ' <"$work/one")
read -r two token2 < <(tr '\n' ' ' <"$work/two")
area1=$one/dav/local/t area2=$two/dav/local/t plain=http://127.0.0.1:18090
head -c 30000017 /dev/urandom >"$work/data"
sum=$(python3 -c 'import sys, zlib; print("%08x" % zlib.adler32(open(sys.argv[1], "rb").read()))' "$work/data")
curl -sf -H "Authorization: Bearer $token1" -T "$work/data" "$area1/data" || exit 1
curl -sf -T "$work/data" "$peer/data" >"$work/probe" || exit 1
cp "$work/data" "$work/plain/data"

token_of() { case $1 in "$one"*) echo "$token1" ;; "$two"*) echo "$token2" ;; *) echo none ;; esac; }
same() { curl -sf -H "Authorization: Bearer $(token_of "$1")" "$1" | cmp - "$work/data"; }
gone() { [ "$(curl -s -o "$work/probe" -w '%{http_code}' -H "Authorization: Bearer $(token_of "$1")" "$1")" = 404 ]; }
moves() { # SOURCE DESTINATION ARGUMENTS…
  local output
  output=$(fts-rest-transfer-submit -s "$engine/fts" --access-token "$token" -b -i 1 "${@:3}" "$1" "$2" "ADLER32:$sum" 2>&1)
  echo "$output"
  # Why it failed, for the report.
  local job; job=$(sed -n 's/^.*Job id: //p' <<<"$output")
  curl -s -H "Authorization: Bearer $token" "$engine/fts/jobs/$job/files" | grep -o '"reason":[^}]*"recoverable"'
  grep "Job finished with state FINISHED" <<<"$output" && same "$2"
}
# why TEXT SOURCE DESTINATION: the transfer fails, says TEXT, and nothing is there.
why() { local text=$1; shift; ! moves "$@" --retry -1 >"$work/said" && cat "$work/said" && grep -F -- "$text" "$work/said" && gone "$2"; }
# by_itself COMMAND…: what it moves does not pass through the engine.
by_itself() { local before; before=$(through); "$@" && [ "$(through)" = "$before" ]; }
through() { curl -s "$engine/metrics" | sed -n 's/^dte_transfer_streamed_bytes_total //p'; }

check "an edge pulls from an edge" by_itself moves "$area1/data" "$area2/e-e" -C both
check "an edge pulls from XRootD" by_itself moves "$peer/data" "$area1/x-e" -C both
check "XRootD pulls from an edge" by_itself moves "$area1/data" "$peer/e-x" -C both
check "XRootD pulls from itself" by_itself moves "$peer/data" "$peer/x-x" -C both
check "XRootD pulls from a plain server" by_itself moves "$plain/data" "$peer/p-x" -C both
check "an edge pulls from a plain server" by_itself moves "$plain/data" "$area1/p-e" -C both
check "an edge pushes to a plain server" by_itself moves "$area1/data" "$plain/e-p" -C both
check "XRootD pushes to a plain server" by_itself moves "$peer/data" "$plain/x-p" -C both
check "between plain servers it goes through the engine" moves "$plain/data" "$plain/p-p" -C both
check "overwrite" by_itself moves "$area1/data" "$area2/e-e" -o
check "an existing destination" bash -c "fts-rest-transfer-submit -s $engine/fts --access-token $token -b -i 1 $area1/data $area2/e-e | grep FAILED"
say() { # TPC_SUPPORT: what an administrator says of the storages of this machine.
  curl -sf -o "$work/probe" -H "Authorization: Bearer $token" -H "Content-Type: application/json" \
    -d "{\"http://127.0.0.1\": {\"se_info\": {\"tpc_support\": \"$1\"}}}" "$engine/fts/config/se"
}
streamed() { local before; before=$(through); "$@" && [ "$(through)" != "$before" ]; }
check "storages that are said to make no copies" say NONE
check "the bytes go through the engine" streamed moves "$area1/data" "$area2/e-e-none" -C both
check "storages that are said to push" say PUSH
check "the source pushes" by_itself moves "$area1/data" "$peer/e-x-push" -C both
check "storages that are said to do all" say FULL

# Half of a file comes, then little by little.
cat >"$work/slow.py" <<'PYTHON'
import http.server, time
class Slow(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def head(self):
        self.send_response(200); self.send_header("Content-Length", "30000017"); self.end_headers()
    def do_HEAD(self): self.head()
    def do_GET(self):
        self.head()
        try:
            self.wfile.write(bytes(15000000))
            for _ in range(100): time.sleep(0.2); self.wfile.write(bytes(1000))
        except OSError: pass
http.server.ThreadingHTTPServer(("127.0.0.1", 18091), Slow).serve_forever()
PYTHON
python3 "$work/slow.py" 2>"$work/slow.log" &
pids+=($!)
cancelled() { # DESTINATION: a copy that is under way is cancelled, and nothing of it stays.
  local job
  job=$(fts-rest-transfer-submit -s "$engine/fts" --access-token "$token" http://127.0.0.1:18091/data "$1" 2>&1 | sed -n 's/^.*Job id: //p')
  for _ in $(seq 100); do
    curl -s -H "Authorization: Bearer $token" "$engine/fts/jobs/$job/files" | grep '"file_state":"ACTIVE"' && break
    sleep 0.1
  done
  sleep 2
  fts-rest-transfer-cancel -s "$engine/fts" --access-token "$token" "$job" | grep CANCELED || return 1
  for _ in $(seq 120); do gone "$1" && [ -z "$(find "$work/xrootd/files" -name "${1##*/}")" ] && sleep 7 && gone "$1" && return; sleep 0.1; done
  return 1
}
check "cancelled while an edge pulls" cancelled "$area1/cancelled"
check "cancelled while XRootD pulls" cancelled "$peer/cancelled"
check "no source" why "SOURCE [2]" "$peer/none" "$area1/none"
sum=00000001
check "a wrong checksum" why "CHECKSUM MISMATCH" "$area1/data" "$area2/wrong" -C both
summary $passed $failed 0
[ $failed = 0 ]
