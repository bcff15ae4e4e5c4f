"""The log file: its exact bytes, its durability rules, and what it refuses."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from zlib import adler32

import pytest

from coordination.storage import (
    LogDamagedError,
    LogWriteError,
    MemoryLog,
    StorageError,
    TransactionLog,
    TxnLog,
    txn_log,
)
from tests.storage.conftest import payload

MakeLog = Callable[..., Path]


def reopened(directory: Path) -> list[int]:
    log = TxnLog.open(directory, prealloc_bytes=0)
    try:
        return [zxid for zxid, _ in log.read()]
    finally:
        log.close()


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


def test_a_torn_tail_is_cut_at_every_byte(make_log: MakeLog) -> None:
    """Whatever prefix of the file a crash left, opening gives the whole records in it, and writing goes on behind
    them.
    """
    records = [payload(zxid, bytes(range(zxid * 3))) for zxid in range(1, 6)]
    directory = make_log(*records)
    path = directory / "version-2" / "log.1"
    whole = path.read_bytes()
    ends = [16]
    for record in records:
        ends.append(ends[-1] + 13 + len(record))
    for cut in range(len(whole) + 1):
        for zeros in (0, 3, 5000):  # without preallocation, and with
            path.unlink(missing_ok=True)
            path.write_bytes(whole[:cut] + bytes(zeros))
            log = TxnLog.open(directory, prealloc_bytes=0)
            survived = [found for _, found in log.read()]
            expected = sum(end <= cut for end in ends[1:])
            if zeros and cut < len(whole) and not any(whole[cut : ends[min(expected + 1, 5)]]):
                expected += 1  # the cut took only zeros, and zeros took their place
            assert survived == records[:expected], cut
            log.append([payload(9)])
            log.close()
            assert reopened(directory) == [*range(1, expected + 1), 9]
            for _, left in log.files():
                left.unlink()


def test_a_repair_says_what_was_cut(make_log: MakeLog) -> None:
    directory = make_log(payload(1), payload(2, b"\1" * 50))
    path = directory / "version-2" / "log.1"
    path.write_bytes(path.read_bytes()[:-10])
    (repair,) = TxnLog.open(directory).repairs
    assert (repair.offset, repair.removed_bytes, repair.last_zxid) == (61, 85, 1)
    assert str(repair).startswith(f"{path}: torn tail (a record of 82 bytes is cut off")


def test_every_bit_flip_is_noticed(make_log: MakeLog) -> None:
    """Also in the last record: a crash leaves zeros, not a record from its first byte to its last."""
    records = [payload(zxid, b"data") for zxid in range(1, 4)]
    directory = make_log(*records)
    path = directory / "version-2" / "log.1"
    whole = path.read_bytes()
    for position in range(16, len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:position] + bytes([whole[position] ^ 1 << bit]) + whole[position + 1 :])
            before = path.read_bytes()
            with pytest.raises(LogDamagedError) as caught:
                TxnLog.open(directory, prealloc_bytes=0)
            at = (position - 16) // 49
            assert (caught.value.offset, caught.value.zxid_before, caught.value.zxid_after) == (
                16 + 49 * at,
                at,
                at + 2 if at < 2 else 0,
            )
            assert path.read_bytes() == before, "a damaged file must not be changed"


@pytest.mark.parametrize("lost", [range(512, 1024), range(1024, 1536)])
def test_a_last_record_without_one_of_its_sectors_was_torn_by_a_power_cut(make_log: MakeLog, lost: range) -> None:
    directory = make_log(payload(1), payload(2, b"x" * 2000))
    path = directory / "version-2" / "log.1"
    data = bytearray(path.read_bytes())
    data[lost.start : lost.stop] = bytes(512)
    path.write_bytes(data)
    log = TxnLog.open(directory, prealloc_bytes=0)
    assert (log.last_zxid, len(log.repairs)) == (1, 1)
    log.close()


def test_damage_in_front_of_what_a_snapshot_holds_costs_nothing(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=0)
    log.append([payload(zxid) for zxid in (1, 2, 3)])
    log.roll()
    log.append([payload(4)])
    log.close()
    path = tmp_path / "version-2" / "log.1"
    data = bytearray(path.read_bytes())
    data[70] ^= 1
    path.write_bytes(data)
    log = TxnLog.open(tmp_path, prealloc_bytes=0)
    assert [zxid for zxid, _ in log.read(3)] == [4]
    with pytest.raises(LogDamagedError, match="a good record with zxid 0x3"):
        list(log.read(2))
    log.close()


def test_damage_names_file_offset_zxids_and_the_way_out(make_log: MakeLog) -> None:
    directory = make_log(*(payload(zxid) for zxid in range(1, 4)))
    path = directory / "version-2" / "log.1"
    data = bytearray(path.read_bytes())
    data[80] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogDamagedError) as caught:
        TxnLog.open(directory)
    text = str(caught.value)
    for part in (
        str(path),
        "offset 61",
        "zxid 0x3 follows at offset 106",
        "before it is zxid 0x1",
        "truncate --after 0x1",
    ):
        assert part in text


def test_a_hole_of_zeros_in_front_of_good_records_is_damage(make_log: MakeLog) -> None:
    """ZooKeeper takes a zero length for the end and would drop the rest without a word."""
    directory = make_log(*(payload(zxid) for zxid in range(1, 4)))
    path = directory / "version-2" / "log.1"
    data = bytearray(path.read_bytes())
    data[61:106] = bytes(45)
    path.write_bytes(data)
    with pytest.raises(LogDamagedError, match="records follow them") as caught:
        TxnLog.open(directory)
    assert (caught.value.zxid_before, caught.value.zxid_after) == (1, 3)


def test_garbage_behind_the_end_is_cut(make_log: MakeLog) -> None:
    directory = make_log(payload(1))
    path = directory / "version-2" / "log.1"
    path.write_bytes(path.read_bytes() + bytes(100) + b"leftover")
    log = TxnLog.open(directory, prealloc_bytes=0)
    assert "behind the zeros" in str(log.repairs[0])
    log.close()
    assert path.stat().st_size == 61


@pytest.mark.parametrize(
    "content", [b"", bytes(16), bytes(5000), b"ZKL", b"ZKLG\0\0\0\2" + bytes(8), b"ZKLG\0\0\0\2" + bytes(99)]
)
def test_an_empty_newest_file_is_removed(make_log: MakeLog, content: bytes) -> None:
    directory = make_log(payload(1))
    newest = directory / "version-2" / "log.2"
    newest.write_bytes(content)
    log = TxnLog.open(directory)
    assert log.last_zxid == 1
    assert not newest.exists()
    assert len(log.repairs) == 1
    log.append([payload(2)])
    log.close()
    assert reopened(directory) == [1, 2]


def test_a_missing_file_is_not_skipped(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path)
    for zxid in range(1, 10):
        log.append([payload(zxid)])
        if zxid % 3 == 0:
            log.roll()
    log.close()
    (tmp_path / "version-2" / "log.4").unlink()
    log = TxnLog.open(tmp_path)
    with pytest.raises(LogDamagedError, match="would lose 3 acknowledged"):
        list(log.read())
    # A snapshot at 6 needs nothing of what is missing.
    assert [zxid for zxid, _ in log.read(6)] == [7, 8, 9]


def test_a_new_epoch_is_no_gap(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path)
    log.append([payload(1)])
    log.roll()
    log.append([payload(1 << 32 | 1)])
    log.close()
    assert reopened(tmp_path) == [1, 1 << 32 | 1]


@pytest.mark.parametrize(("lost", "refused"), [(False, False), (True, True)])
def test_a_torn_file_that_is_not_the_newest(tmp_path: Path, lost: bool, refused: bool) -> None:
    """ZooKeeper leaves a torn file and begins a new one. That is fine when the new one provably goes on where it
    stops.
    """
    log = TxnLog.open(tmp_path, prealloc_bytes=0)
    log.append([payload(1), payload(2)])
    log.roll()
    log.append([payload(4 if lost else 3)])
    log.close()
    path = tmp_path / "version-2" / "log.1"
    path.write_bytes(path.read_bytes() + b"\0\0\0\0torn")
    log = TxnLog.open(tmp_path)
    if refused:
        with pytest.raises(LogDamagedError, match="the next file goes on at zxid 0x4"):
            list(log.read())
    else:
        assert [zxid for zxid, _ in log.read()] == [1, 2, 3]


def test_a_file_that_is_no_log_is_refused(make_log: MakeLog) -> None:
    directory = make_log(payload(1))
    (directory / "version-2" / "log.2").write_bytes(b"hello, this is not a log at all")
    with pytest.raises(LogDamagedError, match="is not a transaction log"):
        TxnLog.open(directory)


def test_names_that_are_not_logs_are_left_alone(make_log: MakeLog) -> None:
    directory = make_log(payload(1))
    for name in ("log.1.bak", "snapshot.0", "currentEpoch", "log.", "log.xyz"):
        (directory / "version-2" / name).write_bytes(b"?")
    assert reopened(directory) == [1]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("failing", ["write", "sync"])
def test_a_failed_write_or_sync_ends_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, code: int
) -> None:
    """A second try could call lost pages durable: the log stays failed until it is opened anew."""
    log = TxnLog.open(tmp_path)
    log.append([payload(1)])
    log.sync()

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(*((os, "pwrite", fail) if failing == "write" else (txn_log, "_datasync", fail)))
        if failing == "sync":
            log.append([payload(2)])
        with pytest.raises(LogWriteError, match=os.strerror(code)) as caught:
            log.sync() if failing == "sync" else log.append([payload(2)])
        assert caught.value.errno == code
    with pytest.raises(LogWriteError, match="no more writes since"):
        log.append([payload(3)])
    with pytest.raises(LogWriteError, match="no more writes since"):
        log.sync()
    log.close()
    assert reopened(tmp_path)[0] == 1


def test_a_removed_file_is_written_to_no_more(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path)
    log.append([payload(1)])
    log.sync()
    (tmp_path / "version-2" / "log.1").unlink()
    log.append([payload(2)])
    with pytest.raises(LogWriteError, match="was removed while the server wrote to it"):
        log.sync()
    with pytest.raises(LogWriteError, match="takes no more writes"):
        log.append([payload(3)])
    log.close()


def test_a_short_write_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.pwrite
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda fd, data, at: real(fd, data[: max(1, len(data) // 2)], at))
        log = TxnLog.open(tmp_path)
        log.append([payload(1, b"x" * 100), payload(2)])
        log.close()
    assert reopened(tmp_path) == [1, 2]


def test_no_room_for_the_reserve_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    log = TxnLog.open(tmp_path)
    log.append([payload(1)])
    log.close()
    assert reopened(tmp_path) == [1]


def test_the_name_is_durable_before_the_first_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rename or create without a sync of the directory is one of the known traps."""
    calls: list[str] = []
    real_fsync, real_write = os.fsync, os.pwrite

    def fsync(fd: int) -> None:
        calls.append("directory" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")
        real_fsync(fd)

    def pwrite(fd: int, data: bytes, at: int) -> int:
        calls.append(f"write {len(data)}")
        return real_write(fd, data, at)

    log = TxnLog.open(tmp_path)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "pwrite", pwrite)
    log.append([payload(1)])
    assert calls == ["write 16", "file", "directory", "write 45"]


