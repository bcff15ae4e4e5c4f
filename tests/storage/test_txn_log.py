"""The log file while all goes well: its exact bytes, one write and one sync per batch, restarts, where a file ends."""

import os
from pathlib import Path
from zlib import adler32

import pytest

from coordination.storage import LogWriteError, MemoryLog, TransactionLog, TxnLog, txn_log
from tests.storage.conftest import MakeLog, payload, reopened


def test_bytes_on_disk_are_zookeepers(make_log: MakeLog) -> None:
    """FileTxnLog: FileHeader; then per txn Adler-32, length, bytes, 'B'; then zeros."""
    first, second = payload(5, b"one"), payload(6)
    directory = make_log(first, second)
    data = (directory / "version-2" / "log.5").read_bytes()
    expected = b"ZKLG" + (2).to_bytes(4, "big") + (0).to_bytes(8, "big")
    for record in (first, second):
        expected += adler32(record).to_bytes(8, "big") + len(record).to_bytes(4, "big") + record + b"B"
    assert data == expected


def test_preallocated_zeros_end_the_log(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=1 << 16)
    log.append([payload(1)])
    log.sync()
    path = tmp_path / "version-2" / "log.1"
    assert path.stat().st_size == 1 << 16
    assert not any(path.read_bytes()[16 + 12 + 33 :])
    other = TxnLog.open(tmp_path)  # as after kill -9: nobody closed the first one
    assert [zxid for zxid, _ in other.read()] == [1]
    assert other.repairs == []


def test_grows_by_whole_steps_also_for_a_batch_larger_than_one(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=1 << 16)
    log.append([payload(1, b"x" * 200_000)])
    assert (tmp_path / "version-2" / "log.1").stat().st_size % (1 << 16) == 0
    log.append([payload(2)])
    log.close()
    assert reopened(tmp_path) == [1, 2]


def test_one_write_and_one_sync_for_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = TxnLog.open(tmp_path)
    log.append([payload(1)])
    writes: list[int] = []
    syncs: list[int] = []
    real_write, real_sync = os.pwrite, txn_log._datasync

    def pwrite(fd: int, data: bytes, at: int) -> int:
        writes.append(len(data))
        return real_write(fd, data, at)

    def datasync(fd: int) -> None:
        syncs.append(fd)
        real_sync(fd)

    monkeypatch.setattr(os, "pwrite", pwrite)
    monkeypatch.setattr(txn_log, "_datasync", datasync)
    log.append([payload(zxid) for zxid in range(2, 500)])
    log.sync()
    log.sync()  # nothing new: no call
    assert (len(writes), len(syncs)) == (1, 1)


def test_goes_on_in_the_same_file_after_a_restart(make_log: MakeLog) -> None:
    directory = make_log(payload(1), payload(2))
    log = TxnLog.open(directory)
    assert log.last_zxid == 2
    log.append([payload(3)])
    log.close()
    assert [path.name for _, path in TxnLog.open(directory).files()] == ["log.1"]
    assert reopened(directory) == [1, 2, 3]


def test_read_after_a_zxid_across_files(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=4096)
    for zxid in range(1, 31):
        log.append([payload(zxid)])
        if zxid % 10 == 0:
            log.roll()
    assert [path.name for _, path in log.files()] == ["log.1", "log.b", "log.15"]
    for after in range(32):
        assert [zxid for zxid, _ in log.read(after)] == list(range(after + 1, 31))
    assert next(log.read(12))[1] == payload(13)


@pytest.mark.parametrize("keep", range(12))
def test_truncate(tmp_path: Path, keep: int) -> None:
    """TRUNC: later files go, the file in which the cut lies keeps its front, and writing goes on there."""
    log = TxnLog.open(tmp_path, prealloc_bytes=4096)
    for zxid in range(1, 11):
        log.append([payload(zxid)])
        if zxid % 3 == 0:
            log.roll()
    log.truncate(keep)
    assert log.last_zxid == min(keep, 10)
    assert [zxid for zxid, _ in log.read()] == list(range(1, min(keep, 10) + 1))
    log.append([payload(100)])
    log.close()
    log = TxnLog.open(tmp_path)
    assert log.last_zxid == 100


