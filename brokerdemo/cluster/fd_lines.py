"""Lines with file descriptors: JSON lines over a unix socket, where a line may carry descriptors (SCM_RIGHTS).

In: bytes and descriptors off a stream socket. Out: messages with the descriptors that belong to them; and the way back.
Pure but for the two calls on the socket given. Used by the zygote (blocking) and the supervisor (trio) on one socket
pair.

(1) A message says how many descriptors it carries (`"fds": n`); they arrive no later than its last byte, in order.
(2) Whoever takes a message owns its descriptors, and closes them.
"""

import array
import json
import os
import socket
from collections import deque
from typing import Any

FDS_MAX = 8


def pack(message: dict[str, Any], fds: list[int] | None = None) -> bytes:
    """One line; `fds` are counted in, and travel beside it (`send`)."""
    return json.dumps({**message, "fds": len(fds)} if fds else message).encode() + b"\n"


def send(sock: socket.socket, message: dict[str, Any], fds: list[int] | None = None) -> None:
    """Send one message on a blocking socket; OSError when the other side is gone."""
    data = pack(message, fds)
    sent = socket.send_fds(sock, [data], fds) if fds else sock.send(data)
    if sent < len(data):
        sock.sendall(data[sent:])


class Receiver:
    """Collects bytes and descriptors, gives out whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._fds: deque[int] = deque()

    def receive(self, sock: socket.socket) -> bool:
        """One recvmsg; False at the end of the stream. BlockingIOError as the socket says."""
        data, ancillary, _flags, _address = sock.recvmsg(65536, socket.CMSG_SPACE(FDS_MAX * 4), _CLOEXEC)
        for level, kind, payload in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                for fd in numbers:
                    os.set_inheritable(fd, False)
                    self._fds.append(fd)
        self._buffer += data
        return bool(data)

    def messages(self) -> list[tuple[dict[str, Any], list[int]]]:
        """The messages complete by now, each with its descriptors."""
        found = []
        while (end := self._buffer.find(b"\n")) >= 0:
            message = json.loads(self._buffer[:end])
            del self._buffer[: end + 1]
            found.append((message, [self._fds.popleft() for _ in range(message.get("fds", 0))]))
        return found


_CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
