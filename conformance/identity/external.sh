#!/usr/bin/env bash
# A real OpenID Connect provider beside the engine's own issuer: Keycloak's users get tokens from it and call the engine, and
# they sign in at the engine's own pages through it, with curl as the browser.
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

[[identity.login_providers]]
name = "keycloak"
title = "the institute"
issuer = "$issuer"
client_id = "twin"
client_secret_file = "$work/twin.secret"

[[identity.login_providers]]
name = "at-once"
title = "the same, at once"
issuer = "$issuer"
client_id = "twin"
client_secret_file = "$work/twin.secret"
register = "automatic"
TOML
# It has signs that must be encoded in HTTP Basic (RFC 6749 section 2.3.1).
printf 'secret of + the/twin\n' >"$work/twin.secret"
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
check "who may do something with pods may ping" 200 "$(status "$olga" /interlink/pinglink)"
check "who may do nothing with them may not" 403 "$(status "$sven" /interlink/pinglink)"
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
subject_of() { printf '%s' "$1" | cut -d. -f2 | python3 -c 'import base64, json, sys; t = sys.stdin.read().strip(); print(json.loads(base64.urlsafe_b64decode(t + "=" * (-len(t) % 4)))["sub"])'; }
subject=$(subject_of "$olga")
cli ban add --subject "$subject" --issuer "$issuer" --reason test >/dev/null
check "a banned user" 401 "$(status "$olga" /interlink/pods)"
cli ban lift --subject "$subject" >/dev/null
check "and not banned any more" 200 "$(status "$olga" /interlink/pods)"
cli ban tokens --issuer "$issuer" --client portal --before 2099-01-01T00:00:00Z --reason leak >/dev/null
check "tokens from before a revocation time" revoked "$(explain "$olga" compute.create)"
check "those of another client live on" scope "$(explain "$robot" compute.create)"
cli ban revoked --json | python3 -c 'import json, sys; [print(rule["id"]) for rule in json.load(sys.stdin)]' | while read -r id; do cli ban revoked --lift "$id" >/dev/null; done

# People sign in through the provider. One jar holds the cookies of one browser, of the engine and of the provider alike.
browser() { local jar=$1; shift; curl -s -b "$work/$jar.jar" -c "$work/$jar.jar" "$@"; }
hidden() { sed -n "s/.*name=\"$1\" value=\"\([^\"]*\)\".*/\1/p" | sed 's/&amp;/\&/g'; }
goes() { # JAR ARGUMENT…: status and where the browser is sent; the page is in $work/page
  local jar=$1; shift
  browser "$jar" -o "$work/page" -w '%{http_code} %{redirect_url}' "$@"
}
press() { # JAR PROVIDER NEXT: presses the provider's button; where the browser is sent
  local csrf
  csrf=$(browser "$1" "$url/oidc/login?next=$3" | tee "$work/page" | hidden csrf)
  goes "$1" -H "Origin: $url" --data-urlencode "csrf=$csrf" -d "next=$3" "$url/oidc/login/with/$2"
}
at_provider() { # JAR ADDRESS NAME: signs in there; where the browser is sent
  local jar=$1 address=$2 name=$3 answer form
  answer=$(goes "$jar" "$address")
  case $answer in
    '200 ') # Its form.
      form=$(grep -o 'action="[^"]*"' "$work/page" | head -n 1 | sed 's/^action="//; s/"$//; s/&amp;/\&/g')
      goes "$jar" -d "username=$name" -d "password=$name-password" "$form" ;;
    *) echo "$answer" ;; # Known there already.
  esac
}
comes_in() { # JAR PROVIDER NAME: all the way; the engine's last answer
  local answer
  answer=$(press "$1" "$2" /oidc/account)
  answer=$(at_provider "$1" "${answer#* }" "$3")
  goes "$1" "${answer#* }"
}
account() { # JAR: whose account the page shows, or where the browser is sent
  local answer
  answer=$(goes "$1" "$url/oidc/account")
  case $answer in
    '200 ') sed -n 's/.*You are <strong>\([^<]*\)<.*/\1/p' "$work/page" ;;
    *) echo "$answer" ;;
  esac
}
shows() { grep -qF "$1" "$work/page" && echo yes; }

