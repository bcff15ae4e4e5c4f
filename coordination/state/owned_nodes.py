"""Who owns which znodes: the ephemerals of each session, containers, TTL nodes.

In: a path and its owner field, when the znode comes and when it goes.  Out: three tables of paths, each in the order
the znodes came.  Knows no znode.  Answers to the maps `ephemerals`, `containers` and `ttls` of ZooKeeper's DataTree.

(1) A path stands in the table its owner field names (`znode.kind_of`), and in no other.
(2) A session without ephemerals has no entry.
"""

from coordination.state.znode import CONTAINER, EPHEMERAL, kind_of


class OwnedNodes:
    __slots__ = ("containers", "ephemerals", "ttls")

    def __init__(self) -> None:
        self.ephemerals: dict[int, dict[str, None]] = {}
        self.containers: dict[str, None] = {}
        self.ttls: dict[str, None] = {}

    def add(self, path: str, owner: int) -> None:
        """`owner` is not 0."""
        kind = kind_of(owner)
        if kind == EPHEMERAL:
            self.ephemerals.setdefault(owner, {})[path] = None
        else:
            (self.containers if kind == CONTAINER else self.ttls)[path] = None

    def discard(self, path: str, owner: int) -> None:
        kind = kind_of(owner)
        if kind == EPHEMERAL:
            owned = self.ephemerals.get(owner)
            if owned is not None:
                owned.pop(path, None)
                if not owned:
                    del self.ephemerals[owner]
        else:
            (self.containers if kind == CONTAINER else self.ttls).pop(path, None)

    def clear(self) -> None:
        self.ephemerals.clear()
        self.containers.clear()
        self.ttls.clear()
