"""The subcommands of the programs up to 35 (`rucio VERB`, `rucio-admin NOUN VERB`)."""

import os
import re
import sys

from command_new import listing


def listed():
    """What the programs' own parsers know."""
    found = []
    for program, prefix in (("rucio", ""), ("rucio-admin", "admin ")):
        with open(os.path.join(sys.prefix, "bin", program), encoding="utf-8") as file:
            text = file.read()
        parents = dict(re.findall(r"(\w+) = (\w+_parser)\.add_subparsers", text))
        nouns = dict(re.findall(r"(\w+_parser) = subparsers\.add_parser\('([\w-]+)'", text))
        for owner, verb in re.findall(r"(\w+subparsers?)\.add_parser\('([\w-]+)'", text):
            noun = nouns.get(parents.get(owner, ""))
            if owner == "subparsers" and not (prefix and verb in nouns.values()):
                found.append(prefix + verb)
            elif noun:
                found.append(f"{prefix}{noun} {verb}")
    return found


def prepare(w):
    w.client.add_replicas(w.disk, [w.file(name) for name in ("q1", "q2", "q3", "q4")])
    with open(f"{w.work}/up.dat", "wb") as file:
        file.write(os.urandom(2000))


def steps(w, last):
    s = w.scope

    def keep_rule():
        last["rule"] = w.rule("q1", w.disk)
        return last["rule"]

    rule = lambda: last["rule"]  # noqa: E731
    yield from [
        ("ping", [], "41.5.1"), ("whoami", [], "root"), ("test-server", [], None),
        ("add-dataset", [f"{s}:ods"], None), ("add-dataset", [f"{s}:ods2"], None), ("add-container", [f"{s}:obox"], None),
        ("attach", [f"{s}:ods", f"{s}:q1", f"{s}:q2"], None), ("detach", [f"{s}:ods", f"{s}:q2"], None),
        ("list-content", [f"{s}:ods"], "q1"), ("list-content-history", [f"{s}:ods"], "q2"),
        ("ls", [f"{s}:o*"], "ods"), ("list-dids", [f"{s}:o*"], "ods"), ("list-scopes", [], s),
        ("list-parent-dids", [f"{s}:q1"], "ods"), ("list-parent-datasets", [f"{s}:q1"], "ods"),
        ("list-files", [f"{s}:ods"], "q1"), ("stat", [f"{s}:ods"], "DATASET"),
        ("set-metadata", ["--did", f"{s}:ods", "--key", "project", "--value", "enso"], None),
        ("get-metadata", [f"{s}:ods"], "enso"),
        ("set-metadata", ["--did", f"{s}:ods", "--key", "free", "--value", "x"], None),
        ("delete-metadata", ["--did", f"{s}:ods", "--key", "free"], None),
        ("close", [f"{s}:ods"], None), ("reopen", [f"{s}:ods"], None),
        ("erase", [f"{s}:obox"], None), ("erase", ["--undo", f"{s}:obox"], None),
        ("touch", [f"{s}:ods"], None),
        ("list-rses", [], w.disk), ("list-rse-attributes", [w.disk], w.disk), ("list-rse-usage", [w.disk], None),
        ("list-datasets-rse", [w.disk], "ods"), ("list-suspicious-replicas", [], None),
        ("list-file-replicas", [f"{s}:ods"], w.disk), ("list-dataset-replicas", [f"{s}:ods"], w.disk),
        ("add-rule", [f"{s}:q2", "1", w.disk], None), ("list-rules", [f"{s}:q2"], w.disk),
        ("list-rules-history", [f"{s}:q2"], None),
        ("rule-info", [keep_rule], "OK"), ("update-rule", [rule, "--priority", "4"], None),
        ("move-rule", [rule, w.other], None), ("delete-rule", [lambda: w.rule("q2", f"{w.disk}|{w.other}")], None),
        ("list-account-usage", ["root"], w.disk), ("list-account-limits", ["root"], None),
        ("add-lifetime-exception", ["--inputfile", lambda: old_listing(w), "--reason", "r", "--expiration", "2030-01-01"],
         None),
        ("upload", ["--rse", w.disk, "--scope", s, "--name", "up.dat", f"{w.work}/up.dat"], None),
        ("download", ["--dir", f"{w.work}/down", f"{s}:up.dat"], None), ("get", ["--dir", f"{w.work}/got", f"{s}:up.dat"], None),
    ]
    yield from admin(w)


