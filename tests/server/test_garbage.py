"""The cycle collector while a tree grows: in a process of its own, since its settings are the process's."""

import json
import subprocess
import sys

PROGRAM = """
import gc, json, weakref
from coordination.server import garbage

class Znode:
    __slots__ = ("__weakref__", "children")

kept = []
with garbage.loading():
    for _ in range(300_000):
        kept.append(Znode())
assert gc.isenabled()
garbage.serve()
looked_at = []

def before(phase, info):
    if phase == "start":
        looked_at.append(sum(len(gc.get_objects(generation)) for generation in range(info["generation"] + 1)))

gc.callbacks.insert(0, before)
for _ in range(300_000):
    kept.append(Znode())
cycle = Znode()
cycle.children = cycle
gone = weakref.ref(cycle)
del cycle
for _ in range(2 * garbage.YOUNG_OBJECTS):
    kept.append(Znode())
print(json.dumps({"collections": len(looked_at), "most": max(looked_at), "alive": gone() is not None}))
"""


def test_no_collection_looks_at_a_large_tree_and_young_cycles_still_go() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["collections"] >= 20
    assert said["most"] < 150_000
    assert said["alive"] is False
