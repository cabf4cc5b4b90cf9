#!/usr/bin/env bash
# A real OpenID Connect provider beside the engine's own issuer: Keycloak's users get tokens from it and call the engine.
#
# Starts a Keycloak (scripts/keycloak.sh) and an engine of its own that trusts it, and stops both. DTE_KEYCLOAK names the address
# of one that runs already with realm.json imported.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
dte=${DTE_BIN:-$target/debug/dte}
[ -x "$dte" ] || (cd "$root" && cargo build --quiet -p dte) || exit 1
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-external.XXXXXX")
engine='' keycloak=''
cleanup() {
  [ -z "$engine" ] || { kill "$engine" 2>/dev/null; wait "$engine" 2>/dev/null; }
  [ -z "$keycloak" ] || "$root/scripts/keycloak.sh" stop "$work/keycloak"
  rm -rf "$work"
}
trap cleanup EXIT
passed=0 failed=0
check() { # NAME WANTED GOT
  if [ "$2" = "$3" ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1: wanted $2, got $3"; fi
}
finish() { echo "$passed passed, $failed failed, ${1-0} skipped"; [ "$failed" = 0 ]; exit; }

address=${DTE_KEYCLOAK-}
if [ -z "$address" ]; then
  address=$("$root/scripts/keycloak.sh" start "$work/keycloak" "$here/realm.json" 2>"$work/keycloak.err")
  case $? in
    0) keycloak=1 address=${address% *} ;;
    3) echo "SKIPPED: $(tail -n 1 "$work/keycloak.err")"; finish 1 ;;
    *) cat "$work/keycloak.err" >&2; exit 1 ;;
  esac
fi
issuer=$address/realms/twins
oidc=$issuer/protocol/openid-connect

printf 'portal-secret\n' >"$work/secret"
cat >"$work/dte.toml" <<TOML
[[identity.trusted_issuers]]
issuer = "$issuer"
profile = "generic"
audiences = ["https://twin.example"]
vo = "twins"
max_lifetime = "1h"
group_claims = [{ claim = "groups", below = "/twins" }, { claim = "realm_access.roles", below = "/twins/roles" }]
[[identity.trusted_issuers.grants]]
group = "/twins/ops"
scopes = ["compute.create", "compute.read"]
[[identity.trusted_issuers.grants]]
group = "/twins/roles/operator"
scopes = ["storage.read:/local"]
TOML
"$dte" up --data-dir "$work/data" --config "$work/dte.toml" --listen 127.0.0.1:0 --ready-file "$work/ready" >"$work/engine.log" 2>&1 &
engine=$!
for _ in $(seq 1200); do
  [ -s "$work/ready" ] && break
  kill -0 "$engine" 2>/dev/null || { tail -n 20 "$work/engine.log" >&2; echo "the engine did not start" >&2; exit 1; }
  sleep 0.05
done
url=http://$(cat "$work/ready")
cli() { "$dte" --data-dir "$work/data" "$@"; }

field() { python3 -c 'import json, sys; print(json.load(sys.stdin).get(sys.argv[1], ""))' "$1"; }
grant() { curl -s "$oidc/token" "$@"; }
of_user() { # NAME CLIENT SCOPE FIELD
  grant -d grant_type=password -d username="$1" -d password="$1-password" -d client_id="$2" -d client_secret="$2-secret" -d scope="$3" | field "$4"
}
status() { # TOKEN PATH
  curl -s -o "$work/body" -w '%{http_code}' -H "Authorization: Bearer $1" "$url$2"
}
explain() { # TOKEN ACTION [OBJECT]: the reason
  printf '%s' "$1" | cli auth explain --json "$2" ${3:+"$3"} 2>/dev/null | field reason
}

olga=$(of_user olga portal openid access_token)
sven=$(of_user sven portal openid access_token)
check "the provider gives tokens" yes "$([ -n "$olga" ] && [ -n "$sven" ] && echo yes)"


# Services of the engine: offloading (a scope by group), the storage edge (a scope by realm role).
check "a user whose group was granted it reads pods" 200 "$(status "$olga" /interlink/pods)"
check "a user without the group does not" 403 "$(status "$sven" /interlink/pods)"
check "everybody whom the provider knows may ping" 200 "$(status "$sven" /interlink/pinglink)"
check "nobody without a token may" 401 "$(curl -s -o /dev/null -w '%{http_code}' "$url/interlink/pinglink")"
: >"$work/empty"
token=$(cli token)
curl -sf -o /dev/null -T "$work/empty" -H "Authorization: Bearer $token" "$url/dav/local/probe" || echo "the administrator cannot write /dav/local/probe" >&2
check "a role of the provider opens the storage area" 200 "$(status "$olga" /dav/local/probe)"
check "without the role it is closed" 403 "$(status "$sven" /dav/local/probe)"

# What a decision is made of.
check "group" grant "$(explain "$olga" compute.create)"
check "no group" insufficient "$(explain "$sven" compute.create)"
check "role and path" grant "$(explain "$olga" storage.read /local/x)"
check "role and another path" insufficient "$(explain "$olga" storage.read /localx)"
check "nobody from outside is an administrator" insufficient "$(explain "$olga" admin)"

# Scopes that the provider itself puts into a token are the law of that token.
narrow=$(of_user sven portal "openid compute.create" access_token)
check "a scope of the provider" scope "$(explain "$narrow" compute.create)"
check "a scope confines" 403 "$(status "$narrow" /interlink/pods)"
robot=$(grant -d grant_type=client_credentials -d client_id=robot -d client_secret=robot-secret | field access_token)
check "a program with client credentials" scope "$(explain "$robot" compute.create)"

# What must not get in.
check "an audience that is not ours" audience-wrong "$(explain "$(of_user olga elsewhere openid access_token)" compute.create)"
check "over the wire too" 401 "$(status "$(of_user olga elsewhere openid access_token)" /interlink/pinglink)"
check "an ID token" 401 "$(status "$(of_user olga portal openid id_token)" /interlink/pinglink)"
check "a refresh token" 401 "$(status "$(of_user olga portal openid refresh_token)" /interlink/pinglink)"
check "a token with a letter changed" 401 "$(status "${olga%????}AAAA" /interlink/pinglink)"

# Out at once.
subject=$(printf '%s' "$olga" | cut -d. -f2 | python3 -c 'import base64, json, sys; t = sys.stdin.read().strip(); print(json.loads(base64.urlsafe_b64decode(t + "=" * (-len(t) % 4)))["sub"])')
cli ban add --subject "$subject" --issuer "$issuer" --reason test >/dev/null
check "a banned user" 401 "$(status "$olga" /interlink/pods)"
cli ban lift --subject "$subject" >/dev/null
check "and not banned any more" 200 "$(status "$olga" /interlink/pods)"
cli ban tokens --issuer "$issuer" --client portal --before 2099-01-01T00:00:00Z --reason leak >/dev/null
check "tokens from before a revocation time" issued-before-revocation "$(explain "$olga" compute.create)"
check "those of another client live on" scope "$(explain "$robot" compute.create)"
cli ban revoked --json | python3 -c 'import json, sys; [print(rule["id"]) for rule in json.load(sys.stdin)]' | while read -r id; do cli ban revoked --lift "$id" >/dev/null; done

check "the audit trail is whole" true "$(cli audit verify | python3 -c 'import json, sys; print(str(json.load(sys.stdin)["broken_at"] is None).lower())')"
finish
