#!/usr/bin/env bash
# Builds etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl from their Go modules, once, and prints the folder
# where they are. They stay under ${DTE_TEST_CACHE:-$HOME/.cache/dte}. Exit code 3: they cannot be had here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
version=$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$here/module/go.mod")
cache=${DTE_TEST_CACHE:-$HOME/.cache/dte}/kubernetes-$version
log=$cache.log

cannot() { echo "$1" >&2; exit 3; }

mkdir -p "$(dirname "$cache")"
exec 9>"$cache.lock"
flock 9
if [ ! -e "$cache/complete" ]; then
  command -v go >/dev/null || cannot "Kubernetes $version is built with Go, which is missing"
  echo "building Kubernetes $version from its Go modules (many minutes, once; see $log)" >&2
  started=$SECONDS
  rm -rf "$cache.part"
  mkdir -p "$cache.part"
  minor=${version%.*}
  stamp=
  for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
    stamp="$stamp -X $package.gitVersion=v$version -X $package.gitMajor=1 -X $package.gitMinor=${minor#1.} -X $package.gitTreeState=clean"
  done
  programs="k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager k8s.io/kubernetes/cmd/kube-scheduler
    k8s.io/kubernetes/cmd/kubectl go.etcd.io/etcd/server/v3"
  # shellcheck disable=SC2086 # a list of programs
  (cd "$here/module" && CGO_ENABLED=0 nice -n 15 go build -mod=readonly -trimpath -ldflags "-s -w$stamp" -o "$cache.part/" $programs) >"$log" 2>&1 ||
    { tail -n 5 "$log" >&2; cannot "Kubernetes $version cannot be built here"; }
  # Go names a program after its folder.
  for name in v3 server; do [ ! -e "$cache.part/$name" ] || mv "$cache.part/$name" "$cache.part/etcd"; done
  echo "$((SECONDS - started)) s" >"$cache.part/complete"
  rm -rf "$cache"
  mv "$cache.part" "$cache"
  echo "built in $(cat "$cache/complete")" >&2
fi
echo "$cache"
