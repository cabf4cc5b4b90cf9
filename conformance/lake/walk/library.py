"""Every public method of the Python client, with real arguments. What a method answers is looked at, not only that it does."""

import inspect
from datetime import datetime, timedelta

from rucio.common import exception
from world import DOMAINS, equal, raises

CALLS = {}


def call(*names):
    """Marks the function that exercises the named methods."""
    def keep(body):
        for name in names:
            CALLS[name] = body
        return body
    return keep


@call("ping", "whoami", "list_accounts", "get_account")
def who(c, w):
    assert c.ping()["version"]
    equal(c.whoami()["account"], "root")
    assert "root" in [one["account"] for one in c.list_accounts()]
    equal(c.get_account("root")["status"], "ACTIVE")


@call("add_account", "update_account", "delete_account")
def accounts(c, w):
    name = f"{w.account}a"
    assert c.add_account(name, "USER", "a@example.org")
    raises(exception.Duplicate, lambda: c.add_account(name, "USER", "a@example.org"))
    assert c.update_account(name, "email", "b@example.org")
    equal(c.get_account(name)["email"], "b@example.org")
    assert c.update_account(name, "status", "SUSPENDED")
    equal(c.get_account(name)["status"], "SUSPENDED")
    assert c.delete_account(name)
    equal(c.get_account(name)["status"], "DELETED")
    assert name not in [one["account"] for one in c.list_accounts()]


@call("add_account_attribute", "list_account_attributes", "delete_account_attribute")
def account_attributes(c, w):
    assert c.add_account_attribute(w.account, "country", "pt")
    raises(exception.Duplicate, lambda: c.add_account_attribute(w.account, "country", "pt"))
    equal(list(c.list_account_attributes(w.account)), [[{"key": "country", "value": "pt"}]])
    assert w.account in [one["account"] for one in c.list_accounts(filters={"country": "pt"})]
    assert c.delete_account_attribute(w.account, "country")
    equal(list(c.list_account_attributes(w.account)), [[]])


@call("add_identity", "list_identities", "del_identity")
def identities(c, w):
    identity = f"/DC=org/CN={w.run}"
    assert c.add_identity(w.account, identity, "X509", "a@example.org")
    raises(exception.Duplicate, lambda: c.add_identity(w.account, identity, "X509", "a@example.org"))
    assert identity in [one["identity"] for one in c.list_identities(w.account)]
    equal([one["account"] for one in c.list_accounts(identity=identity)], [w.account])
    assert c.del_identity(w.account, identity, "X509")
    assert identity not in [one["identity"] for one in c.list_identities(w.account)]


@call("set_local_account_limit", "set_account_limit", "get_local_account_limit", "get_local_account_limits",
      "delete_local_account_limit", "delete_account_limit", "get_account_limits")
def local_limits(c, w):
    assert c.set_local_account_limit(w.account, w.disk, 1000)
    equal(c.get_local_account_limit(w.account, w.disk), {w.disk: 1000})
    assert c.set_account_limit(w.account, w.other, -1, "local")
    equal(c.get_local_account_limits(w.account), {w.disk: 1000, w.other: float("inf")})
    equal(c.get_account_limits(w.account, w.disk, "local"), {w.disk: 1000})
    assert c.delete_local_account_limit(w.account, w.disk)
    assert c.delete_account_limit(w.account, w.other, "local")
    equal(c.get_local_account_limits(w.account), {})
    raises(exception.RSENotFound, lambda: c.set_local_account_limit(w.account, "NOPE", 1))


@call("set_global_account_limit", "get_global_account_limit", "get_global_account_limits", "delete_global_account_limit")
def global_limits(c, w):
    expression = f"{w.disk}|{w.other}"
    assert c.set_global_account_limit(w.account, expression, 5000)
    equal(c.get_global_account_limit(w.account, expression), {expression: 5000})
    row = c.get_global_account_limits(w.account)[expression]
    equal((sorted(row["resolved_rses"]), row["limit"]), (sorted([w.disk, w.other]), 5000))
    assert c.delete_global_account_limit(w.account, expression)
    equal(c.get_global_account_limits(w.account), {})


