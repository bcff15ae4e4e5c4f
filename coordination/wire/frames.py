"""Frames: the four-byte length in front of every message, with its limit.

In: bytes as the network gave them.  Out: (buffer, positions of the whole frames in it); nothing is copied to find them.
Knows nothing of what is inside.  Answers to the length handling of ZooKeeper's NIOServerCnxn (`jute.maxbuffer`).

(1) A length below 0 or above the limit is refused before a byte is kept for it.
(2) Bytes that do not complete a frame are collected in a list until enough are there: a sender of single bytes costs
    time in proportion to what it sends, not to its square.
"""

from coordination.errors import RemoteProtocolError
from coordination.wire.jute import unpack_int

FRAME_BYTES_MAX = 0xFFFFF  # jute.maxbuffer's default
LENGTH_BYTES = 4


class FrameBuffer:
    """Collects bytes until they hold whole frames."""

    __slots__ = ("_have", "_needed", "_pieces", "frame_bytes_max")

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._pieces: list[bytes] = []
        self._have = 0
        self._needed = LENGTH_BYTES

    @property
    def pending_bytes(self) -> int:
        return self._have

    def feed(self, data: bytes) -> bytes:
        """`data` behind what was kept, once that holds at least a whole frame (or a length to judge); else empty."""
        if not self._pieces:
            return data
        self._pieces.append(data)
        self._have += len(data)
        if self._have < self._needed:
            return b""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self._have = 0
        return whole

    def keep(self, rest: bytes, needed: int) -> None:
        """Keep the beginning of a frame that has `needed` bytes when it is whole."""
        assert not self._pieces
        if rest:
            self._pieces.append(rest)
        self._have = len(rest)
        self._needed = needed

    def frames(self, data: bytes) -> list[tuple[bytes, int, int]]:
        """Every whole frame as (buffer, start, end) without its length; raises on a length beyond the limit."""
        buf = self.feed(data)
        found: list[tuple[bytes, int, int]] = []
        pos, size = 0, len(buf)
        needed = LENGTH_BYTES
        while size - pos >= LENGTH_BYTES:
            length: int = unpack_int(buf, pos)[0]
            if not 0 <= length <= self.frame_bytes_max:
                raise RemoteProtocolError(bad_length(length, self.frame_bytes_max))
            end = pos + LENGTH_BYTES + length
            if end > size:
                needed = LENGTH_BYTES + length
                break
            found.append((buf, pos + LENGTH_BYTES, end))
            pos = end
        if buf:
            self.keep(buf[pos:], needed)
        return found


# Begins of HTTP requests; "PRI " is HTTP/2's.
_HTTP_METHODS = frozenset(b"GET |POST|HEAD|PUT |OPTI|DELE|PATC|CONN|TRAC|PRI ".split(b"|"))


def bad_length(length: int, limit: int) -> str:
    """Why a length is refused, in words; says so when it is the beginning of an HTTP request."""
    word = length.to_bytes(4, "big", signed=True)
    if word in _HTTP_METHODS:
        method = word.decode().strip()
        return f"an HTTP request ({method} ...) came to the client port; this port speaks ZooKeeper's protocol"
    if word[:2] == b"\x16\x03":
        return "a TLS handshake came to the plain client port; use the secure port, or no TLS"
    return f"a frame of {length} bytes; allowed are 0 to {limit} (jute.maxbuffer)"
