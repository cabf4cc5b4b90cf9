#!/usr/bin/env bash
# curl, rclone, litmus, cadaver, davix and gfal2 (Debian packages, unmodified) against /dav.
#
# With DTE_URL and DTE_TOKEN set it uses that engine (scripts/with-engine.sh sets them), else it starts the example server of
# crates/edge. Clients that are missing are installed with apt-get, which is said; one that cannot be had is SKIPPED.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-edge.XXXXXX")
server= proxy=
finish() {
  [ -z "$proxy" ] || kill "$proxy" 2>/dev/null
  [ -z "$server" ] || { kill -INT "$server" 2>/dev/null; wait "$server" 2>/dev/null; }
  rm -rf "$work"
}
trap finish EXIT

passed=0 failed=0 skipped=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $1"; [ ! -s "$work/out" ] || head -n 8 "$work/out" | sed "s/^/    /"; }
# check NAME COMMAND…: the command succeeds.
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then ok; else bad "$name"; fi; }
# fails NAME COMMAND…: the command must not succeed.
fails() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then bad "$name (it succeeded)"; else ok; fi; }
# has PATTERN: like grep -q, but reads to the end, so that the writer does not die of a closed pipe.
has() { grep "$@" >/dev/null; }
skip() { skipped=$((skipped + 1)); echo "SKIPPED: $1"; }
# need COMMAND PACKAGE…: installs what is missing.
need() {
  local command=$1; shift
  command -v "$command" >/dev/null && return 0
  echo "installing Debian's $*" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >"$work/apt.log" 2>&1 ||
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"; } >>"$work/apt.log" 2>&1
  command -v "$command" >/dev/null
}

if [ -z "${DTE_URL-}" ]; then
  (cd "$root" && cargo build --quiet -p dte-edge --example serve-edge) || exit 1
  "${CARGO_TARGET_DIR:-$root/target}/debug/examples/serve-edge" "$work/ready" 2>"$work/server.log" &
  server=$!
  for _ in $(seq 200); do
    [ -s "$work/ready" ] && break
    kill -0 "$server" 2>/dev/null || { cat "$work/server.log" >&2; exit 1; }
    sleep 0.05
  done
  DTE_URL=$(sed -n 1p "$work/ready")
  DTE_TOKEN=$(sed -n 2p "$work/ready")
