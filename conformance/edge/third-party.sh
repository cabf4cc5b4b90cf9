#!/usr/bin/env bash
# Third-party copies between two edges of ours and XRootD 5.5 (Debian), ordered by curl, davix and gfal2, each end being the active
# party once. Every copy is checked at both ends.
#
# XRootD listens on all addresses, so everything runs in a network namespace of its own, which takes root.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
summary() { echo "$1 passed, $2 failed, $3 skipped"; }

if [ "${DTE_NETWORK_OF_OUR_OWN-}" != 1 ]; then
  "$here/xrootd.sh" || { summary 0 0 1; exit 0; }
  (cd "$root" && cargo build --quiet -p dte-edge --example serve-edge) || exit 1
  DTE_NETWORK_OF_OUR_OWN=1 exec unshare -n "$0"
fi

ip link set lo up
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
bad() { failed=$((failed + 1)); echo "FAILED: $1"; [ ! -s "$work/out" ] || tail -n 8 "$work/out" | cut -c 1-300 | sed "s/^/    /"; }
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then passed=$((passed + 1)); else bad "$name"; fi; }

source "$here/xrootd.sh"
start_xrootd
settings='[http.outbound]
allow = ["127.0.0.0/8", "::1"]
[edge]
fsync = false
[edge.third_party]
marker_interval = "1s"
'
for edge in one two; do
  SSL_CERT_FILE="$work/ca.pem" "${CARGO_TARGET_DIR:-$root/target}/debug/examples/serve-edge" "$work/$edge" "$settings" 2>"$work/$edge.log" &
  pids+=($!)
done
for _ in $(seq 200); do
  [ -s "$work/one" ] && [ -s "$work/two" ] && curl -s -o "$work/probe" http://127.0.0.1:18081/ && break
  sleep 0.05
done
read -r one token1 < <(tr '\n' ' ' <"$work/one")
read -r two token2 < <(tr '\n' ' ' <"$work/two")
export CURL_CA_BUNDLE="$work/ca.pem"
area1=$one/dav/home/admin/tpc area2=$two/dav/home/admin/tpc

head -c 30000017 /dev/urandom >"$work/data"
sum=$(python3 -c 'import sys, zlib; print("%08x" % zlib.adler32(open(sys.argv[1], "rb").read()))' "$work/data")
curl -sf -H "Authorization: Bearer $token1" -T "$work/data" "$area1/data" || { echo "the edge takes no file" >&2; exit 1; }
curl -sf -H "Authorization: Bearer $token2" -T "$work/data" "$area2/data" || { echo "the edge takes no file" >&2; exit 1; }
curl -sf -T "$work/data" "$peer/data" >"$work/probe" || { echo "XRootD takes no file" >&2; tail "$work/xrootd/admin/log" >&2; exit 1; }

token_of() { case $1 in "$one"*) echo "$token1" ;; "$two"*) echo "$token2" ;; *) echo none ;; esac; }
same() { curl -sf -H "Authorization: Bearer $(token_of "$1")" "$1" | cmp - "$work/data"; }
summed() { curl -sfI -H "Authorization: Bearer $(token_of "$1")" -H 'Want-Digest: adler32' "$1" | tr -d '\r' | grep -i "^digest: adler32=$sum$"; }
gone() { [ "$(curl -s -o /dev/null -w '%{http_code}' -H "Authorization: Bearer $(token_of "$1")" "$1")" = 404 ]; }
# order ACTIVE_URL HEADER…: a raw COPY whose answer is kept.
order() {
  local url=$1; shift
  local headers=()
  for header in "$@"; do headers+=(-H "$header"); done
  curl -s -X COPY -H "Authorization: Bearer $(token_of "$url")" "${headers[@]}" -w '\n%{http_code}\n' "$url" >"$work/answer"
  cat "$work/answer"
}
succeeds() { order "$@" && grep '^success: ' "$work/answer" && grep 'Stripe Bytes Transferred: 30000017' "$work/answer"; }
answers() { local code=$1; shift; order "$@" && [ "$(tail -n 1 "$work/answer")" = "$code" ]; }
tells() { local text=$1; shift; order "$@" && ! grep '^success' "$work/answer" && grep -F -- "$text" "$work/answer"; }

