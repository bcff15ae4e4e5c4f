"""The registry: which opcode is read as which record.

In: xid and the bytes behind the opcode.  Out: the record, or `RemoteProtocolError`.

(1) Decoders that run once per frame on the hot path are written out flat; a test holds them equal to what the layout
    of their record gives.
"""

from collections.abc import Callable
from typing import Any

from coordination.errors import RemoteProtocolError
from coordination.wire import opcodes
from coordination.wire.jute import get_buffer, get_string_and_buffer, truncated, unpack_int
from coordination.wire.records import get_acls
from coordination.wire.requests.layout import decoder_of
from coordination.wire.requests.multi import Multi, MultiRead
from coordination.wire.requests.reads import (
    Exists,
    GetAcl,
    GetAllChildrenNumber,
    GetChildren,
    GetChildren2,
    GetData,
    GetEphemerals,
    Sync,
)
from coordination.wire.requests.session import Auth, CloseSession, Ping, Sasl, WhoAmI
from coordination.wire.requests.watches import (
    SET_WATCHES,
    SET_WATCHES2,
    AddWatch,
    CheckWatches,
    RemoveWatches,
    SetWatches,
)
from coordination.wire.requests.writes import Create, CreateTtl, Delete, Reconfig, SetAcl, SetData

Decoder = Callable[[int, bytes, int, int], Any]


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


def _create_of(opcode: int) -> Decoder:
    def decode(xid: int, buf: bytes, pos: int, end: int) -> Create:
        path, data, pos = get_string_and_buffer(buf, pos, end)
        acl, pos = get_acls(buf, pos, end)
        if pos + 4 > end:
            raise truncated("the flags of a create")
        return Create(xid, opcode, path, data, acl, unpack_int(buf, pos)[0])

    return decode


def _ping(xid: int, buf: bytes, pos: int, end: int) -> Ping:
    return Ping(xid)


DECODERS: dict[int, Decoder] = {
    opcodes.EXISTS: _exists,
    opcodes.GET_DATA: _get_data,
    opcodes.GET_CHILDREN: _get_children,
    opcodes.GET_CHILDREN2: _get_children2,
    opcodes.GET_ACL: decoder_of(GetAcl),
    opcodes.GET_ALL_CHILDREN_NUMBER: decoder_of(GetAllChildrenNumber),
    opcodes.GET_EPHEMERALS: decoder_of(GetEphemerals),
    opcodes.SYNC: decoder_of(Sync),
    opcodes.MULTI_READ: decoder_of(MultiRead),
    opcodes.SET_WATCHES: decoder_of(SetWatches, layout=SET_WATCHES, opcode=opcodes.SET_WATCHES),
    opcodes.SET_WATCHES2: decoder_of(SetWatches, layout=SET_WATCHES2, opcode=opcodes.SET_WATCHES2),
    opcodes.ADD_WATCH: decoder_of(AddWatch),
    opcodes.CHECK_WATCHES: decoder_of(CheckWatches),
    opcodes.REMOVE_WATCHES: decoder_of(RemoveWatches),
    opcodes.CREATE: _create_of(opcodes.CREATE),
    opcodes.CREATE2: _create_of(opcodes.CREATE2),
    opcodes.CREATE_CONTAINER: decoder_of(Create, opcode=opcodes.CREATE_CONTAINER),
    opcodes.CREATE_TTL: decoder_of(CreateTtl),
    opcodes.DELETE: decoder_of(Delete),
    opcodes.SET_DATA: _set_data,
    opcodes.SET_ACL: decoder_of(SetAcl),
    opcodes.MULTI: decoder_of(Multi),
    opcodes.RECONFIG: decoder_of(Reconfig),
    opcodes.PING: _ping,
    opcodes.AUTH: decoder_of(Auth),
    opcodes.SASL: decoder_of(Sasl),
    opcodes.WHO_AM_I: decoder_of(WhoAmI),
    opcodes.CLOSE_SESSION: decoder_of(CloseSession),
}
