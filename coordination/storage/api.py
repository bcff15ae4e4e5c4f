"""What the server may ask of a transaction log, and every way it can be refused.

In:  nothing; this module only names things.  Out: `TransactionLog`, which `TxnLog` and `MemoryLog` satisfy, and the
     errors.
Must not know how a log is kept. Answers to ZooKeeper's TxnLog interface.

(1) A payload returned by `read` was given to `append`, whole, and payloads come back in the order of their zxids.
(2) Everything appended before a `sync` that returned survives any crash. What was appended after it survives whole, in
    part (a prefix), or not at all.
(3) After an error from `append` or `sync` nothing more is written: the log stays failed until it is opened anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class StorageError(Exception):
    """The durable history cannot be read or written; the message says what happened, why, and what to do."""


class LogWriteError(StorageError):
    """A write or a sync of the log failed (full disk, I/O error). Whoever owns the log must stop acknowledging writes.

    `errno` is the operating system's; the log refuses every later write.
    """

    def __init__(self, message: str, errno: int | None) -> None:
        super().__init__(message)
        self.errno = errno


class LogDamagedError(StorageError):
    """A log file holds damage that is not a torn tail: records that may have been acknowledged lie behind it.

    `path` and `offset` say where; `zxid_before` is the last good txn in front of the damage (0: none),
    `zxid_after` the first good one behind it (0: none was found).
    """

    def __init__(self, message: str, path: Path, offset: int, zxid_before: int, zxid_after: int) -> None:
        super().__init__(message)
        self.path = path
        self.offset = offset
        self.zxid_before = zxid_before
        self.zxid_after = zxid_after


class SnapshotDamagedError(StorageError):
    """This snapshot file cannot be trusted (torn, or its checksum differs). An older one may still serve."""

    def __init__(self, message: str, path: Path) -> None:
        super().__init__(message)
        self.path = path


class DirectoryLockedError(StorageError):
    """Another process serves from this directory."""

    def __init__(self, message: str, pid: int | None) -> None:
        super().__init__(message)
        self.pid = pid


@dataclass(frozen=True, slots=True)
class Gap:
    """zxids that are missing inside one log file, behind the snapshot that the log is read from.

    No reason to refuse: a follower of an ensemble that was brought up to date by a snapshot goes on in the same file
    (its snapshot is beside it), and before 3.9 a multi with a null path took a zxid and left no record.
    """

    path: Path
    after_zxid: int
    before_zxid: int

    def __str__(self) -> str:
        return (
            f"{self.path}: no txn between zxid 0x{self.after_zxid:x} and 0x{self.before_zxid:x}, and no snapshot that "
            f"holds them. If this server wrote the file, {self.before_zxid - self.after_zxid - 1} acknowledged writes "
            "are lost: restore it from a copy."
        )


@dataclass(frozen=True, slots=True)
class Repair:
    """Something opening the log put right. Never about an acknowledged txn; to be logged as a warning."""

    path: Path
    offset: int
    removed_bytes: int
    """Bytes that held something; the zeros of preallocation are not counted."""
    last_zxid: int
    """The last txn before it (0: none)."""
    what: str

    def __str__(self) -> str:
        cut = f"{self.removed_bytes} bytes cut after zxid 0x{self.last_zxid:x}"
        return f"{self.path}: {self.what} at offset {self.offset}, {cut}"


class TransactionLog(Protocol):
    """Blocking; owned by one thread at a time."""

    @property
    def last_zxid(self) -> int:
        """The zxid of the newest record, 0 if there is none."""

    def read(self, after_zxid: int = 0) -> Iterator[tuple[int, bytes]]:
        """(zxid, payload) of every record with zxid > after_zxid, in order. LogDamagedError when a record cannot be
        trusted.
        """

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write a batch. Not durable before `sync`. A payload is a TxnHeader and its record; its zxid is
        payload[12:20].

        Zxids must rise strictly, within the batch and after `last_zxid`: anything else is our bug (AssertionError).
        """

    def sync(self) -> None:
        """Make everything appended durable. LogWriteError: it may not be, and no further write will be taken."""

    def roll(self) -> None:
        """Go on in a new file from the next record."""

    def truncate(self, after_zxid: int) -> None:
        """Forget every record with zxid > after_zxid, durably."""

    def close(self) -> None:
        """Sync and let go of the files. Harmless when done twice."""