@call("get_local_account_usage", "get_global_account_usage", "get_account_usage_history", "list_account_rules")
def usage(c, w):
    before = {one["rse"]: one["bytes"] for one in c.get_local_account_usage("root")}
    rule = w.rule("f0", w.disk)
    after = {one["rse"]: one["bytes"] for one in c.get_local_account_usage("root")}
    equal(after[w.disk] - before.get(w.disk, 0), 10)
    assert rule in [one["id"] for one in c.list_account_rules("root")]
    equal([one["rse"] for one in c.get_local_account_usage("root", w.disk)], [w.disk])
    c.set_global_account_limit("root", w.disk, 10**9)
    (row,) = list(c.get_global_account_usage("root", w.disk))
    equal((row["rse_expression"], row["bytes"], row["bytes_limit"]), (w.disk, after[w.disk], 10**9))
    assert w.disk in [one["rse_expression"] for one in c.get_global_account_usage("root")]
    c.delete_global_account_limit("root", w.disk)
    assert c.get_account_usage_history("root", w.disk)[-1]["bytes"] == after[w.disk]


@call("add_scope", "list_scopes", "list_scopes_for_account", "list_scope_owners", "update_scope")
def scopes(c, w):
    scope = f"more.{w.run}"
    assert c.add_scope("root", scope)
    assert scope in c.list_scopes() and scope in c.list_scopes_for_account("root")
    if hasattr(c, "update_scope"):
        assert c.update_scope(w.account, scope)
        assert {"scope": scope, "account": w.account} in c.list_scope_owners()


@call("add_rse", "get_rse", "update_rse", "delete_rse", "list_rses")
def rses(c, w):
    name = f"WNEW-{w.run.upper()}"
    assert c.add_rse(name, city="Lisboa", latitude=38.7, longitude=-9.1)
    assert c.update_rse(name, {"availability_write": False, "deterministic": False})
    row = c.get_rse(name)
    equal((row["availability_write"], row["deterministic"]), (False, False))
    assert name in [one["rse"] for one in c.list_rses()]
    assert c.update_rse(name, {"name": f"{name}-B"})
    equal(c.get_rse(f"{name}-B")["rse"], f"{name}-B")
    assert c.delete_rse(f"{name}-B")
    raises(exception.RSENotFound, lambda: c.get_rse(f"{name}-B"))


@call("add_rse_attribute", "list_rse_attributes", "delete_rse_attribute")
def rse_attributes(c, w):
    assert c.add_rse_attribute(w.disk, "tier", "2")
    equal(c.list_rse_attributes(w.disk), {w.disk: True, "tier": "2"})
    assert c.delete_rse_attribute(w.disk, "tier")
    raises(exception.RSEAttributeNotFound, lambda: c.delete_rse_attribute(w.disk, "tier"))


@call("add_protocol", "get_protocols", "update_protocols", "swap_protocols", "delete_protocols", "lfns2pfns")
def protocols(c, w):
    for scheme, rank in (("davs", 2), ("https", 3)):
        domains = {"wan": {"read": rank, "write": rank, "delete": rank}, "lan": {"read": rank}}
        assert c.add_protocol(w.other, {"scheme": scheme, "hostname": "h.example.org", "port": 443, "prefix": "/x/",
                                        "impl": "rucio.rse.protocols.webdav.Default", "domains": domains})
    equal([one["scheme"] for one in c.get_protocols(w.other)], ["file", "davs", "https"])
    assert c.update_protocols(w.other, "davs", {"prefix": "/y/"}, hostname="h.example.org", port=443)
    assert c.lfns2pfns(w.other, ["s:n"], scheme="davs")["s:n"].startswith("davs://h.example.org:443/y/s/")
    assert c.swap_protocols(w.other, "wan", "read", "davs", "https")
    ranks = {one["scheme"]: one["domains"]["wan"]["read"] for one in c.get_protocols(w.other)}
    equal((ranks["davs"], ranks["https"]), (3, 2))
    assert c.delete_protocols(w.other, "davs") and c.delete_protocols(w.other, "https", "h.example.org", 443)
    equal([one["scheme"] for one in c.get_protocols(w.other)], ["file"])
    raises(exception.RSEProtocolNotSupported, lambda: c.delete_protocols(w.other, "srm"))


@call("add_qos_policy", "list_qos_policies", "delete_qos_policy")
def qos(c, w):
    assert c.add_qos_policy(w.disk, "FAST")
    equal(c.list_qos_policies(w.disk), ["FAST"])
    assert c.delete_qos_policy(w.disk, "FAST")
    equal(c.list_qos_policies(w.disk), [])


