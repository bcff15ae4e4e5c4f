"""Opening and closing: prompt with or without a server, nothing left behind, nothing on stderr."""

import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import trio

import coordination
from coordination import ConnectionState


def client_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("coordination-client")]


async def test_closing_ends_the_session_and_the_thread(shared: Any, zk: coordination.Client, root: str) -> None:
    before = len(client_threads())
    async with coordination.connect(shared.connect, session_timeout_ms=30_000) as other:
        assert len(client_threads()) == before + 1
        await other.create(f"{root}/mine", ephemeral=True)
        async with zk.watch_exists(f"{root}/mine") as changes:
            assert await anext(changes) is not None
            started = time.monotonic()
            await other.aclose()
            assert await anext(changes) is None
            assert time.monotonic() - started < 1
        await other.aclose()
        assert other.state is ConnectionState.LOST
        with pytest.raises(coordination.ConnectionClosedError):
            await other.get(root)
    assert len(client_threads()) == before


async def test_closing_wakes_the_calls_that_wait(shared: Any, zk: coordination.Client, root: str) -> None:
    async def follow(client: coordination.Client, task_status: trio.TaskStatus[None]) -> None:
        with pytest.raises(coordination.ConnectionClosedError):  # noqa: PT012 - the last anext raises
            async with client.watch_data(root) as changes:
                await anext(changes)
                task_status.started()
                await anext(changes)

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery, coordination.connect(shared.connect) as other:
            await nursery.start(follow, other)


async def test_closing_wakes_a_watch_that_kazoo_has_not_noted(shared: Any, zk: coordination.Client, root: str) -> None:
    """kazoo hands an answer on, then notes its watch, unless it was stopped in between: it will never tell that one."""
    with trio.fail_after(10):
        async with coordination.connect(shared.connect) as other, other.watch_data(root) as changes:
            await anext(changes)
            other._bridge.kazoo._data_watchers.clear()
            await other.aclose()
            with pytest.raises(coordination.ConnectionClosedError):
                await anext(changes)


async def test_leaving_a_watch_ends_its_iteration_elsewhere(zk: coordination.Client, root: str) -> None:
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery, zk.watch_data(root) as changes:

            async def follow(task_status: trio.TaskStatus[None]) -> None:
                async for _ in changes:
                    task_status.started()

            await nursery.start(follow)


async def test_closing_in_a_cancelled_scope_still_ends_the_session(
    shared: Any, zk: coordination.Client, root: str
) -> None:
    async with zk.watch_exists(f"{root}/mine") as changes:
        assert await anext(changes) is None
        with trio.move_on_after(5) as scope:
            async with coordination.connect(shared.connect, session_timeout_ms=30_000) as other:
                await other.create(f"{root}/mine", ephemeral=True)
                assert await anext(changes) is not None
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        with trio.fail_after(5):
            assert await anext(changes) is None


async def test_closing_is_prompt_when_the_server_is_gone(own: Any) -> None:
    async with coordination.connect(own.connect, session_timeout_ms=20_000) as zk:
        await trio.to_thread.run_sync(own.kill)
        await zk.wait_for(ConnectionState.SUSPENDED)
        started = time.monotonic()
    assert time.monotonic() - started < 1
    assert client_threads() == []


async def test_closing_is_bounded_when_the_server_hangs(own: Any) -> None:
    process = own.members[0] if hasattr(own, "members") else own
    async with coordination.connect(own.connect, session_timeout_ms=20_000, close_timeout_ms=300) as zk:
        await zk.exists("/")
        process.pause()
        started = time.monotonic()
    spent = time.monotonic() - started
    process.resume()
    assert 0.2 < spent < 2
    assert client_threads() == []


async def test_nobody_at_the_address() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: connections are refused
        hosts = f"127.0.0.1:{taken.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(coordination.NotConnectedError, match=hosts):
            async with coordination.connect(hosts, connect_timeout_ms=200):
                pass
        assert time.monotonic() - started < 1.5
    assert client_threads() == []


async def test_somebody_who_never_answers() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        started = time.monotonic()
        with pytest.raises(coordination.NotConnectedError):
            async with coordination.connect(f"127.0.0.1:{silent.getsockname()[1]}", connect_timeout_ms=200):
                pass
        assert time.monotonic() - started < 1.5
    assert client_threads() == []


async def test_one_server_of_the_list_is_enough(shared: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        hosts = f"127.0.0.1:{taken.getsockname()[1]},{shared.connect}"
        for _ in range(5):
            async with coordination.connect(hosts, connect_timeout_ms=5000) as zk:
                assert await zk.exists("/") is not None


async def test_a_cancelled_connect_leaves_nothing() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with trio.move_on_after(0.1) as scope:
            async with coordination.connect(f"127.0.0.1:{silent.getsockname()[1]}"):
                pass
        assert scope.cancelled_caught
    assert client_threads() == []


PROGRAM = """
import trio, coordination
async def main():
    async with coordination.connect("{hosts}", session_timeout_ms=5000) as zk:
        await zk.exists("/")
        await coordination.close_session("{hosts}", zk.session_id, zk.session_password)
        await zk.wait_for(coordination.ConnectionState.LOST)
        await zk.new_session()
        print(zk.state.value)
trio.run(main)
try:
    trio.run(main)
finally:
    print("twice")
"""


def test_a_program_says_nothing_on_stderr(shared: Any) -> None:
    program = [sys.executable, "-X", "dev", "-c", PROGRAM.format(hosts=shared.connect)]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "connected\nconnected\ntwice\n", "")


FORKS = """
import os, sys, trio, coordination
from coordination.client import client
async def main():
    async with coordination.connect("{hosts}", session_timeout_ms=5000) as zk:
        os.write(1, b"%d\\n" % zk.session_id)  # in one piece: the three share it
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        trio.run(main)
        sys.stdout.flush()
        os._exit(0)
    children.append(pid)
sys.exit(sum(os.waitpid(pid, 0)[1] for pid in children))
"""


def test_a_process_that_has_imported_everything_forks_clients(shared: Any) -> None:
    program = [sys.executable, "-X", "dev", "-c", FORKS.format(hosts=shared.connect)]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=30, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert len(set(ran.stdout.split())) == 3
