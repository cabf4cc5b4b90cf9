#!/usr/bin/env bash
# A throw-away Slurm of one node on free loopback ports, with a munge daemon of its own, for tests. Needs root.
#   scripts/slurm.sh start DIR   installs the Debian packages if they are missing, starts, returns when the node takes jobs,
#                                prints what `env` prints
#   scripts/slurm.sh env DIR     prints the settings that a shell needs to use it: eval "$(scripts/slurm.sh env DIR)"
#   scripts/slurm.sh stop DIR    cancels its jobs, stops what `start DIR` started, and removes DIR
# DTE_SLURM_CPUS (default 32) and DTE_SLURM_MEMORY (MiB, default 16000) are what the node claims to have, DTE_SLURM_GPUS
# (default 2, at most 4) its pretended GPUs, DTE_SLURM_MIN_JOB_AGE (seconds, default 300) how long an ended job stays in squeue.
# DTE_SLURM_REST=1 starts slurmrestd too, on the socket DTE_SLURM_REST_SOCKET, with a token for root in DTE_SLURM_REST_TOKEN.
set -euo pipefail

install_packages() { # PACKAGE…
  local log=${TMPDIR:-/tmp}/dte-slurm-install.log
  if [ "$(id -u)" != 0 ]; then
    echo "Slurm is missing, and only root can install Debian's packages $*" >&2
    exit 1
  fi
  echo "Slurm is missing: installing Debian's packages $* (their services are not started)" >&2
  # Only if nobody decided about services before.
  local policy=/usr/sbin/policy-rc.d made=
  if [ ! -e "$policy" ]; then printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; made=1; fi
  { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q "$@"; } >"$log" 2>&1 ||
    { tail -n 5 "$log" >&2; exit 1; }
  [ -z "$made" ] || rm -f "$policy"
}

free_ports() {
  python3 - <<'PY'
import socket
taken = [socket.socket() for _ in range(2)]
for one in taken:
    one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in taken))
PY
}

write_configuration() { # DIR CONTROL_PORT NODE_PORT
  local dir=$1 host cpus=${DTE_SLURM_CPUS:-32} memory=${DTE_SLURM_MEMORY:-16000} gpus=${DTE_SLURM_GPUS:-2}
  host=$(hostname -s)
  cat >"$dir/slurm.conf" <<CONF
ClusterName=dtetest
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=$2
SlurmdPort=$3
# All of it stays on the loopback interface.
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
CredType=cred/munge
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
# Looks for work soon, which many short tests need.
SchedulerParameters=batch_sched_delay=1,sched_interval=5
ReturnToService=2
DefMemPerCPU=100
MinJobAge=${DTE_SLURM_MIN_JOB_AGE:-300}
MaxJobCount=20000
MessageTimeout=60
KillWait=5
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/jobcomp.txt
SlurmdParameters=config_overrides
MpiDefault=none
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus RealMemory=$memory Gres=gpu:$gpus State=UNKNOWN
PartitionName=debug Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=1 State=UP
CONF
  # Slurm counts device files, so these pretend to be GPUs.
  local device left=$gpus
  for device in null zero full random; do
    [ "$left" -gt 0 ] || break
    echo "NodeName=$host Name=gpu File=/dev/$device"
    left=$((left - 1))
  done >"$dir/gres.conf"
}

find_jwt_plugin() {
  find /usr/lib -path '*slurm*' -name auth_jwt.so 2>/dev/null
}

# slurmrestd refuses to run as root and as the user of Slurm's controller.
start_rest() { # DIR
  local dir=$1
  mkdir "$dir/rest"
  chown nobody "$dir/rest"
  scontrol token username=root lifespan=86400 | sed 's/^SLURM_JWT=//' >"$dir/token"
  chmod 600 "$dir/token"
  setpriv --reuid=nobody --regid=nogroup --clear-groups env SLURM_CONF="$dir/slurm.conf" SLURM_JWT=daemon \
    slurmrestd -a rest_auth/jwt -s openapi/v0.0.38 "unix:$dir/rest/socket" >"$dir/slurmrestd.log" 2>&1 </dev/null &
  echo $! >"$dir/slurmrestd.pid"
  for _ in $(seq 150); do
    [ -S "$dir/rest/socket" ] && return
    sleep 0.2
  done
  echo "slurmrestd does not listen" >&2
  tail -n 20 "$dir/slurmrestd.log" >&2
  return 1
}

