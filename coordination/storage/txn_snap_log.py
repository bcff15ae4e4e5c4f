"""Log and snapshots together: what a server starts from, and what it may forget.

In:  a data directory (and a log directory, which may be another).  Out: the newest snapshot that can be trusted and
     every txn after it; later,
new snapshots, and old files removed.  Must not know the tree: snapshots are plain iterables.
Answers to FileTxnSnapLog and PurgeTxnLog.

    store = TxnSnapLog.open(data_dir)
    restored = store.restore()
    with restored:  core.load(restored.snapshot.sessions, .acls, .nodes())   if there is a snapshot
    for zxid, payload in restored.txns():  core.replay(payload)
    store.log.append(...)

(1) No zxid is used twice: after `restore`, log.last_zxid is not below the snapshot's, also when the log ends before it
    (ZOOKEEPER-582).
(2) A damaged snapshot is passed over for an older one, and said so (`passed_over`); then the log must reach back to the
    older one: a hole between a snapshot and the log, or no snapshot and a log that does not begin at the beginning, is
    refused.
(3) Retention keeps the newest `retain_count` whole snapshots and every log file that any of them needs.
(4) A directory is used by one server at a time.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from coordination.storage.api import LogDamagedError, Repair, SnapshotDamagedError, StorageError
from coordination.storage.directory_lock import DirectoryLock
from coordination.storage.snapshot import Snapshot, SnapshotWriter, remove_temporaries, snapshot_files
from coordination.storage.snapshot_format import AclEntry, SnapshotNode, ZxidDigest
from coordination.storage.txn_log import DEFAULT_PREALLOC_BYTES, VERSION_DIRECTORY, TxnLog

MIN_RETAIN_COUNT = 3


class Restored:
    """What to start from. `snapshot` is None in a fresh directory, or when the log alone holds everything."""

    def __init__(self, snapshot: Snapshot | None, log: TxnLog, passed_over: list[SnapshotDamagedError]) -> None:
        self.snapshot = snapshot
        self.passed_over = passed_over
        """Snapshots that could not be trusted, newest first; to be logged as warnings."""
        self.zxid = snapshot.zxid if snapshot else 0
        self._log = log

    @property
    def fresh(self) -> bool:
        """Nothing was ever written here."""
        return self.snapshot is None and self._log.last_zxid == 0

    def txns(self) -> Iterator[tuple[int, bytes]]:
        """(zxid, payload) of every txn after the snapshot. LogDamagedError as TxnLog.read, and when the log begins too
        late.
        """
        found = self._log.read(self.zxid)
        for zxid, payload in found:
            if self._begins_too_late(zxid):
                since = (
                    f"the newest good snapshot ends at 0x{self.zxid:x}"
                    if self.snapshot
                    else "there is no good snapshot"
                )
                raise LogDamagedError(
                    f"the log in {self._log.directory} goes on at zxid 0x{zxid:x}, but {since}: the txns in between "
                    "are missing. Put the missing snapshot or log file back from a copy or another member.",
                    self._log.directory,
                    0,
                    self.zxid,
                    zxid,
                )
            yield zxid, payload
            yield from found

    def _begins_too_late(self, zxid: int) -> bool:
        if self.snapshot is None or zxid >> 32 != self.zxid >> 32:
            return zxid & 0xFFFFFFFF > 1  # the first txn of an epoch has counter 1
        return zxid > self.zxid + 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.snapshot is not None:
            self.snapshot.close()


class TxnSnapLog:
    """The durable state of one server. Owned by one thread at a time, but for a SnapshotWriter's `write` and
    `finish`.
    """

    def __init__(
        self,
        directory: Path,
        log: TxnLog,
        locks: ExitStack,
        retain_count: int,
        repairs: list[Repair],
        compression: str,
    ) -> None:
        """For `open` only."""
        self.directory = directory
        self.log = log
        self.repairs = repairs
        self._locks = locks
        self._retain_count = retain_count
        self._compression = compression
        self._passed_over: set[Path] = set()

    @classmethod
    def open(
        cls,
        data_dir: Path,
        log_dir: Path | None = None,
        *,
        prealloc_bytes: int = DEFAULT_PREALLOC_BYTES,
        retain_count: int = MIN_RETAIN_COUNT,
        log_bytes_max: int = 0,
        compression: str = "",
    ) -> "TxnSnapLog":
        """Lock and open the directories (dataDir, dataLogDir of zoo.cfg; logs lie with the snapshots when there is only
        one).

        `retain_count` is autopurge.snapRetainCount, at least 3 as in ZooKeeper; `log_bytes_max` as in TxnLog.open;
        `compression` that of new snapshots, "" or "gz". DirectoryLockedError, LogDamagedError, StorageError.
        """
        log_dir = log_dir or data_dir
        with ExitStack() as locks:
            for directory in dict.fromkeys((data_dir.absolute(), log_dir.absolute())):
                locks.callback(DirectoryLock(directory).release)
            snap_directory = data_dir / VERSION_DIRECTORY
            try:
                snap_directory.mkdir(parents=True, exist_ok=True)
                if log_dir.absolute() != data_dir.absolute():
                    _check_kinds(snap_directory, log_dir / VERSION_DIRECTORY)
                remove_temporaries(snap_directory)
            except OSError as error:
                raise StorageError(
                    f"cannot use {snap_directory}: {error.strerror}. Check owner, mode and room."
                ) from error
            log = TxnLog.open(log_dir, prealloc_bytes=prealloc_bytes, file_bytes_max=log_bytes_max, data_dir=data_dir)
            retain_count = max(retain_count, MIN_RETAIN_COUNT)
            return cls(snap_directory, log, locks.pop_all(), retain_count, log.repairs, compression)

    def restore(self) -> Restored:
        """The newest snapshot that verifies, and the txns after it. Also lifts log.last_zxid to the snapshot's
        (invariant 1).
        """
        passed_over: list[SnapshotDamagedError] = []
        snapshot = None
        for _, path in snapshot_files(self.directory):
            try:
                snapshot = Snapshot(path)
                break
            except SnapshotDamagedError as error:
                passed_over.append(error)
                self._passed_over.add(path)
        # A damaged snapshot's name still says which zxids were in use: its txns must come from the log, or restoring is
        # refused.
        restored = Restored(snapshot, self.log, passed_over)
        lost = [zxid for zxid, _ in snapshot_files(self.directory) if zxid > max(restored.zxid, self.log.last_zxid)]
        if lost:
            restored.__exit__()
            raise StorageError(
                f"{passed_over[0]} The log ends at zxid 0x{self.log.last_zxid:x}, so writes up to 0x{max(lost):x} are "
                "only in it. Restore it from a copy or another member. "
                f"To go on without those writes, move {passed_over[0].path.name} away."
            )
        if restored.zxid > self.log.last_zxid:
            self.log.advance(restored.zxid)
        return restored

    def newest_snapshot_zxid(self) -> int:
        """The zxid in the newest snapshot's name, 0 without one."""
        return max((zxid for zxid, _ in snapshot_files(self.directory)), default=0)

    def begin_snapshot(
        self,
        zxid: int,
        sessions: Mapping[int, int],
        acls: Mapping[int, Sequence[AclEntry]],
        nodes: Iterable[SnapshotNode],
        digest: Callable[[], ZxidDigest | None] = lambda: None,
    ) -> SnapshotWriter:
        """A snapshot named for `zxid`, the last txn applied to what `sessions`, `acls` and `nodes` show at this moment.
        `digest` is asked when the last znode was drawn.

        Call `roll_log` (from the log's thread) around the same time, so that retention can drop whole files.
        """
        writer = SnapshotWriter(self.directory, zxid, sessions, acls, nodes, digest, self._compression)
        self._passed_over.discard(writer.path)  # whose place it takes
        return writer

    def purge(self) -> list[Path]:
        """Remove the snapshots and log files that retention does not need; gives what was removed. Call after `finish`.

        One that `restore` passed over does not count: what the server started from would go in its stead.  Snapshots
        older than that are judged by name and end as ZooKeeper does, not read whole: a damaged one may count, so three
        are kept at least.
        """
        found = [each for each in snapshot_files(self.directory) if each[1] not in self._passed_over]
        whole = [(zxid, path) for zxid, path in found if _looks_whole(path)]
        if len(whole) < self._retain_count:
            return []
        least = whole[self._retain_count - 1][0]
        logs = self.log.files()
        # The newest log file that begins at or below the snapshot may hold what comes after it.
        needed_from = max((zxid for zxid, _ in logs if zxid <= least), default=0)
        removed = [path for zxid, path in snapshot_files(self.directory) if zxid < least]
        removed += [path for zxid, path in logs if zxid < needed_from]
        for path in removed:
            path.unlink()
        return removed

    def close(self) -> None:
        """Close the log and let the next server in."""
        self.log.close()
        self._locks.close()


def _looks_whole(path: Path) -> bool:
    if path.suffix in (".gz", ".snappy"):
        return path.stat().st_size > 20
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < 10:
            return False
        file.seek(size - 5)
        return file.read() == b"\0\0\0\1/"


def _check_kinds(snap_directory: Path, log_directory: Path) -> None:
    """Swapped dataDir and dataLogDir would look like an empty server (ZOOKEEPER-2967)."""
    for directory, kind, other in ((snap_directory, "log", "dataLogDir"), (log_directory, "snapshot", "dataDir")):
        found = next((path for path in directory.glob(f"{kind}.*")), None) if directory.is_dir() else None
        if found:
            raise StorageError(
                f"{directory} holds {found.name}, a {kind}, which belongs into {other}. "
                "Check dataDir and dataLogDir in the configuration, or move the file there."
            )
