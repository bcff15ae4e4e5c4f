"""The session timeout: as granted, and changed on the living session."""

import time
from typing import Any

import trio

import coordination
from coordination import ConnectionState
from coordination.testing import victim


async def test_the_server_has_the_last_word(shared: Any) -> None:
    async with coordination.connect(shared.connect, session_timeout_ms=1) as zk:
        assert zk.session_timeout_ms == 100  # the servers' minimum, see coordination.testing


async def test_it_changes_on_the_living_session(zk: coordination.Client, root: str) -> None:
    await zk.create(f"{root}/mine", ephemeral=True)
    session, states = zk.session_id, zk.states()
    async with zk.watch_data(root) as changes:
        await anext(changes)
        for wanted_ms in (9000, 1500):
            assert await zk.set_session_timeout(wanted_ms) == wanted_ms == zk.session_timeout_ms
        assert zk.session_id == session
        assert await zk.exists(f"{root}/mine") is not None
        await zk.set(root, b"x")
        item = await anext(changes)
        assert item is not None
        assert item[0] == b"x"
    assert await anext(states) is ConnectionState.CONNECTED
    with trio.move_on_after(0):
        raise AssertionError(f"a planned re-attach told {await anext(states)}")


async def test_calls_go_on_around_it(zk: coordination.Client, root: str) -> None:
    """None of them is lost: the re-attach waits for what is under way, and what comes later waits for it."""
    made = 0

    async def make(task: int) -> None:
        nonlocal made
        for i in range(20):
            await zk.create(f"{root}/{task}-{i}")
            made += 1

    async with trio.open_nursery() as nursery:
        for task in range(5):
            nursery.start_soon(make, task)
        for wanted_ms in (5000, 6000, 7000):
            await zk.set_session_timeout(wanted_ms)
    assert made == len(await zk.children(root)) == 100


async def test_the_server_goes_by_the_new_one(shared: Any, zk: coordination.Client, root: str) -> None:
    path = f"{root}/mine"
    with victim.hold(shared.connect, path, session_timeout_ms=30_000, then_timeout_ms=800) as held:
        assert held.session_timeout_ms == 800
        async with zk.watch_exists(path) as changes:
            assert await anext(changes) is not None
            held.pause()
            paused = time.monotonic()
            with trio.fail_after(10):
                assert await anext(changes) is None
            # From its last ping, which may be up to 2/3 of the timeout before the pause.
            assert 0.2 < time.monotonic() - paused < 2.5
