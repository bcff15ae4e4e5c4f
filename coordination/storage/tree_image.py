"""A server's tree as a snapshot holds it, and back: node records with ACLs in them on one side, ACL ids and a table on
the other.

In:  a DataTree and its sessions' timeouts; or a Snapshot.  Out: a SnapshotWriter to be driven; or a loaded tree.
The one place where storage meets the tree's types; the format below knows only plain values. Answers to
SerializeUtils.serializeSnapshot.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from coordination.state.data_tree import DataTree, NodeRecord
from coordination.storage.api import SnapshotDamagedError
from coordination.storage.snapshot import Snapshot, SnapshotWriter
from coordination.storage.snapshot_format import OPEN_ACL_ID, SnapshotNode
from coordination.wire.records import OPEN_ACL, Acl

_NOT_IN_THE_TABLE = 0


def begin_snapshot(directory: Path, tree: DataTree, session_timeouts_ms: Mapping[int, int]) -> SnapshotWriter:
    """A snapshot of this tree, from its last txn on; `take` draws from the live tree, so call it where the tree is
    owned.
    """
    acl_ids = {acl: i for i, acl in enumerate((acl for acl in tree.acls() if acl != OPEN_ACL), 1)}
    table = {acl_id: [(one.perms, one.scheme, one.id) for one in acl] for acl, acl_id in acl_ids.items()}
    acl_ids[OPEN_ACL] = OPEN_ACL_ID
    return SnapshotWriter(directory, tree.last_zxid, session_timeouts_ms, table, _nodes(tree, acl_ids))


def load(snapshot: Snapshot, tree: DataTree) -> None:
    """Replace the tree by the snapshot's. SnapshotDamagedError when a znode names an ACL that is not in the table."""
    acls = {acl_id: tuple(Acl(*entry) for entry in entries) for acl_id, entries in snapshot.acls.items()}
    acls[OPEN_ACL_ID] = OPEN_ACL
    try:
        tree.load((_record(node, acls) for node in snapshot.nodes()), snapshot.zxid)
    except KeyError as error:
        raise SnapshotDamagedError(
            f"the snapshot {snapshot.path} cannot be used: a znode has ACL {error}, which is not in its table.",
            snapshot.path,
        ) from error


def _nodes(tree: DataTree, acl_ids: dict[tuple[Acl, ...], int]) -> Iterator[SnapshotNode]:
    find = acl_ids.get
    for path, data, acl, *stat, pzxid in tree.dump():
        czxid, mzxid, ctime_ms, mtime_ms, version, creations, aversion, owner = stat
        yield (
            path,
            data,
            find(acl, _NOT_IN_THE_TABLE),
            (czxid, mzxid, ctime_ms, mtime_ms, version, creations, aversion, owner, pzxid),
        )


def _record(node: SnapshotNode, acls: dict[int, tuple[Acl, ...]]) -> NodeRecord:
    path, data, acl_id, stat = node
    return NodeRecord(path, data, acls[acl_id], *stat)
