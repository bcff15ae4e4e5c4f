"""Service: the supervisor's own client of the coordination service, and the last picture of the znodes taken with it.

In: a connect string. Out: a connected client for whoever needs one, pictures, `coordination_suspended` and `_resumed`
events. Answers what it last knew when the service does not answer; decides nothing.

(1) One session for everything the supervisor itself wants to know or write; nothing hangs on it, so its timeout is
    long.
(2) A lost session is replaced, never silently: both changes are events.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

import coordination
from brokerdemo.cluster import znode_view
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.event_log import EventLog

# Within what a stock ensemble grants.
OWN_SESSION_TIMEOUT_MS = 10_000
PICTURE_WITHIN_S = 1.0


class Service:
    """See the module. `run` holds the session; the other methods wait for it."""

    def __init__(self, log: EventLog, heard: znode_view.Heard) -> None:
        self.last_picture = znode_view.Picture()
        self.connect = ""
        self._log = log
        self._heard = heard
        self._zk: coordination.Client | None = None
        self._zk_ready = trio.Event()
        self._zk_error: ClusterError | None = None

    async def run(self, connect: str) -> None:
        """Hold a session until cancelled; a new one whenever it is lost."""
        self.connect = connect
        try:
            async with coordination.connect(connect, session_timeout_ms=OWN_SESSION_TIMEOUT_MS) as zk:
                self._zk = zk
                self._zk_ready.set()
                await self._follow_session(zk)
        except* coordination.NotConnectedError as group:
            if self._zk is not None:
                raise
            self._zk_error = ClusterError(
                Code.ENVIRONMENT,
                f"no coordination service answers at {self.connect}",
                str(group.exceptions[0]),
                "start it, or leave out --connect for the embedded one",
            )
            self._zk_ready.set()

    async def _follow_session(self, zk: coordination.Client) -> None:
        connected = True
        async for state in zk.states():
            if state is coordination.ConnectionState.CONNECTED:
                if not connected:
                    self._log.emit("coordination_resumed", session=f"{zk.session_id:#x}")
                connected = True
                continue
            if connected:
                self._log.emit("coordination_suspended")
            connected = False
            if state is coordination.ConnectionState.LOST:
                await self._new_session(zk)

    async def _new_session(self, zk: coordination.Client) -> None:
        """However long the service is away: brokers need their supervisor meanwhile."""
        while True:
            try:
                await zk.new_session()
            except coordination.NotConnectedError:
                continue  # it has waited for as long as it waits for a connection
            return

    async def connected(self) -> coordination.Client:
        """The client, once it is connected."""
        await self._zk_ready.wait()
        if self._zk is None:
            assert self._zk_error is not None
            raise self._zk_error
        await self._zk.wait_for(coordination.ConnectionState.CONNECTED)
        return self._zk

    @asynccontextmanager
    async def client(self, what: str) -> AsyncIterator[coordination.Client]:
        """The connected client; the service's refusals become errors a person can act on."""
        await self._zk_ready.wait()
        if self._zk is None:
            assert self._zk_error is not None
            raise self._zk_error
        try:
            yield self._zk
        except (
            coordination.ConnectionLossError,
            coordination.SessionExpiredError,
            coordination.NotConnectedError,
        ) as error:
            raise ClusterError(
                Code.UNHEALTHY,
                f"{what}: the coordination service does not answer",
                str(error),
                "brokerdemo status, then again",
            ) from error

    async def picture(self, *, must: bool = False) -> znode_view.Picture:
        """The znodes now; with `must` a ClusterError (6) when they cannot be read, else the last that was known."""
        picture, fresh = await self.picture_if_any()
        if must and not fresh:
            raise ClusterError(
                Code.UNHEALTHY, "the coordination service does not answer", f"{self.connect}", "brokerdemo status"
            )
        return picture

    async def picture_if_any(self) -> tuple[znode_view.Picture, bool]:
        """The znodes now, or the last that was known; and which of the two it is."""
        with trio.move_on_after(PICTURE_WITHIN_S):
            try:
                await self._zk_ready.wait()
                if self._zk is None:
                    return self.last_picture, False
                self.last_picture = await znode_view.read(self._zk)
                return self.last_picture, True
            except* coordination.CoordinationError:
                pass
        known = self.last_picture if self.last_picture.partitions else self._heard.picture()
        known.controller = self._heard.controller or known.controller
        return known, False
