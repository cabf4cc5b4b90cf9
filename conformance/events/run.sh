#!/usr/bin/env bash
# CloudEvents SDK (PyPI cloudevents 1.12.0) and the Standard Webhooks library (PyPI standardwebhooks 1.0.0), unmodified, against
# /events: publishing in all three modes, reading, webhooks with their signature, the stream of a folder watch.
#
# It starts an engine of its own: its webhook listens on loopback, which an engine does not reach unless it is allowed to.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

venv=${DTE_EVENTS_VENV:-${XDG_CACHE_HOME:-$HOME/.cache}/dte/cloudevents-1.12.0}
if ! "$venv/bin/python" -c 'import cloudevents.http, standardwebhooks' 2>/dev/null; then
  log=$(mktemp)
  if ! { python3 -m venv "$venv" && "$venv/bin/pip" install -q cloudevents==1.12.0 standardwebhooks==1.0.0; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    rm -rf "$venv" "$log"
    echo "SKIPPED: cloudevents and standardwebhooks cannot be installed (need a package index)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
  fi
  rm -f "$log"
fi

if [ -z "${DTE_EVENTS_ENGINE-}" ]; then
  exec env DTE_EVENTS_ENGINE=own DTE_HTTP__OUTBOUND='{ allow = ["127.0.0.1"] }' "$root/scripts/with-engine.sh" "$here/run.sh"
fi
folder=$(mktemp -d "${TMPDIR:-/tmp}/dte-events.XXXXXX")
trap 'rm -rf "$folder"' EXIT
"$venv/bin/python" "$here/check.py" "$DTE_URL" "$DTE_TOKEN" "$folder"
