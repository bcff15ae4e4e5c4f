"""A log file that is not as it was written: torn tails are cut off and said, anything else is refused unchanged."""

import os
from pathlib import Path
from zlib import adler32

import pytest

from coordination.storage import LogDamagedError, TxnLog, txn_log
from coordination.storage.log_format import HEADER_BYTES, RECORD_HEAD
from tests.storage.conftest import MakeLog, payload, reopened

# --- torn


def test_a_torn_tail_is_cut_at_every_byte(make_log: MakeLog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever prefix of the file a crash left, opening gives the whole records in it, and writing goes on behind
    them.
    """
    for module, name in ((os, "fsync"), (txn_log, "_datasync")):  # thousands of files, and no power is cut here
        monkeypatch.setattr(module, name, lambda fd: None)
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


# --- damaged


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


def test_a_file_that_is_no_log_is_refused(make_log: MakeLog) -> None:
    directory = make_log(payload(1))
    (directory / "version-2" / "log.2").write_bytes(b"hello, this is not a log at all")
    with pytest.raises(LogDamagedError, match="is not a transaction log"):
        TxnLog.open(directory)


# --- zxids that do not rise


def record(payload: bytes) -> bytes:
    return RECORD_HEAD.pack(adler32(payload), len(payload)) + payload + b"B"


def error(zxid: int) -> bytes:
    return payload(zxid)[:28] + (-1).to_bytes(4, "big", signed=True) + (-5).to_bytes(4, "big", signed=True)


def write(path: Path, *payloads: bytes) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(HEADER_BYTES + b"".join(map(record, payloads)))


def test_an_error_txn_may_repeat_the_zxid_before_it(tmp_path: Path) -> None:
    """As ZooKeeper logs requests that it could not decode, the first ones after a start too."""
    write(tmp_path / "version-2" / "log.1", payload(1), payload(2), error(2), error(2), payload(3), error(3))
    write(tmp_path / "version-2" / "log.3", error(3), payload(4), error(4))
    assert reopened(tmp_path) == [1, 2, 2, 2, 3, 3, 3, 4, 4]
    log = TxnLog.open(tmp_path)
    assert [zxid for zxid, _ in log.read(3)] == [4, 4]
    log.truncate(2)
    assert [zxid for zxid, _ in log.read()] == [1, 2, 2, 2]
    log.append([payload(3)])
    log.close()
    assert reopened(tmp_path) == [1, 2, 2, 2, 3]


@pytest.mark.parametrize("other", [payload(2), payload(2, b"x"), payload(1), error(1)])
def test_no_other_record_may_repeat_or_go_back(tmp_path: Path, other: bytes) -> None:
    write(tmp_path / "version-2" / "log.1", payload(1), payload(2), other, payload(3))
    with pytest.raises(LogDamagedError, match="follows 0x2"):
        TxnLog.open(tmp_path)
    write(tmp_path / "version-2" / "log.1", payload(1), payload(2))
    write(tmp_path / "version-2" / "log.2", other, payload(3))
    with pytest.raises(LogDamagedError, match="do not belong to one history"):
        list(TxnLog.open(tmp_path).read())


# --- missing


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


def test_what_is_missing_inside_a_file_is_told_of_and_refused_by_nobody(tmp_path: Path) -> None:
    """A follower that a snapshot brought up to date goes on in the file it was writing."""
    epoch = 1 << 32
    write(tmp_path / "version-2" / "log.1", *map(payload, (1, 2, 5, 6, 9, epoch | 1, epoch | 2)))
    log = TxnLog.open(tmp_path)
    assert [zxid for zxid, _ in log.read()] == [1, 2, 5, 6, 9, epoch | 1, epoch | 2]
    assert [(gap.after_zxid, gap.before_zxid) for gap in log.gaps] == [(2, 5), (6, 9)]
    assert "2 acknowledged writes" in str(log.gaps[0])
    for snapshot, told in ((3, [(3, 5), (6, 9)]), (4, [(6, 9)]), (8, []), (epoch | 1, [])):
        assert [zxid for zxid, _ in log.read(snapshot)] == [z for z in (5, 6, 9, epoch | 1, epoch | 2) if z > snapshot]
        assert [(gap.after_zxid, gap.before_zxid) for gap in log.gaps] == told
    log.close()


def test_a_new_epoch_is_no_gap(tmp_path: Path) -> None:
    log = TxnLog.open(tmp_path)
    log.append([payload(1)])
    log.roll()
    log.append([payload(1 << 32 | 1)])
    log.close()
    assert reopened(tmp_path) == [1, 1 << 32 | 1]
