"""SCIM with scim2-client, unmodified: it reads what the engine says it supports and checks every answer against it.

    policy_scim.py BASE TOKEN SUFFIX
"""

import sys

from httpx2 import Client
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import Error, SearchRequest

base, token, suffix = sys.argv[1:]
http = Client(base_url=base, headers={"Authorization": f"Bearer {token}"}, timeout=30)
scim = SyncSCIMClient(http)
scim.discover()
User, Group = scim.get_resource_model("User"), scim.get_resource_model("Group")
assert User and Group, "the client found no users and groups in what the engine says about itself"


def patch(resource, operations):
    body = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"], "Operations": operations}
    answer = http.patch(f"{base}/{resource}", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


name = f"scim-{suffix}"
made = scim.create(User(user_name=name, display_name="Scim Test", emails=[User.Emails(value=f"{name}@example.org")]))
assert made.id == name and made.active and made.emails[0].value == f"{name}@example.org", made
twice = scim.create(User(user_name=name), raise_scim_errors=False)
assert isinstance(twice, Error) and twice.status == 409 and twice.scim_type == "uniqueness", twice

found = scim.query(User, query_parameters=SearchRequest(filter=f'userName eq "{name}" and active eq true', count=5))
assert found.total_results == 1 and found.resources[0].id == name, found
page = scim.query(User, query_parameters=SearchRequest(start_index=2, count=1))
assert page.start_index == 2 and page.items_per_page == 1 and page.total_results >= 2, page
# The client itself refuses to send this one.
bad = http.get(f"{base}/Users", params={"filter": "userName eq"})
assert bad.status_code == 400 and Error.model_validate(bad.json()).scim_type == "invalidFilter", bad.text

made.display_name = "Another Name"
replaced = scim.replace(made)
assert replaced.display_name == "Another Name", replaced
assert patch(f"Users/{name}", [{"op": "replace", "path": "active", "value": False}])["active"] is False
assert patch(f"Users/{name}", [{"op": "replace", "value": {"active": True}}])["active"] is True

group = scim.create(Group(display_name=f"scim-group-{suffix}", members=[Group.Members(value=name)]))
assert [member.value for member in group.members] == [name], group
shown = scim.query(User, name)
assert [one.value for one in shown.groups] == [group.id], shown
without = patch(f"Groups/{group.id}", [{"op": "remove", "path": f'members[value eq "{name}"]'}])
assert not without.get("members"), without
again = patch(f"Groups/{group.id}", [{"op": "add", "path": "members", "value": [{"value": name}]}])
assert len(again["members"]) == 1, again
listed = scim.query(Group, query_parameters=SearchRequest(filter=f'members.value eq "{name}"'))
assert listed.total_results == 1, listed

scim.delete(Group, group.id)
scim.delete(User, name)
gone = scim.query(User, name, raise_scim_errors=False)
assert isinstance(gone, Error) and gone.status == 404, gone
refused = Client(base_url=base, headers={"Authorization": "Bearer nothing"}).get(f"{base}/Users/{name}")
assert refused.status_code == 401 and Error.model_validate(refused.json()).status == 401, refused.text
print("scim2-client: discovery, users, groups, filters, paging, patches and errors agree")
