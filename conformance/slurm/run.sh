#!/usr/bin/env bash
# Pods of the interLink API on a real Slurm (Debian's 22.05, private, one node): create, status, logs, delete, exit codes, why a
# job waits, time limits, flags of annotations, and an engine that is killed while it hands pods over.
#
# It starts Slurm (scripts/slurm.sh, which takes root) and an engine of its own with Slurm as its only site, and stops both.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
export DTE_BIN=${DTE_BIN:-$target/debug/dte}
if [ "$(id -u)" != 0 ] || [ "${DTE_TEST_SYSTEM-}" != 1 ]; then
  echo "SKIPPED: it starts Slurm's daemons, which takes root and DTE_TEST_SYSTEM=1"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-slurm.XXXXXX")
chmod 711 "$work"
cleanup() {
  "$root/scripts/slurm.sh" stop "$work/slurm"
  rm -rf "$work"
}
trap cleanup EXIT
settings=$("$root/scripts/slurm.sh" start "$work/slurm") || exit 1
eval "$settings"

cat >"$work/dte.toml" <<TOML
[[compute.sites]]
plugin = "slurm"
name = "batch"
folder = "$work/shared"
conf = "$SLURM_CONF"
jobcomp = "$DTE_SLURM_JOBCOMP"
poll = "1s"
file_lag = "2s"
grace = "2s"
TOML
python3 "$here/check.py" "$work" "$DTE_BIN" "${DTE_SMOKE-}"
