"""Compares tables of outcomes with what is known to work: compare.py KNOWN TABLE…

Fails when something that worked does not, or is not there any more. With DTE_LAKE_GROW=1 what newly works is added to KNOWN.
"""

import os
import sys

known_path, *tables = sys.argv[1:]
with open(known_path, encoding="utf-8") as file:
    known = {line.rstrip("\n") for line in file if line.strip()}
rows = []
for table in tables:
    with open(table, encoding="utf-8") as file:
        rows += [line.rstrip("\n").split("\t", 3) for line in file]

works = {"\t".join(row[:3]) for row in rows if row[3] == "works"}
versions = dict.fromkeys(row[0] for row in rows)
for version in versions:
    for kind in ("library", "command"):
        own = [row for row in rows if row[:2] == [version, kind]]
        good = sum(row[3] == "works" for row in own)
        print(f"rucio-clients {version} {kind}: {good} of {len(own)} work")
seen = {}
for version, kind, name, result in rows:
    if result != "works":
        seen.setdefault((kind, name, result), []).append(version)
for (kind, name, result), at in seen.items():
    print(f"  {kind} {name} ({', '.join(at)}): {result}")

lost = sorted(line for line in known - works if line.split("\t")[0] in versions)
for line in lost:
    print("WORKED BEFORE: " + line.replace("\t", " "), file=sys.stderr)
fresh = works - known
if fresh and os.environ.get("DTE_LAKE_GROW") == "1":
    with open(known_path, "w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in sorted(known | fresh))
elif fresh:
    print(f"{len(fresh)} more work than are written down: DTE_LAKE_GROW=1 adds them")
sys.exit(1 if lost else 0)
