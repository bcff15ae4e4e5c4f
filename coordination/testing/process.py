"""One child process that serves a port: started, waited for, killed, started again on the same port and data.

In: a command line.  Out: a process with a pid, and an error that quotes its own words when it does not come up.
Knows no protocol.  Answers to nothing in ZooKeeper.

(1) A child does not outlive its parent: stopped at exit, and on Linux by the kernel if the parent is killed (where
    setpriv is there and the main thread started it: the kernel ties the child to the thread).
(2) Waiting is for events: the end of the child, a byte on a pipe; never a pause that hopes.
"""

import atexit
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

STOP_TIMEOUT_S = 10.0
# How much of a failed child's output goes into the error.
QUOTED_BYTES = 2000


class ServerDied(Exception):
    """A server ended before it was ready; the text quotes what it said."""


class Process:
    """A child and its output file; `command` may be run again."""

    def __init__(self, command: Sequence[str], output: Path) -> None:
        self.command = list(command)
        self.output = output
        self._child: subprocess.Popen[bytes] | None = None
        atexit.register(self.stop)

    @property
    def pid(self) -> int:
        if self._child is None:
            raise RuntimeError("not running")
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self, *, pass_fds: Sequence[int] = (), extra: Sequence[str] = ()) -> None:
        if self.is_running:
            raise RuntimeError(f"already running as {self.pid}")
        guard: list[str] = []
        setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
        if setpriv and threading.current_thread() is threading.main_thread():
            guard = [setpriv, "--pdeathsig", "KILL", "--"]
        with self.output.open("ab") as output:
            self._child = subprocess.Popen(
                [*guard, *self.command, *extra],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )

    def ended_within(self, seconds: float) -> bool:
        """Waits for the child's end for so long; True if it came."""
        if self._child is None:
            return True
        try:
            self._child.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def signal(self, number: signal.Signals) -> None:
        if self._child is not None:
            self._child.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and returns when the process is gone."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def pause(self) -> None:
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.signal(signal.SIGCONT)

    def stop(self) -> int | None:
        """SIGTERM, then SIGKILL if that is not enough; the exit status, None if it never ran. Safe to call twice."""
        atexit.unregister(self.stop)
        child = self._child
        if child is None:
            return None
        if child.poll() is None:
            child.send_signal(signal.SIGCONT)  # a stopped process does not hear SIGTERM
            child.terminate()
            if not self.ended_within(STOP_TIMEOUT_S):
                self.kill()
        return child.wait()

    def died(self, what: str) -> ServerDied:
        """The error for a child that did not come up, with its last words."""
        self.kill()
        said = self.output.read_bytes()[-QUOTED_BYTES:].decode(errors="replace") if self.output.exists() else ""
        status = self._child.returncode if self._child is not None else None
        return ServerDied(f"{what} (exit status {status}): {' '.join(self.command[:6])} ...\n{said}")


def environment_path(variable: str, default: Path) -> Path:
    """A directory from the environment; an empty or relative value counts as unset, as the XDG rules say."""
    value = os.environ.get(variable, "")
    return Path(value) if value.startswith("/") else default
