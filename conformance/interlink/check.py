"""Drives interLink chains the way upstream's virtual kubelet does: check.py URL TOKEN WORK CHAIN…"""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import uuid

URL, TOKEN, WORK, *CHAINS = sys.argv[1:]
PATIENCE = 150
passed = failed = 0


def check(name, good, detail=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {name}: {detail}"[:600])


class Unix(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("unix")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Door:
    """An interLink API server: at a URL with a token, or at a socket."""

    def __init__(self, name, sock=None, site=None):
        self.name, self.sock, self.site = name, sock, site

    def ask(self, method, path, body=None, token=TOKEN, raw=None):
        if self.sock:
            connection, prefix = Unix(self.sock), ""
        else:
            connection, prefix = http.client.HTTPConnection(urllib.parse.urlsplit(URL).netloc), "/interlink"
        headers = {"InterLink-Http-Session": "Check#1"}
        if not self.sock and token:
            # Upstream's client does not trim the token's file.
            headers["Authorization"] = f"Bearer {token}"
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        if data is not None:
            headers["Content-Type"] = "application/json"
        connection.request(method, prefix + path, data, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, text

    def pod(self, script, init=None, name="p"):
        def container(name, script):
            return {"name": name, "image": "host", "command": ["/bin/sh", "-c", script],
                    "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}, "imagePullPolicy": "IfNotPresent",
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}
        scripts = script if isinstance(script, list) else [script]
        spec = {"containers": [container(f"main{n or ''}", one) for n, one in enumerate(scripts)], "restartPolicy": "Never",
                "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "serviceAccountName": "default",
                "nodeName": "virtual", "securityContext": {}, "schedulerName": "default-scheduler"}
        if init:
            spec["initContainers"] = [container("first", init)]
        if self.site:
            spec["nodeSelector"] = {"dte.site": self.site}
        return {"metadata": {"name": name, "namespace": "default", "uid": str(uuid.uuid4()), "creationTimestamp": None,
                             "labels": {"a": "b"}}, "spec": spec, "status": {"phase": "Pending", "qosClass": "Guaranteed"}}

    def create(self, pod, **more):
        request = {"pod": pod, "configmaps": None, "secrets": None, "projectedvolumesmaps": None, "jobscriptURL": ""}
        return self.ask("POST", "/create", {**request, **more})

    def status(self, pods):
        status, text = self.ask("GET", "/status", pods)
        if status != 200:
            return {}
        return {entry["UID"]: entry for entry in json.loads(text) or []}

    def log(self, pod, container="main", **options):
        opts = {"Tail": 0, "Bytes": 0, "Timestamps": False, "Follow": False, "Previous": False, "SinceSeconds": 0,
                "SinceTime": "0001-01-01T00:00:00Z", **options}
        meta = pod["metadata"]
        return self.ask("GET", "/getLogs", {"Namespace": "default", "PodUID": meta["uid"], "PodName": meta["name"],
                                            "ContainerName": container, "Opts": opts})


def states(entry, inits=False):
    return [one["state"] for one in (entry or {}).get("initContainers" if inits else "containers") or []]


def codes(entry, inits=False):
    return [state.get("terminated", {}).get("exitCode") for state in states(entry, inits)]


def over(entry):
    """Whether a virtual kubelet would see the pod's end."""
    mains, inits = codes(entry), codes(entry, True)
    return bool(mains) and (None not in mains or any(inits))


def wait(door, pods, done, patience=PATIENCE):
    """Asks for all at once until each is done; the last word of each."""
    last, end = {}, time.time() + patience
    while time.time() < end:
        last.update(door.status(pods))
        if all(done(last.get(pod["metadata"]["uid"])) for pod in pods):
            break
        time.sleep(0.5)
    return [last.get(pod["metadata"]["uid"]) for pod in pods]




def chain(door, inits_apart=True, is_plugin=False):
    name = door.name
    method = "GET" if is_plugin else "POST"
    status, text = door.ask(method, "/status" if is_plugin else "/pinglink", [] if is_plugin else None)
    check(f"{name}: ping", status == 200, (status, text))
    good, bad, two = door.pod("echo out; echo err >&2"), door.pod("echo no; exit 3"), door.pod(["exit 0", "exit 5"])
    init = door.pod("echo never", init="echo first; exit 4")
    fine = door.pod("echo after", init="echo before")
    long = door.pod("echo begun; sleep 600")
    short = [door.pod(f"echo {n}; exit {n % 3}") for n in range(10)]
    for pod in [good, bad, two, init, fine, long, *short]:
        status, text = door.create(pod)
        answer = json.loads(text) if status == 200 else {}
        check(f"{name}: create", answer.get("PodUID") == pod["metadata"]["uid"] and isinstance(answer.get("PodJID"), str), (status, text))
    ended = [good, bad, two, init, fine, *short]
    words = wait(door, ended, over)
    check(f"{name}: exit 0", codes(words[0]) == [0], words[0])
    check(f"{name}: exit 3", codes(words[1]) == [3], words[1])
    check(f"{name}: two containers", codes(words[2]) == [0, 5], words[2])
    if inits_apart:
        check(f"{name}: failing init container", codes(words[3], True) == [4], words[3])
    else:
        check(f"{name}: failing init container fails the pod", any(codes(words[3])), words[3])
    check(f"{name}: init container", codes(words[4]) == [0], words[4])
    exits = [codes(word) for word in words[5:]]
    check(f"{name}: ten pods", exits == [[n % 3] for n in range(10)], exits)
    check(f"{name}: names", all(word and word["name"] == "p" and word["namespace"] == "default" for word in words), words[0])
    status, text = door.log(good)
    check(f"{name}: log", status == 200 and "out\n" in text and "err\n" in text, (status, text))
    if inits_apart:
        status, text = door.log(init, "first")
        check(f"{name}: log of an init container", status == 200 and "first\n" in text, (status, text))
    word, = wait(door, [long], lambda entry: any("running" in state for state in states(entry)))
    check(f"{name}: running", any("running" in state for state in states(word)), word)
    status, text = door.ask("DELETE", "/delete", long)
    check(f"{name}: delete", status == 200, (status, text))
    return long, [pod["metadata"]["uid"] for pod in [*ended, long]]


def volumes(door):
    """What ConfigMaps, Secrets and projected volumes hold arrives where it is mounted."""
    pod = door.pod("cat /etc/model/settings /etc/key/token /var/run/own/where; echo; test -w /etc/model/settings || echo fast")
    pod["spec"]["volumes"] = [
        {"name": "model", "configMap": {"name": "model", "defaultMode": 420}},
        {"name": "key", "secret": {"secretName": "key", "defaultMode": 256}},
        {"name": "own", "projected": {"sources": [{"downwardAPI": {"items": []}}], "defaultMode": 420}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [
        {"name": "model", "mountPath": "/etc/model", "readOnly": True}, {"name": "key", "mountPath": "/etc/key", "readOnly": True},
        {"name": "own", "mountPath": "/var/run/own", "readOnly": True}]
    status, text = door.create(
        pod, configmaps=[{"metadata": {"name": "model", "creationTimestamp": None}, "data": {"settings": "one "}}],
        secrets=[{"metadata": {"name": "key", "creationTimestamp": None}, "data": {"token": "dHdvIA=="}, "type": "Opaque"}],
        projectedvolumesmaps=[{"metadata": {"name": "own", "creationTimestamp": None}, "data": {"where": "three"}}])
    check(f"{door.name}: create with volumes", status == 200, (status, text))
    word, = wait(door, [pod], over, 30)
    status, text = door.log(pod)
    check(f"{door.name}: what volumes hold", codes(word) == [0] and text == "one two three\nfast\n", (word, text))


def jobs_of(uids):
    """Ended jobs of Slurm, by the pod whose name they have."""
    with open(os.environ["DTE_SLURM_JOBCOMP"]) as file:
        lines = file.read().splitlines()
    return {uid: [line for line in lines if f"Name={uid}" in line] for uid in uids}


def once_each(name, uids, cancelled):
    """Every pod was one job, and the one that was deleted ended before its time."""
    end = time.time() + 60
    while time.time() < end:
        jobs = jobs_of(uids)
        if all(jobs.values()):
            break
        time.sleep(0.5)
    check(f"{name}: one job each", all(len(lines) == 1 for lines in jobs.values()), {uid: len(lines) for uid, lines in jobs.items()})
    check(f"{name}: its job is cancelled", any("JobState=CANCELLED" in line for line in jobs[cancelled]), jobs[cancelled])


def interface():
    """What upstream's virtual kubelet and the first release's documents ask of an API server."""
    door = Door("interface")
    for method in ["GET", "POST", "PUT", "DELETE"]:
        status, text = door.ask(method, "/pinglink")
        check(f"ping by {method}", status == 200 and json.loads(text)["resources"]["pods"].isdigit(), (status, text))
    check("ping of the first release", door.ask("POST", "/ping") == (200, "0"))
    status, text = door.ask("POST", "/setKubeCFG", raw=b"apiVersion: v1\nkind: Config\n")
    check("setKubeCFG of the first release", (status, text) == (200, "OK"), (status, text))
    status, text = door.ask("POST", "/pinglink", token=None)
    check("no token", status == 401, (status, text))
    status, text = door.ask("POST", "/pinglink", token="nonsense")
    check("bad token", status == 401, (status, text))
    status, text = door.ask("POST", "/pinglink", token=TOKEN + "  ")
    check("a token's file ends in white space", status == 200, (status, text))
    uid = "0190b0a0-0000-4000-8000-000000000001"
    asked = {"Namespace": "default", "PodUID": uid, "PodName": "p", "ContainerName": "", "Opts": {}}
    for change, wanted in [
        ({"Namespace": "Not_a_label"}, "invalid namespace: must be a valid DNS label"),
        ({"PodUID": uid.upper()}, "invalid pod UID: must be a valid UUID"),
        ({"PodUID": "../../etc/passwd"}, "invalid pod UID: must be a valid UUID"),
        ({"ContainerName": "../x"}, "invalid container name: must be a valid DNS label"),
        ({"Opts": {"Tail": 1, "Bytes": 1}}, "Both Tail and LimitBytes set. Set only one of them"),
        ({"Opts": {"SinceSeconds": 1, "SinceTime": "2026-01-01T00:00:00Z"}}, "Both SinceSeconds and SinceTime set. Set only one of them"),
    ]:
        status, text = door.ask("GET", "/getLogs", {**asked, **change})
        check(f"getLogs with {change}", status == 400 and text.strip() == wanted, (status, text))
    status, text = door.ask("GET", "/getLogs", raw=b"{")
    check("getLogs that is not JSON", status == 400 and text.startswith("invalid request body"), (status, text))
    for path, method in [("/create", "POST"), ("/delete", "DELETE"), ("/status", "GET")]:
        status, text = door.ask(method, path, raw=b'{"pod": ')
        check(f"{path} that is not JSON", status == 400, (status, text))
    status, text = door.ask("POST", "/create", raw=b" " * (65 << 20))
    check("65 MiB are too much", status == 413, (status, text))
    check("the engine is well after it", door.ask("POST", "/pinglink")[0] == 200)
    check("status of nothing", door.ask("GET", "/status", []) == (200, "[]"), door.ask("GET", "/status", []))
    pod = door.pod("echo one; echo two")
    check("status of an unknown pod", door.status([pod]) == {})
    check("delete of an unknown pod", door.ask("DELETE", "/delete", pod)[0] == 200)
    first, again = door.create(pod), door.create(pod)
    check("create again answers the same", first == again and first[0] == 200, (first, again))
    word, = wait(door, [pod], over)
    check("its status is in the answer to []", pod["metadata"]["uid"] in door.status([]), word)
    for body in [pod, pod["metadata"]["uid"]]:
        status, text = door.ask("POST", "/updateCache", body)
        check("updateCache", status == 200 and text == "Updated cache", (status, text))
    status, text = door.log(pod, Tail=1)
    check("the last line", text == "two\n", (status, text))
    status, text = door.log(pod, Bytes=3)
    check("the first bytes", text == "one", (status, text))
    status, text = door.log(pod, Timestamps=True)
    check("times", len(text.splitlines()) == 2 and text.startswith("20") and text.endswith(" two\n"), (status, text))
    check("delete", door.ask("DELETE", "/delete", pod)[0] == 200)
    check("deleted pods do not come back", door.status([pod]) == {})
    volumes(door)
    hostile(door)


def hostile(door):
    def refused(name, change, word):
        pod = door.pod("true")
        change(pod)
        status, text = door.create(pod)
        check(f"hostile: {name}", status in (400, 403) and word in text, (status, text))

    def container(key, value):
        def change(pod):
            pod["spec"]["containers"][0][key] = value
        return change

    refused("name with a way up", lambda pod: pod["metadata"].update(name="../x"), "metadata.name")
    refused("namespace with a way up", lambda pod: pod["metadata"].update(namespace="../x"), "metadata.namespace")
    refused("UID that is none", lambda pod: pod["metadata"].update(uid="$(id)"), "metadata.uid")
    refused("container's name", container("name", "a;b"), "name")
    refused("image with shell characters", container("image", "host; reboot"), "image")
    refused("privileged", container("securityContext", {"privileged": True}), "privileged")
    refused("variable's name", container("env", [{"name": "A=B", "value": "x"}]), "environment variable")
    # What a site lets pods mount is the site's to say: the pod is taken, and fails for that reason.
    pod = door.pod("true")
    pod["spec"]["volumes"] = [{"name": "v", "hostPath": {"path": "/etc"}}]
    pod["spec"]["containers"][0]["volumeMounts"] = [{"name": "v", "mountPath": "/v"}]
    status, text = door.create(pod)
    if status == 200:
        text = json.dumps(wait(door, [pod], over, 30))
    check("hostile: mount of a host path", "hostPath" in text and '"exitCode": 0' not in text, (status, text))
    refused("no such site", lambda pod: pod["spec"].update(nodeSelector={"dte.site": "nowhere"}), "nowhere")


def kubectl(*words, given=None):
    """Its output, or None when it fails."""
    command = [f"{WORK}/kubernetes/bin/kubectl", "--kubeconfig", f"{WORK}/kubernetes/kubeconfig", *words]
    ran = subprocess.run(command, input=given and json.dumps(given), capture_output=True, text=True)
    return ran.stdout if ran.returncode == 0 else None


def kubelet():
    """Kubernetes → upstream's virtual kubelet → this engine."""
    def until(name, done, patience=PATIENCE):
        end = time.time() + patience
        while time.time() < end:
            if done():
                return check(name, True)
            time.sleep(1)
        check(name, False, kubectl("get", "pods,nodes", "-o", "wide"))

    def value(what, path):
        return kubectl("get", *what.split(), "-o", "jsonpath={" + path + "}")

    ready = '.status.conditions[?(@.type=="Ready")].status'
    until("kubelet: the node is ready", lambda: value("node upstream", ready) == "True")
    told = json.loads(Door("engine").ask("POST", "/pinglink")[1])["resources"]["pods"]
    until("kubelet: the node has what the engine has", lambda: value("node upstream", ".status.capacity.pods") == told, 60)

    def spec(script, **more):
        return {"restartPolicy": "Never", "automountServiceAccountToken": False, "tolerations": [{"operator": "Exists"}],
                "containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", script], **more}]}

    def pod(name, spec):
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    init = spec("echo never")
    init["initContainers"] = [{"name": "first", "image": "host", "command": ["/bin/sh", "-c", "exit 4"]}]
    job = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "many"},
           "spec": {"completions": 12, "parallelism": 6, "template": {"spec": spec("echo part")}}}
    variables = [{"name": "WHO", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "TEXT", "value": "$(WHO)!"}]
    full = spec("cat /etc/model/settings /etc/key/token; test -s /var/run/secrets/kubernetes.io/serviceaccount/token && echo token")
    full["automountServiceAccountToken"] = True
    full["volumes"] = [{"name": "model", "configMap": {"name": "model"}}, {"name": "key", "secret": {"secretName": "key"}}, {"name": "space", "emptyDir": {}}]
    full["containers"][0]["volumeMounts"] = [{"name": "model", "mountPath": "/etc/model"}, {"name": "key", "mountPath": "/etc/key"},
                                             {"name": "space", "mountPath": "/space"}]
    kubectl("create", "configmap", "model", "--from-literal=settings=one ")
    kubectl("create", "secret", "generic", "key", "--from-literal=token=two ")
    for one in [pod("full", full), pod("good", spec("echo hello $TEXT; sleep 1", env=variables)), pod("bad", spec("exit 3")), pod("init", init),
                pod("long", spec("echo begun; sleep 600")), job]:
        check("kubelet: apply", kubectl("apply", "-f", "-", given=one) is not None, one["metadata"]["name"])
    until("kubelet: exit 0", lambda: value("pod good", ".status.phase") == "Succeeded")
    check("kubelet: kubectl logs", kubectl("logs", "good") == "hello good!\n", kubectl("logs", "good"))
    until("kubelet: a pod with volumes", lambda: value("pod full", ".status.phase") == "Succeeded", 60)
    check("kubelet: what volumes hold", kubectl("logs", "full") == "one two token\n", kubectl("logs", "full"))
    until("kubelet: exit 3", lambda: value("pod bad", ".status.phase") == "Failed")
    code = ".status.containerStatuses[0].state.terminated.exitCode"
    check("kubelet: its exit code", value("pod bad", code) == "3", value("pod bad", code))
    until("kubelet: a failing init container", lambda: value("pod init", ".status.phase") == "Failed")
    until("kubelet: running", lambda: value("pod long", ".status.phase") == "Running")
    check("kubelet: the last lines", kubectl("logs", "long", "--tail=1") == "begun\n", kubectl("logs", "long"))
    uid = value("pod long", ".metadata.uid")
    check("kubelet: kubectl delete", kubectl("delete", "pod", "long", "--wait=true", "--timeout=60s") is not None)
    until("kubelet: the engine has let it go", lambda: not Door("engine").status([{"metadata": {"uid": uid}}]), 30)
    until("kubelet: a Job of 12", lambda: value("job many", ".status.succeeded") == "12")


for one in CHAINS:
    print(f"-- {one}", flush=True)
    if one == "interface":
        interface()
    elif one == "a":
        kubelet()
    elif one == "b":
        near = Door("upstream API -> engine", sock=f"{WORK}/near.sock")
        left, _ = chain(near)
        volumes(near)
        time.sleep(1)
        # The engine knows it no more.
        check("upstream API -> engine: deleted there", left["metadata"]["uid"] not in Door("engine").status([left]))
    elif one in ("c", "d"):
        name, site = {"c": ("engine -> Slurm plugin", "slurm"), "d": ("engine -> upstream API -> Slurm plugin", "api")}[one]
        left, uids = chain(Door(name, site=site), inits_apart=False)
        once_each(name, uids, left["metadata"]["uid"])
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
