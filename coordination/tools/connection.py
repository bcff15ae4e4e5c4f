"""One session with a ZooKeeper server over blocking sockets, kept alive by one thread: what the tools talk through.

In: requests of `wire.requests`, from any thread.  Out: replies to whoever waits for them; events to one callback.
Knows what a frame and a session are, nothing of znodes: `client` does.  Answers to ZooKeeper's ClientCnxn.

(1) Only the thread of this connection touches its socket; the callback runs on it too, so events come in the order of
    the wire.
(2) A request is answered once: by its reply, or by a `KeeperError`. It is never sent twice: when the connection goes
    away before the reply came, that is `ConnectionLossError`, and the caller decides.
(3) A lost connection is made anew, to the next server of the list, with the same session, its identities and its
    watches; an expired session is final.
(4) An event is handed on before a reply that came behind it on the wire.
(5) Passwords and credentials are in no message.
"""

import os
import random
import selectors
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from typing import Self

from coordination.errors import (
    AuthFailedError,
    ConnectionLossError,
    KeeperError,
    NoNodeError,
    RemoteProtocolError,
    SessionExpiredError,
)
from coordination.tools.connect_string import ConnectString
from coordination.tools.dial import DIAL_TIMEOUT_S, LostError, attach, reason_of, received, send_some
from coordination.tools.pending import Pending, Reply
from coordination.tools.watch_table import Event, WatchTable
from coordination.wire import opcodes
from coordination.wire.frames import FrameBuffer
from coordination.wire.records import ConnectRequest, ConnectResponse
from coordination.wire.replies import decode_event, decode_header
from coordination.wire.requests import Auth, CloseSession, Ping, Request, encode

# A client takes larger frames than a server: a reply may hold many children (jute.maxbuffer of the Java client).
REPLY_BYTES_MAX = 64 << 20
_RETRY_S = (0.05, 1.0)
_CLOSE_TIMEOUT_S = 3.0


class State(Enum):
    """ZooKeeper.States, by its names."""

    CONNECTING = "CONNECTING"
    CONNECTED = "CONNECTED"
    CONNECTEDREADONLY = "CONNECTEDREADONLY"
    AUTH_FAILED = "AUTH_FAILED"
    EXPIRED = "EXPIRED"
    CLOSED = "CLOSED"

    @property
    def is_connected(self) -> bool:
        return self in (State.CONNECTED, State.CONNECTEDREADONLY)

    @property
    def is_alive(self) -> bool:
        return self in (State.CONNECTING, State.CONNECTED, State.CONNECTEDREADONLY)


