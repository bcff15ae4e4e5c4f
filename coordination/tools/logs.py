"""`coordination log dump|verify|truncate`: transaction logs, ZooKeeper's or ours.

In: argv.  Out: txns as lines or JSON; a verdict per file; or a log cut behind a zxid.
Answers to TxnLogToolkit (dump, chop).

(1) dump and verify change nothing, also on a directory a server is using.
(2) truncate works only on a directory nobody uses, says what it will do before it does it, and leaves what it takes
    away in a directory of its own. A crash in between leaves a longer log than asked for, never a hole.
(3) truncate refuses what would leave nothing to start from: then an older snapshot is needed first.
"""

import json
import os
import sys
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from coordination.errors import RemoteProtocolError
from coordination.paths import is_under
from coordination.state import txn
from coordination.storage.api import DirectoryLockedError, Gap, StorageError
from coordination.storage.directory_lock import DirectoryLock
from coordination.storage.log_format import HEADER
from coordination.storage.log_refusals import repair_command
from coordination.storage.txn_log import VERSION_DIRECTORY
from coordination.tools import digest_check, log_scan, words
from coordination.tools.arguments import Parser, fail
from coordination.tools.commands import NO_ROOM
from coordination.tools.digest_check import DigestCheck
from coordination.tools.log_scan import LogReport, SnapshotReport
from coordination.tools.txn_text import Show, paths_of, txn_json, txn_line

ZXID_MAX = (1 << 63) - 1
_EPILOG = """\
commands:
  dump FILE|DATADIR ...            every txn, one per line
  verify FILE|DATADIR ...          checksums, order, gaps, torn tails; changes nothing
  truncate --after ZXID DATADIR    forget every txn behind ZXID; what is taken away is kept beside it

examples:
  coordination log dump --zxid 0x100-0x1ff --path /config data
  coordination log dump --json data | jq 'select(.type == "setData")'
  coordination log verify data
  coordination log truncate --after 0x2a data

exit codes: 0 sound, 2 usage, 4 refused (in use), 6 damage or gaps found"""


