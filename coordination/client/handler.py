"""What kazoo's connection thread runs on: its sockets, its waiting, its results. The thread is kazoo's, the terms are
ours.

In: kazoo's calls on its handler (see kazoo.interfaces.IHandler).  Out: results and watch events handed to `post`, in
the order the server sent them; `last_heard_s`.
Knows nothing of trio, znodes or sessions.  Answers to kazoo's SequentialThreadingHandler and ConnectionHandler.

(1) One thread per session, and no other: completions and watch events go straight from the connection thread to `post`.
(2) The server is *heard* when bytes of it are read: not when a request is sent, not when the socket closes.
(3) A server that has not been heard for 2/3 of the session timeout is left, also while requests are being written to
    it.
(4) Pings leave at the latest every 2/3 of that time, and at most 20 times in a session timeout, whatever the timeout.
(5) Nothing here logs a request, a credential or a session password, and no failure of the thread reaches stderr.
"""

# kazoo has no types; everything that comes from it is Any here, and typed in client.py.
# mypy: disable-error-code=no-untyped-call

import errno
import logging
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from typing import Any

from kazoo.handlers.utils import AsyncResult, create_socket_pair
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Connect

READ_AHEAD_BYTES = 64 * 1024
# Parts of the session timeout.
SILENCE = 2 / 3  # a server silent for so long is left (ZooKeeper's client: readTimeout)
TICK = 1 / 6  # how often the connection thread looks at the clock
PING_GAP = 1 / 20  # no two pings closer than this
# What a tick cannot be shorter than, so that a tiny session timeout is no busy loop.
TICK_MIN_S = 0.010
# The shortest patience with a handshake or the middle of a frame, so that a tiny session timeout can be negotiated at
# all.
PATIENCE_MIN_S = 0.100

log = logging.getLogger("coordination.client")
# A library does not write to stderr by itself (logging's last resort would); a program that configures logging hears
# us.
log.addHandler(logging.NullHandler())
logging.getLogger("kazoo").addHandler(logging.NullHandler())


class ServerSilentError(Exception):
    """The server did not answer in time; kazoo takes it as a lost connection."""


class QuietLog:
    """The logger kazoo gets: connection changes go on one level lower, what may hold requests or passwords goes
    nowhere.
    """

    def _nowhere(self, *_args: object, **_kwargs: object) -> None:
        pass

    log = debug = _nowhere

    def info(self, message: str, *args: object, **_kwargs: object) -> None:
        log.debug(message, *args)

    def warning(self, message: str, *args: object, **_kwargs: object) -> None:
        log.info(message, *args)

    warn = warning

    def error(self, message: str, *args: object, **_kwargs: object) -> None:
        log.warning(message, *args)

    # kazoo's `exception` comes with a traceback whose locals we do not know; the failure itself is kept by `spawn`.
    exception = error


class AnsweringSocket(socket.socket):
    """A TCP socket that reads ahead, so that a small frame costs one system call, and tells when it heard something."""

    def __init__(self, family: int, heard: Callable[[], None]) -> None:
        super().__init__(family, socket.SOCK_STREAM)
        self._heard = heard
        self._ahead = b""
        self._at = 0
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


class InlineResult(AsyncResult):
    """kazoo's future; its callbacks run in the connection thread, which hands them on at once."""

    def __init__(self, handler: "BridgeHandler") -> None:
        super().__init__(handler, threading.Condition, ServerSilentError)


