"""The one crossing between trio and kazoo's connection thread: a session, its calls, its states, its end.

In: kazoo's asynchronous operations.  Out: their answers in the task that asked; watch events and states in the trio
thread.
Knows no znode semantics and retries nothing.  Answers to ZooKeeper's ClientCnxn (which owns the send thread and the
event thread).

(1) What the connection thread hands over arrives in the trio thread in the same order: a watch event before the reply
    that follows it on the wire. Many letters share one wake-up.
(2) A call that is cancelled leaves kazoo as it is: the request stays sent, its answer is dropped when it comes.
(3) A bridge is one session. When the session is over the connection thread ends, every waiting call fails with the
    reason, and nothing is ever sent on a new session in its place (kazoo by itself would start one).
(4) A planned re-attach (`reattach`) is no loss of the connection: calls wait until it is done, and SUSPENDED is told
    only if it fails.
(5) `aclose` returns within its time, whether or not there is a server.

Measured on two busy cores: from an event's bytes read off the socket to the waiting task 0.3 ms at the median, 0.9 ms
at p99. kazoo's own handler would add a worker thread between the two, and starts three threads per client where this is
one.
"""

# mypy: untyped-calls-exclude=kazoo

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import outcome
import trio
from kazoo.client import KazooClient
from kazoo.protocol.states import KazooState, KeeperState
from kazoo.retry import KazooRetry

from coordination.client.connection_state import ConnectionState, StateBoard
from coordination.client.failures import ConnectionClosedError, NotConnectedError, translate
from coordination.client.handler import BridgeConnection, BridgeHandler, QuietLog
from coordination.errors import (
    AuthFailedError,
    ConnectionLossError,
    CoordinationError,
    KeeperError,
    RemoteProtocolError,
    SessionExpiredError,
)
from coordination.secret import Secret

# Between attempts to connect: soon after a restart, and never a busy loop while a server stays away.
RETRY_FIRST_S = 0.015
RETRY_MAX_S = 0.200
RETRY_GROWTH = 1.6
RETRY_JITTER = 0.2
# Beyond the closing deadline, for the thread that waits for the connection thread to end.
JOIN_GRACE_S = 0.5

_STATES = {
    KazooState.CONNECTED: ConnectionState.CONNECTED,
    KazooState.SUSPENDED: ConnectionState.SUSPENDED,
    KazooState.LOST: ConnectionState.LOST,
}


