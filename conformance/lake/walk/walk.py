"""Walks one client generation: walk.py VERSION WORK_DIR TABLE. Writes `KIND NAME OUTCOME` lines to TABLE."""

import sys

import command
import library
import library_more  # noqa: F401 - registers its calls
from world import World, methods, outcome

version, work, table = sys.argv[1:]
world = World(version, work)
world.prepare()
world.client.add_account(world.account, "USER", "w@example.org")

rows = []
# One function may exercise several methods; it runs once, and all of them share what came of it.
done = {}
names = methods()
for body in dict.fromkeys(library.CALLS.values()):
    if any(name in names for name, used in library.CALLS.items() if used is body):
        done[body] = outcome(lambda body=body: body(world.client, world))
for name in names:
    body = library.CALLS.get(name)
    rows.append(("library", name, "not exercised" if body is None else done[body]))
rows += [("command", name, result) for name, result in command.walk(version, world)]

with open(table, "w", encoding="utf-8") as file:
    for kind, name, result in rows:
        file.write(f"{version}\t{kind}\t{name}\t{result}\n")
