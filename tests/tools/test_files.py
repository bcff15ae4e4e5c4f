"""log, snapshot and doctor on directories made by our storage, sound ones and broken ones."""

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from coordination.state import txn
from coordination.state.txn import (
    CloseSessionTxn,
    CreateSessionTxn,
    CreateTxn,
    ErrorTxn,
    MultiTxn,
    SetDataTxn,
    TxnBody,
    TxnHeader,
)
from coordination.storage import LogDamagedError, SnapshotWriter, TxnLog, TxnSnapLog
from coordination.storage.directory_lock import DirectoryLock
from coordination.testing import server
from coordination.tools import doctor
from coordination.tools.log_scan import CLEAN, DAMAGED, TORN, log_files, scan_log
from coordination.tools.logs import zxid_range
from coordination.wire import opcodes
from coordination.wire.records import Acl

from .conftest import Run

PREALLOC_BYTES = 1 << 16
SESSION = 0x1000


def payload(zxid: int, body: TxnBody | None = None, type_: int = opcodes.SET_DATA) -> bytes:
    return txn.encode(
        TxnHeader(SESSION, zxid, zxid, 1_700_000_000_000 + zxid, type_), body or SetDataTxn("/a", b"x", 1)
    )


def write_log(directory: Path, *files: range) -> Path:
    """A log of one file per range of zxids."""
    log = TxnLog.open(directory, prealloc_bytes=PREALLOC_BYTES)
    for zxids in files:
        log.append([payload(zxid) for zxid in zxids])
        log.roll()
    log.close()
    return directory / "version-2"


def write_snapshot(directory: Path, zxid: int, extra: tuple[str, ...] = ()) -> Path:
    stat = (1, 1, 5, 5, 0, 0, 0, 0, 1)
    nodes = [("/", b"", -1, stat), *((path, b"v", 1, stat) for path in ("/a", *extra))]
    acls = {1: [(31, "digest", "u:hash=")]}
    version = directory / "version-2"
    version.mkdir(parents=True, exist_ok=True)
    return SnapshotWriter(version, zxid, {SESSION: 4000}, acls, nodes).write_all()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir(mode=0o700)
    return path


def damage(path: Path, at: int, byte: int = 0x5A) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes([byte]))


# -- log dump


def test_every_kind_of_txn_is_shown(run: Run, data: Path) -> None:
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    secret = (Acl(31, "digest", "u:hash="),)
    log.append(
        [
            payload(1, CreateSessionTxn(4000), opcodes.CREATE_SESSION),
            payload(2, CreateTxn("/a", b"v\x00", secret, True, 3), opcodes.CREATE),
            payload(3, SetDataTxn("/a", b"\xff", 1)),
            payload(4, ErrorTxn(-101), opcodes.ERROR),
            payload(5, MultiTxn([(opcodes.SET_DATA, SetDataTxn("/b", b"m", 2))]), opcodes.MULTI),
            payload(6, CloseSessionTxn(["/a"]), opcodes.CLOSE_SESSION),
        ]
    )
    log.close()
    out = run("log", "dump", data).out
    assert [line.split(" zxid ")[1].split()[1] for line in out.splitlines()[:-1]] == [
        "createSession",
        "create",
        "setData",
        "error",
        "multi",
        "closeSession",
    ]
    assert '"v\\u0000" digest:u:x:cdrwa ephemeral parentCversion 3' in out
    assert "hash=" not in out
    assert "hash=" in run("log", "dump", "--digests", data).out
    found = [json.loads(line) for line in run("log", "dump", "--json", data).out.splitlines()]
    assert [each["zxid"] for each in found] == [f"0x{zxid:x}" for zxid in range(1, 7)]
    assert found[1]["data"] == "v\0"
    assert found[2]["data_base64"] == "/w=="
    assert found[3]["error"] == "NoNode"
    assert found[4]["parts"] == [{"type": "setData", "path": "/b", "data": "m", "version": 2}]
    assert found[5]["paths"] == ["/a"]


def test_only_what_was_asked_for(run: Run, data: Path) -> None:
    write_log(data, range(1, 10), range(10, 20))

    def zxids(*arguments: str) -> list[int]:
        lines = run("log", "dump", "--json", *arguments, data).out.splitlines()
        return [int(json.loads(line)["zxid"], 16) for line in lines]

    assert zxids("--zxid", "0x8-0xb") == [8, 9, 10, 11]
    assert zxids("--zxid", "18-") == [18, 19]
    assert zxids("--zxid=-2") == [1, 2]
    assert zxids("--zxid", "5") == [5]
    assert zxids("--path", "/a", "--zxid", "3") == [3]
    assert zxids("--path", "/ab") == []
    assert zxids("--session", hex(SESSION), "--zxid", "3") == [3]
    assert zxids("--session", "1") == []


