"""Against servers made of a few bytes: the pace of pings, and answers that are not the protocol."""

import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio

import coordination
from coordination.client import handler

PING = struct.pack(">iii", 8, -2, 11)
TRIES = 5


@asynccontextmanager
async def serving(handle: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    async def connection(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                await handle(stream)
            except trio.BrokenResourceError:
                pass  # the client left

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, connection, [listener])
        yield f"127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def grant(stream: trio.SocketStream, timeout_ms: int) -> None:
    await stream.receive_some()
    await stream.send_all(struct.pack(">iiiqi16s?", 37, 0, timeout_ms, 7, 16, b"p" * 16, False))


@pytest.mark.parametrize("timeout_ms", [150, 300, 800])
async def test_pings_keep_a_session_alive_and_do_not_flood(timeout_ms: int) -> None:
    """kazoo alone would answer every pong with another ping at such timeouts.

    A machine that gives this process no time for so long loses the session rightly, so one try of some has to keep it;
    a flood is one whenever it happens.
    """
    heard_s: list[float] = []

    async def answer_pings(stream: trio.SocketStream) -> None:
        await grant(stream, timeout_ms)
        heard_s.append(trio.current_time())
        async for received in stream:
            for _ in range(received.count(PING)):
                heard_s.append(trio.current_time())
                await stream.send_all(struct.pack(">iiqi", 16, -2, 0, 0))

    async def try_once() -> bool:
        heard_s.clear()
        async with (
            serving(answer_pings) as hosts,
            coordination.connect(hosts, session_timeout_ms=timeout_ms, close_timeout_ms=10) as zk,
        ):
            with trio.move_on_after(timeout_ms / 1000 * 4):
                await zk.wait_for(coordination.ConnectionState.SUSPENDED)
            gaps_ms = [(b - a) * 1000 for a, b in pairwise(heard_s)]
            assert len(heard_s) <= 4 * 20 + 1
            return zk.state is coordination.ConnectionState.CONNECTED and max(gaps_ms, default=timeout_ms) < timeout_ms

    for _ in range(TRIES):
        if await try_once():
            return
    pytest.fail(f"the session was not kept alive in any of {TRIES} tries")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        struct.pack(">i", -5),
        struct.pack(">i", 3) + b"abc",
        struct.pack(">iiqi", 16, 4711, 0, 0),
        b"",
    ],
)
async def test_nonsense_after_the_handshake_is_no_traceback(nonsense: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    async def speak(stream: trio.SocketStream) -> None:
        await grant(stream, 5000)
        await stream.send_all(nonsense)
        await stream.send_eof()
        await stream.receive_some()

    async with serving(speak) as hosts:
        # Either it was a broken frame, and the session may live, or what came cannot be understood at all.
        with pytest.raises((coordination.RemoteProtocolError, coordination.ConnectionLossError)), trio.fail_after(5):
            async with coordination.connect(hosts, session_timeout_ms=5000, close_timeout_ms=100) as zk:
                await zk.set("/a", b"")
    assert capfd.readouterr() == ("", "")


async def test_nonsense_instead_of_the_handshake_is_not_connected(capfd: pytest.CaptureFixture[str]) -> None:
    async def speak(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"\x00\x00\x00\x04nope")

    async with serving(speak) as hosts:
        with pytest.raises(coordination.NotConnectedError):
            async with coordination.connect(hosts, connect_timeout_ms=300):
                pass
    assert capfd.readouterr() == ("", "")


def test_an_answer_read_after_a_sleep_is_as_old_as_the_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process finds the pong of its last ping in the socket when it wakes: that proves nothing about the
    present.
    """
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        bridge_handler = handler.BridgeHandler(1000, lambda *_: None)
        connection = bridge_handler.create_connection(listener.getsockname(), timeout=1.0)
        with connection, listener.accept()[0] as server:
            server.sendall(b"pong")
            clock[0] = 1001.0
            assert bridge_handler.select([connection], [], [], 1.0)[0] == [connection]
            clock[0] = 1010.0  # stopped here
            assert connection.recv(4) == b"pong"
            assert bridge_handler.last_heard_s == 1001.0
