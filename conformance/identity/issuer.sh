#!/usr/bin/env bash
# The built-in issuer with clients that people use: curl, Debian's oidc-agent (unmodified), and from PyPI, pinned, Authlib and
# flaat as relying party and resource server.
#
# It needs a running engine: scripts/with-engine.sh sets DTE_URL, DTE_TOKEN and DTE_LOGIN (a login link that was not used yet).
# Clients that are missing are installed with apt-get, which is said; one that cannot be had is SKIPPED.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${DTE_URL:?run it through scripts/with-engine.sh}" "${DTE_TOKEN:?}" "${DTE_LOGIN:?}"
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-identity.XXXXXX")
agent= engine=
finish() {
  [ -z "$agent" ] || kill "$agent" 2>/dev/null
  [ -z "$engine" ] || { kill "$engine" 2>/dev/null; wait "$engine" 2>/dev/null; }
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
skip() { skipped=$((skipped + 1)); echo "SKIPPED: $1"; }
need() {
  local command=$1; shift
  command -v "$command" >/dev/null && return 0
  echo "installing Debian's $*" >&2
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@" >"$work/apt.log" 2>&1 ||
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"; } >>"$work/apt.log" 2>&1
  command -v "$command" >/dev/null
}
# field NAME: a member of the JSON object on standard input.
field() { python3 -c 'import json,sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
# claim NAME: a claim of the token on standard input.
claim() { python3 -c 'import base64,json,sys; b=sys.stdin.read().split(".")[1]; v=json.loads(base64.urlsafe_b64decode(b+"=="))[sys.argv[1]]; print(v if isinstance(v,str) else json.dumps(v))' "$1"; }
# hidden NAME: a hidden field of the form on standard input.
hidden() { sed -n "s/.*name=\"$1\" value=\"\([^\"]*\)\".*/\1/p" | sed 's/&amp;/\&/g'; }

# A browser: curl with a jar, signed in by the link of `dte ui`.
browser() { curl -sS -b "$work/jar" -c "$work/jar" "$@"; }
browser -o "$work/out" -H "Origin: $DTE_URL" --data-urlencode "code=${DTE_LOGIN#*code=}" "$DTE_URL/ui/login"
grep -q dte_session "$work/jar" || { echo "the login link does not sign in" >&2; exit 1; }
issuer=$DTE_URL/oidc

echo "-- curl"
same() { diff <(curl -sf "$issuer/.well-known/openid-configuration") <(curl -sf "$DTE_URL/.well-known/oauth-authorization-server/oidc"); }
check "both metadata documents are the same" same
issued() { [ "$(curl -sf "$issuer/.well-known/openid-configuration" | field issuer)" = "$issuer" ]; }
check "the issuer is where it says" issued
keys() { curl -sf "$issuer/jwk" | grep -q '"crv":"P-256"'; }
check "keys" keys
exchange_grant=urn:ietf:params:oauth:grant-type:token-exchange
# An administrator registers a service, and lets it exchange tokens.
curl -sf -H "Authorization: Bearer $DTE_TOKEN" -H 'Content-Type: application/json' "$issuer/register" >"$work/service.json" -d '{
  "client_name": "service", "grant_types": ["client_credentials", "'$exchange_grant'", "refresh_token"],
  "audiences": ["https://service.example"], "scope": "openid offline_access compute.read storage.read:/"}'
service=$(field client_id <"$work/service.json") secret=$(field client_secret <"$work/service.json")
# Another service, which is to see none of the tokens for the first.
curl -sf -o /dev/null -H "Authorization: Bearer $DTE_TOKEN" -H 'Content-Type: application/json' "$issuer/register" -d '{
  "client_name": "another service", "grant_types": ["client_credentials"], "audiences": ["https://else.example"], "scope": "compute.read"}'
as_service() { curl -s -u "$service:$secret" "$@"; }
credentials() { [ "$(as_service -f -d grant_type=client_credentials -d scope=compute.read "$issuer/token" | field scope)" = compute.read ]; }
check "client credentials" credentials

