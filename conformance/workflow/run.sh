#!/usr/bin/env bash
# The twin's data as other people see it: `dte lake`, curl and rclone must read the same bytes, and the lineage of a forecast
# must name exactly the observations that were known when it was issued.
set -uo pipefail
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-workflow.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; head -n 8 "$work/out" | sed 's/^/    /'; fi; }
auth="Authorization: Bearer $DTE_TOKEN"
dte() { "$DTE_BIN" "$@" --data-dir "$DTE_DATA_DIR/data"; }
export RCLONE_CONFIG=$work/rclone.conf

finished() { for _ in $(seq 600); do [ "$(dte twin status enso --json | python3 -c 'import json,sys; print(json.load(sys.stdin)["models"][0]["runs"].get("succeeded", 0))' 2>/dev/null)" = 12 ] && return 0; sleep 0.1; done; return 1; }
check "twelve months have run" finished

check "dte lake fetches the forecasts" dte lake get enso:forecast --dir "$work/lake"
check "dte lake fetches the observations" dte lake get enso:nino12 --dir "$work/lake"
count() { [ "$(ls "$work/lake" | wc -l)" = 25 ]; }
check "twelve forecasts, twelve months and the history" count

dte lake replicas enso:forecast --json >"$work/replicas.json"
both() { python3 - "$work" "$DTE_URL" "$auth" <<'PY'
import json, pathlib, subprocess, sys, urllib.parse, zlib
work, url, auth = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
files = json.load(open(work / "replicas.json"))
assert len(files) == 12, len(files)
for file in files:
    wanted = (work / "lake" / file["name"]).read_bytes()
    assert "%08x" % zlib.adler32(wanted) == file["adler32"], file
    assert sorted(file["rses"]) == ["ARCHIVE", "LOCAL"], file["rses"]
    for rse, pfns in file["rses"].items():
        path = urllib.parse.urlsplit(pfns[0]).path
        seen = subprocess.run(["curl", "-sf", "-H", auth, url + path], capture_output=True, check=True).stdout
        assert seen == wanted, (rse, file["name"])
PY
}
check "curl reads the same bytes from both copies" both

if ! command -v rclone >/dev/null; then
  echo "installing Debian's rclone" >&2
  { DEBIAN_FRONTEND=noninteractive apt-get install -y -q rclone || { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q rclone; }; } >"$work/apt.log" 2>&1 || true
fi
if command -v rclone >/dev/null; then
  printf '[dte]\ntype = webdav\nurl = %s/dav/archive\nvendor = other\nbearer_token = %s\n' "$DTE_URL" "$DTE_TOKEN" >"$RCLONE_CONFIG"
  check "rclone copies the archive" rclone --retries 1 copy dte:enso "$work/rclone"
  flat() { mkdir "$work/flat" && find "$work/rclone" -name '*.csv' -exec cp {} "$work/flat" \; && diff -r "$work/flat" "$work/lake"; }
  check "rclone sees the same bytes" flat
else
  echo "SKIPPED: rclone could not be installed"; skipped=$((skipped + 1))
fi

exact() { dte twin lineage enso --did enso:nino12-forecast-1980-05.csv --json | python3 -c '
import json, sys
document = json.load(sys.stdin)
names = json.dumps(document["entity"])
months = ["1980-%02d" % m for m in range(1, 13) if "nino12-1980-%02d.csv" % m in names]
assert months == ["1980-01", "1980-02", "1980-03", "1980-04", "1980-05"], months
assert "nino12-history.csv" in names, names
assert "sha256" in names, names
'; }
check "the lineage names exactly what was known" exact

check "the pages of the command line" bash -c "'$DTE_BIN' twin status enso --data-dir '$DTE_DATA_DIR/data' | grep -q PERSISTENCE"
check "a pod by hand" bash -c "'$DTE_BIN' run --data-dir '$DTE_DATA_DIR/data' -- /bin/echo hello | grep -qx hello"
check "its exit code is ours" bash -c "'$DTE_BIN' run --data-dir '$DTE_DATA_DIR/data' -- /bin/sh -c 'exit 7'; [ \$? = 7 ]"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
