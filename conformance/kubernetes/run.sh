#!/usr/bin/env bash
# A real Kubernetes (kube-apiserver, controller-manager, scheduler, etcd, kubectl; built once by build.sh) whose pods run at an
# engine through `dte vkubelet`. Needs DTE_BIN. Engine, virtual kubelet and cluster are its own, because it kills them.
#   run.sh         the engine's own machine is the site
#   run.sh slurm   a private Slurm is the site (scripts/slurm.sh, as root, with DTE_TEST_SYSTEM=1)
# SKIPPED when Kubernetes cannot be built here.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
bin=${DTE_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/dte}
work=$(mktemp -d "${TMPDIR:-/tmp}/dte-kubernetes.XXXXXX")
chmod 711 "$work"
engine='' kubelet='' started='' slurm='' forward=''
finish() {
  local status=$?
  [ -z "$forward" ] || kill "$forward" 2>/dev/null || true
  [ -z "$kubelet" ] || kill "$kubelet" 2>/dev/null || true
  [ -z "$engine" ] || kill "$engine" 2>/dev/null || true
  [ -z "$started" ] || "$here/cluster.sh" stop "$work/cluster" || true
  [ -z "$kubelet" ] || wait "$kubelet" 2>/dev/null || true
  [ -z "$engine" ] || wait "$engine" 2>/dev/null || true
  [ -z "$slurm" ] || "$root/scripts/slurm.sh" stop "$work/slurm" || true
  if [ "${KEEP-}" = 1 ]; then echo "kept: $work" >&2; else rm -rf "$work"; fi
  exit "$status"
}
trap finish EXIT

mkdir "$work/claimed"
chmod 777 "$work/claimed"
echo from-the-site >"$work/claimed/note"
cat >"$work/dte.toml" <<TOML
[[compute.sites]]
plugin = "host"
name = "local"
host_paths = ["$work/claimed"]
TOML
if [ "${1-}" = slurm ]; then
  if [ "$(id -u)" != 0 ] || [ "${DTE_TEST_SYSTEM-}" != 1 ]; then
    echo "SKIPPED: it starts Slurm's daemons, which takes root and DTE_TEST_SYSTEM=1"
    exit 0
  fi
  slurm=$("$root/scripts/slurm.sh" start "$work/slurm")
  eval "$slurm"
  cat >"$work/dte.toml" <<TOML
[[compute.sites]]
plugin = "slurm"
name = "batch"
folder = "$work/shared"
conf = "$SLURM_CONF"
jobcomp = "$DTE_SLURM_JOBCOMP"
poll = "1s"
file_lag = "2s"
# Jobs run as root here, and volumes need namespaces.
walls = "other-user"
TOML
fi

passed=0 failed=0 skipped=0
check() { local name=$1; shift; if "$@" >"$work/out" 2>&1; then passed=$((passed + 1)); echo "ok: $name"; else failed=$((failed + 1)); echo "FAILED: $name"; head -n 12 "$work/out" | sed 's/^/    /'; fi; }
skip() { skipped=$((skipped + 1)); echo "SKIPPED: $1"; }
# has TEXT: like grep -qF, but reads to the end, so that the writer does not die of a closed pipe.
has() { grep -F -- "$1" >/dev/null; }
# within SECONDS COMMAND…: it succeeds in time.
within() { local end=$((SECONDS + $1)); shift; until "$@" >/dev/null 2>&1; do [ "$SECONDS" -lt "$end" ] || { "$@"; return 1; }; sleep 0.3; done; }
is() { [ "$1" = "$2" ] || { echo "$1 is not $2"; return 1; }; }

k() { "$work/cluster/bin/kubectl" --kubeconfig "$work/cluster/kubeconfig" "$@"; }
phase() { k get pod "$1" -o jsonpath='{.status.phase}'; }
in_phase() { is "$(phase "$1")" "$2"; }
count() { k get pods -l "$1" --field-selector "status.phase=$2" --no-headers 2>/dev/null | wc -l; }
ready_is() { is "$(k get node dte-host -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}')" "$1"; }

