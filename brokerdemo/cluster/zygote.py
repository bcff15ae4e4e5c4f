"""Zygote: the process that imports once, and forks every other process of the cluster.

In: one line of options from the launcher; then fork requests from the supervisor. Out: children; each child's pid and
pidfd, and every exit. It decides nothing. Single-threaded, without an event loop, so that fork is safe at any time.

    launcher --options--> zygote --fork--> supervisor --"fork broker 3"--> zygote --fork--> broker 3
                                                     <--pid, pidfd, exits--

(1) Every import is done here, before the first fork: a child starts in milliseconds and shares the pages.
(2) A pidfd is opened before its child can be reaped: it never names another process.
(3) On Linux a child asks to be killed when the zygote ends (PR_SET_PDEATHSIG, set after the fork, the parent checked
    after that). The zygote's main thread forks, because that signal belongs to the thread.
(4) The end of the supervisor's socket means that the supervisor is gone: the zygote kills and reaps what is left, also
    what is stopped and could not see an end of file, and leaves.
(5) A child holds no descriptor of the zygote's but the ones it was given.
"""

import gc
import json
import os
import select
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from brokerdemo.cluster import fd_lines, layout
from brokerdemo.cluster.errors import ClusterError

_PR_SET_PDEATHSIG = 1


def _load() -> dict[str, int]:
    """Import what the children run; when each part was there (monotonic ns), for `where_ms`."""
    # Collecting while importing finds nothing and costs an eighth of the time (measured).
    gc.disable()
    at = {"zygote_started": time.monotonic_ns()}
    import coordination.__main__

    coordination.__main__.preload()

    at["server_imported"] = time.monotonic_ns()
    # The client's names load their modules when they are first asked for.
    _ = coordination.connect
    _ = coordination.close_session
    at["client_imported"] = time.monotonic_ns()
    import brokerdemo.broker.main
    import brokerdemo.cluster.supervisor  # noqa: F401

    at["all_imported"] = time.monotonic_ns()
    return at


