"""What people do with Rucio, through its own library and its own command."""

import os
import subprocess
import sys
import time
import uuid
import zlib

from rucio.client import Client
from rucio.common import exception

WORK = sys.argv[1]
RUN = uuid.uuid4().hex[:8]
SCOPE = f"conf.{RUN}"
DISK = f"DISK-{RUN.upper()}"
EMPTY = f"EMPTY-{RUN.upper()}"

passed = failed = 0


def check(name, body):
    global passed, failed
    try:
        body()
        passed += 1
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its failure
        failed += 1
        print(f"FAILED: {name}: {type(error).__name__}: {error}", file=sys.stderr)


def raises(wanted, body):
    try:
        body()
    except wanted:
        return
    raise AssertionError(f"{wanted.__name__} was expected")


def rucio(*arguments, fails=False):
    done = subprocess.run(["rucio", *arguments], capture_output=True, text=True, timeout=120)
    text = done.stdout + done.stderr
    assert (done.returncode != 0) == fails, f"rucio {' '.join(arguments)}: {done.returncode}: {text[-600:]}"
    return text


def equal(have, want):
    assert have == want, f"{have!r} is not {want!r}"


def adler32(content):
    return f"{zlib.adler32(content):08x}"


client = Client()
file_did = {"scope": SCOPE, "name": "a/first.dat", "bytes": 5, "adler32": adler32(b"first")}
second = {"scope": SCOPE, "name": "second.dat", "bytes": 6, "adler32": adler32(b"second")}
domains = {
    "lan": {"read": 1, "write": 1, "delete": 1},
    "wan": {"read": 1, "write": 1, "delete": 1, "third_party_copy_read": 1, "third_party_copy_write": 1},
}


# --- the library -------------------------------------------------------------------------------------------------------

def who():
    equal(client.ping()["version"], "41.5.1")
    me = client.whoami()
    equal((me["account"], me["status"]), ("root", "ACTIVE"))
    assert "root" in [one["account"] for one in client.list_accounts()]


def scopes():
    assert client.add_scope("root", SCOPE)
    raises(exception.Duplicate, lambda: client.add_scope("root", SCOPE))
    assert SCOPE in client.list_scopes()
    assert SCOPE in client.list_scopes_for_account("root")


def storage_elements():
    for rse in (DISK, EMPTY):
        assert client.add_rse(rse)
        prefix = f"{WORK}/storage/{rse}/"
        os.makedirs(prefix, exist_ok=True)
        assert client.add_protocol(rse, {
            "scheme": "file", "hostname": "localhost", "port": 0, "prefix": prefix,
            "impl": "rucio.rse.protocols.posix.Default", "domains": domains})
    raises(exception.Duplicate, lambda: client.add_rse(DISK))
    assert client.add_rse_attribute(DISK, "tier", "1")
    assert client.add_rse_attribute(DISK, "fast", True)
    equal(client.list_rse_attributes(DISK), {DISK: True, "tier": "1", "fast": True})
    names = {row["rse"] for row in client.list_rses()}
    assert {"LOCAL", DISK, EMPTY} <= names, names
    equal([row["rse"] for row in client.list_rses(f"{DISK}|{EMPTY}&tier=1")], [DISK])
    raises(exception.InvalidRSEExpression, lambda: list(client.list_rses("(LOCAL")))
    raises(exception.RSENotFound, lambda: client.get_rse("NOPE"))
    local = client.get_rse("LOCAL")
    equal((local["deterministic"], local["protocols"][0]["prefix"]), (True, "/dav/local/"))
    pfn = client.lfns2pfns(DISK, [f"{SCOPE}:x"])[f"{SCOPE}:x"]
    assert pfn.startswith("file://localhost/") and pfn.endswith("/x"), pfn
    equal(next(iter(client.get_rse_usage(DISK)))["files"], 0)


def replicas():
    assert client.add_replicas(DISK, [file_did, second])
    assert client.add_replicas(DISK, [file_did]), "registering again is no error"
    equal(next(iter(client.get_rse_usage(DISK)))["used"], 11)
    listed = list(client.list_replicas([{"scope": SCOPE, "name": "a/first.dat"}]))
    equal((len(listed), listed[0]["bytes"], listed[0]["adler32"]), (1, 5, file_did["adler32"]))
    equal(listed[0]["states"], {DISK: "AVAILABLE"})
    equal(list(listed[0]["pfns"].values())[0]["rse"], DISK)
    raises(exception.InvalidPath, lambda: client.add_replica(
        DISK, SCOPE, "third", 1, "00000001", pfn=f"file://localhost{WORK}/storage/{DISK}/wrong"))
    raises(exception.RSENotFound, lambda: client.add_replicas("NOPE", [second]))