fi
host=${DTE_URL#*://}
# A person's own area: folders are deleted with what is in them there.
me=${DTE_USER:-admin}
area="$DTE_URL/dav/home/$me/conformance-$$"
auth="Authorization: Bearer $DTE_TOKEN"

# Material: text, odd sizes, an empty file, a large file, names that hurt.
files="$work/files"
mkdir -p "$files/deep/er"
printf 'hello\n' >"$files/plain.txt"
: >"$files/empty"
head -c 1000003 /dev/urandom >"$files/deep/odd.bin"
head -c 50000000 /dev/urandom >"$files/large.bin"
printf 'x' >"$files/deep/er/100% +plus #hash ?mark;semi.txt"
printf 'y' >"$files/deep/er/été 数.csv"

echo "-- curl"
code() { # WANTED ARGUMENTS…: the status is WANTED.
  local wanted=$1 got; shift
  got=$(curl -s -o "$work/body" -w '%{http_code}' --path-as-is "$@" 2>"$work/out")
  [ "$got" = "$wanted" ] || { echo "$got instead of $wanted: $(head -c 300 "$work/body")" >"$work/out"; cat "$work/out"; return 1; }
}
check "no token" code 401 "$area/"
check "make the folder" code 201 -H "$auth" -X MKCOL "$area/"
check "put" code 201 -H "$auth" -T "$files/plain.txt" "$area/plain.txt"
check "put again" code 204 -H "$auth" -T "$files/plain.txt" "$area/plain.txt"
check "put large with 100-continue" code 201 -H "$auth" -H "Expect: 100-continue" -T "$files/large.bin" "$area/large.bin"
check "put chunked, parents are made" code 201 -H "$auth" -H "Transfer-Encoding: chunked" -T "$files/deep/odd.bin" "$area/a/b/odd.bin"
check "put empty" code 201 -H "$auth" -T "$files/empty" "$area/empty"
check "put only if new" code 412 -H "$auth" -H "If-None-Match: *" -T "$files/plain.txt" "$area/plain.txt"
check "put with a wrong checksum" code 400 -H "$auth" -H "Digest: adler32=00000001" -T "$files/plain.txt" "$area/wrong"
check "and nothing is there" code 404 -H "$auth" "$area/wrong"
same() { curl -sf -H "$auth" "$1" | cmp - "$2"; }
check "same bytes" same "$area/large.bin" "$files/large.bin"
check "same bytes after chunked" same "$area/a/b/odd.bin" "$files/deep/odd.bin"
range() { cmp <(curl -sf -H "$auth" -r 1000000-3999999 "$area/large.bin") <(tail -c +1000001 "$files/large.bin" | head -c 3000000); }
check "a range" range
resume() { head -c 20000000 "$files/large.bin" >"$work/part" && curl -sf -H "$auth" -C - -o "$work/part" "$area/large.bin" && cmp "$work/part" "$files/large.bin"; }
check "resume" resume
digest() { curl -sfI -H "$auth" -H 'Want-Digest: adler32' "$area/large.bin" | grep -iq "^digest: adler32=$(python3 -c 'import sys,zlib; print("%08x" % zlib.adler32(open(sys.argv[1],"rb").read()))' "$files/large.bin")"; }
check "adler32" digest
sha() { curl -sfI -H "$auth" -H 'Want-Repr-Digest: sha-256=1' "$area/large.bin" | grep -iq "^repr-digest: sha-256=:$(openssl dgst -sha256 -binary "$files/large.bin" | base64 -w0):"; }
check "sha-256" sha
aborted() { timeout 1 curl -s -H "$auth" --limit-rate 100k -T "$files/large.bin" "$area/aborted" >/dev/null; code 404 -H "$auth" "$area/aborted"; }
check "an upload that breaks off leaves nothing" aborted
check "no way out" code 400 -H "$auth" "$area/../../../../etc/passwd"
check "no way out, encoded" code 400 -H "$auth" "$area/%2e%2e/%2e%2e/etc/passwd"
check "not modified" code 304 -H "$auth" -H "If-None-Match: $(curl -sI -H "$auth" "$area/plain.txt" | tr -d '\r' | sed -n 's/^[Ee][Tt]ag: //p')" "$area/plain.txt"
check "infinity is refused" code 403 -H "$auth" -X PROPFIND -H "Depth: infinity" "$area/"

echo "-- rclone"
if need rclone rclone; then
  export RCLONE_CONFIG="$work/rclone.conf"
  printf '[dte]\ntype = webdav\nurl = %s\nvendor = other\nbearer_token = %s\n' "$area" "$DTE_TOKEN" >"$RCLONE_CONFIG"
  r() { rclone --retries 1 --low-level-retries 2 "$@"; }
  check "copy there" r copy "$files" dte:tree
  check "check by download" r check --download "$files" dte:tree
  check "copy back" r copy dte:tree "$work/back"
  check "same tree" diff -r "$files" "$work/back"
  check "list" r lsf -R dte:tree
  check "cat a range" cmp <(r cat --offset 5 --count 100 dte:tree/large.bin) <(tail -c +6 "$files/large.bin" | head -c 100)
  check "move" r moveto dte:tree/plain.txt "dte:tree/moved there.txt"
  check "moved" cmp <(r cat "dte:tree/moved there.txt") "$files/plain.txt"
  check "copy on the server" r copyto dte:tree/large.bin dte:tree/copy.bin
  check "move a folder" r moveto dte:tree/deep dte:tree/depth
  printf 'more\n' >>"$files/deep/odd.bin"
  check "sync" r sync "$files" dte:tree
  check "synced" r check --download "$files" dte:tree
  check "about" r about dte:
  check "make and remove a folder" bash -c "rclone mkdir dte:tree/new && rclone rmdir dte:tree/new"
  check "delete one" r deletefile dte:tree/empty
  check "purge" r purge dte:tree
  fails "purged" r lsf dte:tree/deep
else
  skip "rclone cannot be installed"
fi

echo "-- litmus"
# litmus and cadaver speak basic authentication only: a small proxy in front shows the token for them.
proxy_script='
import http.client, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
target, token = sys.argv[1], os.environ["DTE_TOKEN"]
class Pass(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def handle_one_request(self):
        self.raw_requestline = self.rfile.readline(65537)
        if not self.raw_requestline or not self.parse_request(): self.close_connection = True; return
        length = int(self.headers.get("Content-Length") or 0)
        chunked = "chunked" in (self.headers.get("Transfer-Encoding") or "")
        body = self.rfile.read(length) if length else b""
        while chunked:
            size = int(self.rfile.readline().split(b";")[0], 16)
            body += self.rfile.read(size); self.rfile.readline()
            if size == 0: break
        upstream = http.client.HTTPConnection(target)
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() in ("transfer-encoding", "content-length", "authorization", "connection", "expect", "te"): continue
            upstream.putheader(name, value.replace(self.headers["Host"], target) if name.lower() == "destination" else (target if name.lower() == "host" else value))
        upstream.putheader("Authorization", "Bearer " + token)
        upstream.putheader("Content-Length", str(len(body)))
        upstream.endheaders(body)
        answer = upstream.getresponse()
        data = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection"): self.send_header(name, value)
        if answer.getheader("Content-Length") is None: self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        upstream.close()
server = ThreadingHTTPServer(("127.0.0.1", 0), Pass)
open(sys.argv[2], "w").write(str(server.server_port))
server.serve_forever()
'
DTE_TOKEN=$DTE_TOKEN python3 -c "$proxy_script" "$host" "$work/proxy" 2>"$work/proxy.log" &
proxy=$!
for _ in $(seq 100); do [ -s "$work/proxy" ] && break; sleep 0.05; done
through="http://127.0.0.1:$(cat "$work/proxy")/dav/home/$me/conformance-$$"
if need litmus litmus; then
  mkdir -p "$work/litmus"
  # `props` and `locks` need dead properties and locks (class 2), which this server does not claim in its DAV header.
  (cd "$work/litmus" && TESTS="basic http copymove" HTDOCS=/usr/share/litmus/htdocs litmus -k "$through/" any any) >"$work/litmus.log" 2>&1
  grep -aE "^ *[0-9]+\. .*(FAIL|WARNING)" "$work/litmus.log" | tr '\r' '\n' >"$work/litmus.short"
  while read -r suite good; do
    for _ in $(seq "$good"); do ok; done
  done < <(sed -nE "s/.*summary for \`([a-z]+)': of [0-9]+ tests run: ([0-9]+) passed.*/\1 \2/p" "$work/litmus.log")
  # Missing parents are made, as StoRM and XRootD do it and grid clients expect it; RFC 4918 wants a refusal.
  while read -r line; do
    case $line in
      *put_no_parent*) echo "known difference: $line" ;;
      *WARNING*) echo "$line" ;;
      *) : >"$work/out"; bad "litmus $line" ;;
    esac
  done <"$work/litmus.short"
  grep -q "summary for" "$work/litmus.log" || { tail -n 5 "$work/litmus.log" >"$work/out"; bad "litmus did not run"; }