class Mailbox:
    """Letters from any thread, delivered in the trio thread in order, one wake-up for as many as have come."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._letters: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._awake = False

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        """Any thread. `function` must not raise. After the trio run has ended letters are dropped."""
        self._letters.append((function, arguments))
        if not self._awake:
            self._awake = True
            try:
                self._token.run_sync_soon(self._deliver)
            except trio.RunFinishedError:
                self._letters.clear()

    def _deliver(self) -> None:
        # First the flag, then the count: a letter that finds the flag still up is counted, any later one wakes again.
        self._awake = False
        for _ in range(len(self._letters)):
            function, arguments = self._letters.popleft()
            function(*arguments)


class _Call:
    """One request on its way, and the task that waits for its answer (None once it does not)."""

    __slots__ = ("path", "post", "task")

    def __init__(self, post: Callable[..., None], path: str) -> None:
        self.post = post
        self.path = path
        self.task: trio.lowlevel.Task | None = trio.lowlevel.current_task()

    def answered(self, result: Any) -> None:
        """Connection thread."""
        self.post(self.settle, result)

    def settle(self, result: Any) -> None:
        if result.exception is None:
            self._wake(outcome.Value(result.value))
        else:
            self.fail(translate(result.exception, self.path))

    def fail(self, error: BaseException) -> None:
        self._wake(outcome.Error(error))

    def _wake(self, what: "outcome.Outcome[Any]") -> None:
        task, self.task = self.task, None
        if task is not None:
            trio.lowlevel.reschedule(task, what)

    def abandon(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Bridge:
    """One session with a coordination service, over one kazoo client and its one thread."""

    def __init__(
        self,
        hosts: str,
        *,
        session_timeout_ms: int,
        auth: Sequence[tuple[str, str]],
        read_only: bool,
        board: StateBoard,
        ended: Callable[[], None],
    ) -> None:
        self.session_id = 0
        self.session_password = Secret(bytes(16))
        self._hosts = hosts
        self._board = board
        self._ended = ended  # told once the session is over, before anything else can happen
        self._mailbox = Mailbox(trio.lowlevel.current_trio_token())
        self._calls: set[_Call] = set()
        self._idle = trio.Event()
        self._over: CoordinationError | None = None
        self._closing = False
        self._held: trio.Event | None = None  # set while calls wait for a planned re-attach
        self._attached = trio.Event()
        self._handler = BridgeHandler(session_timeout_ms, self._mailbox.post)
        pause = {"max_tries": -1, "delay": RETRY_FIRST_S, "max_delay": RETRY_MAX_S, "backoff": RETRY_GROWTH}
        kazoo: Any = KazooClient(
            hosts=hosts,
            handler=self._handler,
            auth_data=set(auth),
            read_only=read_only,
            connection_retry=KazooRetry(**pause, max_jitter=RETRY_JITTER, sleep_func=self._handler.sleep_func),
            logger=QuietLog(),
        )
        kazoo._session_timeout = session_timeout_ms  # the constructor takes seconds and rounds
        kazoo._connection = BridgeConnection(kazoo, kazoo._conn_retry.copy(), self._handler)
        kazoo.add_listener(self._state_changed)
        self._handler.host_count = len(kazoo.hosts)
        self.kazoo = kazoo

    # -- life ----------------------------------------------------------------------------------------------------------

    @property
    def session_timeout_ms(self) -> int:
        """What the server granted, ms."""
        return round(self._handler.session_timeout_s * 1000)

    @property
    def last_heard_s(self) -> float:
        """`time.monotonic()` of the last bytes from the server, pongs included."""
        return self._handler.last_heard_s

    async def open(self, connect_timeout_ms: int) -> None:
        """Returns connected. Raises `NotConnectedError` after the timeout, `AuthFailedError` when refused."""
        self.kazoo.start_async()
        with trio.move_on_after(connect_timeout_ms / 1000) as patience:
            await self._attached.wait()
        if patience.cancelled_caught:
            raise NotConnectedError(
                "",
                f"no coordination server at {self._hosts} answered within {connect_timeout_ms} ms; "
                "nothing was executed; check that it runs and that the address is right",
            )
        self.refuse_if_over()

    async def aclose(self, within_ms: int) -> None:
        """Closes the session (deletes its ephemerals) and returns within about `within_ms`; never raises for a server
        that is gone.
        """
        with trio.CancelScope(shield=True):
            if not self._closing:
                self._closing = True
                self._finish(ConnectionClosedError())
                self._handler.finish_by(time.monotonic() + within_ms / 1000)
                if not self.kazoo.connected:
                    self._handler.cut()
                with trio.move_on_after(within_ms / 1000 + JOIN_GRACE_S):
                    await trio.to_thread.run_sync(self._stop_kazoo, abandon_on_cancel=True)
                self._board.publish(ConnectionState.LOST)

    def _stop_kazoo(self) -> None:
        """Worker thread: waits for the connection thread, which the closing deadline ends."""
        if self.kazoo._stopped.is_set():
            self.kazoo._connection.stop()  # it lost its session and is ending by itself
        else:
            self.kazoo.stop()
        self.kazoo.close()

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def call(self, path: str, operation: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The answer of one of kazoo's `..._async` operations; its errors become ours, about `path`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while self._held is not None:
            await self._held.wait()
        self.refuse_if_over(path)
        call = _Call(self._mailbox.post, path)
        self._calls.add(call)
        try:
            operation(*arguments, **options).rawlink(call.answered)
            return await trio.lowlevel.wait_task_rescheduled(call.abandon)
        finally:
            self._calls.discard(call)
            if not self._calls:
                self._idle.set()

    def refuse_if_over(self, path: str = "") -> None:
        """Raises what ended the session, if it is over."""
        if self._over is not None:
            raise self._over_error(path)

    def _over_error(self, path: str) -> CoordinationError:
        """A fresh exception each time: one object raised in several tasks would collect all their tracebacks."""
        assert self._over is not None
        over = self._over
        return type(over)(path) if isinstance(over, KeeperError) else type(over)(*over.args)

    # -- states --------------------------------------------------------------------------------------------------------

    def _state_changed(self, state: str) -> None:
        """Connection thread, inside kazoo's own transition."""
        if state == KazooState.LOST:
            # kazoo would go on to a new session under the same client; ours ends here.
            self.kazoo._stopped.set()
            self._handler.finish_by(time.monotonic())
            self._mailbox.post(self._lost, self.kazoo.client_state)
            return
        if state == KazooState.CONNECTED:
            self._mailbox.post(self._connected, *self.kazoo.client_id)
        self._mailbox.post(self._told, _STATES[state])

    def _connected(self, session_id: int, password: bytes) -> None:
        self.session_id, self.session_password = session_id, Secret(password)

    def _told(self, state: ConnectionState) -> None:
        if self._over is not None or (state is ConnectionState.SUSPENDED and self._held is not None):
            return
        self._board.publish(state)
        if state is ConnectionState.CONNECTED:
            self._attached.set()

    def _lost(self, keeper_state: str) -> None:
        if self._closing:
            return  # aclose tells it
        if keeper_state == KeeperState.EXPIRED_SESSION:
            why: CoordinationError = SessionExpiredError()
        elif keeper_state == KeeperState.AUTH_FAILED:
            why = AuthFailedError()
        else:
            why = RemoteProtocolError(f"the answers of {self._hosts} cannot be understood: {self._handler.crash!r}")
        self._finish(why)
        self._board.publish(ConnectionState.LOST)

    def _finish(self, why: CoordinationError) -> None:
        if self._over is None:
            self._over = why
        for call in list(self._calls):
            call.fail(self._over_error(call.path))
        self._ended()
        self._attached.set()

    @property
    def is_over(self) -> bool:
        return self._over is not None

    # -- the session timeout, live -------------------------------------------------------------------------------------

    async def reattach(self, session_timeout_ms: int, within_ms: int) -> int:
        """Drops the connection and attaches the same session again with another timeout; the timeout granted, ms.

        Servers read the timeout anew at every attachment (ZooKeeper's reopenSession). Raises `ConnectionLossError` if
        that takes longer than `within_ms`; the new timeout is then asked for whenever the connection comes back.
        """
        while self._held is not None:
            await self._held.wait()
        self.refuse_if_over()
        self._held = trio.Event()
        try:
            with trio.move_on_after(within_ms / 1000):
                while self._calls:
                    self._idle = trio.Event()
                    await self._idle.wait()
                self._attached = trio.Event()
                self.kazoo._session_timeout = session_timeout_ms
                self._handler.cut()
                await self._attached.wait()
                self.refuse_if_over()
                return self.session_timeout_ms
            raise ConnectionLossError(
                "", f"the session was not attached again within {within_ms} ms to change its timeout"
            )
        finally:
            self._held.set()
            self._held = None
            if not self.kazoo.connected and not self.is_over:
                self._board.publish(ConnectionState.SUSPENDED)
