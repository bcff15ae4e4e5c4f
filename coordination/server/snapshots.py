"""Snapshots while serving: after enough txns the tree is written out, in short slices between the clients' requests.

In:  "something was committed".  Out: a snapshot file now and then, old files gone; facts for the journal.
Draws from the tree in its own task and lets a thread do the disk. Decides only when. Answers to SyncRequestProcessor's
part in snapshots, ZooKeeperServer.takeSnapshot and DatadirCleanupManager.

(1) The serving task never waits for a snapshot's disk, and is held up by at most SLICE_NODES znodes at a time.  That
    makes a snapshot longer, not the clients' waiting.
(2) One snapshot at a time; a failed one is reported and tried again after the next snapCount: the log holds everything.
(3) What is in the tree is in the log and synced, so the log always covers a snapshot named for the last txn applied.
(4) A fresh directory gets snapshot.0 before anything else: Apache ZooKeeper refuses a log without any snapshot.
"""

import random
import time
from pathlib import Path

import trio

from coordination.server.journal import Journal
from coordination.server.log_writer import LogWriter
from coordination.server.readings import Disk
from coordination.state.pipeline import Pipeline
from coordination.storage import SnapshotWriter, StorageError, TxnSnapLog

# 3 us each, some times that when memory is cold: a slice holds the others up for less than 1 ms.
SLICE_NODES = 100
# A hand-over to the thread that writes costs as much as a slice.
WRITE_BYTES = 256 << 10


class Snapshotter:
    """Owns the decision and the writing; `committed` is called after each batch, `run` is its task."""

    def __init__(
        self,
        pipeline: Pipeline,
        store: TxnSnapLog,
        writer: LogWriter,
        journal: Journal,
        disk: Disk,
        *,
        snap_count: int,
        snap_log_bytes: int = 0,
    ) -> None:
        """`snap_count`: txns between snapshots at most (snapCount); `snap_log_bytes`: bytes of log
        (snapSizeLimitInKb; 0: any number).
        """
        self._pipeline = pipeline
        self._store = store
        self._writer = writer
        self._journal = journal
        self._disk = disk
        self._snap_count = snap_count
        self._snap_log_bytes = snap_log_bytes
        self._due_at = 0
        self._due_bytes: int | None = None
        self._wanted = trio.Event()
        self._taking = trio.Lock()
        self.schedule(store.newest_snapshot_zxid())

    def schedule(self, from_zxid: int) -> None:
        """The next one comes half to one snapCount after this zxid, or half to one `snap_log_bytes` of log after now:
        members of an ensemble do not all write at once.
        """
        half = self._snap_count // 2
        self._due_at = from_zxid + half + random.randrange(half + 1)
        half = self._snap_log_bytes // 2
        self._due_bytes = self._store.log.appended_bytes + half + random.randrange(half + 1) if half else None

    def committed(self) -> None:
        """Called after every batch: costs two comparisons."""
        if self._pipeline.tree.last_zxid > self._due_at or (
            self._due_bytes is not None and self._store.log.appended_bytes > self._due_bytes
        ):
            self._wanted.set()

    async def run(self) -> None:
        """Until cancelled. A snapshot under way is then given up."""
        self.committed()  # a long log was just replayed: the next start should not have to
        while True:
            await self._wanted.wait()
            self.schedule(self._pipeline.tree.last_zxid)
            self._wanted = trio.Event()
            await self.take()

    async def take(self) -> Path | None:
        """Write one now; None: it failed, and the journal says why."""
        async with self._taking:
            return await self._take()

    async def _take(self) -> Path | None:
        begin = time.monotonic()
        await trio.to_thread.run_sync(self._store.log.prepare)
        tree = self._pipeline.tree
        zxid = tree.last_zxid
        sessions = {session.id: session.timeout_ms for session in self._pipeline.sessions.by_id.values()}
        try:
            snapshot = self._store.begin_snapshot(
                zxid, sessions, tree.acl_table(), tree.dump(), self._pipeline.zxid_digest
            )
            try:
                self._writer.aside(self._store.log.roll)  # so that old files can go as a whole
                path = await _write(snapshot)
            except BaseException:
                snapshot.abort()
                raise
        except (StorageError, OSError) as error:
            self._disk.snapshot_errors += 1
            self._journal.write("snapshot_failed", zxid=zxid, what=str(error))
            return None
        took_ms = round((time.monotonic() - begin) * 1000, 1)
        self._disk.snapshot_ms.observe(int(took_ms))
        self._journal.write("snapshot_written", zxid=zxid, took_ms=took_ms, znodes=len(tree.nodes))
        return path

    async def purge_every(self, hours: float) -> None:
        """Now and every so many hours, until cancelled: files that retention does not need go."""
        while True:
            async with self._taking:
                try:
                    removed = await trio.to_thread.run_sync(self._store.purge)
                except (StorageError, OSError) as error:
                    self._journal.write("purge_failed", what=str(error))
                else:
                    self._journal.write("purged", removed=len(removed))
            await trio.sleep(hours * 3600)


def write_first(pipeline: Pipeline, store: TxnSnapLog) -> None:
    """The snapshot of an empty tree, for a fresh directory. Blocking; nobody is served yet. StorageError."""
    assert pipeline.tree.last_zxid == 0
    store.begin_snapshot(0, {}, pipeline.tree.acl_table(), pipeline.tree.dump()).write_all()


async def _write(snapshot: SnapshotWriter) -> Path:
    taken: list[bytes] = []
    taken_bytes = 0
    while (chunk := snapshot.take(SLICE_NODES)) is not None:
        taken.append(chunk)
        taken_bytes += len(chunk)
        if taken_bytes >= WRITE_BYTES:
            await trio.to_thread.run_sync(snapshot.write, b"".join(taken))
            taken.clear()
            taken_bytes = 0
        else:
            await trio.lowlevel.checkpoint()
    await trio.to_thread.run_sync(snapshot.write, b"".join(taken))
    return await trio.to_thread.run_sync(snapshot.finish)
