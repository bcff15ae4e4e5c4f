"""Watches as async iterators: what is there now, then every change, across reconnections, to the end of the session."""

import time
from typing import Any

import pytest
import trio

import coordination
from coordination import ConnectionState


async def test_data_changes_are_told_in_turn(zk: coordination.Client, other: coordination.Client, root: str) -> None:
    path = f"{root}/a"
    async with zk.watch_data(path) as changes:
        assert await anext(changes) is None
        await other.create(path, b"1")
        item = await anext(changes)
        assert item is not None
        assert (item[0], item[1].version) == (b"1", 0)
        await other.set(path, b"2")
        item = await anext(changes)
        assert item is not None
        assert (item[0], item[1].version) == (b"2", 1)
        await other.delete(path)
        assert await anext(changes) is None
        await other.create(path, b"3")
        item = await anext(changes)
        assert item is not None
        assert item[0] == b"3"


async def test_children_changes_are_told_in_turn(
    zk: coordination.Client, other: coordination.Client, root: str
) -> None:
    parent = f"{root}/p"
    async with zk.watch_children(parent) as changes:
        assert await anext(changes) is None
        await other.create(parent)
        assert await anext(changes) == []
        await other.create(f"{parent}/b")
        assert await anext(changes) == ["b"]
        await other.create(f"{parent}/a")
        assert await anext(changes) == ["a", "b"]
        await other.delete(parent, recursive=True)
        async for names in changes:
            if names is None:
                break


async def test_existence_is_told_with_its_stat(zk: coordination.Client, other: coordination.Client, root: str) -> None:
    path = f"{root}/a"
    async with zk.watch_exists(path) as changes:
        assert await anext(changes) is None
        _, created = await other.create2(path)
        assert await anext(changes) == created
        changed = await other.set(path, b"x")
        assert await anext(changes) == changed
        await other.delete(path)
        assert await anext(changes) is None


async def test_changes_faster_than_the_reader_are_told_as_one(
    zk: coordination.Client, other: coordination.Client, root: str
) -> None:
    async with zk.watch_data(root) as changes:
        await anext(changes)
        for i in range(20):
            await other.set(root, b"%d" % i)
        await zk.sync(root)
        item = await anext(changes)
        assert item is not None
        assert item[0] == b"19"
        with trio.move_on_after(0.2) as silence:
            await anext(changes)
        assert silence.cancelled_caught  # nothing else changed


async def test_a_child_that_was_deleted_and_made_again_is_told(
    zk: coordination.Client, other: coordination.Client, root: str
) -> None:
    await other.create(f"{root}/a")
    async with zk.watch_children(root) as changes:
        assert await anext(changes) == ["a"]
        await other.multi([coordination.Delete(f"{root}/a"), coordination.Create(f"{root}/a")])
        assert await anext(changes) == ["a"]  # the same names, another znode


async def test_streams_on_one_path_all_hear(zk: coordination.Client, other: coordination.Client, root: str) -> None:
    async with zk.watch_data(root) as one, zk.watch_data(root) as two:
        async with zk.watch_data(root) as gone:
            await anext(gone)
        await anext(one)
        await anext(two)
        await other.set(root, b"x")
        for stream in (one, two):
            item = await anext(stream)
            assert item is not None
            assert item[0] == b"x"


async def test_a_cancelled_wait_misses_nothing(zk: coordination.Client, other: coordination.Client, root: str) -> None:
    async with zk.watch_data(root) as changes:
        await anext(changes)
        for i in range(20):
            # At once, so that the wait is cut at various points of the read.
            with trio.move_on_after(0.0005 * i):
                await anext(changes)
        await other.set(root, b"x")
        with trio.move_on_after(0):
            await anext(changes)
        item = await anext(changes)
        assert item is not None
        assert item[0] == b"x"


async def test_a_watch_event_reaches_its_task_quickly(
    zk: coordination.Client, other: coordination.Client, root: str
) -> None:
    """The figure proper is in bench/; here only that no timer or poll is in the way."""
    spent_ms = []
    async with zk.watch_exists(root) as changes:
        await anext(changes)
        for _ in range(30):
            started = time.perf_counter()
            await other.set(root, b"")
            await anext(changes)
            spent_ms.append((time.perf_counter() - started) * 1000)
    assert min(spent_ms) < 20


async def test_streams_survive_a_restart_of_the_server_and_tell_what_they_missed(own: Any) -> None:
    hosts = own.connect
    with trio.fail_after(30):
        async with coordination.connect(hosts, session_timeout_ms=20_000) as zk:
            await zk.create("/a", b"before")
            async with zk.watch_data("/a") as data, zk.watch_children("/") as children, zk.watch_exists("/b") as exists:
                assert await anext(data) is not None
                await anext(children)
                assert await anext(exists) is None
                await trio.to_thread.run_sync(own.restart)
                # Changed by another client, perhaps before the first has come back.
                async with coordination.connect(hosts, session_timeout_ms=20_000) as other:
                    await other.multi([coordination.Set("/a", b"after"), coordination.Create("/b")])
                    item = await anext(data)
                    assert item is not None
                    assert item[0] == b"after"
                    assert "b" in (await anext(children) or ())
                    assert await anext(exists) is not None
            assert zk.state is ConnectionState.CONNECTED


async def test_the_end_of_the_session_ends_the_stream(
    zk: coordination.Client, other: coordination.Client, root: str
) -> None:
    async with zk.watch_data(root) as changes:
        await anext(changes)
        closed = await coordination.close_session(zk.hosts, zk.session_id, zk.session_password)
        assert closed is coordination.CloseOutcome.CLOSED
        with pytest.raises(coordination.SessionExpiredError):
            await anext(changes)
    await zk.new_session()
    async with zk.watch_data(root) as changes:
        await anext(changes)
        await other.set(root, b"x")
        item = await anext(changes)
        assert item is not None
        assert item[0] == b"x"


async def test_a_stream_outside_its_block_says_so(zk: coordination.Client, root: str) -> None:
    with pytest.raises(RuntimeError, match="async with"):
        await anext(zk.watch_data(root))


async def test_streams_that_are_left_leave_nothing_behind(zk: coordination.Client, root: str) -> None:
    for i in range(50):
        async with zk.watch_data(f"{root}/{i}") as changes:
            assert await anext(changes) is None
    async with zk.watch_children(root) as changes, zk.watch_data(f"{root}/0") as again:
        await anext(changes)
        assert await anext(again) is None
        for i in range(50):
            await zk.create(f"{root}/{i}")  # fires what was left armed
        assert await anext(again) is not None
    await zk.create(f"{root}/last")
    await zk.set(f"{root}/0", b"x")
    await zk.sync(root)
    assert len(zk._watches) == 0