apply() { k apply -f "$here/manifests/$1.yaml" >/dev/null || { failed=$((failed + 1)); echo "FAILED: the cluster refused $1.yaml"; }; }

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
start_engine() {
  rm -f "$work/ready"
  "$bin" up --data-dir "$work/data" --config "$work/dte.toml" --listen "127.0.0.1:$port" --ready-file "$work/ready" >>"$work/engine.log" 2>&1 &
  engine=$!
  within 60 test -s "$work/ready"
}
start_kubelet() {
  "$bin" vkubelet --data-dir "$work/data" --kubeconfig "$work/cluster/vkubelet.kubeconfig" --node-name dte-host \
    --interlink-url "http://127.0.0.1:$port/interlink" --token-file "$work/token" --state-dir "$work/state" \
    --listen 127.0.0.1:0 --ping-every 2s --serving-signer >>"$work/kubelet.log" 2>&1 &
  kubelet=$!
}

"$here/cluster.sh" start "$work/cluster" >"$work/cluster.out" && code=0 || code=$?
if [ "$code" = 3 ]; then echo "SKIPPED: Kubernetes cannot be had here"; exit 0; fi
[ "$code" = 0 ] || exit "$code"
started=yes
start_engine
"$bin" token --data-dir "$work/data" --lifetime 8h >"$work/token"
start_kubelet

only='{"spec":{"nodeSelector":{"kubernetes.io/hostname":"dte-host"},"tolerations":[{"key":"virtual-node.interlink/no-schedule","operator":"Exists"}]}}'
# pod NAME COMMAND…: kubectl run
pod() { local name=$1; shift; k run "$name" --image=host --restart=Never --overrides="$only" --command -- "$@"; }

# --- the node
check "the node is ready" within 30 ready_is True
version() { k version -o json | has "\"gitVersion\": \"v$(sed -n 's/^\tk8s.io\/kubernetes v//p' "$here/module/go.mod")\""; }
check "kubectl and the server say their version" version
capacity() { [ "$(k get node dte-host -o jsonpath='{.status.allocatable.pods}')" != 0 ] && k get node dte-host -o jsonpath='{.status.allocatable.cpu}{.status.allocatable.memory}'; }
check "the node says what the site has" capacity
check "its taint keeps others away" bash -c "$(declare -f k has); work=$work; k get node dte-host -o jsonpath='{.spec.taints}' | has virtual-node.interlink/no-schedule"
lease() { is "$(k -n kube-node-lease get lease dte-host -o jsonpath='{.spec.holderIdentity} {.metadata.ownerReferences[0].kind}')" "dte-host Node"; }
check "it holds its lease" lease

