"""Group commit: payloads in, "everything up to this zxid is safe" out.

In: batches of payloads as the pipeline decided them.  Out: `persisted(zxid)`, called in order.
Decides only where the sync runs; knows nothing of txns.  Answers to ZooKeeper's SyncRequestProcessor.

(1) What one call hands over, and everything that gathers while a sync runs, shares one write and one sync.
(2) `persisted` is called only after the sync of that zxid returned, and in order of zxids.
(3) One thread at a time touches the log: this one, or the writer thread while `busy`.
(4) An error of the log ends the server: nothing after it is acknowledged.

Where the sync runs.  In place, on disks that sync in less than a millisecond or so: two hand-overs to a thread cost
0.15 ms each, and a thread that comes out of fdatasync waits for the interpreter while the serving task is busy (up to
the switch interval, 5 ms as Python sets it).  On a slower disk the serving task must not stand still, so a thread does
it and is heard through the poller; the switch interval is then shortened.  A moving average of the syncs decides, with
a gap against flapping.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

from coordination.state.summary import Summary
from coordination.storage import TransactionLog

TO_THREAD_ABOVE_US = 2000.0
TO_INLINE_BELOW_US = 1000.0
THREAD_SWITCH_INTERVAL_S = 0.0002
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
        """Moving average of one sync."""
        self.syncs = 0
        self.slow_syncs = 0
        self._slow_sync_ms = slow_sync_ms
        self._slow = slow
        self.reset_statistics()
        self.busy = False
        self._gathered: list[bytes] = []
        self._gathered_zxid = 0
        self._threaded = False
        self._thread: threading.Thread | None = None
        self._work = threading.Event()
        self._batch: list[bytes] = []
        self._batch_zxid = 0
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
            self._gathered_zxid = zxid
        elif self._threaded:
            self._hand_over(payloads, zxid)
        else:
            self._write(payloads)
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
        zxid = self._batch_zxid
        if self._gathered:
            payloads, self._gathered = self._gathered, []
            if self._threaded:
                self._hand_over(payloads, self._gathered_zxid)
            else:
                self._write(payloads)
                zxid = self._gathered_zxid
        self._persisted(zxid)

    @property
    def in_place(self) -> bool:
        """Will the next `append` sync before it returns?"""
        return not self.busy and not self._threaded

    def in_log_thread(self, action: Callable[[], object]) -> bool:
        """Run `action` now if nobody else holds the log; False: busy, ask again later."""
        if self.busy:
            return False
        action()
        return True

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
        self.sync_us += (took_ns / 1000 - self.sync_us) * (_WEIGHT if self.syncs > 1 else 1)
        if self.sync_us > TO_THREAD_ABOVE_US:
            self._threaded = True
        elif self.sync_us < TO_INLINE_BELOW_US:
            self._threaded = False

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
            if self._batch:
                try:
                    self._write(self._batch)
                except BaseException as error:
                    self._error = error
                self._batch = []
                os.write(self._done_write, b".")
            if self._ending:
                return
