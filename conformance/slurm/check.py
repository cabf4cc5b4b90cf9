"""Pods through the interLink API of an engine whose site is a real Slurm.

usage: check.py FOLDER DTE [SMOKE]      (FOLDER has dte.toml; SLURM_CONF is set)
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid

folder, dte = sys.argv[1:3]
smoke = len(sys.argv) > 3 and sys.argv[3] == "1"
# Pods during which the engine is killed, and how often: DTE_KILL_PODS=500 DTE_KILLS=12 make conformance AREA=slurm
MANY = int(os.environ.get("DTE_KILL_PODS", 40 if smoke else 150))
KILLS = int(os.environ.get("DTE_KILLS", 2 if smoke else 5))
SEED = int(os.environ.get("DTE_KILL_SEED", time.time_ns() % 1_000_000))
random.seed(SEED)
passed = failed = 0
FLAGS = "slurm-job.vk.io/flags"


def check(name, good, seen=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {name}: {str(seen)[:600]}", flush=True)


class Engine:
    """`dte up` with the configuration of the folder."""

    def __init__(self):
        ready = os.path.join(folder, "ready")
        if os.path.exists(ready):
            os.remove(ready)
        data = os.path.join(folder, "data")
        arguments = ["--data-dir", data, "--listen", "127.0.0.1:0", "--ready-file", ready]
        log = open(os.path.join(folder, "engine.log"), "ab")
        config = os.path.join(folder, "dte.toml")
        self.process = subprocess.Popen([dte, "up", "--config", config, *arguments], stdout=log, stderr=log)
        deadline = time.time() + 60
        while not (os.path.exists(ready) and open(ready).read().strip()):
            if self.process.poll() is not None or time.time() > deadline:
                print(open(os.path.join(folder, "engine.log")).read()[-3000:])
                sys.exit("the engine did not start")
            time.sleep(0.05)
        address = open(ready).read().strip()
        self.url = address if address.startswith("http") else f"http://{address}"
        self.token = subprocess.run(
            [dte, "token", "--data-dir", data], check=True, capture_output=True, text=True
        ).stdout.strip()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/interlink{path}", data=data, method=method, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return reply.status, reply.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def create(self, pod):
        return self.call("POST", "/create", {"pod": pod, "configmaps": [], "secrets": [], "projectedvolumesmaps": []})

    def status(self, pods):
        code, text = self.call("GET", "/status", pods)
        return json.loads(text) if code == 200 else []

    def log(self, pod, container="main"):
        options = {"Tail": 0, "LimitBytes": 0, "Timestamps": False, "Follow": False, "Previous": False, "SinceSeconds": 0}
        meta = pod["metadata"]
        body = {
            "Namespace": meta["namespace"],
            "PodUID": meta["uid"],
            "PodName": meta["name"],
            "ContainerName": container,
            "Opts": options,
        }
        return self.call("GET", "/getLogs", body)

    def delete(self, pod):
        return self.call("POST", "/delete", pod)


def pod(script, inits=(), annotations=None, limits=None, **spec):
    def container(name, text):
        one = {"name": name, "image": "host", "command": ["/bin/sh", "-c", text]}
        return {**one, "resources": {"limits": limits}} if limits else one

    uid = str(uuid.uuid4())
    meta = {"name": f"p-{uid[:8]}", "namespace": "default", "uid": uid, "annotations": annotations or {}}
    spec["containers"] = [container("main", script)]
    spec["restartPolicy"] = "Never"
    if inits:
        spec["initContainers"] = [container(f"init{n}", text) for n, text in enumerate(inits)]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec, "status": {}}


def main_state(status):
    for container in status.get("containers", []):
        if container["name"] == "main":
            return container["state"]
    return {}


def wait(engine, one, what, limit=60):
    deadline = time.time() + limit
    state = {}
    while time.time() < deadline:
        seen = engine.status([one])
        state = main_state(seen[0]) if seen else {}
        if what(state):
            return state
        time.sleep(0.1)
    return state


def ended(state):
    return state.get("terminated") is not None


def code(state):
    return (state.get("terminated") or {}).get("exitCode")


def slurm(*words):
    return subprocess.run(words, capture_output=True, text=True).stdout


def one_pod(engine):
    one = pod("echo hello; echo $0; exit 3", inits=["echo first"])
    status, answer = engine.create(one)
    check("a pod is accepted", status == 200 and one["metadata"]["uid"] in answer, answer)
    check("accepted again with the same answer", engine.create(one) == (status, answer))
    state = wait(engine, one, ended)
    check("its exit code is told", code(state) == 3, state)
    jobs = slurm("squeue", "-h", "-t", "all", "-n", one["metadata"]["uid"], "-o", "%i").split()
    check("it was one job, called as its UID", len(jobs) == 1, jobs)
    check("its log", engine.log(one) == (200, "hello\n/bin/sh\n"), engine.log(one))
    check("the log of its init container", engine.log(one, "init0") == (200, "first\n"), engine.log(one, "init0"))
    failing = pod("echo never", inits=["exit 5"])
    engine.create(failing)
    deadline = time.time() + 60
    seen = {}
    while time.time() < deadline:
        seen = (engine.status([failing]) or [{}])[0]
        inits = seen.get("initContainers") or []
        if inits and (inits[0]["state"].get("terminated") or {}).get("exitCode") == 5:
            break
        time.sleep(0.1)
    check("a failing init container", "terminated" in json.dumps(seen) and '"exitCode": 5' in json.dumps(seen), seen)
    check("what comes after it does not run", "never" not in engine.log(failing)[1])


def waiting_and_cancelled(engine):
    queued = pod("touch $DTE_OUTPUTS/ran", annotations={FLAGS: "--begin=now+86400"})
    engine.create(queued)
    uid = queued["metadata"]["uid"]
    deadline = time.time() + 30
    while not slurm("squeue", "-h", "-t", "pending", "-n", uid) and time.time() < deadline:
        time.sleep(0.1)
    check("it waits in Slurm", slurm("squeue", "-h", "-t", "pending", "-n", uid, "-o", "%r").strip() == "BeginTime")
    status, _ = engine.delete(queued)
    check("a queued pod is deleted", status == 200, status)
    deadline = time.time() + 30
    while slurm("squeue", "-h", "-t", "pending", "-n", uid) and time.time() < deadline:
        time.sleep(0.1)
    check("its job is gone", not slurm("squeue", "-h", "-t", "pending", "-n", uid))
    running = pod("trap 'exit 9' TERM; while :; do sleep 0.1; done")
    engine.create(running)
    wait(engine, running, lambda state: state.get("running"))
    uid = running["metadata"]["uid"]
    status, _ = engine.delete(running)
    check("a running pod is deleted", status == 200, status)
    deadline = time.time() + 30
    while slurm("squeue", "-h", "-t", "running", "-n", uid) and time.time() < deadline:
        time.sleep(0.1)
    check("its job has ended", not slurm("squeue", "-h", "-t", "running", "-n", uid))


def limits(engine):
    late = pod("sleep 60", activeDeadlineSeconds=2)
    engine.create(late)
    state = wait(engine, late, ended)
    check("a pod past its deadline has failed", code(state) not in (None, 0), state)
    big = pod("true", limits={"memory": "16Ti"})
    status, text = engine.create(big)
    check("memory that no node has is refused, with the field", status == 400 and "resources memory" in text, (status, text))
    shaped = pod("true", annotations={FLAGS: "-p short -t 1 --job-name=mine"}, limits={"memory": "64Mi", "cpu": "1500m"})
    engine.create(shaped)
    state = wait(engine, shaped, ended)
    job = slurm("squeue", "-h", "-t", "all", "-n", shaped["metadata"]["uid"], "-o", "%P %l %k %m %c").split()
    check("flags and limits reach the job", (code(state), job) == (0, ["short", "1:00", "mine", "64M", "2"]), (state, job))


def hostile(engine):
    for flags in ["--time=1\n#SBATCH --uid=0", "--uid=0", "--wrap=id", "--output=/etc/x", "--time=$(id)"]:
        one = pod("true", annotations={FLAGS: flags})
        status, answer = engine.create(one)
        if status == 200:
            state = wait(engine, one, ended, 30)
            answer = json.dumps(state)
            status = 400 if code(state) not in (None, 0) else 200
        check(f"the flags {flags!r} are refused", status == 400 and not slurm("squeue", "-h", "-t", "all", "-n", one["metadata"]["uid"]), answer)
    one = pod("true", annotations={"slurm-job.vk.io/pre-exec": "touch /tmp/pre-exec-ran"})
    if engine.create(one)[0] == 200:
        state = wait(engine, one, ended, 30)
        check("pre-exec does not run", code(state) not in (None, 0) and not os.path.exists("/tmp/pre-exec-ran"), state)


def killed(engine):
    ran = os.path.join(folder, "ran")
    pods = [pod(f"echo {n} >> {ran}; echo pod {n}; sleep 1; exit {n % 7}") for n in range(MANY)]
    kills = sorted(random.sample(range(1, MANY), KILLS))
    print(f"killed after {kills} of {MANY} pods (seed {SEED})", flush=True)
    for n, one in enumerate(pods):
        if n in kills:
            engine.kill()
            engine = Engine()
        while True:
            try:
                status, answer = engine.create(one)
                break
            except OSError:
                time.sleep(0.1)
        if status != 200:
            check("accepted", False, answer)
    time.sleep(2)
    engine.kill()
    engine = Engine()
    deadline = time.time() + max(180, MANY)
    codes = {}
    while time.time() < deadline and len(codes) < MANY:
        for status in engine.status([one for one in pods if one["metadata"]["uid"] not in codes]):
            if ended(main_state(status)):
                codes[status["UID"]] = code(main_state(status))
        time.sleep(0.5)
    wanted = {one["metadata"]["uid"]: n % 7 for n, one in enumerate(pods)}
    wrong = {uid: (seen, wanted[uid]) for uid, seen in codes.items() if seen != wanted[uid]}
    check("every exit code is right", len(codes) == MANY and not wrong, (len(codes), wrong))
    logs = {n: engine.log(one) for n, one in enumerate(pods)}
    strange = {n: seen for n, seen in logs.items() if seen != (200, f"pod {n}\n")}
    check("every log is there, once", not strange, list(strange.items())[:5])
    lines = open(ran).read().split()
    check("each pod ran exactly once", sorted(lines, key=int) == [str(n) for n in range(MANY)], (len(lines), len(set(lines))))
    return engine


engine = Engine()
try:
    one_pod(engine)
    waiting_and_cancelled(engine)
    limits(engine)
    hostile(engine)
    engine = killed(engine)
finally:
    engine.stop()
if failed:
    print(open(os.path.join(folder, "engine.log")).read()[-3000:])
print(f"{passed} passed, {failed} failed, 0 skipped")
sys.exit(failed != 0)