# --- one pod
check "kubectl run" pod hello /bin/sh -c 'echo hello; echo again'
check "it succeeds" within 30 in_phase hello Succeeded
check "kubectl logs" bash -c "$(declare -f k); work=$work; diff <(k logs hello) <(printf 'hello\nagain\n')"
check "kubectl logs --tail" bash -c "$(declare -f k); work=$work; diff <(k logs hello --tail=1) <(echo again)"
check "kubectl logs --timestamps" bash -c "$(declare -f k); work=$work; k logs hello --timestamps | grep -E '^[0-9]{4}-.*Z hello' >/dev/null"
check "kubectl logs --limit-bytes" bash -c "$(declare -f k); work=$work; [ \"\$(k logs hello --limit-bytes=5)\" = hello ]"
described() { k describe pod hello >"$work/described"; for text in "Exit Code:    0" "Reason:       Completed" "ProviderCreateSuccess" "Node:             dte-host"; do has "$text" <"$work/described" || { echo "no $text"; cat "$work/described"; return 1; }; done; }
check "kubectl describe" described
check "the end has both times" bash -c "$(declare -f k); work=$work; k get pod hello -o jsonpath='{.status.containerStatuses[0].state.terminated.startedAt} {.status.containerStatuses[0].state.terminated.finishedAt}' | grep -E '^[0-9]+-.*Z .*Z$' >/dev/null"
pod follow /bin/sh -c 'for i in 1 2 3 4 5; do echo line $i; sleep 1; done' >/dev/null
within 30 in_phase follow Running || true
follow() { timeout 30 "$work/cluster/bin/kubectl" --kubeconfig "$work/cluster/kubeconfig" logs -f follow >"$work/followed" && is "$(tail -n 1 "$work/followed")" "line 5" && is "$(wc -l <"$work/followed")" 5; }
check "kubectl logs -f follows to the end" follow
apply exit-codes
check "a pod with a container that fails has failed" within 30 in_phase exit-codes Failed
code_of() { k get pod "$1" -o jsonpath="{.status.$2[?(@.name==\"$3\")].state.terminated.exitCode}"; }
check "each container has its own exit code" bash -c "$(declare -f k code_of); work=$work; [ \"\$(code_of exit-codes containerStatuses good) \$(code_of exit-codes containerStatuses bad)\" = '0 7' ]"
check "and its own log" bash -c "$(declare -f k); work=$work; [ \"\$(k logs exit-codes -c bad)\" = bad ]"

# --- environment, volumes, init containers
apply environment
check "the pod with all kinds of variables runs" within 30 in_phase environment Succeeded
environment() {
  k logs environment >"$work/env"
  for line in 'COLOUR=blue' 'SIZE=small' 'MY_PASSWORD=pa$$word$(SIZE)' 'ONE_KEY=pa$$word$(SIZE)' 'POD_NAME=environment' 'NODE=dte-host' 'TIER=batch' \
    'NOTE=say "hi"' 'ACCOUNT=default' 'MILLIS=150' 'CORES=1' 'MY_DB_SERVICE_PORT=5432' 'MY_DB_SERVICE_PORT_SQL=5432' 'KUBERNETES_SERVICE_PORT=443' \
    'GREETING=hello-blue-$(COLOUR)-5432' 'expanded=hello-blue-$(COLOUR)-5432' 'escaped=$(GREETING)' 'unknown=$(NOBODY)'; do
    grep -xF -- "$line" "$work/env" >/dev/null || { echo "no $line"; cat "$work/env"; return 1; }
  done
  ! grep '^MAYBE=' "$work/env"
}
check "its variables are as on a real node" environment
check "what is optional and missing is told" bash -c "$(declare -f k has); work=$work; k describe pod environment | has OptionalSecretKeyNotFound"
apply volumes
check "the pod with all kinds of volumes runs" within 30 in_phase volumes Succeeded
volumes() {
  k logs volumes >"$work/volumes"
  for line in config=first item=second items=deep raw=00ff secret=s3cret mode=440 sub=second shared=from-init 'labels=app="volumes" tier="batch"' \
    joined=second token=eyJ namespace=default 'authority=-----BEGIN CERTIFICATE-----' written=no; do
    grep -F -- "$line" "$work/volumes" >/dev/null || { echo "no $line"; cat "$work/volumes"; return 1; }
  done
}
check "its files are as on a real node" volumes
apply init-fails
check "a failed init container fails the pod" within 30 in_phase init-fails Failed
inits() { is "$(code_of init-fails initContainerStatuses good) $(code_of init-fails initContainerStatuses bad)" "0 3" && is "$(k logs init-fails -c bad)" cannot; }
check "its exit code and log are there" inits
apply waits
waiting() { is "$(k get pod "$1" -o jsonpath='{.status.containerStatuses[0].state.waiting.reason}')" "$2"; }
check "a pod waits for its ConfigMap and says so" within 20 waiting waits CreateContainerConfigError
k create configmap later --from-literal=value=it >/dev/null
check "it runs once the ConfigMap is there" within 30 in_phase waits Succeeded
apply unsupported
check "a volume that cannot be is named" within 20 bash -c "$(declare -f k has); work=$work; k describe pod unsupported | has 'nfs cannot be mounted'"
k delete pod unsupported --wait=false >/dev/null
gone() { ! k get pod "$1" >/dev/null 2>&1; }
check "it can be deleted" within 20 gone unsupported
sed "s|PLACE|$work/claimed|" "$here/manifests/claims.yaml" | k apply -f - >/dev/null
if [ -z "$slurm" ]; then
  check "a pod with claimed volumes runs" within 60 in_phase claims Succeeded
  claims() { is "$(k logs claims | tr '\n' ' ')" "from-the-site written read-only " && is "$(cat "$work/claimed/answer")" written; }
  check "they are the site's folders, to write and to read" claims
