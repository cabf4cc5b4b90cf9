"""The subcommands of the programs from 38 on (`rucio NOUN VERB`)."""

import importlib
import os


def listed():
    """What the program itself lists."""
    main = importlib.import_module("rucio.cli.command").main
    found = []

    def descend(group, path):
        for name in group.list_commands(None):
            command = group.get_command(None, name)
            if hasattr(command, "list_commands"):
                descend(command, [*path, name])
            else:
                found.append(" ".join([*path, name]))

    descend(main, [])
    return found


def prepare(w):
    w.client.add_replicas(w.disk, [w.file(name) for name in ("q1", "q2", "q3", "q4")])
    with open(f"{w.work}/up.dat", "wb") as file:
        file.write(os.urandom(2000))


def steps(w, last):
    s, account, rse = w.scope, f"{w.account}c", f"WCMD-{w.run.upper()}"
    identity = f"/DC=org/CN=c{w.run}"
    rule = lambda: last["rule"]  # noqa: E731

    def keep_rule():
        last["rule"] = w.rule("q1", w.disk)
        return last["rule"]

    yield from [
        ("ping", [], "41.5.1"), ("whoami", [], "root"), ("test-server", [], None),
        ("account add", [account, "USER", "--email", "c@example.org"], None),
        ("account list", [], account), ("account show", [account], account),
        ("account update", [account, "--email", "d@example.org"], None),
        ("account attribute set", [account, "--key", "country", "--value", "pt"], None),
        ("account attribute add", [account, "--key", "country", "--value", "pt"], None),
        ("account attribute list", [account], "country"), ("account attribute unset", [account, "--key", "country"], None),
        ("account attribute remove", [account, "--key", "country"], None),
        ("account identity add", [account, "--type", "X509", "--id", identity, "--email", "c@example.org"], None),
        ("account identity list", [account], identity),
        ("account identity remove", [account, "--type", "X509", "--id", identity], None),
        ("account limit set", [account, "--rse", w.disk, "--bytes", "10GB"], None),
        ("account limit add", [account, "--rse", w.disk, "--bytes", "10GB"], None),
        ("account limit list", [account], w.disk), ("account limit unset", [account, "--rse", w.disk], None),
        ("account limit remove", [account, "--rse", w.disk], None),
        ("account remove", [account], None),
        ("config set", ["--section", f"c{w.run}", "--key", "k", "--value", "v"], None),
        ("config add", ["--section", f"c{w.run}", "--key", "k", "--value", "v"], None),
        ("config update", ["--section", f"c{w.run}", "--key", "k", "--value", "w"], None),
        ("config list", ["--section", f"c{w.run}"], "k"),
        ("config unset", ["--section", f"c{w.run}", "--key", "k"], None),
        ("config remove", ["--section", f"c{w.run}", "--key", "k"], None),
        ("scope add", [f"cmd.{w.run}", "--account", "root"], None), ("scope list", [], f"cmd.{w.run}"),
        ("scope update", [f"cmd.{w.run}", "--account", w.account], None),
        ("rse add", [rse], None), ("rse list", [], rse), ("rse show", [rse], rse),
        ("rse update", [rse, "--key", "availability_write", "--value", "True"], None),
        ("rse attribute set", [rse, "--key", "tier", "--value", "3"], None),
        ("rse attribute add", [rse, "--key", "tier", "--value", "3"], None), ("rse attribute list", [rse], "tier"),
        ("rse attribute unset", [rse, "--attribute", "tier"], None),
        ("rse attribute remove", [rse, "--attribute", "tier"], None),
        ("rse distance add", [rse, w.disk, "--distance", "3"], None),
        ("rse distance set", [rse, w.disk, "--distance", "3"], None), ("rse distance show", [rse, w.disk], "3"),
        ("rse distance update", [rse, w.disk, "--distance", "4"], None),
        ("rse distance unset", [rse, w.disk], None), ("rse distance remove", [rse, w.disk], None),
        ("rse limit set", [rse, "--limit", "MinFreeSpace", "1000"], None),
        ("rse limit add", [rse, "--limit", "MinFreeSpace", "1000"], None),
        ("rse limit unset", [rse, "--limit", "MinFreeSpace"], None),
        ("rse limit remove", [rse, "--limit", "MinFreeSpace"], None),
        ("rse protocol add", [rse, "--hostname" if w.version.startswith("41.") else "--host-name", "h.example.org", "--scheme", "davs", "--prefix", "/x", "--port", "443",
                              "--domain-json", '{"wan": {"read": 1}}'], None),
        ("rse protocol remove", [rse, "--scheme", "davs"], None),
        ("rse qos add", [rse, "--policy", "FAST"], None), ("rse qos list", [rse], "FAST"),
        ("rse qos remove", [rse, "--policy", "FAST"], None), ("rse remove", [rse], None),
        ("did add", ["--type", "dataset", f"{s}:cds"], None), ("did add", ["--type", "container", f"{s}:cbox"], None),
        ("did content add", [f"{s}:q1", f"{s}:q2", "--to-did", f"{s}:cds"], None),
        ("did content list", [f"{s}:cds"], "q1"),
        ("did content remove", [f"{s}:q2", "--from-did", f"{s}:cds"], None),
        ("did content history", [f"{s}:cds"], "q2"),
        ("did list", ["--filter", "type=dataset", f"{s}:c*"], "cds"), ("did show", [f"{s}:cds"], "DATASET"),
        ("did metadata set", [f"{s}:cds", "--key", "project", "--value", "enso"], None),
        ("did metadata add", [f"{s}:cds", "--key", "project", "--value", "enso"], None),
        ("did metadata list", [f"{s}:cds"], "enso"),
        ("did metadata set", [f"{s}:cds", "--key", "free", "--value", "x"], None),
        ("did metadata add", [f"{s}:cds", "--key", "free", "--value", "x"], None),
        ("did metadata unset", [f"{s}:cds", "--key", "free"], None),
        ("did metadata remove", [f"{s}:cds", "--key", "free"], None),
        ("did update", [f"{s}:cds", "--close"], None), ("did update", [f"{s}:cds", "--touch"], None),
        ("did remove", [f"{s}:cbox"], None), ("did remove", ["--undo", f"{s}:cbox"], None),
        ("replica list file", [f"{s}:cds"], w.disk), ("replica list dataset", [f"{s}:cds"], w.disk),
        ("replica state update unavailable", [lambda: w.pfn("q3"), "--reason", "r", "--duration", "5000"], None),
        ("replica state update temporary-unavailable",
         [lambda: w.pfn("q3"), "--reason", "r", "--duration", "5000"], None),
        ("replica state update bad", [lambda: w.pfn("q4"), "--reason", "r"], None),
        ("replica state update quarantine", ["/dark", "--rse", w.disk], None),
        ("replica state list", ["suspicious", "--rses", w.disk], None),
        ("replica state list suspicious", ["--rses", w.disk], None),
        ("replica remove", [f"{s}:q3", "--rse", w.disk], None),
        ("rule add", [f"{s}:q2", "--copies", "1", "--rses", w.disk], None),
        ("rule list", ["--did", f"{s}:q2"], w.disk), ("rule history", [f"{s}:q2"], None),
        ("rule show", [keep_rule], "OK"), ("rule update", [rule, "--priority", "4"], None),
        ("rule move", [rule, "--rses", w.other], None),
        ("rule remove", [lambda: w.rule("q2", f"{w.disk}|{w.other}")], None),
        ("subscription add", [f"c{w.run}", "--filter", '{"scope": ["none"]}', "--rule",
                              '[{"copies": 1, "rse_expression": "LOCAL", "activity": "User Subscriptions"}]',
                              "--comment", "c", "--lifetime", "5"], None),
        ("subscription list", [], f"c{w.run}"), ("subscription show", [f"c{w.run}", "--account", "root"], f"c{w.run}"),
        ("subscription update", [f"c{w.run}", "--filter", '{"scope": ["no"]}', "--rule",
                                 '[{"copies": 1, "rse_expression": "LOCAL", "activity": "User Subscriptions"}]',
                                 "--comment", "d", "--lifetime", "5"], None),
        ("subscription touch", [f"{s}:cds"], None),
        ("lifetime-exception add", ["-f", lambda: listing(w), "--reason", "r", "-x", "2030-01-01"], None),
        ("opendata add", [f"{s}:cds"], None),
        ("opendata did add", [f"{s}:cds"], None), ("opendata did show", [f"{s}:cds"], "cds"),
        ("opendata did list", [], "cds"),
        ("opendata did update", [f"{s}:cds", "--meta", '{"title": "t"}'], None),
        ("opendata did remove", [f"{s}:cds"], None),
        ("upload", ["--rse", w.disk, "--scope", s, "--lfn", "up.dat", f"{w.work}/up.dat"], None),
        ("download", ["--dir", f"{w.work}/down", f"{s}:up.dat"], None),
    ]


def listing(w):
    path = f"{w.work}/dids"
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{w.scope}:cds\n")
    return path
