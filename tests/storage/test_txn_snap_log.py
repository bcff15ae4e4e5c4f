"""Log and snapshots together: what a start begins from, and what may be forgotten."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from coordination.storage import DirectoryLockedError, LogDamagedError, StorageError, TxnSnapLog
from coordination.storage.snapshot_format import OPEN_ACL_ID, SnapshotNode
from tests.storage.conftest import payload

ROOT: list[SnapshotNode] = [("/", b"", OPEN_ACL_ID, (0,) * 9)]


class Store:
    """A store that is filled and reopened."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.store = TxnSnapLog.open(directory, prealloc_bytes=4096)
        self.store.restore().__exit__()

    def txns(self, *zxids: int) -> "Store":
        self.store.log.append([payload(zxid) for zxid in zxids])
        self.store.log.sync()
        return self

    def snapshot(self, zxid: int) -> "Store":
        self.store.log.roll()
        self.store.begin_snapshot(zxid, {zxid: 1}, {}, ROOT).write_all()
        return self

    def reopen(self) -> "Store":
        self.store.close()
        self.store = TxnSnapLog.open(self.directory, prealloc_bytes=4096)
        return self

    def restored(self) -> tuple[int | None, list[int]]:
        """(zxid of the snapshot taken, zxids replayed)"""
        with self.store.restore() as found:
            return found.snapshot.zxid if found.snapshot else None, [zxid for zxid, _ in found.txns()]

    def damage(self, name: str) -> "Store":
        path = self.directory / "version-2" / name
        data = bytearray(path.read_bytes())
        data[20] ^= 1
        path.write_bytes(data)
        return self

    def names(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "version-2").iterdir())


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path)
    yield made
    made.store.close()


def test_fresh(store: Store) -> None:
    assert store.store.restore().fresh
    assert store.reopen().restored() == (None, [])


def test_newest_snapshot_and_what_came_after_it(store: Store) -> None:
    store.snapshot(0).txns(1, 2, 3).snapshot(3).txns(4, 5)
    assert store.reopen().restored() == (3, [4, 5])


def test_a_fuzzy_snapshot_is_replayed_from_where_it_began(store: Store) -> None:
    store.snapshot(0).txns(1, 2)
    writer = store.store.begin_snapshot(2, {}, {}, ROOT)
    store.txns(3, 4)
    writer.write_all()
    assert store.txns(5).reopen().restored() == (2, [3, 4, 5])


def test_a_damaged_snapshot_falls_back_to_the_older_one(store: Store) -> None:
    store.snapshot(0).txns(1, 2).snapshot(2).txns(3).snapshot(3).txns(4).damage("snapshot.3").reopen()
    with store.store.restore() as found:
        assert found.snapshot is not None
        assert (found.snapshot.zxid, [zxid for zxid, _ in found.txns()]) == (2, [3, 4])
        assert "checksum" in str(found.passed_over[0])
        assert found.passed_over[0].path.name == "snapshot.3"


def test_all_snapshots_damaged_but_the_log_reaches_back(store: Store) -> None:
    store.txns(1, 2).snapshot(2).txns(3).damage("snapshot.2")
    assert store.reopen().restored() == (None, [1, 2, 3])


def test_a_fallback_that_would_leave_a_hole_is_refused(store: Store) -> None:
    store.snapshot(0).txns(1, 2).snapshot(2).txns(3, 4).damage("snapshot.2").reopen()
    (store.directory / "version-2" / "log.1").unlink()
    with pytest.raises(LogDamagedError, match=r"newest good snapshot ends at 0x0: the txns in between"):
        store.restored()


def test_no_snapshot_and_a_log_that_begins_late_is_refused(store: Store) -> None:
    """ZooKeeper: "No snapshot found, but there are log entries. Something is broken!" """
    store.txns(5)
    with pytest.raises(LogDamagedError, match="there is no good snapshot"):
        store.reopen().restored()


def test_writes_that_only_a_damaged_snapshot_holds_are_not_forgotten(store: Store) -> None:
    """Going on from the older one would use zxids 4 to 9 twice."""
    store.snapshot(0).txns(1, 2, 3).snapshot(9).damage("snapshot.9").reopen()
    with pytest.raises(StorageError, match=r"writes up to 0x9 are only in it.*move snapshot\.9 away"):
        store.restored()


def test_a_snapshot_newer_than_the_log(store: Store) -> None:
    """ZOOKEEPER-582: going on at the log's end would give out zxids the snapshot already holds."""
    store.snapshot(0).txns(1, 2, 3).snapshot(9)
    assert store.reopen().restored() == (9, [])
    assert store.store.log.last_zxid == 9
    with pytest.raises(AssertionError):
        store.txns(4)
    assert store.txns(10, 11).reopen().restored() == (9, [10, 11])
    assert store.store.log.last_zxid == 11


def test_retention_keeps_three_snapshots_and_the_logs_they_need(store: Store) -> None:
    store.snapshot(0)
    for zxid in range(1, 41):
        store.txns(zxid)
        if zxid % 10 == 0:
            store.snapshot(zxid)
            store.store.purge()
    assert store.names() == ["log.15", "log.1f", "log.b", "snapshot.14", "snapshot.1e", "snapshot.28"]
    assert store.reopen().restored() == (40, [])
    store.damage("snapshot.28").damage("snapshot.1e")
    assert store.reopen().restored() == (20, list(range(21, 41)))


def test_retention_does_not_count_a_torn_snapshot(store: Store) -> None:
    for zxid in (1, 2, 3, 4):
        store.txns(zxid).snapshot(zxid)
    torn = store.directory / "version-2" / "snapshot.3"
    torn.write_bytes(torn.read_bytes()[:-1])
    store.store.purge()
    assert [name for name in store.names() if name.startswith("snapshot")] == [f"snapshot.{z}" for z in (1, 2, 3, 4)]


def test_retention_keeps_what_a_start_found_whole(store: Store) -> None:
    for zxid in (1, 2, 3, 4):
        store.txns(zxid).snapshot(zxid)
    for zxid in (2, 3, 4):
        store.damage(f"snapshot.{zxid}")
    assert store.reopen().restored() == (1, [2, 3, 4])
    assert store.store.purge() == []
    assert store.reopen().restored() == (1, [2, 3, 4])
    store.snapshot(4)  # in the place of a damaged one
    for zxid in (5, 6):
        store.txns(zxid).snapshot(zxid)
    store.store.purge()
    assert [name for name in store.names() if name.startswith("snapshot")] == [f"snapshot.{z}" for z in (4, 5, 6)]


def test_one_server_per_directory(store: Store) -> None:
    with pytest.raises(DirectoryLockedError, match="in use by process"):
        TxnSnapLog.open(store.directory)


def test_a_log_directory_of_its_own(tmp_path: Path) -> None:
    data, logs = tmp_path / "data", tmp_path / "logs"
    store = TxnSnapLog.open(data, logs)
    store.log.append([payload(1)])
    store.begin_snapshot(1, {}, {}, ROOT).write_all()
    with pytest.raises(DirectoryLockedError):
        TxnSnapLog.open(tmp_path / "other", logs)
    store.close()
    assert (logs / "version-2" / "log.1").exists()
    assert (data / "version-2" / "snapshot.1").exists()
    with pytest.raises(StorageError, match=r"holds log.1, a log, which belongs into dataLogDir"):
        TxnSnapLog.open(logs, data)
    TxnSnapLog.open(data, logs).close()  # the refusal kept no lock