else
  check "a claimed volume is refused where the site permits no folders" within 60 bash -c "$(declare -f k has); work=$work; k describe pod claims | has 'hostPath'"
fi
check "a claimed volume that nobody placed is named" within 60 bash -c "$(declare -f k has); work=$work; k describe pod claims-nowhere | has 'annotates it with dte.io/site-path'"
k delete pod claims claims-nowhere --wait=false --grace-period=1 >/dev/null
apply daemonset
check "pods of a DaemonSet are rejected" within 20 bash -c "$(declare -f k has); work=$work; k get pods -l app=everywhere -o jsonpath='{.items[*].status.reason}' | has RejectedDaemonSet"
k delete -f "$here/manifests/daemonset.yaml" >/dev/null

# --- many
apply job
check "a Job with 50 completions" k wait --for=condition=Complete job/fifty --timeout=180s
fifty() { is "$(k get job fifty -o jsonpath='{.status.succeeded} {.status.failed}')" "50 " && is "$(k logs -l job-name=fifty --tail=-1 --max-log-requests=60 | sort -u | wc -l)" 50; }
check "each ran once and has its own log" fifty
apply deployment
check "a Deployment is available" k rollout status deployment/web --timeout=60s
k scale deployment web --replicas=4 >/dev/null
running() { is "$(count app=web Running)" "$1" && is "$(k get pods -l app=web --no-headers | wc -l)" "$1"; }
check "it is scaled up" within 60 running 4
k scale deployment web --replicas=1 >/dev/null
check "it is scaled down" within 60 running 1
web=$(k get pods -l app=web -o jsonpath='{.items[0].metadata.name}')
first=$(k get pod "$web" -o jsonpath='{.metadata.uid}')
k delete pod "$web" --grace-period=0 --force >/dev/null 2>&1
ended() { python3 - "http://127.0.0.1:$port" "$(cat "$work/token")" "$1" <<'PY'
import json, sys, urllib.request
url, token, uid = sys.argv[1:]
request = urllib.request.Request(url + "/interlink/status", data=json.dumps([{"metadata": {"uid": uid}}]).encode(), headers={"Authorization": "Bearer " + token}, method="POST")
assert json.load(urllib.request.urlopen(request)) == []
PY
}
check "a pod deleted by force ends at the site" within 30 ended "$first"
check "its place is taken" within 60 running 1
k delete deployment web >/dev/null
check "all pods of the Deployment end" within 60 running 0

