"""Event log: the one order of facts. Gives `seq`, keeps the last ones, writes all of them down, lets anyone follow.

In: events of this supervisor and of its brokers. Out: the same, numbered, to listeners (at once), followers (as fast
as they read) and `events.ndjson` (as soon as the loop is idle). Runs in the supervisor's loop; knows no znodes and no
processes.

(1) `append` never waits and touches no disk: it is on the path from a death to the certificate.
(2) A follower reads from the ring by itself. One that falls out of the ring is told so (`FellBehindError`); nobody
    waits for it.
(3) Listeners see every event inside `append`; they must be quick and must not raise. They may add fields (`fault`), and
    may append events of their own.
(4) Lines on disk are whole lines in the order of `seq`; after a crash the last one may be missing, never mixed.
"""

import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

import trio

from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.observe.events import Event

CAPACITY = 10_000


class FellBehindError(ClusterError):
    """The reader was too slow: the events it wanted next are not kept any more."""

    def __init__(self, wanted: int, oldest: int) -> None:
        super().__init__(
            Code.TIMED_OUT,
            f"this reader fell behind: event {wanted} is not kept any more, the oldest is {oldest}",
            "a slow reader is dropped, it must not slow the cluster",
            "follow again; all events are in events.ndjson in the state directory",
        )


class Record:
    """One event and, once somebody needs it, its line."""

    __slots__ = ("_line", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._line: bytes | None = None

    @property
    def line(self) -> bytes:
        """The event as JSON, without an end of line."""
        if self._line is None:
            self._line = json.dumps(self.event, separators=(",", ":"), default=str).encode()
        return self._line


class Follower:
    """A place in the event log. A class and not a generator: it may be left half way without being closed."""

    def __init__(self, log: "EventLog", wanted: int) -> None:
        self._log = log
        self._wanted = wanted

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Record:
        await trio.lowlevel.checkpoint_if_cancelled()
        record = await self._log.next_record(self._wanted)
        self._wanted += 1
        return record


class EventLog:
    """See the module. `fd` is open for appending; None keeps nothing on disk (tests)."""

    def __init__(self, fd: int | None = None, *, capacity: int = CAPACITY) -> None:
        self._fd = fd
        self._ring: deque[Record] = deque(maxlen=capacity)
        self._unwritten: deque[Record] = deque()
        self._lot = trio.lowlevel.ParkingLot()
        self._writer_lot = trio.lowlevel.ParkingLot()
        self.last_seq = 0
        self.listeners: list[Callable[[Event], None]] = []

    @property
    def first_seq(self) -> int:
        """The oldest event kept; last_seq + 1 when there is none."""
        return self.last_seq - len(self._ring) + 1

    def append(self, event: Event) -> Event:
        """Take in one event: number it, tell the listeners, wake the followers. Returns the event as it was kept."""
        self.last_seq += 1
        kept = {"seq": self.last_seq, **event}
        record = Record(kept)
        self._ring.append(record)
        if self._fd is not None:
            self._unwritten.append(record)
            self._writer_lot.unpark_all()
        self._lot.unpark_all()
        # Last, so that an event a listener emits comes after this one in every way.
        for listener in self.listeners:
            listener(kept)
        return kept

    def emit(self, name: str, /, *, t_ns: int | None = None, **fields: Any) -> Event:
        """An event of the supervisor's own; `t_ns` is now unless given."""
        return self.append(
            {"event": name, "t_ns": time.monotonic_ns() if t_ns is None else t_ns, "source": "supervisor", **fields}
        )

    def kept(self, since: int) -> list[Event]:
        """The kept events after `since`."""
        return [record.event for record in self._ring if record.event["seq"] > since]

    def follow(self, since: int) -> "Follower":
        """Every record after `since`, beginning with the oldest that is kept; an async iterator without an end."""
        return Follower(self, max(since + 1, self.first_seq))

    async def next_record(self, wanted: int) -> Record:
        """The record with seq `wanted`, waiting for it; FellBehindError when it is not kept any more."""
        while wanted > self.last_seq:
            await self._lot.park()
        first = self.first_seq
        if wanted < first:
            raise FellBehindError(wanted, first)
        return self._ring[wanted - first]

    async def wait_change(self, after: int | None = None) -> None:
        """Wait until the next event is appended; with `after`, until there is one behind that seq.

        Whoever looks at something slow (the znodes) between two waits passes the seq from before the look: what happens
        during the look may not be in what it saw, and would otherwise be waited for in vain.
        """
        if after is None:
            after = self.last_seq
        while self.last_seq <= after:
            await self._lot.park()

    async def write(self) -> None:
        """The writer's task: write down what was appended, in one go per wake-up."""
        while True:
            if not self._unwritten:
                await self._writer_lot.park()
                # The certificate and the other tasks woken with us go first.
                await trio.lowlevel.checkpoint()
            self.flush()

    def flush(self) -> None:
        """Write what is pending; called by the writer and at the very end."""
        if self._fd is None or not self._unwritten:
            return
        data = b"".join(record.line + b"\n" for record in self._unwritten)
        self._unwritten.clear()
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError as error:
            # A full disk must not end five brokers: the stream goes on, the file ends here and says why on stderr.
            print(f"events.ndjson ends at event {self.last_seq}: {error}", file=sys.stderr, flush=True)
            self._fd = None
