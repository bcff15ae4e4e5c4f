"""Control server: the supervisor's side of the control socket. Reads one request per connection, streams its answers.

In: connections on the unix socket. Out: calls of the verbs it is given, their answers as NDJSON. Knows the protocol
and nothing of the cluster.

(1) The socket is 0600 in a 0700 directory of ours, and the peer's uid is checked where the kernel tells it.
(2) Whatever arrives, the supervisor goes on: bad JSON, an unknown verb, a wrong argument are answered with error 2.
(3) A client that goes away cancels what is waited for on its behalf, unless the verb must finish (`down`, `restart`).
(4) A client that does not read blocks its own connection only; the events it misses are not kept for it.
"""

import os
import socket
import struct
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from brokerdemo.cluster import control, errors
from brokerdemo.cluster.errors import ClusterError, Code
from brokerdemo.cluster.layout import Layout

REQUEST_MAX_BYTES = 1 << 20
REQUEST_WITHIN_S = 10
MUST_FINISH = frozenset({"down", "restart"})
WITHIN_MS = 30_000.0
"""How long a verb waits for its effect when nobody says."""

Verb = Callable[["Conversation", dict[str, Any]], Awaitable[Any]]


class Conversation:
    """One request being answered. `say` queues a line without waiting; `send` waits until it is on its way."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._queued = bytearray()
        self._wake = trio.Event()
        self._done = False
        # Two tasks must not be in the middle of a line at once.
        self._one_at_a_time = trio.Lock()

    def say(self, message: dict[str, Any]) -> None:
        """Queue a streamed line; the writer task sends it."""
        self._queued += control.encode(message)
        self._wake.set()

    def step(self, name: str, detail: str = "", **fields: Any) -> None:
        """Queue a `{"step": ...}` line."""
        self.say({"step": {"name": name, "detail": detail, **fields}})

    async def send(self, data: bytes) -> None:
        """Send now, behind what is queued; for streams, which must feel a slow reader."""
        async with self._one_at_a_time:
            await self._send_queued()
            await self._stream.send_all(data)

    async def _send_queued(self) -> None:
        while self._queued:
            data, self._queued = bytes(self._queued), bytearray()
            await self._stream.send_all(data)

    async def write_queued(self) -> None:
        """The writer's task: sends what was queued by `say`, until `finish`. Never cancelled within a line, unless the
        client is gone."""
        while not self._done:
            await self._wake.wait()
            self._wake = trio.Event()
            async with self._one_at_a_time:
                await self._send_queued()

    def finish(self) -> None:
        """Nothing more will be queued."""
        self._done = True
        self._wake.set()


def listen(place: Layout) -> trio.SocketListener:
    """Bind the control socket: (1). The caller holds the cluster's lock, so a socket that is there is stale."""
    path = os.fspath(place.socket_path)
    if place.socket_path.is_socket():
        place.socket_path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    sock.listen(128)
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _peer_is_us(stream: trio.SocketStream) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the mode of the socket and of its directory is what there is
    raw = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _pid, uid, _gid = struct.unpack("3i", raw)
    return bool(uid in (os.getuid(), 0))


class ControlServer:
    """Serves `verbs`; a request names one of them. `after` is called when a verb was done and its answer has left."""

    def __init__(self, verbs: dict[str, Verb], after: dict[str, Callable[[], None]] | None = None) -> None:
        self._after = after or {}
        assert verbs.keys() == control.VERBS.keys(), verbs.keys() ^ control.VERBS.keys()
        self._verbs = verbs

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection, from its request to its last answer; raises nothing of the client's making."""
        try:
            if _peer_is_us(stream):
                await self._converse(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async def _converse(self, stream: trio.SocketStream) -> None:
        talk = Conversation(stream)
        after: Callable[[], None] | None = None
        try:
            line = await _read_line(stream)
            if line is None:
                return
            request = _request(line)
            verb = request["verb"]
            result = await self._run(talk, stream, request)
            after = self._after.get(verb)
            answer = {"ok": True, "result": result}
        except ClusterError as error:
            answer = {"ok": False, "error": error.to_json()}
        try:
            with trio.move_on_after(REQUEST_WITHIN_S):
                await talk.send(control.encode(answer))
        finally:
            if after is not None:
                after()

    async def _run(self, talk: Conversation, stream: trio.SocketStream, request: dict[str, Any]) -> Any:
        verb = request.pop("verb")
        result: Any = None
        failed: ClusterError | None = None
        watching = trio.CancelScope()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk.write_queued)
            nursery.start_soon(_watch_client, stream, watching, nursery.cancel_scope)
            with trio.CancelScope(shield=verb in MUST_FINISH):
                try:
                    result = await self._verbs[verb](talk, request)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    raise
                except Exception as error:
                    failed = errors.cause(error)
                    if failed is None:
                        # A bug of ours in one verb must not take five brokers with it; it is told, and logged whole.
                        traceback.print_exc(file=sys.stderr)
                    failed = failed or ClusterError(
                        Code.BUG,
                        f"{verb} failed: {error!r}",
                        "this is a bug",
                        "read supervisor.log in its state directory",
                    )
            watching.cancel()
            talk.finish()
        if failed is not None:
            raise failed
        return result