def test_long_values_are_cut_unless_asked_for(run: Run, data: Path) -> None:
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    log.append([payload(1, SetDataTxn("/a", b"y" * 500, 1))])
    log.close()
    assert "... (500 bytes)" in run("log", "dump", data).out
    assert "y" * 500 in run("log", "dump", "-d", data).out


RANGES = {None: (0, (1 << 63) - 1), "3": (3, 3), "3-": (3, (1 << 63) - 1), "-3": (0, 3), "0x3-0x10": (3, 16)}


@pytest.mark.parametrize(("text", "found"), RANGES.items())
def test_ranges(text: str | None, found: tuple[int, int]) -> None:
    assert zxid_range(text) == found


# -- log verify


def test_a_sound_log(run: Run, data: Path) -> None:
    write_log(data, range(1, 10), range(10, 20))
    before = {path: path.read_bytes() for path in log_files(data)}
    ran = run("log", "verify", data)
    assert ran.code == 0
    assert ran.out.count("[OK]") == 2
    assert json.loads(run("log", "verify", "--json", data).out)["sound"] is True
    assert {path: path.read_bytes() for path in log_files(data)} == before


def torn(version: Path) -> None:
    path = version / "log.a"
    path.write_bytes(path.read_bytes()[:-20])


def damaged(version: Path) -> None:
    damage(version / "log.a", 60)


def gone(version: Path) -> None:
    (version / "log.a").unlink()


def double(version: Path) -> None:
    shutil.copy(version / "log.a", version / "log.1d")


def strange(version: Path) -> None:
    (version / "log.a").write_bytes(b"no log at all, but long enough to be one")


@pytest.mark.parametrize(
    ("harm", "code", "word"),
    [
        (torn, 6, "torn"),
        (damaged, 6, "damaged"),
        (gone, 6, "10 txns later"),
        (double, 6, "does not go on"),
        (strange, 6, "not a transaction log"),
    ],
)
def test_broken_logs(run: Run, data: Path, harm: Callable[[Path], None], code: int, word: str) -> None:
    harm(write_log(data, range(1, 10), range(10, 20), range(20, 30)))
    ran = run("log", "verify", data)
    assert ran.code == code, ran
    assert word in ran.out + ran.err
    found = json.loads(run("log", "verify", "--json", data).out)
    assert found["sound"] is False


def test_a_torn_newest_file_is_only_a_warning(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 10))
    path = version / "log.1"
    path.write_bytes(path.read_bytes()[:-5])
    ran = run("log", "verify", data)
    assert ran.code == 0
    assert "[WARN]" in ran.out
    assert scan_log(path).end == TORN


def test_a_large_preallocated_file_is_quick(data: Path) -> None:
    log = TxnLog.open(data)  # 64 MiB of zeros
    log.append([payload(1)])
    log.sync()
    report = scan_log(data / "version-2" / "log.1")
    assert (report.end, report.txns) == (CLEAN, 1)
    assert report.size_bytes > 60 << 20
    log.close()


def test_a_record_behind_the_zeros_is_damage(data: Path) -> None:
    path = write_log(data, range(1, 4)) / "log.1"
    whole = path.read_bytes()
    record = (len(whole) - 16) // 3
    path.write_bytes(whole[:-record] + bytes(record * 2) + whole[-record:] + bytes(100))
    report = scan_log(path)
    assert (report.end, report.last_zxid, report.resumes_zxid) == (DAMAGED, 2, 3)


# -- log truncate


def test_truncating_forgets_what_is_behind_and_keeps_a_copy(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 10), range(10, 20), range(20, 30))
    before = {path.name: path.read_bytes() for path in version.iterdir()}
    assert run("log", "truncate", "--after", "0xc", "--dry-run", data).code == 0
    assert {path.name: path.read_bytes() for path in version.iterdir()} == before
    refused = run("log", "truncate", "--after", "0xc", data)
    assert refused.code == 4
    ran = run("log", "truncate", "--after", "0xc", "-y", data)
    assert ran.code == 0, ran
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert [zxid for zxid, _ in log.read()] == list(range(1, 13))
    log.append([payload(13)])
    log.close()
    kept = data / "truncated-after-c"
    assert {path.name: path.read_bytes() for path in kept.iterdir()} == {
        name: content for name, content in before.items() if name != "log.1"
    }
    assert run("log", "verify", data).code == 0


