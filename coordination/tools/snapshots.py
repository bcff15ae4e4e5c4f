"""`coordination snapshot dump|verify|diff|convert`: snapshots, ZooKeeper's or ours.

In: argv.  Out: znodes as text or JSON, a verdict per file, the differences of two, the same content packed otherwise.
Answers to SnapshotFormatter, SnapshotComparer and SnapStream.

(1) Only `convert` writes, and only a file that did not exist; it has its name when it is whole and durable.
(2) `diff` compares what a client could see (values, Stats, ACLs by what they say, not by their number), not bytes.
"""

import base64
import gzip
import json
import os
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

from coordination.paths import is_under
from coordination.state.tree_digest import ZxidDigest
from coordination.storage import snappy
from coordination.storage.api import StorageError
from coordination.storage.snapshot import Snapshot
from coordination.storage.snapshot_format import OPEN_ACL_ID, AclEntry, PersistedStat, SnapshotNode
from coordination.tools import log_scan, words
from coordination.tools.arguments import Parser, fail
from coordination.tools.commands import NO_ROOM
from coordination.tools.log_scan import SnapshotReport
from coordination.tools.txn_text import Show, acl_text, masked
from coordination.wire.opcodes import PERM_ALL
from coordination.wire.records import Acl

_CONTAINER = -(1 << 63)
_TTL_MASK = 0xFF << 56
_STAT_NAMES = (
    "cZxid",
    "mZxid",
    "ctime_ms",
    "mtime_ms",
    "dataVersion",
    "cversion",
    "aclVersion",
    "ephemeralOwner",
    "pZxid",
)
_HEXADECIMAL = ("cZxid", "mZxid", "pZxid", "ephemeralOwner")
_EPILOG = """\
commands:
  dump FILE|DATADIR        every znode, its Stat and its size (-d: its value); a directory means its newest snapshot
  verify FILE|DATADIR ...  seal, structure and parents of every snapshot
  diff A B                 what B has more, less, or otherwise than A
  convert FILE NEW         unpack or pack: NEW is snapshot.<zxid>, or snapshot.<zxid>.gz

exit codes: 0 sound (diff: the same), 2 usage, 6 unsound (diff: they differ)"""


