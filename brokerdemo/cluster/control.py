"""Control: how a command, a test or the dashboard talks to the supervisor. NDJSON over a unix socket.

In: a verb and its arguments. Out: what the supervisor streams, and its result. One connection carries one request and
its answers; the last line has `ok`. Stdlib only at import (`AsyncControlClient` imports trio when it is first used),
because every command pays for what this file imports.

(1) A request is one line: `{"verb": "...", ...}`. Answers: any number of `{"step": {...}}` and `{"event": {...}}`, then
    `{"ok": true, "result": {...}}` or `{"ok": false, "error": {"code", "what", "why", "do"}}`.
(2) A line is at most `LINE_MAX_BYTES`; more is a protocol error, never unbounded memory.
(3) The end of the connection before `ok` is an error of its own: the supervisor died, or was stopped.
(4) Closing the connection takes a waiting request back: the supervisor stops waiting; what was done stays done.
"""

import json
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from brokerdemo.cluster import layout as layouts
from brokerdemo.cluster.errors import ClusterError, Code

if TYPE_CHECKING:
    import trio

LINE_MAX_BYTES = 4 << 20

VERBS: dict[str, tuple[str, ...]] = {
    "ping": (),
    "status": (),
    "targets": (),
    "kill": ("targets", "signal", "wait", "within_ms"),
    "pause": ("target", "targets", "for_ms", "wait", "within_ms"),
    "resume": ("target", "targets", "wait", "within_ms"),
    "restart": ("targets", "rolling", "clean", "within_ms"),
    "down": ("force", "keep_data"),
    "events": ("follow", "since"),
    "timeline": ("fault",),
    "await": ("event", "since", "within_ms"),
    "emit": ("event",),
    "config_get": ("scope", "key"),
    "config_set": ("scope", "settings", "within_ms"),
    "config_watch": ("scope",),
    "topics_create": ("name", "partitions", "rf", "configs", "within_ms"),
    "topics_list": (),
    "topics_describe": ("name",),
    "topics_delete": ("name", "within_ms"),
}
"""Every verb and its arguments; the supervisor refuses others, naming the ones it knows.

`targets` is a target expression (`controller,3`) or a list of them; `target` one of them. `signal` is KILL, TERM, INT
or STOP. `since` is a seq (events after it), 0 (all that are kept) or `last-fault`. `within_ms` bounds the wait: past
it the answer is error 5, with the result so far in `error.result`. `emit` lets the scenario runner put its own events
(`scenario_started`, `mark` ...) in the stream. Results:

* kill, pause: one fault object (`brokerdemo.fault/1`, see `observe.timeline`), or a list for several targets; each
  stage is also streamed as `{"step": {"fault", "stage", "ms", ...}}` when it is seen. resume: `{"resumed": [3],
  "faults": ["f2"]}`.
* restart: `{"restarted": [{"broker", "pid", "registered_ms", "in_sync_ms"}]}`.
* events: `{"last_seq"}` after the stream; await: `{"event": {...}}`, the first one that matches.
* config_get: `{"scope", "znode", "version", "config": {...}}`; config_set: `{"scope", "znode", "version", "settings",
  "applied": [{"broker", "delay_ms"}], "rejected": [{"broker", "key", "value", "reason"}]}`.
* topics_list: `{"topics": [...]}` as in status; topics_describe: one of them, with `config`.
* targets: `{"targets": ["1", "controller", ...]}`; ping: `{"cluster", "pid", "uptime_ms"}`.
"""


def encode(message: dict[str, Any]) -> bytes:
    """One line. Keys keep their order; non-ASCII is escaped, so a line is also safe on any terminal."""
    return json.dumps(message, separators=(",", ":"), default=str).encode() + b"\n"


def decode(line: bytes) -> dict[str, Any]:
    """One line read back; ValueError with the reason when it is not a JSON object."""
    found = json.loads(line)
    if not isinstance(found, dict):
        raise ValueError(f"a JSON object was expected, not {type(found).__name__}")
    return found


def _unwrap(answer: dict[str, Any]) -> Any:
    if answer.get("ok"):
        return answer.get("result", {})
    error = answer.get("error")
    raise ClusterError.from_json(error if isinstance(error, dict) else {})


def _gone(what: str) -> ClusterError:
    return ClusterError(
        Code.NOT_FOUND,
        what,
        "the supervisor stopped, or was killed",
        "brokerdemo status, then brokerdemo up -n 5 -d",
    )


