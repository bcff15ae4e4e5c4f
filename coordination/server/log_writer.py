"""Group commit: payloads in, "everything up to this zxid is safe" out.

In: batches of payloads as the pipeline decided them.  Out: `persisted(zxid)`, called in order.
Decides only where the sync runs; knows nothing of txns.  Answers to ZooKeeper's SyncRequestProcessor.

(1) What one call hands over, and everything that gathers while a sync runs, shares one write and one sync.
(2) `persisted` is called only after the sync of that zxid returned, and in order of zxids.
(3) One thread at a time touches the log: this one, or the writer thread while `busy`.
(4) An error of the log ends the server: nothing after it is acknowledged.

Where the sync runs.  In place, as long as nobody would use its time: two hand-overs to a thread cost 0.15 ms each, and
a thread that comes out of fdatasync waits for the interpreter while the serving task is busy (up to the switch
interval, 5 ms as Python sets it, shortened here).  In a thread, when the disk is slow, or when a sync is worth the
hand-over, many writes share it, and yet other clients come in while it runs (`overlap` is asked then).  Measured with
syncs of 1 to 1.5 ms: 50 clients with 20 writes under way each give up to twice as much with the thread, 10 with one
each give half as much.  What the thread measures holds its wait for the interpreter and for a processor too, so after a
term of batches the sync is tried in place again.
"""

import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable

from coordination.state.summary import Summary
from coordination.storage import TransactionLog

TO_THREAD_ABOVE_US = 3000.0  # whoever waits
WORTH_A_THREAD_US = 1000.0  # if others wait
OVERLAP_LEAST = 0.5
BATCH_LEAST = 50.0  # with fewer, two halves of the clients that take turns cost two syncs and save no work
TO_INLINE_BELOW_US = 2000.0  # as the thread measures it
THREAD_SWITCH_INTERVAL_S = 0.0002
# In batches: how many are judged before a change; how long the thread has it, at first and at most.
TRIAL, TERM, TERM_MAX = 8, 100, 800
_WEIGHT = 0.1
SLOW_SYNC_MS = 1000  # fsync.warningthresholdms