def old_listing(w):
    w.client.add_dataset(w.scope, "cds")
    return listing(w)


def admin(w):
    s, account, rse = w.scope, f"{w.account}c", f"WCMD-{w.run.upper()}"
    identity = f"/DC=org/CN=c{w.run}"
    place = '[{"copies": 1, "rse_expression": "LOCAL", "activity": "User Subscriptions"}]'
    for name, arguments, wanted in [
        ("account add", [account], None), ("account list", [], account), ("account info", [account], account),
        ("account update", ["--account", account, "--key", "email", "--value", "d@example.org"], None),
        ("account add-attribute", [account, "--key", "country", "--value", "pt"], None),
        ("account list-attributes", [account], "country"),
        ("account delete-attribute", [account, "--key", "country"], None),
        ("identity add", ["--account", account, "--type", "X509", "--id", identity, "--email", "c@example.org"], None),
        ("account list-identities", [account], identity),
        ("identity delete", ["--account", account, "--type", "X509", "--id", identity], None),
        ("account set-limits", [account, w.disk, "10GB"], None), ("account get-limits", [account, w.disk], None),
        ("account delete-limits", [account, w.disk], None),
        ("account ban", ["--account", account], None), ("account unban", ["--account", account], None),
        ("account delete", [account], None),
        ("rse add", [rse], None), ("rse list", [], rse), ("rse info", [rse], rse),
        ("rse update", ["--rse", rse, "--setting", "availability_write", "--value", "True"], None),
        ("rse set-attribute", ["--rse", rse, "--key", "tier", "--value", "3"], None),
        ("rse get-attribute", [rse], "tier"),
        ("rse delete-attribute", ["--rse", rse, "--key", "tier", "--value", "3"], None),
        ("rse add-distance", [rse, w.disk, "--distance", "3"], None),
        ("rse update-distance", [rse, w.disk, "--distance", "4"], None), ("rse get-distance", [rse, w.disk], "4"),
        ("rse delete-distance", [rse, w.disk], None),
        ("rse add-protocol", [rse, "--hostname", "h.example.org", "--scheme", "davs", "--prefix", "/x", "--port", "443",
                              "--domain-json", '{"wan": {"read": 1}}'], None),
        ("rse delete-protocol", [rse, "--scheme", "davs"], None),
        ("rse add-qos-policy", [rse, "FAST"], None), ("rse list-qos-policies", [rse], "FAST"),
        ("rse delete-qos-policy", [rse, "FAST"], None),
        ("rse set-limit", [rse, "MinFreeSpace", "1000"], None), ("rse delete-limit", [rse, "MinFreeSpace"], None),
        ("rse delete", [rse], None),
        ("scope add", ["--account", "root", "--scope", f"cmd.{w.run}"], None), ("scope list", [], f"cmd.{w.run}"),
        ("config set", ["--section", f"c{w.run}", "--option", "k", "--value", "v"], None),
        ("config get", ["--section", f"c{w.run}"], "k"),
        ("config delete", ["--section", f"c{w.run}", "--option", "k"], None),
        ("subscription add", [f"c{w.run}", '{"scope": ["none"]}', place, "c", "--lifetime", "5"], None),
        ("subscription list", [], f"c{w.run}"),
        ("subscription update", [f"c{w.run}", '{"scope": ["no"]}', place, "d", "--lifetime", "5"], None),
        ("subscription reevaluate", [f"{s}:ods2"], None),
        ("replicas declare-temporary-unavailable", [lambda: w.pfn("q3"), "--reason", "r", "--duration", "5000"], None),
        ("replicas declare-bad", [lambda: w.pfn("q4"), "--reason", "r"], None),
        ("replicas quarantine", ["--rse", w.disk, "/dark"], None),
        ("replicas list-pfns", [f"{s}:q1", w.disk, "file"], "file://"),
        ("replicas set-tombstone", [f"{s}:q3", "--rse", w.disk], None),
        ("data export", [f"{w.work}/export.json"], None), ("data import", [f"{w.work}/export.json"], None),
    ]:
        yield "admin " + name, arguments, wanted