async def _watch_client(stream: trio.SocketStream, watching: trio.CancelScope, request: trio.CancelScope) -> None:
    """(3). Bytes behind the request are ignored; the end of the stream takes the request back."""
    with watching:
        try:
            while await stream.receive_some(4096):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        request.cancel()


async def _read_line(stream: trio.SocketStream) -> bytes | None:
    """The request; None when the client leaves without one. ClusterError when it is too long or too slow."""
    buffer = bytearray()
    with trio.move_on_after(REQUEST_WITHIN_S):
        while b"\n" not in buffer:
            more = await stream.receive_some(65536)
            if not more:
                return None
            buffer += more
            if len(buffer) > REQUEST_MAX_BYTES:
                raise _usage(f"the request is longer than {REQUEST_MAX_BYTES} bytes")
        return bytes(buffer.partition(b"\n")[0])
    raise _usage(f"no request within {REQUEST_WITHIN_S} s")


def _usage(what: str, why: str = "") -> ClusterError:
    return ClusterError(Code.USAGE, what, why, 'send one line: {"verb": "status"}')


def _request(line: bytes) -> dict[str, Any]:
    try:
        found = control.decode(line)
    except (ValueError, RecursionError) as error:
        raise _usage("the request is not a JSON object", str(error)[:200]) from None
    verb = found.get("verb")
    if not isinstance(verb, str) or verb not in control.VERBS:
        raise _usage(f"unknown verb {verb!r}", f"verbs: {', '.join(control.VERBS)}")
    unknown = found.keys() - {"verb", *control.VERBS[verb]}
    if unknown:
        raise _usage(
            f"{verb} takes no {', '.join(sorted(unknown))}", f"it takes {', '.join(control.VERBS[verb]) or 'nothing'}"
        )
    return found


class Arguments:
    """A verb's arguments, read with their types; ClusterError (usage) naming the one that is wrong."""

    def __init__(self, verb: str, said: dict[str, Any]) -> None:
        self._verb = verb
        self._said = said

    def _take(self, name: str, kinds: tuple[type, ...], default: Any, what: str) -> Any:
        value = self._said.get(name)
        if value is None:
            if default is _REQUIRED:
                raise _usage(f"{self._verb} needs {name}: {what}")
            return default
        if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
            raise _usage(f"{self._verb}: {name}={value!r} is not {what}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        return bool(self._take(name, (bool,), default, "true or false"))

    def text(self, name: str, default: str | None = None) -> str:
        found = self._take(name, (str,), _REQUIRED if default is None else default, "a text")
        return str(found)

    def whole(self, name: str, default: int | None = None, *, least: int = 0, most: int = 1 << 53) -> int | None:
        found = self._take(name, (int,), default, "a whole number")
        if found is not None and not least <= found <= most:
            raise _usage(f"{self._verb}: {name}={found} is out of bounds ({least} to {most})")
        return None if found is None else int(found)

    def ms(self, name: str, default: float | None = None) -> float | None:
        found = self._take(name, (int, float), default, "a number of milliseconds")
        if found is not None and found < 0:
            raise _usage(f"{self._verb}: {name}={found} is negative")
        return None if found is None else float(found)

    def mapping(self, name: str, *, required: bool = False) -> dict[str, Any]:
        found = self._take(name, (dict,), _REQUIRED if required else {}, "a JSON object")
        return dict(found)

    def targets(self) -> list[str | int]:
        """`targets` or `target`: one expression, or a list of them."""
        found = self._said.get("targets", self._said.get("target"))
        listed: list[Any] = found if isinstance(found, list) else [found]
        if not listed or not all(isinstance(one, str | int) and not isinstance(one, bool) for one in listed):
            raise _usage(f"{self._verb} needs targets: an expression like controller,3, or a list of them")
        return listed


_REQUIRED: Any = object()