link=$(cli ui)
browser admin -o "$work/page" -H "Origin: $url" --data-urlencode "code=${link#*code=}" "$url/ui/login"
check "the administrator is in" admin "$(account admin)"
admin_form() { # PATH ARGUMENT…: sends a form of a page of administrators
  local path=$1 csrf; shift
  csrf=$(browser admin "$url/oidc/admin/users" | hidden csrf | head -n 1)
  goes admin -H "Origin: $url" --data-urlencode "csrf=$csrf" "$@" "$url$path"
}

there=$(press nadia keycloak /oidc/account)
check "the sign-in page shows the provider" yes "$(browser nadia "$url/oidc/login" >"$work/page"; shows "Sign in with the institute")"
check "its button leads to the provider" "303 $oidc/auth" "${there%%\?*}"
check "with PKCE" yes "$(case $there in *code_challenge_method=S256*) echo yes ;; esac)"
back=$(at_provider nadia "${there#* }" nadia)
check "the provider sends back" "302 $url/oidc/login/callback/keycloak" "${back%%\?*}"
check "an answer in another browser is refused" "422 " "$(goes mallory "${back#* }")"
# That used it up.
check "and is of no use any more" "422 " "$(goes nadia "${back#* }")"
check "nobody is in yet" "303 $url/oidc/login?next=%2Foidc%2Faccount" "$(account nadia)"
check "who has no account asks for one" "200 " "$(comes_in nadia keycloak nadia)"
check "and is told so" yes "$(shows "An administrator has been asked")"
check "and by which name they are known" yes "$(shows "Nadia N &lt;nadia@example.org&gt;")"
check "asking again does not help" "200 " "$(comes_in nadia keycloak nadia)"
check "nobody is in by that" "303 $url/oidc/login?next=%2Foidc%2Faccount" "$(account nadia)"

browser admin "$url/oidc/admin/registrations" >"$work/page"
check "the administrator sees one request" 1 "$(grep -o 'action="/oidc/admin/registrations/[0-9a-f]*"' "$work/page" | wc -l)"
request=$(grep -o '/oidc/admin/registrations/[0-9a-f]*"' "$work/page" | head -n 1 | tr -d '"')
check "with the name that they like" nadia "$(grep -o 'name="name" value="[^"]*"' "$work/page" | cut -d'"' -f4)"
check "nobody else may approve" 403 "$(browser nadia -o /dev/null -w '%{http_code}' -d name=nadia -d action=approve "$url$request")"
check "approving" "303 $url/oidc/admin/registrations?done=approved" "$(admin_form "$request" -d name=nadia -d action=approve)"
check "now they come in" "303 $url/oidc/account" "$(comes_in nadia keycloak nadia)"
check "as the account" nadia "$(account nadia)"
check "a fresh browser too" "303 $url/oidc/account" "$(comes_in nadia2 keycloak nadia)"

# A provider whose people get accounts at once.
check "an account at once" "303 $url/oidc/account" "$(comes_in emil at-once emil)"
check "with the name that they have there" emil "$(account emil)"
check "the same identity by another button is the same account" "303 $url/oidc/account" "$(comes_in emil2 keycloak emil)"
check "and its page says so" emil "$(account emil2)"
cli user add sven >/dev/null
check "a name that somebody has is never taken over" "303 $url/oidc/account" "$(comes_in sven at-once sven)"
check "there is a number behind it" sven-2 "$(account sven)"

# The same person with a token of the provider is that account, and stays confined to it.
nadia=$(of_user nadia portal openid access_token)
about() { printf '%s' "$1" | cli auth explain --json "$2" 2>/dev/null | python3 -c 'import json, sys; about = json.load(sys.stdin)["about"]; print(about["standing"], about["name"])'; }
check "a token of the provider is the account" "account nadia" "$(about "$nadia" compute.read)"
check "somebody without an account stays a guest" guest "$(about "$olga" compute.read | cut -d' ' -f1)"
check "their home" 201 "$(curl -s -o /dev/null -w '%{http_code}' -T "$work/empty" -H "Authorization: Bearer $nadia" "$url/dav/home/nadia/probe")"
check "not that of others" 403 "$(status "$nadia" /dav/home/emil/)"
check "no pages of administrators" 403 "$(browser nadia -o /dev/null -w '%{http_code}' "$url/oidc/admin/users")"

# Somebody with an account links an identity there to it. This moves the identity's rights to the account, until it is unlinked.
cli user add lena >/dev/null
admin_form /oidc/admin/users/lena -d action=sign-in-link >/dev/null
link=$(sed -n 's/.*<code id="link">\([^<]*\)<.*/\1/p' "$work/page")
browser lena -o "$work/page" -H "Origin: $url" --data-urlencode "code=${link#*code=}" "$url/ui/login"
check "a link of the administrator signs in" lena "$(account lena)"
own_form() { # JAR PATH ARGUMENT…: sends a form of one's own account
  local jar=$1 path=$2 csrf; shift 2
  csrf=$(browser "$jar" "$url/oidc/account" | hidden csrf | head -n 1)
  goes "$jar" -H "Origin: $url" --data-urlencode "csrf=$csrf" "$@" "$url$path"
}
links() { # JAR NAME: links the identity of NAME; the engine's last answer
  local answer
  answer=$(own_form "$1" /oidc/account/link -d provider=keycloak)
  answer=$(at_provider "$1" "${answer#* }" "$2")
  goes "$1" "${answer#* }"
}
check "linking" "303 $url/oidc/account?done=linked" "$(links lena olga)"
check "the token is the account at once" "account lena" "$(about "$olga" compute.read)"
check "signing in there is signing in here" "303 $url/oidc/account" "$(comes_in lena2 keycloak olga)"
check "as the account that it is linked to" lena "$(account lena2)"
sed -i '/\/realms\//d' "$work/emil.jar" # They are not known at the provider any more.
check "an identity of somebody else is not to be had" "422 " "$(links emil olga)"
check "and stays where it is" "account lena" "$(about "$olga" compute.read)"
check "the last way in stays" "422 " "$(own_form lena /oidc/account/unlink --data-urlencode "issuer=$issuer" -d "subject=$(subject_of "$olga")")"
secret="a long enough secret $RANDOM"
check "with a password" "303 $url/oidc/account?done=password" "$(own_form lena /oidc/account/password --data-urlencode "new=$secret" --data-urlencode "again=$secret")"
check "it may go" "303 $url/oidc/account?done=unlinked" "$(own_form lena /oidc/account/unlink --data-urlencode "issuer=$issuer" -d "subject=$(subject_of "$olga")")"
check "the token is a guest's again" guest "$(about "$olga" compute.read | cut -d' ' -f1)"
check "the other session ended with the password" "303 $url/oidc/login?next=%2Foidc%2Faccount" "$(account lena2)"

# A ban of the account stops the session, new sign-ins and the provider's tokens; a ban of the identity there does as well.
for ban in "--subject nadia" "--subject $(subject_of "$nadia") --issuer $issuer"; do
  # shellcheck disable=SC2086
  cli ban add $ban --reason test >/dev/null
  check "$ban: the session is over" "303 $url/oidc/login?next=%2Foidc%2Faccount" "$(account nadia)"
  check "$ban: no way in" "403 " "$(comes_in nadia keycloak nadia)"
  check "$ban: no other way in" "403 " "$(comes_in nadia at-once nadia)"
  check "$ban: no token" 401 "$(status "$nadia" /dav/home/nadia/)"
  check "$ban: others are not hit" emil "$(account emil)"
  # shellcheck disable=SC2086
  cli ban lift $ban >/dev/null
  check "$ban: lifted, they come in" "303 $url/oidc/account" "$(comes_in nadia keycloak nadia)"
  check "$ban: lifted, the token is good" 207 "$(curl -s -o /dev/null -w '%{http_code}' -X PROPFIND -H 'Depth: 0' -H "Authorization: Bearer $nadia" "$url/dav/home/nadia/")"
done

check "no secret of the client and no code is in the log" 0 "$(grep -cE 'secret of|[?&]code=' "$work/engine.log")"
check "the audit trail is whole" true "$(cli audit verify | python3 -c 'import json, sys; print(str(json.load(sys.stdin)["broken_at"] is None).lower())')"
finish