def run(argv: list[str]) -> int:
    """The command; its exit code."""
    parser = Parser("coordination log", "Look into transaction logs, verify them, or cut one.", _EPILOG)
    parser.add_argument("action", choices=("dump", "verify", "truncate"), metavar="dump|verify|truncate")
    parser.add_argument("places", nargs="+", type=Path, metavar="FILE|DATADIR")
    parser.add_argument("--json", action="store_true", help="an object per txn (dump), one in all (verify, truncate)")
    parser.add_argument(
        "--zxid",
        type=zxid_range,
        default=(0, ZXID_MAX),
        metavar="A-B",
        help="dump: only these zxids; A, A- and -B will do; hexadecimal with 0x",
    )
    parser.add_argument("--path", metavar="PATH", help="dump: only txns that touch PATH or something under it")
    parser.add_argument("--session", type=session_of, metavar="ID", help="dump: only txns of this session")
    parser.add_argument("-d", "--data", action="store_true", help="dump: values in full")
    parser.add_argument("--digests", action="store_true", help="dump: do not mask the hashes of digest ACLs")
    parser.add_argument("--after", type=zxid_of, metavar="ZXID", help="truncate: the last zxid that stays")
    parser.add_argument("--log-dir", type=Path, metavar="DIR", help="truncate: dataLogDir, when the logs lie elsewhere")
    parser.add_argument("-n", "--dry-run", action="store_true", help="truncate: only say what would be done")
    parser.add_argument("-y", "--yes", action="store_true", help="truncate: do not ask")
    options = parser.parse_intermixed_args(argv)
    try:
        return _ACTIONS[options.action](options)
    except FileNotFoundError as error:
        return fail(f"{error.filename}: no such file or directory", as_json=options.json)
    except DirectoryLockedError as error:
        return fail(str(error), exit_code=words.EXIT_REFUSED, as_json=options.json)
    except BrokenPipeError:
        raise
    except (StorageError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise  # nothing was found wrong with a log
        return fail(str(error), "coordination log --help", words.EXIT_UNSOUND, options.json)


def zxid_of(text: str) -> int:
    """A zxid as people write it: 0x2a, or 42. ArgumentTypeError for anything else."""
    zxid = _number(text, "zxid")
    if not 0 <= zxid <= ZXID_MAX:
        raise ArgumentTypeError(f'"{text}" is no zxid; it is from 0 to 0x{ZXID_MAX:x}')
    return zxid


def session_of(text: str) -> int:
    """A session id, likewise."""
    return _number(text, "session id")


def zxid_range(text: str) -> tuple[int, int]:
    """`A-B`, `A-`, `-B` or `A` as first and last."""
    first, dash, last = text.partition("-")
    if not dash:
        return (zxid_of(text),) * 2
    return zxid_of(first) if first else 0, zxid_of(last) if last else ZXID_MAX


def _number(text: str, kind: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ArgumentTypeError(f'"{text}" is no {kind}; write 0x2a or 42') from None


# -- dump


def _dump(options: Namespace) -> int:
    (low, high), session = options.zxid, options.session
    show = Show(options.data, options.digests)
    code = words.EXIT_OK
    for place in options.places:
        files = log_scan.log_files(place)
        if not files:
            code = fail(f"{place} holds no log file", f"ls {place}", words.EXIT_USAGE)
        for path in files:
            shown = 0
            for zxid, payload, _ in log_scan.payloads(path):
                if zxid > high:
                    break
                if zxid >= low:
                    shown += _dump_one(payload, session, options, show)
            report = log_scan.scan_log(path)
            if not options.json:
                print(f"# {path}: {shown} of {report.txns} txns shown", flush=True)
            if report.end != log_scan.CLEAN:
                code = _complain(report) or code
    return code


def _dump_one(payload: bytes, session: int | None, options: Namespace, show: Show) -> int:
    try:
        header, body, digest = txn.decode_entry(payload)
    except RemoteProtocolError as error:
        zxid = int.from_bytes(payload[12:20], "big")
        print(
            json.dumps({"zxid": words.hex_of(zxid), "error": str(error)}) if options.json else f"zxid {zxid:#x} {error}"
        )
        return 1
    if session is not None and header.client_id & 0xFFFFFFFFFFFFFFFF != session & 0xFFFFFFFFFFFFFFFF:
        return 0
    if options.path is not None and not any(is_under(path, options.path) for path in paths_of(body)):
        return 0
    text = json.dumps(txn_json(header, body, show, digest)) if options.json else txn_line(header, body, show, digest)
    print(text)
    return 1


def _complain(report: LogReport) -> int:
    where = (
        f"{report.path} is {report.end} at offset {report.offset}, "
        f"after zxid 0x{report.sound_to_zxid:x}: {report.fault}"
    )
    if report.end == log_scan.TORN:
        sys.stderr.write(
            f"warning: {where}. A server cuts such a tail when it starts; nothing acknowledged is in it.\n"
        )
        return words.EXIT_OK
    behind = f"; good txns go on at 0x{report.resumes_zxid:x}" if report.resumes_zxid else ""
    log_dir = report.path.absolute().parent.parent
    # Logs without snapshots beside them: those lie in another directory, and are cut together with them.
    data_dir = log_dir if log_scan.snapshots_in(report.path.parent) else Path("DATADIR")
    return fail(
        where + behind,
        "a copy of the file from a backup or another member; else: "
        + repair_command(report.sound_to_zxid, data_dir, log_dir),
        words.EXIT_UNSOUND,
    )


# -- verify


def _verify(options: Namespace) -> int:
    code = words.EXIT_OK
    files: list[dict[str, object]] = []
    missing: list[dict[str, object]] = []
    digests: list[dict[str, object]] = []
    for place in options.places:
        reports = [log_scan.scan_log(path) for path in log_scan.log_files(place)]
        if not reports:
            code = fail(f"{place} holds no log file", f"ls {place}", words.EXIT_USAGE)
        for report in reports:
            files.append(report.fields())
            if not options.json:
                print(_verdict(report))
            for each in report.undecodable:
                code = fail(f"{report.path}: {each}", exit_code=words.EXIT_UNSOUND)
            if report.end != log_scan.CLEAN:
                code = _complain(report) or code
        for before, after, count in log_scan.gaps(reports):
            code = words.EXIT_UNSOUND
            missing.append({"after": str(before.path), "before": str(after.path), "missing": count})
            what = "does not go on where it ends" if count < 0 else f"begins {count} txns later than it ends"
            fail(
                f"{before.path.name} ends at 0x{before.last_zxid:x}, {after.path.name} {what} (0x{after.first_zxid:x})"
            )
        newest = next((each.zxid for each in _sound_snapshots(place)), 0) if any(each.gaps for each in reports) else 0
        for report, zxid, following in log_scan.unexplained(reports, newest):
            sys.stderr.write(f"warning: {Gap(report.path, zxid, following)}\n")
        if code == words.EXIT_OK and any(report.digests for report in reports):
            found = digest_check.check(place, reports)
            if found is not None:
                digests.append(found.fields())
                code = _judge_digests(found, options.json)
    if options.json:
        verdict = {"schema": "coordination.log_verify/1", "sound": not code, "files": files, "gaps": missing}
        print(json.dumps({**verdict, "digests": digests}))
    return code


def _sound_snapshots(place: Path) -> Iterator[SnapshotReport]:
    """Those beside the log, newest first."""
    scanned = (log_scan.scan_snapshot(path) for path in log_scan.snapshots_in(place)) if place.is_dir() else ()
    return (each for each in scanned if not each.fault)


def _judge_digests(found: DigestCheck, as_json: bool) -> int:
    where = f"{found.compared} digests compared, from {found.snapshot.name} on"
    if found.mismatches:
        return fail(
            f"{where}: {found.mismatches} are of another tree than these files give, the first at zxid "
            f"0x{found.first_zxid:x}",
            exit_code=words.EXIT_UNSOUND,
        )
    if not as_json:
        print(f"[OK]   {where}: the tree is the one they were written for")
    return words.EXIT_OK


def _verdict(report: LogReport) -> str:
    mark = {"clean": "[OK]  ", "torn": "[WARN]", "damaged": "[FAIL]"}[report.end]
    span = f"zxid 0x{report.first_zxid:x}-0x{report.last_zxid:x}" if report.txns else "no txn"
    return (
        f"{mark} {report.path}: {report.txns} txns, {span}, {report.end} end at {report.offset} of {report.size_bytes}"
    )


# -- truncate


def _truncate(options: Namespace) -> int:
    if options.after is None or len(options.places) != 1:
        return fail("truncate needs a zxid and one data directory", "coordination log truncate --after 0x2a DATADIR")
    after, place = options.after, options.places[0]
    if not place.is_dir():
        return fail(f"{place} is no data directory", "the directory that holds version-2")
    logs_in = options.log_dir or place
    if not logs_in.is_dir():
        return fail(f"{logs_in} is no directory", "the dataLogDir of zoo.cfg")
    directories = list(dict.fromkeys(log_scan.version_directory(each.absolute()) for each in (place, logs_in)))
    with ExitStack() as held:
        if not options.dry_run:
            for each in directories:
                owner = each.parent if each.name == VERSION_DIRECTORY else each
                held.callback(DirectoryLock(owner).release)
        plan = _Plan.make(directories[-1], after, directories[0])
        if not options.json:
            print(plan.text())
        if plan.fault:
            return fail(plan.fault, "coordination log verify " + str(place), words.EXIT_REFUSED, options.json)
        done = not options.dry_run and not plan.nothing
        if done and not options.yes and (options.json or not _agreed()):  # a question would not be JSON
            return fail("not done", "coordination log truncate --yes ...", words.EXIT_REFUSED, options.json)
        if done:
            plan.carry_out()
    if options.json:
        print(json.dumps({"schema": "coordination.log_truncate/1", "done": done, **plan.fields()}))
    elif done:
        print(f"done; what was taken away is in {plan.kept}")
    return words.EXIT_OK


def _agreed() -> bool:
    if not sys.stdin.isatty():
        return False
    return input("do it? [y/N] ").strip().lower() in ("y", "yes")


class _Plan:
    """What truncating means for the files there are."""

    def __init__(self, directory: Path, after: int) -> None:
        """`directory`: that of the logs."""
        self.directory, self.after = directory, after
        self.kept_in = directory.parent / f"truncated-after-{after:x}"
        self.fault = ""
        self.taken: list[Path] = []
        self.cut: Path | None = None
        self.cut_at = 0
        self.cut_bytes = 0
        self.txns = 0

    @classmethod
    def make(cls, directory: Path, after: int, snapshots_in: Path) -> "_Plan":
        plan = cls(directory, after)
        number = 1
        while plan.kept_in.exists() or (snapshots_in.parent / plan.kept_in.name).exists():
            number += 1
            plan.kept_in = directory.parent / f"truncated-after-{after:x}-{number}"
        snapshots = [log_scan.scan_snapshot(path) for path in log_scan.snapshots_in(snapshots_in)]
        # Snapshots first: one that is newer than the log would bring the forgotten txns back.
        # So would a fuzzy one that was begun before them and holds some of them.
        newer = [report for report in snapshots if report.zxid > after or report.newest_zxid > after]
        plan.taken = [report.path for report in newer]
        logs = [log_scan.scan_log(path) for path in log_scan.log_files(directory)]
        for report in reversed(logs):
            if int(report.path.name[4:], 16) <= after:
                plan._cut(report)
                break
            plan.taken.append(report.path)
            plan.txns += report.txns
        base = max((report.zxid for report in snapshots if report not in newer and not report.fault), default=0)
        first = next((report.first_zxid for report in logs if report.last_zxid > base), 0)
        begins_late = first & 0xFFFFFFFF > 1 if base >> 32 != first >> 32 or not base else first > base + 1
        if not plan.nothing and after > base and (begins_late or not logs):
            plan.fault = plan.fault or (
                f"no sound snapshot without changes behind 0x{after:x} reaches the log, which begins at 0x{first:x}: "
                "a server could not start from what is left"
            )
        return plan

    def _cut(self, report: LogReport) -> None:
        keep, last = HEADER.size, 0
        for zxid, _, stop in log_scan.payloads(report.path):
            if zxid > self.after:
                self.txns += 1
            else:
                keep, last = stop, zxid
        damaged = report.end == log_scan.DAMAGED
        # What goes on behind the damage may be older than what stands before it: a record twice, or out of order.
        if damaged and report.resumes_zxid and self.after >= max(report.resumes_zxid, report.last_zxid + 1):
            self.fault = (
                f"{report.path.name} is damaged behind zxid 0x{report.last_zxid:x}: nothing behind it can be kept. "
                f"The largest zxid to truncate after is 0x{report.last_zxid:x}"
            )
        elif last < report.last_zxid or report.end != log_scan.CLEAN:
            self.cut, self.cut_at, self.cut_bytes = report.path, keep, report.size_bytes - keep

    @property
    def kept(self) -> str:
        """Where what is taken away goes: beside its own directory, and logs and snapshots may have two."""
        changed = [*self.taken, *([self.cut] if self.cut else [])]
        return " and ".join(sorted({str(path.parent.parent / self.kept_in.name) for path in changed}))

    @property
    def nothing(self) -> bool:
        return not self.taken and self.cut is None

    def text(self) -> str:
        if self.nothing:
            return f"nothing to do: no txn behind 0x{self.after:x} in {self.directory}"
        lines = [f"truncating {self.directory} after zxid 0x{self.after:x} forgets {self.txns} readable txns:"]
        if self.cut is not None:
            lines.append(f"  {self.cut.name} is cut at offset {self.cut_at} ({self.cut_bytes} bytes go)")
        lines += [f"  {path.name} goes as a whole" for path in self.taken]
        lines.append(f"  a copy of all this stays in {self.kept}")
        return "\n".join(lines)

    def fields(self) -> dict[str, object]:
        return {
            "after": words.hex_of(self.after),
            "txns": self.txns,
            "cut": str(self.cut) if self.cut else None,
            "cut_at": self.cut_at,
            "taken": [str(path) for path in self.taken],
            "kept_in": None if self.nothing else self.kept,
        }

    def carry_out(self) -> None:
        """Newest first, each step durable before the next: whatever interrupts it, what is left is a prefix."""
        for path in self.taken:
            kept_in = self._made(path)
            path.rename(kept_in / path.name)
            _sync(path.parent, kept_in)
        if self.cut is None:
            return
        self._made(self.cut)
        fresh = self.cut.with_name(f".{self.cut.name}.tmp")
        with self.cut.open("rb") as old, fresh.open("wb") as new:
            left = self.cut_at
            while left and (piece := old.read(min(left, 1 << 20))):
                new.write(piece)
                left -= len(piece)
            new.flush()
            os.fsync(new.fileno())
        os.link(self.cut, self.kept_in / self.cut.name)
        _sync(self.kept_in)
        fresh.replace(self.cut)
        _sync(self.directory)

    def _made(self, path: Path) -> Path:
        """Where `path` goes: never to another directory, which may be on another disk."""
        kept_in = path.parent.parent / self.kept_in.name
        kept_in.mkdir(mode=0o700, exist_ok=True)
        return kept_in


def _sync(*directories: Path) -> None:
    for directory in directories:
        fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


_ACTIONS = {"dump": _dump, "verify": _verify, "truncate": _truncate}
