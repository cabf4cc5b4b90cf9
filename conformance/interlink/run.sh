#!/usr/bin/env bash
# interLink in both directions, beside upstream's own unmodified parts:
#
#   a  Kubernetes → upstream's virtual kubelet → this engine
#   b  a client → upstream's API server → this engine as its plugin
#   c  this engine → upstream's Slurm plugin → Slurm
#   d  this engine → upstream's API server → upstream's Slurm plugin → Slurm
#
# and the interface itself, asked the way upstream's virtual kubelet asks. parts.sh says where the parts come from; the chains
# whose parts are missing are skipped. Slurm is one of scripts/slurm.sh (takes root: DTE_TEST_SYSTEM=1). Upstream's parts talk
# over sockets in a private folder only. Apptainer has no package: a stand-in runs the commands directly.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
eval "$("$here/parts.sh")"

if [ -n "${DTE_INTERLINK_WORK-}" ]; then
  # shellcheck disable=SC2086
  exec python3 "$here/check.py" "$DTE_URL" "$DTE_TOKEN" "$DTE_INTERLINK_WORK" $DTE_INTERLINK_CHAINS
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/dte-interlink.XXXXXX")
started=()
slurm=
cluster=
finish() {
  status=$?
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -z "$slurm" ] || "$root/scripts/slurm.sh" stop "$slurm" || true
  [ -z "$cluster" ] || "$root/conformance/kubernetes/cluster.sh" stop "$cluster" || true
  if [ "$status" != 0 ]; then tail -n 15 "$work"/*.log >&2 || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

# start NAME SOCKET COMMAND…: runs it in the background and waits for its socket.
start() {
  local name=$1 socket=$2
  shift 2
  "$@" >"$work/$name.log" 2>&1 &
  started+=($!)
  for _ in $(seq 200); do
    [ -S "$socket" ] && return 0
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.05
  done
  echo "$name does not start" >&2
  return 1
}

# api NAME PLUGIN_SOCKET: an API server of upstream at NAME.sock.
api() {
  mkdir -p "$work/$1"
  cat >"$work/$1.yaml" <<YAML
InterlinkAddress: "unix://$work/$1.sock"
InterlinkPort: "0"
SidecarURL: "unix://$2"
SidecarPort: "0"
VerboseLogging: false
ErrorsOnlyLogging: true
DataRootFolder: "$work/$1/"
YAML
  start "$1" "$work/$1.sock" env INTERLINKCONFIGPATH="$work/$1.yaml" "$INTERLINK_API"
}

plugin() {
  cat >"$work/plugin.yaml" <<YAML
SidecarPort: "0"
Socket: "unix://$work/plugin.sock"
SbatchPath: "$(command -v sbatch)"
ScancelPath: "$(command -v scancel)"
SqueuePath: "$(command -v squeue)"
SinfoPath: "$(command -v sinfo)"
CommandPrefix: ""
ImagePrefix: ""
SingularityPath: "$here/singularity"
SingularityDefaultOptions: ["--no-eval"]
ExportPodData: true
DataRootFolder: "$work/jobs/"
Namespace: "vk"
Tsocks: false
BashPath: /bin/bash
VerboseLogging: false
ErrorsOnlyLogging: true
YAML
  mkdir -p "$work/jobs"
  start plugin "$work/plugin.sock" env SHARED_FS=true SLURMCONFIGPATH="$work/plugin.yaml" "$INTERLINK_SLURM_PLUGIN"
}

# Upstream's virtual kubelet as a node of the cluster. It may start before the engine: it asks again.
kubelet() {
  local port
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  cat >"$work/kubelet.yaml" <<YAML
InterlinkURL: "unix://$work/kubelet.sock"
InterlinkPort: "0"
VerboseLogging: false
ErrorsOnlyLogging: true
ServiceAccount: "default"
Namespace: "default"
VKTokenFile: ""
DisableCSR: true
Resources: {CPU: "1", Memory: "1Gi", Pods: "1"}
HTTP: {Insecure: true}
KubeletHTTP: {Insecure: true}
YAML
  env KUBECONFIG="$cluster/kubeconfig" CONFIGPATH="$work/kubelet.yaml" NODENAME=upstream POD_IP=127.0.0.1 \
    KUBELET_URL=127.0.0.1 KUBELET_PORT="$port" "$INTERLINK_VIRTUAL_KUBELET" >"$work/kubelet.log" 2>&1 &
  started+=($!)
}

chains=interface
config="[[offload.sockets]]
path = '$work/engine.sock'
account = 'admin'
[[offload.sockets]]
path = '$work/kubelet.sock'
account = 'admin'
side = 'api'
[[compute.sites]]
plugin = 'host'
name = 'local'
"
if [ -z "$INTERLINK_VIRTUAL_KUBELET" ]; then
  echo "SKIPPED: upstream's virtual kubelet is not here (see conformance/interlink/parts.sh)"
elif "$root/conformance/kubernetes/cluster.sh" start "$work/kubernetes" >"$work/cluster.log" 2>&1; then
  cluster=$work/kubernetes
  kubelet
  chains="$chains a"
else
  echo "SKIPPED: upstream's virtual kubelet: there is no Kubernetes here ($(tail -n 1 "$work/cluster.log"))"
fi
if [ -z "$INTERLINK_API" ]; then
  echo "SKIPPED: upstream's API server is not here (see conformance/interlink/parts.sh)"
else
  chains="$chains b"
fi
if [ -z "$INTERLINK_SLURM_PLUGIN" ]; then
  echo "SKIPPED: upstream's Slurm plugin is not here (see conformance/interlink/parts.sh)"
elif [ "${DTE_TEST_SYSTEM-}" != 1 ] || [ "$(id -u)" != 0 ]; then
  echo "SKIPPED: upstream's Slurm plugin: starting Slurm takes root and DTE_TEST_SYSTEM=1"
else
  slurm=$work/slurm
  environment=$("$root/scripts/slurm.sh" start "$slurm")
  eval "$environment"
  plugin
  chains="$chains c"
  config="$config
[[compute.sites]]
plugin = 'interlink'
name = 'slurm'
side = 'plugin'
url = 'unix://$work/plugin.sock'
"
  if [ -n "$INTERLINK_API" ]; then
    api far "$work/plugin.sock"
    chains="$chains d"
    config="$config
[[compute.sites]]
plugin = 'interlink'
name = 'api'
side = 'api'
url = 'unix://$work/far.sock'
"
  fi
fi
if [ -n "$INTERLINK_API" ]; then api near "$work/engine.sock"; fi
printf '%s' "$config" >"$work/dte.toml"
export DTE_INTERLINK_WORK=$work DTE_INTERLINK_CHAINS=$chains DTE_ENGINE_FLAGS="--config $work/dte.toml"
"$root/scripts/with-engine.sh" "$here/run.sh"
DTE_INTERLINK_WORK='' "$here/doors.sh"
if [ -n "$slurm" ]; then
  python3 "$here/kill.py" "${DTE_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/dte}" "$work" "${DTE_KILL_PODS:-60}" "${DTE_KILLS:-4}"
fi