@call("set_rse_usage", "get_rse_usage", "list_rse_usage_history")
def rse_usage(c, w):
    assert c.set_rse_usage(w.disk, "storage", 100, 900)
    rows = {one["source"]: one for one in c.get_rse_usage(w.disk)}
    equal((rows["storage"]["used"], rows["storage"]["free"], rows["storage"]["total"]), (100, 900, 1000))
    equal((rows["rucio"]["files"], rows["rucio"]["used"]), (10, 100))
    (one,) = list(c.get_rse_usage(w.disk, filters={"source": "storage"}))
    equal(one["used"], 100)
    assert "storage" in [one["source"] for one in c.list_rse_usage_history(w.disk)]


@call("set_rse_limits", "get_rse_limits", "delete_rse_limits")
def rse_limits(c, w):
    assert c.set_rse_limits(w.disk, "MinFreeSpace", 10000)
    equal(c.get_rse_limits(w.disk), {"MinFreeSpace": 10000})
    assert c.delete_rse_limits(w.disk, "MinFreeSpace")
    equal(c.get_rse_limits(w.disk), {})


@call("add_distance", "get_distance", "update_distance", "delete_distance")
def distances(c, w):
    assert c.add_distance(w.disk, w.other, {"distance": 3})
    raises(exception.Duplicate, lambda: c.add_distance(w.disk, w.other, {"distance": 3}))
    assert c.update_distance(w.disk, w.other, {"distance": 4})
    (row,) = c.get_distance(w.disk, w.other)
    equal((row["src_rse"], row["dest_rse"], row["distance"]), (w.disk, w.other, 4))
    c.delete_distance(w.disk, w.other)
    equal(list(c.get_distance(w.disk, w.other)), [])


@call("add_did", "add_dids", "add_dataset", "add_datasets", "add_container", "add_containers", "get_did")
def new_dids(c, w):
    assert c.add_did(w.scope, "n1", "DATASET", meta={"project": "p"}, lifetime=10**6)
    assert c.add_dids([{**w.did("n2"), "type": "DATASET"}, {**w.did("n3"), "type": "CONTAINER"}])
    assert c.add_dataset(w.scope, "n4", statuses={"monotonic": True})
    assert c.add_datasets([w.did("n5")]) and c.add_container(w.scope, "n6") and c.add_containers([w.did("n7")])
    equal((c.get_did(w.scope, "n4")["monotonic"], c.get_did(w.scope, "n7")["type"]), (True, "CONTAINER"))
    equal(c.get_metadata(w.scope, "n1")["project"], "p")
    raises(exception.DataIdentifierAlreadyExists, lambda: c.add_dataset(w.scope, "n4"))


@call("attach_dids", "attach_dids_to_dids", "add_files_to_dataset", "add_files_to_datasets", "add_datasets_to_container",
      "add_datasets_to_containers", "add_containers_to_container", "add_containers_to_containers", "detach_dids",
      "list_content", "list_content_history", "list_parent_dids", "list_files", "bulk_list_files")
def contents(c, w):
    for name in ("c1", "c2", "c3", "c4"):
        c.add_container(w.scope, name)
    for name in ("d1", "d2"):
        c.add_dataset(w.scope, name)
    assert c.attach_dids(w.scope, "d1", [w.did("f0")])
    assert c.attach_dids_to_dids([{**w.did("d1"), "dids": [w.did("f1")]}])
    assert c.add_files_to_dataset(w.scope, "d2", [w.did("f2")])
    assert c.add_files_to_datasets([{**w.did("d2"), "dids": [w.did("f3")]}], ignore_duplicate=True)
    assert c.add_datasets_to_container(w.scope, "c1", [w.did("d1")])
    assert c.add_datasets_to_containers([{**w.did("c1"), "dids": [w.did("d2")]}])
    assert c.add_containers_to_container(w.scope, "c2", [w.did("c1")])
    assert c.add_containers_to_containers([{**w.did("c3"), "dids": [w.did("c2")]}])
    raises(exception.UnsupportedOperation, lambda: c.add_containers_to_container(w.scope, "c1", [w.did("c3")]))
    equal(sorted(one["name"] for one in c.list_files(w.scope, "c3")), ["f0", "f1", "f2", "f3"])
    equal(len(list(c.bulk_list_files([w.did("d1"), w.did("d2")]))), 4)
    equal([one["name"] for one in c.list_content(w.scope, "c1")], ["d1", "d2"])
    equal([one["name"] for one in c.list_parent_dids(w.scope, "c1")], ["c2"])
    assert c.detach_dids(w.scope, "d2", [w.did("f3")])
    equal([one["name"] for one in c.list_content_history(w.scope, "d2")], ["f3"])


