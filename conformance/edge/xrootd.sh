#!/usr/bin/env bash
# XRootD 5.5 (Debian) as another storage: run, this installs it and says whether it can be used here; sourced, it gives start_xrootd.
#
# XRootD listens on all addresses, so what uses it runs in a network namespace of its own, which takes root.

# start_xrootd: starts the server with its files below $work and its process in pids; $peer is its address then.
start_xrootd() {
  # A certificate for XRootD, which loads its third-party-copy handler only with TLS, and for those who trust it.
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj "/CN=test authority" -keyout "$work/ca.key" -out "$work/ca.pem" 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout "$work/host.key" -out "$work/host.csr" 2>/dev/null
  printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n' >"$work/host.ext"
  openssl x509 -req -days 2 -in "$work/host.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -extfile "$work/host.ext" \
    -out "$work/host.pem" 2>/dev/null
  mkdir -p "$work/certs" "$work/xrootd/files" "$work/xrootd/admin"
  cp "$work/ca.pem" "$work/certs/ca.pem"
  openssl rehash "$work/certs" 2>/dev/null
  cat >"$work/xrootd.cfg" <<CONFIG
all.export /
oss.localroot $work/xrootd/files
all.adminpath $work/xrootd/admin
all.pidpath $work/xrootd/admin
xrd.port 19091
xrd.protocol http:18081 libXrdHttp.so
xrd.tls $work/host.pem $work/host.key
xrd.tlsca certdir $work/certs
http.desthttps no
http.exthandler xrdtpc libXrdHttpTPC.so
xrootd.chksum max 2 adler32 md5 crc32
CONFIG
  chown -R xrootd "$work/xrootd" "$work/host.key" "$work/host.pem"
  X509_CERT_DIR=$work/certs xrootd -R xrootd -c "$work/xrootd.cfg" -l "$work/xrootd/admin/log" -n peer >/dev/null 2>&1 &
  pids+=($!)
  peer=http://127.0.0.1:18081
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then
  set -uo pipefail
  if [ "$(id -u)" != 0 ] || ! unshare -n true 2>/dev/null; then
    echo "SKIPPED: third-party copies with XRootD (needs root and network namespaces)"
    exit 1
  fi
  install() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -q --no-install-recommends \
      xrootd-server xrootd-server-plugins davix gfal2-util-scripts gfal2-plugin-http python3-gfal2-util
  }
  if ! command -v xrootd >/dev/null || ! command -v gfal-copy >/dev/null || ! command -v davix-cp >/dev/null; then
    echo "installing Debian's xrootd-server, xrootd-server-plugins, davix and gfal2" >&2
    { install || { apt-get update -q && install; }; } >/dev/null 2>&1
  fi
  if ! command -v xrootd >/dev/null; then
    echo "SKIPPED: third-party copies with XRootD (xrootd-server cannot be installed)"
    exit 1
  fi
fi
