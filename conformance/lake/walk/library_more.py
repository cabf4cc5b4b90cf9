"""The rest of the Python client's methods: subscriptions, settings, conventions, records, open data."""

from datetime import datetime, timedelta

from library import call
from rucio.common import exception
from world import equal, raises


@call("add_subscription", "list_subscriptions", "update_subscription", "deactivate_subscription",
      "list_subscription_rules", "list_subscription_rule_states")
def subscriptions(c, w):
    name = f"sub{w.run}"
    place = [{"copies": 1, "rse_expression": w.disk, "activity": "User Subscriptions", "lifetime": 86400}]
    assert c.add_subscription(name, "root", {"scope": [w.scope], "pattern": "auto.*"}, place, "c", 10, False, False)
    raises(exception.SubscriptionDuplicate,
           lambda: c.add_subscription(name, "root", {"scope": [w.scope]}, place, "c", 10, False, False))
    c.add_dataset(w.scope, "auto.1")
    c.add_dataset(w.scope, "manual.1")
    equal([one["rse_expression"] for one in c.list_did_rules(w.scope, "auto.1")], [w.disk])
    equal(list(c.list_did_rules(w.scope, "manual.1")), [])
    equal([one["name"] for one in c.list_subscription_rules("root", name)], ["auto.1"])
    assert c.update_subscription(name, "root", comments="d", priority=2)
    (row,) = list(c.list_subscriptions(name, "root"))
    equal((row["comments"], row["policyid"], row["state"]), ("d", 2, "UPDATED"))
    if hasattr(c, "list_subscription_rule_states"):
        equal([list(one) for one in c.list_subscription_rule_states("root", name)], [["root", name, "OK", 1]])
    if hasattr(c, "deactivate_subscription"):
        assert c.deactivate_subscription(name, "root")
    else:
        c.update_subscription(name, "root", filter_={"scope": ["none"]})
    c.add_dataset(w.scope, "auto.2")
    equal(list(c.list_did_rules(w.scope, "auto.2")), [])


@call("get_config", "set_config_option", "delete_config_option", "delete_config_section")
def config(c, w):
    section = f"walk{w.run}"
    assert c.set_config_option(section, "one", "1")
    assert c.set_config_option(section, "two", "text", use_body_for_params=False)
    equal(c.get_config(section), {"one": 1, "two": "text"})
    equal(c.get_config(section, "two"), "text")
    assert section in c.get_config()
    assert c.delete_config_option(section, "one")
    raises(exception.ConfigNotFound, lambda: c.get_config(section, "one"))
    if hasattr(c, "delete_config_section"):
        assert c.delete_config_section(section)
        assert section not in c.get_config()


@call("add_key", "list_keys", "add_value", "list_values")
def conventions(c, w):
    key = f"key{w.run}"
    assert c.add_key(key, "ALL")
    raises(exception.Duplicate, lambda: c.add_key(key, "ALL"))
    assert key in c.list_keys()
    assert c.add_value(key, "red")
    equal(c.list_values(key), ["red"])


@call("del_key", "del_value", "update_key")
def convention_stubs(c, w):
    # The client's own methods do nothing.
    c.del_key("k")
    c.del_value("k", "v")
    c.update_key("k")


@call("add_exception", "list_exceptions")
def exceptions(c, w):
    end = datetime.utcnow() + timedelta(days=30)
    made = c.add_exception([w.did("ds"), w.did("none")], "root", "", "needed", end)
    (identifier,) = made["exceptions"]
    equal([one["name"] for one in made["unknown"]], ["none"])
    rows = [one for one in c.list_exceptions() if one["id"] == identifier]
    equal([(one["name"], one["state"], one["account"]) for one in rows], [("ds", "WAITING", "root")])


@call("touch")
def touch(c, w):
    c.touch(w.scope, "f0", w.disk)
    c.touch(w.scope, "ds")
    assert c.get_metadata(w.scope, "f0")["accessed_at"] is not None
    assert c.get_metadata(w.scope, "ds")["accessed_at"] is not None


@call("export_data", "import_data")
def export(c, w):
    data = c.export_data()
    row = data["rses"][w.disk]
    equal((row["rse"], row["protocols"]["protocols"][0]["scheme"] if isinstance(row["protocols"], dict)
           else row["protocols"][0]["scheme"]), (w.disk, "file"))
    name = f"WIMP-{w.run.upper()}"
    assert c.import_data({"rses": {name: {"rse_type": "DISK", "attributes": {"tier": "3"}, "protocols": [
        {"scheme": "davs", "hostname": "i.example.org", "port": 443, "prefix": "/i/", "impl": "x", "domains": {
            "wan": {"read": 1}}}]}}, "distances": {w.disk: {name: {"distance": 2}}}})
    equal(c.list_rse_attributes(name)["tier"], "3")
    equal(c.get_distance(w.disk, name)[0]["distance"], 2)


@call("add_files")
def dirac(c, w):
    scope = f"user.{w.run}"
    c.add_scope("root", scope)
    lfn = f"/user/{w.run}/deep/file.dat"
    raises(exception.RucioException, lambda: c.add_files([{"lfn": lfn, "rse": "NOPE", "bytes": 1, "adler32": "00000001"}]))
    assert c.add_files([{"lfn": lfn, "rse": w.disk, "bytes": 1, "adler32": "00000001"}])
    equal(c.get_did(scope, lfn)["type"], "FILE")


@call("get_signed_url")
def signed(c, w):
    # Signed addresses are secrets in logs: the engine gives tokens instead, and says so.
    raises(exception.UnsupportedOperation,
           lambda: c.get_signed_url(w.disk, "s3", "read", "https://h.example.org/bucket/key"))


@call("list_dids_extended")
def extended(c, w):
    raises(exception.RucioException, lambda: c.list_dids_extended(w.scope, {}))


@call("add_opendata_did", "get_opendata_did", "update_opendata_did", "list_opendata_dids", "remove_opendata_did",
      "get_opendata_host")
def opendata(c, w):
    c.add_dataset(w.scope, "open", files=[w.did("f0")])
    assert c.add_opendata_did(scope=w.scope, name="open")
    raises(exception.OpenDataDataIdentifierAlreadyExists, lambda: c.add_opendata_did(scope=w.scope, name="open"))
    equal(c.get_opendata_did(scope=w.scope, name="open")["state"], "DRAFT")
    c.update_opendata_did(scope=w.scope, name="open", meta={"title": "t"}, doi="10.1234/abc." + w.run)
    c.close(w.scope, "open")
    c.update_opendata_did(scope=w.scope, name="open", state="PUBLIC")
    row = c.get_opendata_did(scope=w.scope, name="open", include_metadata=True, include_files=True, public=True)
    equal((row["state"], row["meta"]["title"], row["doi"]), ("PUBLIC", "t", "10.1234/abc." + w.run))
    assert "open" in [one["name"] for one in c.list_opendata_dids(public=True)["dids"]]
    c.update_opendata_did(scope=w.scope, name="open", state="SUSPENDED")
    assert c.remove_opendata_did(scope=w.scope, name="open")
    raises(exception.OpenDataDataIdentifierNotFound, lambda: c.get_opendata_did(scope=w.scope, name="open"))
    assert c.get_opendata_host(public=True).startswith("http")