@pytest.mark.parametrize("after", range(10))
def test_truncating_at_every_zxid(run: Run, data: Path, after: int) -> None:
    write_log(data, range(1, 4), range(4, 7), range(7, 10))
    assert run("log", "truncate", "--after", after, "-y", data).code == 0
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert [zxid for zxid, _ in log.read()] == list(range(1, after + 1))
    log.close()


def test_damage_can_be_cut_off_as_the_server_advises(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 10), range(10, 20))
    damage(version / "log.a", 16 + 13 + 30)
    with pytest.raises(LogDamagedError, match="coordination log truncate --after 0x9 "):
        TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert "coordination log truncate --after 0x9 " in run("doctor", data).out
    assert f"coordination log truncate --after 0x9 --log-dir {data} DATADIR\n" in run("log", "verify", data).err
    write_snapshot(data, 4)
    for verb in ("verify", "dump"):
        assert f"coordination log truncate --after 0x9 {data}\n" in run("log", verb, data).err
    assert run("log", "truncate", "--after", "0xf", "-y", data).code == 4
    assert run("log", "truncate", "--after", "0x9", "-y", data).code == 0
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert [zxid for zxid, _ in log.read()] == list(range(1, 10))
    log.close()


def test_what_stands_twice_can_be_cut_off_as_the_server_advises(run: Run, data: Path) -> None:
    """A good record follows the damage, and is older than the last one before it."""
    (path,) = write_log(data, range(1, 4)).iterdir()
    content = path.read_bytes()
    path.write_bytes(content + content[16:])
    with pytest.raises(LogDamagedError, match="coordination log truncate --after 0x3 "):
        TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    assert run("log", "truncate", "--after", "0x4", "-y", data).code == 4
    assert run("log", "truncate", "--after", "0x3", "-y", data).code == 0
    assert path.read_bytes() == content


def test_logs_and_snapshots_apart_are_cut_together(run: Run, tmp_path: Path) -> None:
    """The logs begin late, as after a purge: without the other directory's snapshots they would hold too little."""
    data, logs = tmp_path / "data", tmp_path / "logs"
    version = write_log(logs, range(5, 10), range(10, 20))
    (data / "version-2").mkdir(parents=True)
    for zxid in (6, 12):
        write_snapshot(data, zxid)
    damage(version / "log.a", 16 + 13 + 30)
    with pytest.raises(LogDamagedError) as caught:
        TxnSnapLog.open(data, logs)
    command = f"coordination log truncate --after 0x9 --log-dir {logs} {data}"
    assert f"`{command}`" in str(caught.value)
    assert command in run("doctor", data, "--log-dir", logs).out
    lock = DirectoryLock(data)
    assert run(*command.split()[1:], "-y").code == 4
    lock.release()
    assert run(*command.split()[1:], "-y").code == 0
    assert (data / "truncated-after-9" / "snapshot.c").exists()
    assert (logs / "truncated-after-9" / "log.a").exists()
    store = TxnSnapLog.open(data, logs, prealloc_bytes=PREALLOC_BYTES)
    with store.restore() as restored:
        assert (restored.zxid, [zxid for zxid, _ in restored.txns()]) == (6, [7, 8, 9])
    store.close()


def test_truncating_takes_newer_snapshots_along(run: Run, data: Path) -> None:
    write_log(data, range(1, 10))
    write_snapshot(data, 3)
    write_snapshot(data, 8)
    found = json.loads(run("log", "truncate", "--after", "5", "-y", "--json", data).out)
    assert [Path(each).name for each in found["taken"]] == ["snapshot.8"]
    store = TxnSnapLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    with store.restore() as restored:
        assert restored.zxid == 3
        assert [zxid for zxid, _ in restored.txns()] == [4, 5]
    store.close()


def test_truncating_takes_a_fuzzy_snapshot_along(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 10))
    later = (1, 7, 5, 5, 1, 0, 0, 0, 1)
    nodes = [("/", b"", -1, (1, 1, 5, 5, 0, 0, 0, 0, 1)), ("/a", b"later", -1, later)]
    SnapshotWriter(version, 4, {}, {}, nodes).write_all()
    assert "holds changes up to 0x7" in run("snapshot", "verify", data).out
    assert "snapshot.4 goes" in run("log", "truncate", "--after", "5", "-n", data).out
    assert "snapshot.4" not in run("log", "truncate", "--after", "8", "-n", data).out


def test_truncating_what_could_not_start_again_is_refused(run: Run, data: Path) -> None:
    write_log(data, range(5, 10))
    write_snapshot(data, 8)
    ran = run("log", "truncate", "--after", "6", "-y", data)
    assert ran.code == 4
    assert "could not start" in ran.err
    assert (data / "version-2" / "snapshot.8").exists()


