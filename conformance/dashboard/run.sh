#!/bin/sh
# The dashboard in a real headless Chromium, against a running engine.
#
#   run.sh --url URL --login LINK [--twin NAME] [--screenshot FILE.png] [--growing]
#
# URL is the engine's address (default: $DTE_URL), LINK a login link that was not used yet (`dte ui`; default:
# $DTE_LOGIN). With --growing it is a failure when no observation arrives while it looks; without, that is SKIPPED.
# Against a replay (DTE_ENGINE_COMMAND=demo …) --growing is understood.
# Needs Chromium and its driver (installed with apt-get if they are missing and this is root) and Python 3.
set -eu
here=$(cd "$(dirname "$0")" && pwd)

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

venv=${DTE_CONFORMANCE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/dte-conformance}/dashboard
if ! "$venv/bin/python" -c 'import selenium' 2>/dev/null; then
    mkdir -p "$(dirname "$venv")"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi
# An engine that replays at a pace must be seen to grow.
case ${DTE_ENGINE_COMMAND-} in *--pace*) set -- --growing "$@" ;; esac
case ${DTE_ENGINE_COMMAND-} in demo*) set -- --growing "$@" ;; esac
exec "$venv/bin/python" "$here/check.py" "$@"
