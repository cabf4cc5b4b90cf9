#!/usr/bin/env bash
# An ARC computing element of its own: computing-element.sh start FOLDER | stop FOLDER. A-REX with the fork batch system, an authority
# of its own and one user certificate. Debian's packages of ARC 6 must be there. It listens on all addresses, so
# it is started in a network namespace (see run.sh). FOLDER then has url, ca.pem, user.pem and user.key.
set -euo pipefail
action=$1 place=$2
port=18443

within() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || { "$@"; return 1; }; sleep 0.3; done; }
answers() { curl -sS --fail --max-time 5 --cacert "$place/ca.pem" --cert "$place/user.pem" --key "$place/user.key" "https://localhost:$port/arex/rest"; }

certificate() { # NAME COMMON-NAME
  openssl req -newkey rsa:2048 -nodes -keyout "$place/$1.key" -out "$place/$1.csr" -subj "/DC=org/DC=dte/CN=$2" 2>/dev/null
  openssl x509 -req -in "$place/$1.csr" -CA "$place/ca.pem" -CAkey "$place/ca.key" -CAcreateserial -days 2 \
    -extfile "$place/names" -out "$place/$1.pem" 2>/dev/null
  chmod 600 "$place/$1.key"
}

if [ "$action" = stop ]; then
  for name in ws arex; do
    if [ -s "$place/$name.pid" ]; then kill "$(cat "$place/$name.pid")" 2>/dev/null || true; fi
  done
  exit 0
fi

mkdir -p "$place"/{certs,control,session,log}
chmod 755 "$place" "$place/session"
echo "subjectAltName=DNS:localhost,IP:127.0.0.1" >"$place/names"
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout "$place/ca.key" -out "$place/ca.pem" -subj "/DC=org/DC=dte/CN=Test CA" 2>/dev/null
hash=$(openssl x509 -in "$place/ca.pem" -noout -subject_hash)
cp "$place/ca.pem" "$place/certs/$hash.0"
cat >"$place/certs/$hash.signing_policy" <<POLICY
access_id_CA X509 '/DC=org/DC=dte/CN=Test CA'
pos_rights globus CA:sign
cond_subjects globus '"/DC=org/DC=dte/*"'
POLICY
certificate host localhost
certificate user Engine
# A-REX would look for safe primes of its own for many minutes.
openssl genpkey -genparam -algorithm DH -pkeyopt group:ffdhe2048 -out "$place/control/dhparam.pem" 2>/dev/null
echo "https://localhost:$port/arex" >"$place/url"
cat >"$place/arc.conf" <<CONF
[common]
hostname=localhost
x509_host_key=$place/host.key
x509_host_cert=$place/host.pem
x509_cert_dir=$place/certs

[authgroup:engine]
subject=/DC=org/DC=dte/CN=Engine

[mapping]
map_to_user=engine nobody:nogroup
policy_on_nomap=stop

[lrms]
lrms=fork

[arex]
controldir=$place/control
sessiondir=$place/session
logfile=$place/log/arex.log
joblog=$place/log/jobs.log
pidfile=$place/arex.pid
delegationdb=sqlite
loglevel=INFO
wakeupperiod=2

[arex/ws]
wsurl=https://localhost:$port/arex
logfile=$place/log/ws.log
pidfile=$place/ws.pid

[arex/ws/jobs]
allowaccess=engine

[infosys]
logfile=$place/log/infoprovider.log

[infosys/glue2]
admindomain_name=TEST

[infosys/cluster]

[queue:fork]
CONF
export ARC_CONFIG=$place/arc.conf TMPDIR=$place
for part in arex arex-ws; do
  (cd /tmp && exec "/usr/share/arc/arc-$part-start") >"$place/log/$part.out" 2>&1 &
done
wait
within 60 answers || { tail -n 5 "$place"/log/*.out "$place"/log/ws.log; exit 1; }