# --- the kubelet's own address
own=$(k get node dte-host -o jsonpath='{.status.daemonEndpoints.kubeletEndpoint.Port}')
pki=$work/cluster/pki
# The API server passes no requests on to loopback addresses, so these come with its certificate.
raw() { curl -skf --cert "$pki/kubelet-client.crt" --key "$pki/kubelet-client.key" "https://127.0.0.1:$own/$1"; }
summary() { raw stats/summary | python3 -c 'import json, sys; s = json.load(sys.stdin); assert s["node"]["nodeName"] == "dte-host", s'; }
check "figures for autoscalers" summary
requested() { is "$(k get csr --no-headers | wc -l)" 1; }
check "the kubelet asks the cluster for a certificate" within 60 requested
k certificate approve "$(k get csr -o jsonpath='{.items[0].metadata.name}')" >/dev/null
certified() { curl -sf --cacert "$pki/ca.crt" --cert "$pki/kubelet-client.crt" --key "$pki/kubelet-client.key" "https://127.0.0.1:$1/healthz"; }
check "and shows it once it is approved" within 60 certified "$own"
metrics() { raw metrics/resource >"$work/metrics" && has node_cpu_usage_seconds_total <"$work/metrics" && has "scrape_error 0" <"$work/metrics"; }
check "figures for metrics-server" metrics
listed() { raw pods | python3 -c 'import json, sys; assert "hello" in [p["metadata"]["name"] for p in json.load(sys.stdin)["items"]]'; }
check "the list of pods" listed
status_of() { curl -sk -o /dev/null -w '%{http_code}' "$@"; }
check "strangers are refused" is "$(status_of "https://127.0.0.1:$own/pods")" 401
check "who may not is refused" is "$(status_of --cert "$pki/scheduler.crt" --key "$pki/scheduler.key" "https://127.0.0.1:$own/containerLogs/default/hello/main")" 403
check "a token that may not is refused" is "$(status_of -H "Authorization: Bearer $(k create token default)" "https://127.0.0.1:$own/pods")" 403

# --- inside a pod
# Tells its size when that changes, reads a line, then the key that ends the input.
talker='trap "echo now \$(stty size)" WINCH; test -t 0 -a -t 1 && echo terminal; until [ "$(stty size)" = "24 80" ]; do sleep 0.1; done
  echo sized; until read line; do :; done; echo got $line; read other || true; echo end; exit 7'
at_terminal() {
  local code=0
  printf '%s\n' 'expect terminal' 'expect sized' 'size 101 33' 'expect now 33 101' 'type hello' 'expect got hello' 'key 04' 'expect end' |
    python3 "$here/terminal.py" "$work/cluster/bin/kubectl" --kubeconfig "$work/cluster/kubeconfig" exec -it stays -- /bin/sh -c "$talker" || code=$?
  is "$code" 7
}
pod stays /bin/sh -c 'echo up; exec sleep 600' >/dev/null
check "a pod that stays" within 30 in_phase stays Running
check "kubectl exec" bash -c "$(declare -f k); work=$work; [ \"\$(k exec stays -- /bin/echo inside)\" = inside ]"
check "with standard input" bash -c "$(declare -f k); work=$work; [ \"\$(echo typed | k exec -i stays -- /bin/cat)\" = typed ]"
check "with its exit code" bash -c "$(declare -f k); work=$work; k exec stays -- /bin/sh -c 'exit 5'; [ \$? = 5 ]"
head -c 5000000 /dev/urandom >"$work/much"
check "much in and out at once" bash -c "$(declare -f k); work=$work; k exec -i stays -- /bin/cat <$work/much | cmp - $work/much"
if [ -z "$slurm" ]; then check "kubectl exec -it: a terminal, its size and its keys" at_terminal; else skip "kubectl exec -it: a batch site has no terminals"; fi
mkdir -p "$work/tree/deep"
cp "$work/much" "$work/tree/deep/"
copied() { k cp "$work/tree" stays:/tmp/tree && k cp stays:/tmp/tree "$work/back" && diff -r "$work/tree" "$work/back"; }
check "kubectl cp, there and back" copied

# --- attached to its own program
kubectl=("$work/cluster/bin/kubectl" --kubeconfig "$work/cluster/kubeconfig")
run_at() { local name=$1; shift; "${kubectl[@]}" run "$name" --image=host --restart=Never --overrides="$only" "$@"; }
if [ -n "$slurm" ]; then
  unattached() { ! k attach stays >"$work/attach.out" 2>&1 && { has 'cannot attach' <"$work/attach.out" || { cat "$work/attach.out"; return 1; }; }; }
  check "kubectl attach is refused with the reason" unattached
