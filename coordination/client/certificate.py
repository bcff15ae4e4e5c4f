"""The death certificate: ends the session of a process that is proven dead, with that session's own id and password.

In: hosts, session id, password.  Out: `CloseOutcome`.
Knows nothing of kazoo, of the client beside it, or of how the death was proven: the caller answers for that.
Answers to ZooKeeper's ZooKeeperServer.reopenSession and its closeSession request; any server that speaks the protocol
honours it.

(1) Only the session named is touched: the server checks the password, and a wrong one changes nothing but the
    connection.
(2) CLOSED means the server answered closeSession: the txn that deletes the ephemerals is committed.
(3) ALREADY_EXPIRED means the server knows no such session with such a password: it expired, was closed, or the password
    is not its.
(4) The password is in no log and in no exception.
"""

import struct
from collections.abc import Iterator
from enum import Enum

import trio

from coordination.secret import Secret

DEFAULT_PORT = 2181
# What the re-attached session gets as timeout (ms): if the closing is lost after all, it must not live longer than it
# would have.
REATTACH_TIMEOUT_MS = 1000
# The length of a frame that answers a connect (37 bytes, 36 from old servers) or a close (16): anything above is not
# the protocol.
FRAME_MAX_BYTES = 1024

_CLOSE_XID, _CLOSE_SESSION = 1, -11
_LENGTH = struct.Struct(">i")
_CONNECT = struct.Struct(">iqiqi16s?")  # protocol version, last zxid seen, timeout, session id, password, read only
_CONNECTED = struct.Struct(">iiq")  # protocol version, timeout, session id
_REQUEST = struct.Struct(">ii")  # xid, opcode
_REPLY = struct.Struct(">iqi")  # xid, zxid, error


class CloseOutcome(Enum):
    CLOSED = "closed"
    ALREADY_EXPIRED = "already_expired"
    UNREACHABLE = "unreachable"


def _frame(record: bytes) -> bytes:
    return _LENGTH.pack(len(record)) + record


def addresses(hosts: str) -> Iterator[tuple[str, int]]:
    """The servers of a connect string `host:port,[::1]:port,host/chroot`, in its order; the port defaults to 2181."""
    for part in hosts.partition("/")[0].split(","):
        host, colon, port = part.strip().rpartition(":")
        if not colon or part.strip().endswith("]"):
            host, port = part.strip(), ""
        yield host.strip("[]"), int(port) if port else DEFAULT_PORT


async def close_session(
    hosts: str, session_id: int, password: bytes | Secret, *, timeout_s: float = 2.0
) -> CloseOutcome:
    """Closes a session from outside, at the first server that will; returns within `timeout_s` and raises nothing of
    the network.

    Each server gets an even share of the time that is left.
    """
    secret = password.reveal() if isinstance(password, Secret) else password
    servers = list(addresses(hosts))
    deadline = trio.current_time() + timeout_s
    for tried, (host, port) in enumerate(servers):
        share_s = (deadline - trio.current_time()) / (len(servers) - tried)
        with trio.move_on_after(max(share_s, 0)):
            try:
                outcome = await _close_at(host, port, session_id, secret)
            except (OSError, trio.BrokenResourceError, EOFError):
                continue
            return outcome
    return CloseOutcome.UNREACHABLE


async def _close_at(host: str, port: int, session_id: int, password: bytes) -> CloseOutcome:
    connect = _CONNECT.pack(0, 0, REATTACH_TIMEOUT_MS, session_id, len(password), password, False)
    close = _REQUEST.pack(_CLOSE_XID, _CLOSE_SESSION)
    async with await trio.open_tcp_stream(host, port) as stream:
        # Both at once: the server reads the second when it has done the first, and a round trip is saved.
        await stream.send_all(_frame(connect) + _frame(close))
        frames = _Frames(stream)
        _version, timeout_ms, _id = _CONNECTED.unpack_from(await frames.next())
        if timeout_ms <= 0:
            return CloseOutcome.ALREADY_EXPIRED
        while True:
            xid, _zxid, error = _REPLY.unpack_from(await frames.next())
            if xid == _CLOSE_XID:
                # An error here can only say that the session ended between the two requests.
                return CloseOutcome.CLOSED if error == 0 else CloseOutcome.ALREADY_EXPIRED


class _Frames:
    """Length-prefixed frames off a stream; `EOFError` when it ends early or is not the protocol."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._buffer = bytearray()

    async def next(self) -> bytes:
        length = _LENGTH.unpack(await self._take(_LENGTH.size))[0]
        if not _REPLY.size <= length <= FRAME_MAX_BYTES:
            raise EOFError("not a ZooKeeper server")
        return await self._take(length)

    async def _take(self, size: int) -> bytes:
        while len(self._buffer) < size:
            more = await self._stream.receive_some()
            if not more:
                raise EOFError("connection closed before the answer")
            self._buffer += more
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken
