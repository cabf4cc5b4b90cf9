#!/usr/bin/env bash
# A throw-away Keycloak on a free loopback port, for tests and measurements.
#   scripts/keycloak.sh start DIR REALM.json   takes the distribution from Maven Central once, imports the realm, starts;
#                                              prints the address and the process id
#   scripts/keycloak.sh stop DIR               stops what `start DIR` started and removes DIR
# Needs Java 17 or newer, mvn and unzip. Exit code 3: it cannot be had here.
set -euo pipefail
version=26.4.7
root=$(cd "$(dirname "$0")/.." && pwd)
cache=${CARGO_TARGET_DIR:-$root/target}/keycloak

cannot() { echo "$1" >&2; exit 3; }

start() {
  local dir=$1 realm=$2 port zip=$cache/keycloak-quarkus-dist-$version.zip name
  for tool in java mvn unzip; do command -v $tool >/dev/null || cannot "Keycloak needs $tool"; done
  mkdir -p "$dir" "$cache"
  if [ ! -s "$zip" ]; then
    echo "taking Keycloak $version from Maven Central" >&2
    mvn -q -B dependency:copy -Dartifact=org.keycloak:keycloak-quarkus-dist:$version:zip -DoutputDirectory="$cache" >"$dir/mvn.log" 2>&1 ||
      { tail -n 5 "$dir/mvn.log" >&2; cannot "Keycloak $version cannot be had (needs a package index)"; }
  fi
  unzip -q "$zip" -d "$dir"
  mkdir -p "$dir/keycloak-$version/data/import"
  cp "$realm" "$dir/keycloak-$version/data/import/realm.json"
  name=$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["realm"])' "$realm")
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  JAVA_OPTS_KC_HEAP="-Xms64m -Xmx768m" setsid "$dir/keycloak-$version/bin/kc.sh" start-dev --db=dev-mem --http-host=127.0.0.1 --http-port="$port" \
    --import-realm --hostname="http://127.0.0.1:$port" >"$dir/keycloak.log" 2>&1 </dev/null &
  echo $! >"$dir/pid"
  for _ in $(seq 600); do
    if curl -sf -o /dev/null "http://127.0.0.1:$port/realms/$name/.well-known/openid-configuration"; then
      echo "http://127.0.0.1:$port $(cat "$dir/pid")"
      return
    fi
    kill -0 "$(cat "$dir/pid")" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 20 "$dir/keycloak.log" >&2
  stop "$dir"
  exit 1
}

stop() {
  local dir=$1 pid
  if [ -f "$dir/pid" ]; then
    pid=$(cat "$dir/pid")
    # It was started as the leader of a group of its own.
    kill -- "-$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 -- "-$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 -- "-$pid" 2>/dev/null || true
  fi
  rm -rf "$dir"
}

case "${1-}" in
  start) start "$2" "$3" ;;
  stop) stop "$2" ;;
  *) echo "usage: $0 start DIR REALM.json | stop DIR" >&2; exit 2 ;;
esac
