"""`log` and `snapshot` show and check the digests of the tree."""

import json
from pathlib import Path

import pytest

from coordination.state.pipeline import Pipeline
from coordination.state.ready import Settings
from coordination.state.txn import CreateTxn, SetDataTxn, TxnHeader, encode
from coordination.storage import SnapshotWriter, TxnLog
from coordination.wire import opcodes
from coordination.wire.records import OPEN_ACL

from .conftest import Run

TXNS = 6


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two snapshots, of the empty tree and of the last txn, and the log between them, as a server would leave them."""
    (tmp_path / "version-2").mkdir()
    pipeline = Pipeline(Settings(digest_enabled=True), 0)
    assert pipeline.digest is not None
    pipeline.recovered()
    snapshot(tmp_path, pipeline)
    payloads = []
    for zxid in range(1, TXNS + 1):
        header = TxnHeader(7, zxid, zxid, 1000 + zxid, opcodes.CREATE if zxid == 1 else opcodes.SET_DATA)
        body = CreateTxn("/a", b"", OPEN_ACL, False, 1) if zxid == 1 else SetDataTxn("/a", b"x" * zxid, zxid - 1)
        payloads.append(encode(header, body) + pipeline.digest.foresee(header, body))
        pipeline.tree.apply(header, body, [])
    pipeline.digest.settled(TXNS)
    snapshot(tmp_path, pipeline)
    log = TxnLog.open(tmp_path, prealloc_bytes=0)
    log.append(payloads)
    log.close()
    return tmp_path


def snapshot(directory: Path, pipeline: Pipeline) -> Path:
    tree = pipeline.tree
    return SnapshotWriter(
        directory / "version-2", tree.last_zxid, {}, tree.acl_table(), tree.dump(), pipeline.zxid_digest
    ).write_all()


def test_they_are_shown(run: Run, data: Path) -> None:
    lines = run("log", "dump", data).out.splitlines()
    assert all(" digest 2," in line for line in lines[:TXNS])
    shown = [json.loads(line) for line in run("log", "dump", "--json", data).out.splitlines()]
    assert shown[-1]["digest"]["version"] == 2
    last = shown[-1]["digest"]["digest"]
    assert lines[TXNS - 1].endswith(f" digest 2,{last}")
    assert f"\nTarget zxid digest is: {TXNS}, {last}\n" in run("snapshot", "dump", data).out
    assert f"digest {last} at 0x{TXNS}" in run("snapshot", "verify", data).out


def test_right_ones_are_sound(run: Run, data: Path) -> None:
    ran = run("log", "verify", data)
    assert (ran.code, ran.err) == (0, "")
    assert f"{TXNS} digests compared, from snapshot.0 on" in ran.out
    [found] = json.loads(run("log", "verify", "--json", data).out)["digests"]
    assert (found["compared"], found["mismatches"], found["first_zxid"]) == (TXNS, 0, None)
    assert run("snapshot", "verify", data).code == 0


def test_a_wrong_one_in_the_log_is_found(run: Run, data: Path) -> None:
    log = TxnLog.open(data, prealloc_bytes=0)
    payloads = [payload for _, payload in log.read()]
    log.truncate(0)
    payloads[3] = payloads[3][:-1] + bytes([payloads[3][-1] ^ 1])
    log.append(payloads)
    log.close()
    ran = run("log", "verify", data)
    assert ran.code == 6
    assert "1 are of another tree than these files give, the first at zxid 0x4" in ran.err
    assert json.loads(run("log", "verify", "--json", data).out)["digests"][0]["first_zxid"] == "0x4"


def test_a_wrong_one_in_a_snapshot_is_found(run: Run, data: Path) -> None:
    tree = Pipeline(Settings(), 0).tree
    path = SnapshotWriter(data / "version-2", 5, {}, tree.acl_table(), tree.dump(), lambda: (5, 1, 2)).write_all()
    ran = run("snapshot", "verify", path)
    assert ran.code == 6
    assert "its digest is 1, that of its znodes" in ran.out


def test_logs_without_a_snapshot_are_not_judged(run: Run, data: Path) -> None:
    for path in (data / "version-2").glob("snapshot.*"):
        path.unlink()
    ran = run("log", "verify", data)
    assert (ran.code, "compared" in ran.out) == (0, False)


def test_a_newest_file_without_its_header_is_in_nobodys_way(run: Run, data: Path) -> None:
    (data / "version-2" / f"log.{TXNS + 1:x}").write_bytes(b"")
    ran = run("log", "verify", data)
    assert ran.code == 0, ran
    assert f"{TXNS} digests compared" in ran.out
