#!/bin/sh
# Identity's pages in a real headless Chromium: signing in with a password and a code, the account, administration, erasure.
#
# Runs against the engine of DTE_URL, DTE_BIN and DTE_DATA_DIR, as scripts/with-engine.sh sets them; without them it starts
# one of its own. It gives the accounts `admin` and `browser-user` passwords of its own, so it wants an engine to spoil.
# Needs Chromium and its driver (installed with apt-get if they are missing and this is root) and Python 3.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
if [ -z "${DTE_URL-}" ] || [ -z "${DTE_DATA_DIR-}" ] || [ -z "${DTE_BIN-}" ]; then
    exec "$root/scripts/with-engine.sh" "$0" "$@"
fi

. "$root/conformance/chromium/ready.sh"

password() { python3 -c 'import secrets; print(secrets.token_urlsafe(18))'; }
DTE_ADMIN_PASSWORD=$(password)
DTE_USER_PASSWORD=$(password)
export DTE_ADMIN_PASSWORD DTE_USER_PASSWORD
"$DTE_BIN" user add browser-user --data-dir "$DTE_DATA_DIR/data" >/dev/null
printf '%s\n' "$DTE_USER_PASSWORD" | "$DTE_BIN" user password browser-user --stdin --data-dir "$DTE_DATA_DIR/data" >/dev/null
printf '%s\n' "$DTE_ADMIN_PASSWORD" | "$DTE_BIN" user password admin --stdin --data-dir "$DTE_DATA_DIR/data" >/dev/null
exec "$python" "$here/browser.py" --url "$DTE_URL" "$@"