def test_truncating_what_a_server_uses_is_refused(run: Run, data: Path) -> None:
    write_log(data, range(1, 10))
    lock = DirectoryLock(data)
    for named in (data, data / "version-2"):
        ran = run("log", "truncate", "--after", "6", "-y", named)
        assert ran.code == 4
        assert f"process {os.getpid()}" in ran.err
    lock.release()


@pytest.mark.parametrize(
    "arguments", [("verify", "nowhere"), ("dump", "nowhere"), ("truncate", "x"), ("truncate", "--after", "q", "x"), ()]
)
def test_bad_command_lines(run: Run, arguments: tuple[str, ...]) -> None:
    ran = run("log", *arguments)
    assert ran.code in (2, 6)
    assert ran.err.startswith("error: ")


# -- snapshots


def test_a_snapshot_shown(run: Run, data: Path) -> None:
    write_snapshot(data, 7)
    out = run("snapshot", "dump", data).out
    assert "/a\n  cZxid = 0x1\n" in out
    assert "acl = digest:u:x:cdrwa" in out
    assert "0x1000, 4000, 0" in out
    assert out.endswith("Last zxid: 0x7\n")
    assert "  data = dg==" in run("snapshot", "dump", "-d", data).out
    root, a = (json.loads(line) for line in run("snapshot", "dump", "--json", "-d", data).out.splitlines())
    assert (root["path"], a["path"], a["data"], a["kind"]) == ("/", "/a", "v", "persistent")


def test_verifying_snapshots(run: Run, data: Path) -> None:
    write_snapshot(data, 7)
    assert run("snapshot", "verify", data).code == 0
    damage(write_snapshot(data, 9), 50)
    ran = run("snapshot", "verify", data)
    assert ran.code == 6
    assert "[FAIL]" in ran.out
    assert "[OK]" in ran.out
    assert json.loads(run("snapshot", "verify", "--json", data).out)["sound"] is False


def test_an_orphan_is_found_though_the_seal_holds(run: Run, data: Path) -> None:
    write_snapshot(data, 7, ("/b/c",))
    ran = run("snapshot", "verify", data)
    assert ran.code == 6
    assert "/b/c has no parent" in ran.out


def test_two_snapshots_compared(run: Run, data: Path) -> None:
    old = write_snapshot(data, 7, ("/gone",))
    version = data / "version-2"
    stat = (1, 9, 5, 6, 1, 0, 0, 0, 1)
    nodes = [("/", b"", -1, (1, 1, 5, 5, 0, 0, 0, 0, 1)), ("/a", b"new", -1, stat), ("/more", b"", -1, stat)]
    new = SnapshotWriter(version, 9, {}, {}, nodes).write_all()
    ran = run("snapshot", "diff", old, new)
    assert ran.code == 6
    assert re.search(
        r"(?m)^~ /a  dataLength 1 -> 3, acl digest:u:x:cdrwa -> world:anyone:cdrwa, mZxid 0x1 -> 0x9", ran.out
    )
    assert "\n+ /more" in ran.out
    assert "\n- /gone\n" in ran.out
    assert "3 znodes differ; 0 sessions more, 1 less" in ran.out
    kinds = [json.loads(line)["difference"] for line in run("snapshot", "diff", old, new, "--json").out.splitlines()]
    assert sorted(kinds) == ["added", "changed", "removed"]
    assert run("snapshot", "diff", old, old).code == 0


def test_packing_and_unpacking(run: Run, data: Path, tmp_path: Path) -> None:
    plain = write_snapshot(data, 7)
    packed, again = tmp_path / "snapshot.7.gz", tmp_path / "snapshot.7"
    assert run("snapshot", "convert", plain, packed).code == 0
    assert run("snapshot", "verify", packed).code == 0
    assert run("snapshot", "convert", packed, again).code == 0
    assert again.read_bytes() == plain.read_bytes()
    assert run("snapshot", "convert", packed, again).code == 6  # not written over
    ran = run("snapshot", "convert", plain, tmp_path / "snapshot.8")
    assert ran.code == 2
    assert "snapshot.7" in ran.err


# -- doctor


def levels(run: Run, *arguments: object) -> dict[str, list[str]]:
    """check -> what is not OK about it."""
    found = json.loads(run("doctor", "--json", *arguments).out)
    assert found["passed"] == (found["failed"] == 0)
    bad: dict[str, list[str]] = {}
    for each in found["findings"]:
        if each["level"] != doctor.OK:
            bad.setdefault(each["check"], []).append(each["level"])
            assert each["level"] == doctor.WARN or each["hint"], each
    return bad


