"""Long lists of children, encoded once: a hundred clients that list one large znode cost one list.

In: a znode and its path.  Out: the names of its children as getChildren answers them.
Changes nothing.  Answers to ZooKeeper's ResponseCache, as far as children are concerned.

(1) A kept list is of this very znode, and no child came or went since: both change its pzxid or its number of children.
(2) At most KEPT_MAX lists are kept, those asked for last; short ones are made anew each time.
"""

from typing import NamedTuple

from coordination.state.znode import Node
from coordination.wire.jute import put_strings

LONG = 1000
KEPT_MAX = 8


class _Kept(NamedTuple):
    node: Node
    pzxid: int
    length: int
    encoded: bytes


class Listings:
    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}  # the one asked for last is last

    def of(self, path: str, node: Node) -> bytes:
        """The names of the children of `node`, which is at `path`."""
        children = node.children or {}
        if len(children) < LONG:
            return put_strings(tuple(children))
        kept = self._kept.pop(path, None)
        if kept is None or kept[:3] != (node, node.pzxid, len(children)):
            kept = _Kept(node, node.pzxid, len(children), put_strings(tuple(children)))
        self._kept[path] = kept
        if len(self._kept) > KEPT_MAX:
            del self._kept[next(iter(self._kept))]
        return kept.encoded