def main(from_launcher: int, to_launcher: int) -> int:
    """Run until the supervisor ends; its exit code. The two pipes to the launcher are inherited."""
    os.setsid()  # a Ctrl-C in the terminal is not for it
    launcher = (from_launcher, to_launcher)
    for fd in launcher:
        os.set_inheritable(fd, False)
    loaded = _load()
    # What was imported is never garbage: keep the collector, and with it copy-on-write, off these pages.
    gc.freeze()
    gc.enable()
    loaded["frozen"] = time.monotonic_ns()
    asked = _read_request(from_launcher)
    if asked is None:
        return 0  # the command line changed its mind
    try:
        place = layout.layout(asked["options"]["name"])
        place.prepare()
        log = os.open(place.supervisor_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except (ClusterError, OSError) as error:
        said = error if isinstance(error, ClusterError) else ClusterError(7, str(error), "", "brokerdemo doctor")
        os.write(to_launcher, json.dumps({"ok": False, "error": said.to_json()}).encode() + b"\n")
        return said.code
    # From here nothing of the terminal is held: `up -d | cat` must end when the command does.
    _redirect(log)
    return _Zygote(launcher, asked, loaded).run()


def _read_request(fd: int) -> dict[str, Any] | None:
    data = bytearray()
    while not data.endswith(b"\n"):
        more = os.read(fd, 65536)
        if not more:
            return None
        data += more
    found: dict[str, Any] = json.loads(data)
    return found


def _redirect(log_fd: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.close(null)
    os.close(log_fd)


@dataclass(slots=True)
class _Forked:
    pid: int
    pidfd: int | None


class _Zygote:
    def __init__(self, launcher: tuple[int, int], asked: dict[str, Any], loaded: dict[str, int]) -> None:
        self._pid = os.getpid()
        self._children: set[int] = set()
        self._sock, theirs = socket.socketpair()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda _signum, _frame: None)
        signal.set_wakeup_fd(self._wake_write.fileno(), warn_on_full_buffer=False)
        args = {"options": asked["options"], "asked_ns": asked["asked_ns"], "loaded": loaded, "zygote_pid": self._pid}
        self._supervisor = self._fork(lambda: _supervisor(args, theirs, launcher), pdeathsig=False).pid
        theirs.close()
        for fd in launcher:
            os.close(fd)

    def run(self) -> int:
        """Serve fork requests and reap, until the supervisor is gone."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        poll.register(self._wake_read, select.POLLIN)
        receiver = fd_lines.Receiver()
        while True:
            ready = {fd for fd, _ in poll.poll()}
            if self._wake_read.fileno() in ready:
                self._drain_wakeups()
                self._reap()
            if self._sock.fileno() in ready:
                if not receiver.receive(self._sock):
                    return self._end()
                for message, fds in receiver.messages():
                    self._serve(message, fds)

    def _serve(self, message: dict[str, Any], fds: list[int]) -> None:
        target = _KINDS[message["kind"]]
        forked = self._fork(lambda: target(message["options"], fds), log=message["log"])
        for fd in fds:
            os.close(fd)
        self._children.add(forked.pid)
        pidfds = [forked.pidfd] if forked.pidfd is not None else []
        fd_lines.send(self._sock, {"forked": message["id"], "pid": forked.pid, "t_ns": time.monotonic_ns()}, pidfds)
        for fd in pidfds:
            os.close(fd)

    def _fork(
        self,
        body: Callable[[], int],
        *,
        log: str | None = None,
        pdeathsig: bool = True,
    ) -> _Forked:
        pid = os.fork()
        if pid == 0:
            self._become(body, log, pdeathsig)
        # Reaping happens in this thread only, so the pid is still our child's: (2).
        pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else None
        return _Forked(pid, pidfd)

    def _become(self, body: Callable[[], int], log: str | None, pdeathsig: bool) -> NoReturn:
        """The child's first steps; never returns into the zygote's loop."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for sock in (self._sock, self._wake_read, self._wake_write):
                sock.close()
            os.setsid()
            if pdeathsig:
                _die_with_parent(self._pid)
            if log is not None:
                _redirect(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600))
            code = body()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                sys.stdout.flush()
                sys.stderr.flush()
            finally:
                os._exit(code)

    def _drain_wakeups(self) -> None:
        try:
            while self._wake_read.recv(4096):
                pass
        except BlockingIOError:
            pass

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._children.discard(pid)
            if pid != self._supervisor:
                try:
                    fd_lines.send(self._sock, {"exited": pid, "code": os.waitstatus_to_exitcode(status)})
                except OSError:
                    return  # the supervisor is gone; poll says so next

    def _end(self) -> int:
        """(4). The children are ours and not reaped, so these pids are theirs."""
        for pid in self._children:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        code = 0
        try:
            while True:
                pid, status = os.wait()
                if pid == self._supervisor:
                    code = os.waitstatus_to_exitcode(status)
        except ChildProcessError:
            return code if code >= 0 else 1


def _die_with_parent(parent: int) -> None:
    """(3), on Linux; elsewhere the death pipe and (4) are what there is."""
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(1)  # it died before we could ask


# -- what a child runs -----------------------------------------------------------------------------------------------


def _supervisor(args: dict[str, Any], zygote: socket.socket, launcher: tuple[int, int]) -> int:
    from brokerdemo.cluster import supervisor

    return supervisor.main(args, zygote, launcher)


def _broker(options: dict[str, Any], fds: list[int]) -> int:
    from brokerdemo.broker import main as broker_main
    from brokerdemo.broker.options import BrokerOptions

    (channel,) = fds
    return broker_main.run(BrokerOptions(**options, channel_fd=channel))


def _coordinator(options: dict[str, Any], fds: list[int]) -> int:
    import coordination.__main__

    (ready,) = fds
    return coordination.__main__.main([*options["argv"], "--ready-fd", str(ready)])


_KINDS: dict[str, Callable[[dict[str, Any], list[int]], int]] = {"broker": _broker, "coordinator": _coordinator}
