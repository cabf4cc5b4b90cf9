#!/usr/bin/env bash
# Ratios against peers, in one run, on this machine, alternating. Installs the peers from Debian and the Go module proxy and
# says so; a peer that cannot be had is named and only our figure is printed.
set -euo pipefail
cd "$(dirname "$0")"
root=$(cd .. && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
seconds=${BENCH_SECONDS:-5}
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-bench.XXXXXX")
chmod 755 "$work"
pids=()
cleanup() { for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"; }
trap cleanup EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

echo "building the engine and the load generators" >&2
(cd "$root" && cargo build --quiet --release -p dte)
CARGO_TARGET_DIR=$target/bench cargo build --quiet --release
dte=$target/release/dte

if ! command -v nginx >/dev/null || [ ! -e /usr/lib/nginx/modules/ngx_http_dav_ext_module.so ]; then
  echo "installing Debian's packages nginx-light and libnginx-mod-http-dav-ext (the service is not started)" >&2
  # Keeps the package from starting its service; a policy that the machine has already stays as it is.
  policy=
  [ -e /usr/sbin/policy-rc.d ] || { policy=/usr/sbin/policy-rc.d; printf '#!/bin/sh\nexit 101\n' >$policy; chmod +x $policy; }
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q nginx-light libnginx-mod-http-dav-ext; } >"$work/apt.log" 2>&1 || true
  [ -z "$policy" ] || rm -f "$policy"
fi
# Debian's nats-server 2.9 cannot wait for the disk before it acknowledges; 2.10 can.
nats=$target/bench/nats-server
if [ ! -x "$nats" ]; then
  echo "building nats-server 2.10.22 from the Go module proxy" >&2
  GOBIN=$target/bench go install github.com/nats-io/nats-server/v2@v2.10.22 || echo "no nats-server: $?" >&2
fi

echo "== event log ($seconds s a figure)" >&2
"$target/bench/release/log" "$nats" "$seconds" >"$work/log.json"

start_engine() { # NAME FSYNC
  "$dte" up --data-dir "$work/$1" --listen 127.0.0.1:0 --ready-file "$work/$1.ready" 2>"$work/$1.log" &
  pids+=($!); engine=$!
  for _ in $(seq 400); do [ -s "$work/$1.ready" ] && break; sleep 0.02; done
  "$dte" token --data-dir "$work/$1" --lifetime 6h >"$work/$1.token"
}
echo "== storage edge" >&2
began=$(date +%s%N)
DTE_EDGE__FSYNC=false start_engine fast; fast=$engine
start_ms=$((($(date +%s%N) - began) / 1000000))
sleep 2
idle_kb=$(awk '/^VmRSS/ { print $2 }' "/proc/$fast/status")
DTE_EDGE__FSYNC=true start_engine safe; safe=$engine
peers=()
if command -v nginx >/dev/null; then
  mkdir -p "$work/nginx/root"; chmod -R 777 "$work/nginx"
  port=$(free_port)
  sed "s#@DIR@#$work/nginx#g; s#@PORT@#$port#g" nginx.conf.in >"$work/nginx/nginx.conf"
  nginx -c "$work/nginx/nginx.conf" -p "$work/nginx" 2>"$work/nginx/start.log" &
  pids+=($!); nginx_pid=$!
  sleep 0.5
  peers+=("nginx=http://127.0.0.1:$port/bench,$nginx_pid")
else
  echo "no nginx: only our figures" >&2
fi
"$target/bench/release/edge" "$seconds" "${peers[@]}" \
  "dte=http://$(cat "$work/fast.ready")/dav/home/admin/bench,$fast,$work/fast.token" \
  "dte_fsync=http://$(cat "$work/safe.ready")/dav/home/admin/bench,$safe,$work/safe.token" >"$work/edge.json"

python3 - "$work" "$start_ms" "$idle_kb" <<'PY'
import json, sys
work, start_ms, idle_kb = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
log = json.load(open(f"{work}/log.json"))
edge = json.load(open(f"{work}/edge.json"))
ratio = lambda a, b: f"{a / b:6.2f} x" if b else "   no peer"
print(f"{'':44}{'dte':>12}{'peer':>12}   ratio")
for r in log["rounds"]:
    kind = "fsync before acknowledgement" if r["fsync"] else "no fsync"
    peer = r["jetstream"] or {}
    for key, name in (("appended_per_s", "events appended /s"), ("delivered_per_s", "events delivered /s")):
        a, b = r["dte"][key], peer.get(key)
        print(f"{name + ', ' + kind:44}{a:12,.0f}{(b or 0):12,.0f}   {ratio(a, b)}")
    l = r["dte"]["commit_to_subscriber_ms"]
    print(f"{'commit to subscriber, ms (p50 / p99), ' + ('fsync' if r['fsync'] else 'no fsync'):44}{l['p50']:6.2f}/{l['p99']:5.2f}")
n = edge.get("nginx", {})
for key, name in (("put_4k_per_s", "PUT 4 KiB /s"), ("get_4k_per_s", "GET 4 KiB /s"), ("get_large_mb_per_s", "GET 256 MiB, MB/s"),
                  ("put_cpu_us", "CPU us a small PUT"), ("get_large_cpu_s_per_gb", "CPU s a GB of large GET")):
    for who, what in (("dte", "no fsync"), ("dte_fsync", "fsync")):
        if who == "dte_fsync" and not key.startswith("put"): continue
        a, b = edge[who][key], n.get(key)
        print(f"{name + ', ' + what + ' (nginx never syncs)':44}{a:12,.1f}{(b or 0):12,.1f}   {ratio(a, b)}")
print(f"cold start until ready, with a token: {start_ms} ms; idle memory: {idle_kb / 1024:.1f} MiB")
PY

"$root/bench/identity.sh"