class Connection:
    """`start` it, `submit` requests, `close` it (or use it as a context manager)."""

    def __init__(
        self,
        connect: ConnectString,
        *,
        session_timeout_ms: int = 30_000,
        read_only: bool = False,
        tls: ssl.SSLContext | None = None,
        on_event: Callable[[Event], None] | None = None,
        session: tuple[int, bytes] = (0, bytes(16)),
    ) -> None:
        self.connect = connect
        self.session_id, self._password = session
        self.session_timeout_ms = session_timeout_ms
        self.watches = WatchTable()
        self.last_zxid = 0
        self.problem = "not connected yet"
        self.address: tuple[str, int] | None = None
        self._read_only, self._tls, self._on_event = read_only, tls, on_event
        self._wanted_timeout_ms = session_timeout_ms
        self._lock = threading.Condition()
        self._state = State.CONNECTING
        self._xid = 0
        self._outgoing: deque[bytes] = deque()
        self._pending: dict[int, Pending] = {}
        self._auth_pending: deque[Pending] = deque()
        self._auths: list[tuple[str, bytes]] = []
        self._ending = False  # closeSession is on its way: the end of the connection is then no news
        self._closing = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self._thread = threading.Thread(target=self._run, name="zookeeper connection", daemon=True)

    # -- for callers

    @property
    def state(self) -> State:
        return self._state

    def start(self, timeout_s: float = 10.0) -> None:
        """Begin to connect, and wait until that has come about. ConnectionLossError: it has not within `timeout_s`."""
        self._thread.start()
        try:
            self.wait_connected(timeout_s)
        except BaseException:
            self.close(timeout_s=0)
            raise

    def wait_connected(self, timeout_s: float) -> None:
        """Until the session is attached to a server; raises with the reason when it is not within `timeout_s`."""
        with self._lock:
            self._lock.wait_for(lambda: self._state is not State.CONNECTING, timeout_s)
            if not self._state.is_connected:
                raise self._refusal()

    def submit(self, request: Request, path: str = "", watch: tuple[str, str] | None = None) -> Pending:
        """Send `request`, whose xid is given here; `path` is for the words of an error, `watch` for the watch table."""
        pending = Pending(path, watch)
        with self._lock:
            if not self._state.is_connected:
                pending.settle(error=self._refusal(path))
                return pending
            if isinstance(request, Auth):
                self._auth_pending.append(pending)
            else:
                self._xid = self._xid % 0x7FFFFFFF + 1
                request.xid = self._xid
                self._pending[self._xid] = pending
            self._outgoing.append(encode(request))
        self._wake()
        return pending

    def call(self, request: Request, path: str = "", timeout_s: float | None = None) -> Reply:
        """`submit` and wait; without a timeout as long as the session lives."""
        return self.submit(request, path).wait(timeout_s)

    def add_auth(self, scheme: str, credential: bytes) -> None:
        """Add an identity, now and after every reconnect. AuthFailedError: refused; this client is then of no use."""
        self.submit(Auth(opcodes.XID_AUTH, scheme, credential)).wait()
        self._auths.append((scheme, credential))

    def emit(self, event: Event) -> None:
        """Hand an event to the callback (also for the ones a client makes itself)."""
        if self._on_event is not None:
            self._on_event(event)

    def close(self, timeout_s: float = _CLOSE_TIMEOUT_S) -> None:
        """End the session at the server if it can be reached, and the thread. Harmless when done twice."""
        if self._state.is_connected and timeout_s:
            self._ending = True
            with suppress(KeeperError):
                self.submit(CloseSession(0)).wait(timeout_s)
        self._closing.set()
        self._wake()
        if self._thread.is_alive() and threading.current_thread() is not self._thread:
            self._thread.join(DIAL_TIMEOUT_S + 1)
        with self._lock:
            news = self._state.is_alive
            if self._state is not State.CLOSED:
                self._state = State.CLOSED
                self._drop(ConnectionLossError("", "this client was closed"))
            if self._wake_read >= 0 and not self._thread.is_alive():
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_read = self._wake_write = -1
        if news and self._ending:
            self.emit(Event(-1, "Closed", None))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the thread

    def _run(self) -> None:
        order = list(self.connect.addresses)
        random.shuffle(order)
        failures = 0
        while not (self._closing.is_set() or self._ending) and self._state.is_alive:
            self.address = order[0]
            order.append(order.pop(0))
            try:
                hello = ConnectRequest(
                    0, self.last_zxid, self._wanted_timeout_ms, self.session_id, self._password, self._read_only
                )
                sock, answer = attach(self.address, hello, self._tls)
            except (OSError, LostError, RemoteProtocolError) as error:
                self._lose(self.address, error)
                failures += 1
                if failures % len(order) == 0:
                    self._closing.wait(min(_RETRY_S[0] * 2 ** (failures // len(order)), _RETRY_S[1]))
                continue
            except SessionExpiredError:
                self._finish(State.EXPIRED, "Expired", SessionExpiredError())
                return
            failures = 0
            with sock:
                self._begin(answer)
                try:
                    self._serve(sock)
                except (OSError, LostError, RemoteProtocolError) as error:
                    self._lose(self.address, error)

    def _begin(self, answer: ConnectResponse) -> None:
        """The session is attached: identities and watches go first, then whoever waited."""
        with self._lock:
            self.session_id, self._password = answer.session_id, answer.password
            self.session_timeout_ms = answer.timeout_ms
            self._outgoing.clear()
            for scheme, credential in self._auths:
                self._auth_pending.append(Pending(""))
                self._outgoing.append(encode(Auth(opcodes.XID_AUTH, scheme, credential)))
            for request in self.watches.set_again(self.last_zxid):
                self._outgoing.append(encode(request))
            self._state = State.CONNECTEDREADONLY if answer.read_only else State.CONNECTED
            self.problem = ""
        # The event first: who waits for the connection may rely on having been told.
        self.emit(Event(-1, "ConnectedReadOnly" if answer.read_only else "SyncConnected", None))
        with self._lock:
            self._lock.notify_all()

    def _serve(self, sock: socket.socket) -> None:
        """Move bytes until the connection ends; returns when the client was closed."""
        frames = FrameBuffer(REPLY_BYTES_MAX)
        out = b""
        ping_s, dead_s = self.session_timeout_ms / 3000, self.session_timeout_ms * 2 / 3000
        heard = sent = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._wake_read, selectors.EVENT_READ)
            selector.register(sock, selectors.EVENT_READ)
            while not self._closing.is_set():
                now = time.monotonic()
                if now - heard > dead_s:
                    raise LostError(f"it has not answered for {now - heard:.1f} s")
                if now - sent >= ping_s:
                    out += encode(Ping(opcodes.XID_PING))
                    sent = now
                with self._lock:
                    out += b"".join(self._outgoing)
                    self._outgoing.clear()
                if out:
                    out = send_some(sock, out)
                    sent = now
                selector.modify(sock, selectors.EVENT_READ | (selectors.EVENT_WRITE if out else 0))
                selector.select(max(0.0, min(sent + ping_s, heard + dead_s) - time.monotonic()))
                with suppress(BlockingIOError):
                    os.read(self._wake_read, 4096)
                for chunk in received(sock):
                    heard = time.monotonic()
                    for buffer, start, end in frames.frames(chunk):
                        self._receive(buffer, start, end)

    def _receive(self, buffer: bytes, start: int, end: int) -> None:
        header, pos = decode_header(buffer, start, end)
        if header.zxid > 0:
            self.last_zxid = header.zxid
        if header.xid == opcodes.XID_NOTIFICATION:
            event = decode_event(buffer, pos, end)
            self.watches.fired(event.type, event.path)
            self.emit(Event(event.type, "SyncConnected", event.path, header.zxid))
        elif header.xid == opcodes.XID_AUTH:
            self._authenticated(header.err, Reply(header.zxid, buffer, pos, end))
        elif header.xid not in (opcodes.XID_PING, opcodes.XID_SET_WATCHES):
            with self._lock:
                pending = self._pending.pop(header.xid, None)
            if pending is None:
                raise LostError(f"it answered request {header.xid}, which was never sent")
            self._note_watch(pending.watch, header.err)
            if header.err:
                pending.settle_code(header.err)
            else:
                pending.settle(Reply(header.zxid, buffer, pos, end))

    def _note_watch(self, watch: tuple[str, str] | None, code: int) -> None:
        """Here and not where the reply is awaited: the watch may fire with the next frame."""
        if watch is not None and code == 0:
            self.watches.add("data" if watch[0] == "exist" else watch[0], watch[1])
        elif watch is not None and watch[0] == "exist" and code == NoNodeError.code:
            self.watches.add(*watch)

    def _authenticated(self, code: int, reply: Reply) -> None:
        with self._lock:
            pending = self._auth_pending.popleft() if self._auth_pending else Pending("")
        if code:
            self._finish(State.AUTH_FAILED, "AuthFailed", AuthFailedError())
            pending.settle_code(code)
            raise LostError("authentication failed")
        pending.settle(reply)

    def _lose(self, address: tuple[str, int], error: Exception) -> None:
        if not self._state.is_alive:
            return
        was_connected = self._state.is_connected
        self.problem = f"{address[0]}:{address[1]}: {reason_of(error)}"
        with self._lock:
            self._state = State.CONNECTING
            self._drop(
                ConnectionLossError("", f"connection lost ({self.problem}); the operation may have been executed")
            )
        if was_connected and not self._ending:
            self.emit(Event(-1, "Disconnected", None))

    def _finish(self, state: State, event: str, error: KeeperError) -> None:
        with self._lock:
            self._state = state
            self._drop(error)
            self._lock.notify_all()
        if event:
            self.emit(Event(-1, event, None))

    def _drop(self, error: KeeperError) -> None:
        """Everything under way gets `error`."""
        self._outgoing.clear()
        for pending in [*self._pending.values(), *self._auth_pending]:
            pending.settle(error=error)
        self._pending.clear()
        self._auth_pending.clear()

    def _refusal(self, path: str = "") -> KeeperError:
        if self._state is State.EXPIRED:
            return SessionExpiredError(path)
        if self._state is State.AUTH_FAILED:
            return AuthFailedError(path)
        if self._state is State.CLOSED:
            return ConnectionLossError(path, "this client was closed")
        return ConnectionLossError(path, f"not connected: {self.problem}")

    def _wake(self) -> None:
        with self._lock, suppress(OSError):  # a full pipe wakes as well; a closed one has nobody to wake
            os.write(self._wake_write, b"w")