echo "-- oidc-agent"
if need oidc-agent oidc-agent-cli; then
  export OIDC_CONFIG_DIR=$work/oidc OIDC_ENCRYPTION_PW=secret
  mkdir -p "$OIDC_CONFIG_DIR"
  oidc-agent --no-autoload >"$work/agent" 2>&1
  for _ in $(seq 100); do grep -q OIDCD_PID= "$work/agent" && break; sleep 0.1; done
  # shellcheck disable=SC1091
  . "$work/agent" >/dev/null
  agent=$OIDCD_PID
  gen() { timeout 60 oidc-gen --iss "$issuer" --pw-env=OIDC_ENCRYPTION_PW --confirm-default --no-url-call "$@" </dev/null; }
  # The person's part of the device flow.
  allow_device() {
    local code=$1 csrf
    csrf=$(browser "$issuer/device?user_code=$code" | hidden csrf)
    browser -o /dev/null --data-urlencode "csrf=$csrf" -d "user_code=$code" -d decision=allow "$issuer/device"
  }
  # Waits until a file has something that looks like this, and gives it.
  await() { for _ in $(seq 300); do grep -aoE "$2" "$1" 2>/dev/null | head -n 1 | grep . && return; sleep 0.1; done; return 1; }
  device() {
    gen --scope "openid offline_access compute.read" --flow device twin >"$work/device.out" 2>&1 &
    local gen=$! code
    code=$(await "$work/device.out" '[B-Z]{4}-[B-Z]{4}') || { kill "$gen"; cat "$work/device.out"; return 1; }
    allow_device "$code"
    wait "$gen" || { cat "$work/device.out"; return 1; }
  }
  check "registers itself and gets in with the device flow" device
  subject() { [ "$(oidc-token twin | claim sub)" = admin ]; }
  check "a token for the person" subject
  good() { curl -sf -H "Authorization: Bearer $(oidc-token twin)" "$issuer/userinfo" | grep -q '"sub":"admin"'; }
  check "the token is good" good
  narrowed() { [ "$(oidc-token --scope compute.read twin | claim scope)" = compute.read ]; }
  check "a token with fewer scopes" narrowed
  wider() { oidc-token --scope "compute.create" twin | grep .; }
  fails "no token with more scopes" wider
  audience() { [ "$(oidc-token --aud https://service.example twin | claim aud)" = https://service.example ]; }
  check "a token for an audience" audience
  unknown_service() { oidc-token --aud https://unknown.example twin | grep .; }
  fails "no token for a service that nobody registered and nobody agreed to" unknown_service
  fresh() { [ "$(oidc-token --time 5000 --force-new twin | claim jti)" != "$(oidc-token --force-new twin | claim jti)" ]; }
  check "fresh tokens" fresh

  code_flow() {
    gen --scope "openid profile offline_access" --flow code browsed >"$work/code.out" 2>&1 &
    local gen=$! url page request csrf place
    url=$(await "$work/code.out" 'http[^ ]*/oidc/authorize[^ ]*') || { kill "$gen"; cat "$work/code.out"; return 1; }
    page=$(browser "$url")
    csrf=$(hidden csrf <<<"$page") request=$(hidden request <<<"$page")
    place=$(browser -o /dev/null -w '%{redirect_url}' --data-urlencode "csrf=$csrf" --data-urlencode "request=$request" \
      -d decision=allow "$issuer/consent")
    # The agent listens at the address that the browser is sent to.
    curl -s -o /dev/null "$place"
    wait "$gen" || { echo "$place"; cat "$work/code.out"; return 1; }
  }
  check "gets in with the code flow" code_flow
  browsed() { [ "$(oidc-token browsed | claim sub)" = admin ]; }
  check "a token from the code flow" browsed

  echo "-- exchange and introspection"
  token=$(oidc-token --aud https://service.example twin)
  seen() { as_service -f -d "token=$token" "$issuer/introspect" | grep -q '"active":true'; }
  check "the service sees the token that is meant for it" seen
  unseen() { as_service -f -d "token=$(oidc-token --aud https://else.example twin)" "$issuer/introspect" | grep -qx '{"active":false}'; }
  check "and none that is not" unseen
  exchange() {
    as_service -f -d "grant_type=$exchange_grant" -d "subject_token=$token" \
      -d subject_token_type=urn:ietf:params:oauth:token-type:access_token -d "scope=$1" "$issuer/token"
  }
  fails "no exchange without a policy" exchange "compute.read offline_access"
  curl -sf -o /dev/null -H "Authorization: Bearer $DTE_TOKEN" -H 'Content-Type: application/json' "$issuer/iam/api/exchange/policies" -d '{
    "description": "service", "rule": "PERMIT", "originClient": {"type": "ANY"},
    "destinationClient": {"type": "BY_ID", "matchParam": "'"$service"'"},
    "scopePolicies": [{"rule": "PERMIT", "type": "ANY"}, {"rule": "PERMIT", "type": "EQ", "matchParam": "offline_access"}]}'
  exchanged() {
    exchange "compute.read offline_access" >"$work/exchanged" || return 1
    [ "$(field access_token <"$work/exchanged" | claim sub)" = admin ] &&
      [ "$(field access_token <"$work/exchanged" | claim act)" = "{\"sub\": \"$service\"}" ]
  }
  check "exchange with a policy" exchanged
  refreshed() { as_service -f -d grant_type=refresh_token -d "refresh_token=$(field refresh_token <"$work/exchanged")" "$issuer/token" | field access_token; }
  check "the refresh token of the exchange" refreshed
  fails "no exchange for more" exchange "storage.read:/"

  echo "-- revocation"
  refresh=$(oidc-add -p twin --pw-env=OIDC_ENCRYPTION_PW 2>/dev/null | field refresh_token)
  client=$(oidc-add -p twin --pw-env=OIDC_ENCRYPTION_PW 2>/dev/null | field client_id)
  key=$(oidc-add -p twin --pw-env=OIDC_ENCRYPTION_PW 2>/dev/null | field client_secret)
  # The agent revokes the refresh token when an account is deleted.
  delete() { timeout 60 oidc-gen -d twin --pw-env=OIDC_ENCRYPTION_PW --confirm-yes </dev/null; }
  check "delete the account" delete
  over() { curl -s -u "$client:$key" -d grant_type=refresh_token -d "refresh_token=$refresh" "$issuer/token" | grep -Eq 'invalid_grant|invalid_client'; }
  check "its refresh token is worth nothing" over
else
  skip "oidc-agent cannot be installed"
fi

echo "-- Authlib and flaat"
venv=${DTE_CONFORMANCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dte-conformance}/identity
if ! "$venv/bin/python" -c 'import authlib, flaat' 2>/dev/null; then
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi
# flaat looks for an issuer under https only, whatever it is called: an engine with a certificate of its own.
secure_engine() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$work/tls.key" -out "$work/tls.pem" || return 1
  secure=https://localhost:$port
  printf '[http]\npublic_url = "%s"\ntls_cert = "%s"\ntls_key = "%s"\n' "$secure" "$work/tls.pem" "$work/tls.key" >"$work/secure.toml"
  mkdir -m 711 "$work/secure"
  "$DTE_BIN" up --data-dir "$work/secure/data" --config "$work/secure.toml" --listen "127.0.0.1:$port" --ready-file "$work/secure/ready" \
    >"$work/secure/log" 2>&1 &
  engine=$!
  for _ in $(seq 600); do [ -s "$work/secure/ready" ] && break; kill -0 "$engine" || { cat "$work/secure/log"; return 1; }; sleep 0.05; done
  local link
  link=$("$DTE_BIN" ui --data-dir "$work/secure/data") || return 1
  curl -sS --cacert "$work/tls.pem" -c "$work/secure.jar" -o /dev/null -H "Origin: $secure" --data-urlencode "code=${link#*code=}" "$secure/ui/login"
  grep -q dte_session "$work/secure.jar"
}
if ! "$venv/bin/python" -c 'import authlib, flaat' 2>/dev/null; then
  skip "Authlib and flaat cannot be installed"
elif ! secure_engine >"$work/out" 2>&1; then
  bad "an engine with TLS"
else
  DTE_COOKIE=$(awk '$6 ~ /^dte_session/ {print $6 "=" $7}' "$work/secure.jar") REQUESTS_CA_BUNDLE=$work/tls.pem SSL_CERT_FILE=$work/tls.pem \
    timeout 120 "$venv/bin/python" "$here/check.py" "$secure/oidc" >"$work/python" 2>&1
  grep -vE '^(ok|end)' "$work/python"
  passed=$((passed + $(grep -c '^ok' "$work/python")))
  failed=$((failed + $(grep -c '^FAILED' "$work/python")))
  grep -q '^end$' "$work/python" || bad "check.py did not come to its end"
fi

echo "-- the command line"
dte() { "$DTE_BIN" "$@" --data-dir "$DTE_DATA_DIR/data"; }
listed() { dte client list | grep -q "^$service "; }
check "clients are listed" listed
suspended() { dte client suspend "$service" && ! credentials; }
check "a suspended client gets nothing" suspended
resumed() { dte client resume "$service" && credentials; }
check "and is let in again" resumed
# Publishes the next key, then drops the one that signs: the next one signs at once.
turned() {
  local first
  first=$(dte auth keys --json | python3 -c 'import json,sys; print(json.load(sys.stdin)[0]["kid"])')
  dte auth keys rotate && [ "$(curl -sf "$issuer/jwk" | grep -o '"kid"' | wc -l)" = 2 ] && dte auth keys drop "$first" &&
    [ "$(curl -sf "$issuer/jwk" | grep -o '"kid"' | wc -l)" = 1 ] && ! curl -sf "$issuer/jwk" | grep -q "$first" && credentials
}
check "keys turn over" turned
deleted() { dte client delete "$service" && ! credentials; }
check "a deleted client gets nothing" deleted

note=; [ $skipped = 0 ] || note=", $skipped skipped"
echo "$passed passed, $failed failed$note"
[ $failed = 0 ]
