"""Every request a client may send, one record each, with its decoder (server side) and its encoder (client side).

In: the bytes of one frame behind its length.  Out: a record; its `xid` is what the reply must carry, its `opcode` what
it asks.
Knows nothing of what a request does.  Source: zookeeper.jute (org.apache.zookeeper.proto), MultiOperationRecord.

(1) `DECODERS` is the registry: an opcode that is not in it does not exist for a client.  CREATE_SESSION, ERROR and
    DELETE_CONTAINER are the server's own and are not in it; CHECK is only ever a part of a multi.
(2) A record that is cut, or lies about a length, raises `RemoteProtocolError`; bytes behind a record are ignored, as
    Java does.
(3) Decoders of reads are written out flat: they run once per frame on the hot path.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from coordination.errors import RemoteProtocolError
from coordination.wire import opcodes
from coordination.wire.jute import (
    FALSE,
    INT_INT,
    TRUE,
    get_bool,
    get_buffer,
    get_int,
    get_long,
    get_nullable_string,
    get_string,
    get_strings,
    pack_int,
    pack_long,
    put_bool,
    put_buffer,
    put_nullable_string,
    put_string,
    put_strings,
    truncated,
    unpack_int,
)
from coordination.wire.records import Acl, get_acls, put_acls

HEADER_BYTES = 8
_MULTI_END = pack_int(-1) + TRUE + pack_int(-1)


@dataclass(slots=True)
class Create:
    """create (1), create2 (15), createContainer (19): one record, the opcode says which."""

    xid: int
    opcode: int
    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    flags: int
    ttl_ms: ClassVar[int] = -1

    def body(self) -> bytes:
        return put_string(self.path) + put_buffer(self.data) + put_acls(self.acl) + pack_int(self.flags)


@dataclass(slots=True)
class CreateTtl:
    xid: int
    path: str
    data: bytes | None
    acl: tuple[Acl, ...]
    flags: int
    ttl_ms: int
    opcode: ClassVar[int] = opcodes.CREATE_TTL

    def body(self) -> bytes:
        head = put_string(self.path) + put_buffer(self.data) + put_acls(self.acl)
        return head + pack_int(self.flags) + pack_long(self.ttl_ms)


@dataclass(slots=True)
class Delete:
    xid: int
    path: str
    version: int
    opcode: ClassVar[int] = opcodes.DELETE

    def body(self) -> bytes:
        return put_string(self.path) + pack_int(self.version)


@dataclass(slots=True)
class Exists:
    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.EXISTS

    def body(self) -> bytes:
        return put_string(self.path) + put_bool(self.watch)


@dataclass(slots=True)
class GetData:
    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.GET_DATA

    def body(self) -> bytes:
        return put_string(self.path) + put_bool(self.watch)


@dataclass(slots=True)
class SetData:
    xid: int
    path: str
    data: bytes | None
    version: int
    opcode: ClassVar[int] = opcodes.SET_DATA

    def body(self) -> bytes:
        return put_string(self.path) + put_buffer(self.data) + pack_int(self.version)


@dataclass(slots=True)
class GetAcl:
    xid: int
    path: str
    opcode: ClassVar[int] = opcodes.GET_ACL

    def body(self) -> bytes:
        return put_string(self.path)


@dataclass(slots=True)
class SetAcl:
    xid: int
    path: str
    acl: tuple[Acl, ...]
    version: int
    opcode: ClassVar[int] = opcodes.SET_ACL

    def body(self) -> bytes:
        return put_string(self.path) + put_acls(self.acl) + pack_int(self.version)


@dataclass(slots=True)
class GetChildren:
    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.GET_CHILDREN

    def body(self) -> bytes:
        return put_string(self.path) + put_bool(self.watch)


@dataclass(slots=True)
class GetChildren2:
    xid: int
    path: str
    watch: bool
    opcode: ClassVar[int] = opcodes.GET_CHILDREN2

    def body(self) -> bytes:
        return put_string(self.path) + put_bool(self.watch)


@dataclass(slots=True)
class Sync:
    xid: int
    path: str
    opcode: ClassVar[int] = opcodes.SYNC

    def body(self) -> bytes:
        return put_string(self.path)


@dataclass(slots=True)
class Ping:
    xid: int
    opcode: ClassVar[int] = opcodes.PING

    def body(self) -> bytes:
        return b""


@dataclass(slots=True)
class CheckVersion:
    """A part of a multi, never a request of its own (source: Request.isValid)."""

    xid: int
    path: str
    version: int
    opcode: ClassVar[int] = opcodes.CHECK

    def body(self) -> bytes:
        return put_string(self.path) + pack_int(self.version)


@dataclass(slots=True)
class Multi:
    xid: int
    operations: "list[WriteOperation]"
    opcode: ClassVar[int] = opcodes.MULTI

    def body(self) -> bytes:
        return _multi_body(self.operations)


@dataclass(slots=True)
class MultiRead:
    xid: int
    operations: "list[GetData | GetChildren]"
    opcode: ClassVar[int] = opcodes.MULTI_READ

    def body(self) -> bytes:
        return _multi_body(self.operations)


@dataclass(slots=True)
class Reconfig:
    xid: int
    joining: str | None
    leaving: str | None
    new_members: str | None
    from_config: int
    opcode: ClassVar[int] = opcodes.RECONFIG

    def body(self) -> bytes:
        strings = (put_nullable_string(each) for each in (self.joining, self.leaving, self.new_members))
        return b"".join(strings) + pack_long(self.from_config)


@dataclass(slots=True)
class CheckWatches:
    xid: int
    path: str
    kind: int
    opcode: ClassVar[int] = opcodes.CHECK_WATCHES

    def body(self) -> bytes:
        return put_string(self.path) + pack_int(self.kind)


@dataclass(slots=True)
class RemoveWatches:
    xid: int
    path: str
    kind: int
    opcode: ClassVar[int] = opcodes.REMOVE_WATCHES

    def body(self) -> bytes:
        return put_string(self.path) + pack_int(self.kind)


@dataclass(slots=True)
class Auth:
    xid: int
    scheme: str
    credential: bytes | None
    opcode: ClassVar[int] = opcodes.AUTH

    def __repr__(self) -> str:
        return f"Auth(xid={self.xid}, scheme={self.scheme!r}, credential masked)"

    def body(self) -> bytes:
        return pack_int(0) + put_string(self.scheme) + put_buffer(self.credential)


@dataclass(slots=True)
class SetWatches:
    """setWatches (101) and setWatches2 (105); the old one has no persistent watches."""

    xid: int
    opcode: int
    relative_zxid: int
    data: list[str]
    exist: list[str]
    child: list[str]
    persistent: list[str]
    persistent_recursive: list[str]

    def body(self) -> bytes:
        out = pack_long(self.relative_zxid) + put_strings(self.data) + put_strings(self.exist) + put_strings(self.child)
        if self.opcode == opcodes.SET_WATCHES2:
            out += put_strings(self.persistent) + put_strings(self.persistent_recursive)
        return out


@dataclass(slots=True)
class Sasl:
    xid: int
    token: bytes
    opcode: ClassVar[int] = opcodes.SASL

    def __repr__(self) -> str:
        return f"Sasl(xid={self.xid}, token masked)"

    def body(self) -> bytes:
        return put_buffer(self.token)


@dataclass(slots=True)
class GetEphemerals:
    xid: int
    prefix: str
    opcode: ClassVar[int] = opcodes.GET_EPHEMERALS

    def body(self) -> bytes:
        return put_string(self.prefix)


@dataclass(slots=True)
class GetAllChildrenNumber:
    xid: int
    path: str
    opcode: ClassVar[int] = opcodes.GET_ALL_CHILDREN_NUMBER

    def body(self) -> bytes:
        return put_string(self.path)


@dataclass(slots=True)
class AddWatch:
    xid: int
    path: str
    mode: int
    opcode: ClassVar[int] = opcodes.ADD_WATCH

    def body(self) -> bytes:
        return put_string(self.path) + pack_int(self.mode)


@dataclass(slots=True)
class WhoAmI:
    xid: int
    opcode: ClassVar[int] = opcodes.WHO_AM_I

    def body(self) -> bytes:
        return b""


@dataclass(slots=True)
class CloseSession:
    xid: int
    opcode: ClassVar[int] = opcodes.CLOSE_SESSION

    def body(self) -> bytes:
        return b""


WriteOperation = Create | CreateTtl | Delete | SetData | CheckVersion
Request = (
    Create
    | CreateTtl
    | Delete
    | Exists
    | GetData
    | SetData
    | GetAcl
    | SetAcl
    | GetChildren
    | GetChildren2
    | Sync
    | Ping
    | Multi
    | MultiRead
    | Reconfig
    | CheckWatches
    | RemoveWatches
    | Auth
    | SetWatches
    | Sasl
    | GetEphemerals
    | GetAllChildrenNumber
    | AddWatch
    | WhoAmI
    | CloseSession
)
Decoder = Callable[[int, bytes, int, int], Request]


def encode(request: Request) -> bytes:
    """A whole frame, its length in front: what a client sends."""
    body = request.body()
    return pack_int(HEADER_BYTES + len(body)) + INT_INT.pack(request.xid, request.opcode) + body


def _multi_body(operations: "list[WriteOperation] | list[GetData | GetChildren]") -> bytes:
    parts = [pack_int(each.opcode) + FALSE + pack_int(-1) + each.body() for each in operations]
    return b"".join([*parts, _MULTI_END])


# --- decoders: hot ones first, written out flat


def _path_and_watch(buf: bytes, pos: int, end: int) -> tuple[str, bool]:
    start = pos + 4
    if start > end:
        raise truncated("the length of a path")
    stop = start + unpack_int(buf, pos)[0]
    if stop < start or stop >= end:
        raise truncated("a path and its watch flag")
    try:
        return buf[start:stop].decode(), buf[stop] != 0
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"a path is not UTF-8: {error.reason}") from None


def _get_data(xid: int, buf: bytes, pos: int, end: int) -> GetData:
    path, watch = _path_and_watch(buf, pos, end)
    return GetData(xid, path, watch)


def _exists(xid: int, buf: bytes, pos: int, end: int) -> Exists:
    path, watch = _path_and_watch(buf, pos, end)
    return Exists(xid, path, watch)


def _get_children(xid: int, buf: bytes, pos: int, end: int) -> GetChildren:
    path, watch = _path_and_watch(buf, pos, end)
    return GetChildren(xid, path, watch)


def _get_children2(xid: int, buf: bytes, pos: int, end: int) -> GetChildren2:
    path, watch = _path_and_watch(buf, pos, end)
    return GetChildren2(xid, path, watch)


def _set_data(xid: int, buf: bytes, pos: int, end: int) -> SetData:
    start = pos + 4
    if start > end:
        raise truncated("the length of a path")
    stop = start + unpack_int(buf, pos)[0]
    if stop < start or stop + 8 > end:
        raise truncated("a path, data and a version")
    length: int = unpack_int(buf, stop)[0]
    data_at = stop + 4
    data_end = data_at + length
    if length < 0:
        data, data_end = get_buffer(buf, stop, end)  # null, or refused
        if data_end + 4 > end:
            raise truncated("a version")
    elif data_end + 4 > end:
        raise RemoteProtocolError(f"a buffer says it has {length} bytes, {end - data_at} are left in its record")
    else:
        data = buf[data_at:data_end]
    try:
        return SetData(xid, buf[start:stop].decode(), data, unpack_int(buf, data_end)[0])
    except UnicodeDecodeError as error:
        raise RemoteProtocolError(f"a path is not UTF-8: {error.reason}") from None


def _ping(xid: int, buf: bytes, pos: int, end: int) -> Ping:
    return Ping(xid)


def _create_fields(buf: bytes, pos: int, end: int) -> tuple[str, bytes | None, tuple[Acl, ...], int, int]:
    path, pos = get_string(buf, pos, end)
    data, pos = get_buffer(buf, pos, end)
    acl, pos = get_acls(buf, pos, end)
    flags, pos = get_int(buf, pos, end)
    return path, data, acl, flags, pos


def _create_at(opcode: int, xid: int, buf: bytes, pos: int, end: int) -> tuple[Create, int]:
    path, data, acl, flags, pos = _create_fields(buf, pos, end)
    return Create(xid, opcode, path, data, acl, flags), pos


def _create(xid: int, buf: bytes, pos: int, end: int) -> Create:
    return _create_at(opcodes.CREATE, xid, buf, pos, end)[0]


def _create2(xid: int, buf: bytes, pos: int, end: int) -> Create:
    return _create_at(opcodes.CREATE2, xid, buf, pos, end)[0]


def _create_container(xid: int, buf: bytes, pos: int, end: int) -> Create:
    return _create_at(opcodes.CREATE_CONTAINER, xid, buf, pos, end)[0]


def _create_ttl_at(xid: int, buf: bytes, pos: int, end: int) -> tuple[CreateTtl, int]:
    path, data, acl, flags, pos = _create_fields(buf, pos, end)
    ttl_ms, pos = get_long(buf, pos, end)
    return CreateTtl(xid, path, data, acl, flags, ttl_ms), pos


def _create_ttl(xid: int, buf: bytes, pos: int, end: int) -> CreateTtl:
    return _create_ttl_at(xid, buf, pos, end)[0]


def _path_and_int(buf: bytes, pos: int, end: int) -> tuple[str, int, int]:
    path, pos = get_string(buf, pos, end)
    number, pos = get_int(buf, pos, end)
    return path, number, pos


def _delete(xid: int, buf: bytes, pos: int, end: int) -> Delete:
    path, version, _ = _path_and_int(buf, pos, end)
    return Delete(xid, path, version)


def _get_acl(xid: int, buf: bytes, pos: int, end: int) -> GetAcl:
    return GetAcl(xid, get_string(buf, pos, end)[0])


def _set_acl(xid: int, buf: bytes, pos: int, end: int) -> SetAcl:
    path, pos = get_string(buf, pos, end)
    acl, pos = get_acls(buf, pos, end)
    version, _ = get_int(buf, pos, end)
    return SetAcl(xid, path, acl, version)


def _sync(xid: int, buf: bytes, pos: int, end: int) -> Sync:
    return Sync(xid, get_string(buf, pos, end)[0])


def _write_operation(opcode: int, buf: bytes, pos: int, end: int) -> tuple[WriteOperation, int]:
    if opcode in (opcodes.CREATE, opcodes.CREATE2, opcodes.CREATE_CONTAINER, opcodes.CREATE_TTL):
        return _create_part(opcode, buf, pos, end)
    if opcode == opcodes.DELETE:
        path, version, pos = _path_and_int(buf, pos, end)
        return Delete(0, path, version), pos
    if opcode == opcodes.CHECK:
        path, version, pos = _path_and_int(buf, pos, end)
        return CheckVersion(0, path, version), pos
    if opcode == opcodes.SET_DATA:
        path, pos = get_string(buf, pos, end)
        data, pos = get_buffer(buf, pos, end)
        version, pos = get_int(buf, pos, end)
        return SetData(0, path, data, version), pos
    raise RemoteProtocolError(f"opcode {opcode} cannot be part of a multi")


def _create_part(opcode: int, buf: bytes, pos: int, end: int) -> tuple[Create | CreateTtl, int]:
    """In a multi the mode goes before the opcode, and must be one (source: MultiOperationRecord, Op.Create)."""
    ttl_ms = None
    if opcode == opcodes.CREATE_TTL:
        with_ttl, pos = _create_ttl_at(0, buf, pos, end)
        path, data, acl, flags, ttl_ms = with_ttl.path, with_ttl.data, with_ttl.acl, with_ttl.flags, with_ttl.ttl_ms
    else:
        path, data, acl, flags, pos = _create_fields(buf, pos, end)
    if flags in (opcodes.PERSISTENT_WITH_TTL, opcodes.PERSISTENT_SEQUENTIAL_WITH_TTL):
        if ttl_ms is None:
            raise RemoteProtocolError(f"a create with flags {flags} has no time to live")
        return CreateTtl(0, path, data, acl, flags, ttl_ms), pos
    if ttl_ms is None and not 0 <= flags <= opcodes.CONTAINER:
        raise RemoteProtocolError(f"{flags} is no create mode")
    if flags == opcodes.CONTAINER:
        opcode = opcodes.CREATE_CONTAINER
    elif opcode == opcodes.CREATE_TTL:
        opcode = opcodes.CREATE
    return Create(0, opcode, path, data, acl, flags), pos


def _multi_header(buf: bytes, pos: int, end: int) -> tuple[int, bool, int]:
    opcode, pos = get_int(buf, pos, end)
    done, pos = get_bool(buf, pos, end)
    _, pos = get_int(buf, pos, end)
    return opcode, done, pos


def _multi(xid: int, buf: bytes, pos: int, end: int) -> Multi:
    operations: list[WriteOperation] = []
    while True:
        opcode, done, pos = _multi_header(buf, pos, end)
        if done:
            return Multi(xid, operations)
        operation, pos = _write_operation(opcode, buf, pos, end)
        operations.append(operation)


def _multi_read(xid: int, buf: bytes, pos: int, end: int) -> MultiRead:
    operations: list[GetData | GetChildren] = []
    while True:
        opcode, done, pos = _multi_header(buf, pos, end)
        if done:
            return MultiRead(xid, operations)
        path, pos = get_string(buf, pos, end)
        _, pos = get_bool(buf, pos, end)  # a multiRead sets no watches (source: Op.GetData, Op.GetChildren)
        if opcode == opcodes.GET_DATA:
            operations.append(GetData(0, path, False))
        elif opcode == opcodes.GET_CHILDREN:
            operations.append(GetChildren(0, path, False))
        else:
            raise RemoteProtocolError(f"opcode {opcode} cannot be part of a multiRead")


def _reconfig(xid: int, buf: bytes, pos: int, end: int) -> Reconfig:
    joining, pos = get_nullable_string(buf, pos, end)
    leaving, pos = get_nullable_string(buf, pos, end)
    new_members, pos = get_nullable_string(buf, pos, end)
    from_config, _ = get_long(buf, pos, end)
    return Reconfig(xid, joining, leaving, new_members, from_config)


def _check_watches(xid: int, buf: bytes, pos: int, end: int) -> CheckWatches:
    path, kind, _ = _path_and_int(buf, pos, end)
    return CheckWatches(xid, path, kind)


def _remove_watches(xid: int, buf: bytes, pos: int, end: int) -> RemoveWatches:
    path, kind, _ = _path_and_int(buf, pos, end)
    return RemoveWatches(xid, path, kind)


def _auth(xid: int, buf: bytes, pos: int, end: int) -> Auth:
    _, pos = get_int(buf, pos, end)
    scheme, pos = get_nullable_string(buf, pos, end)
    credential, _ = get_buffer(buf, pos, end)
    return Auth(xid, scheme or "", credential)


def _set_watches(xid: int, buf: bytes, pos: int, end: int) -> SetWatches:
    zxid, pos = get_long(buf, pos, end)
    data, pos = get_strings(buf, pos, end)
    exist, pos = get_strings(buf, pos, end)
    child, pos = get_strings(buf, pos, end)
    return SetWatches(xid, opcodes.SET_WATCHES, zxid, data, exist, child, [], [])


def _set_watches2(xid: int, buf: bytes, pos: int, end: int) -> SetWatches:
    zxid, pos = get_long(buf, pos, end)
    data, pos = get_strings(buf, pos, end)
    exist, pos = get_strings(buf, pos, end)
    child, pos = get_strings(buf, pos, end)
    persistent, pos = get_strings(buf, pos, end)
    recursive, pos = get_strings(buf, pos, end)
    return SetWatches(xid, opcodes.SET_WATCHES2, zxid, data, exist, child, persistent, recursive)


def _sasl(xid: int, buf: bytes, pos: int, end: int) -> Sasl:
    token, _ = get_buffer(buf, pos, end)
    if token is None:
        raise RemoteProtocolError("a sasl request without a token")
    return Sasl(xid, token)


def _get_ephemerals(xid: int, buf: bytes, pos: int, end: int) -> GetEphemerals:
    return GetEphemerals(xid, get_nullable_string(buf, pos, end)[0] or "")


def _get_all_children_number(xid: int, buf: bytes, pos: int, end: int) -> GetAllChildrenNumber:
    return GetAllChildrenNumber(xid, get_string(buf, pos, end)[0])


def _add_watch(xid: int, buf: bytes, pos: int, end: int) -> AddWatch:
    path, mode, _ = _path_and_int(buf, pos, end)
    return AddWatch(xid, path, mode)


def _who_am_i(xid: int, buf: bytes, pos: int, end: int) -> WhoAmI:
    return WhoAmI(xid)


def _close_session(xid: int, buf: bytes, pos: int, end: int) -> CloseSession:
    return CloseSession(xid)


DECODERS: dict[int, Decoder] = {
    opcodes.CREATE: _create,
    opcodes.CREATE2: _create2,
    opcodes.CREATE_CONTAINER: _create_container,
    opcodes.CREATE_TTL: _create_ttl,
    opcodes.DELETE: _delete,
    opcodes.EXISTS: _exists,
    opcodes.GET_DATA: _get_data,
    opcodes.SET_DATA: _set_data,
    opcodes.GET_ACL: _get_acl,
    opcodes.SET_ACL: _set_acl,
    opcodes.GET_CHILDREN: _get_children,
    opcodes.GET_CHILDREN2: _get_children2,
    opcodes.SYNC: _sync,
    opcodes.PING: _ping,
    opcodes.MULTI: _multi,
    opcodes.MULTI_READ: _multi_read,
    opcodes.RECONFIG: _reconfig,
    opcodes.CHECK_WATCHES: _check_watches,
    opcodes.REMOVE_WATCHES: _remove_watches,
    opcodes.AUTH: _auth,
    opcodes.SET_WATCHES: _set_watches,
    opcodes.SET_WATCHES2: _set_watches2,
    opcodes.SASL: _sasl,
    opcodes.GET_EPHEMERALS: _get_ephemerals,
    opcodes.GET_ALL_CHILDREN_NUMBER: _get_all_children_number,
    opcodes.ADD_WATCH: _add_watch,
    opcodes.WHO_AM_I: _who_am_i,
    opcodes.CLOSE_SESSION: _close_session,
}