class BridgeHandler:
    """kazoo's IHandler for a program whose event loop is elsewhere. `post(function, *arguments)` must not block."""

    name = "coordination_bridge_handler"
    timeout_exception = ServerSilentError
    queue_impl = Queue
    queue_empty = Empty
    # kazoo runs completions on a worker thread of the handler while `running`; ours go straight to the event loop.
    running = False

    def __init__(self, session_timeout_ms: int, post: Callable[..., None]) -> None:
        self.session_timeout_s = session_timeout_ms / 1000
        self.host_count = 1
        self.last_heard_s = time.monotonic()
        self.crash: Exception | None = None
        self.sleep_func = self._sleep
        self._post = post
        self._hurry = threading.Event()
        self._finish_by_s: float | None = None
        self._socket: AnsweringSocket | None = None

    # -- from any thread ---------------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Ends the present TCP connection or connection attempt, and skips the pause before the next."""
        self._hurry.set()
        current = self._socket
        if current is not None:
            current.cut()

    def finish_by(self, deadline_s: float) -> None:
        """From now on nothing waits beyond this monotonic instant, and no pause is made."""
        self._finish_by_s = deadline_s
        self._hurry.set()

    # -- kazoo's interface, in the connection thread -------------------------------------------------------------------

    def start(self) -> None:
        pass

    def stop(self) -> None:
        pass

    def spawn(self, function: Callable[..., object], *args: object, **kwargs: object) -> threading.Thread:
        def run() -> None:
            try:
                function(*args, **kwargs)
            except Exception as error:
                self.crash = error

        thread = threading.Thread(target=run, name="coordination-client", daemon=True)
        thread.start()
        return thread

    def dispatch_callback(self, callback: Any) -> None:
        self._post(callback.func, *callback.args)

    def async_result(self) -> InlineResult:
        return InlineResult(self)

    def event_object(self) -> threading.Event:
        return threading.Event()

    def lock_object(self) -> threading.Lock:
        return threading.Lock()

    def rlock_object(self) -> threading.RLock:
        return threading.RLock()

    def create_socket_pair(self) -> Any:
        return create_socket_pair(socket)

    def create_connection(
        self, address: tuple[str, int], *_args: object, timeout: float | None = None, **_tls: object
    ) -> AnsweringSocket:
        host, port = address
        new = AnsweringSocket(socket.AF_INET6 if ":" in host else socket.AF_INET, self._note_heard)
        self._socket = new
        try:
            new.setblocking(False)
            new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = new.connect_ex((host, port))
            if error == errno.EINPROGRESS:
                # An even share of the session timeout for each server: one black hole must not cost the session.
                self.select([], [new], [], min(timeout or math.inf, self.session_timeout_s / self.host_count))
                error = new.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise OSError(error, os.strerror(error))
            new.getpeername()  # refuses what is not connected after all: timed out, or cut
            return new
        except BaseException:
            new.close()
            raise

    def select(
        self, rlist: Sequence[Any], wlist: Sequence[Any], _xlist: Sequence[Any], timeout: float | None = None
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """As select.select, on poll(2), with what was read ahead, the session's clock and the closing deadline in
        it.
        """
        ahead = [s for s in rlist if isinstance(s, AnsweringSocket) and s.pending()]
        by_fd: dict[int, Any] = {}
        poller = select.poll()
        for waiting, mask in ((rlist, select.POLLIN), (wlist, select.POLLOUT)):
            for s in waiting:
                if s not in ahead:
                    by_fd[s.fileno()] = s
                    poller.register(s, mask)
        in_main_loop = (
            len(rlist) == 2
        )  # the server and kazoo's wake-up socket; everything else is the middle of a frame
        wait_s = 0.0 if ahead else self._bounded(timeout, in_main_loop)
        ready = [by_fd[fd] for fd, _ in poller.poll(wait_s * 1000)] + ahead
        if ready:
            return [s for s in ready if s in rlist], [s for s in ready if s in wlist], []
        now_s = time.monotonic()
        if self._finish_by_s is not None and now_s >= self._finish_by_s:
            raise self.timeout_exception("closing")
        if not in_main_loop:
            return [], [], []
        if now_s - self.last_heard_s >= self.session_timeout_s * SILENCE:
            raise self.timeout_exception(f"nothing heard from the server for {now_s - self.last_heard_s:.3f} s")
        # Not empty, which kazoo would take for a missing pong, and neither of its sockets: "look at the clock".
        return [self], [], []

    # -- inside --------------------------------------------------------------------------------------------------------

    def _bounded(self, timeout: float | None, in_main_loop: bool) -> float:
        wait_s = self.session_timeout_s if timeout is None else timeout
        if in_main_loop:
            wait_s = min(wait_s, max(self.session_timeout_s * TICK, TICK_MIN_S))
        else:
            wait_s = max(wait_s, PATIENCE_MIN_S)
        if self._finish_by_s is not None:
            wait_s = min(wait_s, max(self._finish_by_s - time.monotonic(), 0.0))
        return wait_s

    def _note_heard(self) -> None:
        self.last_heard_s = time.monotonic()

    def _sleep(self, seconds: float) -> None:
        if self._hurry.wait(seconds) and self._finish_by_s is None:
            self._hurry.clear()


class BridgeConnection(ConnectionHandler):
    """kazoo's connection, with the negotiated timeout kept and the pings at an even pace."""

    def __init__(self, client: Any, retry_sleeper: Any, handler: BridgeHandler) -> None:
        super().__init__(client, retry_sleeper, logger=QuietLog())
        self._bridge_handler = handler
        self._last_ping_s = 0.0

    def _invoke(self, timeout: float, request: Any, xid: int | None = None) -> Any:
        answer = super()._invoke(timeout, request, xid)
        if isinstance(request, Connect) and answer[0].time_out > 0:
            self._bridge_handler.session_timeout_s = answer[0].time_out / 1000
        return answer

    def _send_ping(self, connect_timeout: float) -> None:
        # kazoo subtracts up to 0.4 s of jitter from its ping time, which below a timeout of 1.2 s means a ping after
        # every pong.
        now_s = time.monotonic()
        if now_s - self._last_ping_s >= self._bridge_handler.session_timeout_s * PING_GAP:
            self._last_ping_s = now_s
            super()._send_ping(connect_timeout)
