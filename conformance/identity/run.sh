#!/usr/bin/env bash
# Identity with real clients, part by part: the built-in issuer (curl, oidc-agent, Authlib, flaat), communities and terms of use
# (curl as a client of INDIGO IAM, scim2-client), people's pages (headless Chromium), a provider elsewhere (Keycloak).
#
# Needs a running engine: scripts/with-engine.sh sets what the parts want. A smoke run leaves out the browser and Keycloak.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
parts="issuer policy browser external"
[ "${DTE_SMOKE-}" != 1 ] || parts="issuer policy"
passed=0 failed=0 skipped=0
log=$(mktemp "${TMPDIR:-/tmp}/dte-identity.XXXXXX")
trap 'rm -f "$log"' EXIT
for part in $parts; do
  echo "-- $part"
  # A part that drops the issuer's keys leaves no token of before.
  [ -z "${DTE_BIN-}" ] || [ -z "${DTE_DATA_DIR-}" ] || DTE_TOKEN=$("$DTE_BIN" token --data-dir "$DTE_DATA_DIR/data")
  "$here/$part.sh" >"$log" 2>&1
  status=$?
  grep -vE '^[0-9]+ passed, [0-9]+ failed' "$log"
  if [[ $(grep -E '^[0-9]+ passed, [0-9]+ failed' "$log" | tail -n 1) =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed(,\ ([0-9]+)\ skipped)? ]]; then
    passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2])) skipped=$((skipped + ${BASH_REMATCH[4]:-0}))
    [ $status = 0 ] || [ "${BASH_REMATCH[2]}" != 0 ] || { failed=$((failed + 1)); echo "FAILED: $part ended with status $status"; }
  else
    failed=$((failed + 1))
    echo "FAILED: $part gave no result (status $status)"
  fi
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
