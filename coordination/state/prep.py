"""Prep: a request and the changes still under way become a txn, or an error.

In: write requests in order, each with its session's identities and the zxid it will get.  Out: the txn body, or a
`KeeperError`.  Touches only its list of outstanding changes, never the tree.  Answers to ZooKeeper's
PrepRequestProcessor and ChangeRecord.

(1) A decision sees every decision before it, committed or not: outstanding changes first, then the tree.
(2) A request that is refused leaves no outstanding change; a multi leaves all of its changes or none.
(3) `settled(zxid)` drops what the tree now holds; with nothing outstanding both tables are empty.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import Any

from coordination.auth.identity import Identities
from coordination.auth.permissions import AccessControl
from coordination.errors import (
    BadArgumentsError,
    BadVersionError,
    InvalidACLError,
    KeeperError,
    MarshallingError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    QuotaExceededError,
    ReconfigDisabledError,
    RuntimeInconsistencyError,
    UnimplementedError,
)
from coordination.paths import parent_of, validate, with_sequence
from coordination.state import quotas
from coordination.state.data_tree import SPECIAL_PATHS, DataTree
from coordination.state.txn import (
    CheckVersionTxn,
    CloseSessionTxn,
    CreateContainerTxn,
    CreateTtlTxn,
    CreateTxn,
    DeleteTxn,
    ErrorTxn,
    MultiTxn,
    SetAclTxn,
    SetDataTxn,
    TxnBody,
)
from coordination.state.znode import CONTAINER_OWNER, EPHEMERAL, PLAIN, TTL_MS_MAX, Node, kind_of, owner_of_ttl, wrap32
from coordination.wire import opcodes
from coordination.wire.opcodes import PERM_ADMIN, PERM_CREATE, PERM_DELETE, PERM_READ, PERM_WRITE
from coordination.wire.records import OPEN_ACL, Acl
from coordination.wire.requests import (
    CheckVersion,
    Create,
    CreateTtl,
    Delete,
    Multi,
    Reconfig,
    SetAcl,
    SetData,
    WriteOperation,
)

ENTRIES_PER_REQUEST_MAX = 50_000
"""Of the ACLs a request stores: more than jute.maxbuffer's default lets one write without `auth`."""

WriteRequest = WriteOperation | SetAcl | Multi | Reconfig
# request, session id, the zxid it will get, who asks
Decider = Callable[[Any, int, int, Identities], TxnBody]

_EPHEMERAL_FLAGS = (opcodes.EPHEMERAL, opcodes.EPHEMERAL_SEQUENTIAL)
_SEQUENTIAL_FLAGS = (
    opcodes.PERSISTENT_SEQUENTIAL,
    opcodes.EPHEMERAL_SEQUENTIAL,
    opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL,
)
_TTL_FLAGS = (opcodes.PERSISTENT_WITH_TTL, opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL)


class Outstanding:
    """What a znode will look like once the txns under way are applied; the same fields as a `Node`."""

    __slots__ = (
        "acl",
        "aversion",
        "child_count",
        "creations",
        "data_length",
        "exists",
        "owner",
        "path",
        "version",
        "zxid",
    )

    zxid: int
    path: str
    exists: bool
    version: int
    creations: int
    aversion: int
    owner: int
    child_count: int
    data_length: int
    acl: tuple[Acl, ...]

    def __init__(self, zxid: int, path: str, like: "Node | Outstanding | None") -> None:
        self.zxid = zxid
        self.path = path
        self.exists = like is not None
        if like is not None:
            self.version = like.version
            self.creations = like.creations
            self.aversion = like.aversion
            self.owner = like.owner
            self.child_count = like.child_count
            self.data_length = like.data_length
            self.acl = like.acl


