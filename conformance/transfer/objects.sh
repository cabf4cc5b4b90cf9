#!/usr/bin/env bash
# An object store as an end of transfers and of `dte fs`: moto 5.2.5 (PyPI) serves S3, and boto3, the library of the field, looks
# from the other side at what was written, and writes what is read.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
summary() { echo "$1 passed, $2 failed, $3 skipped"; }
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-objects.XXXXXX")
pids=()
finish() {
  for pid in "${pids[@]}"; do kill -INT "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  rm -rf "$work"
}
trap finish EXIT

venv=${DTE_MOTO_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dte/moto-5.2.5}
if [ ! -x "$venv/bin/moto_server" ]; then
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q 'moto[s3]==5.2.5' flask==3.1.2 flask-cors==6.0.1; } >"$work/install.log" 2>&1; then
    tail -n 5 "$work/install.log" >&2
    rm -rf "$venv"
    echo "SKIPPED: transfers with an object store (moto==5.2.5 cannot be installed from the package index)"
    summary 0 0 1
    exit 0
  fi
fi
target="${CARGO_TARGET_DIR:-$root/target}/debug"
dte=${DTE_BIN:-$target/dte}
[ -x "$dte" ] || (cd "$root" && cargo build --quiet -p dte) || exit 1
(cd "$root" && cargo build --quiet -p dte-transfer --example serve) || exit 1

passed=0 failed=0
bad() { failed=$((failed + 1)); echo "FAILED: $1"; tail -n 12 "$work/out" | cut -c 1-300 | sed "s/^/    /"; }
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then passed=$((passed + 1)); else bad "$name"; fi; }
ends_with() { local code=$1; shift; "$@"; [ $? = "$code" ]; }
says() { local text=$1 output; shift; output=$("$@" 2>&1); local status=$?; echo "$output"; grep -cF -- "$text" <<<"$output" && [ $status = 0 ]; }
ready() { for _ in $(seq 600); do [ -s "$1" ] && return; sleep 0.1; done; return 1; }

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 &
pids+=($!)
store=http://127.0.0.1:$port
for _ in $(seq 600); do curl -s -o "$work/probe" "$store/moto-api/" && break; sleep 0.1; done
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing-secret AWS_DEFAULT_REGION=us-east-1
# boto ACTION ARGUMENTS…: what the other client sees and does.
boto() { "$venv/bin/python" "$work/boto.py" "$store" "$@"; }
cat >"$work/boto.py" <<'PYTHON'
import hashlib, sys
import boto3
store, action, *rest = sys.argv[1:]
s3 = boto3.client("s3", endpoint_url=store)
if action == "bucket":
    s3.create_bucket(Bucket=rest[0])
elif action == "put":
    s3.upload_file(rest[2], rest[0], rest[1])
