"""Requests about the session itself: that it lives, whose it is, that it ends.  Fields only.

(1) No credential shows in a repr.
"""

from dataclasses import dataclass
from typing import ClassVar

from coordination.wire import opcodes
from coordination.wire.jute import get_int, get_nullable_string, pack_int, put_string
from coordination.wire.requests.layout import BUFFER, PRESENT_BUFFER, Field, Layout


def _get_scheme(buf: bytes, pos: int, end: int) -> tuple[str, int]:
    _, pos = get_int(buf, pos, end)
    scheme, pos = get_nullable_string(buf, pos, end)
    return scheme or "", pos


def _put_scheme(scheme: str) -> bytes:
    return pack_int(0) + put_string(scheme)


SCHEME = Field(_get_scheme, _put_scheme)  # behind AuthPacket's `type`, which nobody looks at


@dataclass(slots=True)
class Ping:
    xid: int
    opcode: ClassVar[int] = opcodes.PING
    layout: ClassVar[Layout] = ()


@dataclass(slots=True)
class Auth:
    xid: int
    scheme: str
    credential: bytes | None
    opcode: ClassVar[int] = opcodes.AUTH
    layout: ClassVar[Layout] = (SCHEME, BUFFER)

    def __repr__(self) -> str:
        return f"Auth(xid={self.xid}, scheme={self.scheme!r}, credential masked)"


@dataclass(slots=True)
class Sasl:
    xid: int
    token: bytes
    opcode: ClassVar[int] = opcodes.SASL
    layout: ClassVar[Layout] = (PRESENT_BUFFER,)

    def __repr__(self) -> str:
        return f"Sasl(xid={self.xid}, token masked)"


@dataclass(slots=True)
class WhoAmI:
    xid: int
    opcode: ClassVar[int] = opcodes.WHO_AM_I
    layout: ClassVar[Layout] = ()


@dataclass(slots=True)
class CloseSession:
    xid: int
    opcode: ClassVar[int] = opcodes.CLOSE_SESSION
    layout: ClassVar[Layout] = ()
