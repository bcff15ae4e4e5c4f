"""One client's byte stream, seen by the server: first a four letter word or a ConnectRequest, then requests.

In: bytes, cut anywhere.  Out: a list of events, in order.  Knows no session and no tree; answers nothing.
Answers to the reading half of ZooKeeper's NIOServerCnxn.

    FIRST --four letter word--> WORD (nothing more is read)
    FIRST --ConnectRequest--> REQUESTS --violation--> BROKEN

(1) The same bytes give the same events however they are cut.
(2) Events before a violation are delivered; `Violation` is the last event ever.
(3) A record that cannot be decoded is `Malformed` and harms only itself; a frame whose length lies is a `Violation`.
"""

from dataclasses import dataclass
from struct import Struct

from coordination.errors import RemoteProtocolError
from coordination.wire.frames import FRAME_BYTES_MAX, LENGTH_BYTES, FrameBuffer, bad_length
from coordination.wire.jute import unpack_int
from coordination.wire.records import ConnectRequest, decode_connect_request
from coordination.wire.requests import DECODERS, HEADER_BYTES, Request

WORDS = frozenset(b"conf cons crst dirs dump envi gtmk hash isro mntr ruok srst srvr stat stmk wchc wchp wchs".split())
FIRST_BYTES_MAX = 0x60000000  # any word, read as a length, is more: none is taken for one, however large frames may be
SET_TRACE_MASK = b"stmk"  # the word with an argument: eight bytes

_LENGTH_AND_HEADER = Struct(">iii").unpack_from


@dataclass(slots=True)
class FourLetterWord:
    """`argument`: the eight bytes that may follow (only stmk has any)."""

    word: str
    argument: bytes = b""


@dataclass(slots=True)
class Malformed:
    """A request whose record could not be decoded; answered MarshallingError."""

    xid: int
    opcode: int
    reason: str


@dataclass(slots=True)
class UnknownOperation:
    """An opcode no client may send; answered Unimplemented, then the connection ends."""

    xid: int
    opcode: int


@dataclass(slots=True)
class Violation:
    reason: str


Event = Request | ConnectRequest | FourLetterWord | Malformed | UnknownOperation | Violation

FIRST, REQUESTS, WORD, BROKEN = "first", "requests", "word", "broken"


class ServerConnection:
    """Turns the bytes of one client into events."""

    __slots__ = ("_awaits_trace_mask", "_buffer", "phase")

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX, *, awaits_trace_mask: bool = True) -> None:
        """`awaits_trace_mask`: stmk is whole with its eight bytes; where it is refused anyway, without them."""
        self._buffer = FrameBuffer(frame_bytes_max)
        self._awaits_trace_mask = awaits_trace_mask
        self.phase = FIRST

    def receive_data(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        if self.phase is not REQUESTS and self.phase is not FIRST:
            return events
        buffer = self._buffer
        buf = buffer.feed(data)
        limit = buffer.frame_bytes_max
        if self.phase is FIRST and limit > FIRST_BYTES_MAX:
            limit = FIRST_BYTES_MAX
        pos, size = 0, len(buf)
        if size == 0:
            return events
        needed = LENGTH_BYTES
        while True:
            left = size - pos
            if left < 12:
                if left < LENGTH_BYTES:
                    break
                length: int = unpack_int(buf, pos)[0]
            else:
                length, xid, opcode = _LENGTH_AND_HEADER(buf, pos)
            if length < 0 or length > limit:
                if self.phase is FIRST and buf[pos : pos + 4] in WORDS:
                    if left < 12 and self._awaits_trace_mask and buf[pos : pos + 4] == SET_TRACE_MASK:
                        needed = 12
                        break
                    self.phase = WORD
                    events.append(FourLetterWord(buf[pos : pos + 4].decode(), buf[pos + 4 : pos + 12]))
                    return events
                self.phase = BROKEN
                events.append(Violation(bad_length(length, limit)))
                return events
            end = pos + LENGTH_BYTES + length
            if end > size:
                needed = LENGTH_BYTES + length
                break
            if self.phase is FIRST:
                try:
                    events.append(decode_connect_request(buf, pos + LENGTH_BYTES, end))
                except RemoteProtocolError as error:
                    self.phase = BROKEN
                    events.append(Violation(str(error)))
                    return events
                self.phase = REQUESTS
                limit = buffer.frame_bytes_max
            elif length < HEADER_BYTES:
                self.phase = BROKEN
                events.append(Violation(f"a request of {length} bytes; its header alone has {HEADER_BYTES}"))
                return events
            else:
                decoder = DECODERS.get(opcode)
                if decoder is None:
                    events.append(UnknownOperation(xid, opcode))
                else:
                    try:
                        events.append(decoder(xid, buf, pos + 12, end))
                    except RemoteProtocolError as error:
                        events.append(Malformed(xid, opcode, str(error)))
            pos = end
        buffer.keep(buf[pos:], needed)
        return events
