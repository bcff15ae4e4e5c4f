"""CONNECTED, SUSPENDED, LOST: as a value, as something to await, as a stream, and as a cancel scope.

In: `publish(state)` in the trio thread.  Out: tasks woken, scopes cancelled.
Knows nothing of kazoo or sockets.  Answers to Curator's ConnectionState, whose names kazoo uses too.

(1) SUSPENDED says the connection is gone and the session may live; LOST says the session is over. LOST is never
    skipped, however short.
(2) Whoever follows the states sees every change in order.
(3) Only a new session leads out of LOST.
"""

import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

import trio


class ConnectionState(Enum):
    CONNECTED = "connected"
    SUSPENDED = "suspended"  # the connection is gone; ephemerals live until the session timeout
    LOST = "lost"  # the session is over: expired, closed, or refused


class StateChanges:
    """An async iterator: the present state, then every change. Has no end and needs no closing."""

    def __init__(self, present: ConnectionState) -> None:
        self._unseen: deque[ConnectionState] = deque([present])
        self._arrived = trio.Event()

    def tell(self, state: ConnectionState) -> None:
        self._unseen.append(state)
        self._arrived.set()

    def __aiter__(self) -> "StateChanges":
        return self

    async def __anext__(self) -> ConnectionState:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._unseen:
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._unseen.popleft()


class StateBoard:
    """The present state, and everybody who waits for another."""

    def __init__(self) -> None:
        self.state = ConnectionState.SUSPENDED
        # Weak: a follower that was dropped in the middle of its loop is forgotten with it.
        self._followers: weakref.WeakSet[StateChanges] = weakref.WeakSet()
        self._scopes: dict[trio.CancelScope, ConnectionState] = {}

    def publish(self, state: ConnectionState) -> None:
        """Trio thread only; the same state twice is told once."""
        if state is self.state:
            return
        self.state = state
        for follower in list(self._followers):
            follower.tell(state)
        for scope, ends_on in list(self._scopes.items()):
            if state is ends_on or state is ConnectionState.LOST:
                scope.cancel()

    def follow(self) -> StateChanges:
        changes = StateChanges(self.state)
        self._followers.add(changes)
        return changes

    async def wait_until(self, reached: Callable[[ConnectionState], bool]) -> ConnectionState:
        """The first state, from the present one on, that `reached` says yes to."""
        await trio.lowlevel.checkpoint()
        changes = self.follow()
        while True:
            state = await changes.__anext__()
            if reached(state):
                return state

    @contextmanager
    def scope_until(self, ends_on: ConnectionState) -> Iterator[trio.CancelScope]:
        """A cancel scope that ends when the state becomes `ends_on` (or LOST); at once if it is there already."""
        with trio.CancelScope() as scope:
            self._scopes[scope] = ends_on
            if self.state is ends_on or self.state is ConnectionState.LOST:
                scope.cancel()
            try:
                yield scope
            finally:
                del self._scopes[scope]
