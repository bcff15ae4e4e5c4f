"""Processes: the supervisor's hold on its children, which the zygote forks for it.

In: what to fork. Out: a `Child` with a pidfd; the instant of its end. The one place that sends signals.

(1) A signal goes through the pidfd: it reaches that process or nobody, whatever became of its pid.
(2) `ended` is set by whichever proof comes first: the pidfd, or the zygote's report that it reaped it. Both are proofs.
(3) The end of the zygote's socket ends the supervisor: without it nothing can be started and nobody is reaped.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import trio

from brokerdemo.cluster import fd_lines
from brokerdemo.cluster.errors import ClusterError, Code


class Child:
    """One process: forked, maybe ended."""

    def __init__(self, pid: int, pidfd: int | None) -> None:
        self.pid = pid
        self.started_ns = time.monotonic_ns()
        self.start_time = start_time(pid)
        self.ended = trio.Event()
        self.ended_ns: int | None = None
        self.reaped = trio.Event()
        self.code: int | None = None
        self.stopped = False
        """SIGSTOP was sent and SIGCONT was not."""
        self.told_to_go = False
        """SIGTERM or SIGINT was sent: it may say goodbye."""
        self.doomed = False
        """A signal that ends it was sent, and the kernel may not have got there yet."""
        self._pidfd = pidfd

    @property
    def alive(self) -> bool:
        return not self.ended.is_set()

    def send(self, signum: signal.Signals) -> bool:
        """Send a signal; False when the process is gone already."""
        if not self.alive:
            return False
        try:
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signum)
            else:
                os.kill(self.pid, signum)
        except ProcessLookupError:
            return False
        if signum == signal.SIGSTOP:
            self.stopped = True
        elif signum in (signal.SIGCONT, signal.SIGKILL):
            self.stopped = False
        if signum in (signal.SIGTERM, signal.SIGINT):
            self.told_to_go = True
        if signum in (signal.SIGTERM, signal.SIGINT, signal.SIGKILL):
            self.doomed = True
        return True

    def note_end(self) -> None:
        if self.ended_ns is None:
            self.ended_ns = time.monotonic_ns()
            self.ended.set()

    async def wait_ended(self) -> int:
        """Wait for the end; the monotonic ns at which it was proven. Woken by the kernel, through no other task."""
        if self._pidfd is not None and self.alive:
            await trio.lowlevel.wait_readable(self._pidfd)
            self.note_end()
        await self.ended.wait()
        assert self.ended_ns is not None
        return self.ended_ns

    async def wait_reaped(self) -> int | None:
        """The exit code (negative: the signal), which the zygote reports; None when it does not say within a second."""
        with trio.move_on_after(1):
            await self.reaped.wait()
        return self.code

    def close(self) -> None:
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def start_time(pid: int) -> int | None:
    """The kernel's start time of a process (clock ticks since boot): with the pid it names one process for good.
    None where /proc does not tell."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # Field 22; the name in field 2 may hold spaces and brackets, so count from its end.
    return int(stat.rpartition(")")[2].split()[19])


def rss_bytes(pid: int) -> int | None:
    """Resident memory of a process; None where /proc does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
    except (OSError, IndexError, ValueError):
        return None


class ForkServer:
    """The supervisor's end of the zygote's socket."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._receiver = fd_lines.Receiver()
        self._next_id = 0
        self._asked: dict[int, Callable[[Child], None]] = {}
        self._children: dict[int, Child] = {}

    async def run(self) -> None:
        """Take in the zygote's answers and reports; returns when the zygote is gone (3)."""
        while True:
            await trio.lowlevel.wait_readable(self._sock)
            try:
                if not self._receiver.receive(self._sock):
                    return
            except BlockingIOError:
                continue
            except OSError:
                return
            for message, fds in self._receiver.messages():
                self._take(message, fds)

    def _take(self, message: dict[str, Any], fds: list[int]) -> None:
        if "forked" in message:
            child = Child(message["pid"], fds[0] if fds else None)
            self._children[child.pid] = child
            self._asked.pop(message["forked"])(child)
        elif "exited" in message:
            child_gone = self._children.pop(message["exited"], None)
            if child_gone is not None:
                child_gone.code = message["code"]
                child_gone.reaped.set()
                child_gone.note_end()

    async def fork(self, kind: str, options: dict[str, Any], fd: int, log: Path) -> Child:
        """Fork one child that runs `kind` with `options`; it inherits `fd`, which the caller still closes here.

        ClusterError when the zygote is gone.
        """
        self._next_id += 1
        forked = trio.Event()
        found: list[Child] = []

        def take(child: Child) -> None:
            found.append(child)
            forked.set()

        self._asked[self._next_id] = take
        message = {"do": "fork", "id": self._next_id, "kind": kind, "options": options, "log": os.fspath(log)}
        try:
            # A request is far smaller than the socket's buffer; a full one means that the zygote hangs.
            self._sock.setblocking(True)
            self._sock.settimeout(2)
            fd_lines.send(self._sock, message, [fd])
        except OSError as error:
            raise ClusterError(
                Code.BUG, "no process can be started", f"the fork server is gone ({error})", "brokerdemo down, then up"
            ) from error
        finally:
            self._sock.setblocking(False)
        await forked.wait()
        return found[0]
