"""Reads: what a request is answered from the tree, and the watches it leaves.

In: a read request of an established connection.  Out: the body of its reply, or a `KeeperError`.
Changes nothing but watches.  Answers to the reading half of ZooKeeper's FinalRequestProcessor and DataTree.setWatches.

(1) `HANDLERS` has one entry per reading request type.
(2) The empty path is the root as well (source: DataTree.nodes, which holds the root under both).
(3) A watch is set only when the read may be done; `exists` of a znode that is not there leaves its watch too.
"""

from collections.abc import Callable
from typing import TypeVar

from coordination.auth.permissions import AccessControl
from coordination.errors import (
    BadArgumentsError,
    KeeperError,
    MarshallingError,
    NoNodeError,
    NoWatcherError,
)
from coordination.state.connection import Connection
from coordination.state.data_tree import DataTree
from coordination.state.listings import Listings
from coordination.state.watches import ONE_SHOT, PERSISTENT, RECURSIVE, WatchTable
from coordination.wire import opcodes, requests
from coordination.wire.jute import NULL, pack_int, put_string, put_strings, put_vector
from coordination.wire.opcodes import (
    EVENT_CHILDREN_CHANGED,
    EVENT_CREATED,
    EVENT_DATA_CHANGED,
    EVENT_DELETED,
    PERM_ADMIN,
    PERM_READ,
)
from coordination.wire.records import OPEN_ACL, put_acls
from coordination.wire.replies import MULTI_END, event, multi_error, multi_part

_SUCCESS_BODY = pack_int(0)
REPLAYED_ZXID = -1
MULTI_READ_BYTES_MAX = 16 << 20
"""A request of a megabyte can ask for the same znode of a megabyte thirty thousand times."""


class Readable:
    """What the reads look at: the tree, who may see what of it, and the two tables of watches."""

    __slots__ = ("access", "child_watches", "data_watches", "listings", "tree")

    def __init__(self, tree: DataTree, access: AccessControl) -> None:
        self.tree = tree
        self.access = access
        self.data_watches: WatchTable[Connection] = WatchTable()
        self.child_watches: WatchTable[Connection] = WatchTable()
        self.listings = Listings()


def get_data(state: Readable, connection: Connection, request: requests.GetData) -> bytes:
    path = request.path
    node = state.tree.nodes.get(path or "/")
    if node is None:
        raise NoNodeError(path)
    if node.acl is not OPEN_ACL:
        state.access.check(node.acl, PERM_READ, connection.identities, path)
    if request.watch:
        state.data_watches.add(path, connection)
    data = node.data
    if data is None:
        return NULL + node.stat
    return pack_int(len(data)) + data + node.stat


def exists(state: Readable, connection: Connection, request: requests.Exists) -> bytes:
    path = request.path
    node = state.tree.nodes.get(path or "/")
    if node is not None and node.acl is not OPEN_ACL:
        state.access.check(node.acl, PERM_READ, connection.identities, path)
    elif node is None and "\0" in path:
        raise BadArgumentsError(path)
    if request.watch:
        state.data_watches.add(path, connection)
    if node is None:
        raise NoNodeError(path)
    return node.stat


def get_children(
    state: Readable, connection: Connection, request: requests.GetChildren | requests.GetChildren2
) -> bytes:
    path = request.path
    node = state.tree.get(path)
    if node.acl is not OPEN_ACL:
        state.access.check(node.acl, PERM_READ, connection.identities, path)
    if request.watch:
        state.child_watches.add(path, connection)
    return state.listings.of(path, node)


def get_children2(state: Readable, connection: Connection, request: requests.GetChildren2) -> bytes:
    return get_children(state, connection, request) + state.tree.get(request.path).stat


def get_acl(state: Readable, connection: Connection, request: requests.GetAcl) -> bytes:
    node = state.tree.get(request.path)
    state.access.check(node.acl, PERM_READ | PERM_ADMIN, connection.identities, request.path)
    return put_acls(state.access.shown(node.acl, connection.identities)) + node.stat


