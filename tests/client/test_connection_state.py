"""CONNECTED, SUSPENDED, LOST: told in order, awaited, and as a cancel scope; and how fresh the server's last word
is.
"""

import time
from typing import Any

import pytest
import trio

import coordination
from coordination import ConnectionState
from coordination.client.connection_state import StateBoard

CONNECTED, SUSPENDED, LOST = ConnectionState


async def test_a_restart_of_the_server_is_seen_and_survived(own: Any) -> None:
    with trio.fail_after(30):
        async with coordination.connect(own.connect, session_timeout_ms=20_000) as zk:
            session = zk.session_id
            states = zk.states()
            assert await anext(states) is CONNECTED
            await zk.create("/mine", ephemeral=True)
            with zk.while_connected() as scope, zk.while_connected(ends_on=LOST) as tolerant:
                await trio.to_thread.run_sync(own.kill)
                await trio.sleep_forever()
            assert scope.cancelled_caught
            assert not tolerant.cancelled_caught
            assert await anext(states) is SUSPENDED
            await trio.to_thread.run_sync(own.restart)
            served = time.monotonic()
            await zk.wait_for(CONNECTED)
            # Attempts are at most 200 ms apart (and 20 % of jitter), whatever the server's absence was.
            assert time.monotonic() - served < 1.0
            assert await anext(states) is CONNECTED
            assert zk.session_id == session
            assert await zk.exists("/mine") is not None


async def test_the_end_of_the_session_is_told_everywhere(zk: coordination.Client, root: str) -> None:
    states = zk.states()
    await zk.create(f"{root}/mine", ephemeral=True)
    with zk.while_connected(ends_on=LOST) as scope:
        await coordination.close_session(zk.hosts, zk.session_id, zk.session_password)
        await trio.sleep_forever()
    assert scope.cancelled_caught
    await zk.wait_for(LOST)
    seen = [await anext(states), await anext(states), await anext(states)]
    assert seen == [CONNECTED, SUSPENDED, LOST]
    with pytest.raises(coordination.SessionExpiredError):
        await zk.wait_for(CONNECTED)
    for operation in (zk.get(root), zk.create(f"{root}/b"), zk.set_session_timeout(5000)):
        with pytest.raises(coordination.SessionExpiredError):
            await operation
    old = zk.session_id
    await zk.new_session()
    assert zk.state is CONNECTED
    assert await anext(states) is CONNECTED
    assert zk.session_id != old
    assert await zk.children(root) == []


async def test_an_idle_connection_is_heard_by_its_pings(zk: coordination.Client, shared: Any) -> None:
    async with coordination.connect(shared.connect, session_timeout_ms=600) as quick:
        assert quick.session_timeout_ms == 600
        with trio.move_on_after(2):  # several times the session timeout
            await quick.wait_for(SUSPENDED)
        assert quick.state is CONNECTED
        assert time.monotonic() - quick.last_heard() < 0.6 * 2 / 3


async def test_a_silent_server_is_left_at_two_thirds_of_the_timeout(own: Any) -> None:
    async with coordination.connect(own.connect, session_timeout_ms=900, close_timeout_ms=100) as zk:
        process = own.members[0] if hasattr(own, "members") else own
        process.pause()
        paused = time.monotonic()
        try:
            with trio.fail_after(5):
                await zk.wait_for(SUSPENDED)
            silent_s = time.monotonic() - zk.last_heard()
            assert 0.6 <= silent_s < 1.5
            assert time.monotonic() - paused < 1.5
            closing = time.monotonic()
            await zk.aclose()
            assert time.monotonic() - closing < 1.0
        finally:
            process.resume()


def test_lost_is_never_skipped() -> None:
    async def main() -> None:
        board = StateBoard()
        board.publish(CONNECTED)

        async def follow() -> None:
            assert await board.wait_until(lambda state: state is LOST) is LOST

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await trio.testing.wait_all_tasks_blocked()
            board.publish(LOST)
            board.publish(CONNECTED)  # before anybody ran

    import trio.testing

    trio.run(main)


async def test_a_scope_opened_too_late_ends_at_once() -> None:
    board = StateBoard()
    for ends_on in (SUSPENDED, LOST):
        with board.scope_until(ends_on) as scope:
            await trio.lowlevel.checkpoint()
        assert scope.cancelled_caught is (ends_on is SUSPENDED)
    board.publish(LOST)
    with board.scope_until(SUSPENDED) as scope:
        await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
