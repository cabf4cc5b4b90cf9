#!/usr/bin/env bash
# Says where upstream's own parts are: `eval "$(conformance/interlink/parts.sh)"` sets INTERLINK_API, INTERLINK_SLURM_PLUGIN and
# INTERLINK_VIRTUAL_KUBELET, each a program or empty.
#
# DTE_INTERLINK_PARTS is a folder with `interlink-api`, `interlink-slurm-plugin` and `interlink-virtual-kubelet`; without it they
# are looked for in PATH. The Go registry does not serve upstream's modules, so nothing can be installed from here.
set -euo pipefail
find_part() {
  if [ -n "${DTE_INTERLINK_PARTS-}" ] && [ -x "$DTE_INTERLINK_PARTS/$1" ]; then
    echo "$DTE_INTERLINK_PARTS/$1"
  else
    command -v "$1" || true
  fi
}
printf 'INTERLINK_API=%q\n' "$(find_part interlink-api)"
printf 'INTERLINK_SLURM_PLUGIN=%q\n' "$(find_part interlink-slurm-plugin)"
printf 'INTERLINK_VIRTUAL_KUBELET=%q\n' "$(find_part interlink-virtual-kubelet)"
