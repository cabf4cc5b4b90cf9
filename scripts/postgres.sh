#!/usr/bin/env bash
# A throw-away PostgreSQL on a free loopback port, for tests.
#   scripts/postgres.sh start DIR   installs the Debian package if it is missing, starts, prints the address
#   scripts/postgres.sh stop DIR    stops what `start DIR` started and removes DIR
set -euo pipefail

run_as_owner() { # PostgreSQL refuses to run as root
  if [ "$(id -u)" = 0 ]; then setpriv --reuid=postgres --regid=postgres --init-groups "$@"; else "$@"; fi
}

find_programs() { ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1; }

start() {
  local dir=$1 bin port
  bin=$(find_programs)
  if [ ! -x "$bin/initdb" ]; then
    echo "PostgreSQL is missing: installing Debian's package 'postgresql' (no cluster is started)" >&2
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q postgresql; } >"${TMPDIR:-/tmp}/dte-postgresql-install.log" 2>&1 ||
      { tail -5 "${TMPDIR:-/tmp}/dte-postgresql-install.log" >&2; exit 1; }
    bin=$(find_programs)
  fi
  mkdir -p "$dir"
  [ "$(id -u)" != 0 ] || chown postgres "$dir"
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  run_as_owner "$bin/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --locale=C >"$dir/log" 2>&1
  run_as_owner "$bin/pg_ctl" -D "$dir/data" -w -l "$dir/server.log" \
    -o "-p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories='$dir' -c max_connections=300" start >>"$dir/log" 2>&1 ||
    { cat "$dir/log" "$dir/server.log" >&2; exit 1; }
  echo "postgres://postgres@127.0.0.1:$port/postgres"
}

stop() {
  local dir=$1
  run_as_owner "$(find_programs)/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
  rm -rf "$dir"
}

case "${1-} ${2-}" in
  "start "?*) start "$2" ;;
  "stop "?*) stop "$2" ;;
  *) echo "usage: $0 start|stop DIR" >&2; exit 2 ;;
esac
