#!/usr/bin/env bash
# A private Kubernetes on free loopback ports: etcd, kube-apiserver with RBAC, kube-controller-manager, kube-scheduler.
#   cluster.sh start DIR   builds the programs once (build.sh), makes keys and certificates, starts; writes DIR/kubeconfig
#                          (administrator), DIR/vkubelet.kubeconfig (what rbac.yaml lets a virtual kubelet do) and DIR/bin
#   cluster.sh stop DIR    stops what `start DIR` started and removes DIR
# Exit code 3: it cannot be had here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

free_ports() { python3 -c '
import socket, sys
taken = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in taken: s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in taken])' "$1"; }

# certificate NAME SUBJECT [EXTENSIONS]: signed by the cluster's authority
certificate() {
  openssl req -new -newkey rsa:2048 -nodes -keyout "$pki/$1.key" -subj "$2" -out "$pki/$1.csr" 2>/dev/null
  openssl x509 -req -in "$pki/$1.csr" -CA "$pki/ca.crt" -CAkey "$pki/ca.key" -CAcreateserial -days 30 \
    -extfile <(printf '%b' "keyUsage=digitalSignature,keyEncipherment\nextendedKeyUsage=serverAuth,clientAuth\n${3-}") -out "$pki/$1.crt" 2>/dev/null
}

# kubeconfig FILE CERTIFICATE
kubeconfig() {
  cat >"$1" <<EOF
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://127.0.0.1:$api", certificate-authority: "$pki/ca.crt"}}]
users: [{name: me, user: {client-certificate: "$pki/$2.crt", client-key: "$pki/$2.key"}}]
contexts: [{name: test, context: {cluster: test, user: me}}]
current-context: test
EOF
}

# run NAME COMMAND…: in a session of its own
run() {
  local name=$1; shift
  setsid "$@" >"$dir/$name.log" 2>&1 </dev/null &
  echo "$!" >"$dir/$name.pid"
}

start() {
  dir=$1 pki=$1/pki
  local bin
  command -v openssl >/dev/null || { echo "the cluster needs openssl" >&2; exit 3; }
  bin=$("$here/build.sh")
  mkdir -p "$dir" "$pki"
  dir=$(cd "$dir" && pwd) pki=$dir/pki
  ln -s "$bin" "$dir/bin"
  read -r api etcd_client etcd_peer manager scheduler <<<"$(free_ports 5)"

  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$pki/ca.key" -out "$pki/ca.crt" -days 30 -subj "/CN=test-authority" \
    -addext "keyUsage=critical,keyCertSign,cRLSign,digitalSignature" 2>/dev/null
  openssl genrsa -out "$pki/accounts.key" 2048 2>/dev/null
  certificate apiserver "/CN=kube-apiserver" "subjectAltName=IP:127.0.0.1,IP:10.96.0.1,DNS:localhost,DNS:kubernetes.default.svc\n"
  certificate admin "/O=system:masters/CN=admin"
  certificate kubelet-client "/O=system:masters/CN=kube-apiserver-kubelet-client"
  certificate manager "/CN=system:kube-controller-manager"
  certificate scheduler "/CN=system:kube-scheduler"
  certificate vkubelet "/CN=dte-vkubelet"
  kubeconfig "$dir/kubeconfig" admin
  kubeconfig "$dir/manager.kubeconfig" manager
  kubeconfig "$dir/scheduler.kubeconfig" scheduler
  kubeconfig "$dir/vkubelet.kubeconfig" vkubelet

  run etcd "$bin/etcd" --data-dir "$dir/etcd" --unsafe-no-fsync \
    --listen-client-urls "http://127.0.0.1:$etcd_client" --advertise-client-urls "http://127.0.0.1:$etcd_client" \
    --listen-peer-urls "http://127.0.0.1:$etcd_peer" --initial-advertise-peer-urls "http://127.0.0.1:$etcd_peer" \
    --initial-cluster "default=http://127.0.0.1:$etcd_peer"
  # EndpointSlices may not hold loopback addresses, so the cluster's own service has none.
  run apiserver "$bin/kube-apiserver" --etcd-servers "http://127.0.0.1:$etcd_client" \
    --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$api" --endpoint-reconciler-type none \
    --tls-cert-file "$pki/apiserver.crt" --tls-private-key-file "$pki/apiserver.key" --client-ca-file "$pki/ca.crt" \
    --kubelet-client-certificate "$pki/kubelet-client.crt" --kubelet-client-key "$pki/kubelet-client.key" \
    --kubelet-preferred-address-types InternalIP --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction \
    --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/accounts.key" \
    --service-account-signing-key-file "$pki/accounts.key" --service-cluster-ip-range 10.96.0.0/16 --allow-privileged=true \
    --profiling=false
  for _ in $(seq 600); do
    "$bin/kubectl" --kubeconfig "$dir/kubeconfig" get --raw /readyz >/dev/null 2>&1 && break
    kill -0 "$(cat "$dir/apiserver.pid")" 2>/dev/null || { tail -n 20 "$dir/apiserver.log" >&2; stop "$dir"; exit 1; }
    sleep 0.3
  done
  run manager "$bin/kube-controller-manager" --kubeconfig "$dir/manager.kubeconfig" --bind-address 127.0.0.1 --secure-port "$manager" \
    --authentication-kubeconfig "$dir/manager.kubeconfig" --authorization-kubeconfig "$dir/manager.kubeconfig" \
    --service-account-private-key-file "$pki/accounts.key" --root-ca-file "$pki/ca.crt" --use-service-account-credentials \
    --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" --leader-elect=false --profiling=false
  run scheduler "$bin/kube-scheduler" --kubeconfig "$dir/scheduler.kubeconfig" --bind-address 127.0.0.1 --secure-port "$scheduler" \
    --authentication-kubeconfig "$dir/scheduler.kubeconfig" --authorization-kubeconfig "$dir/scheduler.kubeconfig" --leader-elect=false --profiling=false
  "$bin/kubectl" --kubeconfig "$dir/kubeconfig" apply -f "$here/rbac.yaml" >"$dir/rbac.log"
  # Pods cannot be made before their namespace has its account.
  for _ in $(seq 300); do
    "$bin/kubectl" --kubeconfig "$dir/kubeconfig" get serviceaccount default >/dev/null 2>&1 && break
    sleep 0.2
  done
  echo "$dir/kubeconfig"
}

stop() {
  local dir=$1 name pid
  for name in scheduler manager apiserver etcd; do
    [ -f "$dir/$name.pid" ] || continue
    pid=$(cat "$dir/$name.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
  done
  rm -rf "$dir"
}

case "${1-} ${2-}" in
  "start "?*) start "$2" ;;
  "stop "?*) stop "$2" ;;
  *) echo "usage: $0 start|stop DIR" >&2; exit 2 ;;
esac
