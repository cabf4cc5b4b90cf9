#!/bin/sh
# Identity's pages in a real headless Chromium: signing in with a password and a code, the account, administration.
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

if ! command -v chromium >/dev/null || ! command -v chromedriver >/dev/null; then
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "SKIPPED: chromium and chromedriver are not installed, and only root can install them"
        echo "0 passed, 0 failed, 1 skipped"
        exit 0
    fi
    echo "installing Debian's chromium and chromium-driver"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
fi

# The same browser library as for the dashboard.
venv=${DTE_CONFORMANCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dte-conformance}/dashboard
if ! "$venv/bin/python" -c 'import selenium' 2>/dev/null; then
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$root/conformance/dashboard/requirements.txt"
fi

password() { python3 -c 'import secrets; print(secrets.token_urlsafe(18))'; }
DTE_ADMIN_PASSWORD=$(password)
DTE_USER_PASSWORD=$(password)
export DTE_ADMIN_PASSWORD DTE_USER_PASSWORD
"$DTE_BIN" user add browser-user --data-dir "$DTE_DATA_DIR/data" >/dev/null
printf '%s\n' "$DTE_USER_PASSWORD" | "$DTE_BIN" user password browser-user --stdin --data-dir "$DTE_DATA_DIR/data" >/dev/null
printf '%s\n' "$DTE_ADMIN_PASSWORD" | "$DTE_BIN" user password admin --stdin --data-dir "$DTE_DATA_DIR/data" >/dev/null
exec "$venv/bin/python" "$here/browser.py" --url "$DTE_URL" "$@"
