"""Sockets we have said our last word on: half closed, then drained until the client has closed too.

In: sockets whose output is sent; that one is readable; the time.  Out: closed sockets.
Knows no connection and no session.

Why: the kernel answers a close with unread input by a reset, and a reset throws away what the client had not read yet:
the answer to its closeSession, "expired", a refusal.  ZooKeeper closes at once and loses it now and then.

(1) The client sees the end of the stream at once, behind everything that was sent.
(2) What is drained is bounded: DRAIN_BYTES_MAX of one socket, DRAIN_MS of its time, DEPARTING_MAX sockets.
"""

import socket
from collections.abc import Callable

from coordination.server.poller import Poller

DRAIN_BYTES_MAX = 4 << 20
DRAIN_MS = 2000
DEPARTING_MAX = 512
_RECEIVE_BYTES = 65536


class _Departing:
    __slots__ = ("due_ms", "room", "sock")

    def __init__(self, sock: socket.socket, due_ms: int) -> None:
        self.sock = sock
        self.due_ms = due_ms
        self.room = DRAIN_BYTES_MAX


class Departures:
    def __init__(self, poller: Poller, closed: Callable[[], None] = lambda: None) -> None:
        """`closed` hears of every descriptor that has become free."""
        self._poller = poller
        self._closed = closed
        self._departing: dict[int, _Departing] = {}  # the oldest first, which is the one due first

    def __len__(self) -> int:
        return len(self._departing)

    def __contains__(self, fd: int) -> bool:
        return fd in self._departing

    def add(self, sock: socket.socket, now_ms: int) -> None:
        """Nothing more is sent to this one.  It is not in the poller."""
        if len(self._departing) >= DEPARTING_MAX:
            self._close(next(iter(self._departing)))
        try:
            sock.shutdown(socket.SHUT_WR)
        except OSError:
            sock.close()  # the client was quicker
            self._closed()
            return
        self._poller.add(sock.fileno())
        self._departing[sock.fileno()] = _Departing(sock, now_ms + DRAIN_MS)

    def drain(self, fd: int) -> None:
        """It is readable: throw away what came; done when the client has closed, or has sent too much."""
        departing = self._departing[fd]
        try:
            got = len(departing.sock.recv(_RECEIVE_BYTES))
        except BlockingIOError:
            return
        except OSError:
            got = 0
        departing.room -= got
        if not got or departing.room <= 0:
            self._close(fd)

    def next_deadline(self) -> int | None:
        """When `tick` has something to do, in ms."""
        for departing in self._departing.values():
            return departing.due_ms
        return None

    def tick(self, now_ms: int) -> None:
        """Close those that took too long."""
        for fd in [fd for fd, departing in self._departing.items() if departing.due_ms <= now_ms]:
            self._close(fd)

    def close(self) -> None:
        for fd in list(self._departing):
            self._close(fd)

    def _close(self, fd: int) -> None:
        departing = self._departing.pop(fd)
        self._poller.remove(fd)
        departing.sock.close()
        self._closed()
