"""One log file of a directory, looked at and never changed: where its records end, and whether that end may be.

In:  a path, or a buffer over the whole file.  Out: its `End`, what was ever written behind it, or a `LogDamagedError`.
Reads only; `txn_log` cuts and writes. Answers to FileTxnLog's FileTxnIterator, where it judges the end of a file.

(1) The newest file may end torn: the crash came while it was written. An older one may only if the next file goes on
    exactly where it stops.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from mmap import ACCESS_READ, mmap
from pathlib import Path

from coordination.storage.log_format import HEADER, HEADER_BYTES, Buffer, End, find_record, records
from coordination.storage.log_refusals import damaged, not_a_log


@contextmanager
def mapped(path: Path) -> Iterator[Buffer]:
    """The file as a buffer; mapped, since a preallocated file is mostly zeros that nobody needs to copy."""
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            yield b""
            return
        with mmap(file.fileno(), 0, access=ACCESS_READ) as mapping:
            yield mapping


def has_header(buffer: Buffer) -> bool:
    return len(buffer) >= HEADER.size and HEADER.unpack_from(buffer)[0] == b"ZKLG"


def newest_end(buffer: Buffer, path: Path) -> End:
    """The end of the newest file's records; a header that never reached the disk counts as an end at offset 0."""
    if not has_header(buffer):
        if any(buffer[: HEADER.size]) and not HEADER_BYTES.startswith(buffer[: HEADER.size].rstrip(b"\0")):
            raise not_a_log(path, buffer, 0)
        return End(0, 0, "the file header is cut off")
    end: list[End] = []
    for _ in records(buffer, HEADER.size, len(buffer), end):
        pass
    return end[0]


def last_used(path: Path, buffer: Buffer, start: int) -> int:
    """The offset behind the last byte at or after `start` that is not zero; `start` if there is none.

    Asks the file system for the parts that were ever written: reading 64 MiB of preallocated zeros would be most of a
    cold start.
    """
    used = start
    for begin, stop in _written_extents(path, start, len(buffer)):
        for at in range(stop, begin, -(1 << 20)):
            low = max(begin, at - (1 << 20))
            found = len(buffer[low:at].rstrip(b"\0"))
            if found:
                used = low + found
                break
    return used


def _written_extents(path: Path, start: int, size: int) -> Iterator[tuple[int, int]]:
    if not hasattr(os, "SEEK_DATA"):
        yield start, size
        return
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        at = start
        while at < size:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            stop = os.lseek(fd, at, os.SEEK_HOLE)
            yield at, min(stop, size)
            at = stop
    finally:
        os.close(fd)


def first_zxid(path: Path) -> int | None:
    with mapped(path) as buffer:
        end: list[End] = []
        return next((zxid for zxid, _, _ in records(buffer, HEADER.size, len(buffer), end)), None)


def check_inner_end(
    buffer: Buffer, path: Path, end: End, following: int | None, after_zxid: int, data_dir: Path
) -> None:
    """A file that is not the newest may end torn only if the next one provably goes on where it stops, or where what
    is wanted begins: behind `after_zxid`.

    (ZooKeeper begins a new file after a crash and leaves the torn one as it is; we cut it: invariant 3 of `txn_log`.)
    """
    if end.fault is None or (following is not None and following <= max(end.last_zxid, after_zxid) + 1):
        return
    behind = find_record(buffer, end.offset, len(buffer), end.last_zxid)
    raise damaged(path, end, behind or (0, following or 0), data_dir)


def zxid_missing(zxid: int, following: int) -> bool:
    """Whether a zxid is missing between two records. A new epoch begins wherever its leader did, so only one epoch can
    be judged.
    """
    return zxid > 0 and zxid >> 32 == following >> 32 and following > zxid + 1
