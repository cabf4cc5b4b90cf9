"""The FTS3 Python library against /fts: library.py ENDPOINT TOKEN AREA ADLER32. Ends with `COUNTS passed failed`."""

import json
import sys
import time
import traceback
import uuid

import fts3.rest.client.easy as fts
from fts3.rest.client.exceptions import ClientError, NotFound, Unauthorized

endpoint, token, area, adler32 = sys.argv[1:]
context = fts.Context(endpoint, fts_access_token=token)
checks = []


def check(function):
    checks.append(function)
    return function


def job(name, source="source", **params):
    transfer = fts.new_transfer(
        f"{area}/{source}", f"{area}/library/{name}", checksum=f"ADLER32:{adler32}", filesize=300000, metadata={"name": name}
    )
    return fts.new_job([transfer], verify_checksum=True, **params)


def unreachable(**params):
    return fts.new_job([fts.new_transfer("https://no-such-host.invalid/x", f"{area}/never-{uuid.uuid4()}")], retry=9, **params)


def end_of(job_id):
    for _ in range(200):
        status = fts.get_job_status(context, job_id, list_files=True)
        if status["job_state"] not in ("SUBMITTED", "READY", "ACTIVE"):
            return status
        time.sleep(0.05)
    raise AssertionError(f"{job_id} does not end: {status}")


@check
def whoami_and_vo_ids():
    me = fts.whoami(context)
    base = uuid.UUID(me["base_id"])
    assert me["vos_id"][0] == str(uuid.uuid5(base, me["vos"][0])), me


@check
def submit_to_the_end():
    status = end_of(fts.submit(context, job("one", metadata={"label": "x"})))
    assert status["job_state"] == "FINISHED", status
    file = status["files"][0]
    assert file["file_state"] == "FINISHED" and file["file_metadata"] == {"name": "one"} and file["filesize"] == 300000, file
    time.strptime(file["finish_time"], "%Y-%m-%dT%H:%M:%S")


@check
def several_jobs_as_rucio_asks():
    ids = [fts.submit(context, job(f"several-{n}")) for n in range(3)]
    for job_id in ids:
        end_of(job_id)
    statuses = fts.get_jobs_statuses(context, ids, list_files=True)
    assert [status["job_id"] for status in statuses] == ids
    assert all(status["files"][0]["file_state"] == "FINISHED" and status["http_status"] == "200 Ok" for status in statuses)


@check
def a_missing_one_among_several():
    job_id = fts.submit(context, job("among"))
    try:
        fts.get_jobs_statuses(context, [job_id, str(uuid.uuid4())])
    except ClientError as error:
        assert "No job with the id" in str(error) or "None" in str(error) or "http_message" in str(error), error
    else:
        raise AssertionError("207 was not seen")


@check
def no_such_job():
    try:
        fts.get_job_status(context, str(uuid.uuid4()))
    except NotFound:
        return
    raise AssertionError("it was found")


@check
def deterministic_identifier_and_duplicate():
    me = fts.whoami(context)
    sid = f"sid-{uuid.uuid4()}"
    wanted = job("deterministic", id_generator=fts.JobIdGenerator.deterministic, sid=sid)
    job_id = fts.submit(context, wanted)
    assert job_id == str(uuid.uuid5(uuid.UUID(me["vos_id"][0]), sid)), job_id
    end_of(job_id)
    try:
        fts.submit(context, wanted)
    except ClientError as error:
        assert "409" in str(error), error
    else:
        raise AssertionError("submitted twice")


@check
def several_replicas():
    transfer = fts.new_transfer(f"{area}/none", f"{area}/library/replica")
    # fts.add_alternative_source of this version calls a method that lists do not have.
    transfer["sources"].append(f"{area}/source")
    status = end_of(fts.submit(context, fts.new_job([transfer])))
    assert (status["job_state"], status["job_type"]) == ("FINISHED", "R"), status


@check
def several_hops():
    first = fts.new_transfer(f"{area}/source", f"{area}/library/hop-1")
    second = fts.new_transfer(f"{area}/library/hop-1", f"{area}/library/hop-2")
    status = end_of(fts.submit(context, fts.new_job([first, second], multihop=True)))
    assert (status["job_state"], status["job_type"]) == ("FINISHED", "H"), status