class Prep:
    def __init__(
        self,
        tree: DataTree,
        access: AccessControl,
        *,
        extended_types: bool = False,
        enforce_quota: bool = False,
        reconfig_enabled: bool = False,
        report: Callable[[quotas.Exceeded], None] = lambda exceeded: None,
    ) -> None:
        """`report` hears of every limit a write goes beyond, soft or hard."""
        self._tree = tree
        self._enforce_quota = enforce_quota
        self._report = report
        self._access = access
        self._extended_types = extended_types
        self._reconfig_enabled = reconfig_enabled
        self._deciders: dict[type, Decider] = {
            SetData: self.set_data,
            Create: self.create,
            CreateTtl: self.create,
            Delete: self.delete,
            SetAcl: self.set_acl,
            CheckVersion: self.check,
            Multi: self.multi,
            Reconfig: self.reconfig,
        }
        self._by_path: dict[str, Outstanding] = {}
        self._queue: deque[Outstanding] = deque()
        self._replaced: dict[str, Outstanding | None] | None = None
        """In a multi: what stood in `_by_path` before it."""
        self._expanding_zxid = self._expanded = 0  # entries of all ACLs of the request that gets this zxid
        self._owned: dict[int, dict[str, Outstanding]] = {}
        """By owner: znodes planted by what is under way; those that are gone again are among them."""
        self._ended: deque[tuple[Outstanding, list[str]]] = deque()
        """Beside the queue, the ephemerals of sessions that end: one change for all of a session's."""

    def __len__(self) -> int:
        return len(self._queue) + len(self._ended)

    def settled(self, zxid: int) -> None:
        """The tree holds everything up to `zxid` now."""
        queue, ended, by_path = self._queue, self._ended, self._by_path
        while queue and queue[0].zxid <= zxid:
            change = queue.popleft()
            if by_path.get(change.path) is change:
                del by_path[change.path]
            if change.exists and change.owner:
                self._disown(change)
        while ended and ended[0][0].zxid <= zxid:
            change, paths = ended.popleft()
            for path in paths:
                if by_path.get(path) is change:
                    del by_path[path]

    def _check_quota(self, path: str, count: int, size: int) -> None:
        """`QuotaExceededError` if a hard limit does not allow this growth; a soft one is reported.

        Looks at the sums as committed, like the real one: writes still under way are not in them.
        """
        nodes = self._tree.nodes
        limited = self._tree.limited.nearest(path)
        if limited is None:
            return
        limits, sums = nodes.get(quotas.limits_path(limited)), nodes.get(quotas.sums_path(limited))
        if limits is None:
            return
        if sums is None:
            quotas.parse(limits.data)  # nothing to compare them with, but they must be readable
            return
        for each in quotas.exceeded(limited, limits.data, sums.data, count, size):
            self._report(each)
            if each.hard:
                raise QuotaExceededError(limited)

    # --- looking

    def find(self, path: str) -> Node | Outstanding | None:
        """The znode at `path` as it will be once everything under way is applied."""
        change = self._by_path.get(path)
        if change is not None:
            return change if change.exists else None
        return self._tree.nodes.get(path)

    def _get(self, path: str) -> Node | Outstanding:
        found = self.find(path)
        if found is None:
            raise NoNodeError(path)
        return found

    def _change(self, zxid: int, path: str, like: Node | Outstanding | None) -> Outstanding:
        change = Outstanding(zxid, path, like)
        if self._replaced is not None:
            self._replaced.setdefault(path, self._by_path.get(path))
        self._by_path[path] = change
        self._queue.append(change)
        return change

    def _own(self, change: Outstanding) -> None:
        self._owned.setdefault(change.owner, {})[change.path] = change

    def _disown(self, change: Outstanding) -> None:
        """It is in the tree now, or never will be."""
        owned = self._owned.get(change.owner)
        if owned is not None and owned.get(change.path) is change:
            del owned[change.path]
            if not owned:
                del self._owned[change.owner]

    # --- deciding

    def decide(self, request: WriteRequest, session_id: int, zxid: int, identities: Identities) -> TxnBody:
        """The txn of one request, or the `KeeperError` it is refused with."""
        return self._deciders[type(request)](request, session_id, zxid, identities)

    def set_data(self, request: SetData, session_id: int, zxid: int, identities: Identities) -> SetDataTxn:
        path = request.path
        node = self.find(path)
        if node is None:
            validate(path)
            raise NoNodeError(path)
        if node.acl is not OPEN_ACL:
            self._access.check(node.acl, PERM_WRITE, identities, path)
        if self._enforce_quota and self._tree.limited.paths:
            held = self._tree.nodes.get(path)
            before = len(held.data) if held is not None and held.data else 0
            self._check_quota(path, 0, (len(request.data) if request.data else 0) - before)
        version = next_version(node.version, request.version, path)
        change = self._change(zxid, path, node)
        change.version = version
        change.data_length = len(request.data) if request.data else 0
        return SetDataTxn(path, request.data, version)

    def set_acl(self, request: SetAcl, session_id: int, zxid: int, identities: Identities) -> SetAclTxn:
        path = validate(request.path)
        acl = self._expand(request.acl, identities, path, zxid)
        node = self._get(path)
        self._access.check(node.acl, PERM_ADMIN, identities, path)
        version = next_version(node.aversion, request.version, path)
        change = self._change(zxid, path, node)
        change.aversion = version
        change.acl = acl
        return SetAclTxn(path, acl, version)

    def _expand(self, given: tuple[Acl, ...], identities: Identities, path: str, zxid: int) -> tuple[Acl, ...]:
        """The ACL to store.  What `auth` stands for is many times what asks for it: in a multi it adds up."""
        acl = self._access.expand(given, identities, path)
        if zxid != self._expanding_zxid:
            self._expanding_zxid, self._expanded = zxid, 0
        self._expanded += len(acl)
        if self._expanded > ENTRIES_PER_REQUEST_MAX:
            raise InvalidACLError(path)
        return acl

    def create(
        self, request: Create | CreateTtl, session_id: int, zxid: int, identities: Identities
    ) -> CreateTxn | CreateContainerTxn | CreateTtlTxn:
        path, flags = request.path, request.flags
        if not 0 <= flags <= opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL:
            raise BadArgumentsError(path, f"{flags} is no create mode")
        with_ttl = flags in _TTL_FLAGS
        if with_ttl and not self._extended_types:
            raise UnimplementedError(path, "TTL znodes need extendedTypesEnabled")
        if with_ttl != (request.opcode == opcodes.CREATE_TTL) or (with_ttl and not 0 < request.ttl_ms <= TTL_MS_MAX):
            raise BadArgumentsError(path, "a TTL is for TTL modes, from 1 ms to 34 years")
        slash = path.rfind("/")
        if slash == -1 or "\0" in path:
            raise BadArgumentsError(path)
        parent_path = path[:slash] or "/"
        acl = OPEN_ACL if request.acl is OPEN_ACL else self._expand(request.acl, identities, path, zxid)
        parent = self._get(parent_path)
        self._access.check(parent.acl, PERM_CREATE, identities, path)
        if flags in _SEQUENTIAL_FLAGS:
            path = with_sequence(path, parent.creations)
        validate(path)
        if self.find(path) is not None:
            raise NodeExistsError(path)
        if kind_of(parent.owner) == EPHEMERAL:
            raise NoChildrenForEphemeralsError(path)
        if self._enforce_quota and self._tree.limited.paths:
            self._check_quota(path, 1, len(request.data) if request.data else 0)
        creations = wrap32(parent.creations + 1)
        ephemeral = flags in _EPHEMERAL_FLAGS
        txn: CreateTxn | CreateContainerTxn | CreateTtlTxn
        if request.opcode == opcodes.CREATE_CONTAINER:  # the opcode decides, not the flag, as in ZooKeeper
            owner = CONTAINER_OWNER
            txn = CreateContainerTxn(path, request.data, acl, creations)
        elif with_ttl:
            owner = owner_of_ttl(request.ttl_ms)
            txn = CreateTtlTxn(path, request.data, acl, creations, request.ttl_ms)
        else:
            owner = session_id if ephemeral else 0
            txn = CreateTxn(path, request.data, acl, ephemeral, creations)
        above = self._change(zxid, parent_path, parent)
        above.creations = creations
        above.child_count += 1
        self._plant(zxid, path, owner, acl, len(request.data) if request.data else 0)
        return txn

    def _plant(self, zxid: int, path: str, owner: int, acl: tuple[Acl, ...], data_length: int) -> None:
        new = self._change(zxid, path, None)
        new.exists = True
        new.version = new.creations = new.aversion = new.child_count = 0
        new.data_length = data_length
        new.owner = owner
        new.acl = acl
        if owner:
            self._own(new)

    def delete(self, request: Delete, session_id: int, zxid: int, identities: Identities) -> DeleteTxn:
        path = request.path
        if "/" not in path or "\0" in path or path in SPECIAL_PATHS:
            raise BadArgumentsError(path)
        parent_path = parent_of(path)
        parent = self._get(parent_path)
        self._access.check(parent.acl, PERM_DELETE, identities, path)
        node = self._get(path)
        next_version(node.version, request.version, path)
        return self._remove(path, parent_path, parent, node, zxid)

    def delete_container(self, path: str, zxid: int) -> DeleteTxn:
        """The server's own wish to remove a container or TTL node; refused if it is neither or was filled meanwhile."""
        parent_path = parent_of(path)
        node = self._get(path)
        if kind_of(node.owner) in (PLAIN, EPHEMERAL):
            raise BadVersionError(path)
        return self._remove(path, parent_path, self._get(parent_path), node, zxid)

    def _remove(
        self, path: str, parent_path: str, parent: Node | Outstanding, node: Node | Outstanding, zxid: int
    ) -> DeleteTxn:
        if node.child_count:
            raise NotEmptyError(path)
        self._change(zxid, parent_path, parent).child_count -= 1
        self._change(zxid, path, None)
        return DeleteTxn(path)

    def check(self, request: CheckVersion, session_id: int, zxid: int, identities: Identities) -> CheckVersionTxn:
        path = validate(request.path)
        node = self._get(path)
        self._access.check(node.acl, PERM_READ, identities, path)
        return CheckVersionTxn(path, next_version(node.version, request.version, path))

    def close_session(self, session_id: int, zxid: int) -> CloseSessionTxn:
        """Names every ephemeral of the session, those still under way too.  They may be 100,000."""
        by_path = self._by_path
        candidates = self._tree.ephemerals.get(session_id, {}) | dict.fromkeys(self._owned.get(session_id, ()))
        # One that nothing under way is about is in the tree, and this session's.
        paths = [
            path
            for path in candidates
            if (change := by_path.get(path)) is None or (change.exists and change.owner == session_id)
        ]
        for above, count in Counter([path[: path.rfind("/")] for path in paths]).items():
            parent_path = above or "/"
            self._change(zxid, parent_path, self._get(parent_path)).child_count -= count
        gone = Outstanding(zxid, "", None)
        by_path.update(dict.fromkeys(paths, gone))
        self._ended.append((gone, paths))
        return CloseSessionTxn(paths)

    def reconfig(self, request: Reconfig, session_id: int, zxid: int, identities: Identities) -> TxnBody:
        if self._reconfig_enabled:
            raise UnimplementedError(message="a standalone server cannot be reconfigured")
        raise ReconfigDisabledError

    def multi(self, request: Multi, session_id: int, zxid: int, identities: Identities) -> MultiTxn:
        """All parts or none.  A refused multi is a txn of errors: 0 before the culprit, its code, -2 after it."""
        replaced = self._replaced = {}
        parts: list[tuple[int, TxnBody]] = []
        for operation in request.operations:
            try:
                parts.append((operation.opcode, self.decide(operation, session_id, zxid, identities)))
            except KeeperError as error:
                self._roll_back(zxid, replaced)
                if isinstance(error, MarshallingError):
                    raise  # in ZooKeeper no answer of the part, but an exception: the multi as a whole is refused
                after = len(request.operations) - len(parts) - 1
                codes = [0] * len(parts) + [error.code] + [RuntimeInconsistencyError.code] * after
                return MultiTxn([(opcodes.ERROR, ErrorTxn(code)) for code in codes])
        self._replaced = None
        return MultiTxn(parts)

    def _roll_back(self, zxid: int, replaced: dict[str, Outstanding | None]) -> None:
        """Take back the changes of `zxid`, the latest ones; each path gets back what it had, if anything."""
        self._replaced = None
        queue = self._queue
        while queue and queue[-1].zxid == zxid:
            change = queue.pop()
            if change.exists and change.owner:
                self._disown(change)
        for path, before in replaced.items():
            if before is None:
                del self._by_path[path]
                continue
            self._by_path[path] = before
            if before.exists and before.owner:
                self._own(before)


def next_version(current: int, expected: int, path: str) -> int:
    """The version after a change; -1 expects nothing, and is never a version (ZOOKEEPER-4743)."""
    if expected not in (-1, current):
        raise BadVersionError(path)
    following = current + 1
    if following == 0x80000000:
        return -0x80000000
    return 0 if following == -1 else following
