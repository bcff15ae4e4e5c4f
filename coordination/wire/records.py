"""Records that several messages share: Stat, ACL, and the handshake of a connection.

In: bytes.  Out: NamedTuples, and back.  Source: zookeeper.jute (org.apache.zookeeper.data and .proto).

(1) `decode_x(encode(x)) == x` for every record here.
"""

from struct import Struct
from typing import NamedTuple

from coordination.errors import RemoteProtocolError
from coordination.wire.jute import (
    get_buffer,
    get_int,
    get_nullable_string,
    get_vector,
    pack_int,
    put_bool,
    put_buffer,
    put_string,
    put_vector,
    truncated,
)
from coordination.wire.opcodes import PERM_ALL

STAT = Struct(">qqqqiiiqiiq")
STAT_BYTES = STAT.size
assert STAT_BYTES == 68
PASSWORD_BYTES = 16


class Stat(NamedTuple):
    """What a znode tells about itself; times in ms since 1970, `ephemeral_owner` a session id or 0."""

    czxid: int
    mzxid: int
    ctime: int
    mtime: int
    version: int
    cversion: int
    aversion: int
    ephemeral_owner: int
    data_length: int
    num_children: int
    pzxid: int

    def encode(self) -> bytes:
        return STAT.pack(*self)


def get_stat(buf: bytes, pos: int, end: int) -> tuple[Stat, int]:
    if pos + STAT_BYTES > end:
        raise truncated("a Stat")
    return Stat(*STAT.unpack_from(buf, pos)), pos + STAT_BYTES


class Acl(NamedTuple):
    """One entry of an access control list."""

    perms: int
    scheme: str
    id: str

    def encode(self) -> bytes:
        return pack_int(self.perms) + put_string(self.scheme) + put_string(self.id)


class _NoId(str):
    __slots__ = ()


NO_ID = _NoId()
"""An id that came as null: an empty one, but for whom the difference matters (kazoo writes an empty string as null)."""


def get_acl(buf: bytes, pos: int, end: int) -> tuple[Acl, int]:
    perms, pos = get_int(buf, pos, end)
    # No scheme at all is an ACL that is not valid, not bytes that are not.
    scheme, pos = get_nullable_string(buf, pos, end)
    id_, pos = get_nullable_string(buf, pos, end)
    return Acl(perms, scheme or "", NO_ID if id_ is None else id_), pos


OPEN_ACL = (Acl(PERM_ALL, "world", "anyone"),)
_OPEN_ACL_BYTES = put_vector(OPEN_ACL, Acl.encode)
_OPEN_ACL_LENGTH = len(_OPEN_ACL_BYTES)


def get_acls(buf: bytes, pos: int, end: int) -> tuple[tuple[Acl, ...], int]:
    """An ACL; the open one, which nearly every request carries, is recognised by its bytes and is one object."""
    after = pos + _OPEN_ACL_LENGTH
    if after <= end and buf[pos:after] == _OPEN_ACL_BYTES:
        return OPEN_ACL, after
    acls, pos = get_vector(buf, pos, end, get_acl)
    return tuple(acls), pos


def put_acls(acls: tuple[Acl, ...]) -> bytes:
    return _OPEN_ACL_BYTES if acls is OPEN_ACL else put_vector(acls, Acl.encode)


READ_ACL = (Acl(1, "world", "anyone"),)

_CONNECT_HEAD = Struct(">iqiq")
_CONNECTED_HEAD = Struct(">iiq")


class ConnectRequest(NamedTuple):
    """The first frame of a client.  `read_only` None: an old client, which leaves the byte out and expects none."""

    protocol_version: int
    last_zxid_seen: int
    timeout_ms: int
    session_id: int
    password: bytes
    read_only: bool | None = False

    def __repr__(self) -> str:
        return f"ConnectRequest(session 0x{self.session_id:x}, {self.timeout_ms} ms, password masked)"

    def encode(self) -> bytes:
        head = _CONNECT_HEAD.pack(self.protocol_version, self.last_zxid_seen, self.timeout_ms, self.session_id)
        tail = b"" if self.read_only is None else put_bool(self.read_only)
        return head + put_buffer(self.password) + tail


class ConnectResponse(NamedTuple):
    """The server's first frame.  Timeout 0: the session named does not exist (any more)."""

    protocol_version: int
    timeout_ms: int
    session_id: int
    password: bytes
    read_only: bool | None = False

    def __repr__(self) -> str:
        return f"ConnectResponse(session 0x{self.session_id:x}, {self.timeout_ms} ms, password masked)"

    def encode(self) -> bytes:
        head = _CONNECTED_HEAD.pack(self.protocol_version, self.timeout_ms, self.session_id)
        tail = b"" if self.read_only is None else put_bool(self.read_only)
        return head + put_buffer(self.password) + tail


def _password_and_flag(buf: bytes, pos: int, end: int) -> tuple[bytes, bool | None]:
    password, pos = get_buffer(buf, pos, end)
    read_only = None if pos >= end else buf[pos] != 0
    return password or b"", read_only


def decode_connect_request(buf: bytes, pos: int, end: int) -> ConnectRequest:
    if end - pos < _CONNECT_HEAD.size:
        raise RemoteProtocolError(f"a ConnectRequest has at least {_CONNECT_HEAD.size} bytes, this one {end - pos}")
    head: tuple[int, int, int, int] = _CONNECT_HEAD.unpack_from(buf, pos)
    password, read_only = _password_and_flag(buf, pos + _CONNECT_HEAD.size, end)
    return ConnectRequest(*head, password, read_only)


def decode_connect_response(buf: bytes, pos: int, end: int) -> ConnectResponse:
    if end - pos < _CONNECTED_HEAD.size:
        raise RemoteProtocolError(f"a ConnectResponse has at least {_CONNECTED_HEAD.size} bytes, this one {end - pos}")
    head: tuple[int, int, int] = _CONNECTED_HEAD.unpack_from(buf, pos)
    password, read_only = _password_and_flag(buf, pos + _CONNECTED_HEAD.size, end)
    return ConnectResponse(*head, password, read_only)
