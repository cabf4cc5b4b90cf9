#!/usr/bin/env bash
# Certificates at the door: an engine started with upstream's own InterLinkConfig.yaml (TLS with CACertFile), asked by curl, by
# another engine that has it as a site, and by upstream's virtual kubelet where it and Kubernetes are here (parts.sh).
# Needs DTE_BIN.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${DTE_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/dte}
eval "$("$here/parts.sh")"
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-doors.XXXXXX")
chmod 711 "$work"
started=()
cluster=
finish() {
  status=$?
  for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${started[@]}"; do wait "$pid" 2>/dev/null || true; done
  [ -z "$cluster" ] || "$root/conformance/kubernetes/cluster.sh" stop "$cluster" || true
  if [ "$status" != 0 ]; then tail -n 15 "$work"/*.log >&2 || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

passed=0 failed=0
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $name"; head -n 12 "$work/out" | sed 's/^/    /'; fi; }
# has TEXT: like grep -qF, but reads to the end.
has() { grep -F -- "$1" >/dev/null; }
# within SECONDS COMMAND…: it succeeds in time.
within() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || { "$@"; return 1; }; sleep 0.3; done; }
is() { [ "$1" = "$2" ] || { echo "$1 is not $2"; return 1; }; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

pki=$work/pki
mkdir "$pki"
authority() { openssl req -x509 -newkey rsa:2048 -nodes -keyout "$pki/$1.key" -out "$pki/$1.crt" -days 30 -subj "/O=Example/CN=$1" -addext "keyUsage=critical,keyCertSign,digitalSignature" 2>/dev/null; }
# certificate NAME AUTHORITY [START END]
certificate() {
  openssl req -new -newkey rsa:2048 -nodes -keyout "$pki/$1.key" -subj "/O=Example/CN=$1" -out "$pki/$1.csr" 2>/dev/null
  local extensions="subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"
  if [ $# -lt 4 ]; then
    openssl x509 -req -in "$pki/$1.csr" -CA "$pki/$2.crt" -CAkey "$pki/$2.key" -CAcreateserial -days 30 -extfile <(printf '%b' "$extensions") -out "$pki/$1.crt" 2>/dev/null
    return
  fi
  : >"$pki/index"
  printf '%b' "[ca]\ndefault_ca=own\n[own]\ndatabase=$pki/index\nrand_serial=yes\nnew_certs_dir=$pki\ndefault_md=sha256\npolicy=any\nx509_extensions=ext\n[any]\norganizationName=optional\ncommonName=supplied\n[ext]\n$extensions" >"$pki/ca.conf"
  openssl ca -batch -config "$pki/ca.conf" -cert "$pki/$2.crt" -keyfile "$pki/$2.key" -startdate "$3" -enddate "$4" -in "$pki/$1.csr" -out "$pki/$1.crt" 2>/dev/null
}
authority ours
authority theirs
certificate server ours
certificate kubelet ours
certificate nobody ours
certificate stranger theirs
# A proxy of the kubelet's certificate (RFC 3820), as clients of the grid offer.
openssl req -new -newkey rsa:2048 -nodes -keyout "$pki/proxy.key" -subj "/O=Example/CN=kubelet/CN=1" -out "$pki/proxy.csr" 2>/dev/null
openssl x509 -req -in "$pki/proxy.csr" -CA "$pki/kubelet.crt" -CAkey "$pki/kubelet.key" -CAcreateserial -days 1 \
  -extfile <(echo 'proxyCertInfo=critical,language:id-ppl-inheritAll') -out "$pki/proxy.alone" 2>/dev/null
cat "$pki/proxy.alone" "$pki/kubelet.crt" >"$pki/proxy.crt"
certificate old ours 20200101000000Z 20210101000000Z

# --- an engine with upstream's file
port=$(free_port)
cat >"$work/InterLinkConfig.yaml" <<YAML
InterlinkAddress: "https://127.0.0.1"
InterlinkPort: "$port"
SidecarURL: "unix://$work/nobody.sock"
SidecarPort: "0"
VerboseLogging: false
ErrorsOnlyLogging: false
DataRootFolder: "~/.interlink"
TLS:
  Enabled: true
  CertFile: "$pki/server.crt"
  KeyFile: "$pki/server.key"
  CACertFile: "$pki/ours.crt"
YAML
cat >"$work/dte.toml" <<TOML
[[identity.certificates]]
subject = "CN=nobody,O=Example"
account = "gone"
scopes = ["compute.read"]
[[compute.sites]]
plugin = "host"
name = "local"
TOML
# engine NAME FLAGS…: starts one and waits for it.
engine() {
  local name=$1
  shift
  "$bin" up --data-dir "$work/$name" --listen 127.0.0.1:0 --ready-file "$work/$name.ready" "$@" >"$work/$name.log" 2>&1 &
  started+=($!)
  within 120 test -s "$work/$name.ready"
}
engine near --config "$work/dte.toml" --interlink-config "$work/InterLinkConfig.yaml" --interlink-account kubelets
"$bin" user add kubelets --data-dir "$work/near" >/dev/null
check "what means nothing here is named" has "DataRootFolder is left out" <"$work/near.log"
check "who may come is said" has "acts as the account kubelets" <"$work/near.log"

# ask CERTIFICATE PATH [BODY [FLAGS…]]: prints the answer and its status.
ask() {
  local shown=() path=$2 body=${3-}
  [ -z "$1" ] || shown=(--cert "$pki/$1.crt" --key "$pki/$1.key")
  shift "$(($# < 3 ? $# : 3))"
  curl -s --max-time 60 --cacert "$pki/ours.crt" "${shown[@]}" -w '\n%{http_code}' -X POST -H 'Content-Type: application/json' -d "$body" "$@" "https://127.0.0.1:$port$path"
}
status() { ask "$@" | tail -n 1; }
check "a certificate of the authority comes in" is "$(status kubelet /pinglink)" 200
check "who shows none needs a token" is "$(status '' /pinglink)" 401
check "another authority's certificate counts as none, and says so" has "the certificate of /O=Example/CN=stranger is not trusted" < <(ask stranger /pinglink)
check "an expired one too" has "is not trusted: it has expired" < <(ask old /pinglink)
check "a proxy too" has "proxies (RFC 3820) are not taken" < <(ask proxy /pinglink)
token=$("$bin" token --data-dir "$work/near" --scope compute.read)
for shown in stranger old proxy; do
  check "a token counts beside it ($shown)" is "$(status "$shown" /pinglink '' -H "Authorization: Bearer $token")" 200
done
check "the log says whose it was" has "the certificate of /O=Example/CN=old is not trusted" <"$work/near.log"
check "one whose account is not there is told so" has "there is no such account" < <(ask nobody /pinglink)
pod() { printf '{"metadata":{"name":"%s","namespace":"default","uid":"%s"},"spec":{"restartPolicy":"Never","nodeSelector":{"dte.site":"local"},"containers":[{"name":"main","image":"host","command":["/bin/echo","through the door"]}]}}' "$1" "$2"; }
uid=$(cat /proc/sys/kernel/random/uuid)
check "a pod is taken" is "$(status kubelet /create "{\"pod\":$(pod p "$uid"),\"configmaps\":null,\"secrets\":null,\"projectedvolumesmaps\":null,\"jobscriptURL\":\"\"}")" 200
ended() { ask kubelet /status "[$(pod p "$uid")]" | has '"exitCode":0'; }
check "it runs to its end" within 60 ended
check "its log can be read" has "through the door" < <(ask kubelet /getLogs "{\"Namespace\":\"default\",\"PodUID\":\"$uid\",\"PodName\":\"p\",\"ContainerName\":\"main\",\"Opts\":{}}")
"$bin" ban add --data-dir "$work/near" --subject /O=Example/CN=kubelet --reason test >/dev/null
check "a ban shuts it out at once" has "the account is suspended" < <(ask kubelet /pinglink)
"$bin" ban lift --data-dir "$work/near" --subject CN=kubelet,O=Example >/dev/null
check "until it is lifted" is "$(status kubelet /pinglink)" 200

# --- another engine has it as a site, and shows a certificate
cat >"$work/far.toml" <<TOML
[[compute.sites]]
plugin = "interlink"
name = "beyond"
side = "api"
url = "https://127.0.0.1:$port"
ca = "$pki/ours.crt"
certificate = "$pki/kubelet.crt"
key = "$pki/kubelet.key"
every = "500ms"
TOML
engine far --config "$work/far.toml"
check "an engine shows its certificate there" has beyond < <("$bin" run --data-dir "$work/far" --url "http://$(cat "$work/far.ready")" -- /bin/echo beyond 2>&1)

# --- upstream's virtual kubelet
if [ -z "$INTERLINK_VIRTUAL_KUBELET" ]; then
  echo "SKIPPED: upstream's virtual kubelet with a certificate: it is not here (see conformance/interlink/parts.sh)"
elif ! "$root/conformance/kubernetes/cluster.sh" start "$work/kubernetes" >"$work/cluster.log" 2>&1; then
  echo "SKIPPED: upstream's virtual kubelet with a certificate: there is no Kubernetes here ($(tail -n 1 "$work/cluster.log"))"
else
  cluster=$work/kubernetes
  cat >"$work/kubelet.yaml" <<YAML
InterlinkURL: "https://127.0.0.1"
InterlinkPort: "$port"
VerboseLogging: false
ErrorsOnlyLogging: true
ServiceAccount: "default"
Namespace: "default"
VKTokenFile: ""
DisableCSR: true
Resources: {CPU: "1", Memory: "1Gi", Pods: "10"}
HTTP: {Insecure: false}
KubeletHTTP: {Insecure: true}
TLS:
  Enabled: true
  CertFile: "$pki/kubelet.crt"
  KeyFile: "$pki/kubelet.key"
  CACertFile: "$pki/ours.crt"
YAML
  env KUBECONFIG="$cluster/kubeconfig" CONFIGPATH="$work/kubelet.yaml" NODENAME=upstream POD_IP=127.0.0.1 KUBELET_URL=127.0.0.1 \
    KUBELET_PORT="$(free_port)" "$INTERLINK_VIRTUAL_KUBELET" >"$work/kubelet.log" 2>&1 &
  started+=($!)
  k() { "$cluster/bin/kubectl" --kubeconfig "$cluster/kubeconfig" "$@"; }
  ready() { is "$(k get node upstream -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" True; }
  check "upstream's virtual kubelet is let in by its certificate" within 120 ready
  only='{"spec":{"nodeSelector":{"kubernetes.io/hostname":"upstream","dte.site":"local"},"tolerations":[{"key":"virtual-node.interlink/no-schedule","operator":"Exists"}]}}'
  k label node upstream dte.site=local >/dev/null || true
  k run hello --image=host --restart=Never --overrides="$only" --command -- /bin/echo from-the-cluster >/dev/null
  succeeded() { is "$(k get pod hello -o jsonpath='{.status.phase}')" Succeeded; }
  check "its pods run" within 120 succeeded
  # Upstream asks for logs over a connection that has neither the certificate nor the authority, so they take a token there.
fi
echo "certificates: $passed passed, $failed failed"
[ "$failed" = 0 ]