@call("close", "set_status")
def closing(c, w):
    c.add_dataset(w.scope, "shut", files=[w.did("f0")])
    assert c.close(w.scope, "shut")
    equal(c.get_did(w.scope, "shut")["open"], False)
    raises(exception.UnsupportedOperation, lambda: c.close(w.scope, "shut"))
    assert c.set_status(w.scope, "shut", open=True)
    equal(c.get_did(w.scope, "shut")["open"], True)
    raises(exception.UnsupportedStatus, lambda: c.set_status(w.scope, "shut", monotonic=True))


@call("get_metadata", "get_metadata_bulk", "set_metadata", "set_metadata_bulk", "set_dids_metadata_bulk", "delete_metadata")
def metadata(c, w):
    c.add_container(w.scope, "mc")
    c.add_dataset(w.scope, "md", files=[w.did("f4")])
    c.attach_dids(w.scope, "mc", [w.did("md")])
    assert c.set_metadata(w.scope, "md", "project", "enso")
    assert c.set_metadata_bulk(w.scope, "md", {"depth": 5, "datatype": "RAW"})
    assert c.set_dids_metadata_bulk([{**w.did("mc"), "meta": {"season": "winter"}}])
    equal(c.get_metadata(w.scope, "md")["project"], "enso")
    equal(c.get_metadata(w.scope, "md", plugin="JSON")["depth"], 5)
    # (35 has no choice of plugin here.)
    plugin = {"plugin": "ALL"} if "plugin" in inspect.signature(c.get_metadata_bulk).parameters else {}
    rows = {one["name"]: one for one in c.get_metadata_bulk([w.did("md"), w.did("none")], inherit=True, **plugin)}
    equal((rows["md"]["project"], len(rows)), ("enso", 1))
    if plugin:
        equal((rows["md"]["season"], rows["md"]["depth"]), ("winter", 5))
    assert c.set_metadata(w.scope, "md", "seen", "yes", recursive=True)
    equal(c.get_metadata(w.scope, "f4", plugin="JSON")["seen"], "yes")
    assert c.delete_metadata(w.scope, "md", "depth")
    raises(exception.RucioException, lambda: c.set_metadata(w.scope, "md", "bytes", 5))


@call("list_dids", "scope_list", "create_did_sample", "get_dataset_by_guid")
def finding(c, w):
    equal(list(c.list_dids(w.scope, [{"name": "ds2"}])), ["ds2"])
    top = {one["name"]: one for one in c.scope_list(w.scope)}
    assert "ds" in top and top["ds"]["level"] == 0
    below = list(c.scope_list(w.scope, "ds", recursive=True))
    equal([(one["name"], one["level"]) for one in below], [("ds", 0), ("f0", 1), ("f1", 1), ("f2", 1)])
    equal(below[1]["parent"], w.did("ds"))
    assert c.create_did_sample(w.scope, "ds", w.scope, "some", 2)
    equal(len(list(c.list_files(w.scope, "some"))), 2)
    guid = f"{w.run}aaaa4bbb8ccc0123456789ab"
    c.add_replicas(w.disk, [{**w.file("withguid"), "meta": {"guid": guid}}])
    c.attach_dids(w.scope, "ds3", [w.did("withguid")])
    equal([one["name"] for one in c.get_dataset_by_guid(guid)], ["ds3"])


@call("resurrect")
def resurrect(c, w):
    c.add_dataset(w.scope, "gone")
    c.set_metadata(w.scope, "gone", "lifetime", 86400)
    assert c.get_did(w.scope, "gone")["expired_at"] is not None
    assert c.resurrect([w.did("gone")])
    equal(c.get_did(w.scope, "gone")["expired_at"], None)


@call("add_files_to_archive", "list_archive_content")
def archives(c, w):
    c.add_replicas(w.disk, [w.file("pack.zip")])
    assert c.add_files_to_archive(w.scope, "pack.zip", [w.file("in1"), w.file("in2")])
    equal([one["name"] for one in c.list_archive_content(w.scope, "pack.zip")], ["in1", "in2"])
    equal(c.get_metadata(w.scope, "in1")["constituent"], True)
    equal(c.get_metadata(w.scope, "pack.zip")["is_archive"], True)


