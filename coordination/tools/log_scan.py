"""Log and snapshot files looked at without changing a byte: what they hold, how they end, where something is missing.

In: a directory or files.  Out: a report per file, and the gaps between them.
Knows no command line.  Uses the format rooms of `storage` and not `TxnLog`, whose `open` repairs what it finds.

(1) Nothing is written, locked or created.
(2) The end of a file is one of: clean (zeros or the end of the file follow), torn (a record that never got whole,
    nothing good behind it), damaged (good records lie behind a bad one).
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from mmap import ACCESS_READ, mmap
from pathlib import Path

from coordination.errors import RemoteProtocolError
from coordination.state import txn
from coordination.state.tree_digest import ZxidDigest, digest_stat, znode_digest
from coordination.storage import log_names
from coordination.storage.api import StorageError
from coordination.storage.log_file import has_header, newest_end, zxid_missing
from coordination.storage.log_format import HEADER, Buffer, End, find_record, may_follow, records, was_whole
from coordination.storage.snapshot import Snapshot, snapshot_files
from coordination.storage.snapshot_format import OPEN_ACL_ID
from coordination.storage.txn_log import VERSION_DIRECTORY

CLEAN, TORN, DAMAGED = "clean", "torn", "damaged"


@dataclass(slots=True)
class LogReport:
    """One log file."""

    path: Path
    txns: int = 0
    first_zxid: int = 0
    last_zxid: int = 0
    end: str = CLEAN
    offset: int = 0
    """Just behind the last good record."""
    fault: str = ""
    repeats: bool = False
    """The first txn is an error that may repeat the zxid of the one before it, in another file."""
    resumes_zxid: int = 0
    """The first good txn behind damage, 0 if none was found."""
    size_bytes: int = 0
    undecodable: list[str] = field(default_factory=list)
    gaps: list[tuple[int, int]] = field(default_factory=list)
    """Between which zxids others are missing, of one epoch."""
    digests: int = 0
    """Txns with a digest of the tree behind them."""

    @property
    def sound_to_zxid(self) -> int:
        """Where to cut if the rest cannot be kept."""
        return log_names.sound_to(self.path, self.last_zxid)

    def fields(self) -> dict[str, object]:
        return {
            "file": str(self.path),
            "txns": self.txns,
            "first_zxid": f"0x{self.first_zxid:x}",
            "last_zxid": f"0x{self.last_zxid:x}",
            "end": self.end,
            "offset": self.offset,
            "fault": self.fault,
            "resumes_zxid": f"0x{self.resumes_zxid:x}" if self.resumes_zxid else None,
            "size_bytes": self.size_bytes,
            "undecodable": self.undecodable,
            "gaps": [[f"0x{before:x}", f"0x{after:x}"] for before, after in self.gaps],
            "digests": self.digests,
        }


@dataclass(slots=True)
class SnapshotReport:
    """One snapshot file."""

    path: Path
    zxid: int
    fault: str = ""
    znodes: int = 0
    sessions: int = 0
    newest_zxid: int = 0
    """The newest zxid in any Stat: a fuzzy snapshot may hold later changes than its name says."""
    size_bytes: int = 0
    acls_elsewhere: int = 0
    """Znodes whose ACL is not in the table, which was written before them: the log holds it (ZOOKEEPER-3306)."""
    digest: ZxidDigest | None = None

    def fields(self) -> dict[str, object]:
        return {
            "file": str(self.path),
            "zxid": f"0x{self.zxid:x}",
            "sound": not self.fault,
            "fault": self.fault,
            "znodes": self.znodes,
            "sessions": self.sessions,
            "newest_zxid": f"0x{self.newest_zxid:x}",
            "size_bytes": self.size_bytes,
            "acls_elsewhere": self.acls_elsewhere,
            "digest": None
            if self.digest is None
            else {"zxid": f"0x{self.digest.zxid:x}", "digest": self.digest.signed},
        }


def version_directory(given: Path) -> Path:
    """`given` or the version-2 directory in it, whichever holds the files."""
    inner = given / VERSION_DIRECTORY
    return inner if inner.is_dir() else given


def log_files(given: Path) -> list[Path]:
    """The file named, or every log file of a data directory, oldest first."""
    if given.is_file():
        return [given]
    return [path for _, path in log_names.log_files(version_directory(given))]


def snapshots_in(given: Path) -> list[Path]:
    """The file named, or every snapshot of a data directory, newest first."""
    return [given] if given.is_file() else [path for _, path in snapshot_files(version_directory(given))]


@contextmanager
def contents(path: Path) -> Iterator[Buffer]:
    """A log file up to its last byte that is not zero, as it is now.

    A server that uses the file may write behind that, which is not what is looked at; and it may give back the zeros it
    had allocated, in which a mapping of the whole file would end this process (SIGBUS).
    """
    with path.open("rb") as file:
        used = _used_bytes(file.fileno())
        if used == 0:
            yield b""
            return
        with mmap(file.fileno(), used, access=ACCESS_READ) as mapped:
            yield mapped


def _used_bytes(fd: int) -> int:
    """The offset behind the last byte that is not zero, but not less than there is of a header."""
    size = os.fstat(fd).st_size
    step = 1 << 20
    for stop in range(size, 0, -step):
        low = max(0, stop - step)
        found = len(os.pread(fd, stop - low, low).rstrip(b"\0"))
        if found:
            return max(low + found, min(size, HEADER.size))
    return min(size, HEADER.size)


def payloads(path: Path) -> Iterator[tuple[int, bytes, int]]:
    """(zxid, payload, offset behind it) of every good record up to the first bad one; none where a crash came before
    the header.  StorageError: no log file.
    """
    with contents(path) as buffer:
        if has_header(buffer):
            yield from records(buffer, HEADER.size, len(buffer), [])
        else:
            newest_end(buffer, path)


def scan_log(path: Path) -> LogReport:
    """Read a whole log file and decode every txn in it."""
    report = LogReport(path, size_bytes=path.stat().st_size)
    with contents(path) as buffer:
        if not has_header(buffer):
            try:
                report.end, report.fault = TORN, newest_end(buffer, path).fault or ""
            except StorageError as error:
                report.end, report.fault = DAMAGED, str(error)
            return report
        report.offset = HEADER.size
        end: list[End] = []
        for zxid, payload, report.offset in records(buffer, HEADER.size, len(buffer), end):
            if not report.txns:
                report.first_zxid, report.repeats = zxid, may_follow(zxid, zxid, payload)
            elif zxid_missing(report.last_zxid, zxid):
                report.gaps.append((report.last_zxid, zxid))
            report.txns += 1
            report.last_zxid = zxid
            try:
                report.digests += txn.decode_entry(payload)[2] is not None
            except RemoteProtocolError as error:
                report.undecodable.append(f"zxid 0x{zxid:x}: {error}")
        _judge_end(report, buffer, end[0])
    return report


def _judge_end(report: LogReport, buffer: Buffer, end: End) -> None:
    used = len(buffer)
    behind = find_record(buffer, end.offset, used, end.last_zxid)
    if behind is not None:
        report.end, report.resumes_zxid = DAMAGED, behind[1]
        report.fault = end.fault or "zeros end the log, but records follow them"
    elif was_whole(buffer, end.offset, used):
        report.end, report.fault = DAMAGED, f"{end.fault}, though it was written whole"
    elif end.fault or used > end.offset:
        report.end = TORN
        report.fault = end.fault or "something lies behind the zeros that end the log"


def scan_snapshot(path: Path) -> SnapshotReport:
    """Verify a snapshot and read every znode of it."""
    name = re.fullmatch(r"snapshot\.([0-9a-f]{1,16})(?:\.gz|\.snappy)?", path.name)
    if name is None:
        return SnapshotReport(path, 0, "its name is not snapshot.<zxid in hex>")
    report = SnapshotReport(path, int(name[1], 16), size_bytes=path.stat().st_size)
    known = {"/"}
    counted = 0
    try:
        with Snapshot(path) as snapshot:
            report.sessions = len(snapshot.sessions)
            for node, data, acl_id, stat in snapshot.nodes():
                report.znodes += 1
                counted += znode_digest(node, data, digest_stat(stat))
                report.newest_zxid = max(report.newest_zxid, stat[1], stat[8])
                if node != "/" and (node.rpartition("/")[0] or "/") not in known:
                    report.fault = f"{node} has no parent"
                report.acls_elsewhere += acl_id != OPEN_ACL_ID and acl_id not in snapshot.acls
                known.add(node)
            if snapshot.digest is not None and snapshot.digest[0]:
                report.digest = ZxidDigest(*snapshot.digest)
        # Of a fuzzy snapshot the log says whether its digest is right (`log verify`).
        if report.digest is not None and report.digest.zxid == report.zxid and report.digest.digest != counted:
            report.fault = report.fault or f"its digest is {report.digest.digest}, that of its znodes {counted}"
    except StorageError as error:
        report.fault = str(error)
    return report


def unexplained(reports: list[LogReport], snapshot_zxid: int) -> list[tuple[LogReport, int, int]]:
    """(file, zxid, next zxid) wherever zxids of one epoch are missing inside a file and in the snapshot, too."""
    return [
        (report, max(before, snapshot_zxid), after)
        for report in reports
        for before, after in report.gaps
        if zxid_missing(max(before, snapshot_zxid), after)
    ]


def gaps(reports: list[LogReport]) -> list[tuple[LogReport, LogReport, int]]:
    """(file, next file, txns missing between them) wherever zxids of one epoch do not go on, or go backwards (-1)."""
    found = []
    held = [report for report in reports if report.txns]
    for before, after in pairwise(held):
        if after.first_zxid < before.last_zxid + (not after.repeats):
            found.append((before, after, -1))
        elif before.last_zxid >> 32 == after.first_zxid >> 32 and after.first_zxid > before.last_zxid + 1:
            found.append((before, after, after.first_zxid - before.last_zxid - 1))
    return found
