"""A walk over all znodes that goes on while they change: what a fuzzy snapshot is drawn from.

In: the table of znodes and that of their ACLs.  Out: each znode as a snapshot holds it, one at a time.
Changes nothing.  Answers to DataTree.serializeNode of ZooKeeper.

(1) A parent comes before its children.
(2) A znode that comes or goes meanwhile is drawn or not; the log behind the snapshot says so too.
(3) No step is longer than one znode, but for a copy of the names of its children (10 ms for a million).
"""

from collections.abc import Iterator, Mapping

from coordination.state.acl_table import AclTable
from coordination.state.znode import Node, StoredNode


def walk(nodes: Mapping[str, Node], acls: AclTable) -> Iterator[StoredNode]:
    yield _stored("/", nodes["/"], acls)
    under_way = [("/", iter(list(nodes["/"].children or ())))]
    while under_way:
        prefix, names = under_way[-1]
        for name in names:
            path = prefix + name
            node = nodes.get(path)
            if node is None:
                continue
            yield _stored(path, node, acls)
            if node.children:
                under_way.append((path + "/", iter(list(node.children))))
                break
        else:
            under_way.pop()


def _stored(path: str, node: Node, acls: AclTable) -> StoredNode:
    stat = (
        node.czxid,
        node.mzxid,
        node.ctime_ms,
        node.mtime_ms,
        node.version,
        node.creations,
        node.aversion,
        node.owner,
        node.pzxid,
    )
    return path, node.data, acls.number(node.acl), stat
