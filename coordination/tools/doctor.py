"""`coordination doctor DATADIR`: is this directory sound, and can a server start on it?

In: a data directory (and a log directory, if they are two).  Out: a line per finding, [OK], [WARN] or [FAIL], each bad
one with what to do; the exit code.
Answers to the checks ZooKeeper leaves to its operators (ZOOKEEPER-582, -2967, purge, ownership, disk).

(1) Nothing is changed, and nothing is locked for longer than it takes to see whether it is.
"""

import fcntl
import json
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from coordination.storage.api import Gap
from coordination.storage.directory_lock import LOCK_FILE
from coordination.storage.log_names import zxid_in_name
from coordination.storage.log_refusals import repair_command
from coordination.storage.txn_log import VERSION_DIRECTORY
from coordination.tools import log_scan, words
from coordination.tools.arguments import Parser, fail
from coordination.tools.log_scan import LogReport, SnapshotReport

Report = TypeVar("Report", LogReport, SnapshotReport)
OK, WARN, FAIL = "OK", "WARN", "FAIL"
_FREE_BYTES_FAIL = 128 << 20  # a log file is grown by 64 MiB
_FREE_BYTES_WARN = 1 << 30
_FREE_SHARE_WARN = 0.05
_FILE = re.compile(r"(log|snapshot)\.[0-9a-f]+(\.gz|\.snappy)?")
_NUMBER = re.compile(r"[0-9]{1,19}")
# What stands in a data directory beside version-2.
_BESIDE = frozenset({LOCK_FILE, "zookeeper_server.pid", "myid"})
_EPILOG = """\
examples:
  coordination doctor data
  coordination doctor --json data | jq '.findings[] | select(.level != "OK")'

exit codes: 0 nothing that stops a server (warnings too), 2 usage, 7 something must be done first"""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    check: str
    level: str
    text: str
    hint: str = ""

    def line(self) -> str:
        mark = f"[{self.level}]".ljust(6)
        return f"{mark} {self.check:<12} {self.text}" + (f"\n       try: {self.hint}" if self.hint else "")


def run(argv: list[str]) -> int:
    """The command; its exit code."""
    parser = Parser("coordination doctor", "Examine a data directory without changing it.", _EPILOG)
    parser.add_argument("directory", type=Path, metavar="DATADIR")
    parser.add_argument("--log-dir", type=Path, metavar="DIR", help="dataLogDir, when the logs lie elsewhere")
    parser.add_argument("--json", action="store_true", help="one object")
    options = parser.parse_args(argv)
    if not options.directory.is_dir():
        return fail(f"{options.directory} is no directory", "the dataDir of the server", as_json=options.json)
    findings = []
    for finding in examine(options.directory, options.log_dir):
        findings.append(finding)
        if not options.json:
            print(finding.line(), flush=True)
    failed = sum(each.level == FAIL for each in findings)
    warned = sum(each.level == WARN for each in findings)
    if options.json:
        head = {"schema": "coordination.doctor/1", "passed": not failed, "failed": failed, "warned": warned}
        print(json.dumps({**head, "findings": [asdict(each) for each in findings]}))
    else:
        print(f"{len(findings)} checks, {warned} warnings, {failed} failures")
    return words.EXIT_ENVIRONMENT if failed else words.EXIT_OK


def examine(data_dir: Path, log_dir: Path | None = None) -> Iterator[Finding]:
    """Every finding, the quick ones first; the last one is that something cannot be read, if so."""
    try:
        yield from _examine(data_dir, log_dir)
    except OSError as error:
        yield Finding("files", FAIL, f"{error.filename}: {error.strerror}", "let this user read the directory")


def _examine(data_dir: Path, log_dir: Path | None) -> Iterator[Finding]:
    logs_in = log_dir or data_dir
    directories = list(dict.fromkeys((data_dir, logs_in)))
    for directory in directories:
        yield _lock(directory)
        yield from _permissions(directory)
        yield _room(directory)
    yield from _places(data_dir, logs_in, log_dir is not None)
    yield from _leftovers(data_dir, logs_in)
    logs = list(_reports(log_scan.scan_log, log_scan.log_files(logs_in)))
    snapshots = list(_reports(log_scan.scan_snapshot, log_scan.snapshots_in(data_dir)))
    yield from _logs(logs, data_dir, logs_in)
    yield from _snapshots(snapshots)
    yield from _together(logs, snapshots)
    yield from _epochs(data_dir, logs)