@call("add_replica", "add_replicas", "list_replicas", "update_replicas_states", "delete_replicas")
def replicas(c, w):
    assert c.add_replica(w.disk, w.scope, "r1", 10, "0000000a")
    assert c.add_replicas(w.disk, [w.file("r2")])
    (row,) = list(c.list_replicas([w.did("r1")], rse_expression=w.disk, resolve_parents=True))
    equal(row["states"], {w.disk: "AVAILABLE"})
    assert "<metalink" in c.list_replicas([w.did("r1")], metalink=True)
    assert c.update_replicas_states(w.disk, [{**w.did("r1"), "state": "U"}])
    equal(list(c.list_replicas([w.did("r1")], all_states=True))[0]["states"], {w.disk: "UNAVAILABLE"})
    assert c.delete_replicas(w.disk, [w.did("r2")])
    equal(list(c.list_replicas([w.did("r2")]))[0]["rses"], {})


@call("list_dataset_replicas", "list_dataset_replicas_bulk", "list_dataset_replicas_vp", "list_datasets_per_rse")
def dataset_replicas(c, w):
    for rows in (c.list_dataset_replicas(w.scope, "ds"), c.list_dataset_replicas(w.scope, "ds", deep=True),
                 c.list_dataset_replicas_bulk([w.did("ds")]), c.list_dataset_replicas_vp(w.scope, "ds")):
        (row,) = list(rows)
        equal((row["rse"], row["available_length"], row["state"]), (w.disk, 3, "AVAILABLE"))
    assert "ds" in [one["name"] for one in c.list_datasets_per_rse(w.disk)]


@call("get_did_from_pfns")
def from_pfns(c, w):
    pfn = w.pfn("f5")
    equal(list(c.get_did_from_pfns([pfn], w.disk)), [{pfn: w.did("f5")}])


@call("declare_bad_file_replicas", "declare_bad_did_replicas")
def bad(c, w):
    c.add_replicas(w.disk, [w.file("bad1"), w.file("bad2"), w.file("bad3")])
    c.add_replicas(w.other, [w.file("bad1")])
    equal(c.declare_bad_file_replicas([w.pfn("bad1")], "broken"), {})
    equal(c.declare_bad_file_replicas([{**w.did("bad2"), "rse": w.disk}], "broken"), {})
    equal(c.declare_bad_did_replicas(w.disk, [w.did("bad3")], "broken"), {})
    again = c.declare_bad_file_replicas([w.pfn("bad1")], "broken")
    assert "lready declared" in str(again) or "Unknown" in str(again), again
    equal(list(list(c.list_replicas([w.did("bad1")]))[0]["rses"]), [w.other])


@call("declare_suspicious_file_replicas", "list_suspicious_replicas")
def suspicious(c, w):
    c.add_replicas(w.disk, [w.file("sus")])
    for _ in range(2):
        equal(c.declare_suspicious_file_replicas([w.pfn("sus")], "slow"), {})
    rows = c.list_suspicious_replicas(w.disk, datetime.utcnow() - timedelta(days=1), 1)
    rows = list(rows)
    rows = rows[0] if rows and isinstance(rows[0], list) else rows
    equal([(one["name"], one["rse"], one["cnt"]) for one in rows], [("sus", w.disk, 2)])


