"""Prestart: starts the zygote's interpreter. Imports nothing but os, sys and time, so that it can be done before
anything else.

In: nothing. Out: a `Zygote`: a process that is importing, and the two pipes to it. Measured: `up` wins 60-100 ms,
because the interpreter starts before the command line's own imports.

(1) The zygote ends at the end of file of its pipe: one that nobody wants goes away by itself.
(2) stderr stays the terminal's until the supervisor has a log file, so that a failing import is seen.
"""

import os
import sys
import time


class Zygote:
    """An interpreter on its way; `to_fd` writes to it, `from_fd` reads its answers."""

    def __init__(self, pid: int, to_fd: int, from_fd: int) -> None:
        self.pid = pid
        self.to_fd = to_fd
        self.from_fd = from_fd
        self.started_ns = time.monotonic_ns()

    def abandon(self) -> None:
        """Nobody wants it, or it needs nobody any more."""
        os.close(self.to_fd)
        os.close(self.from_fd)

    def wait(self) -> int:
        """Its exit code; waits for its end."""
        _spawned.discard(self.pid)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


_early: Zygote | None = None
_spawned: set[int] = set()


def spawn() -> Zygote:
    """Start an interpreter that becomes the zygote."""
    for pid in list(_spawned):  # earlier ones of this process that have ended since
        if os.waitpid(pid, os.WNOHANG)[0] == pid:
            _spawned.discard(pid)
    to_read, to_write = os.pipe()
    from_read, from_write = os.pipe()
    for fd in (to_read, from_write):
        os.set_inheritable(fd, True)
    try:
        pid = os.posix_spawn(
            sys.executable,
            # -c and not -m: runpy alone costs several ms.
            [
                sys.executable,
                "-c",
                f"from brokerdemo.cluster.zygote import main; raise SystemExit(main({to_read}, {from_write}))",
            ],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            ],
        )
    finally:
        os.close(to_read)
        os.close(from_write)
    _spawned.add(pid)
    return Zygote(pid, to_write, from_read)


def early() -> None:
    """Start one now; `take` gives it to whoever starts a cluster in this process."""
    global _early
    if _early is None and hasattr(os, "fork"):
        _early = spawn()


def take() -> Zygote:
    """The one started early, or a new one."""
    global _early
    taken, _early = _early, None
    return taken or spawn()


def abandon() -> None:
    """Nobody will take the one started early."""
    global _early
    if _early is not None:
        _early.abandon()
        _early = None
