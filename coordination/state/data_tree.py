"""The znodes: applies txns, answers what is there.

In: txns in zxid order.  Out: what each gave back, and the changes for the watches.
Knows no session but as an owner's number, no connection, no clock.  Answers to ZooKeeper's DataTree.

(1) `apply` decides nothing: what it is given was decided by prep.  Applying a txn a second time is harmless, because a
    fuzzy snapshot may already hold it; outside recovery a txn that does not fit is a bug.
(2) nodes[path] exists <=> its name is in its parent's children; the root is always there.
(3) `ephemerals`, `containers` and `ttls` name exactly the nodes with such an owner.
(4) A node's encoded Stat is dropped whenever the node or its list of children changes.
(5) `acls` counts exactly the znodes of each ACL.
(6) The sums beside a limit (zookeeper_stats) are those of the subtree after each txn.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from coordination.errors import InternalError, NodeExistsError, NoNodeError
from coordination.state.acl_table import OPEN_ACL_NUMBER, AclTable
from coordination.state.fuzzy_walk import walk
from coordination.state.owned_nodes import OwnedNodes
from coordination.state.quota_sums import QuotaSums
from coordination.state.quotas import QUOTA_ROOT
from coordination.state.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateSessionTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    TxnBody,
    TxnHeader,
)
from coordination.state.znode import (
    CONTAINER,
    CONTAINER_OWNER,
    EPHEMERAL,
    TTL,
    Node,
    StoredNode,
    kind_of,
    owner_of_ttl,
    wrap32,
)
from coordination.wire import opcodes
from coordination.wire.opcodes import EVENT_CREATED, EVENT_DATA_CHANGED, EVENT_DELETED
from coordination.wire.records import OPEN_ACL, READ_ACL, Acl

CONFIG_PATH = "/zookeeper/config"
CLOSED_ACL = (Acl(0, "world", "anyone"),)
"""Of a znode whose own a fuzzy snapshot does not hold: nobody's, until the replay of its txn gives it its own."""
SPECIAL_PATHS = frozenset(("/", "/zookeeper", QUOTA_ROOT, CONFIG_PATH))


class Change(NamedTuple):
    """One thing the watches may want to hear.  `parent_acl` guards the news for the parent's watchers."""

    type: int
    path: str
    acl: tuple[Acl, ...]
    parent_acl: tuple[Acl, ...]


class PartResult(NamedTuple):
    """What one part of a txn gave: its type, an error code or 0, the path, the encoded Stat."""

    type: int
    code: int
    path: str
    stat: bytes


_NOTHING = b""
_new_change = tuple.__new__  # a third of the time of the constructor: a session may end with 100,000 ephemerals


