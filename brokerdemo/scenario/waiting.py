"""Waiting for something to happen: on the supervisor's event stream, never by looking again and again.

In: a control client and a condition.  Out: the event or the view that met it, or `NotInTime` with the last events and
what was still missing. trio shell.

(1) The stream is opened before the first look, so nothing can happen unseen in between.
(2) Every wait has a deadline, and its message says what it waited for; the last events are the evidence.
"""

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import trio

from brokerdemo.cluster.control import AsyncControlClient
from brokerdemo.durations import format_ms
from brokerdemo.observe import event_line

Event = Mapping[str, Any]

EVENTS_SHOWN = 10


class NotInTime(AssertionError):
    """A deadline passed. An assertion, because the deadline is part of what the scenario claims."""

    def __init__(self, waited_for: str, within_ms: float, events: list[Event]) -> None:
        self.waited_for = waited_for
        self.events = events
        shown = "\n".join(f"  {event_line.line(event)}" for event in events[-EVENTS_SHOWN:])
        super().__init__(
            f"waited {format_ms(within_ms)} for {waited_for}\n"
            + (f"last {min(len(events), EVENTS_SHOWN)} events:\n{shown}" if events else "no event came at all")
        )


class Waiter:
    """Waits on one cluster's stream."""

    def __init__(self, client: AsyncControlClient) -> None:
        self._client = client

    async def last_seq(self) -> int:
        """The sequence number of the newest event."""
        result = await self._client.call("events", since=_NEWEST)
        return int(result["last_seq"])

    async def event(
        self, matches: Callable[[Event], bool], *, since: int, within_ms: float, waited_for: Callable[[], str]
    ) -> Event:
        """The first event after `since` that matches."""
        seen: deque[Event] = deque(maxlen=EVENTS_SHOWN)
        with trio.move_on_after(within_ms / 1000):
            async with self._client.request("events", follow=True, since=since) as answers:
                async for answer in answers:
                    event: Event | None = answer.get("event")
                    if event is None:
                        continue
                    seen.append(event)
                    if matches(event):
                        return event
        raise NotInTime(waited_for(), within_ms, list(seen))

    async def view(self, look: Callable[[], Awaitable[list[str]]], *, since: int, within_ms: float) -> None:
        """Return once `look` finds nothing missing; it is asked at the start, and again at every event from then on.

        Events after `since` that are older than the first look are only kept as evidence.
        """
        seen: deque[Event] = deque(maxlen=EVENTS_SHOWN)
        missing: list[str] = []
        with trio.move_on_after(within_ms / 1000):
            looked_at = await self.last_seq()
            async with self._client.request("events", follow=True, since=since) as answers:
                if not (missing := await look()):
                    return
                async for answer in answers:
                    event = answer.get("event")
                    if event is None:
                        continue
                    seen.append(event)
                    if event.get("seq", 0) > looked_at and not (missing := await look()):
                        return
        raise NotInTime("; ".join(missing) or "an answer", within_ms, list(seen))


_NEWEST = 1 << 62  # no event is after it: only the result of `events` is wanted
