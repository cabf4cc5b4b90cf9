"""CloudEvents in and out of a running engine, with the CloudEvents SDK and the Standard Webhooks library.

usage: check.py URL TOKEN FOLDER      (FOLDER: empty, readable by the engine)
"""

import http.server
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request

from cloudevents.conversion import to_binary, to_structured
from cloudevents.http import CloudEvent, from_http, from_json
from standardwebhooks.webhooks import Webhook

url, token, folder = sys.argv[1:4]
passed = failed = 0


def check(name, good, seen=""):
    global passed, failed
    if good:
        passed += 1
    else:
        failed += 1
        print(f"FAILED: {name} {seen}")


def call(method, path, body=None, headers=None):
    headers = {"Authorization": f"Bearer {token}", **(headers or {})}
    if isinstance(body, (dict, list)):
        body = json.dumps(body).encode()
        headers.setdefault("Content-Type", "application/json")
    request = urllib.request.Request(f"{url}/events/api/v1{path}", data=body, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as reply:
            return reply.status, reply.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


class Sink(http.server.BaseHTTPRequestHandler):
    got = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        Sink.got.append((dict(self.headers.items()), body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def wait(what, done):
    for _ in range(500):
        if done():
            return True
        time.sleep(0.02)
    check(what, False, "did not happen")
    return False


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink)
threading.Thread(target=server.serve_forever, daemon=True).start()
sink = f"http://127.0.0.1:{server.server_port}/hook"


def sample(number):
    attributes = {"id": f"r-{number}", "source": "/buoy/7", "type": "net.example.reading", "subject": "água °C 100%"}
    return CloudEvent(attributes, {"celsius": number})


def published():
    headers, body = to_structured(sample(1))
    status, answer = call("POST", "/events", body, headers)
    check("structured mode is taken", status == 202, answer)
    status, answer = call("POST", "/events", body, headers)
    check("and once", status == 200 and json.loads(answer)["duplicates"] == 1, answer)
    headers, body = to_binary(sample(2))
    # The SDK leaves it out for JSON; urllib would then call it a form.
    headers["Content-Type"] = "application/json"
    status, answer = call("POST", "/events", body, {**headers, "ce-subject": "%C3%A1gua%20%C2%B0C%20100%25"})
    check("binary mode is taken", status == 202, answer)
    batch = [json.loads(to_structured(sample(n))[1]) for n in (3, 4)]
    status, answer = call("POST", "/events", json.dumps(batch).encode(), {"Content-Type": "application/cloudevents-batch+json"})
    check("a batch is taken", status == 202 and json.loads(answer)["accepted"] == 2, answer)
    status, answer = call("GET", "/events?types=net.example&limit=10")
    events = [from_json(json.dumps(one)) for one in json.loads(answer)]
    check("they come out as they went in", [e["id"] for e in events] == [f"r-{n}" for n in (1, 2, 3, 4)], answer)
    check("with their data", [e.data for e in events] == [{"celsius": n} for n in (1, 2, 3, 4)])
    check("and attributes", all(e["subject"] == "água °C 100%" and e["source"] == "/buoy/7" for e in events), answer)


def delivered(mode):
    spec = {"protocol": "HTTP", "sink": sink, "types": ["net.example.reading"],
            "protocolsettings": {"mode": mode}, "config": {"start": "earliest"}}
    Sink.got.clear()
    status, answer = call("POST", "/subscriptions", spec)
    made = json.loads(answer)
    check(f"{mode}: a subscription is made", status == 201, answer)
    if not wait(f"{mode}: four deliveries", lambda: len(Sink.got) >= 4):
        return
    hook = Webhook(made["sinkcredential"]["secret"])
    events = []
    for headers, body in Sink.got[:4]:
        events.append(from_http(headers, body))
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            hook.verify(body, lower)
            check(f"{mode}: the signature is good", True)
        except Exception as error:  # the library's own, and what it raises for bodies that it cannot read
            check(f"{mode}: the signature is good", False, repr(error))
    check(f"{mode}: in order", [e["id"] for e in events] == [f"r-{n}" for n in (1, 2, 3, 4)])
    check(f"{mode}: with data", [e.data for e in events] == [{"celsius": n} for n in (1, 2, 3, 4)], events)
    check(f"{mode}: deleted", call("DELETE", f"/subscriptions/{made['id']}")[0] == 204)


def streamed():
    status, answer = call("POST", "/watches", {"name": "conformance", "path": folder, "settle": "200ms"})
    check("a watch is declared", status in (200, 201), answer)
    headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
    request = urllib.request.Request(f"{url}/events/api/v1/stream?types=org.dte.events.file.created", headers=headers)
    with urllib.request.urlopen(request, timeout=20) as stream:
        half = open(os.path.join(folder, "slow.csv"), "w")
        half.write("half")
        half.flush()
        with open(os.path.join(folder, "quick.csv"), "w") as quick:
            quick.write("1980-01,23.75\n")
        first = None
        for line in stream:
            if line.startswith(b"data:"):
                event = from_json(line[5:])
                if first is None:
                    first = event
                    check("a file is told when it is whole", event.data["name"] == "quick.csv", event)
                    check("with its size", event.data["size"] == 14)
                    half.close()
                else:
                    check("another when it is closed", event.data["name"] == "slow.csv", event)
                    break
    check("the watch ends", call("DELETE", "/watches/conformance")[0] == 204)


published()
delivered("structured")
delivered("binary")
streamed()
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
