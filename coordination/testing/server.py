"""Our coordination server as a process: `with serve() as server: server.connect`.

In: a data directory or none (in memory), options of `coordination serve`.  Out: a server that is ready, by its own word
on a pipe.
Knows only the server's command line.  Answers to ZooKeeper's ServerCnxnFactory-based test harnesses.

(1) `serve` returns when the server serves; `restart` too, on the same port and data.
(2) After `kill` nothing of the server is left but its data directory.
"""

import os
import select
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from coordination.testing.process import Process

READY_TIMEOUT_S = 20.0
# So that tests may expire sessions in a fraction of a second.
SESSION_TIMEOUT_MIN_MS = 100
SESSION_TIMEOUT_MAX_MS = 60_000


class Server(Process):
    """One server process; `connect` is its connect string."""

    def __init__(self, data_dir: Path | None, output: Path, options: Sequence[str]) -> None:
        where = ["--in-memory"] if data_dir is None else ["--data", str(data_dir)]
        limits = ["--min-session-timeout", str(SESSION_TIMEOUT_MIN_MS)]
        limits += ["--max-session-timeout", str(SESSION_TIMEOUT_MAX_MS)]
        command = [sys.executable, "-m", "coordination", "serve", "--host", "127.0.0.1", *where, *limits, *options]
        super().__init__(command, output)
        self.data_dir = data_dir
        self.port = 0

    @property
    def connect(self) -> str:
        return f"127.0.0.1:{self.port}"

    def serve(self) -> None:
        """Starts (again) and returns when ready; the port chosen the first time is kept."""
        ready, told = os.pipe()
        try:
            try:
                self.start(pass_fds=[told], extra=["--port", str(self.port), "--ready-fd", str(told)])
            finally:
                os.close(told)
            self.port = self._await_ready(ready)
        finally:
            os.close(ready)

    def _await_ready(self, ready: int) -> int:
        said = b""
        while not said.endswith(b"\n"):
            if not select.select([ready], [], [], READY_TIMEOUT_S)[0]:
                raise self.died(f"the server was not ready within {READY_TIMEOUT_S:g} s")
            piece = os.read(ready, 100)
            if not piece:
                raise self.died("the server ended before it was ready")
            said += piece
        word, port = said.split()
        if word != b"ready":
            raise self.died(f"the server said {said!r} and not ready")
        return int(port)

    def restart(self) -> None:
        """Kills the server if it runs, and starts it on the same port and data."""
        self.kill()
        self.serve()


@contextmanager
def serve(data_dir: Path | None = None, *, options: Sequence[str] = (), port: int = 0) -> Iterator[Server]:
    """A server on loopback, in memory without `data_dir`; stopped at the end of the block. Port 0 lets the system
    choose.
    """
    with tempfile.TemporaryDirectory(prefix="coordination-") as scratch:
        server = Server(data_dir, Path(scratch, "output"), options)
        server.port = port
        try:
            server.serve()
            yield server
        finally:
            server.stop()