elif action == "keys":
    print("\n".join(o["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=rest[0]) for o in page.get("Contents", [])))
elif action == "same":
    body = s3.get_object(Bucket=rest[0], Key=rest[1])["Body"].read()
    mine = open(rest[2], "rb").read()
    assert body == mine, (len(body), len(mine))
elif action == "tag":
    print(s3.head_object(Bucket=rest[0], Key=rest[1])["ETag"])
elif action == "uploads":
    print(len(s3.list_multipart_uploads(Bucket=rest[0]).get("Uploads", [])), "open uploads")
elif action == "many":
    for n in range(int(rest[1])):
        s3.put_object(Bucket=rest[0], Key=f"many/{n:04}", Body=b"x")
PYTHON
check "a bucket" boto bucket data
head -c 20000017 /dev/urandom >"$work/large"
head -c 1000 /dev/urandom >"$work/small"
: >"$work/empty"
sum=$(python3 -c 'import sys, zlib; print("%08x" % zlib.adler32(open(sys.argv[1], "rb").read()))' "$work/large")
s3=s3://127.0.0.1:$port/data
fs() { "$dte" fs --data-dir "$work/none" "$@"; }

check "upload in one piece" fs cp "$work/small" "$s3/a b/small+1"
check "boto3 reads it" boto same data "a b/small+1" "$work/small"
check "upload in several pieces" fs cp -K "adler32:$sum" "$work/large" "$s3/a b/large"
check "boto3 reads it" boto same data "a b/large" "$work/large"
check "it was several" says '-3"' boto tag data "a b/large"
check "an empty file" fs cp "$work/empty" "$s3/empty"
check "boto3 reads it" boto same data empty "$work/empty"
check "boto3 writes" boto put data "theirs/large" "$work/large"
check "download" fs cp "$s3/theirs/large" "$work/back"
check "the bytes" cmp "$work/back" "$work/large"
check "checksum" says "$sum" fs sum "$s3/theirs/large"
check "a folder" says "large
small+1" fs ls "$s3/a b"
check "the bucket" says "a b
empty
theirs" fs ls "$s3"
check "sizes" says 20000017 fs ls -l "$s3/theirs"
check "an existing file stays" ends_with 17 fs cp "$work/small" "$s3/empty"
check "unless it shall not" fs cp -f "$work/small" "$s3/empty"
check "boto3 sees it" boto same data empty "$work/small"
check "no file" ends_with 2 fs cat "$s3/none"
check "no bucket" ends_with 2 fs ls "s3://127.0.0.1:$port/nobucket/x"
check "a wrong checksum" ends_with 5 fs cp -K adler32:00000001 "$work/large" "$s3/wrong"
check "nothing of it is there" ends_with 2 fs stat "$s3/wrong"
check "and no pieces" says "0 open uploads" boto uploads data
check "another name" fs mv "$s3/empty" "$s3/moved/x y"
check "boto3 sees it" boto same data "moved/x y" "$work/small"
check "the old name is gone" ends_with 2 fs stat "$s3/empty"
check "make a folder" fs mkdir "$s3/folder"
check "it is one" says folder fs stat "$s3/folder"
check "boto3 sees its mark" says folder/ boto keys data
check "delete it" fs rm -r "$s3/folder"
check "more files than fit on a page" boto many data 1100
check "all of them" says 1100 bash -c '"$@" | wc -l' x "$dte" fs --data-dir "$work/none" ls "$s3/many"
check "a tree" fs cp -r "$s3/theirs" "$work/tree"
check "the bytes" cmp "$work/tree/large" "$work/large"
check "delete a tree" fs rm -r "$s3/moved"
check "it is gone" ends_with 2 fs ls "$s3/moved"
check "without a credential" ends_with 13 env -u AWS_ACCESS_KEY_ID "$dte" fs --data-dir "$work/none" ls "$s3"

# As an end of transfers, with the engine's own credential.
echo testing >"$work/key"
echo testing-secret >"$work/secret"
cat >"$work/engine.toml" <<CONFIG
[http.outbound]
allow = ["127.0.0.0/8"]
[[storage.buckets]]
url = "$s3/shared"
access_key_file = "$work/key"
secret_key_file = "$work/secret"
users = ["admin"]
CONFIG
"$target/examples/serve" "$work/engine" "$(cat "$work/engine.toml")" 2>"$work/engine.log" &
pids+=($!)
ready "$work/engine" || { tail -n 5 "$work/engine.log"; exit 1; }
DTE_URL=$(sed -n 1p "$work/engine") BEARER_TOKEN=$(sed -n 2p "$work/engine")
export DTE_URL BEARER_TOKEN
area=$DTE_URL/dav/local/objects
curl -sf -o "$work/probe" -H "Authorization: Bearer $BEARER_TOKEN" -T "$work/large" "$area/large" || exit 1
moves() { "$dte" transfer submit --wait --retry 0 --checksum "adler32:$sum" --verify both "$@"; }
check "an edge to the object store" moves "$area/large" "$s3/shared/large"
check "boto3 reads it" boto same data shared/large "$work/large"
check "the object store to an edge" moves "$s3/shared/large" "$area/back"
check "the bytes" bash -c 'curl -sf -H "Authorization: Bearer $1" "$2" | cmp - "$3"' x "$BEARER_TOKEN" "$area/back" "$work/large"
check "within the object store" moves "$s3/shared/large" "$s3/shared/again"
check "boto3 reads it" boto same data shared/again "$work/large"
refused() { local text=$1 output; shift; output=$("$@" 2>&1); local status=$?; echo "$output"; [ $status != 0 ] && grep -cF -- "$text" <<<"$output"; }
check "an existing destination" refused "Destination file exists and overwrite is not enabled" moves "$area/large" "$s3/shared/large"
check "no source" refused "SOURCE [2]" moves "$s3/shared/none" "$area/none"
check "another part of the bucket" refused "there is no credential for this object store" moves "$s3/theirs/large" "$area/none"
sum=00000001
check "a wrong checksum" refused "CHECKSUM MISMATCH" moves "$area/large" "$s3/shared/wrong"
check "nothing of it is there" ends_with 2 fs stat "$s3/shared/wrong"
check "and no pieces" says "0 open uploads" boto uploads data
summary $passed $failed 0
[ $failed = 0 ]