else
  piped() { printf 'typed\nmore\n' | run_at piped -i --rm --quiet --command -- /bin/sh -c 'cat; echo end' >"$work/piped" && for word in typed more end; do grep -x "$word" "$work/piped" >/dev/null || { cat "$work/piped"; return 1; }; done; }
  check "kubectl run -i --rm: what is piped in comes back" piped
  check "and the pod is gone" within 30 bash -c "$(declare -f k); work=$work; k get pod piped 2>&1 | grep -F NotFound"
  shell() {
    local code=0
    printf '%s\n' 'expect sized' 'size 101 33' 'expect now 33 101' 'type hello' 'expect got hello' 'key 04' 'expect end' |
      python3 "$here/terminal.py" "${kubectl[@]}" run shell -it --rm --image=host --restart=Never --overrides="$only" --command -- /bin/sh -c "$talker" || code=$?
    is "$code" 7
  }
  check "kubectl run -it: a terminal, and the program's exit code" shell
  run_at talks -i --attach=false --leave-stdin-open --command -- /bin/sh -c 'while read line; do echo got $line; done' >/dev/null
  within 30 in_phase talks Running || true
  # types WORD: until two who are attached have seen the answer; then both leave.
  types() (
    trap '' PIPE
    rm -f "$work/keys"
    mkfifo "$work/keys"
    "${kubectl[@]}" attach talks >"$work/watched" 2>"$work/watched.err" &
    watcher=$!
    "${kubectl[@]}" attach -i talks <"$work/keys" >"$work/answers" 2>"$work/answers.err" &
    typist=$!
    exec 8>"$work/keys"
    seen() { echo "$1" >&8; grep -x "got $1" "$work/answers" && grep -x "got $1" "$work/watched"; }
    code=0
    within 30 seen "$1" || { code=1; cat "$work/watched.err" "$work/answers.err"; }
    kill "$watcher" "$typist" 2>/dev/null || true
    wait "$watcher" "$typist" 2>/dev/null || true
    return "$code"
  )
  check "kubectl attach -i, and another who watches" types first
  check "who leaves leaves it running" in_phase talks Running
fi

# --- its ports
serve='import functools, http.server as h; s = h.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(h.SimpleHTTPRequestHandler, directory="/tmp"))
print(s.server_port, flush=True); s.serve_forever()'
if [ -n "$slurm" ]; then
  skip "kubectl port-forward: a batch site has no way into the network of its nodes"
else
  pod serves /usr/bin/python3 -c "$serve" >/dev/null
  its_port() { k logs serves | sed -n 1p | grep -x '[0-9]*'; }
  check "a pod that serves" within 60 its_port
  # Its log may be had before the cluster has heard that it runs, and kubectl forwards no ports of pods that do not.
  check "and is seen to run" within 60 in_phase serves Running
  inside=$(its_port || true)
  # The engine's own port too, which is none of the pod's.
  "$work/cluster/bin/kubectl" --kubeconfig "$work/cluster/kubeconfig" port-forward pod/serves ":$inside" ":$port" >"$work/forward.out" 2>"$work/forward.err" &
  forward=$!
  listens() { is "$(grep -c 'from 127.0.0.1:' "$work/forward.out")" 2 || { cat "$work/forward.err"; return 1; }; }
  check "kubectl port-forward" within 30 listens
  local_of() { sed -n "s/^Forwarding from 127.0.0.1:\([0-9]*\) -> $1\$/\1/p" "$work/forward.out"; }
  served() {
    k cp "$work/much" serves:/tmp/much || return 1
    local n
    for n in 1 2 3 4 5 6; do curl -sf --max-time 60 -o "$work/served.$n" "http://127.0.0.1:$(local_of "$inside")/much" & done
    for n in 1 2 3 4 5 6; do within 60 cmp "$work/much" "$work/served.$n" || return 1; done
  }
  check "six connections of one session at once" served
  stranger() { ! curl -s --max-time 30 "http://127.0.0.1:$(local_of "$port")/healthz" && within 30 grep -F 'no process of the pod listens' "$work/forward.err"; }
  check "ports of others on the machine are not the pod's" stranger
  # kubectl ends the whole session after an error.
  kill "$forward" 2>/dev/null || true
  wait "$forward" 2>/dev/null || true
  forward=''
  k delete pod serves --wait=false --grace-period=1 >/dev/null
