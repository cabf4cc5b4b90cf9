#!/usr/bin/env bash
# An ARC computing element as a site (plugin `arc`): the plugin's own test against Debian's A-REX with its fork batch system.
# Needs cargo. SKIPPED where A-REX is not and cannot be installed.
set -euo pipefail
if [ "${DTE_SMOKE-}" = 1 ]; then
  echo "SKIPPED: it starts a computing element of its own; run make conformance AREA=arc"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
skip() { echo "SKIPPED: $1"; echo "0 passed, 0 failed, 1 skipped"; exit 0; }

if [ "${1-}" != within ]; then
  [ "$(id -u)" = 0 ] || skip "A-REX runs as root here"
  command -v unshare >/dev/null || skip "there is no unshare"
  if ! [ -x /usr/share/arc/arc-arex-start ]; then
    [ "${DTE_TEST_SYSTEM-}" = 1 ] || skip "nordugrid-arc-arex is not installed, and DTE_TEST_SYSTEM=1 is not set"
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      nordugrid-arc-arex nordugrid-arc-plugins-needed nordugrid-arc-plugins-arcrest >/dev/null 2>&1 || skip "nordugrid-arc-arex cannot be installed"
  fi
  unshare --net true 2>/dev/null || skip "no network namespace can be made here"
  (cd "$root" && cargo test -p dte-compute --test arc --no-run) >/dev/null 2>&1 || { echo "FAILED: the test does not build"; exit 1; }
  # A-REX listens on all addresses: it gets a network of its own.
  exec unshare --net --pid --fork --kill-child --mount-proc -- "$0" within
fi

ip link set lo up
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-arc.XXXXXX")
finish() {
  local status=$?
  "$here/computing-element.sh" stop "$work/ce" || true
  if [ "${KEEP-}" = 1 ]; then echo "kept: $work" >&2; else rm -rf "$work"; fi
  exit "$status"
}
trap finish EXIT
chmod 755 "$work"
"$here/computing-element.sh" start "$work/ce" >"$work/start.log" 2>&1 || { tail -n 20 "$work/start.log"; echo "0 passed, 1 failed, 0 skipped"; exit 1; }
if (cd "$root" && DTE_TEST_ARC=$work/ce cargo test --offline -p dte-compute --test arc -- --nocapture) >"$work/log" 2>&1; then
  echo "ok: pods live and end on a real computing element"
  echo "1 passed, 0 failed, 0 skipped"
else
  tail -n 40 "$work/log"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