def _reports(scan: Callable[[Path], Report], paths: list[Path]) -> Iterator[Report]:
    for path in paths:
        try:
            yield scan(path)
        except FileNotFoundError:
            if path.is_symlink():
                raise
            # Else a server that uses the directory has purged it meanwhile.


def _lock(directory: Path) -> Finding:
    path = directory / LOCK_FILE
    pid_file = directory / "zookeeper_server.pid"
    if pid_file.exists() and (pid := _pid_in(pid_file)) and Path(f"/proc/{pid}").exists():
        return Finding("lock", WARN, f"Apache ZooKeeper seems to serve from {directory} (pid {pid}); it takes no lock",
                       "stop it before another server starts here")  # fmt: skip
    if not path.exists():
        return Finding("lock", OK, f"nobody serves from {directory}")
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        return Finding("lock", FAIL, f"{path}: {error.strerror}", "chown the directory to the user who runs the server")
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = _pid_in(path)
        return Finding(
            "lock",
            WARN,
            f"{directory} is served by process {pid or '?'}: what follows is of a moment; a second server is refused",
            f"stop process {pid or '?'} and look again" if pid else "",
        )
    finally:
        os.close(fd)
    return Finding("lock", OK, f"nobody serves from {directory}")


def _pid_in(path: Path) -> int | None:
    try:
        text = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return int(text) if _NUMBER.fullmatch(text) else None


def _permissions(directory: Path) -> Iterator[Finding]:
    me = os.geteuid()
    bad = []
    readable = []
    version = directory / VERSION_DIRECTORY
    looked_at = [directory, *([version, *sorted(version.iterdir())] if version.is_dir() else [])]
    for path in looked_at:
        try:
            about = path.stat()
        except FileNotFoundError:
            if path.is_symlink():
                bad.append(f"{path} (a link that leads nowhere)")
            continue
        wanted = os.R_OK | os.W_OK | (os.X_OK if path.is_dir() else 0)
        if not os.access(path, wanted):
            bad.append(f"{path} (owner {about.st_uid}, mode {stat.S_IMODE(about.st_mode):o})")
        elif about.st_uid != me:
            bad.append(f"{path} (owner {about.st_uid}, you are {me})")
        if path.is_file() and about.st_mode & stat.S_IROTH:
            readable.append(path)
    if not bad:
        yield Finding("permissions", OK, f"{len(looked_at)} files and directories are this user's to read and write")
    else:
        more = f" and {len(bad) - 3} more" if len(bad) > 3 else ""
        can = all(os.access(path, os.R_OK | os.W_OK) for path in looked_at)
        hint = f"chown -R USER {directory}, for the user who runs the server"
        yield Finding("permissions", WARN if can else FAIL, "; ".join(bad[:3]) + more, hint)
    # Values and the hashes of digest ACLs are in these files, whatever the ACLs say.
    way_in = [each for each in (version, directory.resolve(), *directory.resolve().parents) if each.is_dir()]
    if readable and all(each.stat().st_mode & stat.S_IXOTH for each in way_in):
        text = f"every user of this machine can read {len(readable)} files, with all values and password hashes in them"
        yield Finding("permissions", WARN, text, f"chmod o-rwx {directory}")


def _room(directory: Path) -> Finding:
    about = os.statvfs(directory)
    free, size = about.f_bavail * about.f_frsize, about.f_blocks * about.f_frsize
    text = f"{free / (1 << 30):.1f} GiB free of {size / (1 << 30):.1f} GiB under {directory}"
    if about.f_files and not about.f_favail:
        return Finding("space", FAIL, f"no inode is free under {directory}", "remove files on this file system")
    if free < _FREE_BYTES_FAIL:
        return Finding("space", FAIL, f"{text}: a server stops writing when the disk is full", "free at least 1 GiB")
    if free < _FREE_BYTES_WARN or (size and free / size < _FREE_SHARE_WARN):
        return Finding(
            "space", WARN, text, "free some; autopurge.snapRetainCount and purgeInterval remove old snapshots"
        )
    return Finding("space", OK, text)