class DataTree:
    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._owned = owned = OwnedNodes()
        self.ephemerals, self.containers, self.ttls = owned.ephemerals, owned.containers, owned.ttls
        self.last_zxid = 0
        self.data_bytes = sum(map(len, SPECIAL_PATHS))  # approximate, as ZooKeeper's: paths and data
        self.sums = QuotaSums(self.nodes)
        self.limited = self.sums.limited
        self.acls = AclTable()
        for path in ("/", "/zookeeper", QUOTA_ROOT):
            self.nodes[path] = Node(b"", OPEN_ACL, 0, 0, 0)
            above, _, name = path.rpartition("/")
            if name:
                self._children_of(above or "/")[name] = None
        self._plant_config()

    def _plant_config(self) -> None:
        self.nodes[CONFIG_PATH] = Node(b"", self.acls.use(READ_ACL), 0, 0, 0)
        above, _, name = CONFIG_PATH.rpartition("/")
        self._children_of(above)[name] = None
        self.nodes[CONFIG_PATH].aversion = -1  # DataTree.addConfigNode sets the ACL at version -1

    def _children_of(self, path: str) -> dict[str, None]:
        parent = self.nodes.get(path)
        if parent is None:
            raise NoNodeError(path)
        if parent.children is None:
            parent.children = {}
        return parent.children

    # --- reading

    def get(self, path: str) -> Node:
        """The znode for a read: the empty path is the root too (source: DataTree.nodes, which holds it twice)."""
        node = self.nodes.get(path or "/")
        if node is None:
            raise NoNodeError(path)
        return node

    def descendants(self, path: str) -> int:
        """How many nodes are below `path` (source: DataTree.getAllChildrenNumber)."""
        if path in ("", "/"):  # the prefix of the empty path is that of the root itself, too
            return len(self.nodes) - (path == "/")
        count, todo = 0, [path]
        while todo:
            at = todo.pop()
            for name in self.nodes[at].children or ():
                below = f"{at}/{name}"
                count += 1
                if self.nodes[below].children:
                    todo.append(below)
        return count

    # --- applying

    def apply(self, header: TxnHeader, body: TxnBody, changes: list[Change]) -> PartResult | list[PartResult]:
        """Apply one txn; what changed is appended to `changes`.  A multi gives one result per part."""
        result: PartResult | list[PartResult]
        if type(body) is MultiTxn:
            failed = any(type_ == opcodes.ERROR for type_, _ in body.parts)
            if failed:
                result = [PartResult(opcodes.ERROR, _error_code(part), "", _NOTHING) for _, part in body.parts]
            else:
                result = [self._apply_part(header, type_, part, changes) for type_, part in body.parts]
        else:
            result = self._apply_part(header, header.type, body, changes)
        if header.zxid > self.last_zxid:
            self.last_zxid = header.zxid
        return result

    def replay(self, header: TxnHeader, body: TxnBody) -> None:
        """Apply one txn of the log at start: nobody watches and nobody waits for an answer.

        What does not fit is what a fuzzy snapshot holds already, or will lose in a later txn.
        """
        kind = type(body)
        if kind is SetDataTxn:
            if body.path in self.nodes:  # type: ignore[union-attr]
                self.set_data(header, body)  # type: ignore[arg-type]
        elif kind is CreateTxn:
            owner = header.client_id if body.ephemeral else 0  # type: ignore[union-attr]
            try:
                self._create(header, body.path, body.data, body.acl, owner, body.parent_cversion, None, with_stat=False)  # type: ignore[union-attr]
            except (NoNodeError, NodeExistsError):
                pass
        elif kind is not ErrorTxn:
            self.apply(header, body, [])
        if header.zxid > self.last_zxid:
            self.last_zxid = header.zxid

    def _apply_part(self, header: TxnHeader, type_: int, body: TxnBody, changes: list[Change]) -> PartResult:
        try:
            if isinstance(body, SetDataTxn):
                node = self.set_data(header, body)
                changes.append(Change(EVENT_DATA_CHANGED, body.path, node.acl, OPEN_ACL))
                return PartResult(type_, 0, body.path, node.stat)
            if isinstance(body, CreateTxn):
                owner = header.client_id if body.ephemeral else 0
                with_stat = type_ != opcodes.CREATE  # whose answer has none
                stat = self._create(
                    header, body.path, body.data, body.acl, owner, body.parent_cversion, changes, with_stat=with_stat
                )
                return PartResult(type_, 0, body.path, stat)
            return self._apply_other(header, type_, body, changes)
        except (NoNodeError, NodeExistsError) as error:
            # Only recovery over a fuzzy snapshot comes here; the pipeline treats a code on a live txn as a bug.
            return PartResult(type_, error.code, error.path, _NOTHING)

    def _apply_other(self, header: TxnHeader, type_: int, body: TxnBody, changes: list[Change]) -> PartResult:
        match body:
            case DeleteTxn(path):
                self._delete(path, header.zxid, changes)
                return PartResult(type_, 0, path, _NOTHING)
            case CheckVersionTxn(path):
                return PartResult(type_, 0, path, self.get(path).stat)
            case SetAclTxn(path, acl, version):
                node = self.get(path)
                self._change_acl(node, acl)
                node.aversion = version
                node.encoded_stat = None
                return PartResult(type_, 0, path, node.stat)
            case CreateContainerTxn(path, data, acl, parent_cversion):
                stat = self._create(header, path, data, acl, CONTAINER_OWNER, parent_cversion, changes)
                return PartResult(type_, 0, path, stat)
            case CreateTtlTxn(path, data, acl, parent_cversion, ttl_ms):
                stat = self._create(header, path, data, acl, owner_of_ttl(ttl_ms), parent_cversion, changes)
                return PartResult(type_, 0, path, stat)
            case CloseSessionTxn(paths):
                self._close_session(header, paths, changes)
                return PartResult(type_, 0, "", _NOTHING)
            case CreateSessionTxn():
                return PartResult(type_, 0, "", _NOTHING)
            case ErrorTxn(code):
                return PartResult(opcodes.ERROR, code, "", _NOTHING)
        raise InternalError(f"a txn of type {type_} reached the tree: {body!r}")

    def _create(
        self,
        header: TxnHeader,
        path: str,
        data: bytes | None,
        acl: tuple[Acl, ...],
        owner: int,
        parent_cversion: int,
        changes: list[Change] | None,
        *,
        with_stat: bool = True,
    ) -> bytes:
        """The Stat, if it is wanted, as it is before sums of quotas are counted (they may be this znode's data).
        `changes` None: nobody wants to hear of it.
        """
        slash = path.rfind("/")
        parent_path = path[:slash] or "/"
        parent = self.nodes.get(parent_path)
        if parent is None:
            raise NoNodeError(parent_path)
        if parent_cversion == -1:
            parent_cversion = wrap32(parent.creations + 1)
        # Only ever forwards: a replayed creation must not take back what the snapshot already counts.
        if parent_cversion > parent.creations:
            parent.creations = parent_cversion
            parent.pzxid = header.zxid
            parent.encoded_stat = None
        existing = self.nodes.get(path)
        if existing is not None:
            self._change_acl(existing, acl)
            raise NodeExistsError(path)
        acl = self.acls.use(acl)
        node = self.nodes[path] = Node(data, acl, header.zxid, header.time_ms, owner)
        if parent.children is None:
            parent.children = {}
        parent.children[path[slash + 1 :]] = None
        parent.encoded_stat = None
        self.data_bytes += len(path) + (len(data) if data else 0)
        if owner:
            self._owned.add(path, owner)
        if changes is not None:
            changes.append(Change(EVENT_CREATED, path, acl, parent.acl))
        stat = _NOTHING
        if with_stat:
            stat, node.encoded_stat = node.stat, None  # not kept until it is read: 100 bytes of each of a million
        if path.startswith(QUOTA_ROOT):
            self.data_bytes += self.sums.created(path)
        if self.limited.paths:
            self.data_bytes += self.sums.grow(path, 1, len(data) if data else 0)
        return stat

    def _delete(self, path: str, zxid: int, changes: list[Change]) -> None:
        slash = path.rfind("/")
        parent = self.nodes.get(path[:slash] or "/")
        if parent is None:
            raise NoNodeError(path)
        if parent.children is not None:
            parent.children.pop(path[slash + 1 :], None)
        if zxid > parent.pzxid:
            parent.pzxid = zxid
        parent.encoded_stat = None
        node = self.nodes.pop(path, None)
        if node is None:
            raise NoNodeError(path)
        if node.children:
            # Only in recovery: a fuzzy snapshot caught a later node of this name.  What is below it was created after
            # this deletion, so its txns follow; left behind, it would belong to nobody.
            self._drop_below(path, node)
        self.data_bytes -= len(path) + (len(node.data) if node.data else 0)
        if node.owner:
            self._owned.discard(path, node.owner)
        changes.append(Change(EVENT_DELETED, path, node.acl, parent.acl))
        self.acls.release(node.acl)
        if self.limited.paths:
            self.sums.deleted(path)
            self.data_bytes += self.sums.grow(path, -1, -len(node.data) if node.data else 0)

    def _drop_below(self, path: str, node: Node) -> None:
        todo = [f"{path}/{name}" for name in node.children or ()]
        while todo:  # not by recursion: clients decide how deep a tree is
            below = todo.pop()
            child = self.nodes.pop(below)
            todo += [f"{below}/{name}" for name in child.children or ()]
            self.acls.release(child.acl)
            self.data_bytes -= len(below) + (len(child.data) if child.data else 0)
            self.data_bytes += self.sums.grow(below, -1, -len(child.data) if child.data else 0)
            if child.owner:
                self._owned.discard(below, child.owner)

    def set_data(self, header: TxnHeader, txn: SetDataTxn) -> Node:
        """Apply one setData; the caller tells the watches.  What a busy server does most has its own way in."""
        node = self.nodes.get(txn.path)
        if node is None:
            raise NoNodeError(txn.path)
        before, after = node.data, txn.data
        grown = (len(after) if after else 0) - (len(before) if before else 0)
        self.data_bytes += grown
        node.data = after
        node.version = txn.version
        node.mzxid = header.zxid
        node.mtime_ms = header.time_ms
        node.encoded_stat = None
        if self.limited.paths:
            self.data_bytes += self.sums.grow(txn.path, 0, grown)
        return node

    def _close_session(self, header: TxnHeader, paths: list[str] | None, changes: list[Change]) -> None:
        """What the txn names first, in its order; then anything left over, so that no ephemeral outlives its session.

        Does to each what `_delete` does, in one go: they may be 100,000, and everybody waits.
        """
        zxid, session_id = header.zxid, header.client_id
        nodes, acls, limited = self.nodes, self.acls, self.limited
        parent_path: str | None = None
        parent = nodes["/"]  # mostly that of the ephemeral before
        for path in dict.fromkeys(paths or ()) | self.ephemerals.pop(session_id, {}):
            node = nodes.get(path)
            if node is None or node.owner != session_id or node.children or limited.paths:
                # Names are deleted whoever owns them now (source: DataTree.deleteNodes): over a fuzzy snapshot it may
                # be a later node, whose own txns follow.
                try:
                    self._delete(path, zxid, changes)
                except NoNodeError:
                    pass  # the snapshot already lacks it
                continue
            slash = path.rfind("/")
            above = path[:slash]
            if above != parent_path:
                parent_path, parent = above, nodes[above or "/"]
                parent.pzxid = max(parent.pzxid, zxid)
                parent.encoded_stat = None
            del nodes[path]
            del parent.children[path[slash + 1 :]]  # type: ignore[union-attr]
            self.data_bytes -= len(path) + (len(node.data) if node.data else 0)
            acl = node.acl
            if acl is not OPEN_ACL:
                acls.release(acl)
            changes.append(_new_change(Change, (EVENT_DELETED, path, acl, parent.acl)))

    def _change_acl(self, node: Node, acl: tuple[Acl, ...]) -> None:
        before, node.acl = node.acl, self.acls.use(acl)
        self.acls.release(before)

    # --- snapshots

    def acl_table(self) -> dict[int, Sequence[Acl]]:
        """Every ACL in use by its number; the open one has none in the table, as in ZooKeeper."""
        return self.acls.by_number()

    def dump(self) -> Iterator[StoredNode]:
        """Every znode as a snapshot holds it; may be drawn over time while txns are applied (`fuzzy_walk`)."""
        return walk(self.nodes, self.acls)

    def load(
        self, acls: Mapping[int, Sequence[tuple[int, str, str]]], nodes: Iterable[StoredNode], last_zxid: int
    ) -> None:
        """Replace everything by what a snapshot holds; a parent comes before its children.

        A znode may have an ACL that is not in `acls`: ZooKeeper writes those of one moment, then the znodes as they
        are by then, and loads that too (source: ReferenceCountedACLCache.addUsage).
        """
        self.nodes.clear()
        self._owned.clear()
        self.acls = AclTable()
        self.data_bytes = 0
        self.last_zxid = last_zxid
        by_number = {number: tuple(Acl(*entry) for entry in entries) for number, entries in acls.items()}
        by_number[OPEN_ACL_NUMBER] = OPEN_ACL
        by_path, use, open_acl = self.nodes, self.acls.use, OPEN_ACL
        time_ms = data_bytes = 0
        parent_path: str | None = None
        siblings: dict[str, None] = {}  # mostly those of the znode before
        for path, data, acl_number, stat in nodes:
            zxid, mzxid, ctime_ms, mtime_ms, version, creations, aversion, owner, pzxid = stat
            if ctime_ms == time_ms:
                ctime_ms = time_ms
            time_ms = ctime_ms
            acl = open_acl if acl_number == OPEN_ACL_NUMBER else use(by_number.get(acl_number, CLOSED_ACL))
            node = Node(data, acl, zxid, ctime_ms, owner)
            # Equal numbers are one object, as in a tree that grew: 100 bytes of each of a million.
            if mzxid != zxid:
                node.mzxid = mzxid
            if pzxid != zxid:
                node.pzxid = pzxid
            if mtime_ms != ctime_ms:
                node.mtime_ms = mtime_ms
            node.version, node.creations, node.aversion = version, creations, aversion
            by_path[path] = node
            data_bytes += len(path) + (len(data) if data else 0)
            if path != "/":
                above, _, name = path.rpartition("/")
                if above != parent_path:
                    parent_path, siblings = above, self._children_of(above or "/")
                siblings[name] = None
            if owner:
                self._owned.add(path, owner)
        self.data_bytes = data_bytes
        if "/" not in self.nodes:
            raise InternalError("a snapshot without a root was loaded")
        if CONFIG_PATH not in self.nodes:  # a snapshot of a server older than 3.5
            self._plant_config()
        self.data_bytes += self.sums.loaded()

    def check_invariants(self) -> None:
        """Assert (2), (3) and (5); costs a walk over the whole tree."""
        for path, node in self.nodes.items():
            if path != "/":
                slash = path.rfind("/")
                siblings = self.nodes[path[:slash] or "/"].children
                assert siblings is not None
                assert path[slash + 1 :] in siblings
            for name in node.children or ():
                assert (f"/{name}" if path == "/" else f"{path}/{name}") in self.nodes
            kind = kind_of(node.owner)
            assert (path in self.ephemerals.get(node.owner, {})) == (kind == EPHEMERAL)
            assert (path in self.containers) == (kind == CONTAINER)
            assert (path in self.ttls) == (kind == TTL)
        uses = Counter(node.acl for node in self.nodes.values() if node.acl is not OPEN_ACL)
        assert self.acls.uses() == uses
        assert sum(map(len, self.ephemerals.values())) <= len(self.nodes)


def _error_code(body: TxnBody) -> int:
    return body.code if type(body) is ErrorTxn else 0