def collections():
    assert client.add_dataset(SCOPE, "ds")
    raises(exception.DataIdentifierAlreadyExists, lambda: client.add_dataset(SCOPE, "ds"))
    assert client.add_container(SCOPE, "box")
    assert client.attach_dids(SCOPE, "ds", [file_did, second])
    raises(exception.FileAlreadyExists, lambda: client.attach_dids(SCOPE, "ds", [second]))
    assert client.add_datasets_to_container(SCOPE, "box", [{"scope": SCOPE, "name": "ds"}])
    raises(exception.DuplicateContent, lambda: client.attach_dids(SCOPE, "box", [{"scope": SCOPE, "name": "ds"}]))
    assert client.attach_dids_to_dids([{"scope": SCOPE, "name": "ds", "dids": [second]}], ignore_duplicate=True)
    equal([one["name"] for one in client.list_content(SCOPE, "ds")], ["a/first.dat", "second.dat"])
    equal(len(list(client.list_files(SCOPE, "box"))), 2)
    equal([one["name"] for one in client.list_parent_dids(SCOPE, "a/first.dat")], ["ds"])
    equal(client.get_did(SCOPE, "ds")["open"], True)
    equal(client.get_did(SCOPE, "box", dynamic_depth="FILE")["bytes"], 11)
    raises(exception.DataIdentifierNotFound, lambda: client.get_did(SCOPE, "nope"))
    raises(exception.ScopeNotFound, lambda: client.add_dataset("nope." + RUN, "ds"))


def metadata():
    assert client.set_metadata(SCOPE, "ds", "quality", "good")
    equal(client.get_metadata(SCOPE, "ds", plugin="ALL")["quality"], "good")
    equal(client.get_metadata(SCOPE, "ds")["did_type"], "DATASET")
    equal(list(client.list_dids(SCOPE, [{"name": "d*"}])), ["ds"])
    equal(list(client.list_dids(SCOPE, [{"quality": "good"}], did_type="dataset")), ["ds"])
    found = list(client.list_dids(SCOPE, {"name": "second.*"}, did_type="file", long=True))
    equal((found[0]["did_type"], found[0]["bytes"]), ("FILE", 6))
    raises(exception.UnsupportedOperation, lambda: list(client.list_dids(SCOPE, {}, did_type="moon")))


def rules():
    ds = [{"scope": SCOPE, "name": "ds"}]
    (rule,) = client.add_replication_rule(ds, 1, DISK, comment="kept")
    raises(exception.DuplicateRule, lambda: client.add_replication_rule(ds, 1, DISK))
    raises(exception.InsufficientTargetRSEs, lambda: client.add_replication_rule(ds, 2, DISK))
    raises(exception.InvalidRSEExpression, lambda: client.add_replication_rule(ds, 1, "NOPE"))
    info = client.get_replication_rule(rule)
    equal((info["state"], info["locks_ok_cnt"], info["comments"]), ("OK", 2, "kept"))
    equal({lock["state"] for lock in client.list_replica_locks(rule)}, {"OK"})
    equal([one["id"] for one in client.list_did_rules(SCOPE, "ds")], [rule])
    equal([one["id"] for one in client.list_associated_rules_for_file(SCOPE, "second.dat")], [rule])
    assert rule in [one["id"] for one in client.list_account_rules("root")]
    equal([one["id"] for one in client.list_replication_rules({"scope": SCOPE, "name": "ds"})], [rule])
    equal([one["rse"] for one in client.get_dataset_locks(SCOPE, "ds")], [DISK])
    equal([one["available_length"] for one in client.list_dataset_replicas(SCOPE, "ds", deep=True)], [2])
    # A copy at an empty storage element has to be brought.
    (far,) = client.add_replication_rule(ds, 1, EMPTY)
    # (Where there is a transfer service, it soon says that it does not reach files of this computer.)
    info = client.get_replication_rule(far)
    assert info["state"] in ("REPLICATING", "STUCK"), info["state"]
    equal((info["locks_ok_cnt"], info["locks_replicating_cnt"] + info["locks_stuck_cnt"]), (0, 2))
    assert client.update_replication_rule(far, {"lifetime": 0})
    for _ in range(100):
        if far not in [one["id"] for one in client.list_did_rules(SCOPE, "ds")]:
            break
        time.sleep(0.1)
    raises(exception.RuleNotFound, lambda: client.get_replication_rule(far))
    assert client.delete_replication_rule(rule)
    assert client.get_replication_rule(rule)["expires_at"] is not None