def test_what_a_dead_process_left_in_the_page_cache_is_synced_at_open(
    make_log: MakeLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replayed records are seen by clients, so they must be durable first."""
    directory = make_log(payload(1))
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    TxnLog.open(directory)
    assert synced


def test_an_unusable_directory_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot open the transaction log in"):
        TxnLog.open(tmp_path / "file")


def test_the_newest_txns_of_an_epoch_may_be_large(tmp_path: Path) -> None:
    big = payload(1, os.urandom(1 << 20))
    log = TxnLog.open(tmp_path)
    log.append([big, payload(2)])
    log.close()
    assert [found for _, found in TxnLog.open(tmp_path).read()] == [big, payload(2)]


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


def test_a_prepared_file_left_by_a_dead_process_is_removed(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=1 << 16)
    log.append([payload(1)])
    log.sync()
    log.prepare()
    again = TxnLog.open(tmp_path, prealloc_bytes=0)
    assert [path.name for path in (tmp_path / "version-2").iterdir()] == ["log.1"]
    again.close()


def test_a_disk_without_room_for_the_next_file_is_heard_of_when_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TxnLog.open(tmp_path, prealloc_bytes=1 << 16)
    log.append([payload(1)])

    def full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", full)
        log.prepare()
    assert [path.name for path in (tmp_path / "version-2").iterdir()] == ["log.1"]
    log.roll()
    log.append([payload(2)])
    log.close()
    assert reopened(tmp_path) == [1, 2]


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
