#!/usr/bin/env bash
# Who is asking: tokens checked and tokens given out, beside the crypto library alone and Keycloak (scripts/keycloak.sh). BENCH_SECONDS a figure.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
seconds=${BENCH_SECONDS:-5}
echo "building the engine and the load generator" >&2
(cd "$root" && cargo build --quiet --release -p dte)
(cd "$root/bench" && CARGO_TARGET_DIR=$target/bench cargo build --quiet --release --bin identity)
dte=$target/release/dte
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-bench-identity.XXXXXX")
chmod 755 "$work"
engine=
cleanup() { [ -z "$engine" ] || kill "$engine" 2>/dev/null || true; wait 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT

echo "== identity ($seconds s a figure)" >&2
"$dte" up --data-dir "$work/data" --listen 127.0.0.1:0 --ready-file "$work/ready" 2>"$work/log" &
engine=$!
for _ in $(seq 400); do [ -s "$work/ready" ] && break; sleep 0.02; done
"$dte" token --data-dir "$work/data" --lifetime 6h >"$work/token"
"$target/bench/release/identity" verify "$seconds" >"$work/verify.json"
"$dte" client add bench --scope "compute.create" --data-dir "$work/data" --json >"$work/client.json"
field() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
secret=$(field client_secret <"$work/client.json")
here=http://$(cat "$work/ready")
issuers=("dte=$here/oidc/token,bench,$secret,$engine")
# A program that a person let in with a device code, and that comes back with its refresh token.
browser() { curl -sS -b "$work/jar" -c "$work/jar" "$@"; }
link=$("$dte" ui --data-dir "$work/data")
browser -o /dev/null -H "Origin: $here" --data-urlencode "code=${link#*code=}" "$here/ui/login"
curl -sS -H "Authorization: Bearer $(cat "$work/token")" -H 'Content-Type: application/json' "$here/oidc/register" >"$work/program.json" -d '{
  "client_name": "program", "grant_types": ["urn:ietf:params:oauth:grant-type:device_code", "refresh_token"], "scope": "openid offline_access"}'
program=$(field client_id <"$work/program.json") password=$(field client_secret <"$work/program.json")
curl -sS -u "$program:$password" -d 'scope=openid offline_access' "$here/oidc/devicecode" >"$work/device.json"
code=$(field user_code <"$work/device.json")
csrf=$(browser "$here/oidc/device?user_code=$code" | sed -n 's/.*name="csrf" value="\([^"]*\)".*/\1/p')
browser -o /dev/null --data-urlencode "csrf=$csrf" -d "user_code=$code" -d decision=allow "$here/oidc/device"
refresh=$(curl -sS -u "$program:$password" -d grant_type=urn:ietf:params:oauth:grant-type:device_code \
  -d "device_code=$(field device_code <"$work/device.json")" "$here/oidc/token" | field refresh_token)
refreshes=("dte=$here/oidc/token,$program,$password,$engine,$refresh")
if keycloak=$(CARGO_TARGET_DIR=$target "$root/scripts/keycloak.sh" start "$work/keycloak" "$root/conformance/identity/realm.json"); then
  trap '"$root/scripts/keycloak.sh" stop "$work/keycloak"; cleanup' EXIT
  there=${keycloak% *}/realms/twins/protocol/openid-connect/token
  issuers+=("keycloak=$there,robot,robot-secret,${keycloak#* }")
  refresh=$(curl -sS -d grant_type=password -d username=olga -d password=olga-password -d client_id=portal -d client_secret=portal-secret \
    -d scope=openid "$there" | field refresh_token)
  refreshes+=("keycloak=$there,portal,portal-secret,${keycloak#* },$refresh")
else
  echo "no Keycloak: only our figures" >&2
fi
"$target/bench/release/identity" grants "$seconds" "${issuers[@]}" >"$work/grants.json"
"$target/bench/release/identity" grants "$seconds" "${refreshes[@]}" >"$work/refreshes.json"

python3 - "$work" <<'PY'
import json, sys
work = sys.argv[1]
ratio = lambda a, b: f"{a / b:6.2f} x" if b else "   no peer"
verify = json.load(open(f"{work}/verify.json"))
for name, v in verify.items():
    raw = v["library_verify_per_s"]
    print(f"{'full checks of a token /s a core, ' + name + ' (peer: ring alone)':64}{v['full_check_per_s']:12,.0f}{raw:12,.0f}   {ratio(v['full_check_per_s'], raw)}   p99 {v['full_check_p99_us']:.1f} us")
    print(f"{'a token seen before /s a core, ' + name:64}{v['seen_before_per_s']:12,.0f}{'':12}              p99 {v['seen_before_p99_us']:.1f} us")
for kind, file in (("client-credentials grants", "grants"), ("refresh grants", "refreshes")):
    grants = json.load(open(f"{work}/{file}.json"))
    ours, theirs = grants["dte"], grants.get("keycloak", {})
    for key, name in (("grants_per_s", f"{kind} /s"), ("grants_per_core_s", "the same for each core second used"), ("p99_ms", "the same, p99 ms")):
        print(f"{name:44}{ours[key]:12,.1f}{(theirs.get(key) or 0):12,.1f}   {ratio(ours[key], theirs.get(key))}")
PY