echo "-- curl"
pull() { succeeds "$area1/pulled-$1" "Source: $2" "${@:4}" && same "$area1/pulled-$1" && summed "$area1/pulled-$1"; }
check "pull from XRootD" pull peer "$peer/data" -
check "pull from XRootD, checksum required" pull required "$peer/data" - "RequireChecksumVerification: true"
check "pull from XRootD over TLS" pull tls "https://localhost:18081/data" -
check "pull from another edge" pull edge "$area2/data" - "TransferHeaderAuthorization: Bearer $token2" "X-Number-Of-Streams: 4"
check "pull with nobody's token" tells "status code 401" "$area1/refused" "Source: $area2/data"
check "and nothing is there" gone "$area1/refused"
check "pull of nothing" tells "status code 404" "$area1/none" "Source: $peer/none"
check "pull from nobody" tells "Couldn't connect" "$area1/none" "Source: http://127.0.0.1:1/x"
check "pull onto a file that must stay" answers 412 "$area1/data" "Source: $peer/data" "Overwrite: F"
check "both directions at once" answers 400 "$area1/x" "Source: $peer/data" "Destination: $peer/x"
check "a credential that we do not know" answers 400 "$area1/x" "Source: $peer/data" "Credential: gridsite"
pushed() { succeeds "$area1/data" "Destination: $1" "${@:2}" && same "$1" && summed "$1"; }
check "push to XRootD" pushed "$peer/new/pushed" "RequireChecksumVerification: true"
check "push to XRootD again" pushed "$peer/new/pushed"
check "push to XRootD over TLS" pushed "https://localhost:18081/pushed-tls" --
check "push to another edge" pushed "$area2/new/pushed" "TransferHeaderAuthorization: Bearer $token2"
check "push with nobody's token" tells "status code 401" "$area1/data" "Destination: $area2/refused"
check "push onto a file that must stay" tells "The destination file exists" "$area1/data" "Destination: $peer/new/pushed" "Overwrite: F"
check "push of nothing" answers 404 "$area1/none" "Destination: $peer/none"
check "XRootD pulls from the edge" bash -c "curl -s -X COPY -H 'Source: $area1/data' -H 'TransferHeaderAuthorization: Bearer $token1' $peer/x-pulled | grep success"
check "with the same bytes" same "$peer/x-pulled"
check "XRootD pulls in several streams" bash -c "curl -s -X COPY -H 'X-Number-Of-Streams: 3' -H 'Source: $area1/data' -H 'TransferHeaderAuthorization: Bearer $token1' $peer/x-streams | grep success"
check "with the same bytes" same "$peer/x-streams"
check "XRootD pushes to the edge" bash -c "curl -s -X COPY -H 'Destination: $area1/x-pushed' -H 'TransferHeaderAuthorization: Bearer $token1' $peer/data | grep success"
check "with the same bytes" same "$area1/x-pushed"

echo "-- davix"
dav() { davix-cp -H "Authorization: Bearer $token1" -H "Credential: none" "$@"; }
check "davix-cp pulls from XRootD" dav --copy-mode pull "$peer/data" "$area1/davix-pulled"
check "with the same bytes" same "$area1/davix-pulled"
check "davix-cp pushes to XRootD" dav --copy-mode push "$area1/data" "$peer/davix-pushed"
check "with the same bytes" same "$peer/davix-pushed"

echo "-- gfal2"
# gfal asks both ends with the token of the place; the copy's active party passes it on.
cat >"$work/copy.py" <<'PYTHON'
import sys, gfal2
mode, source, destination, checksum, *tokens = sys.argv[1:]
context = gfal2.creat_context()
context.set_opt_boolean("HTTP PLUGIN", "RETRIEVE_BEARER_TOKEN", False)
context.set_opt_string("HTTP PLUGIN", "DEFAULT_COPY_MODE", mode)
context.set_opt_boolean("HTTP PLUGIN", "ENABLE_FALLBACK_TPC_COPY", False)
context.set_opt_boolean("HTTP PLUGIN", "ENABLE_STREAM_COPY", mode == "streamed")
for prefix, token in zip(tokens[::2], tokens[1::2]):
    gfal2.cred_set(context, prefix, gfal2.cred_new("BEARER", token))
params = context.transfer_parameters()
params.overwrite, params.create_parent, params.timeout = True, True, 60
modes = []
params.event_callback = lambda event: modes.append(event.description) if "TYPE" in str(event.stage) else None
params.set_checksum(gfal2.checksum_mode.both, "ADLER32", checksum)
context.filecopy(params, source, destination)
print(modes)
assert any(mode in text for text in modes), modes
PYTHON
g() { X509_CERT_DIR=$work/certs /usr/bin/python3 "$work/copy.py" "$1" "${2/http:/dav:}" "${3/http:/dav:}" "$sum" "${one/http:/dav:}" "$token1" "${two/http:/dav:}" "$token2" "${peer/http:/dav:}" none; }
for mode in "3rd pull" "3rd push" "streamed"; do
  name=${mode// /-}
  check "gfal2: $mode, from edge to edge" g "$mode" "$area1/data" "$area2/gfal-$name"
  check "with the same bytes" same "$area2/gfal-$name"
  check "gfal2: $mode, from XRootD to the edge" g "$mode" "$peer/data" "$area1/gfal-x-$name"
  check "with the same bytes" same "$area1/gfal-x-$name"
  check "gfal2: $mode, from the edge to XRootD" g "$mode" "$area1/data" "$peer/gfal-$name"
  check "with the same bytes" same "$peer/gfal-$name"
done

summary $passed $failed 0
[ $failed = 0 ]