class ControlClient:
    """A blocking client; every call opens its own connection, so one instance serves any number of calls in a row.

    >>> client = ControlClient.find("default")                                       # doctest: +SKIP
    >>> client.call("kill", targets="controller")["stages_ms"]["serving"]            # doctest: +SKIP
    """

    def __init__(self, socket_path: Path | str, *, timeout_s: float | None = None) -> None:
        self.socket_path = Path(socket_path)
        self.timeout_s = timeout_s
        """Silence longer than this is error 5; None waits (verbs bound their own waits with `within_ms`)."""

    @classmethod
    def find(cls, name: str | None = None, *, timeout_s: float | None = None) -> Self:
        """The client of the cluster a command means (`layout.select`); ClusterError 3 when there is none."""
        return cls(layouts.select(name).socket_path, timeout_s=timeout_s)

    def call(self, verb: str, on_step: Callable[[dict[str, Any]], None] | None = None, /, **args: Any) -> Any:
        """Do one verb, hand each streamed line to `on_step`, return the result. ClusterError as the supervisor says."""
        with self.request(verb, **args) as answers:
            for answer in answers:
                if on_step is not None:
                    on_step(answer)
            return answers.result

    def request(self, verb: str, /, **args: Any) -> "Answers":
        """Do one verb and iterate over what it streams: `with client.request("events", follow=True) as lines: ...`."""
        layouts.check_private(self.socket_path.parent) if self.socket_path.parent.exists() else None
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout_s)
            sock.connect(os.fspath(self.socket_path))
            sock.sendall(encode({"verb": verb, **{k: v for k, v in args.items() if v is not None}}))
        except TimeoutError as error:
            sock.close()
            raise _silent(verb, self.timeout_s) from error
        except OSError as error:
            sock.close()
            raise _gone(f"no supervisor answers at {self.socket_path}") from error
        return Answers(sock, verb, self.timeout_s)


def _silent(verb: str, timeout_s: float | None) -> ClusterError:
    return ClusterError(
        Code.TIMED_OUT,
        f"no answer to {verb} within {timeout_s} s",
        "the supervisor is busy or stopped",
        "brokerdemo doctor",
    )


class Answers:
    """The answers to one request: an iterator over streamed lines; `result` when exhausted. Closed by `with`."""

    def __init__(self, sock: socket.socket, verb: str, timeout_s: float | None) -> None:
        self._sock = sock
        self._file = sock.makefile("rb")
        self._verb = verb
        self._timeout_s = timeout_s
        self._done = False
        self._result: Any = None

    @property
    def result(self) -> Any:
        """The verb's result; reads what is left of the stream first."""
        for _ in self:
            pass
        return self._result

    def fileno(self) -> int:
        """For select: a viewer that also watches the keyboard. Lines already buffered do not show up there."""
        return self._sock.fileno()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while not self._done:
            try:
                line = self._file.readline(LINE_MAX_BYTES)
            except TimeoutError as error:
                raise _silent(self._verb, self._timeout_s) from error
            except OSError as error:
                raise _gone(f"the connection broke during {self._verb}") from error
            if not line.endswith(b"\n"):
                self._done = True
                raise _gone(f"the connection ended during {self._verb}")
            answer = decode(line)
            if "ok" in answer:
                self._done = True
                self._result = _unwrap(answer)
                return
            yield answer

    def wait_closed(self) -> None:
        """Wait for the supervisor's end of file. After `down`, `layout.wait_released` waits for the rest."""
        while self._file.read(65536):
            pass

    def close(self) -> None:
        self._file.close()
        self._sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncControlClient:
    """The same for trio. Cancelling a call closes its connection: (4)."""

    def __init__(self, socket_path: Path | str) -> None:
        self.socket_path = Path(socket_path)

    @classmethod
    def find(cls, name: str | None = None) -> Self:
        """The client of the cluster a command means (`layout.select`)."""
        return cls(layouts.select(name).socket_path)

    async def call(self, verb: str, on_step: Callable[[dict[str, Any]], None] | None = None, /, **args: Any) -> Any:
        """Do one verb, hand each streamed line to `on_step`, return the result."""
        async with self.request(verb, **args) as answers:
            async for answer in answers:
                if on_step is not None:
                    on_step(answer)
            return answers.result

    @asynccontextmanager
    async def request(self, verb: str, /, **args: Any) -> "AsyncIterator[AsyncAnswers]":
        """Do one verb and iterate over what it streams."""
        import trio

        try:
            stream = await trio.open_unix_socket(os.fspath(self.socket_path))
        except OSError as error:
            raise _gone(f"no supervisor answers at {self.socket_path}") from error
        async with stream:
            try:
                await stream.send_all(encode({"verb": verb, **{k: v for k, v in args.items() if v is not None}}))
            except trio.BrokenResourceError as error:
                raise _gone(f"the connection broke during {verb}") from error
            yield AsyncAnswers(stream, verb)


class AsyncAnswers:
    """The answers to one request: an async iterator over streamed lines; `result` once it is exhausted."""

    def __init__(self, stream: "trio.SocketStream", verb: str) -> None:
        self._stream = stream
        self._verb = verb
        self._buffer = bytearray()
        self.result: Any = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, Any]:
        # Not an async generator: a reader that stops half way would have to close it, or trio warns.
        import trio

        while (end := self._buffer.find(b"\n")) < 0:
            assert len(self._buffer) <= LINE_MAX_BYTES, "the supervisor keeps its own limit"
            try:
                chunk = await self._stream.receive_some(65536)
            except trio.BrokenResourceError as error:
                raise _gone(f"the connection broke during {self._verb}") from error
            if not chunk:
                raise _gone(f"the connection ended during {self._verb}")
            self._buffer += chunk
        answer = decode(bytes(self._buffer[:end]))
        del self._buffer[: end + 1]
        if "ok" in answer:
            self.result = _unwrap(answer)
            raise StopAsyncIteration
        return answer
