#!/usr/bin/env bash
# Another Kubernetes cluster as a site (plugin `kubernetes`): the plugin's own test against a real API server, controller-manager
# and scheduler (conformance/kubernetes/cluster.sh), whose only node is `dte vkubelet` in front of an engine's host site. Needs DTE_BIN and cargo.
# SKIPPED when Kubernetes cannot be built here.
set -euo pipefail
if [ "${DTE_SMOKE-}" = 1 ]; then
  echo "SKIPPED: it starts a cluster of its own, as the area kubernetes does; run make conformance AREA=kubernetes-site"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${DTE_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/dte}
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-kubernetes-site.XXXXXX")
chmod 711 "$work"
engine='' kubelet='' started=''
finish() {
  local status=$?
  [ -z "$kubelet" ] || kill "$kubelet" 2>/dev/null || true
  [ -z "$engine" ] || kill "$engine" 2>/dev/null || true
  [ -z "$started" ] || "$root/conformance/kubernetes/cluster.sh" stop "$work/cluster" || true
  [ -z "$kubelet" ] || wait "$kubelet" 2>/dev/null || true
  [ -z "$engine" ] || wait "$engine" 2>/dev/null || true
  if [ "${KEEP-}" = 1 ]; then echo "kept: $work" >&2; else rm -rf "$work"; fi
  exit "$status"
}
trap finish EXIT

within() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || { "$@"; return 1; }; sleep 0.3; done; }
ready() { [ "$("$work/cluster/bin/kubectl" --kubeconfig "$work/cluster/kubeconfig" get node dte-host -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

"$root/conformance/kubernetes/cluster.sh" start "$work/cluster" >"$work/cluster.out" && code=0 || code=$?
if [ "$code" = 3 ]; then
  echo "SKIPPED: Kubernetes cannot be had here"
  echo "0 passed, 0 failed, 1 skipped"
  exit 0
fi
[ "$code" = 0 ] || exit "$code"
started=yes
touch "$work/dte.toml"
"$bin" up --data-dir "$work/data" --config "$work/dte.toml" --listen 127.0.0.1:0 --ready-file "$work/ready" >"$work/engine.log" 2>&1 &
engine=$!
within 60 test -s "$work/ready" || { echo "FAILED: the engine did not start"; tail -n 5 "$work/engine.log"; exit 1; }
"$bin" token --data-dir "$work/data" --lifetime 8h >"$work/token"
address=$(cat "$work/ready")
"$bin" vkubelet --data-dir "$work/data" --kubeconfig "$work/cluster/vkubelet.kubeconfig" --node-name dte-host \
  --interlink-url "http://${address#http://}/interlink" --token-file "$work/token" --state-dir "$work/state" \
  --listen 127.0.0.1:0 --ping-every 2s >"$work/kubelet.log" 2>&1 &
kubelet=$!
within 60 ready || { echo "FAILED: the node is not ready"; tail -n 5 "$work/kubelet.log"; exit 1; }

if (cd "$root" && DTE_TEST_KUBECONFIG=$work/cluster/kubeconfig cargo test -p dte-compute --test kubernetes -- --nocapture) >"$work/test.log" 2>&1; then
  echo "ok: pods of the site live and end in a real cluster"
  echo "1 passed, 0 failed, 0 skipped"
else
  grep -A 3 -n "panicked at" "$work/test.log" || true
  tail -n 40 "$work/test.log"
  echo "0 passed, 1 failed, 0 skipped"
  exit 1
fi
