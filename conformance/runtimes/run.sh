#!/usr/bin/env bash
# Container programs of batch nodes, run for real by jobs of a batch site: udocker (PyPI) with Debian's proot, and podman (Debian).
# Apptainer and Singularity cannot be had here; their words are golden text in crates/compute/src/batch/runtime.
# Needs cargo. As root and with DTE_TEST_SYSTEM=1 it installs Debian's proot and podman; else what is missing is SKIPPED.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-runtimes.XXXXXX")
passed=0 failed=0 skipped=0
podman_args=(--root "$work/podman" --runroot "$work/podman-run" --storage-driver vfs --cgroup-manager cgroupfs --events-backend file)
finish() {
  local status=$?
  if [ -d "$work/podman" ]; then podman "${podman_args[@]}" rmi --all --force >/dev/null 2>&1 || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

may_install() { [ "$(id -u)" = 0 ] && [ "${DTE_TEST_SYSTEM-}" = 1 ]; }
# has PROGRAM: installs Debian's package of that name if it may.
has() { command -v "$1" >/dev/null || { may_install && apt-get install -y -q "$1" >"$work/apt.log" 2>&1 && command -v "$1" >/dev/null; }; }
# json TEXT…: a list
json() { python3 -c 'import json, sys; print(json.dumps(sys.argv[1:]))' "$@"; }
# try NAME SETTING IMAGE
try() {
  if (cd "$root" && DTE_TEST_RUNTIME=$2 DTE_TEST_IMAGE=$3 cargo test -q -p dte-compute --test htcondor images_on_a_pool -- --nocapture) >"$work/$1.log" 2>&1 &&
    grep -F 'all scenarios held' "$work/$1.log" >/dev/null; then
    passed=$((passed + 1))
    echo "ok: $1 runs the images of jobs"
  else
    failed=$((failed + 1))
    echo "FAILED: $1"
    tail -n 30 "$work/$1.log"
  fi
}
skip() { skipped=$((skipped + 1)); echo "SKIPPED: $1"; }

if ! has busybox; then
  skip "there is no busybox to make an image of"
  echo "$passed passed, $failed failed, $skipped skipped"
  exit 0
fi
tree=$work/tree
mkdir -p "$tree"/{bin,etc,tmp,dev,proc,scratch,dte/inputs,dte/outputs,etc/files}
cp -L "$(command -v busybox)" "$tree/bin/busybox"
for name in sh cat ls touch sleep echo; do ln -s busybox "$tree/bin/$name"; done
echo 'root:x:0:0:root:/:/bin/sh' >"$tree/etc/passwd"
echo 'root:x:0:' >"$tree/etc/group"
tar -C "$tree" -cf "$work/tree.tar" .
image=registry.example.org/box:1

if has proot; then
  python3 -m venv "$work/venv"
  "$work/venv/bin/pip" -q install udocker==1.3.17
  udocker=$work/venv/bin/udocker
  args=()
  [ "$(id -u)" != 0 ] || args=(--allow-root)
  export UDOCKER_DIR=$work/udocker UDOCKER_USE_PROOT_EXECUTABLE UDOCKER_TARBALL=
  UDOCKER_USE_PROOT_EXECUTABLE=$(command -v proot)
  "$udocker" "${args[@]}" --quiet import "$work/tree.tar" "$image"
  try udocker "{\"kind\": \"udocker\", \"program\": \"$udocker\", \"args\": $(json "${args[@]}"), \"images\": [\"registry.example.org/\"],
    \"environment\": {\"UDOCKER_DIR\": \"$UDOCKER_DIR\", \"UDOCKER_USE_PROOT_EXECUTABLE\": \"$UDOCKER_USE_PROOT_EXECUTABLE\", \"UDOCKER_TARBALL\": \"\"}}" "$image"
else
  skip "udocker: there is no proot"
fi

if has podman && has runc; then
  podman_args+=(--runtime "$(command -v runc || echo /usr/sbin/runc)")
  if podman "${podman_args[@]}" import "$work/tree.tar" "$image" >"$work/import.log" 2>&1; then
    try podman "{\"kind\": \"podman\", \"args\": $(json "${podman_args[@]}"), \"images\": [\"registry.example.org/\"],
      \"options\": [\"--ulimit\", \"nofile=1024:1024\", \"--ulimit\", \"nproc=4096:4096\", \"--pull=never\"]}" "$image"
  else
    skip "podman: $(tail -n 1 "$work/import.log")"
  fi
else
  skip "there is no podman with runc"
fi
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