else
  skip "litmus cannot be installed"
fi

echo "-- cadaver"
if need cadaver cadaver; then
  printf 'mkcol c\ncd c\nput %s/plain.txt plain.txt\nls\ncopy plain.txt two.txt\nmove two.txt three.txt\nget three.txt %s/three\ndelete three.txt\nquit\n' \
    "$files" "$work" >"$work/cadaver.in"
  c() { cadaver -t "$through/" <"$work/cadaver.in" && cmp "$work/three" "$files/plain.txt"; }
  check "cadaver" c
  check "cadaver's file is there" same "$area/c/plain.txt" "$files/plain.txt"
  check "cadaver deleted" code 404 -H "$auth" "$area/c/three.txt"
else
  skip "cadaver cannot be installed"
fi

echo "-- davix"
if need davix-put davix; then
  d() { local command=$1; shift; "davix-$command" -H "$auth" "$@"; }
  check "davix-put" d put "$files/large.bin" "$area/davix.bin"
  check "davix-get" d get "$area/davix.bin" "$work/davix.bin"
  check "davix: same bytes" cmp "$work/davix.bin" "$files/large.bin"
  listed() { d ls -l "$area/" | has 'davix.bin'; }
  check "davix-ls" listed
  check "davix-mkdir" d mkdir "$area/davix-dir"
  # davix-mv 0.8.4 exits 255 at any server, also when it has moved the file.
  moved() { d mv "$area/davix.bin" "$area/davix-dir/moved.bin"; same "$area/davix-dir/moved.bin" "$files/large.bin"; }
  check "davix-mv" moved
  fails "davix-get of nothing" d get "$area/davix.bin" "$work/none"
  check "davix-rm" d rm "$area/davix-dir/moved.bin"