@call("add_bad_pfns")
def bad_pfns(c, w):
    c.add_replicas(w.disk, [w.file("tmp")])
    end = (datetime.utcnow() + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M:%S.%f")
    assert c.add_bad_pfns([w.pfn("tmp")], "down", "TEMPORARY_UNAVAILABLE", end)
    equal(list(c.list_replicas([w.did("tmp")], all_states=True))[0]["states"], {w.disk: "TEMPORARY_UNAVAILABLE"})


@call("set_tombstone", "quarantine_replicas")
def tombstones(c, w):
    c.add_replicas(w.other, [w.file("dead")])
    c.set_tombstone([{**w.did("dead"), "rse": w.other}])
    w.rule("f6", w.disk)
    raises(exception.ReplicaIsLocked, lambda: c.set_tombstone([{**w.did("f6"), "rse": w.disk}]))
    c.quarantine_replicas([{"path": "/dark/file"}], rse=w.disk)


@call("add_replication_rule", "get_replication_rule", "list_did_rules", "list_replication_rules", "list_replica_locks",
      "update_replication_rule", "delete_replication_rule", "examine_replication_rule", "list_associated_rules_for_file",
      "list_replication_rule_full_history")
def rules(c, w):
    rule = w.rule("ds", w.disk, grouping="ALL", comment="mine", lifetime=86400)
    row = c.get_replication_rule(rule)
    equal((row["state"], row["grouping"], row["locks_ok_cnt"]), ("OK", "ALL", 3))
    assert rule in [one["id"] for one in c.list_did_rules(w.scope, "ds")]
    assert rule in [one["id"] for one in c.list_replication_rules({"scope": w.scope, "name": "ds"})]
    equal(len(list(c.list_replica_locks(rule))), 3)
    assert rule in [one["id"] for one in c.list_associated_rules_for_file(w.scope, "f1")]
    assert c.update_replication_rule(rule, {"priority": 5, "comment": "ours", "eol_at": None})
    equal(c.get_replication_rule(rule)["comments"], "ours")
    assert "rule_error" in c.examine_replication_rule(rule)
    assert c.update_replication_rule(rule, {"state": "suspended"})
    equal(c.get_replication_rule(rule)["state"], "SUSPENDED")
    assert c.update_replication_rule(rule, {"state": "stuck"})
    assert c.delete_replication_rule(rule, purge_replicas=False)
    assert rule in [one["rule_id"] for one in c.list_replication_rule_full_history(w.scope, "ds")]


@call("move_replication_rule", "reduce_replication_rule")
def moving(c, w):
    old = w.rule("f7", w.disk)
    new = c.move_replication_rule(old, w.other, {})
    equal(c.get_replication_rule(new)["rse_expression"], w.other)
    equal(c.get_replication_rule(old)["child_rule_id"], new)
    c.add_replicas(w.disk, [w.file("two")])
    c.add_replicas(w.other, [w.file("two")])
    (both,) = c.add_replication_rule([w.did("two")], 2, f"{w.disk}|{w.other}")
    fewer = c.reduce_replication_rule(both, 1, exclude_expression=w.other)
    equal([one["rse"] for one in c.list_replica_locks(fewer)], [w.disk])
    raises(exception.RuleNotFound, lambda: c.get_replication_rule(both))


@call("approve_replication_rule", "deny_replication_rule")
def approval(c, w):
    first = w.rule("f8", w.disk, ask_approval=True)
    equal(c.get_replication_rule(first)["state"], "WAITING_APPROVAL")
    assert c.approve_replication_rule(first)
    equal(c.get_replication_rule(first)["state"], "OK")
    second = w.rule("f9", w.disk, ask_approval=True)
    assert c.deny_replication_rule(second, reason="no room")
    raises(exception.RuleNotFound, lambda: c.get_replication_rule(second))


@call("get_dataset_locks", "get_dataset_locks_by_rse", "get_locks_for_dids")
def locks(c, w):
    rule = w.rule("ds2", w.disk)
    c.attach_dids(w.scope, "ds2", [w.did("f0")])
    assert rule in [one["rule_id"] for one in c.get_dataset_locks(w.scope, "ds2")]
    assert rule in [one["rule_id"] for one in c.get_dataset_locks_by_rse(w.disk)]
    assert rule in [one["rule_id"] for one in c.get_locks_for_dids([{**w.did("ds2"), "type": "dataset"}])]


@call("list_request_by_did", "list_requests")
def requests(c, w):
    w.rule("f5", w.other)
    row = c.list_request_by_did("f5", w.other, w.scope)
    equal((row["dest_rse"], row["scope"]), (w.other, w.scope))
    names = [one["name"] for one in c.list_requests(w.disk, w.other, "Q,S,F,N,O,A,G,W,P")]
    assert isinstance(names, list)


@call("list_request_history_by_did", "list_requests_history")
def request_history(c, w):
    raises(exception.RequestNotFound, lambda: c.list_request_history_by_did("f0", w.disk, w.scope))
    assert isinstance(list(c.list_requests_history(w.disk, w.other, "D,F")), list)


@call("set_transfer_limit", "list_transfer_limits", "delete_transfer_limit")
def transfer_limits(c, w):
    assert c.set_transfer_limit(w.disk, activity="Express", max_transfers=7)
    rows = [one for one in c.list_transfer_limits() if one["rse_expression"] == w.disk]
    equal([(one["activity"], one["max_transfers"]) for one in rows], [("Express", 7)])
    assert c.delete_transfer_limit(w.disk, activity="Express")
    equal([one for one in c.list_transfer_limits() if one["rse_expression"] == w.disk], [])
