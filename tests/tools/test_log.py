"""`coordination log dump` and `log verify`: what is shown of a log, and what is said about a broken one."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from coordination.state.txn import CloseSessionTxn, CreateSessionTxn, CreateTxn, ErrorTxn, MultiTxn, SetDataTxn
from coordination.storage import TxnLog
from coordination.tools import log_scan
from coordination.tools.log_scan import CLEAN, DAMAGED, TORN, log_files, scan_log
from coordination.tools.logs import zxid_range
from coordination.wire import opcodes
from coordination.wire.records import Acl

from .conftest import PREALLOC_BYTES, SESSION, Run, damage, payload, without_records, write_log, write_snapshot

# --- dump


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


RANGES = {"-": (0, (1 << 63) - 1), "3": (3, 3), "3-": (3, (1 << 63) - 1), "-3": (0, 3), "0x3-0x10": (3, 16)}


@pytest.mark.parametrize(("text", "found"), RANGES.items())
def test_ranges(text: str, found: tuple[int, int]) -> None:
    assert zxid_range(text) == found


# --- verify


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


def test_records_cut_out_of_a_file_are_a_warning_unless_a_snapshot_holds_them(run: Run, data: Path) -> None:
    path = write_log(data, range(1, 10)) / "log.1"
    without_records(path, 4, 5)
    ran = run("log", "verify", data)
    assert (ran.code, scan_log(path).gaps) == (0, [(3, 6)])
    assert "no txn between zxid 0x3 and 0x6" in ran.err
    assert json.loads(run("log", "verify", "--json", data).out)["files"][0]["gaps"] == [["0x3", "0x6"]]
    write_snapshot(data, 5)
    assert run("log", "verify", data).err == ""


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


# --- any verb


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("verify", "nowhere"), 2),
        (("dump", "nowhere"), 2),
        (("truncate", "x"), 2),
        (("truncate", "--after", "q", "x"), 2),
        (("dump", "--zxid", "1-q", "x"), 2),
        (("dump", "--zxid", "", "x"), 2),
        (("dump", "--session", "q", "x"), 2),
        ((), 2),
    ],
)
def test_bad_command_lines(run: Run, arguments: tuple[str, ...], code: int) -> None:
    ran = run("log", *arguments)
    assert ran.code == code
    assert ran.err.startswith("error: ")


def test_a_log_that_a_server_writes_and_trims_meanwhile_is_sound(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TxnLog.open(data, prealloc_bytes=PREALLOC_BYTES)
    log.append([payload(zxid) for zxid in range(1, 10)])
    log.sync()
    read = log_scan.records

    def read_while_it_is_written(*arguments: Any) -> Iterator[tuple[int, bytes, int]]:
        yield from read(*arguments)
        log.append([payload(zxid) for zxid in range(log.last_zxid + 1, log.last_zxid + 5)])
        log.roll()  # gives the zeros back: whoever reads them in a mapping dies of SIGBUS

    monkeypatch.setattr(log_scan, "records", read_while_it_is_written)
    (path,) = log_files(data)
    report = scan_log(path)
    log.close()
    assert (report.end, report.fault, report.last_zxid) == (CLEAN, "", 9)


@pytest.mark.parametrize("began", [b"", b"ZKLG\0\0", bytes(4096)])
def test_a_newest_file_whose_header_never_reached_the_disk(run: Run, data: Path, began: bytes) -> None:
    version = write_log(data, range(1, 4))
    (version / "log.4").write_bytes(began)
    for command in ("dump", "verify"):
        ran = run("log", command, data)
        assert ran.code == 0, ran
        assert "log.4 is torn at offset 0" in ran.err


def test_the_worst_of_several_files_is_the_exit_code_of_dump(run: Run, data: Path) -> None:
    version = write_log(data, range(1, 4), range(4, 8))
    damage(version / "log.1", 60)
    (version / "log.8").write_bytes(b"")
    assert run("log", "dump", data).code == 6