else
  skip "davix cannot be installed"
fi

echo "-- gfal2"
if need gfal-copy gfal2-util-scripts gfal2-plugin-http gfal2-plugin-file python3-gfal2-util; then
  dav="dav://$host/dav/home/$me/conformance-$$"
  g() { local command=$1; shift; GFAL_PYTHONBIN=/usr/bin/python3 BEARER_TOKEN=$DTE_TOKEN "gfal-$command" "$@"; }
  check "gfal-mkdir" g mkdir -p "$dav/g/h"
  check "gfal-copy there" g copy "file://$files/large.bin" "$dav/g/large.bin"
  check "gfal-copy with a checksum" g copy -K ADLER32 "file://$files/deep/odd.bin" "$dav/g/odd.bin"
  check "gfal-copy back" g copy -f "$dav/g/large.bin" "file://$work/gfal.bin"
  check "gfal: same bytes" cmp "$work/gfal.bin" "$files/large.bin"
  sum() { g sum "$dav/g/large.bin" ADLER32 | has "$(python3 -c 'import sys,zlib; print("%08x" % zlib.adler32(open(sys.argv[1],"rb").read()))' "$files/large.bin")"; }
  check "gfal-sum" sum
  listed() { g ls -l "$dav/g" | has ' 50000000 .*large.bin'; }
  check "gfal-ls" listed
  check "gfal-stat" g stat "$dav/g/large.bin"
  check "gfal-cat" cmp <(g cat "$dav/plain.txt") "$files/plain.txt"
  check "gfal-rename" g rename "$dav/g/odd.bin" "$dav/g/even.bin"
  check "gfal-copy between two places" g copy --copy-mode streamed "$dav/g/even.bin" "$dav/g/again.bin"
  fails "gfal-copy does not replace unasked" g copy "file://$files/plain.txt" "$dav/g/even.bin"
  fails "gfal-stat of nothing" g stat "$dav/g/none"
  check "gfal-rm" g rm -r "$dav/g"
else
  skip "gfal2 cannot be installed"
fi

echo "-- third-party copies"
results=$("$here/third-party.sh" 2>&1)
counts=$(tail -n 1 <<<"$results")
sed '$d' <<<"$results"
if [[ $counts =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped$ ]]; then
  passed=$((passed + BASH_REMATCH[1]))
  failed=$((failed + BASH_REMATCH[2]))
  skipped=$((skipped + BASH_REMATCH[3]))
else
  : >"$work/out"
  bad "the third-party copies did not come to their end"
fi

check "take it all away" code 204 -H "$auth" -X DELETE "$area/"
note=; [ $skipped = 0 ] || note=", $skipped skipped"
echo "$passed passed, $failed failed$note"
[ $failed = 0 ]
