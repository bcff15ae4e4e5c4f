"""Many tasks write while the server is killed and restarted: nothing acknowledged is lost, nothing hangs, every answer
is its own.
"""

from typing import Any

import trio

import coordination
from coordination import ConnectionState

RESTARTS = 3
TASKS = 20


async def test_writes_while_the_server_is_killed(own: Any) -> None:
    acknowledged: set[str] = set()
    unknown: set[str] = set()
    told: set[str] = set()
    stopping = trio.Event()

    async def write(zk: coordination.Client, task: int) -> None:
        i = 0
        while not stopping.is_set():
            name = f"{task}-{i}"
            try:
                assert await zk.create(f"/all/{name}", name.encode()) == f"/all/{name}"
                acknowledged.add(name)
            except coordination.ConnectionLossError:
                unknown.add(name)
            i += 1

    async def follow(zk: coordination.Client) -> None:
        async with zk.watch_children("/all") as changes:
            async for names in changes:
                told.clear()
                told.update(names or ())
                if stopping.is_set() and acknowledged <= told:
                    return

    with trio.fail_after(50):
        async with coordination.connect(own.connect, session_timeout_ms=20_000) as zk:
            session = zk.session_id
            await zk.create("/all")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, zk)
                for task in range(TASKS):
                    nursery.start_soon(write, zk, task)
                for _ in range(RESTARTS):
                    before = len(acknowledged)
                    await trio.to_thread.run_sync(own.restart)
                    await zk.wait_for(ConnectionState.CONNECTED)
                    while len(acknowledged) < before + 2 * TASKS:
                        await trio.lowlevel.checkpoint()
                        await zk.exists("/all")
                stopping.set()
                await zk.create("/all/last")
                acknowledged.add("last")
            present = set(await zk.children("/all"))
            assert zk.session_id == session
            for name in list(acknowledged)[:: max(1, len(acknowledged) // 50)]:
                value, stat = await zk.get(f"/all/{name}")
                assert value in (name.encode(), b"")
                assert stat.version == 0
    assert acknowledged <= present
    # What is there without having been acknowledged was in flight when the server died.
    assert present - acknowledged <= unknown
