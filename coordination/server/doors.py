"""Where clients come in: accepts from every listener, and waits a moment when the machine has no room.

In: that a listener is readable; the time; that a descriptor has become free.  Out: sockets with their addresses.
Knows no connection; who may come in is the client port's question.  Answers to NIOServerCnxnFactory's AcceptThread.

(1) Without room (descriptors, memory) accepting rests RETRY_MS, or until a descriptor is free: a readable listener that
    cannot be accepted from would otherwise keep the server busy, and one nobody comes back to is closed for good.
(2) At most ACCEPTS_PER_ROUND at a time: those who are in come first.
"""

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from coordination.server.client import Listener
from coordination.server.poller import Poller

ACCEPTS_PER_ROUND = 64
RETRY_MS = 200
# So many descriptors are not given to clients: the log, snapshots and the server's own ports need some.
DESCRIPTORS_KEPT = 64
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS)


class Doors:
    def __init__(self, listeners: Sequence[Listener], poller: Poller, refused: Callable[[str], None]) -> None:
        """`refused` hears why nobody can come in."""
        self._listeners = {each.sock.fileno(): each for each in listeners}
        self._poller = poller
        self._refused = refused
        self._retry_at_ms: int | None = None

    def __contains__(self, fd: int) -> bool:
        return fd in self._listeners

    def open(self) -> None:
        for fd in self._listeners:
            self._poller.add(fd)
        self._retry_at_ms = None

    def accept(self, fd: int, now_ms: int) -> Iterator[tuple[socket.socket, Any, Listener]]:
        """(socket, address, the listener it came to) of those who wait."""
        listener = self._listeners[fd]
        for _ in range(ACCEPTS_PER_ROUND):
            try:
                sock, address = listener.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._refused(os.strerror(error.errno))
                    self._rest(now_ms)
                    return
                continue  # this one was gone before we came
            yield sock, address, listener

    def _rest(self, now_ms: int) -> None:
        if self._retry_at_ms is None:
            for fd in self._listeners:
                self._poller.remove(fd)
        self._retry_at_ms = now_ms + RETRY_MS

    def room(self) -> None:
        """A descriptor has become free: try again at once."""
        if self._retry_at_ms is not None:
            self.open()

    def next_deadline(self) -> int | None:
        """When `tick` has something to do, in ms."""
        return self._retry_at_ms

    def tick(self, now_ms: int) -> None:
        if self._retry_at_ms is not None and self._retry_at_ms <= now_ms:
            self.open()


def descriptors_for_clients() -> int:
    """How many connections this process can hold and still open its own files; 0: no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else max(1, soft - DESCRIPTORS_KEPT)