def run(argv: list[str]) -> int:
    """The command; its exit code."""
    parser = Parser("coordination snapshot", "Look into snapshots, verify, compare and convert them.", _EPILOG)
    parser.add_argument("action", choices=tuple(_ACTIONS), metavar="dump|verify|diff|convert")
    parser.add_argument("places", nargs="+", type=Path, metavar="FILE|DATADIR")
    parser.add_argument("--json", action="store_true", help="an object per znode (dump, diff), one in all (verify)")
    parser.add_argument("--path", metavar="PATH", help="dump, diff: only PATH and what is under it")
    parser.add_argument("-d", "--data", action="store_true", help="dump: values too, in base64")
    parser.add_argument("--digests", action="store_true", help="do not mask the hashes of digest ACLs")
    options = parser.parse_intermixed_args(argv)
    wanted = 2 if options.action in ("diff", "convert") else 1 if options.action == "dump" else None
    if wanted is not None and len(options.places) != wanted:
        return fail(f"{options.action} takes {wanted} file(s)", "coordination snapshot --help", as_json=options.json)
    try:
        return _ACTIONS[options.action](options)
    except FileNotFoundError as error:
        return fail(f"{error.filename}: no such file or directory", as_json=options.json)
    except BrokenPipeError:
        raise
    except (StorageError, OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise  # nothing was found wrong with a snapshot
        return fail(str(error), "coordination snapshot verify DATADIR", words.EXIT_UNSOUND, options.json)


def _newest(place: Path) -> Path:
    found = log_scan.snapshots_in(place)
    if not found:
        raise StorageError(f"{place} holds no snapshot")
    if not found[0].name.startswith("snapshot."):
        raise StorageError(f"{found[0]} is no snapshot by its name, which must be snapshot.<zxid in hex>")
    return found[0]


def _acl_of(snapshot: Snapshot, acl_id: int) -> tuple[Acl, ...]:
    if acl_id == OPEN_ACL_ID:
        return (Acl(PERM_ALL, "world", "anyone"),)
    entries: list[AclEntry] = snapshot.acls.get(acl_id, [])
    return tuple(Acl(*entry) for entry in entries)


def _stat_json(stat: PersistedStat) -> dict[str, object]:
    return {
        name: words.hex_of(value) if name in _HEXADECIMAL else value
        for name, value in zip(_STAT_NAMES, stat, strict=True)
    }


def kind_of(owner: int) -> str:
    """What an ephemeralOwner says a znode is (source: EphemeralType)."""
    if owner == 0:
        return "persistent"
    if owner == _CONTAINER:
        return "container"
    if owner & _TTL_MASK == _TTL_MASK:
        return f"ttl {owner & 0xFFFFFFFFFF} ms"
    return "ephemeral"


def _nodes(snapshot: Snapshot, under: str | None) -> Iterator[SnapshotNode]:
    return (node for node in snapshot.nodes() if under is None or is_under(node[0], under))


# -- dump


def _dump(options: Namespace) -> int:
    show = Show(options.data, options.digests)
    with Snapshot(_newest(options.places[0])) as snapshot:
        newest = snapshot.zxid
        owners: dict[int, int] = {}
        if not options.json:
            print(f"# {snapshot.path}")
        for path, data, acl_id, stat in _nodes(snapshot, options.path):
            newest = max(newest, stat[1], stat[8])
            owners[stat[7]] = owners.get(stat[7], 0) + 1
            acl = masked(_acl_of(snapshot, acl_id), show)
            if options.json:
                value = words.data_json(data) if options.data else {"dataLength": len(data or b"")}
                kind = {"kind": kind_of(stat[7]), "acl": words.acl_json(acl)}
                print(json.dumps({"path": path, **value, **kind, "stat": _stat_json(stat)}))
            else:
                print(_node_text(path, data, acl, stat, show))
        if options.json:
            return words.EXIT_OK
        print("----\nSession Details (sid, timeout, ephemeralCount):")
        for session, timeout_ms in sorted(snapshot.sessions.items()):
            print(f"{words.hex_of(session)}, {timeout_ms}, {owners.get(session, 0)}")
        if snapshot.digest is not None:
            digest = ZxidDigest(*snapshot.digest)
            print(f"----\nTarget zxid digest is: {digest.zxid:x}, {digest.signed}")
        print(f"----\nLast zxid: 0x{newest:x}")
    return words.EXIT_OK


def _node_text(path: str, data: bytes | None, acl: tuple[Acl, ...], stat: PersistedStat, show: Show) -> str:
    czxid, mzxid, ctime, mtime, version, cversion, aversion, owner, pzxid = stat
    value = base64.b64encode(data or b"").decode()
    return "\n".join(
        (
            "----",
            path,
            f"  cZxid = {words.hex_of(czxid)}",
            f"  ctime = {words.java_date(ctime)}",
            f"  mZxid = {words.hex_of(mzxid)}",
            f"  mtime = {words.java_date(mtime)}",
            f"  pZxid = {words.hex_of(pzxid)}",
            f"  cversion = {cversion}",
            f"  dataVersion = {version}",
            f"  aclVersion = {aversion}",
            f"  ephemeralOwner = {words.hex_of(owner)}" + (f" ({kind_of(owner)})" if owner else ""),
            f"  acl = {acl_text(acl, Show(digests=True))}",
            f"  data = {value}" if show.data else f"  dataLength = {len(data or b'')}",
        )
    )


# -- verify


def _verify(options: Namespace) -> int:
    reports: list[SnapshotReport] = []
    code = words.EXIT_OK
    for place in options.places:
        found = log_scan.snapshots_in(place)
        if not found:
            code = fail(f"{place} holds no snapshot", f"ls {place}")
        reports += [log_scan.scan_snapshot(path) for path in found]
    for report in reports:
        if report.fault:
            code = words.EXIT_UNSOUND
        if not options.json:
            print(verdict(report))
    if options.json:
        files = [report.fields() for report in reports]
        print(json.dumps({"schema": "coordination.snapshot_verify/1", "sound": not code, "files": files}))
    return code


def verdict(report: SnapshotReport) -> str:
    if report.fault:
        return f"[FAIL] {report.path}: {report.fault}"
    fuzzy = f", holds changes up to 0x{report.newest_zxid:x}" if report.newest_zxid > report.zxid else ""
    if report.acls_elsewhere:
        fuzzy += f", the ACLs of {report.acls_elsewhere} znodes are in the log only"
    digest = "" if report.digest is None else f", digest {report.digest.signed} at 0x{report.digest.zxid:x}"
    return (
        f"[OK]   {report.path}: zxid 0x{report.zxid:x}{fuzzy}, {report.znodes} znodes, {report.sessions} sessions, "
        f"{report.size_bytes} bytes{digest}"
    )


# -- diff


def _diff(options: Namespace) -> int:
    show = Show(digests=options.digests)
    differences = 0
    with Snapshot(_newest(options.places[0])) as old, Snapshot(_newest(options.places[1])) as new:
        if not options.json:
            print(f"--- {old.path} (zxid 0x{old.zxid:x})\n+++ {new.path} (zxid 0x{new.zxid:x})")
        before = {path: (data, _acl_of(old, acl_id), stat) for path, data, acl_id, stat in _nodes(old, options.path)}
        for path, data, acl_id, stat in _nodes(new, options.path):
            was = before.pop(path, None)
            now = (data, _acl_of(new, acl_id), stat)
            if was == now:
                continue
            differences += 1
            _print_difference(options.json, "+" if was is None else "~", path, _what_changed(was, now, show))
        for path in sorted(before):
            differences += 1
            _print_difference(options.json, "-", path, {})
        gone, come = set(old.sessions) - set(new.sessions), set(new.sessions) - set(old.sessions)
    if options.json:
        return words.EXIT_UNSOUND if differences else words.EXIT_OK
    print(f"{differences} znodes differ; {len(come)} sessions more, {len(gone)} less")
    return words.EXIT_UNSOUND if differences else words.EXIT_OK


_Node = tuple[bytes | None, tuple[Acl, ...], PersistedStat]


def _what_changed(was: _Node | None, now: _Node, show: Show) -> dict[str, object]:
    if was is None:
        return {"dataLength": len(now[0] or b"")}
    found: dict[str, object] = {}
    if was[0] != now[0]:
        found["dataLength"] = [len(was[0] or b""), len(now[0] or b"")]
    if was[1] != now[1]:
        found["acl"] = [acl_text(was[1], show), acl_text(now[1], show)]
    for name, left, right in zip(_STAT_NAMES, was[2], now[2], strict=True):
        if left != right:
            hexadecimal = name in _HEXADECIMAL
            found[name] = [words.hex_of(left), words.hex_of(right)] if hexadecimal else [left, right]
    return found


def _print_difference(as_json: bool, mark: str, path: str, changed: dict[str, object]) -> None:
    if as_json:
        what = {"+": "added", "-": "removed", "~": "changed"}[mark]
        print(json.dumps({"path": path, "difference": what, "changed": changed}))
        return
    parts = []
    for name, value in changed.items():
        parts.append(f"{name} {value[0]} -> {value[1]}" if isinstance(value, list) else f"{name} {value}")
    print(f"{mark} {path}" + (f"  {', '.join(parts)}" if parts else ""))


# -- convert


def _convert(options: Namespace) -> int:
    source, target = options.places
    with Snapshot(_newest(source)) as snapshot:
        plain = plain_bytes(snapshot.path)
        znodes = sum(1 for _ in snapshot.nodes())
        zxid = snapshot.zxid
    name = target.name.removesuffix(".gz").removesuffix(".snappy")
    if name != f"snapshot.{zxid:x}":
        wanted = f"snapshot.{zxid:x}{''.join(target.suffixes[-1:]) if target.suffix in ('.gz', '.snappy') else ''}"
        return fail(
            f"a snapshot's name tells its zxid, and {target.name} is not that of this one",
            f"coordination snapshot convert {source} {target.with_name(wanted)}",
            as_json=options.json,
        )
    packed = _pack(plain, target.suffix)
    _write_new(target, packed)
    fields = {"file": str(target), "znodes": znodes, "bytes": len(packed), "plain_bytes": len(plain)}
    if options.json:
        print(json.dumps({"schema": "coordination.snapshot_convert/1", **fields}))
    else:
        print(f"{target}: {znodes} znodes, {len(packed)} bytes ({len(plain)} unpacked)")
    return words.EXIT_OK


def plain_bytes(path: Path) -> bytes:
    """The bytes of a snapshot file, unpacked."""
    raw = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(raw)
    return snappy.decompress_stream(raw) if path.suffix == ".snappy" else raw


def _pack(plain: bytes, suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(plain, 6, mtime=0)
    if suffix == ".snappy":
        raise StorageError("snappy snapshots are read here and not written; write .gz, which every ZooKeeper reads too")
    return plain


def _write_new(target: Path, content: bytes) -> None:
    if target.exists():
        raise StorageError(f"{target} exists already, and is not written over")
    fresh = target.with_name(f".{target.name}.tmp")
    try:
        with fresh.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(target)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    fd = os.open(target.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


_ACTIONS = {"dump": _dump, "verify": _verify, "diff": _diff, "convert": _convert}
