"""The sums of limited subtrees: how many znodes, how many bytes, kept in `zookeeper_stats` beside each limit.

In: "this path was created, deleted, grew".  Out: the sums' znodes changed, and by how many bytes their data grew.
No txn changes sums: they follow from the txns, on every server alike.  Knows of the tree only its table of znodes.
Answers to the quota half of ZooKeeper's DataTree (updateQuotaStat, updateQuotaForPath).

(1) After each txn the sums beside a limit are those of its subtree.
(2) `limited` holds exactly the subtrees with a limit; while it is empty nobody need ask here.
"""

from collections.abc import Mapping

from coordination.errors import MarshallingError
from coordination.state import quotas
from coordination.state.quotas import LimitedPaths
from coordination.state.znode import Node


class QuotaSums:
    """Every method gives by how many bytes the data of the sums grew."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes
        self.limited = LimitedPaths()

    def created(self, path: str) -> int:
        """A znode below /zookeeper/quota is new: perhaps a limit, perhaps sums to be filled."""
        limited = quotas.limited_by(path, quotas.LIMITS_SUFFIX)
        if limited is not None:
            self.limited.add(limited)
        counted = quotas.limited_by(path, quotas.SUMS_SUFFIX)
        return 0 if counted is None else self._count_anew(counted)

    def deleted(self, path: str) -> None:
        """A znode is gone: perhaps it was a limit."""
        limited = quotas.limited_by(path, quotas.LIMITS_SUFFIX)
        if limited is not None:
            self.limited.discard(limited)

    def grow(self, path: str, count: int, size: int) -> int:
        """`path` brought so many znodes and bytes (or took them away) to the subtree that limits it, if one does."""
        limited = self.limited.nearest(path)
        node = None if limited is None else self._nodes.get(quotas.sums_path(limited))
        if limited is None or node is None:
            return 0
        try:
            sums = quotas.parse(node.data)
        except MarshallingError:  # someone wrote nonsense there
            return self._count_anew(limited)
        sums[quotas.COUNT] = sums.get(quotas.COUNT, -1) + count
        sums[quotas.BYTES] = sums.get(quotas.BYTES, -1) + size
        return self._put(node, sums)

    def loaded(self) -> int:
        """The tree was replaced: find its limits, count every limited subtree."""
        self.limited.clear()
        grown = 0
        for path in self._below(quotas.QUOTA_ROOT):
            limited = quotas.limited_by(path, quotas.LIMITS_SUFFIX)
            if limited is not None:
                self.limited.add(limited)
                grown += self._count_anew(limited)
        return grown

    def _count_anew(self, limited: str) -> int:
        node = self._nodes.get(quotas.sums_path(limited))
        if node is None:
            return 0
        counted = [self._nodes[path].data for path in self._below(limited)]
        if limited in self._nodes:
            counted.append(self._nodes[limited].data)
        size = sum(len(data) for data in counted if data)
        return self._put(node, {quotas.COUNT: len(counted), quotas.BYTES: size})

    def _put(self, node: Node, sums: Mapping[str, int]) -> int:
        data = quotas.encode(sums)
        grown = len(data) - (len(node.data) if node.data else 0)
        node.data = data
        node.encoded_stat = None
        return grown

    def _below(self, path: str) -> list[str]:
        """Every path below `path`."""
        found: list[str] = []
        todo = [path]
        while todo:
            at = todo.pop()
            node = self._nodes.get(at)
            if node is not None and node.children:
                below = [f"{at}/{name}" for name in node.children]
                found += below
                todo += below
        return found
