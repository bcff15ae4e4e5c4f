"""The two sockets kazoo's connection thread waits on, made cheap: the server's, and the one that wakes the thread.

In: kazoo's `recv`, `send`, `pending` and `close`.  Out: the same bytes in the same order, in fewer system calls.
Knows nothing of frames, sessions or trio.  Answers to ZooKeeper's ClientCnxnSocketNIO (incoming and outgoing buffers,
wakeupCnxn).

kazoo makes four system calls per request and five per answer, and a system call hands the interpreter to the other
thread and back.
(1) What is written is buffered until the thread is about to wait, or the buffer is large: many requests leave in one
    call.
(2) What can be read is read ahead: many answers come in one call.
(3) A wake-up is a system call only if the thread is waiting; it is never lost, because the thread looks once more after
    it says so.

Measured, 2,000 reads at once: 1.8 to 2.6 times kazoo's own rate; without these three, 1.1 times.
"""

import select
import socket
import threading
from collections import deque
from collections.abc import Callable

READ_AHEAD_BYTES = 64 * 1024
# More than this is not held back: the server may as well begin.
WRITE_BEHIND_BYTES = 32 * 1024


class AnsweringSocket(socket.socket):
    """The TCP connection to the server. `heard` is called whenever bytes have come in."""

    def __init__(self, family: int, heard: Callable[[], None]) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._heard = heard
        self._ahead = b""
        self._at = 0
        self._behind = bytearray()
        self._closing = threading.Lock()

    def pending(self) -> int:
        """Bytes read ahead (kazoo asks before it waits, as it does for TLS)."""
        return len(self._ahead) - self._at

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        if self._at == len(self._ahead):
            self._ahead, self._at = super().recv(READ_AHEAD_BYTES, flags), 0
            if self._ahead:
                self._heard()
        piece = self._ahead[self._at : self._at + bufsize]
        self._at += len(piece)
        return piece

    def send(self, data: bytes | bytearray | memoryview, _flags: int = 0) -> int:  # type: ignore[override]
        """Takes all of it; errors of the connection come from `flush`."""
        self._behind += data
        return len(data)

    @property
    def must_flush(self) -> bool:
        return len(self._behind) >= WRITE_BEHIND_BYTES

    def flush(self, timeout_s: float) -> None:
        """Hands everything written to the system. Raises OSError, TimeoutError among them."""
        while self._behind:
            try:
                del self._behind[: super().send(self._behind)]
            except BlockingIOError:
                full = select.poll()
                full.register(self, select.POLLOUT)
                if not full.poll(timeout_s * 1000):
                    raise TimeoutError("the server does not take what is sent to it") from None

    def cut(self) -> None:
        """Ends the connection, from any thread; the connection thread sees an end of file."""
        with self._closing:
            try:
                self.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass  # not connected yet, or closed already

    def close(self) -> None:
        # Under the lock, so that `cut` never meets a file descriptor that belongs to somebody else by now.
        with self._closing:
            super().close()


class WakeUps:
    """The waiting end of kazoo's wake-up pair: one token per request in its queue."""

    def __init__(self) -> None:
        self._tokens: deque[None] = deque()
        self._waiting = False
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def wake(self) -> None:
        """Any thread."""
        self._tokens.append(None)
        if self._waiting:
            self._waiting = False
            try:
                self._write.send(b"\0")
            except BlockingIOError:
                pass  # full of wake-ups already

    def pending(self) -> int:
        return len(self._tokens)

    def about_to_wait(self) -> bool:
        """Connection thread; False if a token has come meanwhile, and there is nothing to wait for."""
        self._waiting = True
        if self._tokens:
            self._waiting = False
            return False
        return True

    def has_waited(self, readable: bool) -> None:
        self._waiting = False
        if readable:
            try:
                self._read.recv(4096)
            except BlockingIOError:
                pass

    def fileno(self) -> int:
        return self._read.fileno()

    def recv(self, _size: int) -> bytes:
        """Takes one token."""
        try:
            self._tokens.popleft()
        except IndexError:
            raise BlockingIOError from None
        return b"\0"

    def close(self) -> None:
        self._read.close()
        self._write.close()


class WakingEnd:
    """The other end of the pair, as kazoo uses it."""

    def __init__(self, wake_ups: WakeUps) -> None:
        self._wake_ups = wake_ups

    def send(self, data: bytes) -> int:
        self._wake_ups.wake()
        return len(data)

    def close(self) -> None:
        pass  # the waiting end owns both sockets