def get_all_children_number(state: Readable, connection: Connection, request: requests.GetAllChildrenNumber) -> bytes:
    node = state.tree.get(request.path)
    state.access.check(node.acl, PERM_READ, connection.identities, request.path)
    return pack_int(state.tree.descendants(request.path))


def get_ephemerals(state: Readable, connection: Connection, request: requests.GetEphemerals) -> bytes:
    owned = state.tree.ephemerals.get(connection.session_id, {})
    prefix = request.prefix.strip()
    everything = prefix in ("", "/")
    return put_strings([path for path in owned if everything or path.startswith(request.prefix)])


def sync(state: Readable, connection: Connection, request: requests.Sync) -> bytes:
    # A server of an ensemble of one has nobody to catch up with: being answered in order is all of it.
    return put_string(request.path)


def ping(state: Readable, connection: Connection, request: requests.Ping) -> bytes:
    return b""


def who_am_i(state: Readable, connection: Connection, request: requests.WhoAmI) -> bytes:
    def line(info: tuple[str, str]) -> bytes:
        scheme, user = info
        return put_string(scheme) + put_string(user)

    return put_vector(state.access.client_infos(connection.identities), line)


def multi_read(state: Readable, connection: Connection, request: requests.MultiRead) -> bytes:
    """`MarshallingError`: the answer would be larger than MULTI_READ_BYTES_MAX."""
    parts: list[bytes] = []
    room = MULTI_READ_BYTES_MAX
    for operation in request.operations:
        try:
            if isinstance(operation, requests.GetData):
                body = get_data(state, connection, operation)
            else:
                body = get_children(state, connection, operation)
            parts.append(multi_part(operation.opcode, body))
            room -= len(body)
        except KeeperError as error:
            parts.append(multi_error(error.code))
        if room < 0:
            raise MarshallingError(message=f"the answer would have more than {MULTI_READ_BYTES_MAX} bytes")
    parts.append(MULTI_END)
    return b"".join(parts)


# --- watches


def set_watches(state: Readable, connection: Connection, request: requests.SetWatches) -> bytes:
    """What a client that was away asks: tell me at once what I missed since `relative_zxid`, watch the rest.

    Of a znode the client may not read it hears nothing now (CVE-2026-59739); the watch is set, and its events are
    filtered when they come.
    """
    nodes, since = state.tree.nodes, request.relative_zxid

    def tell(type_: int, path: str) -> None:
        connection.out.append(event(type_, path, REPLAYED_ZXID))

    def readable(path: str) -> bool:
        node = nodes.get(path or "/")
        return node is None or state.access.allows(node.acl, PERM_READ, connection.identities)

    for path in request.data:
        node = nodes.get(path or "/")
        if node is None:
            tell(EVENT_DELETED, path)
        elif node.mzxid > since and readable(path):
            tell(EVENT_DATA_CHANGED, path)
        else:
            state.data_watches.add(path, connection)
    for path in request.exist:
        node = nodes.get(path or "/")
        if node is not None and readable(path):
            tell(EVENT_CREATED, path)
        else:
            state.data_watches.add(path, connection)
    for path in request.child:
        node = nodes.get(path or "/")
        if node is None:
            tell(EVENT_DELETED, path)
        elif node.pzxid > since and readable(path):
            tell(EVENT_CHILDREN_CHANGED, path)
        else:
            state.child_watches.add(path, connection)
    for path in request.persistent:
        state.data_watches.add(path, connection, PERSISTENT)
        state.child_watches.add(path, connection, PERSISTENT)
    for path in request.persistent_recursive:
        state.data_watches.add(path, connection, RECURSIVE)
    return b""