def _places(data_dir: Path, log_dir: Path, apart: bool) -> Iterator[Finding]:
    version = data_dir / VERSION_DIRECTORY
    if not version.is_dir():
        # A lock is no sign of a tree: a server that could not start leaves one too.
        names = sorted(path.name for path in data_dir.iterdir() if path.name not in _BESIDE)
        if any(_FILE.fullmatch(name) for name in names):
            yield Finding("layout", FAIL, f"{data_dir} holds log or snapshot files itself; they belong into {version}",
                          f"coordination doctor {data_dir.parent}")  # fmt: skip
        elif names:
            more = ", ..." if len(names) > 3 else ""
            text = f"{data_dir} holds no tree but {', '.join(names[:3])}{more}: a server would start empty, beside them"
            yield Finding("layout", WARN, text, "is it the dataDir of the server's zoo.cfg?")
        else:
            yield Finding("layout", OK, f"{data_dir} is empty: a server would start with an empty tree")
        return
    if apart and log_dir.resolve() != data_dir.resolve():
        for directory, kind, other in (
            (version, "log", "dataLogDir"),
            (log_dir / VERSION_DIRECTORY, "snapshot", "dataDir"),
        ):
            found = next(directory.glob(f"{kind}.*"), None) if directory.is_dir() else None
            if found is not None:
                text = (
                    f"{found} is a {kind} and lies in the wrong directory: a server might start empty (ZOOKEEPER-2967)"
                )
                yield Finding("layout", FAIL, text, f"are dataDir and dataLogDir swapped? move it to {other}/version-2")
                return
    yield Finding("layout", OK, f"{version} is where the files lie")


def _leftovers(data_dir: Path, log_dir: Path) -> Iterator[Finding]:
    found = []
    for directory in dict.fromkeys((data_dir / VERSION_DIRECTORY, log_dir / VERSION_DIRECTORY)):
        if directory.is_dir():
            found += [path for path in sorted(directory.iterdir()) if path.name.endswith(".tmp")]
    if found:
        names = ", ".join(path.name for path in found[:3])
        yield Finding("leftovers", WARN, f"{len(found)} unfinished files: {names} (a crash while writing; harmless)",
                      "a server removes its own when it starts")  # fmt: skip


def _logs(logs: list[LogReport], data_dir: Path, log_dir: Path) -> Iterator[Finding]:
    if not logs:
        yield Finding("logs", OK, "there is no log file")
        return
    txns = sum(report.txns for report in logs)
    bad = False
    for at, report in enumerate(logs):
        newest = at + 1 == len(logs)
        where = f"{report.path.name}: after zxid 0x{report.sound_to_zxid:x}, at offset {report.offset}: {report.fault}"
        if report.end == log_scan.DAMAGED:
            bad = True
            yield Finding("logs", FAIL, f"damaged, {where}",
                          "restore the file from a copy or another member; else "
                          + repair_command(report.sound_to_zxid, data_dir, log_dir))  # fmt: skip
        elif report.end == log_scan.TORN and newest:
            yield Finding("logs", WARN, f"torn tail, {where}", "none needed: a server cuts it when it starts")
        elif report.end == log_scan.TORN:
            following = next((each.first_zxid for each in logs[at + 1 :] if each.txns), 0)
            if following != report.last_zxid + 1:
                bad = True
                yield Finding("logs", FAIL, f"torn, and the next file does not go on there, {where}",
                              "restore the file from a copy or another member")  # fmt: skip
        if not report.txns and report.end == log_scan.CLEAN:
            level = OK if newest else WARN
            yield Finding("logs", level, f"{report.path.name} holds no txn (a crash after creating it)")
        for each in report.undecodable[:3]:
            bad = True
            text = f"{report.path.name}: {each} (its checksum holds: written by a newer or another program?)"
            yield Finding("logs", FAIL, text, f"coordination log dump {report.path}")
        expected = zxid_in_name(report.path)
        if expected is not None and report.txns and report.first_zxid != expected:
            text = f"{report.path.name} begins with zxid 0x{report.first_zxid:x}, its name says 0x{expected:x}"
            yield Finding("logs", WARN, text, "was it renamed?")
    if not bad:
        yield Finding("logs", OK, f"{len(logs)} files, {txns} txns, every checksum holds")
    for before, after, missing in log_scan.gaps(logs):
        what = f"{missing} txns are missing" if missing > 0 else "zxids go backwards"
        yield Finding("gaps", FAIL, f"{what} between {before.path.name} (to 0x{before.last_zxid:x}) and "
                      f"{after.path.name} (from 0x{after.first_zxid:x})",
                      "put the file in between back from a copy or another member")  # fmt: skip


