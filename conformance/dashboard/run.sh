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
root=$(cd "$here/../.." && pwd)

. "$root/conformance/chromium/ready.sh"
# An engine that replays at a pace must be seen to grow.
case ${DTE_ENGINE_COMMAND-} in *--pace*) set -- --growing "$@" ;; esac
case ${DTE_ENGINE_COMMAND-} in demo*) set -- --growing "$@" ;; esac
exec "$python" "$here/check.py" "$@"
