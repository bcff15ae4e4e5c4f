"""Death certificates: the ephemeral of a killed process goes far below its session timeout, and only its."""

import socket
import time
from typing import Any

import pytest
import trio

import coordination
from coordination import CloseOutcome
from coordination.client.certificate import addresses
from coordination.testing import victim

# Long, so that whatever goes within a second did not go by the timeout.
TIMEOUT_MS = 30_000


async def test_the_ephemeral_of_a_killed_process_goes_at_once(shared: Any, zk: coordination.Client, root: str) -> None:
    path = f"{root}/mine"
    with victim.hold(shared.connect, path, session_timeout_ms=TIMEOUT_MS) as held:
        assert held.session_timeout_ms == TIMEOUT_MS
        async with zk.watch_exists(path) as changes:
            stat = await anext(changes)
            assert stat is not None
            assert stat.ephemeral_owner == held.session_id
            held.kill()
            with trio.move_on_after(0.2) as silence:
                await anext(changes)
            assert silence.cancelled_caught, "a lost TCP connection must not end a session"
            started = time.monotonic()
            outcome = await coordination.close_session(shared.connect, held.session_id, held.password)
            with trio.fail_after(2):
                assert await anext(changes) is None
            assert time.monotonic() - started < 1
            assert outcome is CloseOutcome.CLOSED
    again = await coordination.close_session(shared.connect, held.session_id, held.password)
    assert again is CloseOutcome.ALREADY_EXPIRED
    assert zk.state is coordination.ConnectionState.CONNECTED


async def test_a_wrong_password_ends_nothing(shared: Any, zk: coordination.Client, root: str) -> None:
    await zk.create(f"{root}/mine", ephemeral=True)
    outcome = await coordination.close_session(shared.connect, zk.session_id, bytes(16))
    assert outcome is CloseOutcome.ALREADY_EXPIRED
    assert await zk.exists(f"{root}/mine") is not None


async def test_the_first_server_that_answers_will_do(shared: Any, zk: coordination.Client) -> None:
    with socket.socket() as refuses, socket.socket() as silent:
        refuses.bind(("127.0.0.1", 0))
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        ports = [one.getsockname()[1] for one in (refuses, silent)]
        hosts = f"127.0.0.1:{ports[0]},127.0.0.1:{ports[1]},{shared.connect}"
        outcome = await coordination.close_session(hosts, zk.session_id, zk.session_password)
    assert outcome is CloseOutcome.CLOSED


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x00\x00\x02no"])
async def test_who_is_no_server_is_unreachable_in_time(answer: bytes | None) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        if answer is None:
            await trio.sleep_forever()
        await stream.send_all(answer or b"")
        await stream.aclose()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        hosts = f"127.0.0.1:{listener.socket.getsockname()[1]}"
        started = time.monotonic()
        outcome = await coordination.close_session(hosts, 1, bytes(16), timeout_s=0.3)
        assert outcome is CloseOutcome.UNREACHABLE
        assert time.monotonic() - started < 2
        nursery.cancel_scope.cancel()


def test_connect_strings() -> None:
    assert list(addresses("a:1, b ,[::1]:3,[::2]/root")) == [("a", 1), ("b", 2181), ("::1", 3), ("::2", 2181)]