def _snapshots(snapshots: list[SnapshotReport]) -> Iterator[Finding]:
    if not snapshots:
        yield Finding("snapshots", OK, "there is no snapshot")
        return
    sound = [report for report in snapshots if not report.fault]
    for report in snapshots:
        if report.fault:
            older = next((each for each in sound if each.zxid < report.zxid), None)
            hint = f"a server passes it over for {older.path.name}; remove it when it has started" if older else ""
            hint = hint or "restore it from a copy or another member, if the logs do not begin at the beginning"
            yield Finding("snapshots", WARN, report.fault, hint)
    if sound:
        newest = sound[0]
        text = (
            f"{len(sound)} of {len(snapshots)} are whole; the newest is 0x{newest.zxid:x} with {newest.znodes} znodes"
        )
        yield Finding("snapshots", OK, text)


def _together(logs: list[LogReport], snapshots: list[SnapshotReport]) -> Iterator[Finding]:
    base = max((report.zxid for report in snapshots if not report.fault), default=0)
    newest = max((report.zxid for report in snapshots), default=0)
    last = max((report.last_zxid for report in logs), default=0)
    for report, zxid, following in log_scan.unexplained(logs, base):
        hint = "restore the file from a copy or another member, if txns of yours are missing"
        yield Finding("gaps", WARN, str(Gap(report.path, zxid, following)), hint)
    after = next((report for report in logs if report.last_zxid > base), None)
    if after is not None:
        first = after.first_zxid
        late = first & 0xFFFFFFFF > 1 if not base or first >> 32 != base >> 32 else first > base + 1
        if late:
            since = f"the newest whole snapshot ends at 0x{base:x}" if base else "there is no whole snapshot"
            text = f"{since}, and {after.path.name} goes on at 0x{first:x}: the txns in between are missing"
            yield Finding(
                "recovery", FAIL, text, "put the missing snapshot or log file back from a copy or another member"
            )
            return
    if newest > max(base, last):
        text = f"the damaged snapshot.{newest:x} is the only trace of writes after 0x{max(base, last):x}"
        yield Finding(
            "recovery", FAIL, text, "restore it from a copy or another member, or move it away to go on without"
        )
        return
    if logs and base > last:
        text = f"the log ends at 0x{last:x}, before the newest snapshot (0x{base:x}): the trap of ZOOKEEPER-582"
        hint = "our server goes on after the snapshot and uses no zxid twice; if the log lost a file, put it back"
        yield Finding("recovery", WARN, text, hint)
        return
    count = sum(report.last_zxid > base for report in logs)
    start = f"snapshot 0x{base:x}" if base else "an empty tree"
    yield Finding(
        "recovery", OK, f"a server starts from {start} and replays {count} log file(s) up to 0x{max(base, last):x}"
    )


def _epochs(data_dir: Path, logs: list[LogReport]) -> Iterator[Finding]:
    """An ensemble member's files: myid, acceptedEpoch, currentEpoch."""
    version = data_dir / VERSION_DIRECTORY
    epochs = {}
    for name in ("currentEpoch", "acceptedEpoch"):
        path = version / name
        if path.exists():
            text = path.read_text(errors="replace").strip()
            if not _NUMBER.fullmatch(text):
                yield Finding("epochs", FAIL, f"{path} holds {text[:20]!r}, not a number", "restore it from a copy")
                return
            epochs[name] = int(text)
    if not epochs:
        return
    current, accepted = epochs.get("currentEpoch", 0), epochs.get("acceptedEpoch", 0)
    logged = max((report.last_zxid for report in logs), default=0) >> 32
    if current > accepted:
        text = f"currentEpoch {current} is above acceptedEpoch {accepted}: a member refuses to start so"
        yield Finding("epochs", FAIL, text, f"write {current} into {version / 'acceptedEpoch'}")
    elif logged > current:
        text = f"the log holds epoch {logged}, currentEpoch says {current}: a crash between the two"
        yield Finding("epochs", WARN, text, f"write {logged} into both files if the member refuses to start")
    else:
        yield Finding("epochs", OK, f"currentEpoch {current}, acceptedEpoch {accepted}, newest logged epoch {logged}")