fi

# --- links and kills
since=$(k get pod stays -o jsonpath='{.status.containerStatuses[0].state.running.startedAt}')
kill -9 "$engine"; wait "$engine" 2>/dev/null || true
check "a site that is away makes the node NotReady" within 30 ready_is False
tolerates() { k get pod stays -o json | python3 -c '
import json, sys
all = json.load(sys.stdin)["spec"]["tolerations"]
for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
    assert [t for t in all if t.get("key") == key and "tolerationSeconds" not in t], all'; }
check "its pods are not evicted" tolerates
k apply -f - >/dev/null <<EOF
{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "queued"}, "spec": {"nodeName": "dte-host", "restartPolicy": "Never",
 "tolerations": [{"operator": "Exists"}], "containers": [{"name": "main", "image": "host", "command": ["/bin/echo", "never"]}]}}
EOF
queued=$(k get pod queued -o jsonpath='{.metadata.uid}')
sleep 3
k delete pod queued --wait=false >/dev/null
start_engine
check "the node is ready again when the site is back" within 30 ready_is True
check "a pod that was deleted while it waited goes away" within 30 gone queued
check "and never ran" ended "$queued"
check "the pod from before still runs, and was not started again" bash -c "$(declare -f k); work=$work; [ \"\$(k get pod stays -o jsonpath='{.status.phase} {.status.containerStatuses[0].state.running.startedAt} {.status.containerStatuses[0].restartCount}')\" = 'Running $since 0' ]"
if k get pod talks >/dev/null 2>&1; then
  check "kubectl attach to a pod from before" types later
  k delete pod talks --wait=false --grace-period=1 >/dev/null
fi
k delete pod stays --wait=false --grace-period=1 >/dev/null
check "it can be deleted" within 40 gone stays

apply job-under-fire
for round in 1 2 3; do
  sleep 2
  kill -9 "$kubelet"; wait "$kubelet" 2>/dev/null || true
  [ "$round" = 2 ] || { kill -9 "$engine"; wait "$engine" 2>/dev/null || true; start_engine; }
  start_kubelet
done
check "a Job under fire completes" k wait --for=condition=Complete job/under-fire --timeout=240s
once() {
  is "$(k get job under-fire -o jsonpath='{.status.succeeded} {.status.failed}')" "60 " || return 1
  is "$(k get pods -l job-name=under-fire --no-headers | wc -l)" 60 || return 1
  k logs -l job-name=under-fire --tail=-1 --max-log-requests=100 >"$work/fire"
  is "$(wc -l <"$work/fire")" 120 && is "$(sort -u "$work/fire" | wc -l)" 120
}
check "each of its pods ran exactly once" once
kill -9 "$kubelet"; wait "$kubelet" 2>/dev/null || true
orphan=$(k get pods -l job-name=under-fire -o jsonpath='{.items[0].metadata.uid}')
k delete job under-fire >/dev/null
start_kubelet
check "what the cluster forgot meanwhile is cleaned up at the site" within 90 ended "$orphan"
again() { certified "$(k get node dte-host -o jsonpath='{.status.daemonEndpoints.kubeletEndpoint.Port}')" && requested; }
check "its certificate outlives kills without another approval" within 60 again
echo "kubernetes: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
