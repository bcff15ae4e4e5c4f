"""Two servers on one directory: the second is refused, by name; a dead one holds nothing."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from coordination.storage import DirectoryLockedError, StorageError
from coordination.storage.directory_lock import DirectoryLock

HOLD = """
import sys
from pathlib import Path
from coordination.storage.directory_lock import DirectoryLock
lock = DirectoryLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


def test_the_second_is_told_who_holds_it_and_kill_frees_it(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DirectoryLockedError, match=f"in use by process {holder.pid}.*--data") as caught:
            DirectoryLock(tmp_path)
        assert caught.value.pid == holder.pid
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    DirectoryLock(tmp_path).release()


def test_a_full_disk_keeps_nobody_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    lock = DirectoryLock(tmp_path)
    with pytest.raises(DirectoryLockedError, match="another process"):
        DirectoryLock(tmp_path)
    lock.release()


def test_released_and_taken_again(tmp_path: Path) -> None:
    lock = DirectoryLock(tmp_path / "new")
    with pytest.raises(DirectoryLockedError, match=f"process {os.getpid()}"):
        DirectoryLock(tmp_path / "new")
    lock.release()
    lock.release()
    DirectoryLock(tmp_path / "new").release()


def test_a_directory_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot use the data directory"):
        DirectoryLock(tmp_path / "file")
