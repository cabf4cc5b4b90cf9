"""What the walks work with: names of their own, a few storage elements with files, and the table of outcomes."""

import inspect
import os
import uuid
import zlib

from rucio.client import Client
from rucio.common import exception

DOMAINS = {
    "lan": {"read": 1, "write": 1, "delete": 1},
    "wan": {"read": 1, "write": 1, "delete": 1, "third_party_copy_read": 1, "third_party_copy_write": 1},
}


def equal(have, want):
    assert have == want, f"{have!r} is not {want!r}"


def adler32(content):
    return f"{zlib.adler32(content):08x}"


class World:
    """Two storage elements, a scope, and files; made through the library that is walked."""

    def __init__(self, version, work):
        self.version = version
        self.work = work
        self.client = Client()
        self.run = uuid.uuid4().hex[:8]
        self.scope = f"walk.{self.run}"
        self.disk = f"WDISK-{self.run.upper()}"
        self.other = f"WOTHER-{self.run.upper()}"
        self.account = f"w{self.run}"
        self.rules = {}

    def prepare(self):
        client = self.client
        client.add_scope("root", self.scope)
        for rse in (self.disk, self.other):
            client.add_rse(rse)
            self.protocol(rse)
        client.add_replicas(self.disk, [self.file(f"f{n}") for n in range(10)])
        for name in ("ds", "ds2", "ds3"):
            client.add_dataset(self.scope, name)
        client.attach_dids(self.scope, "ds", [self.file(f"f{n}") for n in range(3)])

    def protocol(self, rse):
        prefix = f"{self.work}/storage/{rse}/"
        os.makedirs(prefix, exist_ok=True)
        self.client.add_protocol(rse, {
            "scheme": "file", "hostname": "localhost", "port": 0, "prefix": prefix,
            "impl": "rucio.rse.protocols.posix.Default", "domains": DOMAINS})

    def file(self, name):
        return {"scope": self.scope, "name": name, "bytes": 10, "adler32": adler32(name.encode())}

    def did(self, name):
        return {"scope": self.scope, "name": name}

    def pfn(self, name, rse=None):
        rse = rse or self.disk
        return list(self.client.lfns2pfns(rse, [f"{self.scope}:{name}"], operation="read").values())[0]

    def rule(self, name, rse, **options):
        (rule,) = self.client.add_replication_rule([self.did(name)], 1, rse, **options)
        return rule


def methods():
    """Every public method of the library's client, in this version."""
    found = inspect.getmembers(Client, inspect.isfunction)
    return sorted(name for name, _ in found if not name.startswith("_"))


def raises(wanted, body):
    try:
        body()
    except wanted:
        return
    raise AssertionError(f"{wanted.__name__} was expected")


def outcome(body):
    """`works`, or why not in a few words."""
    try:
        body()
        return "works"
    except exception.RucioException as error:
        text = " ".join(str(error).split())
        served = "No such path" not in text and "No such method" not in text
        return f"refused: {type(error).__name__}: {text[:120]}" if served else "not served"
    except Exception as error:  # noqa: BLE001 - whatever a call raises is its outcome
        return f"fails: {type(error).__name__}: {' '.join(str(error).split())[:160]}"