def add_watch(state: Readable, connection: Connection, request: requests.AddWatch) -> bytes:
    # Any string may be watched, also one that is no path: nothing ever happens there (source: DataTree.addWatch).
    if request.mode == opcodes.MODE_PERSISTENT:
        state.data_watches.add(request.path, connection, PERSISTENT)
        state.child_watches.add(request.path, connection, PERSISTENT)
    elif request.mode == opcodes.MODE_PERSISTENT_RECURSIVE:
        state.data_watches.add(request.path, connection, RECURSIVE)
    else:
        raise MarshallingError(request.path, f"{request.mode} is no addWatch mode")
    return _SUCCESS_BODY


_ALL = ONE_SHOT | PERSISTENT | RECURSIVE
# kind -> modes in the table of data watches, modes in the table of child watches (source: DataTree.containsWatcher)
_KINDS: dict[int, tuple[int, int]] = {
    opcodes.WATCHES_CHILDREN: (0, ONE_SHOT),
    opcodes.WATCHES_DATA: (ONE_SHOT, 0),
    opcodes.WATCHES_PERSISTENT: (PERSISTENT, PERSISTENT),
    opcodes.WATCHES_PERSISTENT_RECURSIVE: (RECURSIVE, 0),
    opcodes.WATCHES_ANY: (_ALL, _ALL),
}


def check_watches(state: Readable, connection: Connection, request: requests.CheckWatches) -> bytes:
    in_data, in_child = _modes_of(request.kind, request.path)
    found = state.data_watches.modes(request.path, connection) & in_data
    if not found | state.child_watches.modes(request.path, connection) & in_child:
        raise NoWatcherError(request.path)
    return b""


def remove_watches(state: Readable, connection: Connection, request: requests.RemoveWatches) -> bytes:
    in_data, in_child = _modes_of(request.kind, request.path)
    removed = state.data_watches.remove(request.path, connection, in_data)
    removed |= state.child_watches.remove(request.path, connection, in_child)
    if not removed:
        raise NoWatcherError(request.path)
    return b""


def _modes_of(kind: int, path: str) -> tuple[int, int]:
    modes = _KINDS.get(kind)
    if modes is None:
        raise MarshallingError(path, f"{kind} is no kind of watch")
    return modes


R = TypeVar("R")
Handler = Callable[[Readable, Connection, R], bytes]
HANDLERS: "dict[type, Handler[requests.Request]]" = {
    requests.GetData: get_data,  # type: ignore[dict-item]
    requests.Exists: exists,  # type: ignore[dict-item]
    requests.GetChildren: get_children,  # type: ignore[dict-item]
    requests.GetChildren2: get_children2,  # type: ignore[dict-item]
    requests.GetAcl: get_acl,  # type: ignore[dict-item]
    requests.GetAllChildrenNumber: get_all_children_number,  # type: ignore[dict-item]
    requests.GetEphemerals: get_ephemerals,  # type: ignore[dict-item]
    requests.Sync: sync,  # type: ignore[dict-item]
    requests.Ping: ping,  # type: ignore[dict-item]
    requests.WhoAmI: who_am_i,  # type: ignore[dict-item]
    requests.MultiRead: multi_read,  # type: ignore[dict-item]
    requests.SetWatches: set_watches,  # type: ignore[dict-item]
    requests.AddWatch: add_watch,  # type: ignore[dict-item]
    requests.CheckWatches: check_watches,  # type: ignore[dict-item]
    requests.RemoveWatches: remove_watches,  # type: ignore[dict-item]
}
SEARCHES: dict[type, Callable[[Readable, Connection], int]] = {
    requests.GetAllChildrenNumber: lambda state, connection: len(state.tree.nodes),
    requests.GetEphemerals: lambda state, connection: len(state.tree.ephemerals.get(connection.session_id, ())),
}
"""Reads that look through more than they answer: through how many znodes at most."""
SEARCHED_BYTES = 32
"""Looking at one costs as much as answering so many bytes."""