@check
def existing_destination_in_the_words_of_rucio():
    end_of(fts.submit(context, job("exists")))
    status = end_of(fts.submit(context, job("exists")))
    assert "Destination file exists and overwrite is not enabled" in status["files"][0]["reason"], status
    assert end_of(fts.submit(context, job("exists", overwrite=True)))["job_state"] == "FINISHED"


@check
def list_cancel_and_priority():
    job_id = fts.submit(context, unreachable())
    assert job_id in [listed["job_id"] for listed in fts.list_jobs(context, state_in=["SUBMITTED", "ACTIVE"])]
    changed = json.loads(context.post_json(f"/jobs/{job_id}", {"params": {"priority": 5}}))
    assert changed["priority"] == 5, changed
    assert fts.cancel(context, job_id)["job_state"] == "CANCELED"
    assert fts.get_job_status(context, job_id)["reason"] == "Job canceled by the user"


@check
def cancel_one_file():
    job_id = fts.submit(context, unreachable())
    file_id = fts.get_job_status(context, job_id, list_files=True)["files"][0]["file_id"]
    assert fts.cancel(context, job_id, [file_id]) == "CANCELED"


@check
def banned_storage():
    storage = "https://banned.invalid"
    held = fts.new_job([fts.new_transfer(f"{storage}/x", f"{area}/banned-{uuid.uuid4()}")])
    assert fts.ban_se(context, storage, status="wait", allow_submit=True) == []
    job_id = fts.submit(context, held)
    for _ in range(100):
        if fts.get_job_status(context, job_id, list_files=True)["files"][0]["file_state"] == "ON_HOLD":
            break
        time.sleep(0.05)
    else:
        raise AssertionError("it does not wait")
    assert fts.ban_se(context, storage) == [job_id]
    status = end_of(job_id)
    assert (status["job_state"], status["reason"]) == ("CANCELED", "Storage banned"), status
    try:
        fts.submit(context, held)
    except Unauthorized as error:
        assert f"{storage} is banned" in str(error), error
    else:
        raise AssertionError("it was taken")
    listed = json.loads(context.get("/ban/se"))
    assert [ban["se"] for ban in listed if ban["status"] == "CANCEL"] == [storage], listed
    fts.unban_se(context, storage)
    fts.cancel(context, fts.submit(context, held))


@check
def banned_user():
    assert fts.ban_dn(context, "somebody") == []
    assert [ban["dn"] for ban in json.loads(context.get("/ban/dn"))] == ["somebody"]
    fts.unban_dn(context, "somebody")
    assert json.loads(context.get("/ban/dn")) == []
    try:
        fts.ban_dn(context, fts.whoami(context)["user_dn"])
    except ClientError as error:
        assert "409" in str(error), error
    else:
        raise AssertionError("banned themselves")


@check
def what_is_said_of_storages():
    # As Rucio's transfer tool does it.
    wanted = {"https://storage.invalid": {"se_info": {"tpc_support": "PUSH"}, "operations": {}}}
    answer = json.loads(context.post_json("/config/se", wanted))
    assert answer["https://storage.invalid"]["se_info"]["tpc_support"] == "PUSH", answer
    listed = json.loads(context.get("/config/se?se=https://storage.invalid"))
    assert listed == answer, listed
    try:
        context.post_json("/config/se", {"https://storage.invalid": {"se_info": {"tpc_support": "MAYBE"}}})
    except ClientError as error:
        assert "FULL, PULL, PUSH or NONE" in str(error), error
    else:
        raise AssertionError("it was taken")
    context.delete("/config/se?se=https://storage.invalid")
    assert json.loads(context.get("/config/se")) == {}


