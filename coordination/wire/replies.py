"""What a server sends: reply frames and watch events; and how a client takes them apart.

In: a header's fields and an encoded body.  Out: one frame with its length in front, and back.
Source: ReplyHeader and WatcherEvent in zookeeper.jute; MultiResponse.

(1) A reply with an error has no body.
(2) An event has xid -1 and its header carries the zxid of the txn that caused it (-1 when setWatches replays it).
"""

from struct import Struct
from typing import NamedTuple

from coordination.errors import RemoteProtocolError
from coordination.wire.jute import FALSE, get_int, get_string, pack_int, put_string
from coordination.wire.opcodes import ERROR, STATE_SYNC_CONNECTED, XID_NOTIFICATION

LENGTH_AND_HEADER = Struct(">iiqi")
HEADER = Struct(">iqi")
HEADER_BYTES = HEADER.size
pack_reply_head = LENGTH_AND_HEADER.pack

_EVENT_HEAD = Struct(">iiqiii")
_MULTI_HEADER = Struct(">ibi")
MULTI_END = _MULTI_HEADER.pack(-1, 1, -1)


class ReplyHeader(NamedTuple):
    xid: int
    zxid: int
    err: int


class WatcherEvent(NamedTuple):
    type: int
    state: int
    path: str


def reply(xid: int, zxid: int, body: bytes = b"") -> bytes:
    return pack_reply_head(HEADER_BYTES + len(body), xid, zxid, 0) + body


def error_reply(xid: int, zxid: int, code: int) -> bytes:
    return pack_reply_head(HEADER_BYTES, xid, zxid, code)


def event(type_: int, path: str, zxid: int) -> bytes:
    body = put_string(path)
    length = HEADER_BYTES + 8 + len(body)
    return _EVENT_HEAD.pack(length, XID_NOTIFICATION, zxid, 0, type_, STATE_SYNC_CONNECTED) + body


def multi_part(opcode: int, body: bytes = b"") -> bytes:
    """One successful part of a MultiResponse."""
    return pack_int(opcode) + FALSE + pack_int(0) + body


def multi_error(code: int) -> bytes:
    """One failed part: the code stands in its header and again as its body."""
    return _MULTI_HEADER.pack(ERROR, 0, code) + pack_int(code)


def frame(body: bytes) -> bytes:
    return pack_int(len(body)) + body


# --- the client's side


def decode_header(buf: bytes, pos: int, end: int) -> tuple[ReplyHeader, int]:
    if pos + HEADER_BYTES > end:
        raise RemoteProtocolError(f"a reply has at least {HEADER_BYTES} bytes, this one {end - pos}")
    return ReplyHeader(*HEADER.unpack_from(buf, pos)), pos + HEADER_BYTES


def decode_event(buf: bytes, pos: int, end: int) -> WatcherEvent:
    type_, pos = get_int(buf, pos, end)
    state, pos = get_int(buf, pos, end)
    path, _ = get_string(buf, pos, end)
    return WatcherEvent(type_, state, path)
