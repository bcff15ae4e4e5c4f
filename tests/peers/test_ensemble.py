"""On a real three-node Apache ZooKeeper ensemble: death certificates, the live session timeout, a member and the
leader killed.
"""

import statistics
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest
import trio

import coordination
from coordination import CloseOutcome, ConnectionState
from coordination.testing import apache, victim

pytestmark = pytest.mark.peers

TIMEOUT_MS = 10_000
TICK_MS = 500


@pytest.fixture(scope="module")
def zoo() -> Iterator[apache.Ensemble]:
    reason = apache.why_unavailable()
    if reason:
        pytest.skip(reason)
    with apache.ensemble(3, tick_time_ms=TICK_MS) as three:
        yield three


@pytest.fixture
def path() -> str:
    return f"/victim-{uuid4().hex[:8]}"


@pytest.mark.parametrize("watched_at", [0, 1, 2])
async def test_a_certificate_deletes_the_ephemeral_far_below_the_timeout(
    zoo: apache.Ensemble, path: str, watched_at: int
) -> None:
    """From the kill to the watcher's task, whichever members the three parties are connected to."""
    spent_ms = []
    watcher_at = zoo.members[watched_at].connect
    async with coordination.connect(watcher_at, session_timeout_ms=TIMEOUT_MS) as watcher:
        for member in zoo.members:
            with victim.hold(member.connect, path, session_timeout_ms=TIMEOUT_MS) as held:
                await watcher.sync()
                async with watcher.watch_exists(path) as changes:
                    assert await anext(changes) is not None
                    started = time.monotonic()
                    held.kill()
                    outcome = await coordination.close_session(zoo.connect, held.session_id, held.password)
                    with trio.fail_after(5):
                        assert await anext(changes) is None
                    spent_ms.append((time.monotonic() - started) * 1000)
                    assert outcome is CloseOutcome.CLOSED
            again = await coordination.close_session(zoo.connect, held.session_id, held.password)
            assert again is CloseOutcome.ALREADY_EXPIRED
    assert statistics.median(spent_ms) < TIMEOUT_MS / 10
    print(f"kill to watcher: {[round(ms) for ms in spent_ms]} ms, session timeout {TIMEOUT_MS} ms")


async def test_without_a_certificate_it_is_the_session_timeout(zoo: apache.Ensemble, path: str) -> None:
    async with coordination.connect(zoo.connect, session_timeout_ms=TIMEOUT_MS) as watcher:
        with victim.hold(zoo.connect, path, session_timeout_ms=2000) as held:
            await watcher.sync()
            async with watcher.watch_exists(path) as changes:
                assert await anext(changes) is not None
                started = time.monotonic()
                held.kill()
                with trio.fail_after(10):
                    assert await anext(changes) is None
                # At least what is left since its last ping; expiry is on ticks.
                assert time.monotonic() - started > 0.6


async def test_the_session_timeout_changes_live(zoo: apache.Ensemble, path: str) -> None:
    """Shown by the server's own clock: the victim lives on its pings, is paused, and its ephemeral goes by the new
    timeout.

    A member that the session has left may still report its old timeout to the leader once; the next ping puts that
    right.
    """
    async with coordination.connect(zoo.connect, session_timeout_ms=TIMEOUT_MS) as watcher:
        with victim.hold(zoo.connect, path, session_timeout_ms=30_000, then_timeout_ms=1500) as held:
            assert held.session_timeout_ms == 1500
            await watcher.sync()
            async with watcher.watch_exists(path) as changes:
                assert await anext(changes) is not None
                with trio.move_on_after(2) as alive:
                    await anext(changes)
                assert alive.cancelled_caught
                held.pause()
                with trio.fail_after(6):
                    assert await anext(changes) is None


async def test_a_session_outlives_the_member_it_was_connected_to(zoo: apache.Ensemble, path: str) -> None:
    async with coordination.connect(zoo.connect, session_timeout_ms=20_000) as zk:
        await zk.create(path, b"x", ephemeral=True)
        session = zk.session_id
        leader = zoo.leader()
        try:
            with trio.fail_after(30):
                leader.kill()  # the whole ensemble is without a leader for a moment: everybody is suspended or refused
                value, stat = await zk.get(path)
                while True:
                    try:
                        await zk.set(path, b"y")
                        break
                    except coordination.ConnectionLossError:
                        await zk.wait_for(ConnectionState.CONNECTED)
            assert (value, stat.ephemeral_owner, zk.session_id) == (b"x", session, session)
        finally:
            await trio.to_thread.run_sync(leader.restart)