@check
def links_shares_and_the_optimiser():
    link = {"symbolicname": "away", "source": "https://no-such-host.invalid", "destination": "*", "min_active": 1, "max_active": 4}
    made = json.loads(context.post_json("/config/links", link))
    assert (made["optimizer_mode"], made["max_active"]) == (2, 4), made
    assert json.loads(context.get("/config/links/away")) == made
    assert json.loads(context.get("/optimizer")) is True
    share = {"source": "https://no-such-host.invalid", "destination": "*", "vo": "atlas", "share": 30}
    assert json.loads(context.post_json("/config/shares", share)) == share
    assert json.loads(context.get("/config/shares")) == [share]
    weights = {"vo": "atlas", "active": True, "share": [{"A": 0.7}, {"B": 0.3}]}
    assert json.loads(context.post_json("/config/activity_shares", weights))["share"] == {"A": 0.7, "B": 0.3}
    try:
        context.post_json("/config/links", dict(link, min_active=5))
    except ClientError as error:
        assert "max_active is lower than min_active" in str(error), error
    else:
        raise AssertionError("it was taken")
    assert json.loads(context.get("/config/audit"))[0]["action"] == "activity-share"
    assert json.loads(context.get("/config/activity_shares/atlas")) == json.loads(context.post_json("/config/activity_shares", weights))
    assert "atlas" in json.loads(context.get("/config/activity_shares"))
    context.delete("/config/activity_shares/atlas")
    assert "atlas" not in json.loads(context.get("/config/activity_shares"))
    context.delete("/config/shares?source=https://no-such-host.invalid&destination=*&vo=atlas")
    assert json.loads(context.get("/config/shares")) == []
    context.post_json("/config/shares", share)
    ends = {"source_se": "https://no-such-host.invalid", "dest_se": "/".join(area.split("/")[:3])}
    assert json.loads(context.post_json("/optimizer/current", dict(ends, active=3)))[0]["active"] == 3
    current = json.loads(context.get("/optimizer/current?source_se=https://no-such-host.invalid"))
    assert [(one["dest_se"], one["active"]) for one in current] == [(ends["dest_se"], 3)], current
    assert isinstance(json.loads(context.get("/optimizer/evolution")), list)
    # With the link go its shares.
    context.delete("/config/links/away")
    assert json.loads(context.get("/config/shares")) == []
    try:
        context.get("/config/links/away")
    except NotFound:
        pass
    else:
        raise AssertionError("it is still there")


@check
def a_link_that_is_shut_and_why_its_files_wait():
    shut = {"symbolicname": "shut", "source": "https://no-such-host.invalid", "min_active": 0, "max_active": 0, "optimizer_mode": 0}
    context.post_json("/config/links", shut)
    job_id = fts.submit(context, unreachable())
    time.sleep(0.5)
    status = fts.get_job_status(context, job_id, list_files=True)
    assert (status["job_state"], status["files"][0]["file_state"]) == ("SUBMITTED", "SUBMITTED"), status
    explained = json.loads(context.get(f"/jobs/{job_id}/explain"))
    assert explained["files"][0]["code"] == "link-limit", explained
    file_id = explained["files"][0]["file_id"]
    assert json.loads(context.get(f"/jobs/{job_id}/files/{file_id}/explain")) == explained["files"][0]
    context.delete("/config/links/shut")
    for _ in range(200):
        if fts.get_job_status(context, job_id, list_files=True)["files"][0]["reason"]:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("it was not tried after the link was opened")
    assert json.loads(context.get("/autocomplete/source?term=https://no-such")) == ["https://no-such-host.invalid"]
    for what in ("dn", "destination", "storage", "vo"):
        assert json.loads(context.get(f"/autocomplete/{what}?term=")), what
    fts.cancel(context, job_id)


@check
def strangers():
    nobody = fts.Context(endpoint, no_creds=False, fts_access_token="nonsense")
    try:
        fts.submit(nobody, job("stranger"))
    except Unauthorized:
        return
    raise AssertionError("a stranger was let in")


passed = failed = 0
for function in checks:
    try:
        function()
        passed += 1
    except Exception:
        failed += 1
        print(f"FAILED: library: {function.__name__}")
        print("    " + traceback.format_exc(limit=-2).strip().replace("\n", "\n    "))
print(f"COUNTS {passed} {failed}")