class LogWriter:
    def __init__(
        self,
        log: TransactionLog,
        persisted: Callable[[int], None],
        *,
        sync: bool = True,
        slow_sync_ms: int = SLOW_SYNC_MS,
        slow: Callable[[int], None] = lambda took_ms: None,
    ) -> None:
        """`slow` hears of each sync that took longer than `slow_sync_ms`, in the thread that did it."""
        self._log = log
        self._persisted = persisted
        self._sync_wanted = sync
        self.sync_us = 0.0
        """Moving average of one sync, where it runs now."""
        self.overlap: Callable[[], float] = lambda: 0.0
        """How many clients wait to be heard, as a share of those whose writes were just synced."""
        self._overlap = self._batch_size = 0.0
        self._batches = 0  # since the place was last changed
        self._measured = 0  # of them
        self._term = TERM
        self.syncs = 0
        self.slow_syncs = 0
        self._slow_sync_ms = slow_sync_ms
        self._slow = slow
        self.reset_statistics()
        self.busy = False
        self._gathered: list[bytes] = []
        self._gathered_zxid = 0
        self.gathered_bytes = 0
        """What waits for the sync that runs; it is not under way itself."""
        self._threaded = False
        self._thread: threading.Thread | None = None
        self._work = threading.Event()
        self._batch: list[bytes] = []
        self._batch_zxid = 0
        self._chores: deque[Callable[[], object]] = deque()
        self._error: BaseException | None = None
        self._ending = False
        self._done_read, self._done_write = os.pipe()
        os.set_blocking(self._done_read, False)

    def reset_statistics(self) -> None:
        self.sync_ms = Summary()
        self.batch_sizes = Summary()

    def fileno(self) -> int:
        """Readable when the thread has finished a batch; then call `finished`."""
        return self._done_read

    def append(self, payloads: list[bytes], zxid: int) -> None:
        """Make these safe.  `persisted` is called before this returns, or later out of `finished`."""
        if self.busy:
            self._gathered += payloads
            self.gathered_bytes += sum(map(len, payloads))
            self._gathered_zxid = zxid
        elif self._threaded:
            self._hand_over(payloads, zxid)
        else:
            self._write(payloads)
            self._judge_place(len(payloads))
            self._persisted(zxid)

    def finished(self) -> None:
        """The thread has said so: report its batch, hand over what gathered meanwhile."""
        try:
            os.read(self._done_read, 4096)
        except BlockingIOError:
            return
        if self._error is not None:
            raise self._error
        self.busy = False
        if self._threaded:
            self._judge_thread()
        zxid = self._batch_zxid
        if self._gathered:
            payloads, self._gathered, self.gathered_bytes = self._gathered, [], 0
            if self._threaded:
                self._hand_over(payloads, self._gathered_zxid)
            else:
                self._write(payloads)
                zxid = self._gathered_zxid
        if self._chores and not self.busy:  # one that came too late for the thread's last look
            self._hand_over([], zxid)
        self._persisted(zxid)

    @property
    def in_place(self) -> bool:
        """Will the next `append` sync before it returns?"""
        return not self.busy and not self._threaded

    def aside(self, chore: Callable[[], object]) -> None:
        """Do `chore` (something slow on the log's files) in the writer thread, in turn with the batches; what comes
        meanwhile gathers.  An error of it ends the server like one of a batch.
        """
        self._chores.append(chore)
        if not self.busy:
            self._hand_over([], self._batch_zxid)

    def close(self) -> None:
        """Finish what was handed over, without reporting it.  The log itself stays open."""
        if self._thread is not None:
            self._ending = True
            self._work.set()
            self._thread.join()
            self._thread = None
        if self._gathered and self._error is None:
            self._write(self._gathered)
            self._gathered = []
        os.close(self._done_read)
        os.close(self._done_write)

    # --- inside

    def _write(self, payloads: list[bytes]) -> None:
        self._log.append(payloads)
        self.batch_sizes.observe(len(payloads))
        if self._sync_wanted:
            begin = time.perf_counter_ns()
            self._log.sync()
            self._measure(time.perf_counter_ns() - begin)

    def _measure(self, took_ns: int) -> None:
        self.syncs += 1
        took_ms = took_ns // 1_000_000
        self.sync_ms.observe(took_ms)
        if took_ms > self._slow_sync_ms:
            self.slow_syncs += 1
            self._slow(took_ms)
        self._measured += 1
        self.sync_us += (took_ns / 1000 - self.sync_us) * max(_WEIGHT, 1 / self._measured)

    def _judge_place(self, batch_size: int) -> None:
        """A sync was done in place: should a thread have done it?"""
        self._batches += 1
        waited = self.overlap() if self.sync_us > WORTH_A_THREAD_US else 0.0
        weight = max(_WEIGHT, 1 / self._batches)
        self._overlap += (waited - self._overlap) * weight
        self._batch_size += (batch_size - self._batch_size) * weight
        worth = waited and self._overlap > OVERLAP_LEAST and self._batch_size > BATCH_LEAST
        if self._batches >= TRIAL and (worth or self.sync_us > TO_THREAD_ABOVE_US):
            self._term = min(self._term * 2, TERM_MAX) if self._batches < 2 * TRIAL else TERM
            self._change_place(True)

    def _judge_thread(self) -> None:
        """The thread has done one: enough of them to try again without?"""
        self._batches += 1
        if self._batches >= self._term and self.sync_us < TO_INLINE_BELOW_US:
            self._change_place(False)

    def _change_place(self, threaded: bool) -> None:
        self._threaded = threaded
        self._batches = self._measured = 0

    def _hand_over(self, payloads: list[bytes], zxid: int) -> None:
        self._batch, self._batch_zxid = payloads, zxid
        self.busy = True
        if self._thread is None:
            sys.setswitchinterval(THREAD_SWITCH_INTERVAL_S)
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        self._work.set()

    def _run(self) -> None:
        while True:
            self._work.wait()
            self._work.clear()
            if self.busy:
                try:
                    if self._batch:
                        self._write(self._batch)
                    while self._chores:
                        self._chores.popleft()()
                except BaseException as error:
                    self._error = error
                self._batch = []
                os.write(self._done_write, b".")
            if self._ending:
                return