@pytest.mark.parametrize("log_type", ["memory", "file"])
def test_zxids_must_rise(tmp_path: Path, log_type: str) -> None:
    log: TransactionLog = MemoryLog() if log_type == "memory" else TxnLog.open(tmp_path)
    log.append([payload(3)])
    for wrong in ([payload(3)], [payload(2)], [payload(5), payload(5)]):
        with pytest.raises(AssertionError, match="after"):
            log.append(wrong)
    log.append([payload(6)])
    log.sync()
    assert log.last_zxid == 6


def test_the_newest_txns_of_an_epoch_may_be_large(tmp_path: Path) -> None:
    big = payload(1, os.urandom(1 << 20))
    log = TxnLog.open(tmp_path)
    log.append([big, payload(2)])
    log.close()
    assert [found for _, found in TxnLog.open(tmp_path).read()] == [big, payload(2)]


def test_names_that_are_not_logs_are_left_alone(make_log: MakeLog) -> None:
    directory = make_log(payload(1))
    for name in ("log.1.bak", "snapshot.0", "currentEpoch", "log.", "log.xyz"):
        (directory / "version-2" / name).write_bytes(b"?")
    assert reopened(directory) == [1]


# --- the next file


def test_a_prepared_file_becomes_the_next_one(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=1 << 16)
    log.append([payload(1)])
    log.prepare()
    log.prepare()  # one is enough
    hidden = tmp_path / "version-2" / txn_log._PREPARED_NAME
    assert hidden.stat().st_size == 1 << 16
    assert [zxid for zxid, _ in log.files()] == [1]
    log.roll()
    log.append([payload(2), payload(3)])
    log.sync()
    assert not hidden.exists()
    assert [zxid for zxid, _ in log.files()] == [1, 2]
    assert (tmp_path / "version-2" / "log.2").stat().st_size == 1 << 16
    assert [zxid for zxid, _ in TxnLog.open(tmp_path).read()] == [1, 2, 3]  # as after kill -9
    log.prepare()
    log.close()
    assert sorted(path.name for path in (tmp_path / "version-2").iterdir()) == ["log.1", "log.2"]
    assert reopened(tmp_path) == [1, 2, 3]


@pytest.mark.parametrize("prepared", [True, False])
def test_a_file_that_is_there_is_never_replaced(tmp_path: Path, prepared: bool) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=0)
    log.append([payload(1)])
    if prepared:
        log.prepare()
    log.roll()
    there = tmp_path / "version-2" / "log.2"
    there.write_bytes(b"precious")
    with pytest.raises(LogWriteError, match="File exists"):
        log.append([payload(2)])
    assert there.read_bytes() == b"precious"


def test_a_prepared_file_left_by_a_dead_process_is_removed(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=1 << 16)
    log.append([payload(1)])
    log.sync()
    log.prepare()
    again = TxnLog.open(tmp_path, prealloc_bytes=0)
    assert [path.name for path in (tmp_path / "version-2").iterdir()] == ["log.1"]
    again.close()


def test_a_file_larger_than_its_limit_is_the_last_one_no_more(tmp_path: Path) -> None:
    """txnLogSizeLimitInKb: judged when a batch is safe, so no batch is torn in two."""
    log = TxnLog.open(tmp_path, prealloc_bytes=0, file_bytes_max=500)
    for zxid in range(1, 11):
        log.append([payload(zxid, bytes(68))])
        log.sync()
    names = [path.name for _, path in log.files()]
    assert names == ["log.1", "log.6"]
    assert [zxid for zxid, _ in log.read()] == list(range(1, 11))
    assert log.appended_bytes == 10 * (12 + 100 + 1)
    log.close()


def test_a_file_that_nobody_syncs_is_finished_at_its_limit_too(tmp_path: Path) -> None:
    """forceSync=no"""
    log = TxnLog.open(tmp_path, prealloc_bytes=0, file_bytes_max=500)
    for zxid in range(1, 41):
        log.append([payload(zxid)])
    assert len(log.files()) > 2
    assert max(path.stat().st_size for _, path in log.files()) < 600
    assert [zxid for zxid, _ in log.read()] == list(range(1, 41))
    log.close()
