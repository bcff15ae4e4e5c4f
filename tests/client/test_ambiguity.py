"""Cancellation and lost connections: what may have happened is said so, what is idempotent is done again, nothing
hangs.
"""

from typing import Any

import pytest
import trio

import coordination
from coordination import ConnectionState


async def test_cancelled_calls_leave_the_client_usable(zk: coordination.Client, root: str) -> None:
    for i in range(50):
        with trio.move_on_after(0.0002 * (i % 10)):
            await zk.create(f"{root}/{i}", b"x")
    # Whatever was sent has been executed by now, in order; the answers to the cancelled calls went nowhere.
    await zk.create(f"{root}/last")
    assert "last" in await zk.children(root)
    assert await zk.get(root) == (b"", await zk.exists(root))


async def test_a_call_in_a_cancelled_scope_sends_nothing(zk: coordination.Client, root: str) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await zk.create(f"{root}/a")
    assert scope.cancelled_caught
    assert await zk.children(root) == []


async def test_a_write_in_flight_is_unknown_and_a_read_is_repeated(own: Any) -> None:
    process = own.members[0] if hasattr(own, "members") else own
    outcomes: dict[str, object] = {}
    async with coordination.connect(own.connect, session_timeout_ms=20_000) as zk:
        await zk.create("/there", b"x")

        async def write() -> None:
            with pytest.raises(coordination.ConnectionLossError, match="may have been executed") as lost:
                await zk.create("/new", ephemeral=True, sequence=True)
            assert not isinstance(lost.value, coordination.NotConnectedError)
            outcomes["write"] = lost.value.path

        async def read() -> None:
            outcomes["read"] = (await zk.get("/there"))[0]

        process.pause()  # both requests are sent and stay unanswered
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(write)
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked(0.05)
                await trio.to_thread.run_sync(own.kill)
                await zk.wait_for(ConnectionState.SUSPENDED)
                await trio.to_thread.run_sync(own.restart)
        assert outcomes == {"write": "/new", "read": b"x"}


async def test_a_call_while_suspended_waits_for_the_connection(own: Any) -> None:
    async with coordination.connect(own.connect, session_timeout_ms=20_000) as zk:
        await trio.to_thread.run_sync(own.kill)
        await zk.wait_for(ConnectionState.SUSPENDED)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(zk.create, "/late")
                nursery.start_soon(trio.to_thread.run_sync, own.restart)
            assert await zk.exists("/late") is not None


async def test_calls_that_wait_when_the_session_ends_all_fail(own: Any) -> None:
    """The server loses its data with its process (`--in-memory`, or the directory removed): the session is unknown to
    it.
    """
    failed = 0

    async def call(zk: coordination.Client) -> None:
        nonlocal failed
        with pytest.raises(coordination.SessionExpiredError):
            await zk.create("/late")
        failed += 1

    async with coordination.connect(own.connect, session_timeout_ms=300) as zk:
        await trio.to_thread.run_sync(own.kill)
        await zk.wait_for(ConnectionState.SUSPENDED)
        await coordination_restart_after_expiry(own, zk)
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(call, zk)
    assert failed == 5


async def coordination_restart_after_expiry(own: Any, zk: coordination.Client) -> None:
    """Restarts the server and ends the client's session from outside before the client is allowed to be back."""
    hosts, session_id, password = own.connect, zk.session_id, zk.session_password
    await trio.to_thread.run_sync(own.restart)
    await coordination.close_session(hosts, session_id, password)
    await zk.wait_for(ConnectionState.LOST)
