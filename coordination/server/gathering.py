"""Group commit's patience: whether a batch of writes waits a moment for writers that are about to come.

In: who wrote in this batch; how long a sync takes.  Out: more of the ready sockets served, before the sync.
Knows no byte and no txn.  PostgreSQL's commit_delay is the same thought; ZooKeeper's SyncRequestProcessor takes what is
queued, and waits if zookeeper.flushDelay says so.

A sync costs as much as some ten requests, and the clients just answered are about to send their next write: those of
the last two batches are waited for.

(1) A lone writer waits for nobody.
(2) Nobody waits longer than GATHER_SHARE of a sync, nor on when QUIET_NS passed without a byte.
"""

import time
from collections.abc import Callable

from coordination.state.connection import Connection

GATHER_SHARE = 0.5
QUIET_NS = 60_000

ReadySockets = list[tuple[int, int]]


class Gathering:
    def __init__(self, poll: Callable[[], ReadySockets], serve: Callable[[ReadySockets], None]) -> None:
        """`poll` gives the sockets that are ready now; `serve` reads them, and calls `wrote`."""
        self._poll = poll
        self._serve = serve
        self.writers: set[Connection] = set()
        """Who has written since the last batch began."""
        self._before: set[Connection] = set()
        self._before_that: set[Connection] = set()

    @property
    def last_writers(self) -> int:
        """How many wrote in the batch that is being synced, or was last."""
        return len(self._before)

    def give_up(self) -> None:
        """A sync runs already: whoever writes gathers behind it without our waiting."""
        self.writers.clear()

    def wait(self, sync_us: float) -> None:
        """Wait for the other writers of the last two batches, so that they share the sync that comes."""
        writers = self.writers
        expected = len(self._before | self._before_that)
        if len(writers) < expected:
            clock = time.perf_counter_ns
            now = clock()
            end, quiet = now + sync_us * 1000 * GATHER_SHARE, now + QUIET_NS
            while now < end and now < quiet and len(writers) < expected:
                ready = self._poll()
                now = clock()
                if ready:
                    self._serve(ready)
                    now = clock()
                    quiet = now + QUIET_NS
        self._before_that = self._before
        self._before = writers
        self.writers = set()
