#!/usr/bin/env bash
# Offloading beside upstream's interLink API server and Slurm plugin, on the same Slurm (scripts/slurm.sh; takes root):
#   bench/compute.sh [PODS] [TRACKED] [TRACKED_UPSTREAM]
# PODS are handed over for the rate; of TRACKED pods that sleep or wait for their turn it is measured what it costs to know how they are.
# Upstream's programs come from conformance/interlink/parts.sh; without them only our figures are printed. Apptainer has no package:
# upstream's jobs call a stand-in that runs the command, as ours do.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
pods=${1:-200}
tracked=${2:-10000}
tracked_upstream=${3:-300}
eval "$("$root/conformance/interlink/parts.sh")"
echo "building the engine and the load generator" >&2
(cd "$root" && cargo build --quiet --release -p dte)
(cd "$root/bench" && CARGO_TARGET_DIR=$target/bench cargo build --quiet --release --bin compute --bin tracking)
dte=$target/release/dte
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-bench-compute.XXXXXX")
chmod 755 "$work"
mkdir "$work/jobs" "$work/far" "$work/shared" "$work/out" "$work/ours" "$work/theirs"
pids=()
slurm=
finish() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait 2>/dev/null || true
  [ -z "$slurm" ] || "$root/scripts/slurm.sh" stop "$slurm" || true
  rm -rf "$work"
}
trap finish EXIT
slurm=$work/slurm
environment=$(DTE_SLURM_CPUS=400 DTE_SLURM_MEMORY=400000 "$root/scripts/slurm.sh" start "$slurm")
eval "$environment"

# Slurm's commands, counted.
for folder in ours theirs; do
  : >"$work/$folder.calls"
  for command in sbatch scancel squeue scontrol sinfo; do
    printf '#!/bin/sh\necho %s >>%s\nexec %s "$@"\n' "$command" "$work/$folder.calls" "$(command -v "$command")" >"$work/$folder/$command"
    chmod 755 "$work/$folder/$command"
  done
done

cat >"$work/dte.toml" <<TOML
[[compute.sites]]
plugin = 'host'
name = 'host'
[[compute.sites]]
[[compute.sites]]
plugin = 'slurm'
name = 'slurm'
folder = '$work/shared'
programs = '$work/ours'
conf = '$SLURM_CONF'
jobcomp = '$DTE_SLURM_JOBCOMP'
TOML
"$dte" up --data-dir "$work/data" --listen 127.0.0.1:0 --ready-file "$work/ready" --config "$work/dte.toml" 2>"$work/dte.log" >&2 &
pids+=($!)
names=(dte)
if [ -n "$INTERLINK_API" ] && [ -n "$INTERLINK_SLURM_PLUGIN" ]; then
  cat >"$work/plugin.yaml" <<YAML
SidecarPort: "0"
Socket: "unix://$work/plugin.sock"
SbatchPath: "$work/theirs/sbatch"
ScancelPath: "$work/theirs/scancel"
SqueuePath: "$work/theirs/squeue"
SinfoPath: "$work/theirs/sinfo"
ImagePrefix: ""
SingularityPath: "$root/conformance/interlink/singularity"
SingularityDefaultOptions: ["--no-eval"]
ExportPodData: true
DataRootFolder: "$work/jobs/"
Namespace: "vk"
BashPath: /bin/bash
ErrorsOnlyLogging: true
YAML
  cat >"$work/far.yaml" <<YAML
InterlinkAddress: "unix://$work/far.sock"
InterlinkPort: "0"
SidecarURL: "unix://$work/plugin.sock"
SidecarPort: "0"
ErrorsOnlyLogging: true
DataRootFolder: "$work/far/"
YAML
  SHARED_FS=true SLURMCONFIGPATH=$work/plugin.yaml "$INTERLINK_SLURM_PLUGIN" >"$work/plugin.log" 2>&1 &
  pids+=($!)
  INTERLINKCONFIGPATH=$work/far.yaml "$INTERLINK_API" >"$work/far.log" 2>&1 &
  pids+=($!)
  names=(dte "upstream's plugin" "upstream's API server")
else
  echo "upstream's parts are not here: only our figures" >&2
fi
for _ in $(seq 300); do
  [ -s "$work/ready" ] && { [ ${#pids[@]} = 1 ] || [ -S "$work/far.sock" ]; } && break
  sleep 0.1
done
"$dte" token --data-dir "$work/data" >"$work/token"
for _ in 1 2 3; do
  "$target/bench/release/compute" "$pods" "$work/out" "dte=http://$(cat "$work/ready")/interlink,$work/token,slurm"
  [ ${#pids[@]} = 1 ] || "$target/bench/release/compute" "$pods" "$work/out" "upstream=unix:$work/far.sock" ||
    echo "upstream's parts broke down: $(grep -m 1 -a '^fatal error' "$work/plugin.log" || true)"
done
echo "host site:"
"$target/bench/release/compute" "$pods" "$work/out" "host=http://$(cat "$work/ready")/interlink,$work/token,host"
echo "tracking:"
if [ ${#pids[@]} != 1 ]; then
  "$target/bench/release/tracking" "$tracked_upstream" 60 "$work/theirs.calls" "${pids[1]},${pids[2]}" "upstream=unix:$work/far.sock" ||
    echo "upstream's parts broke down: $(grep -m 1 -a '^fatal error' "$work/plugin.log" || true)"
  scancel --me || true
fi
"$target/bench/release/tracking" "$tracked" 60 "$work/ours.calls" "${pids[0]}" "dte=http://$(cat "$work/ready")/interlink,$work/token,slurm"
for number in "${!pids[@]}"; do
  memory=$(awk '/^VmRSS/ { print $2 }' "/proc/${pids[$number]}/status" 2>/dev/null || true)
  echo "${names[$number]}: ${memory:-?} KiB resident"
done
