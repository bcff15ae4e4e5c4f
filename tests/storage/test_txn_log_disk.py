"""The log and a disk that fails it: errors, no room, short writes, removed files; and what is durable before what."""

import errno
import os
from pathlib import Path

import pytest

from coordination.storage import LogWriteError, StorageError, TxnLog, txn_log
from tests.storage.conftest import MakeLog, payload, reopened

# --- the disk fails


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


def test_an_unusable_directory_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot open the transaction log in"):
        TxnLog.open(tmp_path / "file")


# --- what is durable first


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
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.path.basename(os.readlink(f"/proc/self/fd/{fd}"))))
    log = TxnLog.open(directory)
    assert synced == ["log.1"]
    log.close()
