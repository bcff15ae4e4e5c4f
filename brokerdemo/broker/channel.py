"""The broker's voice: events to the supervisor over one inherited socket, the same events to the log.

In:  facts by name.  Out: NDJSON lines, stamped with the monotonic clock; a broker's session certificate. Knows nothing
of what the facts mean. Answers to nothing in Kafka: it is what makes a broker observable without asking it.

(1) Lines leave in the order of `emit`; `before_emit` may put one before the present one (a broker that was paused says
    that it is fenced before it says anything else).
(2) `emit` never waits: what the socket does not take at once is sent by `drain`.
(3) End of file on the channel means the supervisor died: the process ends at once, so that nobody is left behind.
(4) The session password goes over the channel only, never to the log.
"""

import json
import os
import socket
import time
from collections import deque
from collections.abc import Callable

import trio

from brokerdemo.observe import logs

# A supervisor that does not read for this many events is hung; the broker lives on without telling it the oldest ones.
QUEUED_LINES_MAX = 100_000
READ_BYTES = 4096
# A log line costs several times what an event costs, and events come in a failover: the log waits for it.
LOG_DELAY_S = 0.02


class Channel:
    """Made once per process. `fd` None: events go to the log only."""

    def __init__(self, broker_id: int, fd: int | None = None) -> None:
        self._broker_id = broker_id
        self._source = f"broker {broker_id}"
        self._socket = socket.socket(fileno=fd) if fd is not None else None
        if self._socket is not None:
            self._socket.setblocking(False)
        self._unsent: deque[bytes] = deque()
        self._unlogged: deque[tuple[str, dict[str, object]]] = deque()
        self._work = trio.Event()
        self._to_log = trio.Event()
        self._log = logs.get(broker=broker_id)
        self.before_emit: Callable[[], None] | None = None
        self.listeners: list[Callable[[dict[str, object]], None]] = []

    def emit(self, event: str, /, **fields: object) -> None:
        """Tell a fact now."""
        if self.before_emit is not None:
            self.before_emit()
        said: dict[str, object] = {"event": event, "t_ns": time.monotonic_ns(), "source": self._source}
        # `broker` in a fact about another broker (broker_lost) stays what the fact says.
        said.update({"broker": self._broker_id, **fields})
        self._send(said)
        self._unlogged.append((event, said))
        self._to_log.set()
        for listener in self.listeners:
            listener(said)

    def certificate(self, session_id: int, password: bytes) -> None:
        """Hand the supervisor what it needs to end this session once the process is proven dead."""
        self._send({"certificate": {"session_id": session_id, "password": password.hex()}})

    def log(self, level: str, event: str, **fields: object) -> None:
        """A line for the log alone: `level` is debug, info, warning or error."""
        getattr(self._log, level)(event, **fields)

    def _send(self, line: dict[str, object]) -> None:
        if self._socket is None:
            return
        data = json.dumps(line, separators=(",", ":"), default=repr).encode() + b"\n"
        if not self._unsent:
            try:
                sent = self._socket.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                return  # the supervisor is gone; `listen` ends the process
            data = data[sent:]
        if data:
            self._unsent.append(data)
            while len(self._unsent) > QUEUED_LINES_MAX:
                del self._unsent[1]  # never the first: part of it may be on its way
            self._work.set()

    async def drain(self) -> None:
        """Sends what is left over and writes the log. Runs as long as the process."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._drain_log)
            await self._drain_socket()

    async def _drain_log(self) -> None:
        while True:
            await self._to_log.wait()
            await trio.sleep(LOG_DELAY_S)
            self._to_log = trio.Event()
            self.flush_log()

    async def _drain_socket(self) -> None:
        while True:
            await self._work.wait()
            self._work = trio.Event()
            while self._unsent and self._socket is not None:
                try:
                    sent = self._socket.send(self._unsent[0])
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._socket)
                    continue
                except OSError:
                    self._unsent.clear()
                    break
                if sent == len(self._unsent[0]):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = self._unsent[0][sent:]

    def close(self) -> None:
        """No more events go out; nothing else changes."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def flush_log(self) -> None:
        """Write the events told so far to the log."""
        while self._unlogged:
            event, said = self._unlogged.popleft()
            self._log.info(event, **{k: v for k, v in said.items() if k not in ("event", "t_ns", "source")})

    async def listen(self, stop: trio.Event) -> None:
        """Sets `stop` when the supervisor asks for it. Ends the whole process when the supervisor is gone."""
        if self._socket is None:
            return
        buffer = b""
        while True:
            try:
                data = self._socket.recv(READ_BYTES)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(self._socket)
                continue
            except OSError:
                data = b""
            if not data:
                # Not sys.exit: nothing here may delay or survive, and the session is closed by whoever comes next.
                os._exit(0)
            buffer += data
            *lines, buffer = buffer.split(b"\n")
            for line in lines:
                try:
                    asked = json.loads(line)
                except ValueError:
                    self.log("warning", "channel_line_refused", reason="not JSON")
                    continue
                if isinstance(asked, dict) and asked.get("do") == "stop":
                    stop.set()
