"""Coordinator: the embedded coordination server as a process of this cluster; started, watched, started again.

In: where to listen and where to keep data. Out: a connect string; events. The server itself is
`coordination.__main__.main(["serve", ...])`, in a process of its own, on its own data: kill -9 costs it nothing but
time.

(1) Ready is the line the server writes on an inherited pipe once it serves.
(2) It is started again whenever it ends without being asked to, on the same port and data, so that sessions survive.
    A server that ends five times in a row without having served stays down, and the cluster says so.
"""

import os
import signal
import time
from pathlib import Path
from typing import Any

import trio

from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.members import Host, tail
from brokerdemo.cluster.processes import Child

READY_WITHIN_S = 10
ATTEMPTS = 5


class Coordinator:
    """The one embedded server."""

    def __init__(self, host: Host, *, bind: str, port: int, data_dir: Path, log: Path) -> None:
        self.port = port
        self.child: Child | None = None
        self.stopping = False
        self.ready_ms: float | None = None
        self._host = host
        self._bind = bind
        self._data_dir = data_dir
        self._log = log

    @property
    def alive(self) -> bool:
        return self.child is not None and self.child.alive

    @property
    def connect(self) -> str:
        """Where its clients find it, from this host."""
        return f"{'127.0.0.1' if self._bind in ('0.0.0.0', '::') else self._bind}:{self.port}"

    def argv(self) -> list[str]:
        """Its command line. Session timeouts from 100 ms to 60 s: this service serves experiments with them."""
        return [
            "serve", "--host", self._bind, "--port", str(self.port), "--data", os.fspath(self._data_dir),
            "--min-session-timeout", "100ms", "--max-session-timeout", "60s", "--4lw", "all",
        ]  # fmt: skip

    async def start(self, nursery: trio.Nursery, *, again: bool = False) -> None:
        """Fork it and wait until it serves; ClusterError when it ends first, or is not ready in time."""
        began_ns = time.monotonic_ns()
        self._data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        ready_read, ready_write = os.pipe()
        try:
            self.child = child = await self._host.forks.fork(
                "coordinator", {"argv": self.argv()}, ready_write, self._log
            )
        finally:
            os.close(ready_write)
        self._host.log.emit("process_started", process="coordinator", pid=child.pid, port=self.port)
        line = b""
        async with trio.lowlevel.FdStream(ready_read) as pipe:
            with trio.move_on_after(READY_WITHIN_S):
                while not line.endswith(b"\n") and (more := await pipe.receive_some(256)):
                    line += more
        if not line.startswith(b"ready "):
            child.send(signal.SIGKILL)
            code = await child.wait_reaped()
            child.close()
            raise ClusterError(
                Code.ENVIRONMENT,
                f"the coordination server did not start (exit code {code})",
                tail(self._log) or "it said nothing",
                f"read {self._log}",
            )
        self.port = int(line.split()[1])
        self.ready_ms = (time.monotonic_ns() - began_ns) / 1e6
        nursery.start_soon(self._watch_end, child, nursery)
        self._host.connect = self.connect
        self._host.service_up.set()
        fields: dict[str, Any] = {"restart": True} if again else {}
        self._host.log.emit(
            "coordination_started", connect=self.connect, mode="embedded", ms=round(self.ready_ms, 3), **fields
        )

    async def _watch_end(self, child: Child, nursery: trio.Nursery) -> None:
        ended_ns = await child.wait_ended()
        self._host.service_up = trio.Event()
        if not self.stopping:
            nursery.start_soon(self._start_again, nursery)
        code = await child.wait_reaped()
        child.close()
        how = {"signal": signal.Signals(-code).name} if code is not None and code < 0 else {"code": code}
        self._host.log.emit(
            "process_exited",
            t_ns=ended_ns,
            process="coordinator",
            pid=child.pid,
            certainty="proven",
            expected=self.stopping,
            **how,
        )

    async def _start_again(self, nursery: trio.Nursery) -> None:
        for _ in range(ATTEMPTS):
            try:
                await self.start(nursery, again=True)
            except ClusterError as error:
                self._host.log.emit("coordination_suspended", reason=f"{error.what}: {error.why}")
                if self.stopping:
                    return
                continue
            return