def test_a_healthy_directory(run: Run, data: Path) -> None:
    write_log(data, range(1, 10), range(10, 20))
    write_snapshot(data, 5)
    assert levels(run, data) == {}
    ran = run("doctor", data)
    assert ran.code == 0
    assert ran.out.splitlines()[-1].endswith("0 warnings, 0 failures")
    assert "replays 2 log file(s) up to 0x13" in ran.out


def test_an_empty_directory_is_healthy(run: Run, data: Path) -> None:
    assert levels(run, data) == {}


def test_a_directory_in_use(run: Run, data: Path) -> None:
    with server.serve(data):
        found = levels(run, data)
        assert found["lock"] == ["WARN"]
    assert "lock" not in levels(run, data)


def test_the_trap_of_zookeeper_582(run: Run, data: Path) -> None:
    write_log(data, range(1, 5))
    write_snapshot(data, 9)
    assert levels(run, data) == {"recovery": ["WARN"]}
    assert "ZOOKEEPER-582" in run("doctor", data).out


def snapshot_damaged(data: Path) -> None:
    damage(write_snapshot(data, 12), 50)


def snapshot_ahead_damaged(data: Path) -> None:
    damage(write_snapshot(data, 40), 50)


def log_lost(data: Path) -> None:
    (data / "version-2" / "log.a").unlink()


def logs_begin_late(data: Path) -> None:
    (data / "version-2" / "log.1").unlink()


def files_misplaced(data: Path) -> None:
    for path in (data / "version-2").iterdir():
        path.rename(data / path.name)
    (data / "version-2").rmdir()


def left_over(data: Path) -> None:
    (data / "version-2" / ".snapshot.9.tmp").touch()


def epochs_wrong(data: Path) -> None:
    (data / "version-2" / "currentEpoch").write_text("2\n")
    (data / "version-2" / "acceptedEpoch").write_text("1\n")


def log_damaged(data: Path) -> None:
    damage(data / "version-2" / "log.a", 60)


def log_torn(data: Path) -> None:
    path = data / "version-2" / "log.14"
    path.write_bytes(path.read_bytes()[:-5])


def renamed(data: Path) -> None:
    (data / "version-2" / "log.14").rename(data / "version-2" / "log.15")


@pytest.mark.parametrize(
    ("harm", "found", "code"),
    [
        (snapshot_damaged, {"snapshots": ["WARN"]}, 0),
        (snapshot_ahead_damaged, {"snapshots": ["WARN"], "recovery": ["FAIL"]}, 7),
        (log_lost, {"gaps": ["FAIL"]}, 7),
        (logs_begin_late, {"recovery": ["FAIL"]}, 7),
        (files_misplaced, {"layout": ["FAIL"]}, 7),
        (left_over, {"leftovers": ["WARN"]}, 0),
        (epochs_wrong, {"epochs": ["FAIL"]}, 7),
        (log_damaged, {"logs": ["FAIL"], "gaps": ["FAIL"]}, 7),
        (log_torn, {"logs": ["WARN"]}, 0),
        (renamed, {"logs": ["WARN"]}, 0),
    ],
)
def test_what_the_doctor_finds(
    run: Run, data: Path, harm: Callable[[Path], None], found: dict[str, list[str]], code: int
) -> None:
    write_log(data, range(1, 10), range(10, 20), range(20, 30))
    harm(data)
    assert levels(run, data) == found
    assert run("doctor", data).code == code


def test_directories_swapped(run: Run, data: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o700)
    write_log(logs, range(1, 5))
    write_snapshot(data, 3)
    assert levels(run, data, "--log-dir", logs) == {}
    assert levels(run, logs, "--log-dir", data)["layout"] == ["FAIL"]


def test_files_that_strangers_can_read(run: Run, data: Path) -> None:
    write_log(data, range(1, 5))
    assert "permissions" not in levels(run, data)
    data.chmod(0o755)
    way_in = all(directory.stat().st_mode & 0o001 for directory in data.resolve().parents)
    assert levels(run, data).get("permissions") == (["WARN"] if way_in else None)


@pytest.mark.parametrize(
    ("name", "level"),
    [("log.txt", "WARN"), ("README", "WARN"), ("log.1f", "FAIL"), ("snapshot.0.gz", "FAIL"), ("myid", None)],
)
def test_a_directory_of_somebody_else(run: Run, tmp_path: Path, name: str, level: str | None) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / name).write_text("1")
    assert levels(run, tmp_path).get("layout") == (level and [level])


def test_no_directory(run: Run, tmp_path: Path) -> None:
    assert run("doctor", tmp_path / "nowhere").code == 2
