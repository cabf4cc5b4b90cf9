"""Kills the engine at random while pods go to upstream's Slurm plugin: kill.py DTE WORK PODS KILLS

Every pod must run exactly once, with the right exit code and log, whenever the engine died.
"""

import collections
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid

DTE, WORK, PODS, KILLS = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
SEED = int(os.environ.get("DTE_KILL_SEED", time.time_ns() % 1_000_000))
random.seed(SEED)
print(f"-- kill -9 of the engine, {KILLS} times during {PODS} pods (seed {SEED})", flush=True)

CONFIG = f"""[[compute.sites]]
plugin = 'interlink'
name = 'slurm'
side = 'plugin'
url = 'unix://{WORK}/plugin.sock'
every = '1s'
"""
with open(f"{WORK}/kill.toml", "w") as file:
    file.write(CONFIG)
engine = address = token = None


def start():
    global engine, address, token
    ready = f"{WORK}/kill.ready"
    if os.path.exists(ready):
        os.remove(ready)
    log = open(f"{WORK}/kill.log", "a")
    command = [DTE, "up", "--data-dir", f"{WORK}/kill", "--listen", "127.0.0.1:0", "--ready-file", ready, "--config", f"{WORK}/kill.toml"]
    engine = subprocess.Popen(command, stdout=log, stderr=log)
    end = time.time() + 60
    while not os.path.exists(ready) or not os.path.getsize(ready):
        assert engine.poll() is None and time.time() < end, "the engine does not start"
        time.sleep(0.02)
    with open(ready) as file:
        address = file.read().strip()
    token = subprocess.run([DTE, "token", "--data-dir", f"{WORK}/kill"], capture_output=True, text=True, check=True).stdout.strip()


def ask(method, path, body):
    """The answer, or None when the engine is not there."""
    try:
        connection = http.client.HTTPConnection(address, timeout=30)
        connection.request(method, "/interlink" + path, json.dumps(body), {"Authorization": f"Bearer {token}"})
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return text if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None


def pod(number):
    script = f"echo pod {number}; sleep {random.random() * 2:.2f}; exit {number % 7}"
    return {"metadata": {"name": "p", "namespace": "default", "uid": str(uuid.uuid4()), "creationTimestamp": None},
            "spec": {"containers": [{"name": "main", "image": "host", "command": ["/bin/sh", "-c", script],
                     "resources": {"limits": {"cpu": "100m", "memory": "16Mi"}}}]}, "status": {}}


def create(pods):
    for one in pods:
        # As a virtual kubelet does: the same pod again until it is taken.
        while ask("POST", "/create", {"pod": one}) is None:
            time.sleep(0.1)
        time.sleep(0.1)


start()
pods = [pod(number) for number in range(PODS)]
creating = threading.Thread(target=create, args=(pods,))
creating.start()
for _ in range(KILLS):
    time.sleep(1 + random.random() * 3)
    engine.send_signal(signal.SIGKILL)
    engine.wait()
    start()
creating.join()
codes, end = {}, time.time() + 240
while len(codes) < PODS and time.time() < end:
    for entry in json.loads(ask("GET", "/status", pods) or "[]"):
        ended = entry["containers"][0]["state"].get("terminated")
        if ended:
            codes[entry["UID"]] = ended
    time.sleep(1)
wrong = {}
for number, one in enumerate(pods):
    uid = one["metadata"]["uid"]
    ended = codes.get(uid)
    if not ended or ended["exitCode"] != number % 7:
        wrong[number] = ended
        continue
    log = ask("GET", "/getLogs", {"Namespace": "default", "PodUID": uid, "PodName": "p", "ContainerName": "main", "Opts": {}})
    if not log or f"pod {number}\n" not in log:
        wrong[number] = f"log {log!r}"
with open(os.environ["DTE_SLURM_JOBCOMP"]) as file:
    lines = file.read().splitlines()
jobs = collections.Counter(one["metadata"]["uid"] for line in lines for one in pods if f"Name={one['metadata']['uid']}" in line)
for number, one in enumerate(pods):
    count = jobs[one["metadata"]["uid"]]
    if count != 1:
        wrong[number] = f"{count} jobs"
engine.send_signal(signal.SIGTERM)
engine.wait()
for number, text in list(wrong.items())[:10]:
    print(f"FAILED: pod {number}: {text}"[:400])
print(f"{PODS - len(wrong)} passed, {len(wrong)} failed")
sys.exit(1 if wrong else 0)