def closing():
    assert client.close(SCOPE, "ds")
    raises(exception.UnsupportedOperation, lambda: client.close(SCOPE, "ds"))
    raises(exception.UnsupportedOperation, lambda: client.attach_dids(SCOPE, "ds", [file_did]))
    did = client.get_did(SCOPE, "ds")
    equal((did["open"], did["length"], did["bytes"]), (False, 2, 11))
    assert client.detach_dids(SCOPE, "ds", [second])
    equal(len(list(client.list_content(SCOPE, "ds"))), 1)


def strangers():
    with open(f"{WORK}/token.bad", "w", encoding="ascii") as file:
        file.write("a.b.c")
    config = open(f"{WORK}/etc/rucio.cfg", encoding="utf-8").read().replace(f"{WORK}/token", f"{WORK}/token.bad")
    with open(f"{WORK}/bad.cfg", "w", encoding="utf-8") as file:
        file.write(config)
    environment = os.environ | {"RUCIO_CONFIG": f"{WORK}/bad.cfg"}
    done = subprocess.run(["rucio", "scope", "list"], capture_output=True, text=True, timeout=120, env=environment)
    text = done.stdout + done.stderr
    assert "cannot authenticate" in text.lower() and SCOPE not in text, text[-600:]


for step in (who, scopes, storage_elements, replicas, collections, metadata, rules, closing):
    check(f"library: {step.__name__}", step)


# --- the command ------------------------------------------------------------------------------------------------------

def command_reads():
    assert "41.5.1" in rucio("ping")
    assert "root" in rucio("whoami")
    assert DISK in rucio("rse", "list")
    assert DISK in rucio("rse", "list", "--rses", "tier=1")
    assert "tier" in rucio("rse", "show", DISK)
    assert SCOPE in rucio("scope", "list")
    assert f"{SCOPE}:ds" in rucio("did", "list", "--filter", "type=dataset", f"{SCOPE}:*")
    assert "DATASET" in rucio("did", "show", f"{SCOPE}:ds")
    assert "first.dat" in rucio("did", "content", "list", f"{SCOPE}:ds")
    rucio("did", "show", f"{SCOPE}:nope", fails=True)


def command_changes():
    scope = f"cmd.{RUN}"
    rucio("scope", "add", scope, "--account", "root")
    rucio("rse", "add", f"CMD-{RUN.upper()}")
    rucio("rse", "attribute", "set", f"CMD-{RUN.upper()}", "--key", "tier", "--value", "3")
    rucio("did", "add", "--type", "dataset", f"{scope}:ds")
    rucio("did", "add", "--type", "container", f"{scope}:box")
    rucio("did", "content", "add", f"{SCOPE}:second.dat", "--to-did", f"{scope}:ds")
    rucio("did", "content", "add", f"{scope}:ds", "--to-did", f"{scope}:box")
    rucio("did", "update", f"{scope}:ds", "--close")
    text = rucio("rule", "add", f"{scope}:box", "--copies", "1", "--rses", DISK)
    rule = text.strip().splitlines()[-1].strip()
    assert "OK" in rucio("rule", "show", rule)
    assert DISK in rucio("rule", "list", "--did", f"{scope}:box")
    assert DISK in rucio("replica", "list", "file", f"{scope}:ds")
    assert DISK in rucio("replica", "list", "dataset", f"{scope}:ds")
    rucio("did", "content", "remove", f"{scope}:ds", "--from-did", f"{scope}:box")
    rucio("rule", "remove", rule)


def upload_and_download():
    content = os.urandom(100_000)
    source = f"{WORK}/up.dat"
    with open(source, "wb") as file:
        file.write(content)
    rucio("upload", "--rse", DISK, "--scope", SCOPE, "--lfn", "up.dat", source)
    row = client.get_did(SCOPE, "up.dat")
    equal((row["bytes"], row["adler32"]), (len(content), adler32(content)))
    equal([rule["state"] for rule in client.list_did_rules(SCOPE, "up.dat")], ["OK"])
    client.add_dataset(SCOPE, "updown")
    client.attach_dids(SCOPE, "updown", [{"scope": SCOPE, "name": "up.dat"}])
    rucio("download", "--dir", f"{WORK}/down", f"{SCOPE}:updown")
    with open(f"{WORK}/down/updown/up.dat", "rb") as file:
        equal(file.read(), content)


for step in (command_reads, command_changes, upload_and_download):
    check(f"command: {step.__name__}", step)
check("command: strangers", strangers)

print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
