"""The durable transaction log, in Apache ZooKeeper's files: `version-2/log.<first zxid in hex>`.

In:  batches of payloads (TxnHeader and record, as `state.txn` encodes them); a directory after a crash.
Out: the same payloads in order of zxid; `Repair`s; or a refusal that names file, offset and the zxids around the
     damage.
Looks into a payload only for its zxid (and, where that does not rise, its type). No trio, no threads: its owner calls
it from one thread at a time. Answers to FileTxnLog and FilePadding.

(1) A batch is one write; `sync` is one fdatasync. A payload that `sync` covered survives.
(2) A file's directory entry is durable before its first record is.
(3) What `open` accepts is durable and followed by nothing but zeros: records a dead process left unsynced in the page
    cache are synced before anyone sees them, and a torn tail is cut off the file, not only skipped (ZooKeeper itself
    refuses a log with a bad checksum at its end).
(4) A tail is torn only if no good record follows it and it is not whole itself. Anything else is damage:
    LogDamagedError, and not a byte is changed.
(5) After a failed write or sync nothing is written again. (After a failed fsync the kernel may call dirty pages clean:
    trying again proves nothing.)
(6) Between two files of one epoch no zxid is missing, or `read` refuses: a lost file is never skipped in silence.
    Inside a file one may be missing, and is told of (`Gap` says why).

Rejected: cutting a hole of zeros in the last batch as etcd does (after a power cut, later pages may have reached the
disk before earlier ones). The file alone cannot tell that from a lost sector under acknowledged records, so the
operator decides; the message says how.
"""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from zlib import adler32

from coordination.storage.api import Gap, LogWriteError, Repair, StorageError
from coordination.storage.log_file import (
    check_inner_end,
    first_zxid,
    has_header,
    last_used,
    mapped,
    newest_end,
    zxid_missing,
)
from coordination.storage.log_format import (
    HEADER,
    HEADER_BYTES,
    RECORD_HEAD,
    TXN_HEADER_BYTES,
    ZXID,
    End,
    find_record,
    may_follow,
    records,
    was_whole,
)
from coordination.storage.log_names import log_files
from coordination.storage.log_refusals import backwards, damaged, missing_file, not_a_log

VERSION_DIRECTORY = "version-2"
DEFAULT_PREALLOC_BYTES = 64 << 20
# FilePadding grows a file when less than this is left, so that a batch seldom has to.
_PADDING_RESERVE_BYTES = 4096
# The next file before it has its name: allocated and synced, so that beginning it costs the writers no 8 ms.
_PREPARED_NAME = ".log.next.tmp"

_datasync = getattr(os, "fdatasync", os.fsync)