start() {
  local dir control node rest=${DTE_SLURM_REST-}
  command -v slurmctld >/dev/null && command -v slurmd >/dev/null && command -v munged >/dev/null || install_packages slurm-wlm munge
  [ -z "$rest" ] || { command -v slurmrestd >/dev/null && [ -n "$(find_jwt_plugin)" ]; } ||
    install_packages slurmrestd slurm-wlm-jwt-plugin
  [ "$(id -u)" = 0 ] || { echo "starting Slurm takes root" >&2; exit 1; }
  mkdir -p "$1"
  dir=$(cd "$1" && pwd)
  # munged insists on folders that nobody else can write to; jobs' users must reach its socket.
  chmod 755 "$dir"
  mkdir -p "$dir/munge" "$dir/state" "$dir/spool"
  chmod 755 "$dir/munge"
  (umask 077; head -c 128 /dev/urandom >"$dir/munge/key")
  read -r control node < <(free_ports)
  write_configuration "$dir" "$control" "$node"
  if [ -n "$rest" ]; then
    (umask 077; head -c 32 /dev/urandom >"$dir/jwt.key")
    printf 'AuthAltTypes=auth/jwt\nAuthAltParameters=jwt_key=%s/jwt.key\n' "$dir" >>"$dir/slurm.conf"
  fi
  : >"$dir/jobcomp.txt"
  munged --force --socket="$dir/munge/socket" --key-file="$dir/munge/key" --log-file="$dir/munge/log" \
    --pid-file="$dir/munge/pid" --seed-file="$dir/munge/seed"
  export SLURM_CONF=$dir/slurm.conf
  slurmctld
  slurmd
  for _ in $(seq 300); do
    case $(sinfo -h -o '%T' 2>/dev/null || true) in
      *idle*)
        [ -z "$rest" ] || start_rest "$dir" || { stop "$dir"; exit 1; }
        environment "$dir"
        return
        ;;
    esac
    sleep 0.2
  done
  echo "Slurm's node does not become idle" >&2
  tail -n 20 "$dir/slurmctld.log" "$dir/slurmd.log" >&2
  stop "$dir"
  exit 1
}

environment() {
  local dir
  dir=$(cd "$1" && pwd)
  printf 'export SLURM_CONF=%q DTE_SLURM_DIR=%q DTE_SLURM_JOBCOMP=%q\n' "$dir/slurm.conf" "$dir" "$dir/jobcomp.txt"
  [ ! -e "$dir/token" ] || printf 'export DTE_SLURM_REST_SOCKET=%q DTE_SLURM_REST_TOKEN=%q\n' "$dir/rest/socket" "$dir/token"
}

# Ends the daemon whose process id is in a file, if that process has this name.
end() { # NAME FILE
  local pid
  [ -s "$2" ] || return 0
  pid=$(cat "$2")
  [ "$(cat "/proc/$pid/comm" 2>/dev/null || true)" = "$1" ] || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
}

stop() {
  local dir=$1
  [ -d "$dir" ] || return 0
  dir=$(cd "$dir" && pwd)
  if [ -s "$dir/slurm.conf" ]; then
    SLURM_CONF=$dir/slurm.conf timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
    for _ in $(seq 75); do
      [ -n "$(SLURM_CONF=$dir/slurm.conf timeout 10 squeue -h 2>/dev/null || true)" ] || break
      sleep 0.2
    done
  fi
  end slurmrestd "$dir/slurmrestd.pid"
  end slurmd "$dir/slurmd.pid"
  end slurmctld "$dir/slurmctld.pid"
  end munged "$dir/munge/pid"
  rm -rf "$dir"
}

case "${1-} ${2-}" in
  "start "?*) start "$2" ;;
  "env "?*) environment "$2" ;;
  "stop "?*) stop "$2" ;;
  *) echo "usage: $0 start|env|stop DIR" >&2; exit 2 ;;
esac
