"""Watches as async iterators: look at a znode again whenever it may have changed, and tell what is there now.

In: a path and a bridge.  Out: the present value first, then the value after each change; None for "no such znode".
Knows nothing of kazoo's threads.  Answers to kazoo's DataWatch and ChildrenWatch and Curator's NodeCache, without their
callbacks.

(1) Level-triggered: every item was read from the server after the watch that will tell of the next change was set (both
    travel in one request), so no change is missed; changes that come faster than the consumer reads are told as one.
(2) An item is told only if it differs from the last one told by zxid, so a reconnection by itself tells nothing new,
    and a znode that was deleted and created again between two looks is told.
(3) A reconnection makes every stream look again: watches die with their connection, what happened meanwhile does not go
    unnoticed.
(4) The end of the session ends the stream with the session's error: `SessionExpiredError`, or `ConnectionClosedError`
    for a client closed here.
(5) All streams of a client on one path and kind share one watch at the server.
"""

from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any, Generic, TypeVar

import trio

from coordination.client.bridge import Bridge
from coordination.client.operations import Stat
from coordination.client.retry import until_answered
from coordination.errors import NoNodeError

T = TypeVar("T")


class _Spot:
    """One path and kind with a watch at the server; hands its event to the streams that look there."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self.streams: set[WatchStream[Any]] = set()
        self._gone = gone
        self._armed = False

    def arming(self) -> Callable[[object], None]:
        """What a read with a watch hands to the server's side; always the same, so that kazoo holds it once."""
        self._armed = True
        return self.fired

    def fired(self, _event: object) -> None:
        """Trio thread, through the bridge's mailbox; also once per lost connection."""
        self._armed = False
        for stream in self.streams:
            stream.look_again()
        self.leave_if_unused()

    def leave_if_unused(self) -> None:
        # Not while its watch may still fire: kazoo holds the callback until then, and a later stream takes the spot up
        # again.
        if not self.streams and not self._armed:
            self._gone()


class WatchTable:
    """The spots of one bridge."""

    def __init__(self) -> None:
        self._spots: dict[Hashable, _Spot] = {}

    def __len__(self) -> int:
        return len(self._spots)

    def enter(self, key: Hashable, stream: "WatchStream[Any]") -> _Spot:
        spot = self._spots.get(key)
        if spot is None:
            spot = self._spots[key] = _Spot(partial(self._forget, key))
        spot.streams.add(stream)
        return spot

    def look_again(self) -> None:
        """Wakes every stream. At the end of the session: kazoo tells only the watches it has noted, and it notes none
        whose answer came just before it was stopped.
        """
        for spot in self._spots.values():
            for stream in spot.streams:
                stream.look_again()

    def _forget(self, key: Hashable) -> None:
        self._spots.pop(key, None)


# Reads with a watch: what to tell (None = absent) and what tells two items apart.
Look = Callable[[Callable[[object], None]], Awaitable[tuple[T | None, Hashable]]]
_NOTHING_TOLD = object()


class WatchStream(Generic[T]):
    """An async context manager and async iterator over what is at a path: `async with zk.watch_data(p) as changes:
    async for item in changes`.
    """

    def __init__(
        self, table: WatchTable, key: Hashable, look: Look[T], reconnected: Callable[[], Awaitable[object]]
    ) -> None:
        self._table = table
        self._key = key
        self._look = look
        self._reconnected = reconnected
        self._spot: _Spot | None = None
        self._left = False
        self._stale = trio.Event()
        self._told: Hashable = _NOTHING_TOLD

    def look_again(self) -> None:
        self._stale.set()

    async def __aenter__(self) -> "WatchStream[T]":
        self._spot = self._table.enter(self._key, self)
        self._stale.set()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        if self._spot is not None:
            self._spot.streams.discard(self)
            self._spot.leave_if_unused()
        self._left = True
        self._stale.set()  # a task that still iterates comes to its end

    def __aiter__(self) -> "WatchStream[T]":
        return self

    async def __anext__(self) -> T | None:
        """The next item; raises what ended the session, and StopAsyncIteration once the block was left."""
        spot = self._spot
        if spot is None:
            raise RuntimeError("a watch is iterated inside its `async with`")
        while True:
            await self._stale.wait()
            if self._left:
                raise StopAsyncIteration
            # Before the read: a change that arrives during it makes the stream look once more.
            self._stale = trio.Event()
            try:
                item, mark = await until_answered(lambda: self._look(spot.arming()), self._reconnected)
            except BaseException:
                self._stale.set()
                raise
            if mark != self._told:
                self._told = mark
                return item


def watch_data(bridge: Bridge, path: str) -> Look[tuple[bytes, Stat]]:
    """Tells (value, stat) after each creation, set and deletion."""

    async def look(fired: Callable[[object], None]) -> tuple[tuple[bytes, Stat] | None, Hashable]:
        while True:
            try:
                value, stat = await bridge.call(path, bridge.kazoo.get_async, path, watch=fired)
                return (value or b"", Stat._make(stat)), stat.mzxid
            except NoNodeError:
                # An absent znode takes only an exists watch; it may have been created between the two requests.
                if await bridge.call(path, bridge.kazoo.exists_async, path, watch=fired) is None:
                    return None, None

    return look


def watch_exists(bridge: Bridge, path: str) -> Look[Stat]:
    """Tells the stat after each creation, set and deletion; cheaper than `watch_data`, whose value it does not
    fetch.
    """

    async def look(fired: Callable[[object], None]) -> tuple[Stat | None, Hashable]:
        stat = await bridge.call(path, bridge.kazoo.exists_async, path, watch=fired)
        return (Stat._make(stat), stat.mzxid) if stat is not None else (None, None)

    return look


def watch_children(bridge: Bridge, path: str) -> Look[list[str]]:
    """Tells the sorted names after each creation and deletion of a child, and None once the parent is gone."""

    async def look(fired: Callable[[object], None]) -> tuple[list[str] | None, Hashable]:
        while True:
            try:
                names, stat = await bridge.call(
                    path, bridge.kazoo.get_children_async, path, watch=fired, include_data=True
                )
                return sorted(names), (stat.czxid, stat.pzxid)
            except NoNodeError:
                if await bridge.call(path, bridge.kazoo.exists_async, path, watch=fired) is None:
                    return None, None

    return look
