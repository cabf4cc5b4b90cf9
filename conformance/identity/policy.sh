#!/usr/bin/env bash
# Terms of use, groups and SCIM against a running engine: curl as an INDIGO IAM client would call it, and the Python
# library scim2-client (PyPI, pinned, unmodified).
#
#   scripts/with-engine.sh conformance/identity/policy.sh
#
# Needs DTE_URL, DTE_TOKEN (an administrator's), DTE_BIN and DTE_DATA_DIR, as scripts/with-engine.sh sets them. Leaves
# no terms of use in force.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${DTE_URL:?}" "${DTE_TOKEN:?}" "${DTE_BIN:?}" "${DTE_DATA_DIR:?}"
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-policy.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0
iam="$DTE_URL/oidc/iam"
run=$$

token_of() { "$DTE_BIN" token --data-dir "$DTE_DATA_DIR/data" --user "$1"; }
# answer WANTED NAME TOKEN METHOD URL [BODY]: the status is WANTED; the body is in $work/body.
answer() {
  local wanted=$1 name=$2 token=$3 method=$4 url=$5 got
  local body=()
  [ $# -lt 6 ] || body=(-H 'Content-Type: application/json' -d "$6")
  got=$(curl -s -o "$work/body" -w '%{http_code}' -X "$method" -H "Authorization: Bearer $token" "${body[@]}" "$url")
  if [ "$got" = "$wanted" ]; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "FAILED: $name: $got instead of $wanted: $(head -c 300 "$work/body")"
  fi
}
# says NAME TEXT: the last body has the text.
says() {
  if grep -qF -- "$2" "$work/body"; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "FAILED: $1: no $2 in $(head -c 300 "$work/body")"
  fi
}
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$work/body" "$1"; }

alice=alice-$run bob=bob-$run
for name in "$alice" "$bob"; do "$DTE_BIN" user add --data-dir "$DTE_DATA_DIR/data" "$name" >"$work/out" || exit 1; done
alice_token=$(token_of "$alice")
bob_token=$(token_of "$bob")

echo "-- terms of use, as in INDIGO IAM"
answer 404 "no AUP yet" "$alice_token" GET "$iam/aup"
answer 400 "a blank address" "$DTE_TOKEN" POST "$iam/aup" '{"url":"","signatureValidityInDays":0}'
answer 400 "a query string" "$DTE_TOKEN" POST "$iam/aup" '{"url":"https://example.org/aup?a=b","signatureValidityInDays":0}'
answer 403 "not by a person" "$alice_token" POST "$iam/aup" '{"url":"https://example.org/aup","signatureValidityInDays":0}'
answer 201 "published" "$DTE_TOKEN" POST "$iam/aup" '{"url":"https://example.org/aup","signatureValidityInDays":0}'
answer 409 "only one" "$DTE_TOKEN" POST "$iam/aup" '{"url":"https://example.org/aup","signatureValidityInDays":0}'
answer 404 "not signed yet" "$alice_token" GET "$iam/aup/signature"

# A grant that acts for a person: what the issuer says is asked in the engine's own words, and tried with a submission.
blocked() {
  answer 200 "$1" "$alice_token" GET "$DTE_URL/policy/v1/me/scopes"
  says "$1" aup_acceptance_required
  answer 403 "$1: a submission" "$alice_token" POST "$DTE_URL/events/api/v1/subscriptions" '{}'
  says "$1: says why" aup-required
  answer 200 "$1: reading goes on" "$alice_token" GET "$DTE_URL/policy/v1/me/groups"
}
free() {
  answer 200 "$1" "$alice_token" GET "$DTE_URL/policy/v1/me/scopes"
  says "$1" '"obstacle":null'
}
blocked "before it is accepted"
answer 201 "signed" "$alice_token" POST "$iam/aup/signature"
answer 200 "the signature" "$alice_token" GET "$iam/aup/signature"
free "after it is accepted"
answer 200 "an editorial change" "$DTE_TOKEN" PATCH "$iam/aup" '{"description":"with better words"}'
free "an editorial change asks nobody"
versions="$DTE_URL/policy/v1/aups/infrastructure/versions"
terms='"name":"Demo","purpose":"research","security_contact":"security@example.org","privacy_notices":["https://example.org/privacy"]'
answer 400 "terms without a purpose" "$DTE_TOKEN" POST "$versions" '{"name":"x","security_contact":"y"}'
answer 201 "a material change is drafted" "$DTE_TOKEN" POST "$versions" "{\"change_class\":\"material\",$terms}"
version=$(field version)
answer 200 "and published" "$DTE_TOKEN" POST "$versions/$version:publish"
answer 409 "once" "$DTE_TOKEN" POST "$versions/$version:publish"
blocked "a material change asks everybody"
answer 403 "not for others" "$bob_token" PATCH "$iam/aup/signature/$alice"
answer 201 "on behalf, by an administrator" "$DTE_TOKEN" PATCH "$iam/aup/signature/$alice"
free "accepted on behalf"
answer 200 "touched" "$DTE_TOKEN" POST "$iam/aup/touch"
blocked "a touch asks everybody"
answer 204 "removed" "$DTE_TOKEN" DELETE "$iam/aup"
free "nothing is asked any more"

echo "-- groups and requests"
group=ocean-$run
answer 201 "a community" "$DTE_TOKEN" POST "$DTE_URL/policy/v1/groups" "{\"path\":\"/$group\"}"
answer 200 "a request" "$alice_token" POST "$iam/group_requests" "{\"groupName\":\"$group\",\"notes\":\"I work on it\"}"
id=$(field uuid)
answer 404 "others do not see it" "$bob_token" GET "$iam/group_requests/$id"
answer 403 "nobody approves the own" "$alice_token" POST "$iam/group_requests/$id/approve"
answer 200 "approved" "$DTE_TOKEN" POST "$iam/group_requests/$id/approve"
answer 200 "a member" "$alice_token" GET "$DTE_URL/policy/v1/me/groups"
says "a member" '"state":"active"'

echo "-- SCIM with scim2-client"
venv=${DTE_CONFORMANCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dte-conformance}/policy
if ! "$venv/bin/python" -c 'import scim2_client.engines.httpx2' 2>/dev/null; then
  mkdir -p "$(dirname "$venv")"
  python3 -m venv "$venv" && "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/policy-requirements.txt"
fi
if "$venv/bin/python" -c 'import scim2_client.engines.httpx2' 2>/dev/null; then
  if "$venv/bin/python" "$here/policy_scim.py" "$DTE_URL/oidc/scim/v2" "$DTE_TOKEN" "$run"; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "FAILED: scim2-client"
  fi
else
  skipped=$((skipped + 1))
  echo "SKIPPED: scim2-client cannot be installed from PyPI"
fi
answer 200 "SCIM with curl" "$DTE_TOKEN" GET "$DTE_URL/oidc/scim/v2/Users?filter=userName%20eq%20%22$alice%22"
says "SCIM with curl" '"totalResults":1'

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
