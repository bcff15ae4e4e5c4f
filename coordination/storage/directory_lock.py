"""One server per data directory: an advisory lock that dies with its process.

In:  a directory.  Out: a held lock, or DirectoryLockedError naming the process that holds it.
A lock of the kernel (flock), not a pid file: `kill -9` frees it, and a stale file means nothing. ZooKeeper has no such
lock; two of its servers on one directory overwrite each other's logs in silence.
"""

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path

from coordination.storage.api import DirectoryLockedError, StorageError

LOCK_FILE = "coordination.lock"


class DirectoryLock:
    """Held from construction to `release` (or the end of the process). Two in one process exclude each other too."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / LOCK_FILE
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(
                f"cannot use the data directory {directory}: {error.strerror}. "
                "Give a directory this user can write to with --data (dataDir in zoo.cfg)."
            ) from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _pid_in(self._fd)
            os.close(self._fd)
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise StorageError(
                    f"cannot lock {self.path}: {error.strerror}. Is the file system one that supports locks?"
                ) from error
            who = f"process {holder}" if holder else "another process"
            raise DirectoryLockedError(
                f"the data directory {directory} is in use by {who}. Two servers on one directory would destroy it: "
                f"stop {who} first, or give this one its own directory with --data.",
                holder,
            ) from error
        with suppress(OSError):  # a full disk: the lock holds, it only names nobody
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Let the next one in. The file stays: removing it would let two processes lock two different files of one
        name.
        """
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _pid_in(fd: int) -> int | None:
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text.isdigit() else None
