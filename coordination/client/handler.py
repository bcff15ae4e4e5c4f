"""What kazoo's connection thread runs on: its sockets, its waiting, its results. The thread is kazoo's, the terms are
ours.

In: kazoo's calls on its handler (see kazoo.interfaces.IHandler).  Out: results and watch events handed to `post`, in
the order the server sent them; `last_heard_s`.
Knows nothing of trio, znodes or sessions.  Answers to kazoo's SequentialThreadingHandler and ConnectionHandler.

(1) One thread per session, and no other: completions and watch events go straight from the connection thread to `post`.
(2) The server is *heard* when bytes of it are read: not when a request is sent, not when the socket closes. What counts
    is when the thread began to wait for them: a process that was stopped reads bytes that are as old as its sleep.
(3) A server that has not been heard for 2/3 of the session timeout is left, also while requests are being written to
    it.
(4) Pings leave at the latest every 2/3 of that time, and at most 20 times in a session timeout, whatever the timeout.
(5) Nothing here logs a request, a credential or a session password, and no failure of the thread reaches stderr.
"""

# kazoo has no types; everything that comes from it is Any here, and typed in client.py.
# mypy: disable-error-code=no-untyped-call

import errno
import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, Queue
from typing import Any

from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Connect

from coordination.client.sockets import AnsweringSocket, WakeUps, WakingEnd

# In a burst of requests the server is looked at once in so many.
REQUESTS_PER_LOOK = 32
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


class InlineResult:
    """kazoo's future (IAsyncResult), without the waiting: its callbacks run where it is settled, in the connection
    thread.
    """

    __slots__ = ("_callbacks", "_lock", "_settled", "exception", "value")

    def __init__(self) -> None:
        self.value: Any = None
        self.exception: BaseException | None = None
        self._settled = False
        self._callbacks: list[Callable[[InlineResult], object]] = []
        self._lock = threading.Lock()

    def ready(self) -> bool:
        return self._settled

    def successful(self) -> bool:
        return self._settled and self.exception is None

    def set(self, value: object = None) -> None:
        self._settle(value, None)

    def set_exception(self, exception: BaseException) -> None:
        self._settle(None, exception)

    def _settle(self, value: object, exception: BaseException | None) -> None:
        with self._lock:
            self.value, self.exception, self._settled = value, exception, True
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def rawlink(self, callback: "Callable[[InlineResult], object]") -> None:
        """Calls back once settled, at once if it is."""
        with self._lock:
            if not self._settled:
                self._callbacks.append(callback)
                return
        callback(self)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The outcome; never waits, because nobody waits in a thread here."""
        if not self._settled:
            raise ServerSilentError("not answered yet")
        if self.exception is not None:
            raise self.exception
        return self.value


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
        self._looked_ago = 0
        self._waiting_since_s = self.last_heard_s

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
        return InlineResult()

    def event_object(self) -> threading.Event:
        return threading.Event()

    def lock_object(self) -> threading.Lock:
        return threading.Lock()

    def rlock_object(self) -> threading.RLock:
        return threading.RLock()

    def create_socket_pair(self) -> tuple[WakeUps, WakingEnd]:
        waiting = WakeUps()
        return waiting, WakingEnd(waiting)

    def create_connection(
        self, address: tuple[str, int], *_args: object, timeout: float | None = None, **_tls: object
    ) -> socket.socket:
        host, port = address
        if timeout is None:
            # kazoo's look for a writable server while it is connected to a read-only one: a word and its answer,
            # blocking.
            return socket.create_connection(address, PATIENCE_MIN_S)
        new = AnsweringSocket(socket.AF_INET6 if ":" in host else socket.AF_INET, self._note_heard)
        self._socket = new
        try:
            new.setblocking(False)
            new.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            error = new.connect_ex((host, port))
            if error == errno.EINPROGRESS:
                # An even share of the session timeout for each server: one black hole must not cost the session.
                wait_s = min(timeout, self.session_timeout_s / self.host_count)
                connecting = select.poll()
                connecting.register(new, select.POLLOUT)
                connecting.poll(self._bounded(wait_s, False) * 1000)
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
        """As select.select, for the two kinds of sockets kazoo has from us, with the session's clock in it.

        kazoo waits for the server alone in the middle of a frame, and for the server and its requests in its main loop.
        """
        if wlist:
            return [], list(wlist), []  # our socket takes everything at once
        server = rlist[0]
        if len(rlist) == 1:
            if not server.pending() and not self._poll(server, None, self._bounded(timeout, False)):
                self._refuse_to_finish_late()
                return [], [], []
            return [server], [], []
        requests = rlist[1]
        if requests.pending() and self._looked_ago < REQUESTS_PER_LOOK and not server.must_flush:
            self._looked_ago += 1
            return ([server, requests] if server.pending() else [requests]), [], []
        self._looked_ago = 0
        wait_s = 0.0 if server.pending() else self._bounded(timeout, True)
        ready = self._poll(server, requests, wait_s)
        if server.pending() and server not in ready:
            ready.insert(0, server)
        if ready:
            return ready, [], []
        self._refuse_to_finish_late()
        silent_s = time.monotonic() - self.last_heard_s
        if silent_s >= self.session_timeout_s * SILENCE:
            raise self.timeout_exception(f"nothing heard from the server for {silent_s:.3f} s")
        # Not empty, which kazoo would take for a missing pong, and neither of its sockets: "look at the clock".
        return [self], [], []

    def _poll(self, server: AnsweringSocket, requests: WakeUps | None, wait_s: float) -> list[Any]:
        """Which of them are ready, after everything written has left."""
        server.flush(self._bounded(None, False))
        poller = select.poll()
        poller.register(server, select.POLLIN)
        if requests is not None:
            poller.register(requests, select.POLLIN)
            if not requests.about_to_wait():
                wait_s = 0.0
        self._waiting_since_s = time.monotonic()
        fds = {fd for fd, _ in poller.poll(wait_s * 1000)}
        ready: list[Any] = [server] if server.fileno() in fds else []
        if requests is not None:
            requests.has_waited(requests.fileno() in fds)
            if requests.pending():
                ready.append(requests)
        return ready

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

    def _refuse_to_finish_late(self) -> None:
        if self._finish_by_s is not None and time.monotonic() >= self._finish_by_s:
            raise self.timeout_exception("closing")

    def _note_heard(self) -> None:
        self.last_heard_s = max(self.last_heard_s, self._waiting_since_s)

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