class TxnLog:
    """The log of one server. `open` it; then `read`, then `append` and `sync`."""

    def __init__(self, directory: Path, prealloc_bytes: int, file_bytes_max: int, data_dir: Path) -> None:
        """For `open` only."""
        self.directory = directory
        self._data_dir = data_dir
        self.appended_bytes = 0
        """Since the log was opened."""
        self._file_bytes_max = file_bytes_max
        self.last_zxid = 0
        self.repairs: list[Repair] = []
        self.gaps: list[Gap] = []
        """What `read` came over."""
        self._prealloc_bytes = prealloc_bytes
        self._fd = -1
        self._path = directory
        self._position = 0
        self._allocated = 0
        self._dirty = False
        self._failed: str | None = None
        self._prepared: tuple[int, int] | None = None  # descriptor, allocated bytes

    @classmethod
    def open(
        cls,
        log_dir: Path,
        *,
        prealloc_bytes: int = DEFAULT_PREALLOC_BYTES,
        file_bytes_max: int = 0,
        data_dir: Path | None = None,
    ) -> "TxnLog":
        """Open the log kept in `log_dir`/version-2, creating the directory when absent. A file that a sync finds larger
        than `file_bytes_max` (txnLogSizeLimitInKb; 0: any size) is finished: the next record begins a new one.
        `data_dir`: where the snapshots are, if not in `log_dir`; a refusal names it.

        Cuts a torn tail and drops empty newest files (listed in `.repairs`, to be logged). Raises LogDamagedError when
        good records lie behind a bad one, StorageError when the directory cannot be used. Only the newest file is
        checked here; `read` checks what it reads.
        """
        assert prealloc_bytes >= 0
        log = cls(log_dir / VERSION_DIRECTORY, prealloc_bytes, file_bytes_max, data_dir or log_dir)
        with _wrapped("open the transaction log in", log.directory):
            log.directory.mkdir(parents=True, exist_ok=True)
            (log.directory / _PREPARED_NAME).unlink(missing_ok=True)
            log._recover()
        return log

    # -- reading

    def files(self) -> list[tuple[int, Path]]:
        """(zxid in the name, path) of every log file, oldest first."""
        return log_files(self.directory)

    def read(self, after_zxid: int = 0) -> Iterator[tuple[int, bytes]]:
        """(zxid, payload) of every record with zxid > after_zxid, in order; a TxnDigest behind the record stays in the
        payload.

        Starts in the newest file whose name is not above `after_zxid`, so the cost is that of what is wanted.
        LogDamagedError as soon as something cannot be trusted; what was yielded before it is good.  zxids that are
        missing inside a file are listed in `.gaps`.
        """
        self.gaps.clear()
        files = self.files()
        first = max((i for i, (named, _) in enumerate(files) if named <= after_zxid), default=0)
        last_zxid = 0
        for i, (_, path) in enumerate(files[first:], first):
            newest = i == len(files) - 1
            with mapped(path) as buffer:
                if not has_header(buffer):
                    raise not_a_log(path, buffer, last_zxid)
                size = self._position if newest and path == self._path else len(buffer)
                end: list[End] = []
                found = records(buffer, HEADER.size, size, end)
                for zxid, payload, _ in found:  # the first one is judged; within a file they rise
                    if not may_follow(last_zxid, zxid, payload):
                        raise backwards(path, zxid, last_zxid)
                    if last_zxid >= after_zxid and zxid_missing(last_zxid, zxid):
                        raise missing_file(path, last_zxid, zxid)
                    if zxid > after_zxid:
                        yield zxid, payload
                    last_zxid = zxid
                    break
                for zxid, payload, _ in found:
                    if zxid > after_zxid:
                        if zxid > last_zxid + 1 and zxid_missing(known := max(last_zxid, after_zxid), zxid):
                            self.gaps.append(Gap(path, known, zxid))
                        yield zxid, payload
                    last_zxid = zxid
                last_zxid = end[0].last_zxid or last_zxid
                if not newest:
                    following = first_zxid(files[i + 1][1])
                    check_inner_end(buffer, path, end[0], following, after_zxid, self._data_dir)

    # -- writing

    def append(self, payloads: Sequence[bytes]) -> None:
        """Write a batch with one write. Not durable before `sync`. LogWriteError when it cannot be written whole (see
        invariant 5).
        """
        if not payloads:
            return
        self._check_usable()
        if self._fd >= 0 and 0 < self._file_bytes_max < self._position:
            self.roll()  # `sync` has done it, but where forceSync=no nobody calls that
        parts: list[bytes] = []
        add, head, zxid_of = parts.append, RECORD_HEAD.pack, ZXID.unpack_from
        last = self.last_zxid
        for payload in payloads:
            assert len(payload) >= TXN_HEADER_BYTES, f"a payload of {len(payload)} bytes holds no txn header"
            (zxid,) = zxid_of(payload)
            assert zxid > last, f"zxid 0x{zxid:x} after 0x{last:x}"
            last = zxid
            add(head(adler32(payload), len(payload)))
            add(payload)
            add(b"B")
        batch = b"".join(parts)
        try:
            if self._fd < 0:
                self._create(ZXID.unpack_from(payloads[0])[0])
            if self._position + len(batch) + _PADDING_RESERVE_BYTES >= self._allocated:
                self._grow(len(batch))
            self._dirty = True
            written = os.pwrite(self._fd, batch, self._position)
            while written < len(batch):
                # Only a nearly full disk or a signal gives a short write; the next try says which.
                written += os.pwrite(self._fd, batch[written:], self._position + written)
        except OSError as error:
            raise self._fail("write to", error) from error
        self._position += len(batch)
        self.appended_bytes += len(batch)
        self.last_zxid = last

    def sync(self) -> None:
        """Make everything appended durable (fdatasync). LogWriteError: it may not be, and no further write will be
        taken.
        """
        self._check_usable()
        if not self._dirty:
            return
        try:
            _datasync(self._fd)
        except OSError as error:
            raise self._fail("sync", error) from error
        if os.fstat(self._fd).st_nlink == 0:
            self._failed = (
                f"{self._path} was removed while the server wrote to it, and what it held is gone with it. Writes stop "
                "here. Put the directory back from a copy, then restart the server."
            )
            raise LogWriteError(self._failed, errno.ENOENT)
        self._dirty = False
        if 0 < self._file_bytes_max < self._position:
            self.roll()

    def roll(self) -> None:
        """Finish this file (synced, its unused preallocation given back); the next record begins a new one."""
        self.sync()
        if self._fd >= 0:
            try:
                # Not synced on purpose: if the old length comes back after a crash, zeros follow the last record, as
                # before.
                os.ftruncate(self._fd, self._position)
            except OSError as error:
                raise self._fail("trim", error) from error
            self._release()

    def prepare(self) -> None:
        """Make the file that will follow the present one; may run in any thread beside the other calls but `close`.
        A disk that refuses is heard of when the file is needed.
        """
        if self._prepared is not None or self._failed is not None:
            return
        path = self.directory / _PREPARED_NAME
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        except OSError:
            return
        try:
            os.pwrite(fd, HEADER_BYTES, 0)
            allocated = HEADER.size
            if self._prealloc_bytes and hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fd, 0, self._prealloc_bytes)
                allocated = self._prealloc_bytes
            os.fsync(fd)
        except OSError:
            os.close(fd)
            path.unlink(missing_ok=True)
            return
        self._prepared = fd, allocated

    def advance(self, zxid: int) -> None:
        """Take no zxid up to this one any more, and begin a new file: a snapshot already holds them (ZOOKEEPER-582)."""
        assert zxid >= self.last_zxid
        self.roll()
        self.last_zxid = zxid

    def truncate(self, after_zxid: int) -> None:
        """Forget every record with zxid > after_zxid, durably. A crash in between leaves a longer prefix, never a
        hole.
        """
        self.sync()
        self._release()
        with _wrapped("truncate the transaction log in", self.directory):
            for named, path in reversed(self.files()):
                if named > after_zxid:
                    path.unlink()
                    _sync_directory(self.directory)
                else:
                    self._cut_behind(path, after_zxid)
                    break
            self.last_zxid = 0
            self._recover()

    def close(self) -> None:
        """Sync, give back the unused preallocation and let go of the file. Does nothing after a failure or a second
        time.
        """
        if self._failed is None:
            self.roll()
        self._release()
        if self._prepared is not None:
            os.close(self._prepared[0])
            self._prepared = None
            (self.directory / _PREPARED_NAME).unlink(missing_ok=True)

    # -- inside

    def _check_usable(self) -> None:
        if self._failed is not None:
            raise LogWriteError(f"the transaction log takes no more writes since: {self._failed}", None)

    def _fail(self, doing: str, error: OSError) -> LogWriteError:
        self._failed = (
            f"cannot {doing} {self._path}: {error.strerror or error}. Writes stop here, nothing acknowledged is lost. "
            "Free or repair the disk, then restart the server."
        )
        return LogWriteError(self._failed, error.errno)

    def _release(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _create(self, zxid: int) -> None:
        self._path = self.directory / f"log.{zxid:x}"
        if self._prepared is not None:
            (self._fd, self._allocated), self._prepared = self._prepared, None
            self._position = HEADER.size
            # As O_EXCL below: a rename would take its place, and a link is nothing that every disk can make.
            if os.path.lexists(self._path):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(self._path))
            os.rename(self.directory / _PREPARED_NAME, self._path)
            _sync_directory(self.directory)
            return
        # O_EXCL: a file of this name would hold a record with this zxid, which can only be our bug.
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        os.pwrite(self._fd, HEADER_BYTES, 0)
        self._position = self._allocated = HEADER.size
        self._grow(0)
        os.fsync(self._fd)
        _sync_directory(self.directory)

    def _grow(self, batch_bytes: int) -> None:
        """Allocate zeros ahead, so that the usual fdatasync has no file length to write."""
        if not self._prealloc_bytes or not hasattr(os, "posix_fallocate"):
            return
        wanted = self._position + batch_bytes + _PADDING_RESERVE_BYTES
        step = self._prealloc_bytes
        target = (wanted // step + 1) * step
        try:
            os.posix_fallocate(self._fd, self._allocated, target - self._allocated)
        except OSError:
            # A disk too full for the reserve, or a file system that cannot: write without; a disk full in truth will
            # say so at the write.
            return
        self._allocated = target

    def _recover(self) -> None:
        """Find the last good record, cut what is torn behind it, and go on writing there."""
        for _, path in reversed(self.files()):
            with mapped(path) as buffer:
                end = newest_end(buffer, path)
                left = last_used(path, buffer, end.offset)
                if left > end.offset:
                    behind = find_record(buffer, end.offset, left, end.last_zxid)
                    if behind is not None or was_whole(buffer, end.offset, left):
                        raise damaged(path, end, behind, self._data_dir)
                    what = f"torn tail ({end.fault or 'something lies behind the zeros that end the log'})"
                    self.repairs.append(Repair(path, end.offset, left - end.offset, end.last_zxid, what))
                whole = len(buffer)
            if not end.last_zxid:
                # A file with no record (the crash came between creating and syncing it) would only be in the way of its
                # own name.
                if left <= end.offset:
                    self.repairs.append(Repair(path, 0, 0, 0, "log file without a record removed"))
                path.unlink()
                _sync_directory(self.directory)
                continue
            self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            self._path, self._position, self._allocated = path, end.offset, whole
            self.last_zxid = end.last_zxid
            if left > end.offset:
                os.ftruncate(self._fd, end.offset)
                self._allocated = end.offset
            os.fsync(self._fd)
            return

    def _cut_behind(self, path: Path, after_zxid: int) -> None:
        with mapped(path) as buffer:
            end: list[End] = []
            keep = HEADER.size
            for zxid, _, stop in records(buffer, HEADER.size, len(buffer), end):
                if zxid > after_zxid:
                    break
                keep = stop
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(fd, keep)
            os.fsync(fd)
        finally:
            os.close(fd)


@contextmanager
def _wrapped(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot {doing} {path}: {error.strerror or error}. "
            "Check that the directory exists, is this user's and has room."
        ) from error


def _sync_directory(directory: Path) -> None:
    """A new or removed name survives a crash only when its directory was synced."""
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
